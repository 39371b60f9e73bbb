// What the client library promises about time, chance, tokens, storage and close codes. Clock, socket, HTTP and storage are
// stand-ins (world.mjs), so nothing here waits. The list is in chatbox-client_conversation_test.mjs, a real server in
// spec/e2e/client_test.mjs.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { ChatboxClient, ChatboxError, mend } from "../../web/chatbox-client.js";
import { World, event, settled, token } from "./world.mjs";

let world;
beforeEach(() => (world = new World()));

const offline = (told) => told.state.filter((s) => s.state === "offline");
const said = (list) => list.map((m) => m.content);
const busy = (cid, more = {}) => ({ type: "error", session_id: "S", cid, error: { code: "SERVICE_ERROR", message: "Server busy", recoverable: true, ...more } });

/** A client that is online. */
async function online(options, greeting) {
  const made = world.client(options);
  made.client.connect();
  await world.greets(greeting);
  assert.equal(made.client.state, "online");
  return made;
}

describe("coming back", () => {
  test("the back-off doubles from 1 s to 30 s", async () => {
    const { client, told } = world.client();
    client.connect();
    for (let i = 0; i < 8; i++) {
      await settled();
      world.socket.breaks();
      await world.passes(Math.ceil(offline(told).at(-1).retryInMs));
    }
    assert.deepEqual(offline(told).map((s) => Math.ceil(s.retryInMs / 1000)), [1, 2, 4, 8, 16, 30, 30, 30]);
  });

  test("the jitter is full: anything from nothing to the bound", async () => {
    for (const chance of [0, 0.25, 0.5]) {
      world = new World();
      world.chance = chance;
      const { client, told } = world.client();
      client.connect();
      for (let i = 0; i < 3; i++) {
        await settled();
        world.socket.breaks();
        await world.passes(offline(told).at(-1).retryInMs);
      }
      assert.deepEqual(offline(told).map((s) => s.retryInMs), [1000 * chance, 2000 * chance, 4000 * chance]);
    }
  });

  test("a connection that lasted begins the count anew; one that broke at once does not", async () => {
    const { client, told } = world.client();
    client.connect();
    await settled();
    world.socket.breaks();
    await world.passes(1000);
    await world.greets();
    world.socket.breaks();
    await world.passes(2000);
    await world.greets();
    await world.passes(5000);
    world.socket.breaks();
    assert.deepEqual(offline(told).map((s) => Math.ceil(s.retryInMs / 1000)), [1, 2, 1]);
  });

  test("a server that is not there is tried again", async () => {
    world.answers = () => new Error("refused");
    const { client, told } = world.client();
    client.connect();
    await world.passes(10000);
    assert.equal(world.sockets.length, 0);
    assert.ok(offline(told).length >= 3);
    assert.equal(offline(told)[0].refusedSocket, false);
    world.answers = () => ({ body: { sessions: [] } });
    await world.passes(30000);
    assert.equal(world.sockets.length, 1);
  });

  test("a socket that is refused though the server answers is told apart", async () => {
    const { client, told } = world.client();
    client.connect();
    await settled();
    world.socket.breaks();
    assert.equal(offline(told)[0].refusedSocket, true);
  });

  for (const name of ["online", "visibilitychange", "pageshow"]) {
    test(`${name}: it does not wait for the rest of the back-off`, async () => {
      const { client } = world.client();
      client.connect();
      await settled();
      world.socket.breaks();
      await world.happens(name);
      assert.equal(world.sockets.length, 2);
    });
  }

  test("a page that is hidden is no reader who has returned", async () => {
    const { client } = world.client();
    client.connect();
    await settled();
    world.socket.breaks();
    world.visibility = "hidden";
    await world.happens("visibilitychange");
    assert.equal(world.sockets.length, 1);
  });

  test("what the server asked to wait is waited, also when the network is back", async () => {
    const { told } = await online();
    world.socket.says({ type: "bye", code: "going_away", reason: "Server shutting down", retry_after_ms: 7000 });
    world.socket.breaks(1001, "going_away");
    const [{ retryInMs, reason }] = offline(told);
    assert.ok(retryInMs >= 7000 && retryInMs <= 8000, `${retryInMs}`);
    assert.equal(reason, "going_away");
    assert.deepEqual(told.bye, [{ code: "going_away", reason: "Server shutting down", retry_after_ms: 7000 }]);
    await world.happens("online");
    await world.passes(6999);
    assert.equal(world.sockets.length, 1);
    await world.happens("online");
    await world.passes(1);
    await world.happens("online");
    assert.equal(world.sockets.length, 2);
  });

  test("a server that asks for a year gets five minutes", async () => {
    const { told } = await online();
    world.socket.says({ type: "bye", code: "going_away", retry_after_ms: 3e10 });
    world.socket.breaks(1001);
    assert.ok(offline(told)[0].retryInMs <= 301000);
  });

  test("what is stopped stays stopped, and what an old socket still says is not heard", async () => {
    const exp = world.time / 1000 + 3600;
    const { client, told } = await online({ token: token("alice", { exp }), getToken: () => null });
    world.socket.says({ type: "typing", who: { id: "bob" }, state: "typing" });
    const first = world.socket;
    const { onmessage, onclose } = first;
    client.connect();
    await world.greets();
    onmessage({ data: JSON.stringify(event(1, "late")) });
    onclose({ code: 1006 });
    client.disconnect();
    assert.equal(first.closedWith, 1000);
    await world.happens("online");
    await world.passes(600000);
    assert.equal(world.sockets.length, 2);
    assert.deepEqual(told.message, []);
    assert.equal(client.state, "idle");
    assert.deepEqual([...world.listeners.values()].map((set) => set.size), [0, 0, 0], "and nothing of it is left behind");
    assert.deepEqual(world.timers, []);
  });

  test("what is no message is passed over", async () => {
    const { told } = await online();
    const { warn } = console;
    console.warn = () => {};
    world.socket.says("null", "1", "nonsense", "[]", '{"a":1}', '{"type":5}', '{"type":"constructor"}', '{"type":"__proto__"}');
    console.warn = warn;
    world.socket.says(event(1));
    assert.deepEqual(said(told.message), ["m1"]);
  });

  test("a listener that fails stops nobody else", async () => {
    const { client, told } = world.client();
    const { error } = console;
    const complaints = [];
    console.error = (e) => complaints.push(e.message);
    client.on("state", () => {
      throw new Error("of the listener");
    });
    client.connect();
    await world.greets();
    console.error = error;
    assert.equal(client.state, "online");
    assert.deepEqual(told.state.map((s) => s.state), ["connecting", "online"]);
    assert.deepEqual(complaints, ["of the listener", "of the listener"]);
  });
});

