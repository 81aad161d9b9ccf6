// timeline.js: one row over time, slice by slice and repetition by repetition, with its worst samples and their causes.

const UNKNOWN_CAUSE = "no cause seen",
  OTHER_CAUSES = "other causes";
const KINDS_SHOWN = 6;

/** A cause without numbers: "3 page faults, kept from the CPU for 1.2ms" -> "page fault, kept from the CPU". */
function kindOfCause(cause) {
  const parts = cause.split(", ").map((part) =>
    part
      .replace(/^[0-9]+ /, "")
      .replace(/ for [0-9.]+\s?[a-zµ]+$/, "")
      .replace(/(switch)es$|(fault)s$/, "$1$2"),
  );
  return distinct(parts).join(", ") || UNKNOWN_CAUSE;
}

/** The most frequent kinds of causes, and which of them a sample's is. */
function commonCauses(rows) {
  const times = new Map();
  for (const worst of rows.flatMap((row) => row.repetitions.flatMap((repetition) => list(repetition.worst)))) {
    const kind = kindOfCause(String(worst.cause || ""));
    times.set(kind, (times.get(kind) || 0) + 1);
  }
  const names = [...times].sort((a, b) => b[1] - a[1]).map(([kind]) => kind);
  const shown = names.length > KINDS_SHOWN ? [...names.slice(0, KINDS_SHOWN - 1), OTHER_CAUSES] : names;
  return {
    names: shown,
    of: (worst) => {
      const kind = kindOfCause(String(worst.cause || ""));
      return shown.includes(kind) ? kind : OTHER_CAUSES;
    },
  };
}

