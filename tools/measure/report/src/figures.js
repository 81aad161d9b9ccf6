// figures.js: the charts over all rows: percentile spectrum, latency against rate, size sweep.
//
// Each function gives a section, or null when no row has data for it.

const FAMILIES = new Map([
  ["ours", "This library"],
  ["floor", "Floors"],
  ["peer", "Peers"],
]);
const QUANTILES = [
  ["p50", "p50"],
  ["p90", "p90"],
  ["p99", "p99"],
  ["p99.9", "p99.9"],
  ["p99.99", "p99.99"],
  ["max", "max"],
];

const intervalText = (f, format) =>
  isNumber(f.low) && isNumber(f.high)
    ? `${between(f.low, f.high, format)} (${percent(Number(f.confidence.toFixed(3)))} interval)`
    : "no interval: too few repetitions";
const bounds = (f) => (f && isNumber(f.low) && isNumber(f.high) ? {low: f.low, high: f.high} : {});
const withInterval = (f, format) =>
  f === null
    ? NONE
    : format(f.value) + (isNumber(f.low) && isNumber(f.high) ? ` [${between(f.low, f.high, format)}]` : "");

/** Points with an interval on y from a figure of each row. */
const pointOf = (x, row, f) => ({x, y: f.value, ...bounds(f), hollow: !row.valid, row, figure: f});

/** A choice of the message size. */
const sizeChoice = (sizes, state, set) =>
  choice(
    "Size",
    sizes.map((bytes) => [bytes, size(bytes)]),
    state.size,
    (value) => set({size: value}),
  );

/** The line of a row: its name, where the legend has it, and what it looks like. */
const lineOf = (row, names, styles, more) => ({
  label: names.get(row),
  group: FAMILIES.get(row.family) || "",
  style: styles.get(row),
  ...more,
});

function spectrumSection(rows, palette) {
  const having = HISTOGRAMS.filter(([name]) => rows.some((row) => merged(row, name)));
  if (having.length === 0) return null;
  const grid = [];
  for (let i = 0; i <= 8 * 40; ++i) grid.push(10 ** (i / 40));
  const figure_ = figureOf((state, set) => {
    const kinds = having.filter(([name]) => rows.some((row) => merged(row, name)));
    if (!kinds.some(([name]) => name === state.kind)) state.kind = kinds[0][0];
    const measured = rows.filter((row) => merged(row, state.kind));
    const sizes = sizesOf(measured);
    if (!sizes.includes(state.size)) state.size = fullestSize(measured);
    const chosen = measured.filter((row) => row.c.size === state.size);
    const names = labels(chosen, ["size", "measure"]),
      styles = palette.styles(chosen);
    const title = kinds.find(([name]) => name === state.kind)[1];
    const shown = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999];
    const series = chosen.map((row) => {
      const values = quantiles(
        merged(row, state.kind),
        grid.map((x) => 1 - 1 / x),
      );
      return lineOf(row, names, styles, {row, points: values.map((y, i) => ({x: grid[i], y}))});
    });
    const deepest = shown.filter((q) => chosen.some((row) => quantiles(merged(row, state.kind), [q]).length > 0));
    return {
      choices: [sizeChoice(sizes, state, set), choice("Duration", kinds, state.kind, (value) => set({kind: value}))],
      spec: {
        describe: `Percentile spectrum, ${title}, messages of ${size(state.size)}: ${chosen.length} lines of duration over percentile. The table below has the figures.`,
        x: {
          label: "percentile",
          log: true,
          ticks: [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8],
          apart: 48,
          air: 0.01,
          format: (x) => (x === 1 ? "0" : percent(1 - 1 / x)),
        },
        y: {label: title, log: true, format: (ns) => duration(ns, true)},
        series,
        tip: (point) => [`${percent(Number((1 - 1 / point.x).toPrecision(6)))} are at most ${duration(point.y)}`],
      },
      caption:
        "All samples of the repetitions that count, in one histogram for each row. A line ends where fewer than ten samples are above it.",
      rows: table(
        `${title}, ${size(state.size)}, by percentile`,
        [
          {head: "Row"},
          {head: "samples", number: true},
          ...deepest.map((q) => ({head: percent(q), number: true})),
          {head: "greatest", number: true},
        ],
        chosen.map((row) => {
          const histogram = merged(row, state.kind);
          const values = quantiles(histogram, shown);
          return [
            names.get(row),
            count(histogram.count),
            ...deepest.map((_, i) => duration(values[i])),
            duration(histogram.max),
          ];
        }),
      ),
    };
  }, {});
  return {
    id: "spectrum",
    title: "Percentile spectrum",
    figures: [figure_],
    lead: "How slow the slowest are. Each step to the right is a tenth of the messages before; flat is good, a jump is a stall that this share of messages meets.",
  };
}

