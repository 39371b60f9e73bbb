// The client library (web/chatbox-client.js) against the running server, over a network that breaks: what docs/client.md
// promises. In a browser it is the same file: page_test.mjs and spec/web/page_client_test.mjs. Each promise has its own test.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { ChatboxClient } from "../../web/chatbox-client.js";
import { Shelf } from "../web/world.mjs";
import { Network, chance } from "./network.mjs";
import { DEADLINE_MS, PREFIX, ROOT, Server, TEST_MS, mint, serve, somebody, within } from "./support.mjs";

const MESSAGES = process.env.SPEC_LONG ? 10000 : 1000;

/** A client of the library, and everything it told. */
function meet(t, origin, options = {}) {
  const { world, ...more } = options;
  const client = new ChatboxClient({ url: origin + PREFIX, ...more, world: { WebSocket, storage: null, ...world } });
  client.told = [];
  for (const name of ["state", "message", "history", "failed", "error", "session", "mark", "typing", "bye", "token", "event"])
    client.on(name, (value) => client.told.push({ name, value: structuredCloneOf(value) }));
  client.heard = (name) => client.told.filter((e) => e.name === name).map((e) => e.value);
  t.after(() => client.disconnect());
  return client;
}

const structuredCloneOf = (value) => (value instanceof Error ? value : structuredClone(value));

/** The next event of this name that fits. */
function hears(client, name, fits = () => true, what = name) {
  let off;
  const heard = new Promise((resolve) => (off = client.on(name, (value) => fits(value) && resolve(value))));
  return within(heard, () => `${what}; told: ${JSON.stringify(client.told.slice(-5))}`).finally(off);
}

const becomes = (client, state) => (client.state === state ? Promise.resolve() : hears(client, "state", (s) => s.state === state, state));

/** Every stored message was told once, in order, without a gap. */
function toldInOrder(client, from, top) {
  const seqs = client.heard("message").map((m) => m.seq);
  assert.deepEqual(seqs, Array.from({ length: top - from }, (_, i) => from + 1 + i));
}

async function storedOf(server, user, session) {
  const all = [];
  for (let before = 0; ; ) {
    const { messages, before_seq: more } = (await server.get(`/sessions/${session}?limit=1000${before ? `&before_seq=${before}` : ""}`, { user })).json;
    all.unshift(...messages);
    if (!more) return all;
    before = more;
  }
}

describe("over a network that drops, delays, halves and blackholes", () => {
  test(`${MESSAGES} messages: none lost, none doubled, in order, on both devices`, { timeout: TEST_MS }, async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1000000", INBOX_LIMIT: "1000" } });
    const user = somebody("alice");
    const networks = [await Network.open(t, server.port), await Network.open(t, server.port)];
    const random = chance(20261127);
    for (const network of networks) {
      network.fate = () => {
        const x = random();
        return x < 0.004 ? "drop" : x < 0.008 ? "halve" : x < 0.0085 ? "blackhole" : x < 0.02 ? "delay" : "pass";
      };
    }
    const world = { random: () => random() / 20 }; // the back-off of a test
    const [talker, listener] = networks.map((network) => meet(t, network.origin, { token: server.token(user), world, markReceived: false }));
    for (const client of [talker, listener]) client.connect();
    await Promise.all([becomes(talker, "online"), becomes(listener, "online")]);
    for (let i = 0; i < MESSAGES; i++) await talker.delivered(talker.send(`n${i}`));

    for (const network of networks) network.fate = () => "pass";
    const stored = await within(settled(server, user, talker), "all answers", TEST_MS);
    const said = stored.filter((m) => m.sender === "user").map((m) => m.content);
    assert.deepEqual(said, Array.from({ length: MESSAGES }, (_, i) => `n${i}`));
    assert.deepEqual(stored.map((m) => m.seq), stored.map((_, i) => i + 1));
    const top = stored.length;
    await Promise.all([talker, listener].map((c) => (c.position.seq >= top ? 0 : hears(c, "message", (m) => m.seq === top))));
    toldInOrder(talker, 0, top);
    toldInOrder(listener, 0, top);
    assert.deepEqual(listener.heard("message").filter((m) => m.sender === "user").map((m) => m.content), said);
    assert.deepEqual(talker.unsent, []);
    for (const { counts } of networks) t.diagnostic(JSON.stringify(counts));
    const { dropped, halved, delayed } = networks[0].counts;
    assert.ok(dropped && halved && delayed, "the network broke in every way");
  });

  /** Once the last answer is stored: everything there is. */
  async function settled(server, user, client) {
    for (;;) {
      const stored = await storedOf(server, user, client.sessionId);
      if (stored.filter((m) => m.sender === "ai").length >= MESSAGES) return stored;
      await hears(client, "message");
    }
  }
});