describe("a dead socket", () => {
  test("that says nothing is found within 30 seconds, without anybody's doing", async () => {
    const { told } = await online();
    const began = world.time;
    let found = 0;
    for (; !offline(told).length; await world.passes(100)) assert.ok((found = world.time - began) <= 30000);
    assert.equal(world.sockets[0].of("ping").length, 1);
    assert.ok(found > 10000, "but not at the first pause");
    assert.equal(offline(told)[0].reason, "silent");
  });

  test("that still brings messages but takes none is found within 30 seconds", async () => {
    const { told } = await online();
    const began = world.time;
    for (let seq = 1; !offline(told).length; seq++) {
      world.socket.says(event(seq));
      await world.passes(500);
      assert.ok(world.time - began <= 30500);
    }
  });

  test("that is slow but alive is kept", async () => {
    const { told } = await online();
    for (let i = 0; i < 60; i++) {
      await world.passes(6000);
      if (world.socket.of("ping").length) world.socket.says({ type: "pong" });
    }
    assert.deepEqual(offline(told), []);
    assert.ok(world.socket.of("ping").length <= 30, "and is not asked more than needed");
  });

  test("that never greets is given up", async () => {
    const { client, told } = world.client();
    client.connect();
    await settled();
    world.socket.opens();
    await world.passes(30000);
    assert.equal(offline(told)[0].reason, "silent");
  });

  test("that never opens is given up", async () => {
    const { client, told } = world.client();
    client.connect();
    await world.passes(15000);
    assert.equal(offline(told)[0].reason, "silent");
  });

  test("is found at once after a sleep: the machine's timers tell", async () => {
    const { told } = await online();
    await world.sleeps(3600000);
    assert.equal(world.socket.of("ping").length, 1, "it is asked at once");
    await world.passes(3000);
    assert.equal(offline(told).length, 1);
  });

  for (const name of ["online", "visibilitychange", "pageshow"]) {
    test(`is asked at once at ${name}, and has 3 seconds`, async () => {
      const { told } = await online();
      await world.passes(5000);
      await world.happens(name);
      assert.equal(world.socket.of("ping").length, 1);
      await world.passes(3000);
      assert.equal(offline(told).length, 1);
    });
  }

  test("that answers after a sleep is kept", async () => {
    const { told } = await online();
    await world.sleeps(3600000);
    world.socket.says({ type: "pong" });
    await world.passes(11000);
    assert.deepEqual(offline(told), []);
  });

  test("a clock that is set back does not stop the watch", async () => {
    const { told } = await online();
    world.time -= 86400000;
    for (const timer of world.timers) timer.at -= 86400000; // timers run by another clock
    await world.passes(30000);
    assert.equal(offline(told).length, 1);
  });

  test("a request over HTTP that hangs is given up", async () => {
    world.answers = () => new Promise(() => {});
    const { client, told } = world.client();
    client.connect();
    await world.passes(10000);
    assert.equal(offline(told).length, 1);
  });
});

