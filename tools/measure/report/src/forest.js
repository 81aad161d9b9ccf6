// forest.js: ratios of rows to their floor or to the baseline, with intervals: a forest plot.

const LEAST_EFFECT = 1.05; // below it, a difference is not called one

const VERDICTS = new Map([
  ["faster", "good"],
  ["slower", "bad"],
]);

function forestSection(rows, palette) {
  const kinds = [
    ["baseline", "to the baseline"],
    ["floor", "to its floor"],
  ].filter(([kind]) => rows.some((row) => row[kind] && isNumber(record(row[kind].ratio).value)));
  if (kinds.length === 0) return null;
  const byId = (row, id) => rows.find((other) => other.id === id && other.document === row.document);
  const figure_ = figureOf((state, set) => {
    if (!kinds.some(([kind]) => kind === state.kind)) state.kind = kinds[0][0];
    const having = rows.filter((row) => row[state.kind] && isNumber(record(row[state.kind].ratio).value));
    const measures = distinct(having.map((row) => row.c.measure));
    if (!measures.includes(state.measure)) state.measure = measures[0];
    const measured = having.filter((row) => row.c.measure === state.measure);
    const sizes = sizesOf(measured);
    const everything = measured.length <= 16 || sizes.length < 2;
    if (state.size !== 0 && !sizes.includes(state.size)) state.size = everything ? 0 : fullestSize(measured);
    const chosen = measured
      .filter((row) => state.size === 0 || row.c.size === state.size)
      .sort((a, b) => a.c.size - b.c.size || a[state.kind].ratio.value - b[state.kind].ratio.value);
    const alone = distinct(chosen.map((row) => row.c.size)).length === 1;
    const names = labels(chosen, alone ? ["size", "measure"] : ["measure"]);
    const narrow = window.innerWidth < 720;
    const more = state.measure === "throughput" ? "faster" : "slower",
      less = state.measure === "throughput" ? "slower" : "faster";
    const verdictOf = (row) => String(row[state.kind].says || "");
    const points = chosen.map((row, i) => {
      const f = row[state.kind].ratio;
      return {
        x: f.value,
        xlow: f.low,
        xhigh: f.high,
        y: chosen.length - i,
        row,
        figure: f,
        says: verdictOf(row),
        hollow: !VERDICTS.has(verdictOf(row)),
      };
    });
    const classes = [
      ["faster", "good", "circle"],
      ["slower", "bad", "square"],
      ["", "text-muted", "diamond"],
    ];
    const series = classes
      .map(([says, colour, shape]) => ({
        label: says || "not decided",
        style: {colour, dash: [], width: 0, shape, line: false},
        line: false,
        markers: true,
        radius: 5,
        points: points
          .filter((point) => (VERDICTS.has(point.says) ? point.says : "") === says)
          .sort((a, b) => a.x - b.x),
      }))
      .filter((line) => line.points.length > 0);
    const againstOf = (row) => {
      const other = byId(row, row[state.kind].against);
      return other
        ? other.name === row.name
          ? labels([row, other]).get(other)
          : other.name
        : String(row[state.kind].against || "");
    };
    const against = distinct(chosen.map(againstOf));
    const figureName =
      new Map([
        ["latency", "p50"],
        ["throughput", "messages a second"],
      ]).get(state.measure) || state.measure;
    const longest = Math.min(240, Math.max(...chosen.map((row) => textWidth(names.get(row)))) + 16);
    return {
      choices: [
        choice("Ratio", kinds, state.kind, (value) => set({kind: value})),
        choice(
          "Measure",
          measures.map((measure) => [measure, measure]),
          state.measure,
          (value) => set({measure: value}),
        ),
        choice(
          "Size",
          [...(sizes.length > 1 ? [[0, "all"]] : []), ...sizes.map((bytes) => [bytes, size(bytes)])],
          state.size,
          (value) => set({size: value}),
        ),
      ],
      spec: {
        describe: `Ratios of ${figureName} ${kinds.find(([kind]) => kind === state.kind)[1]}, ${chosen.length} rows with intervals. The table below has the figures.`,
        height: 84 + chosen.length * (narrow ? 40 : 28),
        x: {
          label: `← ${less}    ${figureName}, as a multiple    ${more} →`,
          log: true,
          apart: 48,
          format: (value) => ratio(value).replace(/\.?0+×/, "×"),
        },
        y: {
          label: undefined,
          ticks: points.map((point) => point.y),
          each: true,
          range: [0.3, chosen.length + 0.7],
          format: (y) => (narrow ? "" : shortened(names.get(chosen[chosen.length - y]) || "", longest)),
        },
        fixed: true,
        labelled: false,
        legend: false,
        quiet: true,
        series: withOne(series),
        key: () =>
          h(
            "div.group",
            {},
            classes
              .filter(([says]) => series.some((line) => line.label === (says || "not decided")))
              .map(([says, colour, shape]) =>
                h(
                  "span.entry",
                  {},
                  swatch({colour, shape, dash: [], width: 0, line: false}, true),
                  h("span", {}, says || "no difference shown, or too few repetitions"),
                ),
              ),
          ),
        tip: (point) => [
          `${names.get(point.row)}: ${ratio(point.x)} of ${againstOf(point.row)}`,
          intervalText(point.figure, ratio),
          point.says,
        ],
        behind: (ctx, u, place, scale) => {
          const [low] = place(1 / LEAST_EFFECT, null),
            [high] = place(LEAST_EFFECT, null),
            [one] = place(1, null);
          ctx.fillStyle = cssColour("band");
          ctx.fillRect(low, u.bbox.top, high - low, u.bbox.height);
          ctx.strokeStyle = cssColour("text-muted");
          ctx.lineWidth = scale;
          ctx.beginPath();
          ctx.moveTo(one, u.bbox.top);
          ctx.lineTo(one, u.bbox.top + u.bbox.height);
          ctx.stroke();
        },
        above: (ctx, u, place, scale) => {
          if (!narrow) return;
          ctx.fillStyle = cssColour("text");
          ctx.font = 12 * scale + "px " + FONT;
          ctx.textBaseline = "bottom";
          points.forEach((point) => {
            const [, y] = place(null, point.y);
            ctx.fillText(
              shortened(names.get(point.row), u.bbox.width / scale - 8),
              u.bbox.left + 4 * scale,
              y - 7 * scale,
            );
          });
        },
      },
      caption: `Against ${against.length <= 3 ? against.join(", ") : "each row's own"}: pairs of one block, bootstrapped. In the shaded band (less than 5 %) no difference is claimed; hollow marks are not decided.`,
      rows: table(
        `Ratios ${kinds.find(([kind]) => kind === state.kind)[1]}`,
        [
          {head: "Row"},
          {head: "against"},
          {head: "ratio", number: true},
          {head: "interval", number: true},
          {head: "verdict"},
        ],
        chosen.map((row) => {
          const f = row[state.kind].ratio;
          return [
            names.get(row),
            againstOf(row),
            ratio(f.value),
            isNumber(f.low) ? between(f.low, f.high, ratio) : NONE,
            verdictOf(row),
          ];
        }),
      ),
    };
  }, {});
  return {
    id: "ratios",
    title: "Ratios",
    figures: [figure_],
    lead: "How far each is from what the machine allows, or from the one it is compared with.",
  };
}

/** The axis always shows 1: an unseen point there. */
const withOne = (series) => [
  ...series,
  {
    label: "",
    style: {colour: "line", dash: [], width: 0, shape: "circle", line: false},
    line: false,
    points: [{x: 1, y: null}],
  },
];