describe("with a server", () => {
  let server;
  before(async () => (server = await Server.start({ env: { RATE_LIMIT: "1000000" } })));
  after(() => server?.remove());

  /** A client that is online, on a network of its own. */
  async function person(t, { user = somebody("alice"), place = server, ...options } = {}) {
    const network = await Network.open(t, place.port);
    const client = meet(t, network.origin, { token: place.token(user), ...options });
    client.connect();
    await becomes(client, "online");
    return { client, network, user };
  }

  test("the library is served under the prefix, with its types, byte for byte", async () => {
    for (const [file, type] of [["chatbox-client.js", "text/javascript; charset=utf-8"], ["chatbox-client.d.ts", "text/plain; charset=utf-8"]]) {
      const { status, headers, text } = await server.get(`/${file}`);
      assert.deepEqual([status, headers["content-type"]], [200, type]);
      assert.equal(text, await readFile(path.join(ROOT, "web", file), "utf8"));
    }
  });

  test("half an emoji is stored as U+FFFD, and the connection stays", async (t) => {
    const { client, user } = await person(t);
    await client.delivered(client.send("half \ud83d here", { metadata: { "a\ud83d": "\ude00" } }));
    const [said] = await server.history(user, client.sessionId);
    assert.equal(said.content, "half \ufffd here");
    assert.deepEqual(said.metadata, { "a\ufffd": "\ufffd" });
    assert.equal(client.heard("state").length, 2);
  });

  test("what is said while the server is away is said when it is back, in order, after a restart of the client, too", async (t) => {
    const storage = new Shelf();
    const { client, network, user } = await person(t, { world: { storage } });
    await client.delivered(client.send("one"));
    network.weather.refuse = true;
    network.cut();
    await becomes(client, "offline");
    for (const text of ["two", "three", "four"]) client.send(text);
    assert.deepEqual(client.messages.slice(-3).map((m) => [m.state, m.kept]), Array(3).fill(["pending", true]));
    client.disconnect();

    const stranger = meet(t, network.origin, { token: server.token(somebody("bob")), world: { storage } });
    assert.deepEqual(stranger.messages, []);
    network.weather.refuse = false;
    const next = meet(t, network.origin, { token: server.token(user), world: { storage } });
    assert.deepEqual(next.messages.map((m) => m.content), ["two", "three", "four"]);
    next.send("five");
    next.connect();
    await within(Promise.all(next.messages.map((m) => next.delivered(m))), "all of it to be stored");
    const stored = await server.history(user, next.sessionId);
    assert.deepEqual(stored.filter((m) => m.sender === "user").map((m) => m.content), ["one", "two", "three", "four", "five"]);
    assert.equal(storage.length, 0);
  });

  for (const [what, break_] of [
    ["in both directions", (network) => network.blackhole()],
    ["only on its way to the server", (network) => (network.weather.up = false)],
    ["only on its way back", (network) => (network.weather.down = false)],
  ]) {
    test(`a network that swallows everything ${what} is found at once after waking up, and nothing is lost`, async (t) => {
      const { client, network, user } = await person(t);
      await client.delivered(client.send("before"));
      break_(network);
      const message = client.send("into the dark");
      client.wake();
      const { reason } = await hears(client, "state", (s) => s.state === "offline");
      assert.equal(reason, "silent");
      Object.assign(network.weather, { up: true, down: true });
      await client.delivered(message);
      const said = (await server.history(user, client.sessionId)).filter((m) => m.sender === "user");
      assert.deepEqual(said.map((m) => m.content), ["before", "into the dark"]);
    });
  }

  test("and is found within 30 seconds without anybody's doing", async (t) => {
    const { client, network } = await person(t);
    await client.delivered(client.send("before"));
    network.blackhole();
    const began = Date.now();
    await hears(client, "state", (s) => s.state === "offline");
    const took = Date.now() - began;
    t.diagnostic(`${took} ms`);
    assert.ok(took <= 30000);
    await becomes(client, "online");
  });

  test("another device is told all of it live, and how far one has read", async (t) => {
    const { client, user } = await person(t);
    const phone = await person(t, { user });
    await client.delivered(client.send("hello"));
    if (phone.client.position.seq < 2) await hears(phone.client, "message", (m) => m.seq === 2);
    assert.deepEqual(phone.client.messages.map((m) => [m.seq, m.sender, m.content]), [[1, "user", "hello"], [2, "ai", "hello"]]);
    phone.client.markRead();
    assert.equal(phone.client.unread, 0);
  });

  test("a rate limit slows it down; all is said, in order", async (t) => {
    const slow = await serve(t, { env: { RATE_LIMIT: "3", RATE_WINDOW: "1s" } });
    const { client, user } = await person(t, { place: slow });
    const said = Array.from({ length: 8 }, (_, i) => `n${i}`);
    await within(Promise.all(said.map((text) => client.delivered(client.send(text)))), "all of it");
    const stored = (await slow.history(user, client.sessionId)).filter((m) => m.sender === "user");
    assert.deepEqual(stored.map((m) => m.content), said);
    assert.ok(client.heard("error").every((e) => e.willRetry));
  });

  test("a token that ends is replaced ahead: the connection stays, and answers after the first has ended", async (t) => {
    const place = await serve(t, { env: { JWT_LEEWAY: "0" } });
    const user = somebody("alice");
    const exp = Math.floor(Date.now() / 1000) + 4;
    const { client } = await person(t, { place, user, token: place.token(user, { exp }), getToken: () => place.token(user) });
    await hears(client, "token");
    const other = await place.join(user, { claims: { exp } });
    assert.equal((await other.ends()).code, 4401);
    await client.delivered(client.send("still here"));
    assert.equal(client.heard("state").length, 2);
  });

  test("a token that has ended on an open connection is replaced after 4401, and what is unsent goes out", async (t) => {
    const place = await serve(t, { env: { JWT_LEEWAY: "0" } });
    const user = somebody("alice");
    const exp = Math.floor(Date.now() / 1000) + 3;
    const asked = [];
    const getToken = ({ reason }) => {
      asked.push(reason);
      return reason === "expiring" ? null : place.token(user);
    };
    const { client } = await person(t, { place, user, token: place.token(user, { exp }), getToken });
    await hears(client, "state", (s) => s.reason === "token_expired");
    const message = client.send("after it");
    await client.delivered(message);
    assert.ok(asked.includes("token_expired"));
  });

  test("a token whose nbf is a little ahead is kept and works when its time has come", async (t) => {
    const place = await serve(t, { env: { JWT_LEEWAY: "0" } });
    const user = somebody("alice");
    const token = place.token(user, { nbf: Math.floor(Date.now() / 1000) + 3 });
    const client = meet(t, place.origin, { token });
    client.connect();
    await hears(client, "state", (s) => s.state === "offline" && s.reason === "unauthorized");
    assert.equal(client.token, token);
    await becomes(client, "online");
    await client.delivered(client.send("now"));
  });

  test("a token of another server: it stops, and says so", async (t) => {
    const client = meet(t, server.origin, { token: mint("another secret, long enough for a key", { user_id: "alice" }) });
    client.connect();
    const { reason } = await hears(client, "state", (s) => s.state === "closed");
    assert.equal(reason, "unauthorized");
  });

  test("a user who is erased: what is unsent is forgotten, and it does not come back", async (t) => {
    const place = await serve(t);
    const storage = new Shelf();
    const { client, network, user } = await person(t, { place, world: { storage } });
    await client.delivered(client.send("to be erased"));
    network.weather.up = false;
    const unsent = client.send("not sent yet");
    const lost = assert.rejects(client.delivered(unsent), { code: "ERASED" });
    assert.equal((await place.command("erase", "--user", user)).code, 0);
    const { reason } = client.state === "closed" ? client.heard("state").at(-1) : await hears(client, "state", (s) => s.state === "closed");
    await lost;
    assert.equal(reason, "erased");
    assert.deepEqual([storage.length, client.messages.length], [0, 0]);
  });

  test("a conversation that is ended and begun anew: what was said in the old one is gone from the list, and kept", async (t) => {
    const { client, user } = await person(t);
    await client.delivered(client.send("old"));
    const first = client.sessionId;
    await client.startNew();
    await becomes(client, "online");
    await client.delivered(client.send("new"));
    assert.notEqual(client.sessionId, first);
    assert.deepEqual(client.messages.filter((m) => m.sender === "user").map((m) => m.content), ["new"]);
    const { sessions } = (await server.get("/sessions", { user })).json;
    assert.deepEqual(sessions.map((s) => s.is_active), [true, false]);
  });

  test("what was stored before its conversation ended is not stored again in the next one", async (t) => {
    const storage = new Shelf();
    const { client, network, user } = await person(t, { world: { storage } });
    await client.delivered(client.send("one"));
    network.weather.down = false;
    client.send("stored, though nobody hears of it");
    const first = client.sessionId;
    while ((await server.history(user, first)).length < 4) await server.get("/healthz");
    client.disconnect();
    network.weather.down = true;
    network.cut();
    await server.post(`/sessions/${first}/end`, { user });
    const other = await server.join(user);
    await other.talks("the next conversation");

    const next = meet(t, network.origin, { token: server.token(user), world: { storage } });
    next.connect();
    await within(Promise.all(next.messages.map((m) => next.delivered(m))), "what is unsent to be settled");
    await next.delivered(next.send("two"));
    const said = async (id) => (await server.history(user, id)).filter((m) => m.sender === "user").map((m) => m.content);
    assert.deepEqual(await said(first), ["one", "stored, though nobody hears of it"]);
    assert.deepEqual(await said(next.sessionId), ["the next conversation", "two"]);
    assert.equal(storage.length, 0);
  });

  test("a position goes on where it was: what was said in between is told", async (t) => {
    const { client, user } = await person(t);
    await client.delivered(client.send("one"));
    if (client.position.seq < 2) await hears(client, "message", (m) => m.seq === 2);
    const { position } = client;
    client.disconnect();
    const other = await server.join(user);
    await other.talks("two");
    const next = meet(t, server.origin, { token: server.token(user), position });
    next.connect();
    await hears(next, "message", (m) => m.seq === 4);
    toldInOrder(next, 2, 4);
    assert.deepEqual(next.heard("history"), []);
  });

  test("a server that is killed and started again, in the middle of it all: nothing is lost and nothing doubled", async (t) => {
    const place = await serve(t);
    const { client, network, user } = await person(t, { place });
    const said = Array.from({ length: 60 }, (_, i) => `n${i}`);
    const all = said.map((text) => client.delivered(client.send(text)));
    await all[20];
    await place.kill();
    const later = await place.again();
    t.after(() => later.remove());
    network.target = later.port;
    await within(Promise.all(all), "all of it");
    const stored = await storedOf(later, user, client.sessionId);
    assert.deepEqual(stored.filter((m) => m.sender === "user").map((m) => m.content), said);
  });
});