describe("close codes", () => {
  const back = { 1001: "going_away", 1013: "try_later", 1006: "", 1011: "", 1000: "" };
  for (const [code, word] of Object.entries(back)) {
    test(`${code} ${word}: comes back`, async () => {
      const { told } = await online();
      world.socket.breaks(Number(code), word);
      assert.equal(offline(told).length, 1);
      await world.passes(1000);
      assert.equal(world.sockets.length, 2);
    });
  }

  const final = { 1008: ["refused", "refused"], 4403: ["erased", "erased"], 4409: ["replaced", "replaced"] };
  for (const [code, [word, reason]] of Object.entries(final)) {
    test(`${code} ${word}: does not, until somebody asks for it`, async () => {
      const { client, told } = await online();
      world.socket.breaks(Number(code), word);
      assert.deepEqual({ state: told.state.at(-1).state, reason: told.state.at(-1).reason }, { state: "closed", reason });
      for (const name of ["online", "visibilitychange", "pageshow"]) await world.happens(name);
      await world.passes(3600000);
      assert.equal(world.sockets.length, 1);
      client.connect();
      await settled();
      assert.equal(world.sockets.length, 2);
    });
  }

  for (const word of ["token_expired", "token_revoked"]) {
    test(`4401 ${word}: asks for a new token and comes back with it`, async () => {
      const asked = [];
      const { client } = await online({ getToken: (why) => (asked.push(why.reason), token("alice", { n: 2 })) });
      world.socket.breaks(4401, word);
      await settled();
      assert.deepEqual(asked, [word]);
      assert.equal(world.socket.address.searchParams.get("token"), token("alice", { n: 2 }));
      assert.equal(client.token, token("alice", { n: 2 }));
    });
  }

  test("4401 without a new token: stops, and keeps what is unsent", async () => {
    const { client, told } = await online({ getToken: () => null });
    client.send("still here");
    world.socket.breaks(4401, "token_expired");
    await settled();
    assert.equal(told.state.at(-1).state, "closed");
    assert.deepEqual(said(client.unsent), ["still here"]);
    assert.equal(world.storage.length, 1);
  });

  test("4403 forgets what is unsent, here and in the storage, and of nobody else", async () => {
    const other = world.client({ token: token("bob") });
    other.client.send("bob's");
    const { client } = await online();
    const lost = client.delivered(client.send("alice's"));
    world.client().client.send("alice's, in another tab");
    world.socket.breaks(4403, "erased");
    await assert.rejects(lost, { code: "ERASED" });
    assert.deepEqual(client.messages, []);
    assert.deepEqual([...world.storage.items.values()].map((v) => JSON.parse(v).content), ["bob's"]);
  });

  test("1009: what was on its way is not sent again, the rest is", async () => {
    const { client } = await online();
    const [big, small] = [client.send("big"), client.send("small")];
    world.socket.breaks(1009);
    await world.passes(30000);
    await world.greets();
    assert.deepEqual([big.state, small.state], ["failed", "pending"]);
    assert.deepEqual(said(world.socket.of("user_message")), ["small"]);
  });
});

describe("a token", () => {
  const refuse = (bad) => (world.answers = (path, method, bearer) => (bad.includes(bearer) ? { status: 401 } : { body: { sessions: [] } }));

  test("that is refused is kept, and a new one is asked for", async () => {
    const [bad, good] = [token("alice", { n: 1 }), token("alice", { n: 2 })];
    refuse([bad]);
    const asked = [];
    const { client } = world.client({ token: bad, getToken: (why) => (asked.push(why), good) });
    client.connect();
    await world.greets();
    assert.deepEqual(asked, [{ reason: "unauthorized", token: bad }]);
    assert.equal(client.state, "online");
  });

  test("that is refused, and no other to be had: it stops, has the token still, and starts again by hand", async () => {
    const bad = token("alice");
    refuse([bad]);
    const { client, told } = world.client({ token: bad });
    client.connect();
    await settled();
    assert.deepEqual([told.state.at(-1).state, told.state.at(-1).reason, client.token], ["closed", "unauthorized", bad]);
    refuse([]);
    client.connect();
    await world.greets();
    assert.equal(client.state, "online");
  });

  test("that is refused again and again is not asked for in a loop", async () => {
    world.answers = () => ({ status: 401 });
    let n = 0;
    const { client } = world.client({ getToken: () => token("alice", { n: ++n }) });
    client.connect();
    await world.passes(60000);
    assert.ok(n >= 3 && n <= 12, `${n} times in a minute`);
  });

  test("whose nbf is a little ahead: it waits for that, and does not forget the token", async () => {
    const early = token("alice", { nbf: world.time / 1000 + 20 });
    world.answers = () => (world.time < 1.8e12 + 20000 ? { status: 401 } : { body: { sessions: [] } });
    const { client, told } = world.client({ token: early });
    client.connect();
    await world.passes(19000);
    assert.equal(client.token, early);
    assert.equal(told.state.at(-1).state, "offline");
    await world.passes(3000);
    await world.greets();
    assert.equal(client.state, "online");
  });

  test("that cannot be fetched now is fetched later", async () => {
    let away = true;
    const { client, told } = world.client({ token: undefined, getToken: () => (away ? Promise.reject(new Error("502")) : token("alice")) });
    client.connect();
    await world.passes(5000);
    assert.ok(offline(told).length > 0);
    away = false;
    await world.passes(30000);
    await world.greets();
    assert.equal(client.userId, "alice");
  });

  test("about to end is replaced ahead, over the open connection", async () => {
    const exp = world.time / 1000 + 600;
    const next = token("alice", { exp: exp + 600 });
    const asked = [];
    const { client } = await online({ token: token("alice", { exp }), getToken: ({ reason }) => (asked.push(reason), next) });
    for (let i = 0; i < 54; i++) {
      await world.passes(10000);
      world.socket.says({ type: "pong" });
    }
    assert.deepEqual(asked, ["expiring"]);
    assert.deepEqual(world.socket.of("refresh"), [{ type: "refresh", token: next }]);
    assert.equal(world.sockets.length, 1);
    assert.equal(client.token, next);
  });

  test("of another person: the one before is seen and sent no more", async () => {
    const { client } = await online();
    world.socket.says(event(1, "for alice"));
    client.send("alice's secret");
    client.setToken(token("bob"));
    await world.greets({ user: "bob", session: "B" });
    assert.deepEqual(client.messages, []);
    assert.deepEqual(world.socket.of("user_message"), []);
    client.setToken(token("alice"));
    await world.greets();
    assert.deepEqual(said(world.socket.of("user_message")), ["alice's secret"], "it has kept its place");
  });

  test("in the first connection's answer can be refused by the history, too", async () => {
    world.answers = (path) => (path.includes("/sessions/") ? { status: 401 } : { body: { sessions: [] } });
    const { client, told } = world.client();
    client.connect();
    await world.greets();
    await settled();
    assert.deepEqual([told.state.at(-1).state, told.state.at(-1).reason], ["closed", "unauthorized"]);
  });
});

