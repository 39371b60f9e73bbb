// Protocol 2 on the socket besides coming back (recovery_test.mjs): every close is announced by a bye, marks and typing
// reach every device, and a newcomer takes the place of the oldest device.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DEADLINE_MS, serve, somebody, within } from "./support.mjs";

async function hello(client) {
  client.sends({ type: "hello", v: 2 });
  return client.hears("welcome");
}

/** The close of the connection, and the bye that came right before it. */
async function bye(client) {
  const { code } = await client.ends();
  const last = client.heard.all.at(-1);
  assert.equal(last.type, "bye", JSON.stringify(client.heard.all.slice(-3)));
  assert.equal(typeof last.reason, "string");
  assert.ok(Number.isInteger(last.retry_after_ms), JSON.stringify(last));
  assert.equal(client.heard.all.filter((m) => m.type === "bye").length, 1);
  return { close: code, code: last.code, retry: last.retry_after_ms };
}

const HANG_UP = `
local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  if message.content:find "^hang up" then
    chat.connection.close(session, message.connection, tonumber(message.content:match "%d+"), 'a "reason"')
  end
  session:reply(message.content)
end)
return bot
`;

describe("before a close frame comes a bye", () => {
  test("of the stop of the server: going_away, to come back after a while that is not the same for all", async (t) => {
    const server = await serve(t);
    const people = [];
    for (let i = 0; i < 6; i++) people.push(await server.join(somebody()));
    const ended = Promise.all(people.map(bye));
    await server.stop();
    const byes = await ended;
    for (const { close, code, retry } of byes) {
      assert.deepEqual([close, code], [1001, "going_away"]);
      assert.ok(retry > 0);
    }
    assert.ok(new Set(byes.map(({ retry }) => retry)).size > 1, JSON.stringify(byes));
  });

  test("of a slow reader: try_later", async (t) => {
    const server = await serve(t, { env: { OUTBOX_LIMIT: "64KiB", RATE_LIMIT: "1000000" } });
    const user = somebody();
    const slow = await server.join(user);
    const talker = await server.join(user);
    slow.socket.pause();
    const gone = async () => (await server.metric("chatbox_outbox_overflows_total")) > 0;
    for (let i = 0; i < 20000 && !(await gone()); i++) await talker.saysSurely("x".repeat(9000));
    slow.socket.resume();
    const { close, code, retry } = await bye(slow);
    assert.deepEqual([close, code], [1013, "try_later"]);
    assert.ok(retry > 0);
  });

  test("of a script's: the word of its number, whatever the reason says", async (t) => {
    const server = await serve(t, { scripts: { "bots/echo.lua": HANG_UP } });
    for (const [close, code] of [[1008, "refused"], [4403, "not_yours"], [4000, "closed"]]) {
      const alice = await server.join(somebody());
      alice.says(`hang up ${close}`);
      assert.deepEqual(await bye(alice), { close, code, retry: 0 });
      assert.equal(alice.heard.all.at(-1).reason, 'a "reason"');
    }
  });

  test("of broken frames, and of what is too large", async (t) => {
    const server = await serve(t, { env: { MAX_MESSAGE_SIZE: "2KiB" } });
    const alice = await server.join(somebody());
    alice.sends("x".repeat(3000));
    assert.deepEqual(await bye(alice), { close: 1009, code: "too_big", retry: 0 });
    const bob = await server.join(somebody());
    bob.sends(Buffer.from([0xff]), { binary: false });
    assert.deepEqual(await bye(bob), { close: 1007, code: "bad_data", retry: 0 });
  });
});