describe("with protocol 2", () => {
  /** A client that counts what it asks for over HTTP. */
  async function person(t, place, user, options = {}) {
    const network = await Network.open(t, place.port);
    const asked = [];
    const world = { fetch: (url, more) => (asked.push(new URL(url).pathname), fetch(url, more)) };
    const client = meet(t, network.origin, { token: place.token(user), world, ...options });
    client.connect();
    await becomes(client, "online");
    return { client, network, asked };
  }

  test("what was missed is replayed over the socket: once, in order, and nothing is asked for over HTTP", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const { client, network, asked } = await person(t, server, user);
    await client.delivered(client.send("one"));
    if (client.position.seq < 2) await hears(client, "message", (m) => m.seq === 2);
    network.weather.refuse = true;
    network.cut();
    const other = await server.join(user);
    for (let i = 0; i < 5; i++) await other.talks(`missed ${i}`);
    const before = asked.filter((path) => path.includes("/sessions/")).length;
    network.weather.refuse = false;
    await hears(client, "message", (m) => m.seq === 12);
    toldInOrder(client, 0, 12);
    assert.equal(asked.filter((path) => path.includes("/sessions/")).length, before);
    assert.equal(client.heard("event").filter((m) => m.type === "welcome").at(-1).recovered, true);
  });

  test("a restored backup: the list is loaded anew, and what was said since the backup is gone from it", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const { client, network } = await person(t, server, user);
    await client.delivered(client.send("kept"));
    if (client.position.seq < 2) await hears(client, "message", (m) => m.seq === 2);
    const file = `${server.dir}/copy`;
    assert.equal((await server.command("backup", file)).code, 0);
    await client.delivered(client.send("lost"));
    if (client.position.seq < 4) await hears(client, "message", (m) => m.seq === 4);
    await server.stop();
    assert.equal((await server.command("restore", file)).code, 0);
    const later = await server.again();
    t.after(() => later.remove());
    network.target = later.port;
    const { reason } = await hears(client, "history", (h) => h.reason !== "first");
    assert.equal(reason, "epoch");
    assert.deepEqual(client.messages.map((m) => m.content), ["kept", "kept"]);
    await client.delivered(client.send("goes on"));
    assert.equal(client.heard("message").filter((m) => m.content === "goes on")[0].seq, 3);
  });

  test("what one device has read counts on the other", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const [laptop, phone] = [await person(t, server, user), await person(t, server, user)];
    await laptop.client.delivered(laptop.client.send("hello"));
    if (phone.client.position.seq < 2) await hears(phone.client, "message", (m) => m.seq === 2);
    phone.client.markRead();
    await hears(laptop.client, "mark", (m) => m.read === 2);
    assert.equal(laptop.client.unread, 0);
    const later = await person(t, server, user);
    assert.equal(later.client.unread, 0);
  });

  test("typing is seen on the other device, with who it is, and ends", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const [laptop, phone] = [await person(t, server, user), await person(t, server, user)];
    const seen = hears(phone.client, "typing", (m) => m.active);
    laptop.client.typing();
    assert.deepEqual(await seen, { user_id: user, name: user, active: true });
    const over = hears(phone.client, "typing", (m) => !m.active);
    laptop.client.typing(false);
    await over;
  });

  test("too many devices: the oldest goes, and comes back only by hand", async (t) => {
    const server = await serve(t, { env: { MAX_CONNECTIONS_PER_USER: "1" } });
    const user = somebody("alice");
    const first = await person(t, server, user);
    const gone = hears(first.client, "state", (s) => s.state === "closed");
    const second = await person(t, server, user);
    assert.equal((await gone).reason, "replaced");
    first.client.wake();
    await second.client.delivered(second.client.send("here now"));
    assert.equal(first.client.state, "closed");
    first.client.connect();
    await becomes(first.client, "online");
  });
});
