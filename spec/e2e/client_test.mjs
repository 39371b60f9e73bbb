// The client library (web/chatbox-client.js) against the running server, over a network that breaks: what docs/client.md
// promises. In a browser it is the same file: page_test.mjs and page_client_test.mjs. Each promise has its own test.

import assert from "node:assert/strict";
import { test, describe, before, after } from "node:test";
import WebSocket from "ws";
import { ChatboxClient } from "../../web/chatbox-client.js";
import { Network, chance } from "./network.mjs";
import { DEADLINE_MS, PREFIX, Server, TEST_MS, mint, serve, somebody, within } from "./support.mjs";

const MESSAGES = process.env.SPEC_LONG ? 10000 : 1000;

/** A storage that is gone with the test. */
export class Shelf {
  #items = new Map();
  get length() {
    return this.#items.size;
  }
  key(i) {
    return [...this.#items.keys()][i] ?? null;
  }
  getItem(key) {
    return this.#items.get(key) ?? null;
  }
  setItem(key, value) {
    this.#items.set(key, String(value));
  }
  removeItem(key) {
    this.#items.delete(key);
  }
}

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