describe("at MAX_CONNECTIONS_PER_USER", () => {
  test("the oldest device that speaks protocol 2 is replaced by a newcomer", async (t) => {
    const server = await serve(t, { env: { MAX_CONNECTIONS_PER_USER: "3" } });
    const user = somebody();
    const old = await server.join(user); // an old client would only come back at once
    const [first, second] = [await server.join(user), await server.join(user)];
    await hello(second);
    await hello(first);
    const fourth = await server.join(user);
    assert.deepEqual(await bye(first), { close: 4409, code: "replaced", retry: 0 });
    const fifth = await server.join(user);
    assert.deepEqual(await bye(second), { close: 4409, code: "replaced", retry: 0 });
    const refused = await server.handshake("/ws", { Authorization: `Bearer ${server.token(user)}` });
    assert.equal(refused.status, 429);
    for (const client of [old, fourth, fifth]) await client.talks("still here");
    await old.leaves();
    const again = await server.join(user);
    await again.talks("a place that is free is free");
  });

  test("many newcomers at once never are more than that, and no place is lost", async (t) => {
    const server = await serve(t, { env: { MAX_CONNECTIONS_PER_USER: "4" } });
    const user = somebody();
    const all = await Promise.all(Array.from({ length: 4 }, () => server.join(user)));
    await Promise.all(all.map(hello));
    for (let round = 0; round < 20; round++) {
      const newcomers = await Promise.allSettled(
        Array.from({ length: 4 }, async () => {
          const client = await server.join(user);
          await hello(client);
          return client;
        }),
      );
      all.push(...newcomers.filter((n) => n.status === "fulfilled").map((n) => n.value));
    }
    const open = () => all.filter((c) => c.socket.readyState === 1);
    assert.ok(open().length <= 4, String(open().length));
    await Promise.all(open().map((c) => c.leaves()));
    const fresh = await Promise.all(Array.from({ length: 4 }, () => server.join(user)));
    for (const client of fresh) await client.talks("hello");
    assert.equal((await server.handshake("/ws", { Authorization: `Bearer ${server.token(user)}` })).status, 429);
  });
});

describe("a mark", () => {
  for (const [name, env] of Object.entries({ SQLite: {}, memory: { STORE_URL: "memory:marks" } })) {
    test(`is kept by ${name}, told to every device, and counts what is unread`, async (t) => {
      const server = await serve(t, { env });
      const user = somebody();
      const [phone, desk] = [await server.join(user), await server.join(user)];
      await phone.talks("one");
      await phone.talks("two");
      assert.equal((await hello(desk)).unread, 4);
      phone.sends({ type: "mark", received: 4, read: 3, cid: "m1" });
      const expected = { session_id: phone.session, received: 4, read: 3, unread: 1 };
      await phone.hears("mark", { ...expected, cid: "m1" });
      await desk.hears("mark", expected);
      desk.sends({ type: "mark", read: 1 }); // behind: nothing
      desk.sends({ type: "mark", read: 99, cid: "m2" });
      const refused = await desk.hears("error", { cid: "m2" });
      assert.equal(refused.error.code, "INVALID_FORMAT");
      const welcome = await hello(await server.join(user));
      assert.deepEqual([welcome.received, welcome.read, welcome.unread], [4, 3, 1]);
      const { sessions } = (await server.get("/sessions", { user })).json;
      assert.equal(sessions[0].unread, 1);
    });
  }

  test("outlives the server, and goes with an export", async (t) => {
    const server = await serve(t);
    const user = somebody();
    const alice = await server.join(user);
    await alice.talks("one");
    alice.sends({ type: "mark", read: 2 });
    await alice.hears("mark", { read: 2 });
    const { code, out, err } = await server.command("export", "--user", user);
    assert.equal(code, 0, err);
    const line = out.split("\n").map((text) => text && JSON.parse(text)).find((l) => l?.line === "session");
    assert.deepEqual([line.received, line.read], [2, 2]);
  });

  test("of somebody else's conversation is refused", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("one");
    const eve = await server.join(somebody("eve"));
    eve.sends({ type: "mark", session_id: alice.session, read: 1, cid: "m" });
    const refused = await eve.hears("error", { cid: "m" });
    assert.deepEqual([refused.error.code, refused.session_id], ["UNAUTHORIZED", alice.session]);
    assert.equal((await hello(alice)).read, 0);
  });
});