function timelineSection(rows, palette) {
  const having = rows.filter((row) => row.repetitions.some((repetition) => list(repetition.timeline).length > 0));
  if (having.length === 0) return null;
  const names = labels(having);
  const causes = commonCauses(having);
  const figure_ = figureOf((state, set) => {
    if (!having.includes(state.row)) state.row = having[0];
    const {row} = state;
    const all = row.repetitions;
    const numbers = all.map((_, i) => i);
    if (!numbers.includes(state.repetition)) state.repetition = -1;
    const chosen = state.repetition < 0 ? numbers : [state.repetition];
    const isLatency = row.c.measure === "latency";
    const lengthOf = (repetition) =>
      Math.max(repetition.seconds || 0, ...list(repetition.timeline).map((slice) => slice.at + slice.seconds));
    const gap = (0.02 * chosen.reduce((sum, i) => sum + lengthOf(all[i]), 0)) / chosen.length;
    const starts = [];
    let end = 0;
    for (const i of chosen) {
      starts.push(end);
      end += lengthOf(all[i]) + gap;
    }
    /** A line through one value of every slice, broken between repetitions. */
    const through = (value, note) =>
      chosen.flatMap((i, k) => [
        ...(k > 0 ? [{x: starts[k] - gap / 2, y: null}] : []),
        ...list(all[i].timeline)
          .filter((slice) => slice.count > 0 && value(slice) > 0)
          .map((slice) => ({x: starts[k] + slice.at + slice.seconds / 2, y: value(slice), slice, i, note})),
      ]);
    const lines = isLatency
      ? [
          ["max", -Infinity, {colour: "line1", dash: [2, 3], width: 1.5, shape: "circle"}],
          ["p99", 0.99, {colour: "line4", dash: [7, 3], width: 2, shape: "circle"}],
          ["p50", 0.5, {colour: "line0", dash: [], width: 2, shape: "circle"}],
        ].map(([key, quantile, style]) => ({
          label: key,
          group: "Of each slice",
          style,
          points: through((slice) => (mayShow(quantile, slice.count) ? slice[key] : 0), key),
        }))
      : [
          {
            label: "messages a second",
            style: {...palette.styles([row]).get(row), dash: []},
            points: through((slice) => slice.count / slice.seconds, "rate"),
          },
        ];
    const marks = !isLatency
      ? []
      : causes.names
          .map((cause, c) => ({
            label: cause,
            group: "Slowest samples",
            line: false,
            markers: true,
            radius: 5,
            style: {
              colour: cause === UNKNOWN_CAUSE ? "text-muted" : "line" + ((c * 3 + 2) % COLOURS),
              dash: [],
              width: 0,
              shape: SHAPES[c % SHAPES.length],
              line: false,
            },
            points: chosen
              .flatMap((i, k) =>
                list(all[i].worst)
                  .filter((worst) => causes.of(worst) === cause && worst.duration > 0)
                  .map((worst) => ({x: starts[k] + worst.at, y: worst.duration, worst, i})),
              )
              .sort((a, b) => a.x - b.x),
          }))
          .filter((line) => line.points.length > 0);
    const series = [...lines.filter((line) => line.points.some((point) => point.y !== null)), ...marks];
    const many = chosen.length > 1;
    const format = isLatency ? duration : rate;
    return {
      choices: [
        choice(
          "Row",
          having.map((each_) => [each_, names.get(each_)]),
          row,
          (value) => set({row: value, repetition: -1}),
        ),
        choice(
          "Repetition",
          numbers.length < 2
            ? []
            : [[-1, "all"], ...numbers.map((i) => [i, String(i + 1) + (all[i].valid === false ? " (invalid)" : "")])],
          state.repetition,
          (value) => set({repetition: value}),
        ),
      ],
      spec: {
        describe: `${names.get(row)} over time, ${many ? chosen.length + " repetitions one after the other" : "repetition " + (chosen[0] + 1)}. The tables below have the figures.`,
        x: {
          label: many ? "timed seconds, repetitions one after the other" : "seconds since the timed part began",
          apart: 60,
          air: 0.01,
          format: (value) => (value === 0 ? "0" : span(value)),
        },
        y: {
          label: isLatency ? mainName(row) : "messages a second",
          log: isLatency,
          zero: !isLatency,
          format: (value) => (isLatency ? duration(value, true) : inUnits(value, COUNTS, true)),
        },
        labelled: false,
        quiet: !isLatency,
        series,
        tip: (point) => {
          const where = "repetition " + (point.i + 1) + (all[point.i].valid === false ? " (invalid)" : "");
          return point.worst
            ? [
                `${duration(point.worst.duration)} at ${span(point.worst.at)} of ${where}`,
                String(point.worst.cause || ""),
              ]
            : [
                `${format(point.y)}, ${count(point.slice.count)} messages`,
                `${span(point.slice.at)} to ${span(point.slice.at + point.slice.seconds)} of ${where}`,
              ];
        },
        behind: (ctx, u, place, scale) => {
          // where one repetition ends and the next begins
          if (!many) return;
          ctx.fillStyle = cssColour("text-muted");
          ctx.strokeStyle = cssColour("line");
          ctx.lineWidth = scale;
          ctx.font = 11 * scale + "px " + FONT;
          ctx.textBaseline = "top";
          let last = -Infinity;
          starts.forEach((start, k) => {
            const [x] = place(start - gap / 2, null),
              [left] = place(start, null);
            if (k > 0) {
              ctx.setLineDash([3 * scale, 3 * scale]);
              ctx.beginPath();
              ctx.moveTo(x, u.bbox.top);
              ctx.lineTo(x, u.bbox.top + u.bbox.height);
              ctx.stroke();
            }
            if (left - last < 22 * scale) return;
            last = left;
            ctx.fillText(String(chosen[k] + 1), left + 3 * scale, u.bbox.top + 3 * scale);
          });
        },
      },
      caption: isLatency
        ? "Each slice's median, 99th percentile (where it has a thousand messages) and slowest message; marks are the slowest single messages, with what happened on the machine at that moment."
        : "Messages a second in each slice.",
      rows: [
        table(
          `${names.get(row)}: slices`,
          [
            {head: "Repetition"},
            {head: "from", number: true},
            {head: "messages", number: true},
            ...(isLatency ? ["p50", "p99", "max"] : ["msg/s"]).map((head) => ({head, number: true})),
          ],
          chosen.flatMap((i) =>
            list(all[i].timeline).map((slice) => [
              String(i + 1),
              span(slice.at),
              count(slice.count),
              ...(isLatency
                ? [
                    [slice.p50, 0.5],
                    [slice.p99, 0.99],
                  ]
                    .map(([value, q]) => (mayShow(q, slice.count) ? duration(value) : NONE))
                    .concat(slice.count > 0 ? duration(slice.max) : NONE)
                : [rate(slice.count / slice.seconds)]),
            ]),
          ),
        ),
        marks.length > 0 &&
          table(
            `${names.get(row)}: slowest messages`,
            [{head: "Repetition"}, {head: "at", number: true}, {head: "duration", number: true}, {head: "cause"}],
            chosen.flatMap((i) =>
              list(all[i].worst).map((worst) => [
                String(i + 1),
                span(worst.at),
                duration(worst.duration),
                worst.cause || UNKNOWN_CAUSE,
              ]),
            ),
          ),
      ],
    };
  }, {});
  return {
    id: "time",
    title: "Over time",
    figures: [figure_],
    lead: "Whether it was steady. A level that moves is drift and makes medians doubtful; single spikes are pauses, named where the machine told why.",
  };
}

const mainName = (row) => (row.c.load_model === "open" ? "response" : "round trip (RTT)");
