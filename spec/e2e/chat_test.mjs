// A conversation, on one device and on several (reference, section 1.8; delivery of messages with a cid).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Server, serve, somebody } from "./support.mjs";

const ID = /^[0-9a-f]{32}$/;

describe("a conversation", () => {
  let server;
  before(async () => (server = await Server.start({ env: { INBOX_LIMIT: "1000", RATE_LIMIT: "100000" } })));
  after(() => server?.remove());

  test("begins with a greeting that names the user", async () => {
    const alice = await server.join(somebody("alice"));
    assert.equal(alice.greeting.user_id, alice.user);
    assert.match(alice.greeting.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/);
  });

  test("goes: message, loading, answer", async () => {
    const alice = await server.join(somebody("alice"));
    alice.says("hello");
    const loading = await alice.hears("loading");
    const answer = await alice.hears("ai_response", { content: "hello" });
    assert.equal(answer.sender, "ai");
    assert.match(answer.session_id, ID);
    assert.equal(loading.session_id, answer.session_id);
    alice.heardNothingOf("user_message", "error"); // the client has drawn its own message already
  });

  test("is found again by its user, with all that was said", async () => {
    const alice = await server.join(somebody("alice"));
    const { session_id: id } = await alice.talks("one. two");
    await alice.talks("three");
    await alice.leaves();

    const back = await server.join(alice.user, { session: id });
    assert.equal(back.greeting.session_id, id);
    const said = await server.history(alice.user, id);
    assert.deepEqual(said.map((m) => [m.sender, m.content]), [["user", "one. two"], ["ai", "one. two"], ["user", "three"], ["ai", "three"]]);
    const { sessions } = (await server.get("/sessions", { user: alice.user })).json;
    assert.deepEqual(sessions.map((s) => [s.id, s.name, s.is_active, s.message_count]), [[id, "one.", true, 4]]);
  });

  test("is numbered: what is seen live has the id and the seq of what is stored, once", async () => {
    const phone = await server.join(somebody("alice"));
    const laptop = await server.join(phone.user);
    const ack = await phone.saysSurely("hello", "c1");
    const [seen, answer] = [await laptop.hears("user_message"), await laptop.hears("ai_response")];
    assert.deepEqual([seen.id, seen.seq], [ack.id, ack.seq]);
    const stored = await server.history(phone.user, phone.session);
    assert.deepEqual([answer.id, answer.seq], [stored[1].id, stored[1].seq]);
    await phone.saysSurely("hello", "c1");
    await phone.talks("another");
    assert.equal((await laptop.hears("user_message")).content, "another"); // the duplicate is no event
  });

  test("is the same on all devices: each sees what the other says and what both are answered", async () => {
    const phone = await server.join(somebody("alice"));
    const laptop = await server.join(phone.user);
    await phone.talks("from the phone");
    const seen = await laptop.hears("user_message", { content: "from the phone" });
    const answer = await laptop.hears("ai_response", { content: "from the phone" });
    assert.equal(seen.sender, "user");
    assert.equal(seen.session_id, answer.session_id);

    laptop.session = answer.session_id;
    await laptop.talks("from the laptop");
    await phone.hears("user_message", { content: "from the laptop" });
    await phone.hears("ai_response", { content: "from the laptop" });

    await laptop.leaves();
    await phone.talks("alone again"); // a device that leaves takes nothing with it
  });

  test("is nobody else's", async () => {
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    await alice.talks("a secret");
    await bob.talks("hello");
    bob.says("again");
    await bob.hears("ai_response", { content: "again" });
    assert.ok(!JSON.stringify(bob.heard.all).includes("a secret"));
  });

  test("keeps the order of 200 messages sent at once, on every device and in the history", async () => {
    const phone = await server.join(somebody("alice"));
    const laptop = await server.join(phone.user);
    const words = Array.from({ length: 200 }, (_, i) => `word ${i}`);
    for (const word of words) phone.says(word);
    const { session_id: id } = await phone.hears("ai_response", { content: "word 199" });
    await laptop.hears("ai_response", { content: "word 199" });

    const heard = (device, type) => device.heard.all.filter((m) => m.type === type).map((m) => m.content);
    assert.deepEqual(heard(phone, "ai_response"), words);
    assert.deepEqual(heard(laptop, "ai_response"), words);
    assert.deepEqual(heard(laptop, "user_message"), words);
    const said = await server.history(phone.user, id);
    assert.deepEqual(said.map((m) => m.content), words.flatMap((word) => [word, word]));
  });

  test("of two devices talking at once has one order, the same for both", async () => {
    const phone = await server.join(somebody("alice"));
    const laptop = await server.join(phone.user);
    await phone.talks("start");
    await laptop.hears("ai_response", { content: "start" });
    laptop.session = phone.session;
    for (let i = 0; i < 50; i++) {
      phone.says(`p${i}`);
      laptop.says(`l${i}`);
    }
    const answers = async (device) => {
      await device.next(() => device.heard.all.filter((m) => m.type === "ai_response").length === 101, "all 101 answers");
      return device.heard.all.filter((m) => m.type === "ai_response").map((m) => m.content);
    };
    const [one, other] = await Promise.all([answers(phone), answers(laptop)]);
    assert.deepEqual(one, other);
    const said = await server.history(phone.user, phone.session);
    assert.deepEqual(said.filter((m) => m.sender === "ai").map((m) => m.content), one);
  });

  test("somebody else names is refused to them alone", async () => {
    const alice = await server.join(somebody("alice"));
    const { session_id: hers } = await alice.talks("mine");
    const mallory = await server.join(somebody("mallory"), { session: hers });
    assert.notEqual(mallory.greeting.session_id, hers);

    const before = alice.heard.all.length;
    mallory.session = hers;
    mallory.says("let me in");
    const { error } = await mallory.hears("error");
    assert.ok(["UNAUTHORIZED", "SERVICE_ERROR"].includes(error.code), error.code);
    assert.ok(!JSON.stringify(mallory.heard.all).includes("mine"));

    await alice.talks("still mine"); // what reached her before this would be in front of it
    assert.deepEqual(alice.heard.all.slice(before).map((m) => [m.type, m.content]), [["loading", undefined], ["ai_response", "still mine"]]);
    const said = await server.history(alice.user, hers);
    assert.deepEqual(said.map((m) => m.content), ["mine", "mine", "still mine", "still mine"]);
    assert.equal((await server.get(`/sessions/${hers}`, { user: mallory.user })).status, 404);
    assert.equal((await server.post(`/sessions/${hers}/end`, { user: mallory.user })).status, 404);
  });

  test("named by a made-up id is the user's own, and the client learns its name", async () => {
    const alice = await server.join(somebody("alice"));
    alice.says("first", { session_id: randomUUID() });
    const first = await alice.hears("ai_response", { content: "first" });
    alice.says("second", { session_id: randomUUID() });
    const second = await alice.hears("ai_response", { content: "second" });
    assert.equal(first.session_id, second.session_id);
  });

  test("that has ended takes nothing more; what is said next begins a new one", async () => {
    const alice = await server.join(somebody("alice"));
    const { session_id: old } = await alice.talks("goodbye");
    assert.deepEqual((await server.post(`/sessions/${old}/end`, { user: alice.user })).json, { status: "ended" });
    alice.says("anybody there?", { session_id: old });
    const { session_id: fresh } = await alice.hears("ai_response", { content: "anybody there?" });
    assert.notEqual(fresh, old);
    await alice.leaves();

    const back = await server.join(alice.user);
    assert.equal((await back.talks("hello again")).session_id, fresh);
    assert.deepEqual((await server.history(alice.user, old)).map((m) => m.content), ["goodbye", "goodbye"]);
  });

  test("goes on while a device comes and goes in the middle of it", async () => {
    const phone = await server.join(somebody("alice"));
    await phone.talks("start");
    for (let i = 0; i < 20; i++) {
      phone.says(`n${i}`);
      const visitor = await server.join(phone.user);
      visitor.socket.terminate();
    }
    await phone.hears("ai_response", { content: "n19" });
    const said = await server.history(phone.user, phone.session);
    assert.equal(said.length, 42);
  });
});

