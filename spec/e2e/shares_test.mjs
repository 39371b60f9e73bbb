// One person, or one address, tries to take what is there for everybody, and an ordinary talker beside it does not notice.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DEFAULTS, TEXT, closeCode, frame, rawJoin, serve, somebody, within } from "./support.mjs";

describe("a log that nobody reads", () => {
  const LOUD = `local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  for i = 1, 100 do chat.log.info(("x"):rep(3000), { line = i }) end
  session:reply(message.content)
end)
return bot
`;

  test("stops neither the talking nor the stop; what was dropped is counted, and said once it flows again", async (t) => {
    const env = { LOG_BUFFER: "64KiB", RATE_LIMIT: "1000000" };
    const server = await serve(t, { env, scripts: { "bots/echo.lua": LOUD } });
    const alice = await server.join(somebody("alice"));
    server.process.stderr.pause();
    for (let i = 0; !(await server.metric("chatbox_log_dropped_total")); i++) {
      assert.ok(i < 200, "60 MB of log are waiting for somebody who does not read");
      await alice.talks(`${i}`);
    }
    for (let i = 0; i < 5; i++) await alice.talks(`still here ${i}`);

    server.process.stderr.resume();
    const note = await server.log.next((line) => line.component === "log", "how much was dropped");
    assert.ok(Number(note.count) > 0);
    await alice.talks("and now");
    await server.log.next((line) => line.component === "script", "the log to go on");

    server.process.stderr.pause();
    for (let i = 0; i < 5; i++) await alice.talks(`again ${i}`);
    server.process.kill("SIGTERM");
    const { code } = await within(new Promise((resolve) => server.process.on("exit", (status) => resolve({ code: status }))), "the stop");
    assert.equal(code, 0);
    server.process.stderr.resume();
    await server.exited;
  });
});

/** How the ordinary talker fares while `attack` runs: each of its messages is answered, the slowest within LIMIT_MS. */
const LIMIT_MS = 2000;
async function undisturbed(talker, attack) {
  let running = true;
  const attacked = attack().finally(() => (running = false));
  let slowest = 0;
  for (let i = 0; (running && i < 300) || i < 5; i++) { // it has limits of its own
    const began = performance.now();
    await talker.talks(`still talking ${i}`);
    slowest = Math.max(slowest, performance.now() - began);
  }
  await attacked;
  assert.ok(slowest < LIMIT_MS, `an ordinary talker waited ${slowest} ms`);
}
const TALKER = { ...DEFAULTS, RATE_LIMIT: "1000000" };

