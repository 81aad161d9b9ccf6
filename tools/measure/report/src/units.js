// units.js: numbers as people read them: three digits and a unit.

const NBSP = "\u00a0";
const NONE = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three significant digits of 0 <= value < 1000, with zeros at the end unless `short`. */
function digits(value, short) {
  const text = value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toPrecision(3);
  return short && text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** value in the greatest unit in which it is at least 1; `units` are [text, size] in rising order. */
function inUnits(value, units, short) {
  if (!isNumber(value)) return NONE;
  if (value < 0) return "−" + inUnits(-value, units, short);
  let unit = units[0];
  for (const candidate of units) if (value >= candidate[1] * 0.9995) unit = candidate;
  const scaled = value / unit[1];
  const number = scaled >= 999.5 ? String(Math.round(scaled)) : digits(scaled, short);
  return unit[0] === "" ? number : number + NBSP + unit[0];
}

const DURATIONS = [
  ["ns", 1],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
];
const RATES = [
  ["msg/s", 1],
  ["k msg/s", 1e3],
  ["M msg/s", 1e6],
  ["G msg/s", 1e9],
];
const BANDWIDTHS = [
  ["B/s", 1],
  ["KiB/s", 2 ** 10],
  ["MiB/s", 2 ** 20],
  ["GiB/s", 2 ** 30],
  ["TiB/s", 2 ** 40],
];
const COUNTS = [
  ["", 1],
  ["k", 1e3],
  ["M", 1e6],
  ["G", 1e9],
];

const duration = (ns, short = false) => inUnits(ns, DURATIONS, short);
const rate = (perSecond, short = false) => inUnits(perSecond, RATES, short);
const bandwidth = (perSecond, short = false) => inUnits(perSecond, BANDWIDTHS, short);
const count = (value) => (isNumber(value) ? value.toLocaleString("en") : NONE);
const ratio = (value) =>
  isNumber(value) ? (value >= 999.5 ? value.toExponential(1) : digits(value, false)) + "×" : NONE;

/** An interval, its unit once: "641 … 655 ns". */
function between(low, high, format) {
  const [from, to] = [format(low), format(high)].map((text) => /^([^\u00a0×]*)(.*)$/.exec(text));
  return (from[2] === to[2] ? from[1] : from[0]) + " … " + to[0];
}

/** What happened per message: 0, 0.02, 1, 12.3. */
function each(value) {
  if (!isNumber(value)) return NONE;
  return value === 0
    ? "0"
    : value < 1e-4
      ? "< 0.0001"
      : value < 0.1
        ? String(Number(value.toPrecision(2)))
        : String(Number(value.toPrecision(3)));
}

/** 64 B, 1 KiB, 64 KiB: exact where a power of two divides it. */
function size(bytes) {
  if (!isNumber(bytes)) return NONE;
  for (const [unit, scale] of [
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ]) {
    if (bytes >= scale && bytes % scale === 0 && bytes / scale < 10000) return bytes / scale + NBSP + unit;
  }
  return bytes >= 10000
    ? inUnits(
        bytes,
        [
          ["B", 1],
          ["KiB", 2 ** 10],
          ["MiB", 2 ** 20],
          ["GiB", 2 ** 30],
        ],
        true,
      )
    : bytes + NBSP + "B";
}

function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 1) return duration(seconds * 1e9, true);
  if (seconds < 120) return String(Number(seconds.toPrecision(3))) + NBSP + "s";
  return Math.floor(seconds / 60) + NBSP + "min " + Math.round(seconds % 60) + NBSP + "s";
}

/** 0.999 -> "99.9 %". */
const percent = (p) => String(Number((p * 100).toFixed(7))) + NBSP + "%";
