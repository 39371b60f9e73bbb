// One person, or one address, tries to take what is there for everybody, and an ordinary talker beside it does not notice.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DEFAULTS, PING, TEXT, closeCode, frame, rawJoin, serve, somebody, within } from "./support.mjs";

const TALKER = { ...DEFAULTS, RATE_LIMIT: "1000000" };

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

describe("a script that logs without end", () => {
  test("leaves room for the lines of the others, and how many were left out is said", async (t) => {
    const LOUD = `local bot = require "bot" "echo"
local quiet = require "lib.quiet"
bot:otherwise(function(session, message)
  for i = 1, 2000 do chat.log.info "noise" end
  quiet.say()
  session:reply(message.content)
end)
return bot
`;
    const QUIET = 'local quiet = {}\nfunction quiet.say() chat.log.warn "something that matters" end\nreturn quiet\n';
    const server = await serve(t, { env: { ...TALKER, SCRIPT_LOG_RATE: undefined }, scripts: { "bots/echo.lua": LOUD, "lib/quiet.lua": QUIET } });
    const alice = await server.join(somebody("alice"));
    for (let i = 0; i < 5; i++) await alice.talks(`${i}`);
    for (let i = 0; i < 5; i++) await server.log.next((line) => line.msg === "something that matters", "the line of the other");
    let left = 0;
    while (left < 5000) {
      const line = await server.log.next((l) => /left out/.test(l.msg), "how many were left out");
      assert.match(line.script, /bots\/echo\.lua$/);
      left += Number(line.count);
    }
    assert.ok(server.log.all.filter((line) => line.msg === "noise").length + left === 10000);
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
    const server = await serve(t, { env: { ...DEFAULTS, USER_WORK_RATE: "1", SCRIPT_COROUTINES_PER_USER: "1" } });
    const alice = somebody("alice");
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 30 }, () => server.get("/nothing", { user: alice })));
    const refused = answers.filter(({ status }) => status === 429);
    const passed = 10 + 1 + Math.ceil((performance.now() - began) / 1000); // RATE_BURST at once, then one a second
    assert.ok(refused.length >= Math.min(30 - passed, 19), `${refused.length} of 30, ${passed} may pass`);
    assert.ok(refused.length > 0 || passed >= 30);
    for (const { headers, json } of refused) {
      assert.ok(Number(headers["retry-after"]) >= 1);
      assert.equal(json.error, "rate_limit_exceeded");
    }
    assert.equal((await server.get("/nothing", { user: somebody("bob") })).status, 404);
    const probes = await Promise.all(Array.from({ length: 500 }, (_, i) => server.get(i % 2 ? "/healthz" : "/readyz", { user: alice })));
    assert.deepEqual(probes.filter(({ status }) => status !== 200).map(({ status, text }) => `${status} ${text}`), []);
  });
});

describe("one who goes on asking over HTTP when all of it is refused", () => {
  test("is read no faster than once a second, however many requests it sends ahead; the talker does not notice", async (t) => {
    const server = await serve(t, { env: { ...TALKER, USER_WORK_RATE: "1" } });
    const one = `GET /chatbox/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${server.token(somebody("alice"))}\r\n\r\n`;
    const answers = (raw) => raw.received.toString("latin1").split("HTTP/1.1 ").length - 1;
    const raw = await server.raw(one.repeat(20000));
    await raw.receives(/HTTP\/1\.1 429/);
    await raw.receives((buffer) => buffer.toString("latin1").split("HTTP/1.1 429").length > 32);
    const before = answers(raw);
    const bob = await server.join(somebody("bob"));
    for (let i = 0; i < 8; i++) await bob.talks("meanwhile"); // the same rate is his
    assert.ok(answers(raw) - before < 100, `${answers(raw) - before} answers meanwhile`);
    await raw.receives((buffer) => buffer.toString("latin1").split("HTTP/1.1 ").length - 1 > before); // and it goes on
    raw.drop();
  });
});

