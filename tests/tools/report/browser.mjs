// browser.mjs: a headless Chromium over its DevTools protocol, spoken through a pipe: no port, no package.
//
// Source: https://chromedevtools.github.io/devtools-protocol/; messages are JSON, ended by a zero byte.
import {spawn} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";

const kDeadlineMs = 120000; // reached by a test that fails

export class Browser {
  /** Starts `program` with an empty profile, and waits until it answers. */
  static async start(program) {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), "bus-report-"));
    // Debian's wrapper of Chromium is a script that becomes the browser; the descriptors 3 and 4 pass through it.
    browser.process = spawn(
      program,
      [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        "--user-data-dir=" + browser.profile,
        "about:blank",
      ],
      {stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"], env: {...process.env, HOME: browser.profile}},
    );
    browser.ended = new Promise((resolve) =>
      browser.process.once("exit", (code, signal) => {
        const why = new Error(`${program} ended (${signal || code}): ${browser.words.slice(-2000)}`);
        for (const {reject} of browser.waiting.values()) reject(why);
        browser.waiting.clear();
        resolve();
      }),
    );
    browser.process.once("error", (error) => {
      browser.words += String(error);
    });
    browser.process.stderr.on("data", (data) => {
      browser.words += data;
    });
    browser.process.stdio[3].on("error", () => {}); // it has gone; "exit" says why
    browser.process.stdio[4].on("data", (data) => browser.read(data));
    await browser.call("Browser.getVersion");
    return browser;
  }

  constructor() {
    this.waiting = new Map(); // number of a call -> its promise
    this.sessions = new Map(); // id -> Page
    this.last = 0;
    this.rest = Buffer.alloc(0);
    this.words = "";
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no answer to ${method} within ${kDeadlineMs / 1000} s`)),
        kDeadlineMs,
      );
      const settle = (how) => (value) => {
        clearTimeout(timer);
        how(value);
      };
      this.waiting.set(id, {resolve: settle(resolve), reject: settle(reject)});
      this.process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + "\0");
    });
  }

  read(data) {
    this.rest = Buffer.concat([this.rest, data]);
    for (let end; (end = this.rest.indexOf(0)) >= 0; this.rest = this.rest.subarray(end + 1)) {
      const message = JSON.parse(this.rest.subarray(0, end).toString());
      if (message.id === undefined) {
        this.sessions.get(message.sessionId)?.on(message.method, message.params);
        continue;
      }
      const call = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error) call?.reject(new Error(message.error.message));
      else call?.resolve(message.result);
    }
  }

  /** An empty page of that size. */
  async page({width, height, dark = false, scale = 1, touch = false}) {
    const {targetId} = await this.call("Target.createTarget", {url: "about:blank"});
    const {sessionId} = await this.call("Target.attachToTarget", {targetId, flatten: true});
    const page = new Page(this, sessionId, targetId);
    this.sessions.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.call(domain + ".enable");
    await page.call("Emulation.setDeviceMetricsOverride", {width, height, deviceScaleFactor: scale, mobile: touch});
    await page.call("Emulation.setEmulatedMedia", {
      features: [{name: "prefers-color-scheme", value: dark ? "dark" : "light"}],
    });
    return page;
  }

  async stop() {
    const timer = setTimeout(() => this.process.kill("SIGKILL"), 10000);
    this.call("Browser.close").catch(() => {});
    await this.ended;
    clearTimeout(timer);
    rmSync(this.profile, {recursive: true, force: true, maxRetries: 5});
  }
}

class Page {
  constructor(browser, session, target) {
    Object.assign(this, {browser, session, target, complaints: [], requests: [], loaded: null});
  }

  call(method, params) {
    return this.browser.call(method, params, this.session);
  }

  on(method, params) {
    if (method === "Runtime.exceptionThrown")
      this.complaints.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled")
      this.complaints.push(
        `console.${params.type}: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}`,
      );
    if (method === "Log.entryAdded")
      this.complaints.push(`${params.entry.level}: ${params.entry.text} ${params.entry.url || ""}`);
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Page.loadEventFired") this.loaded?.();
  }

  /** Opens an address, and waits until it is loaded and drawn. */
  async open(url) {
    const loaded = new Promise((resolve) => {
      this.loaded = resolve;
    });
    await this.call("Page.navigate", {url});
    await loaded;
    await this.drawn();
  }

  /** Waits for two frames: what was asked for before is on the screen. */
  drawn() {
    return this.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))");
  }

  /** The value of an expression in the page. */
  async run(expression) {
    const {result, exceptionDetails} = await this.call("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  }

  /** A PNG of the whole page. */
  async screenshot() {
    const {data} = await this.call("Page.captureScreenshot", {format: "png", captureBeyondViewport: true});
    return Buffer.from(data, "base64");
  }

  async pdf() {
    const {data} = await this.call("Page.printToPDF", {printBackground: true, preferCSSPageSize: true});
    return Buffer.from(data, "base64");
  }

  close() {
    this.browser.sessions.delete(this.session);
    return this.browser.call("Target.closeTarget", {targetId: this.target});
  }
}
