// marks.js: what uPlot does not draw: markers, intervals, and names beside the lines' ends.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';

const measuring = document.createElement("canvas").getContext("2d");
function textWidth(text) {
  measuring.font = "12px " + FONT;
  return measuring.measureText(text).width;
}
function shortened(text, width) {
  if (textWidth(text) <= width) return text;
  let end = text.length;
  while (end > 1 && textWidth(text.slice(0, end) + "…") > width) --end;
  return text.slice(0, end) + "…";
}

/** What uPlot does not draw: intervals, markers, labels at the ends. */
function drawMarks(chart, u) {
  const {ctx} = u,
    ratio_ = uPlot.pxRatio,
    {left, top, width, height} = u.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left - 6 * ratio_, top - 6 * ratio_, width + 12 * ratio_, height + 12 * ratio_);
  ctx.clip();
  chart.spec.series.forEach((line, i) => {
    if (!chart.shown[i]) return;
    ctx.globalAlpha = u.series[i + 1].alpha ?? 1;
    for (const point of line.points) {
      if (point.y === null) continue;
      const [x, y] = chart.pixel(u, point.x, point.y);
      ctx.strokeStyle = ctx.fillStyle = cssColour(point.colour || line.style.colour);
      ctx.lineWidth = 1.5 * ratio_;
      ctx.setLineDash([]);
      for (const [from, to, along] of [
        [point.low, point.high, "y"],
        [point.xlow, point.xhigh, "x"],
      ]) {
        if (!isNumber(from) || !isNumber(to)) continue;
        const [x1, y1] = along === "y" ? chart.pixel(u, point.x, from) : chart.pixel(u, from, point.y);
        const [x2, y2] = along === "y" ? chart.pixel(u, point.x, to) : chart.pixel(u, to, point.y);
        const cap = 3.5 * ratio_,
          [cx, cy] = along === "y" ? [cap, 0] : [0, cap];
        ctx.beginPath();
        ctx.moveTo(x1, y1);
        ctx.lineTo(x2, y2);
        ctx.moveTo(x1 - cx, y1 - cy);
        ctx.lineTo(x1 + cx, y1 + cy);
        ctx.moveTo(x2 - cx, y2 - cy);
        ctx.lineTo(x2 + cx, y2 + cy);
        ctx.stroke();
      }
      if (line.markers) {
        if (point.hollow) ctx.fillStyle = cssColour("surface");
        drawShape(ctx, line.style.shape, x, y, (line.radius || 4) * ratio_, point.hollow);
      }
    }
  });
  ctx.restore();
  if (chart.spec.labelled !== false && chart.width >= 560) labelEnds(chart, u);
  chart.paint(u, "above");
}

/** Names beside the last points, pushed apart where they would overlap. */
function labelEnds(chart, u) {
  const {ctx} = u,
    ratio_ = uPlot.pxRatio,
    {left, top, width, height} = u.bbox;
  const ends = [];
  chart.spec.series.forEach((line, i) => {
    if (!chart.shown[i] || line.line === false) return;
    const inside = line.points.filter(
      (point) => point.y !== null && toScale(chart.spec.x, point.x) <= u.scales.x.max + 1e-9,
    );
    const last = inside[inside.length - 1];
    if (!last) return;
    const [x, y] = chart.pixel(u, last.x, last.y);
    if (y >= top - 1 && y <= top + height + 1) ends.push({x, y, at: y, line, alpha: u.series[i + 1].alpha ?? 1});
  });
  const apart = 14 * ratio_;
  if (ends.length * apart > height + apart) return; // no room: the legend has them
  ends.sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; ++i) ends[i].at = Math.max(ends[i].at, ends[i - 1].at + apart);
  let limit = top + height;
  for (let i = ends.length - 1; i >= 0; --i, limit -= apart) ends[i].at = Math.min(ends[i].at, limit);
  ctx.save();
  ctx.font = 12 * ratio_ + "px " + FONT;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  const x = left + width + 14 * ratio_;
  for (const end of ends) {
    ctx.globalAlpha = end.alpha;
    ctx.strokeStyle = cssColour(end.line.style.colour);
    ctx.lineWidth = ratio_;
    ctx.setLineDash([ratio_, 2 * ratio_]);
    ctx.beginPath();
    ctx.moveTo(end.x + 3 * ratio_, end.y);
    ctx.lineTo(left + width, end.y);
    ctx.lineTo(x - 3 * ratio_, end.at);
    ctx.stroke();
    ctx.fillStyle = cssColour(end.line.style.colour);
    ctx.fillText(shortened(end.line.label, 164), x, end.at);
  }
  ctx.restore();
}
