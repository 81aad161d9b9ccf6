// report_test.mjs REPORT_PAGE CHROMIUM [SCREENSHOTS]: opens the HTML report in a browser and looks at what is there.
//
// Pages of made-up results (make_results.mjs) on a desk and on a phone, in light and dark. After a failure the pages stay
// in the folder that is named at the end. With a third argument, a folder, pictures of each page are left there.
import {execFileSync} from "node:child_process";
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {pathToFileURL} from "node:url";
import {Browser} from "./browser.mjs";
import * as results from "./make_results.mjs";

const [program, chromium, pictures] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "bus-report-test-"));
let checks = 0,
  failures = 0;

function check(what, holds, seen) {
  ++checks;
  if (holds) return;
  ++failures;
  console.log(`FAILED: ${what}${seen === undefined ? "" : `; seen: ${JSON.stringify(seen)}`}`);
}

/** A made-up result; the sample is the one that is kept here. */
function json(name) {
  return name === "sample" ? readFileSync(new URL("sample.json", import.meta.url), "utf8") : results.json(name);
}

/** The report of documents, as the program makes it. */
function makePage(name, documents) {
  const files = documents.map((text, i) => {
    const file = join(folder, `${name}-${i}.json`);
    writeFileSync(file, text);
    return file;
  });
  const page = execFileSync(program, files, {maxBuffer: 1 << 28});
  const file = join(folder, name + ".html");
  writeFileSync(file, page);
  return pathToFileURL(file).href;
}

// What runs in the page. A canvas counts as drawn when it has pixels of at least three colours.
const kLook = `(() => {
  const canvases = [...document.querySelectorAll("canvas")].map((canvas) => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Map();
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] < 200) continue;
      const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      colours.set(key, (colours.get(key) || 0) + 1);
    }
    return {width: canvas.clientWidth, pixels: [...colours.values()].reduce((a, b) => a + b, 0), colours: [...colours.values()].filter((n) => n > 20).length};
  });
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const named = (input) => (input.labels && input.labels.length > 0) || input.getAttribute("aria-label");
  return {
    canvases, title: document.title, text: document.body.innerText,
    sections: [...document.querySelectorAll("section")].map((section) => section.id),
    figures: [...document.querySelectorAll("figure")].map((figure) => ({
      tables: figure.querySelectorAll("details table").length, rows: figure.querySelectorAll("details tbody tr").length,
      label: (figure.querySelector('[role="img"]') || {ariaLabel: ""}).ariaLabel,
    })),
    summaryRows: document.querySelectorAll("table.summary tbody tr:not(.size)").length,
    headings: [...document.querySelectorAll("h1, h2, h3, h4")].map((heading) => Number(heading.tagName[1])),
    unnamed: [...document.querySelectorAll("input, select, button")].filter((input) => input.tagName !== "BUTTON" ? !named(input) : input.innerText.trim() === "" && !input.hidden).length,
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
    captions: [...document.querySelectorAll("table")].filter((table) => !table.caption).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    background: getComputedStyle(document.body).backgroundColor,
    broken: window.broken === undefined ? null : window.broken,
  };
})()`;

const brightness = (rgb) =>
  rgb
    .match(/\d+/g)
    .slice(0, 3)
    .reduce((sum, value) => sum + Number(value), 0) / 3;

