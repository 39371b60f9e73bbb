// The client library in a real browser, under our own page and in one that somebody else might write, on a network that
// breaks: what needs a browser's storage, events and sockets. The rest of its promises is in spec/e2e/client_test.mjs.

import assert from "node:assert/strict";
import { access, mkdir } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { Network, chance } from "../e2e/network.mjs";
import { Client, DEADLINE_MS, PREFIX, ROOT, Server, TEST_MS, budget, serve, somebody, within } from "../e2e/support.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SHOTS = path.join(ROOT, "build/shots");
const missing = await access(CHROMIUM).then(() => false, () => `${CHROMIUM} is not installed`);
const MESSAGES = process.env.SPEC_LONG ? 10000 : 300;
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

let browser, server;
before(async () => {
  if (missing) return;
  await mkdir(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
  server = await Server.start({ env: { RATE_LIMIT: "1000000", INBOX_LIMIT: "1000" } });
});
after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Somebody with a browser of their own, on a network of their own. */
class Person {
  static async opens(t, { user = somebody("alice"), file = "chat.html", place = server, ...options } = {}) {
    const person = new Person();
    Object.assign(person, { user, place, network: await Network.open(t, place.port) });
    person.context = await browser.newContext({ viewport: { width: 1000, height: 760 }, ...options });
    t.after(() => person.context.close());
    person.page = await person.context.newPage();
    person.page.setDefaultTimeout(DEADLINE_MS);
    await person.goes(file);
    return person;
  }

  goes(file = "chat.html", user = this.user) {
    return this.page.goto(`${this.network.origin}${PREFIX}/${file}?${Math.random()}#token=${this.place.token(user)}`);
  }

  /** Closes the page before anything can be sent or heard again; the next one has a good network. */
  async leaves() {
    await this.page.goto("about:blank");
    this.network.cut();
    Object.assign(this.network.weather, { up: true, down: true, refuse: false });
  }

  status(state) {
    return this.page.locator(`#status[data-state=${state}]`).waitFor();
  }

  async says(text) {
    await this.page.locator("#text").fill(text);
    await this.page.locator("#send:enabled").waitFor();
    await this.page.locator("#text").press("Enter");
  }

  sees(text, kind = "ai") {
    return this.page.locator(`#log > li.${kind} .bubble`).getByText(text, { exact: true }).waitFor();
  }

  async said() {
    const { sessions } = (await this.place.get("/sessions", { user: this.user })).json;
    return (await this.place.history(this.user, sessions[0].id)).filter((m) => m.sender === "user").map((m) => m.content);
  }

  shot(name) {
    return this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }
}

describe("in a browser", { skip: missing, timeout: TEST_MS }, () => {
  test(`${MESSAGES} messages over a network that drops, delays and halves: none lost, none doubled, in order`, async (t) => {
    const alice = await Person.opens(t, { file: "example.html" });
    const random = chance(411);
    alice.network.fate = () => {
      const x = random();
      return x < 0.01 ? "drop" : x < 0.02 ? "halve" : x < 0.04 ? "delay" : "pass";
    };
    const talked = alice.page.evaluate(talk, { token: server.token(alice.user), count: MESSAGES });
    const { told, sent } = await within(talked, "all answers in the page", 10 * DEADLINE_MS);
    alice.network.fate = () => "pass";
    const expected = Array.from({ length: MESSAGES }, (_, i) => `n${i}`);
    assert.equal(sent, MESSAGES);
    assert.deepEqual(told.map((m) => m.seq), told.map((_, i) => i + 1));
    assert.deepEqual(told.filter((m) => m.sender === "user").map((m) => m.content), expected);
    const { dropped, halved } = alice.network.counts;
    assert.ok(dropped && halved, JSON.stringify(alice.network.counts));
  });

  test("what waits for its acknowledgement outlives a reload, in its place, and is stored once", async (t) => {
    const alice = await Person.opens(t);
    await alice.says("before");
    await alice.sees("before");
    alice.network.weather.down = false; // it arrives; nobody hears of it
    await alice.says("in between");
    await alice.page.locator("#log > li.pending").waitFor();
    alice.network.weather.up = false;
    await alice.says("and after");
    await alice.page.locator("#log > li.pending").nth(1).waitFor();
    await alice.leaves();
    await alice.goes();
    await alice.sees("and after");
    await alice.page.locator("#log > li.pending").waitFor({ state: "hidden" });
    assert.deepEqual(await alice.said(), ["before", "in between", "and after"]);
    const mine = await alice.page.locator("#log > li.user .bubble").allTextContents();
    assert.deepEqual(mine, ["before", "in between", "and after"]);
    assert.equal(await alice.page.evaluate(() => localStorage.length), 0);
  });

  test("another person at the same browser does not see it, and does not send it; its writer finds it again", async (t) => {
    const alice = await Person.opens(t);
    await alice.status("open");
    alice.network.weather.up = false;
    await alice.says("only mine");
    await alice.page.locator("#log > li.pending").waitFor();
    await alice.leaves();
    const bob = somebody("bob");
    await alice.goes("chat.html", bob);
    await alice.status("open");
    await alice.says("hello");
    await alice.sees("hello");
    assert.deepEqual(await alice.page.locator("#log > li.user .bubble").allTextContents(), ["hello"]);
    await alice.goes();
    await alice.sees("only mine");
    const { sessions } = (await server.get("/sessions", { user: bob })).json;
    assert.deepEqual((await server.history(bob, sessions[0].id)).map((m) => m.content), ["hello", "hello"]);
  });

  test("who says nothing stays: the browser answers the pings, while a client that does not is gone twice", async (t) => {
    const place = await serve(t, { env: { WS_PING_PERIOD: budget(1000), WS_PONG_WAIT: budget(4000) } });
    const alice = await Person.opens(t, { place });
    const sockets = [];
    await alice.status("open");
    alice.page.on("websocket", (socket) => sockets.push(socket.url()));
    for (let i = 0; i < 2; i++) { // that much time has passed, then
      const mute = await Client.connect(place, somebody("mute"), { autoPong: false });
      await mute.ends();
    }
    assert.deepEqual(sockets, [], "it had to connect again");
    await alice.says("still here");
    await alice.sees("still here");
  });

  test("a network that is back is used at once: the browser says so", async (t) => {
    const alice = await Person.opens(t);
    await alice.status("open");
    await alice.context.setOffline(true);
    alice.network.cut();
    await alice.status("offline");
    await alice.context.setOffline(false); // fires `online`
    await alice.status("open");
    await alice.says("back");
    await alice.sees("back");
  });

  test("a page that is shown again asks a socket that may have died, and comes back", async (t) => {
    const alice = await Person.opens(t);
    await alice.says("one");
    await alice.sees("one");
    alice.network.blackhole();
    const again = alice.network.called();
    await alice.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await within(again, "a new connection");
    await alice.status("open");
    await alice.says("two");
    await alice.sees("two");
  });

  test("a history that cannot be loaded is tried again", async (t) => {
    const alice = await Person.opens(t);
    await alice.says("remember me");
    await alice.sees("remember me");
    let tries = 0;
    await alice.page.route(/\/sessions\/[0-9a-f]+\?/, (route) => (++tries < 3 ? route.fulfill({ status: 503, body: "{}" }) : route.continue()));
    await alice.page.reload();
    await alice.sees("remember me", "user");
    assert.ok(tries >= 3);
  });

  test("on a phone: nothing is cut off, also while it is offline", async (t) => {
    const alice = await Person.opens(t, PHONE);
    await alice.says("Is this readable on a small screen, with a line that has to be broken somewhere?");
    await alice.sees("Is this readable on a small screen, with a line that has to be broken somewhere?");
    await alice.shot("phone");
    const wide = () => alice.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(await wide(), false);
    alice.network.weather.refuse = true;
    alice.network.cut();
    await alice.status("offline");
    await alice.shot("phone-offline");
    assert.equal(await wide(), false);
    alice.network.weather.refuse = false;
    await alice.page.evaluate(() => dispatchEvent(new Event("online")));
    await alice.status("open");
  });

  test("opened on another device where only one may be: it says so, and comes back by hand only", async (t) => {
    const place = await serve(t, { env: { MAX_CONNECTIONS_PER_USER: "1" } });
    const laptop = await Person.opens(t, { place });
    await laptop.status("open");
    const phone = await Person.opens(t, { place, user: laptop.user, ...PHONE });
    await phone.status("open");
    await laptop.page.locator("#notice").getByText("another device").waitFor();
    await laptop.page.evaluate(() => dispatchEvent(new Event("online")));
    await laptop.shot("replaced");
    await phone.says("here");
    await phone.sees("here");
    await laptop.page.getByRole("button", { name: "Use it here" }).click();
    await laptop.status("open");
    await laptop.sees("here");
    assert.ok(await laptop.page.locator("#notice").isHidden());
    await phone.page.locator("#notice").getByText("another device").waitFor();
  });

  test("the example page talks, hides its token, and shows markup as text", async (t) => {
    const alice = await Person.opens(t, { file: "example.html", ...PHONE });
    await alice.page.getByText("online").waitFor();
    assert.ok(!alice.page.url().includes("token"));
    await alice.page.locator("input").fill("<b>hello</b>");
    await alice.page.locator("input").press("Enter");
    await alice.page.locator("li.ai").getByText("<b>hello</b>").waitFor();
    await alice.shot("example");
  });

  test("it is a global for scripts that are no modules", async (t) => {
    const alice = await Person.opens(t, { file: "example.html" });
    assert.equal(await alice.page.evaluate(() => typeof globalThis.ChatboxClient), "function");
  });

  test("a page of another origin that is allowed can import it and talk", async (t) => {
    const site = await serve(t);
    const open = await serve(t, { env: { CORS_ALLOWED_ORIGINS: site.origin, WS_ALLOWED_ORIGINS: site.origin } });
    const alice = await Person.opens(t, { place: site, file: "example.html", bypassCSP: true });
    await alice.page.goto(`${site.origin}${PREFIX}/example.html`);
    const user = somebody("alice");
    const talked = alice.page.evaluate(talk, { token: open.token(user), count: 3, base: `${open.origin}${PREFIX}` });
    const { told } = await within(talked, "three answers in the page of the other origin");
    assert.deepEqual(told.filter((m) => m.sender === "user").map((m) => m.content), ["n0", "n1", "n2"]);
  });
});

/** Runs in the page. */
async function talk({ token, count, base = "" }) {
  const { ChatboxClient } = await import(base ? `${base}/chatbox-client.js` : "./chatbox-client.js");
  const told = [];
  let answers = 0;
  const client = new ChatboxClient({ token, maxUnsent: count, markReceived: false, ...(base && { url: base }), world: { random: () => Math.random() / 20 } });
  let all;
  const done = new Promise((resolve) => (all = resolve));
  client.on("message", ({ seq, sender, content }) => {
    told.push({ seq, sender, content });
    if (sender === "ai" && ++answers === count) all();
  });
  client.connect();
  const sent = [];
  for (let i = 0; i < count; i++) sent.push(client.delivered(client.send(`n${i}`)));
  await Promise.all(sent);
  await done;
  client.disconnect();
  return { told, sent: sent.length };
}
