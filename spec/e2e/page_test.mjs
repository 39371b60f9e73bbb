// The chat page in a real browser: what a person sees who opens a link, talks, reloads, loses the network, comes back.
// Screenshots of the main states go to build/shots.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { access, cp, mkdir, readFile, writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { DEADLINE_MS, PREFIX, ROOT, SOON_MS, Server, botThatSays, mint, serve, somebody, within } from "./support.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SHOTS = path.join(ROOT, "build/shots");
const missing = await access(CHROMIUM).then(() => false, () => `${CHROMIUM} is not installed`);

let browser;
before(async () => {
  if (missing) return;
  await mkdir(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
});
after(() => browser?.close());

const link = (server, token, more = "") => `${server.origin}${PREFIX}/chat.html#token=${token}${more}`;

/** Somebody with a browser of their own. */
class Person {
  static async opens(t, server, { user = somebody("alice"), claims, token, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1000, height: 760 }, ...options });
    t.after(() => context.close());
    const person = new Person();
    Object.assign(person, { server, user, context, token: token ?? server.token(user, claims) });
    await person.tab();
    return person;
  }

  /** A further tab of the same person; its page becomes the current one. */
  async tab(more = "") {
    const page = await this.context.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    page.console = [];
    page.on("console", (m) => page.console.push(`${m.type()}: ${m.text()}`));
    page.on("pageerror", (e) => page.console.push(`error: ${e.stack}`));
    await page.goto(link(this.server, this.token, more));
    this.page = page;
    return page;
  }

  connected(page = this.page) {
    return page.locator("#status[data-state=open]").waitFor();
  }

  async says(text, page = this.page) {
    await page.locator("#text").fill(text);
    await page.locator("#send:enabled").waitFor();
    await page.locator("#text").press("Enter");
  }

  sees(text, kind = "ai", page = this.page) {
    return page.locator(`#log > li.${kind} .bubble`).getByText(text, { exact: true }).waitFor();
  }

  bubbles(page = this.page) {
    return page.locator("#log .bubble").allTextContents();
  }

  shot(name) {
    return this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }

  /** Nothing in the console but what is expected. */
  quiet(page = this.page, expected = /$^/) {
    assert.deepEqual(page.console.filter((line) => line.startsWith("error") && !expected.test(line)), []);
  }
}

