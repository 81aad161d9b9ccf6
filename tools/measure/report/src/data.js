// data.js: results as the charts want them. The document's format is in tools/measure/README.md; its summary is the
// program's, and nothing here computes medians, intervals or verdicts again: only spectra are drawn from histograms.

const SCHEMA = 1;
const list = (value) => (Array.isArray(value) ? value : []);
const texts = (value) => list(value).map(String);
const record = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});

/** A result from its text, or an Error that says what is wrong with it. */
function readResult(text, source) {
  let raw;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new Error(source + " is no JSON: " + error.message);
  }
  if (record(raw) !== raw || !Array.isArray(raw.rows)) throw new Error(source + " is no result of bus: it has no rows");
  if (raw.schema !== SCHEMA) {
    throw new Error(source + " has schema " + String(raw.schema) + ", and this page reads schema " + SCHEMA);
  }
  // JavaScript's numbers are exact up to 2^53 only; a seed may be greater.
  const seed = /"seed"\s*:\s*([0-9]+)/.exec(text);
  return {
    text,
    source,
    raw,
    letter: "",
    kind: typeof raw.kind === "string" ? raw.kind : "",
    command: texts(raw.command),
    started: typeof raw.started === "string" ? raw.started : "",
    seconds: raw.seconds,
    seed: seed && Number(seed[1]) === raw.seed ? seed[1] : isNumber(raw.seed) ? String(raw.seed) : "",
    baseline: typeof raw.baseline === "string" ? raw.baseline : "",
    valid: raw.valid === true,
    invalid: texts(raw.invalid),
    warnings: texts(raw.warnings),
    order: list(raw.order).map(texts),
    environment: record(raw.environment),
    rows: raw.rows.map((row) => readRow(record(row))),
  };
}

function readRow(raw) {
  const summary = record(raw.summary);
  return {
    raw,
    id: String(raw.id),
    name: String(raw.name),
    family: String(raw.family),
    c: record(raw.conditions),
    document: null,
    valid: raw.valid !== false,
    invalid: texts(raw.invalid),
    warnings: texts(raw.warnings),
    repetitions: list(raw.repetitions).map(record),
    figures: record(summary.figures),
    floor: summary.floor ? record(summary.floor) : null,
    baseline: summary.baseline ? record(summary.baseline) : null,
    histograms: new Map(),
  };
}

const figure = (row, name) => (isNumber(record(row.figures[name]).value) ? row.figures[name] : null);

/** The repetitions that count; all of them if none does: then the row is marked as invalid wherever it is shown. */
function counting(row) {
  const valid = row.repetitions.filter((repetition) => repetition.valid !== false);
  return valid.length > 0 ? valid : row.repetitions;
}

const HISTOGRAMS = [
  ["rtt", "Round trip (RTT)"],
  ["response", "Response, from when due"],
  ["service", "Service, from when sent"],
  ["send_lag", "Send lag"],
];

/** A row's histogram `name` over its repetitions: {count, max, buckets}; null if not even a median can be given. */
function merged(row, name) {
  if (row.histograms.has(name)) return row.histograms.get(name);
  const counts = new Map();
  let total = 0,
    max = 0;
  for (const repetition of counting(row)) {
    const histogram = record(record(repetition.histograms)[name]);
    for (const [value, samples] of list(histogram.buckets)) {
      if (!isNumber(value) || !isNumber(samples)) continue;
      counts.set(value, (counts.get(value) || 0) + samples);
      total += samples;
    }
    if (isNumber(histogram.max)) max = Math.max(max, histogram.max);
  }
  const buckets = [...counts].sort((a, b) => a[0] - b[0]);
  const result = mayShow(0.5, total) ? {count: total, max, buckets} : null;
  row.histograms.set(name, result);
  return result;
}

/** A quantile of so many samples says something when at least ten of them are above it. */
const mayShow = (q, samples) => samples * (1 - q) >= 10 - 1e-6;

