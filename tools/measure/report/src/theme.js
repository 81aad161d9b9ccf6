// theme.js: colours, dashes and markers.
//
// A name has one colour everywhere; what else tells lines apart is their dash and, where there are points, their shape, so
// that no chart depends on colour alone. The colours of --line0 to --line7 (report.css) were searched for by computer: on
// their surface they are 22 apart (CIE76) for protanopia and deuteranopia, 25 for tritanopia (simulated after Machado et
// al. 2009), and have a contrast of 3 at least.

const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 2]];
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "down"];
const COLOURS = 8,
  GREYS = 3;

const cssColour = (name) =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();

/** Colours by name, over all rows of the page: ours and peers have the palette, floors are grey. */
class Palette {
  constructor(rows) {
    this.names = new Map();
    let coloured = 0,
      grey = 0;
    for (const family of ["ours", "peer", "floor", ""]) {
      for (const row of rows) {
        const known = ["ours", "peer", "floor"].includes(row.family) ? row.family : "";
        const key = row.family + "\n" + row.name;
        if (known !== family || this.names.has(key)) continue;
        this.names.set(
          key,
          family === "floor"
            ? {colour: "grey" + (grey % GREYS), dash: 2 + Math.floor(grey / GREYS), shape: grey++}
            : {
                colour: "line" + (coloured % COLOURS),
                dash: (family === "ours" ? 0 : 1) + Math.floor(coloured / COLOURS),
                shape: coloured++,
              },
        );
      }
    }
  }

  /**
   * A style for each row of one chart: rows of one name share a colour and differ in dash and shape. Where a name has
   * more rows than there are dashes it is the other way round: a dash for each name, a colour for each of its rows.
   */
  styles(rows) {
    const bases = rows.map((row) => this.names.get(row.family + "\n" + row.name));
    const names = distinct(bases);
    if (names.some((base) => bases.filter((other) => other === base).length > DASHES.length)) {
      const used = new Map();
      return new Map(
        rows.map((row, i) => {
          const variant = used.get(bases[i]) || 0,
            name = names.indexOf(bases[i]);
          used.set(bases[i], variant + 1);
          return [
            row,
            {
              colour: "line" + (variant % COLOURS),
              dash: DASHES[(name + Math.floor(variant / COLOURS)) % DASHES.length],
              shape: SHAPES[name % SHAPES.length],
              width: 2,
            },
          ];
        }),
      );
    }
    const used = new Map();
    return new Map(
      rows.map((row) => {
        const base = this.names.get(row.family + "\n" + row.name);
        const variant = used.get(base) || 0;
        used.set(base, variant + 1);
        return [
          row,
          {
            colour: base.colour,
            dash: DASHES[(base.dash + variant) % DASHES.length],
            shape: SHAPES[(base.shape + variant) % SHAPES.length],
            width: row.family === "floor" ? 1.5 : 2,
          },
        ];
      }),
    );
  }
}

/** Draws a marker around (x, y) with radius r, hollow or not. */
function drawShape(ctx, shape, x, y, r, hollow) {
  ctx.beginPath();
  switch (shape) {
    case "square":
      ctx.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
      break;
    case "triangle":
      polygon(ctx, x, y, [
        [0, -r * 1.15],
        [r * 1.05, r * 0.75],
        [-r * 1.05, r * 0.75],
      ]);
      break;
    case "down":
      polygon(ctx, x, y, [
        [0, r * 1.15],
        [r * 1.05, -r * 0.75],
        [-r * 1.05, -r * 0.75],
      ]);
      break;
    case "diamond":
      polygon(ctx, x, y, [
        [0, -r * 1.25],
        [r * 1.1, 0],
        [0, r * 1.25],
        [-r * 1.1, 0],
      ]);
      break;
    case "cross": {
      const a = r * 0.35,
        b = r * 1.1;
      polygon(ctx, x, y, [
        [-a, -b],
        [a, -b],
        [a, -a],
        [b, -a],
        [b, a],
        [a, a],
        [a, b],
        [-a, b],
        [-a, a],
        [-b, a],
        [-b, -a],
        [-a, -a],
      ]);
      break;
    }
    default:
      ctx.arc(x, y, r, 0, 2 * Math.PI);
  }
  ctx.fill();
  if (hollow) ctx.stroke();
}

function polygon(ctx, x, y, corners) {
  corners.forEach(([dx, dy], i) => (i === 0 ? ctx.moveTo(x + dx, y + dy) : ctx.lineTo(x + dx, y + dy)));
  ctx.closePath();
}

/** A legend's swatch: the line as it is drawn, with its marker. */
function swatch(style, marker) {
  const colour = cssColour(style.colour);
  const shape = {
    circle: () => svg("circle", {cx: 14, cy: 6, r: 3.6}),
    square: () => svg("rect", {x: 10.8, y: 2.8, width: 6.4, height: 6.4}),
    triangle: () => svg("path", {d: "M14 1.6 18 9 10 9Z"}),
    down: () => svg("path", {d: "M14 10.4 18 3 10 3Z"}),
    diamond: () => svg("path", {d: "M14 1.2 18.4 6 14 10.8 9.6 6Z"}),
    cross: () => svg("path", {d: "M12.7 1.8h2.6v2.9h2.9v2.6h-2.9v2.9h-2.6v-2.9h-2.9v-2.6h2.9Z"}),
  }[style.shape];
  return svg(
    "svg",
    {width: 28, height: 12, viewBox: "0 0 28 12", "aria-hidden": "true", fill: colour, stroke: "none"},
    style.line === false
      ? null
      : svg("path", {
          d: "M0 6H28",
          stroke: colour,
          "stroke-width": style.width,
          "stroke-dasharray": style.dash.join(" ") || null,
        }),
    marker && shape ? shape() : null,
  );
}