describe("the chat page", { skip: missing }, () => {
  let server;
  before(async () => (server = await Server.start({ env: { RATE_LIMIT: "1000000" } })));
  after(() => server?.remove());

  test("opens from a link, hides the token at once, and answers", async (t) => {
    const alice = await Person.opens(t, server, { claims: { name: "Alice Müller" } });
    await alice.connected();
    assert.equal(alice.page.url(), `${server.origin}${PREFIX}/chat.html`);
    await alice.page.getByText("Connected as Alice Müller").waitFor();
    await alice.page.locator("#empty").waitFor();
    await alice.page.locator("#send").and(alice.page.locator(":disabled")).waitFor();
    await alice.shot("empty");
    assert.ok(await alice.page.locator("#notice").isHidden());
    await alice.says("Hello there");
    await alice.sees("Hello there", "user");
    await alice.sees("Hello there");
    await alice.page.locator("#log > li.user.delivered").waitFor();
    assert.ok(await alice.page.locator("#empty").isHidden());
    assert.equal(await alice.page.locator("#text").inputValue(), "");
    await alice.page.locator("#dots").waitFor({ state: "hidden" });
    await alice.shot("answer");
    alice.quiet();
  });

  test("is reached from the root, which keeps the fragment", async (t) => {
    const alice = await Person.opens(t, server);
    await alice.page.goto(`${server.origin}/#token=${alice.token}`);
    await alice.connected();
    await alice.says("from the root");
    await alice.sees("from the root");
  });

  test("shows the same conversation live in a second tab", async (t) => {
    const alice = await Person.opens(t, server);
    const first = alice.page;
    await alice.says("before the second tab");
    await alice.sees("before the second tab");
    const second = await alice.tab();
    await alice.sees("before the second tab", "user", second);
    await alice.says("said in the first", first);
    await alice.sees("said in the first", "user", second);
    await alice.sees("said in the first", "ai", second);
    await alice.says("said in the second", second);
    await alice.sees("said in the second", "ai", first);
    assert.deepEqual(await alice.bubbles(first), await alice.bubbles(second));
    alice.quiet(first);
    alice.quiet(second);
  });

  test("keeps the conversation when it is reloaded, without the link", async (t) => {
    const alice = await Person.opens(t, server);
    await alice.says("remember me");
    await alice.sees("remember me");
    await alice.page.reload();
    await alice.sees("remember me", "user");
    await alice.says("and me");
    await alice.sees("and me");
    assert.deepEqual(await alice.bubbles(), ["remember me", "remember me", "and me", "and me"]);
  });

  test("opens the conversation a link names", async (t) => {
    const alice = await Person.opens(t, server);
    await alice.says("the old one");
    await alice.sees("the old one");
    const { sessions } = (await server.get("/sessions", { user: alice.user })).json;
    await alice.page.goto(`${server.origin}${PREFIX}/chat.html?session_id=${sessions[0].id}`);
    await alice.sees("the old one", "user");
    const page = await alice.tab(`&session=${sessions[0].id}`);
    await alice.sees("the old one", "user", page);
  });

  test("shows markup as text and runs none of it", async (t) => {
    const alice = await Person.opens(t, server);
    const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script><b>bold</b>';
    await alice.says(markup);
    await alice.sees(markup);
    assert.equal(await alice.page.title(), "Chat");
    assert.equal(await alice.page.locator("#log img, #log script, #log b").count(), 0);
  });

  test("keeps lines and blanks, and wraps what is long", async (t) => {
    const alice = await Person.opens(t, server, { viewport: { width: 320, height: 600 } });
    await alice.connected();
    await alice.page.locator("#text").fill("one");
    await alice.page.locator("#text").press("Shift+Enter");
    await alice.page.keyboard.type("  two");
    await alice.page.locator("#text").press("Enter");
    await alice.page.locator("#log > li.ai").waitFor();
    assert.deepEqual(await alice.bubbles(), ["one\n  two", "one\n  two"]);
    await alice.says("w".repeat(500));
    await alice.sees("w".repeat(500));
    assert.equal(await alice.page.evaluate(() => document.documentElement.scrollWidth), 320);
    assert.ok(await alice.page.evaluate(() => document.querySelector("#room").scrollWidth <= document.querySelector("#room").clientWidth));
    await alice.shot("narrow");
  });

  test("counts bytes near the limit and does not send beyond it", async (t) => {
    const alice = await Person.opens(t, server);
    await alice.connected();
    const counter = alice.page.locator("#counter");
    await alice.page.locator("#text").fill("x".repeat(9000));
    assert.equal(await counter.textContent(), "");
    await alice.page.locator("#text").fill("語".repeat(3333));
    assert.equal(await counter.textContent(), "1 byte left");
    await alice.page.locator("#text").fill("語".repeat(3334));
    assert.equal(await counter.textContent(), "2 bytes too long");
    assert.ok(await alice.page.locator("#send").isDisabled());
    await alice.page.locator("#text").press("Enter");
    assert.deepEqual(await alice.bubbles(), []);
    assert.equal((await alice.page.locator("#text").inputValue()).length, 3334);
  });

  test("pages back through a long history and keeps the reader's place", async (t) => {
    const user = somebody("alice");
    const device = await server.join(user);
    for (let i = 0; i < 70; i++) await device.talks(`n${i}`);
    const alice = await Person.opens(t, server, { user });
    await alice.sees("n69");
    assert.equal((await alice.bubbles()).length, 50);
    const first = alice.page.locator("#log > li").first();
    const seen = await first.locator(".bubble").textContent();
    await alice.page.locator("#earlier").click();
    await alice.page.locator("#log > li").nth(99).waitFor();
    const top = await alice.page.locator("#log > li.user .bubble").getByText(seen, { exact: true }).boundingBox();
    assert.ok(top.y > 0 && top.y < 760, "what was on the screen still is");
    await alice.page.locator("#earlier").click();
    await alice.sees("n0");
    await alice.page.locator("#earlier").waitFor({ state: "hidden" });
    assert.deepEqual(await alice.bubbles(), Array.from({ length: 70 }, (_, i) => [`n${i}`, `n${i}`]).flat());
  });

  test("follows new messages at the end, and only there", async (t) => {
    const user = somebody("alice");
    const device = await server.join(user);
    for (let i = 0; i < 20; i++) await device.talks(`n${i}`);
    const alice = await Person.opens(t, server, { user });
    await alice.connected();
    await alice.sees("n19");
    const fromEnd = () => alice.page.evaluate(() => {
      const room = document.querySelector("#room");
      return room.scrollHeight - room.scrollTop - room.clientHeight;
    });
    await device.talks("seen at the end");
    await alice.sees("seen at the end");
    assert.ok((await fromEnd()) < 5);
    await alice.page.evaluate(() => (document.querySelector("#room").scrollTop = 0));
    await device.talks("not disturbing");
    await alice.page.locator("#to-bottom").waitFor();
    assert.equal(await alice.page.evaluate(() => document.querySelector("#room").scrollTop), 0);
    await alice.page.locator("#to-bottom").click();
    assert.ok((await fromEnd()) < 5);
    assert.ok(await alice.page.locator("#to-bottom").isHidden());
  });

  test("begins a new chat; another tab that still had the old one is told, and loses nothing", async (t) => {
    const alice = await Person.opens(t, server);
    const first = alice.page;
    await alice.says("the old chat");
    await alice.sees("the old chat");
    const second = await alice.tab();
    await alice.sees("the old chat", "user", second);
    await first.locator("#new-chat").click();
    await first.locator("#empty").waitFor();
    await alice.connected(first);
    await alice.says("the new chat", first);
    await alice.sees("the new chat", "ai", first);
    assert.deepEqual(await alice.bubbles(first), ["the new chat", "the new chat"]);

    await second.locator("#notice").getByText("ended in another window").waitFor();
    assert.ok(await first.locator("#notice").isHidden(), "who ended it knows");
    await alice.says("from behind", second);
    await alice.sees("the new chat", "user", second);
    await alice.sees("from behind", "ai", second);
    await alice.sees("from behind", "user", first);
    const { sessions } = (await server.get("/sessions", { user: alice.user })).json;
    assert.deepEqual(sessions.map((s) => s.is_active), [true, false]);
  });

  test("works with the keyboard alone", async (t) => {
    const alice = await Person.opens(t, server);
    await alice.connected();
    await alice.page.locator("#text:focus").waitFor();
    await alice.page.keyboard.type("no mouse");
    await alice.page.keyboard.press("Tab");
    assert.equal(await alice.page.evaluate(() => document.activeElement.id), "send");
    await alice.page.keyboard.press("Space");
    await alice.sees("no mouse");
    assert.equal(await alice.page.evaluate(() => document.activeElement.id), "text");
    await alice.page.keyboard.press("Shift+Tab");
    assert.equal(await alice.page.evaluate(() => document.activeElement.id), "room");
    await alice.page.keyboard.press("Shift+Tab");
    assert.equal(await alice.page.evaluate(() => document.activeElement.id), "new-chat");
  });

  for (const colorScheme of ["light", "dark"]) {
    test(`can be read in ${colorScheme}: contrast of all text is at least 4.5 : 1`, async (t) => {
      const alice = await Person.opens(t, server, { colorScheme });
      await alice.says("Is this easy to read?");
      await alice.sees("Is this easy to read?");
      await alice.page.locator("#text").fill("x".repeat(10001));
      await alice.shot(`talk-${colorScheme}`);
      for (const [what, ratio] of await alice.page.evaluate(contrasts)) assert.ok(ratio >= 4.5, `${what}: ${ratio}`);
      await alice.page.goto(`${server.origin}${PREFIX}/chat.html#token=none`);
      await alice.page.locator("#gate").waitFor();
      for (const [what, ratio] of await alice.page.evaluate(contrasts)) assert.ok(ratio >= 4.5, `${what}: ${ratio}`);
    });
  }
});