describe("what I say", () => {
  test("is there at once, sent one at a time, and settled by its ack", async () => {
    const { client, told } = await online();
    const [one, two] = [client.send("one"), client.send("two")];
    assert.deepEqual(client.messages.map((m) => m.state), ["pending", "pending"]);
    assert.deepEqual(said(world.socket.of("user_message")), ["one"]);
    const delivered = client.delivered(one);
    world.acks(1);
    assert.equal((await delivered).seq, 1);
    assert.deepEqual(said(world.socket.of("user_message")), ["one", "two"]);
    world.acks(2);
    assert.equal(two.state, "");
    assert.deepEqual(told.message.map((m) => m.seq), [1, 2]);
    assert.equal(world.storage.length, 0);
  });

  test("is sent again under the same cid after a reconnect, in the same order", async () => {
    const { client } = await online();
    client.send("one");
    client.send("two");
    const { cid } = world.socket.of("user_message")[0];
    world.socket.breaks();
    await world.passes(2000);
    await world.greets();
    assert.deepEqual(world.socket.of("user_message").map((m) => [m.content, m.cid === cid]), [["one", true]]);
    world.acks(1, { duplicate: true });
    assert.deepEqual(said(world.socket.of("user_message")), ["one", "two"]);
  });

  test("is sent again when the ack does not come, while the connection lives", async () => {
    const { client } = await online();
    client.send("one");
    for (let i = 0; i < 6; i++) {
      await world.passes(5000);
      world.socket.says({ type: "pong" });
    }
    const sent = world.socket.of("user_message");
    assert.ok(sent.length >= 2 && sent.length <= 4);
    assert.equal(new Set(sent.map((m) => m.cid)).size, 1);
  });

  test("names the conversation in which it was first sent, though another has begun: it is stored in one of them", async () => {
    const { client, told } = await online();
    const one = client.send("one");
    client.disconnect(); // it was stored; its ack was lost, and the conversation was ended

    const next = world.client();
    next.client.connect();
    await world.greets({ session: "T" });
    assert.deepEqual(world.socket.of("user_message").map((m) => [m.session_id, m.cid]), [["S", one.cid]]);
    const delivered = next.client.delivered(next.client.messages[0]);
    world.socket.says({ type: "ack", session_id: "S", cid: one.cid, id: "i", seq: 41, duplicate: true });
    await delivered;
    assert.deepEqual([next.client.sessionId, next.client.messages, world.storage.length], ["T", [], 0]);
    next.client.send("two");
    assert.equal(world.socket.of("user_message").at(-1).session_id, "T");
    assert.deepEqual(told.message, []);
  });

  test("an error that passes does not change the order, and is told", async () => {
    const { client, told } = await online();
    client.send("one");
    client.send("two");
    const { cid } = world.socket.of("user_message")[0];
    world.socket.says(busy(cid));
    world.socket.says(busy(undefined)); // refused before anybody looked at it: no cid
    await world.passes(3000);
    assert.deepEqual(new Set(said(world.socket.of("user_message"))), new Set(["one"]));
    world.acks(1);
    assert.equal(world.socket.of("user_message").at(-1).content, "two");
    assert.deepEqual(told.error.map((e) => [e.code, e.willRetry]), [["SERVICE_ERROR", true], ["SERVICE_ERROR", true]]);
  });

  test("retry_after is obeyed", async () => {
    const { client } = await online();
    client.send("one");
    world.socket.says(busy(world.socket.of("user_message")[0].cid, { code: "TOO_MANY_REQUESTS", retry_after: 7000 }));
    await world.passes(6999);
    assert.equal(world.socket.of("user_message").length, 1);
    world.socket.says({ type: "pong" });
    await world.passes(1001);
    assert.equal(world.socket.of("user_message").length, 2);
  });

  test("an error that asks for longer than retryWithinMs fails it; it can be said again by hand", async () => {
    const { client, told } = await online({ retryWithinMs: 0 });
    const one = client.send("one");
    const failed = client.delivered(one);
    world.socket.says(busy(one.cid, { code: "TOO_MANY_REQUESTS", retry_after: 1 }));
    await assert.rejects(failed, { code: "TOO_MANY_REQUESTS" });
    assert.deepEqual([one.state, one.error.code, told.failed.length], ["failed", "TOO_MANY_REQUESTS", 1]);
    client.retry(one);
    assert.equal(world.socket.of("user_message").at(-1).cid, one.cid);
    world.acks(1);
    assert.equal(one.state, "");
  });

  test("what can never be sent fails at once, and the next goes", async () => {
    const { client } = await online();
    const [one] = [client.send("one"), client.send("two")];
    world.socket.says(busy(one.cid, { code: "INVALID_FORMAT" }));
    assert.equal(one.state, "failed");
    assert.equal(world.socket.of("user_message").at(-1).content, "two");
    client.discard(one);
    assert.deepEqual(said(client.messages), ["two"]);
    assert.equal(world.storage.length, 1);
  });

  test("an error that always comes back is not obeyed for ever", async () => {
    const { client } = await online();
    const one = client.send("one");
    for (let i = 0; one.state === "pending"; i++) {
      assert.ok(i < 20);
      world.socket.says(busy(one.cid), { type: "pong" });
      await world.passes(9000);
      world.socket.says({ type: "pong" });
      await world.passes(9000);
      world.socket.says({ type: "pong" });
      await world.passes(9000);
      world.socket.says({ type: "pong" });
      await world.passes(3100);
    }
    assert.equal(one.error.code, "SERVICE_ERROR");
  });

  test("half an emoji is mended before it is sent, wherever it stands", async () => {
    assert.equal(mend("a\ud83d"), "a\ufffd");
    assert.equal(mend("\ude00b\ud83d\ude00\ud83d"), "\ufffdb\ud83d\ude00\ufffd");
    const { client } = await online();
    client.send("half \ud83d", { metadata: { "k\ud83d": ["\ude00", { deep: "\ud83d" }], n: 1 } });
    const [sent] = world.socket.of("user_message");
    assert.equal(sent.content, "half \ufffd");
    assert.deepEqual(sent.metadata, { "k\ufffd": ["\ufffd", { deep: "\ufffd" }], n: 1 });
    assert.equal(client.messages[0].content, "half \ufffd");
  });

  test("nothing, too much, and a bad cid are refused at once", async () => {
    const { client } = world.client();
    assert.throws(() => client.send(" \n"), { code: "EMPTY" });
    client.send("x".repeat(10000));
    assert.throws(() => client.send("x".repeat(10001)), { code: "TOO_LONG" });
    assert.throws(() => client.send("語".repeat(3334)), { code: "TOO_LONG" });
    assert.throws(() => client.send("x", { cid: "a b" }), { code: "BAD_CID" });
    assert.throws(() => client.send("x", { cid: "" }), { code: "BAD_CID" });
    assert.throws(() => client.send("x", { cid: "x".repeat(129) }), { code: "BAD_CID" });
    client.send("x", { cid: "mine" });
    assert.throws(() => client.send("x", { cid: "mine" }), { code: "BAD_CID" });
  });

  test("is bounded: whoever says too much without a connection is told so", async () => {
    const { client } = world.client({ maxUnsent: 3 });
    for (let i = 0; i < 3; i++) client.send(`n${i}`);
    assert.throws(() => client.send("n3"), (e) => e instanceof ChatboxError && e.code === "TOO_MANY_UNSENT" && e.recoverable);
    client.connect();
    await world.greets();
    world.acks(1);
    client.send("n3");
    const other = world.client({ token: token("bob") }).client;
    assert.throws(() => {
      for (;;) other.send("x".repeat(10000));
    }, { code: "TOO_MANY_UNSENT" });
    assert.equal(other.unsent.length, Math.floor(2 ** 21 / 10000));
  });
});