/** What holds for every page that shows results. */
function checkLook(where, look, page, {charts, dark}) {
  check(`${where}: nothing is said on the console`, page.complaints.length === 0, page.complaints);
  const others = page.requests.filter((url) => !url.startsWith("file:") && !url.startsWith("blob:"));
  check(`${where}: nothing is asked from the network`, others.length === 0 && page.requests.length > 0, others);
  check(`${where}: there are ${charts} charts`, look.canvases.length === charts, look.canvases.length);
  check(
    `${where}: every chart is drawn`,
    look.canvases.every((canvas) => canvas.pixels > 2000 && canvas.colours >= 3),
    look.canvases,
  );
  check(
    `${where}: every chart has its words and its table`,
    look.figures.length === charts &&
      look.figures.every((figure) => figure.tables > 0 && figure.rows > 0 && figure.label.length > 20),
    look.figures,
  );
  check(`${where}: the page does not scroll sideways`, look.overflow <= 0, look.overflow);
  check(
    `${where}: headings go down one level at a time`,
    look.headings[0] === 1 &&
      look.headings.every((level, i) => i === 0 || (level <= look.headings[i - 1] + 1 && level > 1)),
    look.headings,
  );
  check(`${where}: every control has a name, every table a caption`, look.unnamed === 0 && look.captions === 0, [
    look.unnamed,
    look.captions,
  ]);
  check(`${where}: no id is there twice`, look.twice.length === 0, look.twice);
  check(
    `${where}: the page is ${dark ? "dark" : "light"}`,
    dark ? brightness(look.background) < 60 : brightness(look.background) > 200,
    look.background,
  );
  check(`${where}: no text of a result ran as code`, look.broken === null, look.broken);
}

const kScreens = [
  {name: "desk, light", width: 1280, height: 900, dark: false},
  {name: "phone, dark", width: 360, height: 760, dark: true, touch: true, scale: 2},
];

const kPages = [
  {
    name: "compare",
    documents: ["compare"],
    charts: 6,
    verdict: "OK",
    rows: 99,
    sections: ["summary", "spectrum", "time", "sizes", "ratios", "origin", "data"],
  },
  {
    name: "sample",
    documents: ["sample"],
    charts: 7,
    verdict: "OK",
    rows: 43,
    sections: ["summary", "spectrum", "time", "rate", "sizes", "ratios", "origin", "data"],
  },
  {
    name: "rates",
    documents: ["rates"],
    charts: 3,
    verdict: "INVALID",
    rows: 16,
    sections: ["summary", "spectrum", "time", "rate", "origin", "data"],
  },
  {
    name: "invalid",
    documents: ["invalid"],
    charts: 3,
    verdict: "INVALID",
    rows: 22,
    sections: ["summary", "spectrum", "time", "ratios", "origin", "data"],
  },
  {
    name: "single",
    documents: ["single"],
    charts: 2,
    verdict: "OK",
    rows: 1,
    sections: ["summary", "spectrum", "time", "origin", "data"],
  },
  {
    name: "hostile",
    documents: ["hostile"],
    charts: 3,
    verdict: "INVALID",
    rows: 26,
    sections: ["summary", "spectrum", "time", "ratios", "origin", "data"],
  },
  {
    name: "two",
    documents: ["compare", "older"],
    charts: 6,
    verdict: "OK",
    rows: 198,
    sections: ["summary", "spectrum", "time", "sizes", "ratios", "origin", "data"],
  },
  {name: "bare", documents: ["bare"], charts: 0, verdict: "OK", rows: 1, sections: ["summary", "origin", "data"]},
];

async function lookAtAll(browser) {
  for (const {name, documents, charts, verdict, rows, sections} of kPages) {
    const url = makePage(name, documents.map(json));
    for (const screen of kScreens) {
      const where = `${name} (${screen.name})`;
      const page = await browser.page(screen);
      await page.open(url);
      const look = await page.run(kLook);
      checkLook(where, look, page, {charts, dark: screen.dark});
      check(`${where}: the sections are those with data`, look.sections.join() === sections.join(), look.sections);
      check(`${where}: the summary has every row`, look.summaryRows === rows, look.summaryRows);
      const verdicts = await page.run(
        `[...document.querySelectorAll(".validity .banner:first-child .verdict")].map((verdict) => verdict.innerText)`,
      );
      check(
        `${where}: the verdict comes first`,
        verdicts.length === documents.length && verdicts.every((text) => text.includes(verdict)),
        verdicts,
      );
      if (pictures) writeFileSync(join(pictures, `${name}-${screen.width}.png`), await page.screenshot());
      await page.close();
    }
  }
}