describe("one who opens conversations and leaves them", () => {
  test("connect, end, hang up, again: nobody else is kept out, and ending has a rate", async (t) => {
    const server = await serve(t, { env: { ...TALKER, MAX_SESSIONS: "5" } });
    const bob = await server.join(somebody("bob"));
    const alice = somebody("alice");
    const all = [];
    await undisturbed(bob, async () => {
      for (let i = 0; i < 40; i++) {
        const client = await server.join(alice);
        const began = performance.now();
        const { status } = await server.post(`/sessions/${client.session}/end`, { user: alice });
        all.push({ status, began, ended: performance.now() });
        await client.leaves();
      }
    });
    // END_RATE_LIMIT is 30 a minute, however long these 40 took.
    const well = all.filter(({ status }) => status === 200);
    const refused = all.filter(({ status }) => status === 429);
    assert.equal(well.length + refused.length, 40);
    well.slice(30).forEach(({ ended }, i) => assert.ok(ended - well[i].began >= 60_000, "31 within a minute"));
    for (const { began } of refused) {
      const before = well.filter(({ ended }) => ended <= began && ended > began - 60_000 - 1000);
      assert.ok(before.length >= 30, `refused after ${before.length} within a minute`);
    }
    if (all[39].ended - all[0].began < 60_000) assert.equal(refused.length, 10);
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

describe("messages that are begun and not finished", () => {
  test("hold no more memory than the inbox of their user may, on all its connections together", async (t) => {
    const server = await serve(t, { env: { ...TALKER, CONNECTION_BYTE_RATE: "1GiB", USER_BYTE_RATE: "1GiB", INBOX_BYTES_PER_USER: "2MiB" } });
    const alice = somebody("alice");
    const raws = [];
    for (let i = 0; i < 6; i++) {
      raws.push(await rawJoin(server, alice));
      for (let k = 0; k < 9; k++) raws[i].socket.write(frame(k ? 0 : TEXT, "x".repeat(100000), { fin: false }));
    }
    await within(Promise.race(raws.map((raw) => raw.ends())), "one to be closed");
    assert.ok(raws.some((raw) => closeCode(raw) === 1013));
    const bob = await server.join(somebody("bob"));
    await bob.talks("nobody else is held back");
    for (const raw of raws) raw.drop();
    const again = await server.join(alice);
    for (let i = 0; i < 20; i++) again.sends("y".repeat(200000)); // whole ones hold nothing when they have been read
    for (let i = 0; i < 20; i++) assert.equal((await again.next((m) => m.type === "error")).error.code, "INVALID_FORMAT");
  });
});

describe("handlers that wait", () => {
  test("are bounded by user: beyond it TOO_MANY_REQUESTS, and nobody else is held up", async (t) => {
    const SLOW = `local help = {}
function help.help_request(session)
  while not chat.shared.get "released" do chat.timer.sleep(20) end
  session:send('{"type":"helped"}')
end
return help
`;
    const ECHO = `local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  if message.content == "release them" then chat.shared.set("released", true) end
  session:reply(message.content)
end)
return bot
`;
    const env = { ...TALKER, SCRIPT_COROUTINES_PER_USER: "3" };
    const server = await serve(t, { env, scripts: { "handlers/help.lua": SLOW, "bots/echo.lua": ECHO } });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    for (let i = 0; i < 6; i++) alice.sends({ type: "help_request" });
    for (let i = 0; i < 3; i++) {
      const error = await alice.hearsError("TOO_MANY_REQUESTS");
      assert.ok(error.retry_after > 0);
    }
    assert.equal((await server.get("/sessions", { user: alice.user })).status, 429);
    await bob.talks("not held up");
    await bob.talks("release them");
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

const PONG = 10;
/** The pongs in what was received, by their payload. */
function pongs(raw) {
  const found = [];
  for (let at = raw.received.indexOf("\r\n\r\n") + 4; at + 1 < raw.received.length;) {
    const opcode = raw.received[at] & 15;
    let len = raw.received[at + 1], head = 2;
    if (len === 126) [len, head] = [raw.received.readUInt16BE(at + 2), 4];
    if (opcode === PONG) found.push(raw.received.subarray(at + head, at + head + len).toString());
    at += head + len;
  }
  return found;
}

describe("a flood of frames that are no messages", () => {
  test("of pings is answered at its rate and then once a read; the connection stays, the talker does not notice", async (t) => {
    const server = await serve(t, { env: TALKER });
    const bob = await server.join(somebody("bob"));
    const raw = await rawJoin(server, somebody("alice"));
    const COUNT = 200000;
    await undisturbed(bob, async () => {
      const many = Buffer.concat(Array.from({ length: 2000 }, () => frame(PING, "")));
      for (let i = 0; i < COUNT / 2000; i++) raw.socket.write(many);
      while (!(await server.metric("chatbox_ratelimit_blocked_total"))) await bob.talks("not yet");
      for (let i = 0; i < 50; i++) await bob.talks("meanwhile");
    });
    assert.ok(pongs(raw).length < 3000, `${pongs(raw).length} pongs`);
    assert.equal(closeCode(raw), undefined);
    raw.drop();
  });

  test("its last ping is answered: who asks whether we are there hears that we are", async (t) => {
    const server = await serve(t, { env: { ...TALKER, CONNECTION_WORK_RATE: "1", RATE_BURST: "5s" } });
    const raw = await rawJoin(server, somebody("alice"));
    raw.socket.write(Buffer.concat(Array.from({ length: 20 }, (_, i) => frame(PING, `ping ${i}`))));
    await raw.receives(/ping 19/);
    const heard = pongs(raw);
    assert.ok(heard.length <= 10, heard.join());
    assert.equal(heard.at(-1), "ping 19");
    raw.drop();
  });

  for (const [what, bytes] of [
    ["of pongs", Buffer.concat(Array.from({ length: 2000 }, () => frame(PONG, "")))],
    ["of empty continuations of a message that never ends", Buffer.concat(Array.from({ length: 2000 }, () => frame(0, "", { fin: false })))],
    ["of continuations of a byte each", Buffer.concat(Array.from({ length: 2000 }, () => frame(0, "x", { fin: false })))],
  ]) {
    test(`${what} is read no faster than its share, and kept out of the talker's way`, async (t) => {
      const server = await serve(t, { env: { ...TALKER, CONNECTION_BYTE_RATE: "4KiB" } });
      const bob = await server.join(somebody("bob"));
      const raw = await rawJoin(server, somebody("alice"));
      raw.socket.write(frame(TEXT, "", { fin: false }));
      for (let i = 0; i < 2000; i++) raw.socket.write(bytes); // more than the kernel takes on both sides
      while (!(await server.metric("chatbox_ratelimit_blocked_total"))) await bob.talks("not yet");
      for (let i = 0; i < 50; i++) await bob.talks("meanwhile");
      assert.ok(raw.socket.writableLength > 0, "all of it was read");
      assert.equal(closeCode(raw), undefined);
      raw.drop();
    });
  }
});

describe("one who connects again and again", () => {
  const from = (address) => ({ headers: { "X-Forwarded-For": address } });
  const upgrade = (server, token, address) =>
    server.raw(
      `GET /chatbox/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${token}\r\n` +
        `X-Forwarded-For: ${address}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
  const heard = async (raw, pattern) => {
    await raw.receives(pattern);
    raw.drop();
    return raw.received.toString("latin1");
  };
  const refused = (text) => {
    assert.match(text, /^HTTP\/1\.1 429 Too Many Requests\r\n/);
    assert.ok(Number(text.match(/\r\nRetry-After: (\d+)\r\n/)?.[1]) >= 1, text);
    assert.match(text, /rate_limit_exceeded/);
  };

  test("as one user, from wherever, gets 429 with Retry-After; nobody else does", async (t) => {
    const server = await serve(t, { env: { ...TALKER, CONNECT_RATE_LIMIT: "5", MAX_CONNECTIONS_PER_USER: "6" } });
    const token = server.token(somebody("alice"));
    for (let i = 0; i < 5; i++) await heard(await upgrade(server, token, `203.0.113.${i}`), /connection_status/);
    for (let i = 0; i < 3; i++) refused(await heard(await upgrade(server, token, `198.51.100.${i}`), /slow|later/));
    const bob = await server.join(somebody("bob"));
    await bob.talks("hello");
    assert.equal((await server.get("/healthz")).status, 200);
  });

  test("from one address, with tokens that are no good, on whatever connection, gets 429; a proxy and the probes do not", async (t) => {
    const server = await serve(t, { env: { ...TALKER, ADDRESS_CONNECT_RATE_LIMIT: "10" } });
    const statuses = [];
    for (let i = 0; i < 20; i++) statuses.push((await heard(await upgrade(server, "no.good.token", "203.0.113.7"), /\r\n\r\n/)).slice(9, 12));
    assert.deepEqual(statuses, [...Array(10).fill("401"), ...Array(10).fill("429")]);
    refused(await heard(await upgrade(server, server.token(somebody()), "203.0.113.7"), /later/)); // also with a good one
    for (const probe of ["/healthz", "/readyz"]) assert.equal((await server.get(probe, from("203.0.113.7"))).status, 200);
    assert.equal((await server.get("/nothing", { ...from("203.0.113.7"), user: somebody() })).status, 429);
    for (let i = 0; i < 20; i++) await (await server.join(somebody("direct"))).leaves(); // loopback is a trusted proxy
    await (await server.join(somebody("bob"), from("203.0.113.8"))).talks("hello");
  });

  test("over plain connections is counted by connection, not by request; on one connection each handshake counts", async (t) => {
    const server = await serve(t, { env: { ...TALKER, TRUSTED_PROXIES: "192.0.2.1", ADDRESS_CONNECT_RATE_LIMIT: "5" } });
    const page = "GET /chatbox/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    const stays = await server.raw(page.repeat(30));
    await stays.receives((buffer) => buffer.toString("latin1").split("HTTP/1.1 4").length === 31);
    const tries = await server.raw("GET /chatbox/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(10));
    await tries.ends();
    const statuses = [...tries.received.toString("latin1").matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    assert.deepEqual(statuses, ["401", "401", "401", "401", "429"]);
    refused(await heard(await server.raw(page), /later/));
    for (const raw of [stays, tries]) raw.drop();
  });
});

describe("one address that begins requests and does not finish them", () => {
  test("has a bound of its own, at which one of its own goes: everybody else comes in", async (t) => {
    const env = { ...TALKER, TRUSTED_PROXIES: "192.0.2.1", WORKERS: "1", MAX_HANDSHAKES: "20", MAX_HANDSHAKES_PER_ADDRESS: "5", HANDSHAKE_TIMEOUT: "600s" };
    const server = await serve(t, { env });
    const slow = [];
    const begin = async () => {
      const raw = await server.raw("GET /chatbox/healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ");
      slow.push(raw);
    };
    for (let i = 0; i < 5; i++) await begin();
    await server.get("/healthz"); // it takes the place of one
    await within(Promise.race(slow.map((raw) => raw.closed)), "one to go");
    for (let i = 0; i < 30; i++) await begin();
    const bob = await server.join(somebody("bob"));
    await bob.talks("there is room");
    for (const raw of slow) raw.drop();
  });
});

describe("one address that sends bodies and does not finish them", () => {
  const SIZE = 262144;
  const body = Buffer.alloc(SIZE, "x");
  const head = (address) =>
    `POST /chatbox/nowhere HTTP/1.1\r\nHost: x\r\n${address ? `X-Forwarded-For: ${address}\r\n` : ""}Content-Length: ${SIZE}\r\n\r\n`;
  const status = (raw) => raw.received.toString("latin1").match(/^HTTP\/1\.1 (\d+)/)?.[1];
  const env = { ...TALKER, WORKERS: "1", MAX_BODY_SIZE: `${SIZE}`, BODY_BYTES_PER_ADDRESS: "1MiB", HANDSHAKE_TIMEOUT: "600s", SHUTDOWN_TIMEOUT: "2s" };

  test("keeps no more memory than its share: the oldest goes, its newcomers and all others are served", async (t) => {
    const server = await serve(t, { env });
    const begin = async (address) => {
      const raw = await server.raw(head(address));
      raw.socket.write(body.subarray(1));
      return raw;
    };
    const whole = async (address) => {
      const raw = await server.raw(Buffer.concat([Buffer.from(head(address)), body]));
      await raw.receives(/\r\n\r\n/);
      raw.drop();
      return status(raw);
    };
    const slow = [];
    for (let i = 0; i < 20; i++) slow.push(await begin("203.0.113.7"));
    await within(Promise.all(slow.slice(0, 12).map((raw) => raw.receives(/\r\n\r\n/))), "the oldest to be refused");
    assert.deepEqual([...new Set(slow.slice(0, 12).map(status))], ["429"]);
    assert.match(slow[0].received.toString("latin1"), /\r\nRetry-After: 1\r\n[^]*\r\nConnection: close\r\n|\r\nConnection: close\r\n[^]*\r\nRetry-After: 1\r\n/);
    for (let i = 0; i < 10; i++) assert.equal(await whole("203.0.113.7"), "404"); // its own newcomer
    assert.equal(await whole("203.0.113.8"), "404");
    const proxied = [];
    for (let i = 0; i < 20; i++) proxied.push(await begin()); // loopback is a trusted proxy
    for (const raw of proxied) raw.socket.write("x");
    await Promise.all(proxied.map((raw) => raw.receives(/\r\n\r\n/)));
    assert.deepEqual([...new Set(proxied.map(status))], ["404"]);
    for (const raw of [...slow, ...proxied]) raw.drop();
  });

  test("what a script still works on counts, too; a newcomer that finds only such is told to come again", async (t) => {
    const server = await serve(t, { env });
    const sessions = await server.readScript("api/sessions.lua");
    const alice = somebody("alice");
    const waiting = /function sessions\.finish\([^)]*\)\n/;
    assert.match(sessions, waiting);
    await server.stop();
    await server.script("api/sessions.lua", sessions.replace(waiting, (line) => `${line}chat.log.info "a body is worked on"\nwhile not chat.shared.get "released" do chat.timer.sleep(20) end\n`));
    const patient = await server.again();
    t.after(() => patient.stop());
    const end = Buffer.concat([
      Buffer.from(`POST /chatbox/sessions/none/end HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer ${patient.token(alice)}\r\nContent-Length: ${SIZE}\r\n\r\n`),
      body,
    ]);
    const workedOn = [];
    let refused;
    while (!refused && workedOn.length < 5) { // one after the other: whoever comes finds only bodies that are whole
      const raw = await patient.raw(end);
      const works = patient.log.next((l) => l.text.includes("a body is worked on"), "a script to work on it").then(() => false);
      const refuses = raw.receives(/^HTTP\/1\.1 429 [^]*Retry-After: 1\r\n/).then(() => true);
      for (const later of [works, refuses]) later.catch(() => {});
      if (await Promise.race([works, refuses])) refused = raw;
      else workedOn.push(raw);
    }
    assert.ok(refused && workedOn.length, `${workedOn.length} are worked on`);
    await (await patient.join(somebody("bob"))).talks("hello");
    for (const raw of [...workedOn, refused]) raw.drop();
  });
});