describe("over a reload", () => {
  test("what is unsent keeps its place, its cid and its state", async () => {
    const before = (await online()).client;
    const cids = ["one", "two", "three"].map((text) => before.send(text).cid);
    world.socket.says(busy(cids[0], { code: "INVALID_FORMAT" }));
    before.send("four");
    before.disconnect();

    const { client } = world.client();
    assert.deepEqual(client.messages.map((m) => [m.content, m.state, m.kept]), [["one", "failed", true], ["two", "pending", true], ["three", "pending", true], ["four", "pending", true]]);
    assert.deepEqual(client.messages.slice(0, 3).map((m) => m.cid), cids);
    client.send("five");
    client.connect();
    await world.greets();
    for (let seq = 1; seq <= 4; seq++) world.acks(seq);
    assert.deepEqual(said(world.socket.of("user_message")), ["two", "three", "four", "five"]);
    assert.deepEqual(world.storage.length, 1, "the failed one waits for its reader");
  });

  test("two tabs do not overwrite what the other has not sent", () => {
    const [a, b] = [world.client().client, world.client().client];
    a.send("from a");
    world.time += 1;
    b.send("from b");
    assert.deepEqual(said(world.client().client.messages), ["from a", "from b"]);
  });

  test("another person at the same browser neither sees nor sends it", async () => {
    world.client().client.send("alice's");
    for (const user of ["bob", "ali", "alice:", "alice%3A", ""]) {
      const { client } = world.client({ token: token(user) });
      assert.deepEqual(client.messages, [], user);
    }
    const elsewhere = world.client({ url: "https://other.example/chatbox" }).client;
    assert.deepEqual(elsewhere.messages, [], "nor is it told to another server");
  });

  test("what is a day old is shown as failed and not sent without asking; after a month it is gone", async () => {
    world.client().client.send("old");
    world.time += 25 * 3600000;
    const { client } = world.client();
    assert.deepEqual(client.messages.map((m) => m.state), ["failed"]);
    client.connect();
    await world.greets();
    assert.deepEqual(world.socket.of("user_message"), []);
    client.disconnect();
    world.time += 31 * 24 * 3600000;
    world.client({ token: token("bob") });
    assert.equal(world.storage.length, 0, "whoever's it was");
  });

  test("a full or forbidden storage loses nothing while the page lives", async () => {
    world.storage.quota = 500;
    const { client } = world.client();
    const kept = ["a", "b", "c", "d", "e"].map((text) => client.send(text.repeat(50)).kept);
    assert.ok(kept.includes(true) && kept.includes(false));
    world.storage.getItem = world.storage.setItem = world.storage.removeItem = world.storage.key = () => {
      throw new Error("SecurityError");
    };
    const other = (await online()).client;
    const message = other.send("x");
    assert.equal(message.kept, false);
    world.acks(1);
    assert.equal(message.state, "");
  });

  test("what is damaged in the storage is thrown away", () => {
    world.client().client.send("good");
    const [key] = world.storage.items.keys();
    for (const [i, text] of ["", "null", "{", "[]", '{"cid":1}', '{"cid":"x","content":5,"at":1}'].entries()) world.storage.setItem(`${key}${i}`, text);
    world.storage.setItem("of somebody else", "stays");
    assert.deepEqual(said(world.client().client.messages), ["good"]);
    assert.equal(world.storage.length, 2);
  });
});