/** What a reader is told must be what the document says. */
async function figuresAreRight(browser) {
  const document_ = JSON.parse(json("single"));
  const row = document_.rows[0];
  const page = await browser.page(kScreens[0]);
  await page.open(makePage("figures", [json("single")]));
  const cells = await page.run(
    `[...document.querySelectorAll("table.summary tbody tr:not(.size) td.number")].map((cell) => cell.innerText.trim().replace("\\u00a0", " "))`,
  );
  check(
    "the summary shows the median as the document has it",
    cells[0] === `${row.summary.figures.p50.value.toPrecision(3)} ns`,
    cells,
  );
  // 99 % of all samples of all repetitions, by nearest rank: the test's own way.
  const samples = row.repetitions
    .flatMap((repetition) => repetition.histograms.rtt.buckets)
    .sort((a, b) => a[0] - b[0]);
  const total = samples.reduce((sum, [, n]) => sum + n, 0);
  const at = (q) => {
    let below = 0;
    return samples.find(([, n]) => (below += n) >= q * total)[0];
  };
  const spectrum = await page.run(`(() => {
    const table = document.querySelector("#spectrum details table");
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.replace("\\u00a0", " "));
    return Object.fromEntries([...table.querySelectorAll("tbody tr:first-child > *")].map((cell, i) => [heads[i], cell.textContent.replace("\\u00a0", " ")]));
  })()`);
  check("the spectrum's median is that of all samples", spectrum["50 %"] === `${at(0.5).toPrecision(3)} ns`, spectrum);
  check(
    "the spectrum's 99 % is that of all samples",
    spectrum["99 %"] === `${(at(0.99) / 1000).toPrecision(3)} µs`,
    spectrum,
  );
  check(
    "a percentile with fewer than ten samples above it is not shown",
    total * 1e-5 >= 10 ? "99.999 %" in spectrum : !("99.999 %" in spectrum),
    spectrum,
  );
  check(
    "three repetitions have no interval, and the page says so",
    (await page.run("document.body.innerText")).includes("fewer than six repetitions"),
  );
  await page.close();
}

/** The controls do what they say. */
async function controlsWork(browser) {
  const page = await browser.page(kScreens[0]);
  await page.open(makePage("controls", [json("compare")]));
  const picture = `document.querySelector("#spectrum canvas").toDataURL()`;
  const caption = `document.querySelector("#spectrum details caption").textContent.replaceAll("\\u00a0", " ")`;

  const before = await page.run(picture);
  await page.run(`document.querySelector('#spectrum input[type="radio"]:not(:checked)').click()`);
  await page.drawn();
  const other = await page.run(picture);
  check("another size draws other lines", before !== other);
  check("another size has another table", (await page.run(caption)).includes("1 KiB"), await page.run(caption));

  await page.run(
    `[...document.querySelectorAll("#spectrum .entry")].find((entry) => entry.innerText === "shm").click()`,
  );
  await page.drawn();
  check("a line can be hidden", (await page.run(picture)) !== other);
  check(
    "a hidden line is said to be so",
    (await page.run(
      `[...document.querySelectorAll("#spectrum .entry")].find((entry) => entry.innerText === "shm").getAttribute("aria-pressed")`,
    )) === "false",
  );

  // The pointer on a line: found by asking at points of the chart until the tooltip answers.
  const tip = await page.run(`(() => {
    const over = document.querySelector("#spectrum .u-over"), box = over.getBoundingClientRect();
    for (let y = 4; y < box.height; y += 8) {
      over.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + y, bubbles: true}));
      const tip = document.querySelector("#spectrum .tip");
      if (!tip.hidden) return tip.innerText;
    }
    return "";
  })()`);
  check("the pointer on a line tells its figure", /are at most .*(ns|µs|ms)/.test(tip), tip);

  // Causes differ in their numbers from sample to sample; the legend has their kinds.
  const kinds = await page.run(`(() => {
    const group = [...document.querySelectorAll("#time .legend .group")].find((each) => each.innerText.includes("Slowest"));
    return [...group.querySelectorAll(".entry")].map((entry) => entry.innerText);
  })()`);
  const known = ["involuntary context switch, kept from the CPU", "kept from the CPU", "page fault", "no cause seen"];
  known.push("involuntary context switch");
  check(
    "slow samples are told apart by kinds of causes",
    kinds.every((kind) => known.includes(kind)),
    kinds,
  );

  const light = await page.run(picture);
  await page.call("Emulation.setEmulatedMedia", {features: [{name: "prefers-color-scheme", value: "dark"}]});
  await page.drawn();
  const look = await page.run(kLook);
  check(
    "the page follows when the reader turns to dark",
    brightness(look.background) < 60 && (await page.run(picture)) !== light,
    look.background,
  );
  check("nothing is said on the console while controls are used", page.complaints.length === 0, page.complaints);
  await page.close();
}