describe("a message with a cid", () => {
  test("is acknowledged once it is stored, and numbered without gaps", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const first = await alice.saysSurely("one");
    await alice.hears("ai_response", { content: "one" });
    const second = await alice.saysSurely("two");
    await alice.hears("ai_response", { content: "two" });
    assert.match(first.id, ID);
    assert.equal(first.duplicate, false);
    assert.deepEqual([first.seq, second.seq], [1, 3]);
    const said = await server.history(alice.user, first.session_id);
    assert.deepEqual(said.map((m) => m.seq), [1, 2, 3, 4]);
    assert.deepEqual([said[0].id, said[2].id], [first.id, second.id]);
  });

  test("sent again is the same message, on the same socket, on another, and after a restart; nobody answers twice", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const first = await alice.saysSurely("only once", "my-cid");
    await alice.hears("ai_response", { content: "only once" });
    const same = { id: first.id, seq: first.seq, duplicate: true };
    const pick = ({ id, seq, duplicate }) => ({ id, seq, duplicate });

    assert.deepEqual(pick(await alice.saysSurely("only once", "my-cid")), same);
    await alice.leaves();
    const back = await server.join(alice.user, { session: first.session_id });
    assert.deepEqual(pick(await back.saysSurely("only once", "my-cid")), same);

    await server.stop();
    const later = await server.again();
    t.after(() => later.stop());
    const again = await later.join(alice.user, { session: first.session_id });
    assert.deepEqual(pick(await again.saysSurely("only once", "my-cid")), same);
    await again.talks("something new");
    assert.equal(again.heard.all.filter((m) => m.type === "ai_response").length, 1);
    const said = await later.history(alice.user, first.session_id);
    assert.deepEqual(said.map((m) => m.content), ["only once", "only once", "something new", "something new"]);
  });

  test("is acknowledged to the one who sent it; the others see the message", async (t) => {
    const server = await serve(t);
    const phone = await server.join(somebody("alice"));
    const laptop = await server.join(phone.user);
    await phone.saysSurely("look");
    await laptop.hears("user_message", { content: "look" });
    await laptop.hears("ai_response", { content: "look" });
    laptop.heardNothingOf("ack");
    phone.heardNothingOf("user_message");
  });
});

