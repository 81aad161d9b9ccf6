// summary.js: the table of rows that comes first: what each row's figures are, and what the program says of them.

const KINDS = [
  {
    id: "closed",
    title: "Latency: round trip (RTT), ping-pong",
    of: (c) => c.measure === "latency" && c.load_model === "closed",
  },
  {
    id: "open",
    title: "Latency: one way from when due, open loop",
    of: (c) => c.measure === "latency" && c.load_model === "open",
  },
  {
    id: "latency",
    title: "Latency, other loads",
    of: (c) => c.measure === "latency" && !["closed", "open"].includes(c.load_model),
  },
  {id: "throughput", title: "Throughput", of: (c) => c.measure === "throughput"},
  {id: "cost", title: "Costs without messages", of: (c) => c.measure === "cost"},
];

function summarySection(rows, palette) {
  const blocks = KINDS.map((kind) => ({kind, rows: rows.filter((row) => kind.of(row.c))})).filter(
    (block) => block.rows.length > 0,
  );
  if (blocks.length === 0) return null;
  const fewest = Math.min(...rows.map((row) => counting(row).length));
  return {
    id: "summary",
    title: "Summary",
    static: blocks.map(({kind, rows: members}) => summaryTable(kind, members, palette)),
    lead:
      "Medians over repetitions" +
      (fewest < 6
        ? "; rows of fewer than six repetitions have no intervals."
        : ", with the interval of each median in small print.") +
      " What is “/\u00a0msg” counts all processes of a row, divided by its messages.",
  };
}

