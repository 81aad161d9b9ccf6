// origin.js: where a result came from, and how it leaves the page again: environment, command, files.

const untouched = document.getElementById("page").cloneNode(true); // what "save the page" writes

/** Bytes are for people here; the document has them in full. */
function environmentText(key, value) {
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text === "" ? NONE : /_bytes$/.test(key) && /^[0-9]+$/.test(text) ? size(Number(text)) : text;
}

/** A command as a shell takes it. */
const quoted = (word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'");

function originSection(results, heading) {
  return h(
    "section",
    {id: "origin", "aria-labelledby": "origin-title"},
    h("h2", {id: "origin-title"}, heading),
    h("p.lead", {}, "What ran, on what, and how to run it again."),
    results.map((result) =>
      h(
        "div.origin",
        {},
        result.letter && h("h3", {}, h("span.letter", {}, result.letter), " " + result.kind + ", " + when(result)),
        result.command.length > 0 &&
          h("pre", {tabindex: 0, "aria-label": "Command"}, h("code", {}, result.command.map(quoted).join(" "))),
        h(
          "dl.facts-grid",
          {},
          [
            ["Seed", result.seed],
            ["Started", when(result)],
            ["Took", isNumber(result.seconds) ? span(result.seconds) : ""],
            ["Baseline", result.baseline],
          ]
            .filter(([, text]) => text)
            .map(([key, text]) => h("div", {}, h("dt", {}, key), h("dd", {}, text))),
        ),
        h(
          "div.groups",
          {},
          Object.entries(result.environment).map(([group, entries]) =>
            h(
              "div.group-card",
              {},
              h(result.letter ? "h4" : "h3", {}, group),
              h(
                "dl",
                {},
                Object.entries(record(entries)).map(([key, text]) => [
                  h("dt", {}, key.replaceAll("_", " ")),
                  h("dd", {}, environmentText(key, text)),
                ]),
              ),
            ),
          ),
        ),
        result.order.length > 0 &&
          h(
            "details.data",
            {},
            h("summary", {}, "The order in which rows ran"),
            table(
              "Order, block by block",
              [{head: "Block"}, {head: "Rows"}],
              result.order.map((block, i) => [String(i + 1), block.join("  →  ")]),
              "order",
            ),
          ),
      ),
    ),
  );
}

function dataSection(results) {
  const input = h("input", {
    type: "file",
    accept: ".json,application/json",
    multiple: true,
    id: "add-files",
    onchange: () => addFiles([...input.files]),
  });
  const nameOf = (result) =>
    `bus-${/^[a-z]+$/.test(result.kind) ? result.kind : "result"}-${result.started.replace(/[^0-9TZ]/g, "") || "result"}.json`;
  return h(
    "section",
    {id: "data", "aria-labelledby": "data-title"},
    h("h2", {id: "data-title"}, "Raw data"),
    h(
      "p.lead",
      {},
      "The results as the program wrote them are in this page; “bus diff”, “bus report” and other programs read them again.",
    ),
    h(
      "div.buttons",
      {},
      results.map((result) =>
        h(
          "button",
          {type: "button", onclick: () => saveFile(nameOf(result), "application/json", result.text.trim() + "\n")},
          `Save ${result.letter ? "result " + result.letter : "the result"} (JSON)`,
        ),
      ),
      state.added && h("button", {type: "button", onclick: savePage}, "Save this page with all results"),
    ),
    h(
      "div.drop",
      {},
      h("label", {for: "add-files"}, "Add results to compare with"),
      input,
      h("p", {}, "or drop JSON files anywhere on the page. They stay on this machine."),
    ),
  );
}

/** The page as it came, with the results that are shown now. */
function savePage() {
  const copy = document.documentElement.cloneNode(true);
  copy.removeAttribute("class");
  copy.querySelector("body").removeAttribute("class");
  copy.querySelector("#page").replaceWith(untouched.cloneNode(true));
  for (const old of copy.querySelectorAll("script.bus-result")) old.remove();
  const code = copy.querySelector("script");
  for (const result of state.results) {
    const script = document.createElement("script");
    script.type = "application/json";
    script.className = "bus-result";
    script.textContent = result.text.replaceAll("<", "\\u003c");
    code.before(script, "\n");
  }
  saveFile("bus-report.html", "text/html", "<!DOCTYPE html>\n" + copy.outerHTML);
}
