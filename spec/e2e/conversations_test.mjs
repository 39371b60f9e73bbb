// Which conversation a message goes to: one's own, one that has ended, somebody else's. On the running server, over real
// sockets and HTTP.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { serve, somebody } from "./support.mjs";

async function ended(server, client) {
  const answer = await server.post(`/sessions/${client.session}/end`, { user: client.user });
  assert.deepEqual([answer.status, answer.json], [200, { status: "ended" }]);
}

describe("a conversation that has ended", () => {
  test("tells its sockets; the next message begins a new one, for all of them the same", async (t) => {
    const server = await serve(t);
    const desk = await server.join(somebody("alice"));
    await desk.talks("before");
    const phone = await server.join(desk.user);
    const old = desk.session;
    await ended(server, desk);
    for (const client of [desk, phone]) {
      const told = await client.hears("connection_status", { ended: true });
      assert.equal(told.session_id, old);
    }
    desk.says("after", { cid: "c2" });
    const fresh = (await desk.hears("connection_status")).session_id;
    assert.notEqual(fresh, old);
    assert.equal((await desk.hears("ack", { cid: "c2" })).session_id, fresh);
    await desk.hears("ai_response", { content: "after", session_id: fresh });
    // the phone follows: it is told where, and hears what is said there
    assert.equal((await phone.hears("connection_status", { session_id: fresh })).user_id, desk.user);
    const heard = await phone.hears("user_message", { content: "after" });
    assert.deepEqual([heard.session_id, heard.seq], [fresh, 1]);
    assert.equal((await phone.hears("ai_response", { content: "after" })).session_id, fresh);
    phone.says("me, too"); // it still names the old one
    await desk.hears("user_message", { content: "me, too", session_id: fresh });
    await phone.hears("ai_response", { content: "me, too", session_id: fresh });
    assert.deepEqual((await server.history(desk.user, old)).map((m) => m.content), ["before", "before"]);
  });

  test("is left by those who were in it, whichever device begins the next one, and not by who came to read it", async (t) => {
    const server = await serve(t);
    const phone = await server.join(somebody("alice"));
    await phone.talks("before");
    const named = await server.join(phone.user, { session: phone.session }); // in it when it ends, whatever its URL says
    const other = await server.join(somebody("bob"));
    await ended(server, phone);
    await named.hears("connection_status", { ended: true });
    const reader = await server.join(phone.user, { session: phone.session });
    assert.deepEqual([reader.session, reader.greeting.ended], [phone.session, true]);
    const desk = await server.join(phone.user, { session: randomUUID() }); // "New chat"
    await desk.talks("a new one");
    assert.notEqual(desk.session, phone.session);
    for (const device of [phone, named]) {
      await device.hears("connection_status", { session_id: desk.session });
      await device.hears("user_message", { content: "a new one", session_id: desk.session });
      await device.hears("ai_response", { content: "a new one" });
    }
    await reader.talksTo("and I", "and I"); // what it says goes on, too
    for (const device of [phone, named, desk]) await device.hears("user_message", { content: "and I", session_id: desk.session });
    assert.deepEqual(reader.heard.all.filter((m) => m.content === "a new one"), []);
    assert.deepEqual(other.heard.all.filter((m) => m.type === "user_message"), []);
  });

  test("answers for what it has: the same cid is a duplicate from there, also over a new connection", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const first = await alice.saysSurely("once", "c1");
    await alice.hears("ai_response");
    await ended(server, alice);
    const back = await server.join(alice.user, { session: alice.session });
    for (const client of [alice, back]) {
      client.says("once", { cid: "c1", session_id: first.session_id });
      const ack = await client.hears("ack", { cid: "c1" });
      assert.deepEqual([ack.id, ack.seq, ack.duplicate, ack.session_id], [first.id, first.seq, true, first.session_id]);
    }
    assert.equal((await server.history(alice.user, first.session_id)).length, 2);
  });

  test("can be read by socket as by HTTP", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("said");
    await ended(server, alice);
    const back = await server.join(alice.user);
    assert.notEqual(back.session, alice.session);
    back.sends({ type: "history", session_id: alice.session });
    const page = await back.hears("history");
    assert.equal(page.session_id, alice.session);
    assert.deepEqual(page.messages.map((m) => m.content), ["said", "said"]);
  });
});

describe("somebody else's conversation", () => {
  test("is refused under the id that was asked for, and nothing lands elsewhere", async (t) => {
    const server = await serve(t);
    const eve = await server.join(somebody("eve"));
    await eve.talks("mine");
    const mallory = await server.join(somebody("mallory"));
    await mallory.talks("my own");
    const other = await server.join(mallory.user, { session: eve.session });
    assert.equal(other.greeting.session_id, "", "it is not told another id");
    for (const named of [{ session_id: eve.session }, { session_id: undefined }, { session_id: eve.session }]) {
      other.sends({ type: "user_message", content: "not there", cid: "c9", ...named });
      const refusal = await other.hears("error");
      assert.deepEqual([refusal.error.code, refusal.session_id, refusal.cid], ["UNAUTHORIZED", eve.session, "c9"]);
    }
    assert.equal((await server.history(eve.user, eve.session)).length, 2);
    assert.equal((await server.history(mallory.user, mallory.session)).length, 2);
  });
});