/** Results come in by dropping, and go out as they came. */
async function resultsGoInAndOut(browser) {
  const page = await browser.page(kScreens[0]);
  const text = json("compare");
  await page.open(makePage("drop", [text]));
  await page.run(`(() => {
    window.saved = [];
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { window.saved.push(blob.text()); return make.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () {};
  })()`);
  await page.run(
    `[...document.querySelectorAll("#data button")].find((button) => button.innerText.startsWith("Save the result")).click()`,
  );
  const saved = await page.run("window.saved[0]");
  check("the saved result is the document", saved.trim() === text, saved.slice(0, 200));
  check(
    "a seed beyond 2^53 keeps its digits",
    saved.includes("7046029254386353131") &&
      (await page.run("document.body.innerText")).includes("7046029254386353131"),
  );

  const drop = (name, content) =>
    page.run(`(async () => {
    const data = new DataTransfer();
    data.items.add(new File([${JSON.stringify(content)}], ${JSON.stringify(name)}, {type: "application/json"}));
    document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    const until = Date.now() + 60000;
    while (!document.body.innerText.includes(${JSON.stringify(name)}) && Date.now() < until) await new Promise((done) => setTimeout(done, 20));
  })()`);
  await drop("older.json", json("older"));
  await page.drawn();
  const look = await page.run(kLook);
  checkLook("two results by dropping", look, page, {charts: 6, dark: false});
  check(
    "both results are there, each with its letter",
    look.summaryRows === 198 && look.text.includes("shm · A") && look.text.includes("shm · B"),
    look.summaryRows,
  );

  await page.run(
    `[...document.querySelectorAll("#data button")].find((button) => button.innerText.startsWith("Save this page")).click()`,
  );
  const both = join(folder, "both.html");
  writeFileSync(both, await page.run("window.saved[1]"));
  const again = await browser.page(kScreens[0]);
  await again.open(pathToFileURL(both).href);
  const reread = await again.run(kLook);
  checkLook("the page saved with both", reread, again, {charts: 6, dark: false});
  check("the page saved with both has both", reread.summaryRows === 198, reread.summaryRows);
  await again.close();

  await drop("notes.json", '{"hello": 1}');
  check(
    "a file that is no result is refused in words",
    (await page.run("document.querySelector('[role=alert]').innerText")).includes("notes.json is no result of bus"),
  );
  check("and what was there stays", (await page.run(kLook)).summaryRows === 198);
  await page.close();
}

async function badDocumentsAreRefused(browser) {
  for (const [name, documents, words] of [
    ["cut", [json("single").slice(0, 1000)], "is no JSON"],
    ["newer", ['{"schema":2,"kind":"latency","rows":[]}'], "has schema 2"],
    ["nothing", [], "No result"],
  ]) {
    const page = await browser.page(kScreens[0]);
    await page.open(makePage(name, documents));
    const look = await page.run(kLook);
    check(`${name}: the page says what is wrong`, look.text.includes(words), look.text.slice(0, 300));
    check(`${name}: nothing is said on the console`, page.complaints.length === 0, page.complaints);
    await page.close();
  }
}