describe("history", () => {
  const pages = (top) => (path) => {
    const query = new URL(path, "https://x").searchParams;
    const [limit, before] = [Number(query.get("limit")), Number(query.get("before_seq")) || top + 1];
    const messages = [];
    for (let seq = Math.max(1, before - limit); seq < before; seq++) messages.push(event(seq));
    return { body: { sessions: [], messages } };
  };

  test("the newest page comes first; what is older on request", async () => {
    world.answers = pages(120);
    const { client, told } = await online();
    assert.deepEqual(told.history.map((h) => [h.reason, h.messages.length]), [["first", 50]]);
    assert.deepEqual([client.position.seq, client.hasEarlier], [120, true]);
    assert.equal(await client.loadEarlier(), true);
    assert.equal(client.messages.length, 100);
    assert.equal(await client.loadEarlier(), false);
    assert.equal(client.messages[0].seq, 1);
    assert.deepEqual(told.message, [], "what was said before is no news");
  });

  for (const [what, bad] of Object.entries({ "that fails": () => ({ status: 503 }), "that does not come through": () => new Error("reset"), "that hangs": () => new Promise(() => {}) })) {
    test(`a request ${what} is tried again, and what came meanwhile keeps its place`, async () => {
      let good = false;
      world.answers = (path) => (path.includes("/sessions/") && !good ? bad() : pages(3)(path));
      const { client, told } = await online();
      await world.passes(9000);
      world.socket.says({ type: "pong" }, event(4), event(5));
      good = true;
      for (let i = 0; i < 4; i++) {
        await world.passes(9000);
        world.socket.says({ type: "pong" });
      }
      assert.ok(world.asked.filter((a) => a.includes("/sessions/")).length >= 2);
      assert.deepEqual(said(client.messages), ["m1", "m2", "m3", "m4", "m5"]);
      assert.deepEqual(said(told.message), ["m4", "m5"]);
    });
  }

  test("loadEarlier tries again, and at last says why it could not", async () => {
    world.answers = pages(120);
    const { client } = await online();
    let tries = 0;
    world.answers = (path) => (++tries < 3 ? { status: 503 } : pages(120)(path));
    const loaded = client.loadEarlier();
    await world.passes(10000);
    assert.equal(await loaded, true);
    world.answers = () => ({ status: 503 });
    const never = assert.rejects(client.loadEarlier(), { status: 503 });
    await world.passes(9000);
    world.socket.says({ type: "pong" });
    await world.passes(9000);
    await never;
    world.answers = () => ({ status: 404 });
    await assert.rejects(client.loadEarlier(), { status: 404 });
  });

  test("an event that skips some is held until they are fetched: each once, in order", async () => {
    world.answers = pages(2);
    const { client, told } = await online();
    world.socket.says(event(3));
    world.answers = pages(2000);
    world.socket.says(event(2002), event(2001));
    await settled();
    assert.deepEqual(told.message.map((m) => m.seq), Array.from({ length: 2000 }, (_, i) => i + 3));
    world.socket.says(event(7), event(2002));
    assert.equal(told.message.length, 2000, "what is known is dropped");
    assert.equal(client.position.seq, 2002);
  });

  test("after a reconnect all that was missed is told once, in order", async () => {
    world.answers = pages(2);
    const { told } = await online();
    world.socket.breaks();
    world.answers = pages(700);
    await world.passes(1000);
    await world.greets();
    assert.deepEqual(told.message.map((m) => m.seq), Array.from({ length: 698 }, (_, i) => i + 3));
    assert.equal(told.history.length, 1);
  });

  test("too much to fetch: the newest page in its place, and that is told", async () => {
    world.answers = pages(2);
    const { client, told } = await online({ recoverMax: 600 });
    world.socket.breaks();
    world.answers = pages(5000);
    await world.passes(1000);
    await world.greets();
    assert.deepEqual(told.message, []);
    assert.deepEqual(told.history.at(-1).reason, "gap");
    assert.deepEqual([client.messages.length, client.messages.at(-1).seq], [50, 5000]);
  });

  test("events that wait for a hole to be filled are bounded: then the connection is made anew", async () => {
    const { told } = await online();
    world.socket.says(event(1));
    world.answers = () => new Promise(() => {});
    for (let seq = 3; seq < 10010; seq++) world.socket.says(event(seq));
    assert.equal(offline(told).at(-1)?.reason, "overrun");
  });

  test("the conversation is another one now: what is unsent goes there", async () => {
    world.answers = pages(2);
    const { client, told } = await online();
    client.send("mine");
    world.answers = pages(0);
    world.socket.says({ type: "connection_status", session_id: "T", user_id: "alice" });
    await settled();
    assert.deepEqual(told.session.at(-1), { session_id: "T", from: "S", ended: false });
    world.socket.says({ type: "history", session_id: "U", messages: [] }, { type: "mark", session_id: "U", read: 1, received: 1 });
    assert.deepEqual([client.sessionId, told.mark], ["T", []], "not all that names a conversation is ours");
    assert.deepEqual(said(client.messages), ["mine"]);
    assert.equal(told.history.at(-1).reason, "moved");
    world.socket.says({ type: "ack", session_id: "T", cid: client.messages[0].cid, id: "x", seq: 1 });
    assert.deepEqual(said(told.message), ["mine"]);
  });
});