/** Runs in the page: [what, contrast] of every element that is seen and has text of its own. */
function contrasts() {
  const channel = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const colour = (text) => text.match(/[\d.]+/g).map(Number);
  const ground = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = colour(getComputedStyle(n).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const own = (node) => node.tagName === "TEXTAREA" || [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const seen = [...document.querySelectorAll("body *")].filter((n) => own(n) && n.checkVisibility() && !n.disabled && !n.closest(".unseen"));
  return seen.map((node) => {
    const [a, b] = [luminance(colour(getComputedStyle(node).color)), luminance(ground(node))];
    return [`${node.tagName} ${node.textContent.slice(0, 20)}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}

describe("the page and a server that changes", { skip: missing }, () => {
  test("an edited script answers the next message, on the same connection", async (t) => {
    const server = await serve(t, { env: { DEVELOPMENT: "true", RATE_LIMIT: "1000000" } });
    const alice = await Person.opens(t, server);
    await alice.says("hello");
    await alice.sees("hello");
    const sockets = [];
    alice.page.on("websocket", (socket) => sockets.push(socket));
    await server.script("bots/echo.lua", botThatSays("I am new here"));
    const began = Date.now();
    for (let i = 0; (await alice.page.locator("#log > li.ai .bubble").last().textContent()) !== "I am new here"; i++) {
      assert.ok(Date.now() - began < SOON_MS, "a change is seen soon");
      await alice.says(`n${i}`);
      await alice.page.locator("#log > li.ai").nth(i + 1).waitFor();
    }
    assert.deepEqual(sockets, []);
    alice.quiet();
  });

  test("a typo is in the console of an administrator, and of nobody else", async (t) => {
    const server = await serve(t, { env: { DEVELOPMENT: "true" } });
    const boss = await Person.opens(t, server, { user: somebody("boss"), claims: { roles: ["admin"] } });
    const alice = await Person.opens(t, server);
    await boss.connected();
    await alice.says("hello");
    await alice.sees("hello");
    const told = boss.page.waitForEvent("console", (m) => m.type() === "error" && /bots\/echo\.lua:2/.test(m.text()));
    await server.script("bots/echo.lua", "local bot =\nend\n");
    await told;
    await alice.says("still answered");
    await alice.sees("still answered");
    alice.quiet();
  });

  test("stopping and starting keeps the conversation, the text that is being typed, and the page", async (t) => {
    const server = await serve(t);
    const alice = await Person.opens(t, server);
    await alice.says("before");
    await alice.sees("before");
    await server.stop();
    await alice.page.locator("#status[data-state=offline]").waitFor();
    await alice.page.locator("#text").fill("typed while offline");
    assert.ok(await alice.page.locator("#send").isDisabled());
    await alice.page.locator("#text").press("Enter");
    await alice.shot("offline");

    const later = await server.again({ SERVER_PORT: String(server.port) });
    t.after(() => later.remove());
    await alice.connected();
    assert.equal(await alice.page.locator("#text").inputValue(), "typed while offline");
    await alice.page.locator("#send:enabled").waitFor();
    await alice.page.locator("#text").press("Enter");
    await alice.sees("typed while offline");
    assert.deepEqual(await alice.bubbles(), ["before", "before", "typed while offline", "typed while offline"]);
  });

  test("a message whose acknowledgement was lost is sent again and stored once", async (t) => {
    const server = await serve(t);
    const alice = await Person.opens(t, server);
    await alice.connected();
    let lost = 0;
    await alice.page.routeWebSocket(/\/ws\?/, (socket) => {
      const upstream = socket.connectToServer();
      upstream.onMessage((text) => {
        if (!lost && JSON.parse(text).type === "ack") {
          lost++;
          socket.close({ code: 1001 });
          return upstream.close();
        }
        socket.send(text);
      });
    });
    await alice.page.reload();
    await alice.connected();
    await alice.says("only once");
    await alice.page.locator("#log > li.user.delivered").waitFor();
    await alice.sees("only once");
    assert.equal(lost, 1);
    assert.deepEqual(await alice.bubbles(), ["only once", "only once"]);
    const { sessions } = (await server.get("/sessions", { user: alice.user })).json;
    assert.deepEqual((await server.history(alice.user, sessions[0].id)).map((m) => m.content), ["only once", "only once"]);
  });

  test("an error is told beside the message it is about, which can be sent again", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1", RATE_WINDOW: "5s" } });
    const alice = await Person.opens(t, server);
    await alice.says("one");
    await alice.sees("one");
    await alice.says("two");
    await alice.page.locator("#notice").getByText(/Too many requests, please slow down\. You can try again in \d+ s\./).waitFor();
    await alice.page.locator("#log > li.user.failed").waitFor();
    await alice.shot("error");
    const began = Date.now();
    while (await alice.page.locator("#log > li.user.failed").count()) {
      assert.ok(Date.now() - began < DEADLINE_MS);
      await alice.page.getByRole("button", { name: "Try again" }).click();
      await alice.page.locator("#log > li.user.failed, #log > li.user.delivered:has-text('two')").first().waitFor();
    }
    await alice.sees("two");
    await alice.page.getByRole("button", { name: "Dismiss" }).click();
    assert.ok(await alice.page.locator("#notice").isHidden());
  });
});

describe("without a good token", { skip: missing }, () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server?.remove());

  const past = Math.floor(Date.now() / 1000) - 120;
  const states = {
    missing: [() => "", /need a link/],
    expired: [() => mint(server.secret, { user_id: "alice", exp: past }), /expired/],
    refused: [() => mint("the secret of another server, long enough", { user_id: "alice" }), /not valid/],
    garbage: [() => "%41%42", /not valid/],
  };
  for (const [state, [token, title]] of Object.entries(states)) {
    test(`${state}: the page says so, and how to get a new one`, async (t) => {
      const alice = await Person.opens(t, server, { token: token() });
      await alice.page.getByRole("heading", { level: 1, name: title }).waitFor();
      await alice.page.getByText("./dev run").waitFor();
      assert.ok(await alice.page.locator("#chat").isHidden());
      await alice.shot(`gate-${state}`);
      alice.quiet(alice.page, /401/); // the browser itself reports a 401
    });
  }

  test("a new link in the same tab opens the chat", async (t) => {
    const alice = await Person.opens(t, server, { token: states.expired[0]() });
    await alice.page.locator("#gate").waitFor();
    const user = somebody("alice");
    await alice.page.goto(link(server, server.token(user)));
    await alice.says("here I am");
    await alice.sees("here I am");
  });

  test("a token that expires while the page is open: said at the next connection, not looped over", async (t) => {
    const place = await serve(t);
    const user = somebody("alice");
    const alice = await Person.opens(t, place, { user });
    await alice.says("hello");
    await alice.sees("hello");
    await place.stop();
    const secret = randomBytes(32).toString("hex");
    const later = await Server.start({ env: { ...place.env, JWT_SECRET: secret, SERVER_PORT: String(place.port) }, dir: place.dir, secret });
    t.after(() => later.stop());
    await alice.page.locator("#gate").waitFor();
  });
});

describe("embedded in another site", { skip: missing }, () => {
  /** A page of another origin with the chat in a frame; it answers the frame's question for a token. */
  async function parent(t, server, ...tokens) {
    const page = `<!doctype html><iframe src="${server.origin}${PREFIX}/chat.html" width="400" height="500"></iframe>
<script>addEventListener("message", (e) => {
  if (e.data.type !== "request_token") return;
  const tokens = ${JSON.stringify(tokens)}, token = tokens[Math.min(window.asked ?? 0, tokens.length - 1)];
  window.asked = (window.asked ?? 0) + 1;
  e.source.postMessage({ type: "token", token }, "*");
});</script>`;
    const site = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end(page));
    await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
    t.after(() => site.close());
    return `http://localhost:${site.address().port}/`;
  }

  async function open(t, listed, { env = {}, tokens = (place, user) => [place.token(user)] } = {}) {
    const server = await serve(t, { env });
    const web = path.join(server.dir, "web");
    await cp(path.join(ROOT, "web"), web, { recursive: true });
    await server.stop();
    const user = somebody("alice");
    const place = await server.again({ WEB_DIR: web });
    t.after(() => place.remove());
    const site = await parent(t, place, ...tokens(place, user));
    if (listed) {
      const html = await readFile(path.join(web, "chat.html"), "utf8");
      await writeFile(path.join(web, "chat.html"), html.replace('name="chatbox-parents" content=""', `name="chatbox-parents" content="https://x.example ${new URL(site).origin}"`));
    }
    const shown = listed ? await place.stop().then(() => place.again({ SERVER_PORT: String(place.port) })) : place;
    if (listed) t.after(() => shown.remove());
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    await page.goto(site);
    return { page, frame: page.frameLocator("iframe"), server: shown, user };
  }

  test("it takes a token from a site that is listed", async (t) => {
    const { frame } = await open(t, true);
    await frame.locator("#status[data-state=open]").waitFor();
    await frame.locator("#text").fill("framed");
    await frame.locator("#send:enabled").click();
    await frame.locator("#log > li.ai .bubble").getByText("framed").waitFor();
  });

  test("it asks for the next token before the one it has ends, and goes on with it", async (t) => {
    const exp = Math.floor(Date.now() / 1000) + 12;
    const tokens = (place, user) => [place.token(user, { exp }), place.token(user, { exp: exp + 3600 })];
    const { page, frame, server, user } = await open(t, true, { env: { JWT_LEEWAY: "0" }, tokens });
    await frame.locator("#status[data-state=open]").waitFor();
    await page.waitForFunction(() => window.asked >= 2);
    const other = await server.join(user, { claims: { exp } });
    assert.equal((await within(other.closed, "the first token to end", 30000)).code, 4401);
    await frame.locator("#text").fill("on we go");
    await frame.locator("#send:enabled").click();
    await frame.locator("#log > li.ai .bubble").getByText("on we go").waitFor();
    assert.ok(await frame.locator("#gate").isHidden());
  });

  test("it takes none from a site that is not", async (t) => {
    const { page, frame } = await open(t, false);
    await page.waitForFunction(() => window.asked);
    await frame.locator("#gate").waitFor();
    // The answer was posted in the same turn as `asked`; a turn of the frame later it has been heard, and refused.
    await page.frames()[1].evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
    assert.ok(await frame.locator("#chat").isHidden());
  });
});
