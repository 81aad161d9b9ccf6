// chart.js: one uPlot chart: lines, marks, a tooltip, and a legend to choose from.
//
// A chart is described by
//   x, y      {label, format, log, ticks, range, zero, apart}
//   series    [{label, group, style, points: [{x, y, low, high, xlow, xhigh, hollow, note}], line, markers, hidden}]
//             a point whose y is null breaks the line
//   describe  what it shows, in words
//   behind, above   optional: draw on the canvas with (ctx, u, place); place(x, y) gives pixels
// All positions are found by nearest point in both directions, so lines need not share their x.

const TOUCH = 26; // pixels around a point within which it is found

class Chart {
  constructor(host, spec) {
    this.spec = spec;
    this.shown = spec.series.map((series) => !series.hidden);
    this.plot = h("div.plot", {role: "img", "aria-label": spec.describe});
    this.tip = h("div.tip", {"aria-hidden": "true", hidden: true});
    this.dot = h("div.dot", {"aria-hidden": "true", hidden: true});
    this.zoomed = h("button.small.zoomed", {type: "button", hidden: true, onclick: () => this.whole()}, "Whole chart");
    host.append(h("div.stage", {}, this.plot, this.zoomed), this.legend());
    this.width = 0;
    this.draw();
    this.observer = new ResizeObserver(() => {
      if (Math.abs(this.plot.clientWidth - this.width) > 1) requestAnimationFrame(() => this.draw());
    });
    this.observer.observe(this.plot);
  }

  destroy() {
    this.observer.disconnect();
    if (this.u) this.u.destroy();
  }

  /** Draws all anew, for the width and the colours of now. */
  draw() {
    const width = this.plot.clientWidth;
    if (width < 50) return;
    this.width = width;
    if (this.u) this.u.destroy();
    this.plot.replaceChildren();
    const {x, y, series} = this.spec;
    const narrow = width < 560;
    const positions = distinct(series.flatMap((line) => line.points.map((point) => toScale(x, point.x)))).sort(
      (a, b) => a - b,
    );
    const place = new Map(positions.map((position, i) => [position, i]));
    const data = [
      positions,
      ...series.map((line) => {
        const column = new Array(positions.length); // undefined: another line's x; null: a break
        for (const point of line.points)
          column[place.get(toScale(x, point.x))] = point.y === null ? null : toScale(y, point.y);
        return column;
      }),
    ];
    const ends = narrow || this.spec.labelled === false ? 0 : this.endWidth();
    const text = cssColour("text-muted"),
      grid = cssColour("grid");
    const axis = (which, side, more) => ({
      scale: which,
      side,
      stroke: text,
      font: "12px " + FONT,
      labelFont: "12px " + FONT,
      label: this.spec[which].label,
      labelSize: 20,
      labelGap: 2,
      gap: 5,
      grid: {stroke: grid, width: 1},
      ticks: {show: false},
      splits: (u, _, low, high) =>
        ticksOf(this.spec[which], low, high, (which === "x" ? u.bbox.width : u.bbox.height) / uPlot.pxRatio),
      values: (_, splits) => splits.map((position) => this.spec[which].format(fromScale(this.spec[which], position))),
      ...more,
    });
    this.u = new uPlot(
      {
        width,
        height: this.spec.height || (narrow ? 300 : 360),
        padding: [12, Math.max(ends, narrow ? 14 : 20), 0, 0],
        legend: {show: false},
        focus: {alpha: 0.22},
        cursor: {
          x: false,
          y: false,
          points: {show: false},
          drag: {x: !this.spec.fixed, y: false, setScale: true, dist: 8},
        },
        scales: {
          x: {
            time: false,
            range: (_, low, high) =>
              low === positions[0] && high === positions[positions.length - 1] ? this.range("x") : [low, high],
          },
          y: {range: () => this.range("y")},
        },
        axes: [axis("x", 2, {size: 30}), axis("y", 3, {size: (u, values) => this.labelWidth(values)})],
        series: [
          {},
          ...series.map((line, i) => ({
            scale: "y",
            show: this.shown[i],
            stroke: cssColour(line.style.colour),
            width: line.line === false ? 0 : line.style.width,
            dash: line.style.dash,
            points: {show: false},
            spanGaps: false,
            ...(line.line === false ? {paths: () => null} : {}),
          })),
        ],
        hooks: {
          drawAxes: [(u) => this.paint(u, "behind")],
          draw: [(u) => drawMarks(this, u)],
          setScale: [(u, key) => key === "x" && this.checkZoom(u)],
        },
      },
      data,
      this.plot,
    );
    this.u.over.append(this.dot, this.tip);
    this.u.over.addEventListener("pointermove", (event) => this.point(event));
    this.u.over.addEventListener("pointerdown", (event) => this.point(event));
    this.u.over.addEventListener("pointerleave", () => this.unpoint());
  }

