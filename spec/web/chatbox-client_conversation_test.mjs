// The order of what the page shows, whatever the order in which it comes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation } from "../../web/chatbox-client.js";

const message = (seq, content = `m${seq}`, more = {}) => ({ seq, id: seq ? `id-${seq}` : "", sender: "ai", content, at: seq, ...more });
const live = (content) => ({ sender: "ai", content, at: 0 });
const shown = (c) => c.entries.map((e) => e.content);
const states = (c) => c.entries.map((e) => e.state);

test("history that comes in any order stands in the order of the server", () => {
  const c = new Conversation();
  for (const seq of [3, 1, 2, 5, 4]) c.receive(message(seq));
  assert.deepEqual(shown(c), ["m1", "m2", "m3", "m4", "m5"]);
});

test("what comes twice is shown once", () => {
  const c = new Conversation();
  c.receive(message(1));
  c.receive(message(1));
  c.receive({ ...message(2), id: "id-1" });
  assert.equal(c.entries.length, 1);
});

test("what I say is there at once and sent when it is acknowledged", () => {
  const c = new Conversation();
  c.say("c1", "hello", 0);
  assert.deepEqual(states(c), ["pending"]);
  c.acknowledge({ cid: "c1", id: "id-1", seq: 1 });
  assert.deepEqual(states(c), [""]);
  assert.equal(c.newestSeq, 1);
});

test("an acknowledgement puts what I say behind what came before it", () => {
  const c = new Conversation();
  c.say("c1", "mine", 0);
  c.receive(message(1, "theirs"));
  c.acknowledge({ cid: "c1", id: "id-2", seq: 2 });
  c.receive(message(3, "later"));
  assert.deepEqual(shown(c), ["theirs", "mine", "later"]);
});

test("an answer without a number stays behind its question", () => {
  const c = new Conversation();
  c.say("c1", "one", 0);
  c.acknowledge({ cid: "c1", id: "id-1", seq: 1 });
  c.receive(live("answer one"));
  c.say("c2", "two", 0);
  c.acknowledge({ cid: "c2", id: "id-3", seq: 3 });
  c.receive(live("answer two"));
  assert.deepEqual(shown(c), ["one", "answer one", "two", "answer two"]);
});

test("after a reconnect the history replaces what was only live", () => {
  const c = new Conversation();
  c.receive(message(1));
  c.receive(live("m2"));
  c.catchUp([message(1), message(2), message(3)]);
  assert.deepEqual(shown(c), ["m1", "m2", "m3"]);
});

test("after a reconnect what is not acknowledged waits at the end", () => {
  const c = new Conversation();
  c.receive(message(1));
  c.say("c1", "mine", 0);
  c.catchUp([message(1), message(2)]);
  assert.deepEqual(shown(c), ["m1", "m2", "mine"]);
  assert.deepEqual(c.pending.map((e) => e.cid), ["c1"]);
});

test("what the server had after all is not shown twice when its late acknowledgement comes", () => {
  const c = new Conversation();
  c.say("c1", "mine", 0);
  c.catchUp([message(1, "mine", { sender: "user" }), message(2, "answer")]);
  c.acknowledge({ cid: "c1", id: "id-1", seq: 1, duplicate: true });
  assert.deepEqual(shown(c), ["mine", "answer"]);
});

test("a hole is never papered over: the newest page replaces what is too old", () => {
  const c = new Conversation();
  for (const seq of [1, 2, 3]) c.receive(message(seq));
  c.catchUp([message(7), message(8)]);
  assert.deepEqual(shown(c), ["m7", "m8"]);
  assert.equal(c.oldestSeq, 7);
});

test("earlier pages go in front", () => {
  const c = new Conversation();
  c.catchUp([message(4), message(5)]);
  c.say("c1", "mine", 0);
  for (const seq of [2, 3]) c.receive(message(seq));
  assert.deepEqual(shown(c), ["m2", "m3", "m4", "m5", "mine"]);
});

test("an answer grows piece by piece, and one that was cut off is replaced by what the server has", () => {
  const c = new Conversation();
  c.stream(live("Hel"), false);
  c.stream(live("lo"), false);
  assert.deepEqual([shown(c), states(c)], [["Hello"], ["streaming"]]);
  c.catchUp([message(1, "Hello, world")]);
  assert.deepEqual([shown(c), states(c)], [["Hello, world"], [""]]);
  c.stream(live("next"), false);
  c.stream(live(""), true);
  assert.deepEqual(states(c), ["", ""]);
});

test("the end of an answer that never began shows nothing", () => {
  const c = new Conversation();
  c.stream(live(""), true);
  assert.deepEqual(c.entries, []);
});

test("what failed can be said again; an error without a name means the oldest that waits", () => {
  const c = new Conversation();
  c.say("c1", "one", 0);
  c.say("c2", "two", 0);
  c.fail();
  assert.deepEqual(states(c), ["failed", "pending"]);
  c.fail("c2");
  c.again(c.entries[0]);
  assert.deepEqual(states(c), ["pending", "failed"]);
  c.acknowledge({ cid: "c2", id: "id-9", seq: 9 });
  assert.equal(c.entries.find((e) => e.cid === "c2").state, "");
});

test("another conversation takes over only what has not been sent", () => {
  const c = new Conversation();
  c.receive(message(1));
  c.say("c1", "mine", 0);
  c.forget();
  assert.deepEqual(shown(c), ["mine"]);
});

test("the list is bounded; the oldest leave, and can be asked for again", () => {
  const c = new Conversation();
  for (let seq = 1; seq <= 2100; seq++) c.receive(message(seq));
  assert.equal(c.entries.length, 2000);
  assert.deepEqual([c.oldestSeq, c.newestSeq], [101, 2100]);
});
