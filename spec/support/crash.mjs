// In: the settings of a store. Out: a server that was killed with SIGKILL at random moments while several people talked,
// and everything they were acknowledged found again, exactly once and in order, and answered once. Why: every store is asked the same. The
// seed is printed; SPEC_SEED runs the same again.

import assert from "node:assert/strict";
import { BIN, serve, somebody } from "../e2e/support.mjs";

const SANITIZED = /asan|tsan/.test(BIN);
export const ROUNDS = !process.env.SPEC_LONG ? 5 : SANITIZED ? 20 : 100;
const PEOPLE = 6;
const IN_FLIGHT = 20; // messages of one person that wait for their ack
const ACKS_MAX = 300; // of all people, until the kill
const FAILED = "Your message could not be answered";
const SEED = Number(process.env.SPEC_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Numbers that look random, the same ones for the same seed: 0 ≤ n < below. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Somebody who says one numbered message after the other, and remembers which were acknowledged. */
class Talker {
  user = somebody("talker");
  session = undefined;
  said = 0; // numbers 1 … said have been said at least once
  acks = new Map(); // number → { id, seq }
  onAck = () => {};

  text(number) {
    return `${this.user} says ${number}`;
  }

  /** Connects and says again, in order, what has no ack. */
  async joins(server, talks = true) {
    this.client = await server.join(this.user, { session: this.session });
    if (this.session) assert.equal(this.client.session, this.session, "the conversation goes on");
    this.client.socket.on("message", (data) => this.#hears(JSON.parse(data)));
    const missing = Array.from({ length: this.said }, (_, i) => i + 1).filter((n) => !this.acks.has(n));
    this.waiting = 0;
    this.talks = talks;
    for (const number of missing) this.#says(number);
    while (talks && this.waiting < IN_FLIGHT) this.#says(++this.said);
  }

  #says(number) {
    this.waiting++;
    if (this.client.socket.readyState === 1) this.client.says(this.text(number), { cid: `n${number}` });
  }

  #hears(message) {
    if (message.type !== "ack") return;
    const number = Number(message.cid.slice(1));
    assert.ok(!this.acks.has(number), `${message.cid} was acknowledged twice`);
    this.session = message.session_id;
    this.acks.set(number, { id: message.id, seq: message.seq });
    this.waiting--;
    this.onAck();
    if (this.talks) this.#says(++this.said);
  }

  /** Comes back, says again what has no ack, and hears an answer to one thing more: what was there before it is answered
   *  by then. */
  async settles(server) {
    await this.joins(server, false);
    const last = ++this.said;
    this.#says(last);
    await this.client.hears("ai_response", { content: this.text(last) });
    await this.client.leaves();
    assert.equal(this.waiting, 0);
  }

  /** All that is stored, page by page. */
  async stored(server) {
    const pages = [];
    let before_seq;
    do {
      const where = `/sessions/${this.session}${before_seq ? `?before_seq=${before_seq}` : ""}`;
      const { status, json, text } = await server.get(where, { user: this.user });
      assert.equal(status, 200, text);
      pages.unshift(json.messages);
      before_seq = json.before_seq;
    } while (before_seq);
    return pages.flat();
  }

  /** Returns how many of the acknowledged it has looked at. */
  async findsEverything(server) {
    if (this.acks.size === 0) return 0;
    const stored = await this.stored(server);
    assert.deepEqual(stored.map((m) => m.seq), stored.map((_, i) => i + 1), "numbers without gaps");
    const mine = stored.filter((m) => m.sender === "user");
    assert.deepEqual(mine.map((m) => m.content), mine.map((_, i) => this.text(i + 1)), "each once, in the order they were said");
    for (const [number, ack] of this.acks) {
      const found = stored[ack.seq - 1];
      assert.ok(found, `${this.text(number)}, acknowledged as ${ack.seq}, is lost`);
      assert.deepEqual([found.content, found.id], [this.text(number), ack.id]);
    }
    const answers = stored.filter((m) => m.sender === "ai").map((m) => m.content);
    const echoes = answers.filter((text) => !text.startsWith(FAILED));
    assert.equal(new Set(echoes).size, echoes.length, "nothing is answered twice");
    assert.equal(answers.length, mine.length, `everything is answered, ${answers.length - echoes.length} with a failure`);
    return this.acks.size;
  }
}

/** ROUNDS kills of a server on that store lose nothing that was acknowledged and double nothing. */
export async function survivesKills(t, store) {
  const random = randomFrom(SEED);
  t.diagnostic(`seed ${SEED}`);
  const env = { RATE_LIMIT: "1000000", INBOX_LIMIT: "100000", SESSION_TTL: "100ms", SESSION_CLEANUP_INTERVAL: "50ms", ...store };
  const people = Array.from({ length: PEOPLE }, () => new Talker());
  let server = await serve(t, { env });
  let looked = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const until = 1 + random(ACKS_MAX);
    const calm = round % 2 === 1; // the kill comes when the last ack is in, and not in the middle of everything
    let acks = 0;
    const enough = new Promise((resolve) => {
      const onAck = () => {
        if (++acks < until) return;
        for (const person of people) person.talks &&= !calm;
        if (!calm || people.every((person) => person.waiting === 0)) resolve();
      };
      for (const person of people) person.onAck = onAck;
    });
    await Promise.all(people.map((person) => person.joins(server)));
    await enough;
    await server.kill();
    await Promise.all(people.map((person) => person.client.ends()));
    server = await server.again();
    t.after(() => server.remove());
    await Promise.all(people.map((person) => person.settles(server)));
    looked = (await Promise.all(people.map((person) => person.findsEverything(server)))).reduce((a, b) => a + b);
  }
  t.diagnostic(`seed ${SEED}: ${ROUNDS} kills, ${looked} acknowledged messages found`);
}