describe("one who sends more than its share", () => {
  test("of small messages is told when to come back, each time, and stays connected; the talker does not notice", async (t) => {
    const server = await serve(t, { env: TALKER });
    const bob = await server.join(somebody("bob"));
    const alice = await server.join(somebody("alice"));
    const COUNT = 3000; // answers of less than OUTBOX_LIMIT together
    const raw = await rawJoin(server, alice.user);
    await undisturbed(bob, async () => {
      for (let i = 0; i < COUNT / 1000; i++) raw.socket.write(Buffer.concat(Array.from({ length: 1000 }, () => frame(TEXT, '{"type":"ping"}'))));
      await raw.receives((buffer) => {
        const text = buffer.toString("latin1");
        const heard = (what) => text.split(what).length - 1;
        return heard('"pong"') + heard('"TOO_MANY_REQUESTS"') + heard('"SERVICE_ERROR"') >= COUNT; // the inbox has a bound, too
      });
    });
    const text = raw.received.toString();
    assert.ok(text.split('"pong"').length - 1 <= 500 + 50 * 40, "CONNECTION_WORK_RATE is 50, RATE_BURST 10 s");
    const [, retry] = text.match(/"retry_after":(\d+)/);
    assert.ok(Number(retry) > 0);
    assert.ok((await server.metric('chatbox_ratelimit_blocked_total')) > 0);
    raw.drop();
    alice.sends({ type: "ping", session_id: alice.session }); // another connection of the same user has its own share
    await alice.hears("pong");
  });

  test("and goes on all the same is read no faster: the kernel holds it back, and it is not even closed", async (t) => {
    const server = await serve(t, { env: TALKER });
    const bob = await server.join(somebody("bob"));
    const raw = await rawJoin(server, somebody("alice"));
    const ping = frame(TEXT, '{"type":"ping"}');
    raw.socket.write(Buffer.alloc(300000 * ping.length, ping));
    await raw.receives(/TOO_MANY_REQUESTS/);
    for (let i = 0; i < 200; i++) await bob.talks(`still talking ${i}`);
    const blocked = await server.metric("chatbox_ratelimit_blocked_total");
    assert.ok(blocked < 30000, `${blocked} of 300,000 were read and refused`);
    assert.equal(closeCode(raw), undefined);
    raw.drop();
  });

  test("on many connections shares one bucket of the user, and each refusal carries the cid of its message", async (t) => {
    const server = await serve(t, { env: { ...TALKER, USER_WORK_RATE: "1", RATE_BURST: "20s" } });
    const alice = somebody("alice");
    const tabs = [];
    for (let i = 0; i < 4; i++) tabs.push(await server.join(alice));
    const answers = await Promise.all(tabs.flatMap((tab, i) => Array.from({ length: 10 }, (_, k) => {
      const cid = `c${i}-${k}`;
      tab.sends({ type: "user_message", session_id: tab.session, content: "hello", cid });
      return tab.next((m) => m.cid === cid && (m.type === "ack" || m.type === "error"), cid);
    })));
    const refused = answers.filter((m) => m.type === "error");
    assert.ok(refused.length >= 15 && refused.length <= 20, `${refused.length} of 40 were refused`);
    for (const { error, session_id } of refused) {
      assert.equal(error.code, "TOO_MANY_REQUESTS");
      assert.equal(session_id, tabs[0].session);
      assert.ok(error.retry_after > 0 && error.retry_after <= 40000, error.retry_after);
    }
    const bob = await server.join(somebody("bob"));
    await bob.talks("nobody else is held back");
  });

  test("of bytes is refused by bytes, before anything is decoded", async (t) => {
    const server = await serve(t, { env: { ...TALKER, CONNECTION_BYTE_RATE: "1KiB" } });
    const alice = await server.join(somebody("alice"));
    for (let i = 0; i < 30; i++) alice.sends("[".repeat(1000)); // 10 KiB are there at once; the first ten are decoded and refused
    const heard = { INVALID_FORMAT: 0, TOO_MANY_REQUESTS: 0 };
    for (let i = 0; i < 30; i++) heard[(await alice.next((m) => m.type === "error")).error.code] += 1;
    assert.ok(heard.INVALID_FORMAT >= 10 && heard.TOO_MANY_REQUESTS >= 5, JSON.stringify(heard));
  });

  test("of pages of history is refused; the talker does not notice", async (t) => {
    const server = await serve(t, { env: TALKER });
    const bob = await server.join(somebody("bob"));
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    const heard = { history: 0, error: 0 };
    await undisturbed(bob, async () => {
      for (let i = 0; i < 400; i++) alice.sends('{"type":"history","limit":1000}');
      for (let i = 0; i < 400; i++) heard[(await alice.next((m) => m.type === "history" || m.type === "error")).type] += 1;
    });
    assert.ok(heard.history <= 240, "READ_RATE_LIMIT is 240");
    assert.ok(heard.error >= 100);
    await alice.talks("still connected");
  });

  test("over HTTP gets 429 with Retry-After, and the probes answer all the same", async (t) => {
    const server = await serve(t, { env: { ...DEFAULTS, USER_WORK_RATE: "1" } });
    const alice = somebody("alice");
    const answers = await Promise.all(Array.from({ length: 30 }, () => server.get("/nothing", { user: alice })));
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(refused.length >= 15, `${refused.length} of 30`);
    for (const { headers, json } of refused) {
      assert.ok(Number(headers["retry-after"]) >= 1);
      assert.equal(json.error, "rate_limit_exceeded");
    }
    assert.equal((await server.get("/nothing", { user: somebody("bob") })).status, 404);
    const probes = await Promise.all(Array.from({ length: 500 }, (_, i) => server.get(i % 2 ? "/healthz" : "/readyz", { user: alice })));
    assert.deepEqual(probes.filter(({ status }) => status !== 200).map(({ status, text }) => `${status} ${text}`), []);
  });
});

