// make_results.mjs [NAME]: results as the bus program writes them, made up from a seed, to test the HTML report.
//
// With NAME it prints that one; sample.json is "sample". Durations are lognormal with a heavy tail; a histogram has about
// sixty buckets, so that the documents stay small.

/** Numbers in [0, 1) that are the same in every run. Source: mulberry32, public domain. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The least value of the bucket that a duration falls into: exact up to 2047 ns, then 1024 buckets an octave. */
function bucket(ns) {
  if (ns < 2048) return Math.round(ns);
  const step = 2 ** (Math.floor(Math.log2(ns)) - 10);
  return Math.floor(ns / step) * step;
}

/** The duration at quantile q: a body around the median, a first tail from 99 %, a second one from 99.9 %. */
function shape(q, median, tail) {
  const body = median * Math.exp(0.09 * Math.log(q / (1 - q)));
  const slow = q > 0.985 ? tail * ((q - 0.985) / 0.015) ** 2 * median : 0;
  const stall = q > 0.9985 ? 6 * tail * ((q - 0.9985) / 0.0015) ** 3 * median : 0;
  return Math.max(20, median * 0.72, body + slow + stall);
}

function histogram(random, count, median, tail) {
  const edges = [];
  for (let i = 0; i < 24; ++i) edges.push(i / 24);
  for (let i = 0; i <= 40; ++i) edges.push(1 - 10 ** (-1.4 - i / 12));
  edges.sort((a, b) => a - b);
  const counts = new Map();
  let placed = 0;
  for (let i = 0; i < edges.length; ++i) {
    const end = Math.round(count * (i + 1 < edges.length ? edges[i + 1] : 1));
    if (end <= placed) continue;
    const q = Math.min(0.99999, (placed + end) / 2 / count);
    const value = bucket(shape(q, median, tail) * (1 + 0.004 * (random() - 0.5)));
    counts.set(value, (counts.get(value) || 0) + end - placed);
    placed = end;
  }
  const buckets = [...counts].sort((a, b) => a[0] - b[0]);
  const max = Math.round(buckets[buckets.length - 1][0] * (1.2 + random()));
  buckets.push([bucket(max), 1]);
  return {count: count + 1, min: buckets[0][0], max, buckets};
}

const quantileOf = ({count, buckets}, q) => {
  let below = 0;
  for (const [value, samples] of buckets) if ((below += samples) >= q * count) return value;
  return buckets[buckets.length - 1][0];
};