function rateSection(rows, palette) {
  const open = rows.filter((row) => row.c.measure === "latency" && row.c.load_model === "open" && row.c.rate > 0);
  const groups = groupsBut(open, "rate");
  if (groups.length === 0) return null;
  const firsts = groups.map((group) => group[0]);
  const figure_ = figureOf((state, set) => {
    const sizes = sizesOf(firsts);
    if (!sizes.includes(state.size)) state.size = sizes[0];
    const chosen = groups.filter((group) => group[0].c.size === state.size);
    const known = QUANTILES.filter(([name]) => chosen.some((group) => group.some((row) => figure(row, name))));
    if (!known.some(([name]) => name === state.quantile))
      state.quantile = (known.find(([name]) => name === "p99") || known[0] || ["p50"])[0];
    const heads = chosen.map((group) => ({...group[0], valid: true}));
    const names = labels(heads, ["size", "measure", "load_model", "rate"]),
      styles = palette.styles(heads);
    const series = chosen
      .map((group, i) =>
        lineOf(heads[i], names, styles, {
          markers: true,
          points: group
            .filter((row) => figure(row, state.quantile))
            .map((row) => {
              const achieved = figure(row, "rate"),
                between = bounds(achieved);
              return {
                ...pointOf(achieved ? achieved.value : row.c.rate, row, figure(row, state.quantile)),
                xlow: between.low,
                xhigh: between.high,
                achieved,
              };
            }),
        }),
      )
      .filter((line) => line.points.length > 0);
    return {
      choices: [
        sizeChoice(sizes, state, set),
        choice("Percentile", known, state.quantile, (value) => set({quantile: value})),
      ],
      spec: {
        describe: `Response time (${state.quantile}) against the rate achieved, open loop, messages of ${size(state.size)}. The table below has the figures.`,
        x: {
          label: "achieved rate (messages a second)",
          log: true,
          apart: 52,
          format: (value) => inUnits(value, COUNTS, true),
        },
        y: {label: `response, ${state.quantile}`, log: true, format: (ns) => duration(ns, true)},
        series,
        tip: (point) => [
          `${state.quantile} ${duration(point.y)}, ${intervalText(point.figure, duration)}`,
          `due ${rate(point.row.c.rate)}, achieved ${point.achieved ? rate(point.achieved.value) : NONE}`,
          ...(point.row.valid ? [] : ["INVALID: " + reasons(point.row)]),
        ],
      },
      caption:
        "Open loop: latency counts from when a message was due, so a sender that cannot keep up does not hide it. Bars are intervals of the median over repetitions; hollow points are rows that do not count.",
      rows: table(
        `Response against rate, ${size(state.size)}`,
        [
          {head: "Row"},
          {head: "due", number: true},
          {head: "achieved", number: true},
          ...known.map(([, text]) => ({head: text, number: true})),
          {head: "valid"},
        ],
        chosen.flatMap((group, i) =>
          group.map((row) => [
            names.get(heads[i]),
            rate(row.c.rate),
            withInterval(figure(row, "rate"), rate),
            ...known.map(([name]) => withInterval(figure(row, name), duration)),
            row.valid ? "yes" : "no: " + reasons(row),
          ]),
        ),
      ),
    };
  }, {});
  return {
    id: "rate",
    title: "Latency against rate",
    figures: [figure_],
    lead: "How much load it takes before messages wait: the line bends up where the queue begins to grow.",
  };
}