describe("too much", () => {
  test("messages a minute: told when to come back, not stored, and others are not held up", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "3", RATE_WINDOW: "1m" } });
    const alice = await server.join(somebody("alice"));
    for (const word of ["one", "two", "three"]) await alice.talks(word);
    alice.says("four");
    const error = await alice.hearsError("TOO_MANY_REQUESTS");
    assert.equal(error.message, "Too many requests, please slow down");
    assert.equal(error.recoverable, true);
    assert.ok(Number.isInteger(error.retry_after) && error.retry_after > 0 && error.retry_after <= 60000, error.retry_after);

    const tablet = await server.join(alice.user); // the limit is the user's, not the connection's
    tablet.session = alice.session;
    tablet.says("five");
    await tablet.hearsError("TOO_MANY_REQUESTS");
    const bob = await server.join(somebody("bob"));
    await bob.talks("me?");
    assert.equal((await server.history(alice.user, alice.session)).length, 6);
  });

  test("is over when the window has passed, as retry_after says", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1", RATE_WINDOW: "1s" } });
    const alice = await server.join(somebody("alice"));
    alice.says("one");
    alice.says("two"); // at once, so that it is within the window on any machine
    await alice.hears("ai_response", { content: "one" });
    await alice.hearsError("TOO_MANY_REQUESTS");
    for (let answered = false; !answered; ) {
      alice.says("two");
      const m = await alice.next((x) => x.type === "error" || (x.type === "ai_response" && x.content === "two"));
      answered = m.type === "ai_response";
    }
  });
});