describe("typing", () => {
  test("says who and for how long, to the others alone, and nothing a client makes up", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const [phone, desk] = [await server.join(user), await server.join(user)];
    const stranger = await server.join(somebody("eve"));
    await hello(desk);
    phone.sends({ type: "typing", ttl: 5000, who: { id: "root", kind: "admin" } });
    const typing = await desk.hears("typing");
    assert.deepEqual([typing.who, typing.state, typing.ttl], [{ id: user, name: user, kind: "user" }, "typing", 5000]);
    phone.sends({ type: "typing", state: "idle" });
    assert.equal((await desk.hears("typing", { state: "idle" })).ttl, undefined);
    await phone.talks("done");
    phone.heardNothingOf("typing");
    stranger.heardNothingOf("typing");
  });

  test("is heard by each client in its own protocol, whichever the one who types speaks", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const [old, older, phone, desk] = [await server.join(user), await server.join(user), await server.join(user), await server.join(user)];
    await hello(phone);
    await hello(desk);
    const who = { id: user, name: user, kind: "user" };
    old.sends({ type: "typing_indicator", content: "…" });
    for (const client of [phone, desk]) {
      const typing = await client.hears("typing");
      assert.deepEqual([typing.who, typing.state, typing.ttl > 0], [who, "typing", true]);
    }
    assert.deepEqual([(await older.hears("typing_indicator")).content, old.session], ["…", older.session]);
    phone.sends({ type: "typing" });
    for (const client of [old, older]) assert.equal((await client.hears("typing_indicator")).sender, "user");
    assert.deepEqual((await desk.hears("typing")).who, who);
    phone.sends({ type: "typing", state: "idle" }); // protocol 1 has no word for it
    await desk.hears("typing", { state: "idle" });
    await old.talks("done");
    await older.hears("ai_response");
    const count = (client, type) => client.heard.all.filter((m) => m.type === type).length;
    assert.deepEqual([old, older, phone, desk].map((c) => [count(c, "typing_indicator"), count(c, "typing")]), [[1, 0], [2, 0], [0, 1], [0, 3]]);
  });
});

describe("an old client", () => {
  const MUTE = 'local bot = require "bot" "echo" bot:otherwise(function() end) return bot';

  test("is told that an answer is whole, and that nothing more comes when the bot says nothing", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody());
    assert.deepEqual((await alice.talks("hi")).metadata, { streaming: "true", done: "true" });
    const mute = await serve(t, { scripts: { "bots/echo.lua": MUTE } });
    const bob = await mute.join(somebody());
    bob.says("hi");
    await bob.hears("loading");
    const end = await bob.hears("ai_response");
    assert.deepEqual([end.content, end.metadata], [undefined, { streaming: "true", done: "true" }]);
    assert.deepEqual((await mute.history(bob.user, end.session_id)).map((m) => m.content), ["hi"]);
  });

  test("may have a clock that is a minute ahead, and no more", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody());
    const at = (ms) => new Date(Date.now() + ms).toISOString();
    alice.says("early", { timestamp: at(50000) });
    await alice.hears("ai_response", { content: "early" });
    alice.says("too early", { timestamp: at(70000 + DEADLINE_MS), cid: "c" });
    const refused = await alice.hears("error", { cid: "c" });
    assert.equal(refused.error.code, "INVALID_FORMAT");
  });

  test("gets its metadata back as it came, whatever its keys are called and half an emoji in it", async (t) => {
    const server = await serve(t);
    const user = somebody();
    const [alice, tab] = [await server.join(user), await server.join(user)];
    const metadata = String.raw`{"__proto__":"a","":"b"," x ":"c","$y.z":"d","half":"\ud83d","\ud800":"e"}`;
    alice.sends(`{"type":"user_message","session_id":"${alice.session}","content":"hi","cid":"c","metadata":${metadata}}`);
    const { session_id } = await alice.hears("ack", { cid: "c" });
    await within(tab.hears("user_message", { content: "hi" }), "the other tab");
    const raw = (await server.get(`/sessions/${session_id}`, { user })).text;
    assert.ok(raw.includes(metadata), raw);
  });
});