/** The page cannot reach the network nor run what is not its own, even if somebody put it there. */
async function policyHolds(browser) {
  const page = await browser.page(kScreens[0]);
  await page.open(makePage("policy", [json("single")]));
  const refused = await page.run(`(async () => {
    const found = [];
    document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
    await fetch("http://127.0.0.1:9/").catch(() => {});
    const image = new Image();
    image.src = "http://127.0.0.1:9/x.png";
    const script = document.createElement("script");
    script.textContent = "window.broken = 9";
    document.body.append(script);
    const until = Date.now() + 60000;
    while (new Set(found).size < 3 && Date.now() < until) await new Promise((done) => setTimeout(done, 20));
    return {found: [...new Set(found)].sort(), broken: window.broken === undefined ? null : window.broken};
  })()`);
  check(
    "requests and foreign scripts are refused by the page's policy",
    refused.found.join() === "connect-src,img-src,script-src-elem" && refused.broken === null,
    refused,
  );
  await page.close();
}

/** On paper: light, without controls, and the charts are there. */
async function printsWell(browser) {
  const page = await browser.page({...kScreens[0], dark: true});
  await page.open(makePage("print", [json("sample")]));
  await page.call("Emulation.setEmulatedMedia", {
    media: "print",
    features: [{name: "prefers-color-scheme", value: "dark"}],
  });
  await page.run("window.dispatchEvent(new Event('beforeprint'))");
  await page.drawn();
  checkLook("on paper", await page.run(kLook), page, {charts: 7, dark: false});
  check(
    "paper has no controls",
    await page.run(
      "[...document.querySelectorAll('nav, button.small, .drop')].every((element) => element.offsetParent === null)",
    ),
  );
  await page.run("window.dispatchEvent(new Event('afterprint'))");
  await page.call("Emulation.setEmulatedMedia", {media: "", features: [{name: "prefers-color-scheme", value: "dark"}]});
  const paper = await page.pdf();
  const sheets = (paper.toString("latin1").match(/\/Type\s*\/Page\b/g) || []).length;
  check("the print has several sheets", sheets >= 3, sheets);
  check("nothing is said on the console while printing", page.complaints.length === 0, page.complaints);
  await page.drawn();
  check("after printing the page is dark again", brightness((await page.run(kLook)).background) < 60);
  if (pictures) writeFileSync(join(pictures, "print.pdf"), paper);
  await page.close();
}

/** The checks themselves can fail: an empty canvas is none that is drawn. */
async function checksCanFail(browser) {
  const page = await browser.page(kScreens[0]);
  const file = join(folder, "empty.html");
  writeFileSync(
    file,
    "<!DOCTYPE html><title>x</title><canvas width=300 height=300></canvas><div style='width:9999px'>.</div><script>console.error('heard')</script>",
  );
  await page.open(pathToFileURL(file).href);
  const look = await page.run(kLook);
  check("an empty canvas is seen as empty", look.canvases.length === 1 && look.canvases[0].pixels === 0);
  check("a page that is too wide is seen as such", look.overflow > 0);
  check(
    "the console is heard",
    page.complaints.some((words) => words.includes("heard")),
    page.complaints,
  );
  await page.close();
}

if (pictures) mkdirSync(pictures, {recursive: true});
const browser = await Browser.start(chromium);
try {
  for (const part of [
    checksCanFail,
    lookAtAll,
    figuresAreRight,
    controlsWork,
    resultsGoInAndOut,
    badDocumentsAreRefused,
    policyHolds,
    printsWell,
  ]) {
    await part(browser);
  }
} finally {
  await browser.stop();
}
console.log(`${checks - failures} of ${checks} checks hold`);
if (failures > 0) console.log(`the pages are in ${folder}`);
else rmSync(folder, {recursive: true, force: true});
process.exitCode = failures > 0 ? 1 : 0;
