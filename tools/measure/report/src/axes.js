// axes.js: scales and their ticks.
//
// A logarithmic axis is a linear one over log10 for uPlot, so that the ticks are ours: round numbers at any zoom, as many
// as there is room for.

const toScale = (axis, value) => (axis.log ? Math.log10(Math.max(value, 1e-12)) : value);
const fromScale = (axis, position) => (axis.log ? Number((10 ** position).toPrecision(10)) : position);

/** Round values in [low, high], evenly spaced, at most `most`. */
function linearTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = magnitude * [1, 2, 5, 10].find((factor) => factor * magnitude >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i)
    ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Positions (log10) of round values in [low, high] (log10 too), at most `most`. */
function logTicks(low, high, most) {
  const within = (mantissas, every) => {
    const ticks = [];
    for (let decade = Math.floor(low); decade <= high; ++decade) {
      if (((decade % every) + every) % every !== 0) continue;
      for (const mantissa of mantissas) {
        const position = decade + Math.log10(mantissa);
        if (position >= low - 1e-9 && position <= high + 1e-9) ticks.push(position);
      }
    }
    return ticks;
  };
  for (const [mantissas, every] of [
    [[1, 2, 5], 1],
    [[1, 3], 1],
    [[1], 1],
    [[1], 2],
    [[1], 3],
    [[1], 6],
  ]) {
    const ticks = within(mantissas, every);
    if (ticks.length > most) continue;
    if (ticks.length >= 3) return ticks;
    const even = linearTicks(10 ** low, 10 ** high, most)
      .filter((value) => value > 0)
      .map(Math.log10);
    return even.length > ticks.length ? even : ticks;
  }
  return [];
}

/** Ticks for one axis over [low, high] of its scale, in `room` pixels. */
function ticksOf(axis, low, high, room) {
  const apart = axis.apart || 36;
  const most = Math.max(2, Math.floor(room / apart));
  if (axis.ticks) {
    // given: those that are not closer than a label's width
    const shown = [];
    for (const value of axis.ticks) {
      const position = toScale(axis, value);
      if (position < low - 1e-9 || position > high + 1e-9) continue;
      const before = shown.length > 0 ? ((position - shown[shown.length - 1]) / (high - low)) * room : Infinity;
      if (before >= apart || axis.each) shown.push(position);
    }
    return shown;
  }
  return axis.log ? logTicks(low, high, most) : linearTicks(low, high, most);
}

/** [low, high] with some air, and never so narrow that noise fills the chart. */
function withAir(axis, low, high) {
  if (axis.range) return axis.range;
  if (!(low <= high)) return axis.log ? [0, 1] : [0, 1];
  const least = axis.log ? 0.2 : Math.max(Math.abs(high) * 0.02, 1e-9);
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
  const air = (high - low) * (axis.air ?? 0.06);
  return [axis.zero ? 0 : low - air, high + air];
}
