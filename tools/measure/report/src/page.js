// page.js: puts the page together: validity first, then tables, charts, and where all of it came from.

const SECTIONS = [summarySection, spectrumSection, timelineSection, rateSection, sweepSection, forestSection];
const state = {results: [], errors: [], figures: [], added: false};

function readEmbedded() {
  const scripts = [...document.querySelectorAll('script[type="application/json"].bus-result')];
  scripts.forEach((script, i) => add(script.textContent, scripts.length > 1 ? "Result " + (i + 1) : "The result"));
}

function add(text, source) {
  try {
    state.results.push(readResult(text, source));
  } catch (error) {
    state.errors.push(error.message);
  }
}

async function addFiles(files) {
  for (const file of files) {
    add(await file.text(), file.name);
    state.added = true;
  }
  build();
}

function build() {
  for (const figure_ of state.figures) figure_.destroy();
  const {results} = state;
  results.forEach((result, i) => {
    result.letter = results.length < 2 ? "" : i < 26 ? String.fromCharCode(65 + i) : String(i + 1);
    for (const row of result.rows) row.document = result;
  });
  const rows = results.flatMap((result) => result.rows);
  const palette = new Palette(rows);
  const sections = SECTIONS.map((make) => make(rows, palette)).filter(Boolean);
  state.figures = sections.flatMap((section) => section.figures || []);
  const after = [
    ["origin", results.length > 1 ? "Environments" : "Environment"],
    ["data", "Raw data"],
  ];
  document.title = title(results);
  document.getElementById("page").replaceChildren(
    header(results),
    h(
      "main",
      {},
      state.errors.map((text) =>
        h("div.banner.bad", {role: "alert"}, h("p.verdict", {}, "Not read"), h("p", {}, text)),
      ),
      results.map(validity),
      results.length > 0 &&
        h(
          "nav",
          {"aria-label": "Sections"},
          [...sections.map((section) => [section.id, section.title]), ...after].map(([id, text]) =>
            h("a", {href: "#" + id}, text),
          ),
        ),
      sections.map((section) =>
        h(
          "section",
          {id: section.id, "aria-labelledby": section.id + "-title"},
          h("h2", {id: section.id + "-title"}, section.title),
          h("p.lead", {}, section.lead),
          section.static || [],
          (section.figures || []).map((figure_) => figure_.host),
        ),
      ),
      results.length > 0 && originSection(results, after[0][1]),
      dataSection(results),
    ),
    h(
      "footer",
      {},
      h(
        "p",
        {},
        "Made by ipcbus. This page holds its data, asks the network for nothing, and can be kept and sent as one file. Charts: uPlot (MIT).",
      ),
    ),
  );
  for (const figure_ of state.figures) figure_.render();
}

function title(results) {
  return results.length === 1 ? `bus ${results[0].kind} – ${results[0].valid ? "OK" : "INVALID"}` : "bus report";
}

function when(result) {
  const time = new Date(result.started);
  return Number.isNaN(time.getTime()) ? result.started : result.started.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");
}

/** A text of the environment, or nothing where it is not known. */
function known(result, group, key) {
  const text = String(record(result.environment[group])[key] ?? "");
  return ["none", "unknown"].includes(text) ? "" : text;
}

function header(results) {
  const one = results.length === 1 ? results[0] : null;
  const facts = one
    ? [
        when(one),
        isNumber(one.seconds) ? "took " + span(one.seconds) : "",
        known(one, "machine", "cpu"),
        known(one, "kernel", "release") && "Linux " + known(one, "kernel", "release"),
        known(one, "machine", "hypervisor") && "on " + known(one, "machine", "hypervisor") + ": tails include the host",
      ].filter(Boolean)
    : [];
  return h(
    "header",
    {},
    h("p.eyebrow", {}, "ipcbus measurement"),
    h("h1", {}, one ? headline(one) : results.length === 0 ? "No result" : results.length + " results side by side"),
    facts.length > 0 &&
      h(
        "p.facts",
        {},
        facts.map((fact) => h("span", {}, fact)),
      ),
  );
}

function headline(result) {
  const names = distinct(result.rows.filter((row) => row.family !== "floor").map((row) => row.name));
  const what =
    new Map([
      ["compare", "Transports side by side"],
      ["latency", "Latency"],
      ["throughput", "Throughput"],
    ]).get(result.kind) || "Measurement";
  return names.length > 0 && names.length <= 3 ? `${what}: ${names.join(", ")}` : what;
}

function validity(result) {
  const bad = result.rows.filter((row) => !row.valid);
  const warnings = distinct([
    ...result.warnings,
    ...result.rows.flatMap((row) => row.warnings.map((text) => row.name + ", " + size(row.c.size) + ": " + text)),
    ...result.rows.flatMap((row) =>
      row.repetitions.flatMap((repetition) =>
        texts(repetition.warnings).map((text) => row.name + ", " + size(row.c.size) + ": " + text),
      ),
    ),
  ]);
  const names = labels(result.rows);
  const repetitions = result.rows.reduce((sum, row) => sum + row.repetitions.length, 0);
  const off = result.rows.reduce(
    (sum, row) => sum + row.repetitions.filter((repetition) => repetition.valid === false).length,
    0,
  );
  const who = result.letter ? h("span.letter", {}, result.letter) : null;
  const about = result.letter ? ` ${result.kind}, ${when(result)}` + (result.source ? `, ${result.source}` : "") : "";
  return h(
    "div",
    {class: "validity", role: "region", "aria-label": "Validity"},
    h(
      "div.banner." + (result.valid ? "good" : "bad"),
      {},
      h("p.verdict", {}, who, result.valid ? "OK" : "INVALID", about && h("span.about", {}, about)),
      result.valid
        ? h(
            "p",
            {},
            `${plural(result.rows.length, "row")} and ${plural(repetitions, "repetition")}` +
              (off > 0 ? `, ${off} of which do not count.` : ", all of which count."),
          )
        : [
            result.invalid.length > 0 &&
              h(
                "ul",
                {},
                result.invalid.map((text) => h("li", {}, text)),
              ),
            bad.length > 0 &&
              h("p", {}, `${bad.length} of ${plural(result.rows.length, "row")} must not be relied on:`),
            bad.length > 0 &&
              h(
                "ul",
                {},
                bad.map((row) =>
                  h("li", {}, h("b", {}, names.get(row).replace(" (invalid)", "")), ": " + reasons(row)),
                ),
              ),
          ],
    ),
    warnings.length > 0 &&
      h(
        "div.banner.warn",
        {},
        warnings.length <= 4
          ? [
              h("p.verdict", {}, plural(warnings.length, "warning")),
              h(
                "ul",
                {},
                warnings.map((text) => h("li", {}, text)),
              ),
            ]
          : h(
              "details",
              {},
              h("summary.verdict", {}, plural(warnings.length, "warning")),
              h(
                "ul",
                {},
                warnings.map((text) => h("li", {}, text)),
              ),
            ),
      ),
  );
}

const plural = (n, word) => count(n) + " " + word + (n === 1 ? "" : "s");

// Dropping files, and colours or paper that change.
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length === 0) return;
  event.preventDefault();
  addFiles([...event.dataTransfer.files]);
});
const rebuild = () => build();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
window.addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  rebuild();
});
window.addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  rebuild();
});

readEmbedded();
build();