function sweepSection(rows, palette) {
  const plots = [];
  const of = (measure, models, kinds, what, caption) => {
    for (const model of models) {
      const all = rows.filter((row) => row.c.measure === measure && row.c.load_model === model);
      if (
        !groupsBut(all, "size").some(
          (group) => group.filter((row) => kinds.some(([name]) => figure(row, name))).length > 1,
        )
      )
        continue;
      plots.push(
        figureOf((state, set) => {
          const groups = groupsBut(all, "size");
          const known = kinds.filter(([name]) => groups.some((group) => group.some((row) => figure(row, name))));
          if (!known.some(([name]) => name === state.kind)) state.kind = known[0][0];
          const format = state.kind === "rate" ? rate : state.kind === "bytes_per_second" ? bandwidth : duration;
          const heads = groups.map((group) => ({...group[0], valid: true}));
          const names = labels(heads, ["size", "measure", "load_model"]),
            styles = palette.styles(heads);
          const sizes = sizesOf(groups.flat());
          const title = what(model);
          return {
            choices: [h("h3", {}, title), choice("Figure", known, state.kind, (value) => set({kind: value}))],
            spec: {
              describe: `${title} against message size. The table below has the figures.`,
              x: {label: "bytes in a message", log: true, ticks: sizes, apart: 46, format: size},
              y: {
                label:
                  state.kind === "rate"
                    ? "messages a second"
                    : state.kind === "bytes_per_second"
                      ? "payload a second"
                      : state.kind === "cost"
                        ? "cost"
                        : `round trip, ${state.kind}`,
                log: true,
                format: (value) => (state.kind === "rate" ? inUnits(value, COUNTS, true) : format(value, true)),
              },
              series: groups
                .map((group, i) =>
                  lineOf(heads[i], names, styles, {
                    markers: true,
                    points: group
                      .filter((row) => figure(row, state.kind))
                      .map((row) => pointOf(row.c.size, row, figure(row, state.kind))),
                  }),
                )
                .filter((line) => line.points.length > 0),
              tip: (point) => [
                `${size(point.x)}: ${format(point.y)}`,
                intervalText(point.figure, format),
                ...(point.row.valid ? [] : ["INVALID: " + reasons(point.row)]),
              ],
            },
            caption,
            rows: table(
              `${title} (${known.find(([name]) => name === state.kind)[1]}) by size`,
              [{head: "Row"}, ...sizes.map((bytes) => ({head: size(bytes), number: true}))],
              groups.map((group, i) => [
                names.get(heads[i]),
                ...sizes.map((bytes) => {
                  const row = group.find((each_) => each_.c.size === bytes);
                  return row ? withInterval(figure(row, state.kind), format) + (row.valid ? "" : " (invalid)") : NONE;
                }),
              ]),
            ),
          };
        }, {}),
      );
    }
  };
  const bars = "Medians over repetitions with their intervals; hollow points are rows that do not count.";
  of("latency", ["closed"], QUANTILES, () => "Round trip (RTT), ping-pong", bars);
  of(
    "throughput",
    ["flood", "closed", "open"],
    [
      ["rate", "messages"],
      ["bytes_per_second", "bytes"],
    ],
    () => "Throughput",
    bars,
  );
  of("cost", ["none", "closed", "flood"], [["cost", "cost"]], () => "Cost without messages", bars);
  if (plots.length === 0) return null;
  return {
    id: "sizes",
    title: "Message size",
    figures: plots,
    lead: "Small messages show what a crossing costs, large ones what moving the bytes costs.",
  };
}

const reasons = (row) => {
  const found =
    row.invalid.length > 0 ? row.invalid : distinct(row.repetitions.flatMap((repetition) => texts(repetition.invalid)));
  return found.length > 0 ? found.join("; ") : "no reason is given";
};