/** The figure a table is sorted by and its bar shows. */
function summaryTable(kind, rows, palette) {
  const styles = palette.styles(rows);
  const isLatency = ["closed", "open", "latency"].includes(kind.id);
  const main = isLatency ? "p50" : kind.id === "throughput" ? "rate" : "cost";
  const has = (name) => rows.some((row) => figure(row, name));
  const hasOwn = (name) => rows.some((row) => isNumber(row.raw[name]));
  const some = (value) => rows.some((row) => value(row) > 0);
  const value = (name, format, interval) => (row) => {
    const f = figure(row, name);
    if (!f) return h("span.none", {title: "not known, or too few samples for it"}, NONE);
    return interval && isNumber(f.low) && isNumber(f.high) && format(f.low) !== format(f.high)
      ? [
          format(f.value),
          h(
            "small",
            {title: percent(Number(f.confidence.toFixed(4))) + " interval of the median"},
            between(f.low, f.high, format),
          ),
        ]
      : format(f.value);
  };
  const spread = isLatency ? rangeScale(rows) : barScale(rows, main);
  const number = (head, content, title) => ({head, title, number: true, content});
  const sizes = sizesOf(rows);
  const grouped = kind.id !== "cost" && sizes.some((bytes) => rows.filter((row) => row.c.size === bytes).length > 1);
  const names = labels(rows, [
    ...(grouped ? ["size"] : []),
    "measure",
    "load_model",
    ...(kind.id === "open" ? ["rate"] : []),
  ]);
  // A result names one baseline; the rows that the others were compared with stand for it under their conditions.
  const baselines = new Set(
    rows.filter((row) =>
      rows.some((other) => other.baseline && other.baseline.against === row.id && other.document === row.document),
    ),
  );
  const compared = rows.some((row) => row.floor || row.baseline);
  const columns = [
    {head: "Row", content: (row) => rowHead(row, names.get(row))},
    kind.id === "open" &&
      number("due", (row) => (row.c.rate > 0 ? rate(row.c.rate) : NONE), "messages a second that were due"),
    kind.id === "open" && has("rate") && number("achieved", value("rate", rate, true)),
    isLatency && number("p50", value("p50", duration, true)),
    kind.id === "throughput" && number("messages", value("rate", rate, true)),
    kind.id === "throughput" && has("bytes_per_second") && number("payload", value("bytes_per_second", bandwidth)),
    kind.id === "cost" && number("cost", value("cost", duration, true)),
    kind.id !== "cost" && {head: isLatency ? "p50 – p99 – p99.9" : "", content: (row) => spread(row, styles.get(row))},
    ...(isLatency
      ? ["p90", "p99", "p99.9", ...(compared || kind.id === "open" ? [] : ["p99.99", "max"])]
          .filter(has)
          .map((name) => number(name, value(name, duration)))
      : []),
    rows.some((row) => row.floor) &&
      number("of floor", (row) => ratioCell(row.floor, row), "ratio to the row's own floor"),
    rows.some((row) => row.baseline) && {
      head: "to baseline",
      content: (row) => verdictCell(row, row.baseline, baselines),
    },
    has("send_lag_p99") && number("send lag p99", value("send_lag_p99", duration), "how late the sender itself was"),
    has("cpu") && number("CPU / msg", value("cpu", duration), "processor time over all processes"),
    hasOwn("syscalls") &&
      number("calls / msg", (row) => each(row.raw.syscalls), "system calls, counted in a run of their own"),
    some((row) => row.raw.yields) && number("yields / msg", (row) => each(row.raw.yields), "sched_yield calls"),
    has("voluntary_switches") &&
      number("switches / msg", (row) => switches(row), "context switches, voluntary + involuntary"),
    has("page_faults") &&
      some((row) => record(row.figures.page_faults).value) &&
      number("faults / msg", value("page_faults", each)),
    hasOwn("copies") &&
      number(
        "copies",
        (row) => each(row.raw.copies),
        "of the payload, from the sender's buffer to what the receiver reads",
      ),
  ].filter(Boolean);
  const order = (a, b) => {
    const [left, right] = [figure(a, main), figure(b, main)].map((f) =>
      f ? f.value : main === "rate" ? -Infinity : Infinity,
    );
    return (
      (kind.id === "open" && (names.get(a).localeCompare(names.get(b)) || a.c.rate - b.c.rate)) ||
      (a.valid === b.valid ? 0 : a.valid ? -1 : 1) ||
      (main === "rate" ? right - left : left - right)
    );
  };
  const groups = grouped ? sizes.map((bytes) => [bytes, rows.filter((row) => row.c.size === bytes)]) : [[null, rows]];
  return h(
    "div.block",
    {},
    h("h3", {}, kind.title),
    h(
      "div.scroll",
      {tabindex: 0, role: "region", "aria-label": kind.title},
      h(
        kind.id === "cost" ? "table.summary.narrow" : "table.summary",
        {},
        h("caption.unseen", {}, kind.title),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            columns.map((column) =>
              h(column.number ? "th.number" : "th", {scope: "col", title: column.title}, column.head),
            ),
          ),
        ),
        groups.map(([bytes, members]) =>
          h(
            "tbody",
            {},
            bytes !== null &&
              h("tr.size", {}, h("th", {scope: "rowgroup", colspan: columns.length}, h("span", {}, size(bytes)))),
            members.sort(order).map((row) =>
              h(
                row.valid ? "tr" : "tr.invalid",
                {},
                columns.map((column, i) =>
                  i === 0
                    ? h("th", {scope: "row"}, column.content(row))
                    : h(column.number ? "td.number" : "td", {}, column.content(row)),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function rowHead(row, label) {
  const notes = [row.c.wait && !label.includes(row.c.wait) ? row.c.wait : "", String(row.raw.library || "")].filter(
    Boolean,
  );
  const lost = row.repetitions.reduce((sum, repetition) => sum + (repetition.lost || 0), 0);
  return [
    h("span.name", {title: [row.id, row.raw.address].filter(Boolean).join("\n")}, label.replace(" (invalid)", "")),
    (row.family === "floor" || row.family === "peer") && h("span.tag", {}, row.family),
    notes.length > 0 && h("small", {}, notes.join(" · ")),
    lost > 0 && h("small.lost", {}, count(lost) + " lost"),
    !row.valid && [h("span.badge.bad", {}, "INVALID"), h("small.lost", {}, reasons(row))],
    row.warnings.map((text) => h("small.note", {}, text)),
  ];
}

function switches(row) {
  const parts = ["voluntary_switches", "involuntary_switches"].map((name) => figure(row, name)).filter(Boolean);
  if (parts.length === 0) return NONE;
  const exact = parts.map((f) => each(f.value)).join(" + ");
  return h(
    "span",
    {title: exact + ": voluntary + involuntary"},
    parts
      .filter((f, i) => i === 0 || f.value >= 0.01)
      .map((f) => (f.value > 0 && f.value < 0.01 ? "< 0.01" : each(f.value)))
      .join(" + "),
  );
}

function ratioCell(verdict, row) {
  const f = verdict ? record(verdict.ratio) : null;
  if (!f || !isNumber(f.value)) return row.family === "floor" ? h("span.none", {}, "floor") : NONE;
  return [ratio(f.value), isNumber(f.low) && isNumber(f.high) ? h("small", {}, between(f.low, f.high, ratio)) : null];
}

function verdictCell(row, verdict, baselines) {
  if (baselines.has(row)) return h("span.badge", {}, "baseline");
  if (!verdict) return NONE;
  const says = String(verdict.says || "");
  const f = record(verdict.ratio);
  return h(
    "div.verdict-cell",
    {},
    isNumber(f.value) ? ratio(f.value) + " " : null,
    h("span.badge" + (VERDICTS.has(says) ? "." + VERDICTS.get(says) : ""), {}, says),
    isNumber(f.low) && isNumber(f.high) ? h("small", {}, between(f.low, f.high, ratio)) : null,
  );
}

/** p50 as a dot, to p99 as a line, to p99.9 as a thin one, all rows on one logarithmic scale. */
function rangeScale(rows) {
  const all = rows
    .flatMap((row) =>
      ["p50", "p99", "p99.9"]
        .map((name) => figure(row, name))
        .filter(Boolean)
        .map((f) => f.value),
    )
    .filter((v) => v > 0);
  const low = Math.log10(Math.min(...all)),
    high = Math.log10(Math.max(...all)),
    width = 124;
  const at = (v) => 6 + ((Math.log10(v) - low) / Math.max(high - low, 0.1)) * (width - 12);
  return (row, style) => {
    const [p50, p99, p999] = ["p50", "p99", "p99.9"].map((name) => figure(row, name));
    if (!p50 || !(p50.value > 0)) return "";
    return svg(
      "svg.spread",
      {
        width,
        height: 16,
        viewBox: `0 0 ${width} 16`,
        "aria-hidden": "true",
        stroke: cssColour(style.colour),
        fill: cssColour(style.colour),
      },
      svg("path.rail", {d: `M6 8H${width - 6}`}),
      p999 && svg("path", {d: `M${at(p50.value)} 8H${at(p999.value)}M${at(p999.value)} 5v6`, "stroke-width": 1.25}),
      p99 && svg("path", {d: `M${at(p50.value)} 8H${at(p99.value)}M${at(p99.value)} 4v8`, "stroke-width": 2.5}),
      svg("circle", {cx: at(p50.value), cy: 8, r: 4, stroke: "none"}),
    );
  };
}

function barScale(rows, name) {
  const bySize = new Map(
    sizesOf(rows).map((bytes) => [
      bytes,
      Math.max(...rows.filter((row) => row.c.size === bytes).map((row) => (figure(row, name) || {value: 0}).value)),
    ]),
  );
  return (row, style) => {
    const f = figure(row, name),
      most = bySize.get(row.c.size);
    if (!f || !(most > 0)) return "";
    return svg(
      "svg.spread",
      {width: 130, height: 12, viewBox: "0 0 130 12", "aria-hidden": "true"},
      svg("path.rail", {d: "M0 6H130"}),
      svg("rect", {
        x: 0,
        y: 2,
        width: Math.max(1.5, (f.value / most) * 130),
        height: 8,
        rx: 1.5,
        fill: cssColour(style.colour),
      }),
    );
  };
}