/** A figure as the program gives it: median, and the second least and greatest as the interval. */
function figure(values) {
  const sorted = [...values].sort((a, b) => a - b),
    n = sorted.length;
  const value = (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
  if (n < 6) return {value};
  const off = n >= 10 ? 1 : 0;
  return {value, low: sorted[off], high: sorted[n - 1 - off], confidence: n >= 10 ? 0.978516 : 1 - 2 ** (1 - n)};
}

const kSlices = 6;

/** What was seen around a slow sample, in the words of the engine. */
function cause(random, duration) {
  const switches = 1 + Math.floor(3 * random());
  const kept = `kept from the CPU for ${(duration * 0.0008).toFixed(1)}us`;
  const seen = [
    `${switches} involuntary context switch${switches > 1 ? "es" : ""}, ${kept}`,
    kept,
    `${1 + switches * 3} page faults`,
    `1 involuntary context switch`,
    "",
  ];
  return seen[Math.floor(random() * random() * seen.length)];
}

function conditions(more) {
  return {
    measure: "latency",
    load_model: "closed",
    arrival: "",
    rate: 0,
    size: 64,
    wait: "hybrid",
    touch: "all",
    copy: false,
    loan: false,
    batch: 1,
    producers: 1,
    clock: "monotonic",
    pin: {send: 0, receive: 1},
    ...more,
  };
}

/** A row: `m` has median (ns) or rate (msg/s), tail, and counts a message. */
function row(random, name, family, c, m, repetitions = 6) {
  const label = [c.measure, name.toLowerCase().replaceAll(" ", "-"), c.size, c.wait, c.rate ? c.rate : ""]
    .filter((part) => part !== "")
    .join("/");
  const made = [];
  for (let block = 0; block < repetitions; ++block) {
    const drift = 1 + 0.03 * (random() - 0.5);
    const r = {
      block,
      position: Math.floor(random() * 8),
      valid: true,
      invalid: [],
      warnings: [],
      messages: 0,
      bytes: 0,
      seconds: 0.5,
      achieved_rate: 0,
      lost: 0,
      duplicates: 0,
      reordered: 0,
      damaged: 0,
      cost: 0,
      cpu: (m.cpu || 500) * drift,
      voluntary_switches: (m.switches || 0) * drift,
      involuntary_switches: 0.0001 * random(),
      page_faults: 0,
      histograms: {},
      timeline: [],
      worst: [],
    };
    if (c.measure === "latency") {
      r.messages = c.rate
        ? Math.round(Math.min(c.rate, m.capacity || Infinity) * r.seconds)
        : Math.round(Math.min(6e5, 5e8 / m.median));
      const main = histogram(random, r.messages, m.median * drift, m.tail || 1);
      if (c.load_model === "open") {
        r.histograms = {
          response: main,
          service: histogram(
            random,
            r.messages,
            Math.min(m.service || m.median, m.median) * drift,
            (m.tail || 1) * 0.6,
          ),
          send_lag: histogram(random, r.messages, 45 * drift, 0.5),
        };
      } else {
        r.histograms = {rtt: main};
      }
      const [p50, p99] = [quantileOf(main, 0.5), quantileOf(main, 0.99)];
      for (let i = 0; i < kSlices; ++i) {
        const busy = block === 3 && i === 4 ? 1.5 : 1;
        r.timeline.push({
          at: (i * 0.5) / kSlices,
          seconds: 0.5 / kSlices,
          count: Math.round(r.messages / kSlices),
          p50: Math.round(p50 * busy * (1 + 0.02 * (random() - 0.5))),
          p99: Math.round(p99 * busy * (1 + 0.15 * (random() - 0.5))),
          max: Math.round(main.max * (0.25 + 0.5 * random())),
        });
      }
      for (let i = 0; i < 4; ++i) {
        const slice = Math.floor(random() * kSlices);
        const duration = Math.round(main.max * (1 - 0.16 * i));
        r.timeline[slice].max = Math.max(r.timeline[slice].max, duration);
        r.worst.push({
          at: Number((((slice + random()) * 0.5) / kSlices).toFixed(4)),
          duration,
          cause: cause(random, duration),
        });
      }
    } else if (c.measure === "throughput") {
      r.messages = Math.round(m.rate * drift * r.seconds);
      for (let i = 0; i < 3; ++i) {
        r.timeline.push({
          at: (i * 0.5) / 3,
          seconds: 0.5 / 3,
          count: Math.round((r.messages / 3) * (1 + 0.05 * (random() - 0.5))),
          p50: 0,
          p99: 0,
          max: 0,
        });
      }
    } else {
      r.cost = m.cost * drift;
    }
    r.bytes = r.messages * c.size;
    r.achieved_rate = r.messages / r.seconds;
    made.push(r);
  }
  const figures = {};
  if (c.measure === "latency") {
    const main = made.map((r) => r.histograms.rtt || r.histograms.response);
    for (const [key, q] of [
      ["p50", 0.5],
      ["p90", 0.9],
      ["p99", 0.99],
      ["p99.9", 0.999],
      ["p99.99", 0.9999],
    ]) {
      if (main[0].count * (1 - q) >= 10) figures[key] = figure(main.map((each) => quantileOf(each, q)));
    }
    figures.max = figure(main.map((each) => each.max));
    if (c.load_model === "open")
      figures.send_lag_p99 = figure(made.map((r) => quantileOf(r.histograms.send_lag, 0.99)));
  }
  if (c.measure === "cost") {
    figures.cost = figure(made.map((r) => r.cost));
  } else {
    figures.rate = figure(made.map((r) => r.achieved_rate));
    figures.bytes_per_second = figure(made.map((r) => r.achieved_rate * c.size));
    for (const key of ["cpu", "voluntary_switches", "involuntary_switches", "page_faults"])
      figures[key] = figure(made.map((r) => r[key]));
  }
  return {
    id: label,
    name,
    family,
    address: family === "ours" ? name + "://bus-" + c.size : "",
    library: m.library || "",
    conditions: c,
    copies: m.copies ?? null,
    syscalls: m.syscalls ?? null,
    yields: m.yields ?? null,
    floor: "",
    valid: true,
    invalid: [],
    warnings: [],
    repetitions: made,
    summary: {figures, floor: null, baseline: null},
  };
}

function verdict(row_, other, random) {
  const key = {latency: "p50", throughput: "rate", cost: "cost"}[row_.conditions.measure];
  const value = row_.summary.figures[key].value / other.summary.figures[key].value;
  const spread = 0.012 + 0.03 * random();
  const ratio =
    row_.repetitions.length < 6
      ? {value}
      : {value, low: value * (1 - spread), high: value * (1 + spread), confidence: 0.95};
  const better = row_.conditions.measure === "throughput" ? value > 1.05 : value < 1 / 1.05;
  const says =
    row_.repetitions.length < 6
      ? "too few repetitions"
      : ratio.low <= 1.05 && ratio.high >= 1 / 1.05
        ? "no difference shown"
        : better
          ? "faster"
          : "slower";
  return {against: other.id, ratio, says};
}

const ENVIRONMENT = {
  build: {version: "0.1.0", compiler: "g++ 12.2.0", flags: "-O3 -DNDEBUG", type: "Release", assertions: "off"},
  libraries: {libc: "glibc 2.36", boost: "1.81.0", preloaded: "none"},
  kernel: {release: "6.1.0-28-amd64", cmdline: "quiet"},
  machine: {cpu: "AMD EPYC 7B13", cpus_online: "2", governor: "unknown", hypervisor: "KVM", smt: "on"},
  memory: {total_bytes: "8350150656", swap_total_bytes: "0", thp_enabled: "madvise"},
  clock: {source: "tsc", cost_ns: "21"},
  limits: {memlock_bytes: "unlimited", nofile: "1048576"},
  sockets: {rmem_max: "212992", wmem_max: "212992"},
  activity: {load_before: "0.12", load_after: "1.74", steal_ms: "12"},
};

function document(kind, command, rows, more = {}) {
  const order = [];
  const blocks = Math.max(...rows.map((each) => each.repetitions.length));
  for (let i = 0; i < blocks; ++i) order.push(rows.map((_, k) => rows[(k * 7 + i * 3) % rows.length].id));
  const valid = rows.every((each) => each.valid);
  return {
    schema: 1,
    kind,
    command,
    started: "2026-01-15T12:00:00Z",
    seconds: 48.1,
    seed: 42,
    baseline: "",
    valid,
    invalid: [],
    warnings: [],
    order,
    environment: ENVIRONMENT,
    rows,
    ...more,
  };
}

/** bus compare: transports, floors and peers over sizes: round trips and throughput. */
function compare({
  sizes = [64, 1024, 65536, 1048576],
  seed = 1,
  repetitions = 6,
  slow = 1,
  peers = true,
  without = [],
} = {}) {
  const random = randomFrom(seed);
  const kinds = [
    [
      "shm",
      "ours",
      "hybrid",
      {
        base: 640,
        byte: 0.09,
        tail: 5,
        copies: 1,
        syscalls: 0.02,
        yields: 0.3,
        cpu: 1500,
        flood: 9.5e6,
        floor: "cache line",
      },
    ],
    [
      "unix",
      "ours",
      "hybrid",
      {
        base: 7800,
        byte: 0.21,
        tail: 3,
        copies: 2,
        syscalls: 4,
        switches: 1.9,
        cpu: 9100,
        flood: 2.4e6,
        floor: "raw unix",
      },
    ],
    [
      "tcp",
      "ours",
      "hybrid",
      {
        base: 14600,
        byte: 0.34,
        tail: 4,
        copies: 2,
        syscalls: 4,
        switches: 2,
        cpu: 19000,
        flood: 1.9e6,
        floor: "raw tcp",
      },
    ],
    [
      "udp",
      "ours",
      "hybrid",
      {base: 13100, byte: 0.62, tail: 4, copies: 2, syscalls: 4, switches: 2, cpu: 17500, flood: 9e5, floor: "raw udp"},
    ],
    [
      "mq",
      "ours",
      "block",
      {
        base: 6900,
        byte: 0.4,
        tail: 3,
        copies: 2,
        syscalls: 4,
        switches: 2,
        cpu: 8200,
        flood: 1.1e6,
        floor: "futex wake",
      },
    ],
    ["cache line", "floor", "spins", {base: 260, byte: 0.085, tail: 4, copies: 1, syscalls: 0, cpu: 520, flood: 2.1e7}],
    [
      "futex wake",
      "floor",
      "sleeps",
      {base: 5600, byte: 0.09, tail: 3, copies: 1, syscalls: 4, switches: 2, cpu: 6100, flood: 3e6},
    ],
    [
      "raw unix",
      "floor",
      "sleeps",
      {base: 7300, byte: 0.2, tail: 3, copies: 2, syscalls: 4, switches: 2, cpu: 8800, flood: 1.2e6},
    ],
    [
      "raw tcp",
      "floor",
      "sleeps",
      {base: 14100, byte: 0.33, tail: 4, copies: 2, syscalls: 4, switches: 2, cpu: 18000, flood: 8.8e5},
    ],
    [
      "raw udp",
      "floor",
      "sleeps",
      {base: 11900, byte: 0.5, tail: 4, copies: 2, syscalls: 4, switches: 2, cpu: 15900, flood: 9.6e5},
    ],
    ...(peers
      ? [
          [
            "ZeroMQ ipc",
            "peer",
            "sleeps",
            {
              base: 31500,
              byte: 0.4,
              tail: 3,
              copies: 3,
              syscalls: 9,
              switches: 5.8,
              cpu: 41000,
              flood: 3.1e6,
              library: "libzmq 4.3.4",
            },
          ],
          [
            "nng ipc",
            "peer",
            "sleeps",
            {
              base: 38100,
              byte: 0.45,
              tail: 4,
              copies: 3,
              syscalls: 11,
              switches: 6.2,
              cpu: 52000,
              flood: 4.4e5,
              library: "nng 1.5.2",
            },
          ],
        ]
      : []),
  ].filter(([name]) => !without.includes(name));
  const rows = [];
  for (const size of sizes) {
    for (const [name, family, wait, m] of kinds) {
      if (name === "udp" && size > 65536) continue;
      const scale = name === "tcp" ? slow : 1;
      rows.push(
        row(
          random,
          name,
          family,
          conditions({size, wait}),
          {...m, median: scale * (m.base + m.byte * size)},
          repetitions,
        ),
      );
      const perSecond = 1 / (1 / m.flood + (m.byte * 0.6 * size) / 1e9);
      rows.push(
        row(
          random,
          name,
          family,
          conditions({size, wait, measure: "throughput", load_model: "flood"}),
          {...m, rate: perSecond / scale, cpu: 2e9 / perSecond},
          repetitions,
        ),
      );
    }
    rows.push(
      row(
        random,
        "memcpy",
        "floor",
        conditions({size, wait: "", measure: "cost", load_model: "none", pin: {}}),
        {cost: 6 + 0.055 * size},
        repetitions,
      ),
    );
  }
  rows.push(
    row(
      random,
      "timer",
      "floor",
      conditions({size: 0, wait: "", measure: "cost", load_model: "none", pin: {}}),
      {cost: 21},
      repetitions,
    ),
  );
  const find = (measure, name, size) =>
    rows.find((each) => each.conditions.measure === measure && each.name === name && each.conditions.size === size);
  for (const each of rows) {
    const c = each.conditions,
      kind = kinds.find(([name]) => name === each.name);
    const floor = kind && kind[3].floor ? find(c.measure, kind[3].floor, c.size) : null;
    if (floor) [each.floor, each.summary.floor] = [floor.id, verdict(each, floor, random)];
    const base = find(c.measure, "unix", c.size);
    if (each.family !== "floor" && base && base !== each) each.summary.baseline = verdict(each, base, random);
  }
  return document("compare", ["bus", "compare", "--quick", "--html", "report.html"], rows, {
    seed: 7046029254386353131n,
    baseline: "latency/unix/64/hybrid",
    warnings: ["the CPU's governor is not known: a frequency that changes widens intervals"],
  });
}

/** bus latency over rates: shm and unix from 1 % of what they can to 120 %, the last of which is invalid. */
function rates({seed = 5} = {}) {
  const random = randomFrom(seed);
  const rows = [];
  for (const [name, capacity, base] of [
    ["shm", 4e6, 420],
    ["unix", 7e5, 5200],
  ]) {
    for (const share of [0.01, 0.1, 0.25, 0.5, 0.7, 0.85, 0.95, 1.2]) {
      const target = Math.round(share * capacity);
      const wait = share < 1 ? base * (1 + (0.25 * share) / (1.02 - share)) : base * 900;
      const each = row(
        random,
        name,
        "ours",
        conditions({load_model: "open", arrival: "poisson", rate: target}),
        {median: wait, service: base, tail: 3 + 4 * share, cpu: 900, syscalls: 0.1, copies: 1, capacity},
        6,
      );
      if (share > 1) {
        each.valid = false;
        each.invalid = ["achieved 83 % of the rate that was due"];
      }
      rows.push(each);
    }
  }
  return document("latency", ["bus", "latency", "shm://bus", "unix:///tmp/it's here", "--rate", "1%..120%"], rows, {
    seed: 9,
  });
}

function sample() {
  const made = compare({sizes: [64, 65536], without: ["futex wake", "raw udp", "raw tcp", "nng ipc"]});
  const shares = [0.01, 0.5, 0.85, 0.95].flatMap((share) => [Math.round(share * 4e6), Math.round(share * 7e5)]);
  const open = rates().rows.filter((each) => shares.includes(each.conditions.rate));
  made.rows.push(...open);
  made.order = made.order.map((block) => [...block, ...open.map((each) => each.id)]);
  return made;
}

function single() {
  const random = randomFrom(3);
  return document(
    "latency",
    ["bus", "latency", "shm://bus"],
    [row(random, "shm", "ours", conditions({}), {median: 702, tail: 5, cpu: 1500, copies: 1}, 3)],
  );
}

function invalid() {
  const made = compare({sizes: [64], peers: false});
  for (const each of made.rows.filter((each_) => each_.name === "udp")) {
    each.valid = false;
    each.invalid = ["loss: 1.2 % of the messages"];
    for (const repetition of each.repetitions)
      Object.assign(repetition, {valid: false, invalid: ["117 messages were lost"], lost: 117});
  }
  made.valid = false;
  made.invalid = ["a clock went back by 12 us in block 3"];
  made.warnings.push(
    "load before the run was 3.1 on 2 cores",
    "p50 of unix drifts by 7 % within repetitions",
    "swap is in use",
    "steal time was 2.3 %",
  );
  return made;
}

const HOSTILE = [
  "</script><script>window.broken=1</script>",
  "<!--<script>",
  "]]>",
  "<img src=x onerror=window.broken=2>",
  "\u2028\u2029\u0000\u0007\ud83d\ude00",
  "'\"`\\${window.broken=3}",
  "javascript:window.broken=4",
  "x".repeat(400),
  "<style>*{display:none}</style>",
  "__proto__",
  "constructor",
];

/** Every text that a result can have is one that would do harm as markup. */
function hostile() {
  let at = 0;
  const made = compare({sizes: [64], peers: true});
  const harm = (value, key) => {
    if (typeof value === "string")
      return ["schema", "kind", "measure", "load_model", "family"].includes(key)
        ? value
        : HOSTILE[at++ % HOSTILE.length];
    if (Array.isArray(value)) return value.map((each) => harm(each, key));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, harm(each, name)]));
    }
    return value;
  };
  const changed = harm(made, "");
  changed.valid = false;
  changed.invalid = HOSTILE;
  changed.environment = Object.fromEntries(
    HOSTILE.map((text) => [text, Object.fromEntries(HOSTILE.map((other) => [other, text]))]),
  );
  return changed;
}

/** What the format allows and nobody expects. */
function bare() {
  return document(
    "compare",
    [],
    [
      {
        ...row(randomFrom(8), "shm", "ours", conditions({}), {median: 700}, 1),
        repetitions: [],
        summary: {figures: {}, floor: null, baseline: null},
      },
    ],
    {environment: {}, order: [], started: ""},
  );
}

const makers = {sample, compare, rates, single, invalid, hostile, bare, older: () => compare({seed: 2, slow: 1.2})};
export const names = Object.keys(makers);

/** The result NAME as JSON; a seed beyond 2^53 keeps its digits. */
export function json(name) {
  return JSON.stringify(makers[name](), (_, value) =>
    typeof value === "bigint" ? "bigint:" + value : typeof value === "number" ? Number(value.toPrecision(6)) : value,
  ).replace(/"bigint:([0-9]+)"/g, "$1");
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  if (!names.includes(process.argv[2])) {
    process.stderr.write(`usage: make_results.mjs ${names.join("|")}\n`);
    process.exit(2);
  }
  process.stdout.write(json(process.argv[2]) + "\n");
}
