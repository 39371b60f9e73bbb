// The server on MongoDB, as its users meet it: no difference while the database is there, and the truth while it is not. One standalone database for all of it: what a replica set adds is in
// spec/unit/store/mongo/failover_test.c.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Mongod, noMongod } from "../support/mongod.mjs";
import { ROUNDS, survivesKills } from "../support/crash.mjs";
import { DEADLINE_MS, SLOWNESS, TEST_MS, serve, somebody } from "./support.mjs";

const READY = "/readyz";

describe("on MongoDB", { skip: noMongod }, () => {
  let mongod;
  const cleanups = [];
  before(async () => {
    mongod = await Mongod.start({ after: (fn) => cleanups.push(fn) });
  });
  after(async () => {
    for (const fn of cleanups) await fn();
  });

  let databases = 0;
  const env = (more = {}) => ({ STORE_URL: mongod.url(`chat${++databases}`), ...more });

  async function again(t, server, more) {
    await server.stop();
    const next = await server.again(more);
    t.after(() => next.remove());
    return next;
  }

  /** Asks until the answer has that status. How long that took, in ms. */
  async function readiness(server, status, limit) {
    const began = Date.now();
    for (;;) {
      const answer = await server.get(READY);
      if (answer.status === status) return Date.now() - began;
      assert.ok(Date.now() - began < limit, `${READY} still says ${answer.status} after ${limit} ms`);
    }
  }

  test("a conversation is there after a restart and goes on", async (t) => {
    const server = await serve(t, { env: env({ ENCRYPTION_KEY: "0123456789abcdef0123456789abcdef" }) });
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    const ack = await alice.saysSurely("surely", "cid-1");

    const later = await again(t, server);
    const back = await later.join(alice.user);
    assert.equal(back.greeting.session_id, alice.session);
    await back.talks("after");
    const same = await back.saysSurely("surely", "cid-1");
    assert.deepEqual([same.id, same.seq, same.duplicate], [ack.id, ack.seq, true]);
    const said = await later.history(alice.user, alice.session);
    const texts = said.map((m) => m.content);
    assert.deepEqual(texts.slice(0, 3), ["before", "before", "surely"]);
    assert.deepEqual(texts.slice(-2), ["after", "after"]);
    assert.deepEqual(said.map((m) => m.seq), said.map((_, i) => i + 1));
  });

  test("what was said is handed back, and goes on from there", async (t) => {
    const server = await serve(t, { env: env() });
    const alice = await server.join(somebody("alice"));
    await alice.talks("one");
    await server.stop();
    const { code, out, err } = await server.command("handback");
    assert.equal(code, 0, err);
    assert.match(out, /^done: \d+ messages, all where the other server looks for them/m);
    const later = await again(t, server);
    const back = await later.join(alice.user, { session: alice.session });
    await back.talks("two");
    const said = await later.history(alice.user, alice.session);
    assert.deepEqual(said.map((m) => m.content), ["one", "one", "two", "two"]);
  });

  test(`${ROUNDS} kills of the server lose nothing that was acknowledged and double nothing`, { timeout: TEST_MS }, (t) =>
    survivesKills(t, env()));

  for (const [how, away, back] of [
    ["killed", () => mongod.kill(), () => mongod.again()],
    ["paused", () => mongod.pause(), () => mongod.resume()],
  ]) {
    test(`a database that is ${how}: readiness says so, a message waits and fails with the truth, then all goes on`, async (t) => {
      const server = await serve(t, { env: env({ STORE_TIMEOUT: "3s" }) });
      const alice = await server.join(somebody("alice"));
      await alice.saysSurely("before", "cid-1");
      assert.equal((await server.get(READY)).status, 200);

      await away();
      assert.ok((await readiness(server, 503, 2000 * SLOWNESS)) < 2000 * SLOWNESS);
      alice.says("meanwhile", { cid: "cid-2" });
      const error = await alice.hearsError("DATABASE_ERROR");
      assert.equal(error.recoverable, true);
      assert.equal(alice.heard.all.filter((m) => m.type === "ack" && m.cid === "cid-2").length, 0);

      await back();
      await readiness(server, 200, DEADLINE_MS);
      await alice.saysSurely("meanwhile", "cid-2");
      await alice.saysSurely("after", "cid-3");
      const said = await server.history(alice.user, alice.session);
      const mine = said.filter((m) => m.sender === "user").map((m) => m.content);
      assert.deepEqual(mine, ["before", "meanwhile", "after"]);
    });
  }

  /** All pages of a conversation. */
  async function wholeHistory(server, user, id) {
    const all = [];
    let before;
    do {
      const { json } = await server.get(`/sessions/${id}${before ? `?before_seq=${before}` : ""}`, { user });
      all.unshift(...json.messages);
      before = json.before_seq;
    } while (before);
    return all;
  }

  const COUNT = 1000;
  for (const [how, waits, timeout] of [
    ["for less than STORE_TIMEOUT: nothing is refused", true, "10m"],
    ["for longer: what is refused holds back what was said behind it until it comes again", false, "500ms"],
  ]) {
    test(`a database killed under a client that sends ahead, ${how}; all is stored in order, once, and answered once`, async (t) => {
      // Under wine a connection outlives the database that was killed: so long an answer is waited for, not half of 10 m.
      const STORE_URL = `${mongod.url(`chat${++databases}`)}?socketTimeoutMS=${5000 * SLOWNESS}`;
      const server = await serve(t, { env: { STORE_URL, INBOX_LIMIT: "100000", RATE_LIMIT: "1000000", STORE_TIMEOUT: timeout } });
      const alice = await server.join(somebody("alice"));
      const acked = new Map(); // cid: seq
      const refusals = new Set();
      let due = 0; // of what was said, without an ack or a refusal so far
      const say = (i) => (due++, alice.says(`${i}`, { cid: `c${i}` }));
      for (let i = 0; i < COUNT; i++) say(i);
      let away = false; // has it been killed
      let back;
      while (acked.size < COUNT) {
        const m = await alice.next((m) => m.cid && (m.type === "ack" || m.type === "error"), "an ack or a refusal", 4 * DEADLINE_MS);
        due--;
        if (m.type === "ack") {
          assert.ok(!acked.has(m.cid), `${m.cid} was acknowledged twice`);
          acked.set(m.cid, m.seq);
        } else {
          assert.equal(m.error.recoverable, true);
          refusals.add(m.error.code);
        }
        if (!away && acked.size === 20) {
          away = true;
          await mongod.kill();
          assert.ok(alice.heard.all.filter((m) => m.type === "ack").length < COUNT, "all of it was stored before the kill");
        }
        if (away && !back && (waits || refusals.size)) await (back = mongod.again());
        if (due === 0 && acked.size < COUNT) {
          await readiness(server, 200, DEADLINE_MS);
          for (let i = 0; i < COUNT; i++) if (!acked.has(`c${i}`)) say(i);
        }
      }
      assert.deepEqual([...refusals], waits ? [] : ["DATABASE_ERROR"]);

      await alice.next((m) => m.type === "ai_response" && m.content === `${COUNT - 1}`, "the last answer");
      const said = await wholeHistory(server, alice.user, alice.session);
      const all = Array.from({ length: COUNT }, (_, i) => `${i}`);
      const by = (sender) => said.filter((m) => m.sender === sender).map((m) => m.content);
      assert.deepEqual(by("user"), all);
      assert.deepEqual(by("ai"), all);
      assert.deepEqual(said.filter((m) => m.sender === "user").map((m) => m.seq), all.map((i) => acked.get(`c${i}`)));
      const heard = alice.heard.all.filter((m) => m.type === "ai_response").map((m) => m.content);
      assert.deepEqual(heard, all);
    });
  }

  test("a server that starts without its database is not ready, and is as soon as it comes", async (t) => {
    await mongod.kill();
    const server = await serve(t, { env: env() });
    assert.equal((await server.get(READY)).status, 503);
    await mongod.again();
    await readiness(server, 200, DEADLINE_MS);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
  });
});