describe("with a server that knows hello", () => {
  const pages = (top) => () => ({ body: { sessions: [], messages: Array.from({ length: top }, (_, i) => event(i + 1)) } });

  test("it resumes where it was; nothing is fetched when the server replays", async () => {
    world.answers = pages(3);
    const { client, told } = await online({}, { welcome: { top: 3 } });
    assert.deepEqual(world.socket.of("hello"), [{ type: "hello", v: 2, cid: "hello" }]);
    world.socket.breaks();
    const asked = world.asked.length;
    await world.passes(1000);
    await world.greets({ welcome: { top: 5, recovered: true, replayed: 2 } });
    assert.deepEqual(world.socket.of("hello"), [{ type: "hello", v: 2, cid: "hello", resume: { session_id: "S", epoch: "e1", seq: 3 } }]);
    world.socket.says(event(4), event(5), event(6));
    assert.deepEqual(said(told.message), ["m4", "m5", "m6"]);
    assert.equal(world.asked.length, asked);
    assert.equal(client.position.seq, 6);
  });

  test("what is said while the first page is on its way is told, once and in order, also when the page has it", async () => {
    world.answers = pages(5); // the server greeted us at 3
    const { client, told } = await online({}, { welcome: { top: 3 } });
    world.socket.says(event(4), event(5), event(6));
    assert.deepEqual(told.history.map((h) => [h.reason, said(h.messages)]), [["first", ["m1", "m2", "m3"]]]);
    assert.deepEqual(said(told.message), ["m4", "m5", "m6"]);
    assert.deepEqual(said(client.messages), ["m1", "m2", "m3", "m4", "m5", "m6"]);
  });

  test("what is said while connection after connection is lost before the first page has come is told all the same", async () => {
    const all = Array.from({ length: 400 }, (_, i) => event(i + 1));
    const newest = (path) => {
      const query = new URL(path, "http://chat").searchParams;
      const before = all.filter((e) => !query.has("before_seq") || e.seq < Number(query.get("before_seq")));
      return { body: { sessions: [], messages: before.slice(-Number(query.get("limit"))) } };
    };
    world.answers = (path) => (path.includes("/sessions/") ? new Promise(() => {}) : { body: { sessions: [] } });
    const { told } = await online({}, { welcome: { top: 1 } });
    for (const top of [150, 400]) {
      world.socket.breaks();
      if (top === 400) world.answers = newest;
      await world.passes(5000);
      await world.greets({ welcome: { top } });
    }
    assert.deepEqual(told.history.map((h) => [h.reason, said(h.messages)]), [["first", ["m1"]]]);
    assert.deepEqual(said(told.message), all.slice(1).map((e) => e.content));
  });

  test("in a conversation that was empty all of it is news", async () => {
    world.answers = pages(2);
    const { told } = await online({}, { welcome: { top: 0 } });
    assert.deepEqual([said(told.history[0].messages), said(told.message)], [[], ["m1", "m2"]]);
  });

  test("what the server did not replay is fetched", async () => {
    world.answers = pages(3);
    const { told } = await online({}, { welcome: { top: 3 } });
    world.socket.breaks();
    world.answers = pages(9);
    await world.passes(1000);
    await world.greets({ welcome: { top: 9, recovered: false } });
    assert.deepEqual(said(told.message), ["m4", "m5", "m6", "m7", "m8", "m9"]);
  });

  test("a message of ours that is in the replay is stored: nobody waits for its ack", async () => {
    world.answers = pages(3);
    const { client, told } = await online({}, { welcome: { top: 3 } });
    const [mine, next] = [client.send("mine"), client.send("next")];
    const delivered = client.delivered(mine);
    world.socket.breaks();
    await world.passes(1000);
    await world.greets({ welcome: { top: 5, recovered: true, replayed: 2 } });
    world.socket.says(event(4, "mine", { type: "user_message", sender: "user", cid: mine.cid }), event(5));
    assert.equal((await delivered).seq, 4);
    assert.equal(world.storage.length, 1);
    assert.equal(world.socket.of("user_message").at(-1).cid, next.cid);
    assert.deepEqual(said(told.message), ["mine", "m5"]);
  });

  test("a hello that is refused for now is said again", async () => {
    const { client } = world.client();
    client.connect();
    await settled();
    world.socket.opens();
    world.socket.says({ type: "connection_status", session_id: "S", user_id: "alice" });
    world.socket.says(busy("hello", { code: "TOO_MANY_REQUESTS", retry_after: 3000 }));
    await world.passes(2999);
    assert.equal(world.socket.of("hello").length, 1);
    await world.passes(1);
    assert.equal(world.socket.of("hello").length, 2);
    assert.equal(client.state, "connecting");
    world.socket.says({ type: "welcome", session_id: "S", epoch: "e1", top: 0, recovered: false, cid: "hello" });
    assert.equal(client.state, "online");
  });

  test("how far the user's other devices have read counts here, too", async () => {
    world.answers = pages(5);
    const { client, told } = await online({}, { welcome: { top: 5, received: 4, read: 2 } });
    assert.equal(client.unread, 3);
    world.socket.says({ type: "mark", session_id: "S", received: 5, read: 4, unread: 1 });
    assert.deepEqual([client.unread, told.mark], [1, [{ received: 5, read: 4, unread: 1 }]]);
  });

  test("another epoch: the numbers mean something else, so all is loaded anew, also when there are fewer", async () => {
    world.answers = pages(9);
    const { client, told } = await online({}, { welcome: { top: 9 } });
    world.socket.breaks();
    world.answers = pages(4);
    await world.passes(1000);
    await world.greets({ welcome: { top: 4, epoch: "e2", recovered: false } });
    assert.deepEqual([told.history.at(-1).reason, client.messages.length, client.position.seq], ["epoch", 4, 4]);
    world.socket.says(event(5));
    assert.deepEqual(said(told.message), ["m5"]);
  });

  test("a position from before goes on from there", async () => {
    const { told } = await online({ position: { session_id: "S", epoch: "e1", seq: 7 } }, { welcome: { top: 8, recovered: true } });
    world.socket.says(event(8));
    assert.deepEqual(said(told.message), ["m8"]);
    assert.deepEqual(told.history, []);
  });

  test("what has arrived and what was read is told, cumulative and not for each message", async () => {
    const { client } = await online({}, { welcome: { top: 0 } });
    for (let seq = 1; seq <= 5; seq++) world.socket.says(event(seq));
    client.markRead(3);
    await world.passes(1000);
    assert.deepEqual(world.socket.of("mark"), [{ type: "mark", session_id: "S", received: 5, read: 3 }]);
    assert.equal(client.unread, 2);
    client.markRead(2);
    client.markRead(99);
    await world.passes(1000);
    assert.deepEqual(world.socket.of("mark").at(-1), { type: "mark", session_id: "S", received: 5, read: 5 });
    await world.passes(3000);
    assert.equal(world.socket.of("mark").length, 2, "and not again without a change");
  });

  test("typing is told now and then while it goes on, and what others type ends by itself", async () => {
    const { client, told } = await online({}, { welcome: { top: 0 } });
    for (let i = 0; i < 10; i++) {
      client.typing();
      await world.passes(500);
    }
    client.typing(false);
    assert.deepEqual(world.socket.of("typing").map((m) => m.state), ["typing", "typing", "idle"]);
    world.socket.says({ type: "typing", session_id: "S", who: { id: "bob", name: "Bob", kind: "admin" }, state: "typing", ttl: 5000 });
    await world.passes(5000);
    assert.deepEqual(told.typing, [true, false].map((active) => ({ user_id: "bob", name: "Bob", active })));
  });
});

test("an address that is none, and a place without sockets, are refused at once", () => {
  assert.throws(() => new ChatboxClient({ url: "ftp://x/" }), { code: "BAD_URL" });
  assert.throws(() => new ChatboxClient({ url: "https://x/", world: { WebSocket: null } }), { code: "NO_WEBSOCKET" });
});

test("it is a global, too", () => assert.equal(globalThis.ChatboxClient, ChatboxClient));