  /** The range of an axis over what is shown, with intervals. */
  range(which) {
    const axis = this.spec[which];
    let low = Infinity,
      high = -Infinity;
    this.spec.series.forEach((line, i) => {
      if (!this.shown[i] && which === "y") return;
      for (const point of line.points) {
        const values = which === "x" ? [point.x, point.xlow, point.xhigh] : [point.y, point.low, point.high];
        for (const value of values) {
          if (!isNumber(value) || (axis.log && value <= 0)) continue;
          low = Math.min(low, toScale(axis, value));
          high = Math.max(high, toScale(axis, value));
        }
      }
    });
    return withAir(axis, low, high);
  }

  labelWidth(values) {
    const longest = Math.max(1, ...list(values).map((value) => textWidth(String(value))));
    return Math.ceil(longest) + 12;
  }

  endWidth() {
    return Math.min(
      190,
      Math.max(0, ...this.spec.series.map((line, i) => (this.shown[i] ? textWidth(line.label) : 0))) + 24,
    );
  }

  paint(u, what) {
    if (!this.spec[what]) return;
    const {ctx} = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.textAlign = "left";
    this.spec[what](ctx, u, (px, py) => this.pixel(u, px, py), uPlot.pxRatio);
    ctx.restore();
  }

  /** Canvas pixels of a value; null leaves a coordinate out. */
  pixel(u, px, py) {
    return [
      px === null ? 0 : u.valToPos(toScale(this.spec.x, px), "x", true),
      py === null ? 0 : u.valToPos(toScale(this.spec.y, py), "y", true),
    ];
  }

  point(event) {
    const box = this.u.over.getBoundingClientRect();
    const x = event.clientX - box.left,
      y = event.clientY - box.top;
    let best = null,
      least = (event.pointerType === "touch" ? 1.6 : 1) * TOUCH;
    this.spec.series.forEach((line, i) => {
      if (!this.shown[i]) return;
      for (const point of line.points) {
        if (point.y === null) continue;
        const px = this.u.valToPos(toScale(this.spec.x, point.x), "x"),
          py = this.u.valToPos(toScale(this.spec.y, point.y), "y");
        const away = Math.hypot((px - x) * (line.markers ? 1 : 1.5), py - y);
        if (away < least) [least, best] = [away, {line, i, point, px, py}];
      }
    });
    if (!best) return this.unpoint();
    this.focus(this.spec.quiet ? null : best.i);
    this.tip.replaceChildren(
      h("b", {}, swatch(best.line.style, best.line.markers), " ", best.line.label),
      ...this.spec.tip(best.point, best.line).map((line) => h("div", {}, line)),
    );
    this.tip.hidden = this.dot.hidden = false;
    this.dot.style.transform = `translate(${best.px - 5}px, ${best.py - 5}px)`;
    const wide = this.tip.offsetWidth,
      high = this.tip.offsetHeight;
    const left = best.px + 14 + wide > box.width ? Math.max(best.px - wide - 14, -40) : best.px + 14;
    const top = Math.min(Math.max(best.py - high / 2, -4), box.height - high + 4);
    this.tip.style.transform = `translate(${left}px, ${top}px)`;
  }

  unpoint() {
    this.tip.hidden = this.dot.hidden = true;
    this.focus(null);
  }

  focus(i) {
    if (this.focused === i) return;
    this.focused = i;
    this.u.setSeries(i === null ? null : i + 1, {focus: true});
  }

  checkZoom(u) {
    const all = this.range("x");
    this.zoomed.hidden = !(u.scales.x.min > all[0] + 1e-9 || u.scales.x.max < all[1] - 1e-9);
  }

  whole() {
    this.u.setData(this.u.data, true);
    this.zoomed.hidden = true;
  }

  /** Buttons that show and hide lines, by group. */
  legend() {
    const {series} = this.spec;
    if (this.spec.legend === false || series.length < 2)
      return this.spec.key ? h("div.legend", {}, this.spec.key()) : "";
    const buttons = series.map((line, i) => {
      const button = h(
        "button.entry",
        {
          type: "button",
          "aria-pressed": String(this.shown[i]),
          onclick: () => {
            this.shown[i] = !this.shown[i];
            update();
          },
          onpointerenter: () => this.shown[i] && this.u && this.focus(i),
          onpointerleave: () => this.u && this.focus(null),
        },
        swatch(line.style, line.markers),
        h("span", {}, line.label),
      );
      return button;
    });
    const update = () => {
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(this.shown[i])));
      this.focused = null;
      this.draw();
    };
    const groups = distinct(series.map((line) => line.group || ""));
    return h(
      "div.legend",
      {role: "group", "aria-label": "Lines to show"},
      groups.map((group) => {
        const members = series.map((_, i) => i).filter((i) => (series[i].group || "") === group);
        const all =
          groups.length > 1 || members.length > 3
            ? h(
                "button.small",
                {
                  type: "button",
                  onclick: () => {
                    const show = !members.every((i) => this.shown[i]);
                    for (const i of members) this.shown[i] = show;
                    update();
                  },
                },
                group || "All",
              )
            : null;
        return h(
          "div.group",
          {},
          all,
          members.map((i) => buttons[i]),
        );
      }),
      this.spec.key ? this.spec.key() : null,
    );
  }
}