describe("one who opens conversations and leaves them", () => {
  test("connect, end, hang up, again: nobody else is kept out, and ending has a rate", async (t) => {
    const server = await serve(t, { env: { ...TALKER, MAX_SESSIONS: "5" } });
    const bob = await server.join(somebody("bob"));
    const alice = somebody("alice");
    const ends = {};
    await undisturbed(bob, async () => {
      for (let i = 0; i < 40; i++) {
        const client = await server.join(alice);
        const { status } = await server.post(`/sessions/${client.session}/end`, { user: alice });
        ends[status] = (ends[status] ?? 0) + 1;
        await client.leaves();
      }
    });
    assert.deepEqual(ends, { 200: 30, 429: 10 }, "END_RATE_LIMIT is 30");
    for (let i = 0; i < 8; i++) {
      const other = await server.join(somebody("other"));
      await other.talks("a new conversation");
      await other.leaves();
    }
    assert.ok((await server.metric("chatbox_sessions_evicted_total")) > 0, "nobody's idle conversation left memory");
    await bob.talks("mine is in use");
  });

  test("whoever's idle conversation left memory for others finds it again", async (t) => {
    const server = await serve(t, { env: { ...TALKER, MAX_SESSIONS: "2" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("remember this");
    await alice.leaves();
    for (let i = 0; i < 3; i++) {
      const other = await server.join(somebody("other"));
      await other.talks("hello");
      await other.leaves();
    }
    const back = await server.join(alice.user);
    assert.equal(back.session, alice.session);
    assert.equal((await server.history(alice.user, alice.session))[0].content, "remember this");
  });
});

describe("an inbox", () => {
  test("takes no more bytes of one user than its share, in all conversations together", async (t) => {
    const SLOW = `local bot = require "bot" "echo"
bot:otherwise(function(session, message) chat.timer.sleep "300ms" session:reply "done" end)
return bot
`;
    const env = { ...TALKER, INBOX_BYTES: "64KiB", CONNECTION_BYTE_RATE: "1GiB", USER_BYTE_RATE: "1GiB" };
    const server = await serve(t, { env, scripts: { "bots/echo.lua": SLOW } });
    const alice = await server.join(somebody("alice"));
    const outcome = { ai_response: 0, SERVICE_ERROR: 0 };
    for (let i = 0; i < 20; i++) alice.says("x".repeat(9000));
    for (let i = 0; i < 20; i++) {
      const m = await alice.next((heard) => heard.type === "ai_response" || heard.type === "error");
      outcome[m.error?.code ?? m.type] += 1;
    }
    assert.ok(outcome.SERVICE_ERROR >= 10 && outcome.ai_response >= 5, JSON.stringify(outcome));
    const bob = await server.join(somebody("bob"));
    bob.says("hello");
    await bob.hears("ai_response");
  });
});

describe("handlers that wait", () => {
  test("are bounded by user: beyond it TOO_MANY_REQUESTS, and nobody else is held up", async (t) => {
    const SLOW = `local help = {}
function help.help_request(session) chat.timer.sleep "2s" session:send('{"type":"helped"}') end
return help
`;
    const env = { ...TALKER, SCRIPT_COROUTINES_PER_USER: "3" };
    const server = await serve(t, { env, scripts: { "handlers/help.lua": SLOW } });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    for (let i = 0; i < 6; i++) alice.sends({ type: "help_request" });
    for (let i = 0; i < 3; i++) {
      const error = await alice.hearsError("TOO_MANY_REQUESTS");
      assert.ok(error.retry_after > 0);
    }
    assert.equal((await server.get("/sessions", { user: alice.user })).status, 429);
    await bob.talks("not held up");
    for (let i = 0; i < 3; i++) await alice.hears("helped");
    await alice.talks("and free again");
  });
});

describe("one address", () => {
  const from = (address) => ({ headers: { "X-Forwarded-For": address } });

  test("at its bound lets the newcomer in and closes its most silent connection; no other address and no proxy notices", async (t) => {
    const server = await serve(t, { env: { ...TALKER, MAX_CONNECTIONS_PER_ADDRESS: "3" } });
    const bob = await server.join(somebody("bob"), from("203.0.113.9"));
    const office = [];
    for (let i = 0; i < 3; i++) office.push(await server.join(somebody("office"), from("198.51.100.7")));
    await office[0].talks("I am not silent");
    await office[2].talks("nor am I");
    const fourth = await server.join(somebody("office"), from("198.51.100.7"));
    const { code } = await office[1].ends();
    assert.equal(code, 1013);
    await fourth.talks("there was room for me");
    await office[0].talks("I am still here");
    await bob.talks("so am I");
    const direct = [];
    for (let i = 0; i < 6; i++) direct.push(await server.join(somebody("direct"))); // loopback is a trusted proxy
    for (const client of [...direct, bob]) await client.talks("nobody closed us");
  });

  test("has one bucket for all its users; IPv6 counts by network of 64 bits", async (t) => {
    const server = await serve(t, { env: { ...TALKER, ADDRESS_WORK_RATE: "1", RATE_BURST: "10s" } });
    const people = [];
    for (let i = 0; i < 5; i++) people.push(await server.join(somebody("six"), from(`2001:db8:0:7::${i + 1}`)));
    const answers = await Promise.all(people.flatMap((person) => Array.from({ length: 6 }, () => {
      person.sends({ type: "ping" });
      return person.next((m) => m.type === "pong" || m.type === "error");
    })));
    const refused = answers.filter((m) => m.type === "error");
    assert.ok(refused.length >= 15 && refused.length <= 20, `${refused.length} of 30`);
    assert.ok(refused.every(({ error }) => error.code === "TOO_MANY_REQUESTS" && error.retry_after > 0));
    const other = await server.join(somebody("other"), from("2001:db8:0:8::1"));
    await other.talks("another network");
  });
});

describe("one who sends ahead, each message with its cid, and says again what was refused", () => {
  /** Says all of it at once, then again and again, from the first on that is not stored, until everything is acknowledged. */
  async function insists(server, user, count) {
    const client = await server.join(user);
    const acked = new Set();
    const refusals = new Set();
    const say = (i) => client.says(`${i}`, { cid: `c${i}` });
    for (let i = 0; i < count; i++) say(i);
    let due = count; // of answers to what was said
    while (acked.size < count) {
      const m = await client.next((m) => m.cid && (m.type === "ack" || m.type === "error"), "an ack or a refusal");
      const i = Number(m.cid.slice(1));
      if (m.type === "ack") acked.add(i);
      else refusals.add(m.error.code);
      if (--due === 0) {
        for (let k = 0; k < count; k++) if (!acked.has(k)) due++, say(k);
      }
    }
    const said = (await server.history(user, client.greeting.session_id)).filter((m) => m.sender === "user").map((m) => Number(m.content));
    assert.deepEqual(said, Array.from({ length: count }, (_, i) => i));
    return refusals;
  }

  test("is stored in the order it was said, when it is over its rate", async (t) => {
    const server = await serve(t, { env: { CONNECTION_WORK_RATE: "100", RATE_BURST: "200ms", RATE_LIMIT: "30", RATE_WINDOW: "500ms" } });
    assert.deepEqual([...(await insists(server, somebody("alice"), 120))], ["TOO_MANY_REQUESTS"]);
  });

  test("and when its inbox is full", async (t) => {
    const server = await serve(t, { env: { INBOX_LIMIT: "10", RATE_LIMIT: "1000000" } });
    assert.deepEqual([...(await insists(server, somebody("alice"), 120))], ["SERVICE_ERROR"]);
  });
});