/** The quantiles `qs` (rising) by nearest rank. Those with fewer than ten samples above them are left out. */
function quantiles(histogram, qs) {
  const found = [];
  let at = 0,
    below = 0;
  for (const q of qs) {
    if (!mayShow(q, histogram.count)) break;
    const rank = Math.max(1, Math.ceil(q * histogram.count - 1e-9));
    while (at < histogram.buckets.length - 1 && below + histogram.buckets[at][1] < rank)
      below += histogram.buckets[at++][1];
    found.push(histogram.buckets[at][0]);
  }
  return found;
}

const LOADS = new Map([
  ["closed", "ping-pong"],
  ["open", "open loop"],
  ["flood", "flood"],
  ["none", ""],
]);

// What tells rows apart besides their name, in the order in which labels have it.
const FACTORS = [
  ["size", (row) => size(row.c.size)],
  ["measure", (row) => String(row.c.measure)],
  ["load_model", (row) => LOADS.get(row.c.load_model) ?? String(row.c.load_model)],
  ["wait", (row) => String(row.c.wait || "")],
  ["rate", (row) => (row.c.rate > 0 ? "at " + rate(row.c.rate, true) : "")],
  ["arrival", (row) => String(row.c.arrival || "")],
  ["touch", (row) => "reads " + String(row.c.touch)],
  ["copy", (row) => (row.c.copy ? "copies" : "no copy")],
  ["loan", (row) => (row.c.loan ? "loaned" : "not loaned")],
  ["batch", (row) => "batch " + row.c.batch],
  ["producers", (row) => row.c.producers + (row.c.producers === 1 ? " producer" : " producers")],
  ["clock", (row) => "clock " + row.c.clock],
  [
    "pin",
    (row) => {
      const pins = Object.entries(record(row.c.pin))
        .map(([role, cpu]) => role + "=" + cpu)
        .join(",");
      return pins ? "pin " + pins : "not pinned";
    },
  ],
  ["document", (row) => row.document.letter],
];
const factorKey = (row, factor) =>
  factor === "document" ? row.document.letter : JSON.stringify(row.c[factor] ?? null);

/** A label for each row: its name and what differs among rows of that name. `without` names factors to leave out. */
function labels(rows, without = []) {
  const varying = new Map();
  for (const row of rows) {
    if (varying.has(row.name)) continue;
    const namesakes = rows.filter((other) => other.name === row.name);
    varying.set(
      row.name,
      FACTORS.filter(
        ([factor]) =>
          !without.includes(factor) &&
          namesakes.some((other) => factorKey(other, factor) !== factorKey(namesakes[0], factor)),
      ),
    );
  }
  return new Map(
    rows.map((row) => [
      row,
      [
        row.name,
        ...varying
          .get(row.name)
          .map(([, text]) => text(row))
          .filter(Boolean),
      ].join(" · ") + (row.valid ? "" : " (invalid)"),
    ]),
  );
}

/** Rows that differ in nothing but `factor`, as groups of at least two values of it. */
function groupsBut(rows, factor) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([
      row.name,
      row.family,
      ...FACTORS.map(([each_]) => (each_ === factor ? "" : factorKey(row, each_))),
    ]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  return [...groups.values()]
    .filter((group) => new Set(group.map((row) => row.c[factor])).size > 1)
    .map((group) => group.sort((a, b) => a.c[factor] - b.c[factor]));
}

const distinct = (values) => [...new Set(values)];
const sizesOf = (rows) => distinct(rows.map((row) => row.c.size)).sort((a, b) => a - b);

/** The smallest of the sizes that most rows have: where a chart begins. */
function fullestSize(rows) {
  const having = (bytes) => rows.filter((row) => row.c.size === bytes).length;
  return sizesOf(rows).reduce((best, bytes) => (having(bytes) > having(best) ? bytes : best));
}
