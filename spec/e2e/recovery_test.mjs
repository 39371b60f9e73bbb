// Clients that were away and come back (protocol 2): nothing is lost, nothing comes twice, all of it in order, whatever
// happens while they are being told.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { Client, Server, serve, somebody, within } from "./support.mjs";

const EVENTS = new Set(["user_message", "ai_response", "file_upload", "voice_message"]);

/** Says hello, from a place or from none. → welcome */
async function hello(client, resume) {
  client.sends({ type: "hello", v: 2, ...(resume && { resume }) });
  const welcome = await client.hears("welcome");
  client.session = welcome.session_id;
  return welcome;
}

/** Somebody who comes back again and again, and keeps what a client library would keep. */
class Follower {
  events = [];
  place = null;
  #looks = new Set();

  constructor(server, user) {
    Object.assign(this, { server, user });
  }

  get seq() {
    return this.place?.seq ?? 0;
  }

  async connects() {
    this.client = await Client.connect(this.server, this.user);
    const { socket } = this.client;
    this.welcomed = false;
    socket.on("message", (data) => this.#hear(JSON.parse(data)));
    socket.send(JSON.stringify({ type: "hello", v: 2, ...(this.place && { resume: this.place }) }));
    return this.client.hears("welcome");
  }

  #hear(m) {
    if (m.type === "welcome") {
      this.welcomed = true;
      if (this.place) assert.ok(m.recovered, `not recovered: ${JSON.stringify(m)} from ${JSON.stringify(this.place)}`);
      this.place = { session_id: m.session_id, epoch: m.epoch, seq: this.place?.seq ?? m.top };
    } else if (this.welcomed && EVENTS.has(m.type) && m.seq) {
      assert.equal(m.seq, this.place.seq + 1, `after ${this.place.seq}: ${JSON.stringify(m)}`);
      this.place.seq = m.seq;
      this.events.push(m);
      for (const look of [...this.#looks]) look();
    }
  }

  async drops() {
    this.client.socket.terminate();
    await this.client.ends();
  }

  /** The event of that seq has come. */
  until(seq) {
    let look;
    const come = new Promise((resolve) => {
      look = () => this.seq >= seq && resolve();
      this.#looks.add(look);
      look();
    }).finally(() => this.#looks.delete(look));
    return within(come, () => `seq ${seq}; at ${this.seq}, heard ${JSON.stringify(this.client.heard.all.slice(-3))}`);
  }
}

const RATE_LIMIT = "1000000";

for (const [name, env] of Object.entries({
  SQLite: { RATE_LIMIT },
  memory: { RATE_LIMIT, STORE_URL: "memory:recovery" },
})) {
  describe(`with ${name}, a client that was away`, () => {
    test("is told what it missed, in order, then what happens", async (t) => {
      const server = await serve(t, { env });
      const user = somebody("alice");
      const talker = await server.join(user);
      const follower = new Follower(server, user);
      await follower.connects();
      await talker.talks("one");
      await follower.until(2);
      await follower.drops();
      await talker.talks("two");
      await talker.talks("three");
      const welcome = await follower.connects();
      assert.deepEqual([welcome.recovered, welcome.replayed, welcome.top], [true, 4, 6]);
      await talker.talks("four");
      await follower.until(8);
      assert.deepEqual(follower.events.map((m) => m.content), ["one", "one", "two", "two", "three", "three", "four", "four"]);
    });

    test("loses nothing and hears nothing twice, however often it goes and whenever it comes", async (t) => {
      const rounds = process.env.SPEC_LONG ? 1000 : 100;
      const server = await serve(t, { env });
      const user = somebody("alice");
      const talker = await server.join(user);
      const followers = [new Follower(server, user), new Follower(server, user), new Follower(server, user)];
      for (const f of followers) await f.connects();
      let said = 0, stop = false;
      const talking = (async () => {
        while (!stop) {
          for (let i = 0; i < 8; i++) talker.says(`message ${++said}`); // commits are on their way when somebody says hello
          const { seq } = await talker.saysSurely(`message ${++said}`, randomUUID());
          await Promise.all(followers.map((f) => f.until(seq - 500))); // nobody is further behind than can be told
        }
      })();
      await Promise.all(
        followers.map(async (f, i) => {
          for (let round = 0; round < rounds; round++) {
            if ((round + i) % 3) await f.until(f.seq + 1); // or it goes in the middle of being told
            await f.drops();
            await f.connects();
          }
        }),
      );
      stop = true;
      await talking;
      await talker.talks("the end");
      const [last] = (await server.history(user, talker.session)).slice(-1);
      for (const f of followers) {
        await f.until(last.seq);
        assert.deepEqual(f.events.map((m) => m.seq), Array.from({ length: last.seq }, (_, i) => i + 1));
      }
    });

    test("is told all or nothing: beyond REPLAY_LIMIT it reads the conversation anew", async (t) => {
      const server = await serve(t, { env: { ...env, REPLAY_LIMIT: "2KiB" } });
      const user = somebody("alice");
      const talker = await server.join(user);
      await talker.talks("x".repeat(900));
      const tab = await server.join(user);
      const { epoch, session_id, top } = await hello(tab);
      assert.deepEqual([(await hello(tab, { session_id, epoch, seq: 1 })).recovered, top], [true, 2]);
      await tab.hears("ai_response");
      const welcome = await hello(tab, { session_id, epoch, seq: 0 });
      assert.deepEqual([welcome.recovered, welcome.replayed, welcome.top], [false, 0, 2]);
      await talker.talks("y");
      await tab.hears("ai_response", { content: "y", seq: 4 });
      assert.equal(tab.heard.unread.length, 0);
    });
  });
}

describe("a client that says from where it comes back", () => {
  test("and is wrong recovers nothing, and goes on where it is", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("one");
    const { epoch, session_id } = await hello(alice);
    for (const wrong of [
      { session_id, epoch, seq: 3 },
      { session_id, epoch, seq: Number.MAX_SAFE_INTEGER },
      { session_id, epoch: "another", seq: 1 },
      { session_id: "0".repeat(32), epoch, seq: 1 },
      { session_id: randomUUID(), epoch, seq: 1 },
    ]) {
      const welcome = await hello(alice, wrong);
      assert.deepEqual([welcome.recovered, welcome.replayed, welcome.session_id, welcome.top], [false, 0, session_id, 2]);
    }
    await alice.talks("two");
  });

  test("learns nothing of somebody else's conversation", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const { session_id } = await alice.talks("secret");
    const { epoch } = await hello(alice);
    const eve = await server.join(somebody("eve"));
    eve.sends({ type: "hello", v: 2, cid: "h", resume: { session_id, epoch, seq: 0 } });
    const refused = await eve.hears("error");
    assert.deepEqual([refused.error.code, refused.session_id, refused.cid], ["UNAUTHORIZED", session_id, "h"]);
    const welcome = await eve.hears("welcome");
    assert.equal(welcome.recovered, false);
    assert.notEqual(welcome.session_id, session_id);
    await alice.talks("more");
    await eve.talks("mine");
    assert.ok(!JSON.stringify(eve.heard.all).includes("secret"));
    assert.equal(eve.heard.all.filter((m) => m.content === "more").length, 0);
  });

  test("goes back to a conversation that has ended meanwhile, and what it says next begins another", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const alice = await server.join(user);
    await alice.talks("one");
    const { epoch, session_id } = await hello(alice);
    await alice.leaves();
    await server.post(`/sessions/${session_id}/end`, { user });
    const back = await server.join(user);
    const welcome = await hello(back, { session_id, epoch, seq: 1 });
    assert.deepEqual([welcome.session_id, welcome.recovered, welcome.ended], [session_id, true, true]);
    await back.hears("ai_response", { seq: 2 });
    assert.notEqual((await back.talks("two")).session_id, session_id);
  });

  test("after a restart it is the same epoch, and recovers", async (t) => {
    const first = await Server.start();
    const user = somebody("alice");
    const alice = await first.join(user);
    await alice.talks("one");
    const { epoch, session_id } = await hello(alice);
    await first.stop();
    const second = await first.again();
    t.after(() => second.remove());
    const back = await second.join(user);
    const welcome = await hello(back, { session_id, epoch, seq: 0 });
    assert.deepEqual([welcome.recovered, welcome.replayed, welcome.epoch], [true, 2, epoch]);
  });

  test("after a backup was put in the place of the database it is another one, and does not", async (t) => {
    const first = await Server.start();
    const user = somebody("alice");
    const alice = await first.join(user);
    await alice.talks("one");
    const { epoch, session_id } = await hello(alice);
    const file = `${first.dir}/copy.db`;
    assert.equal((await first.command("backup", file)).code, 0);
    await alice.talks("two");
    await first.stop();
    assert.equal((await first.command("restore", file)).code, 0);
    const second = await first.again();
    t.after(() => second.remove());
    const back = await second.join(user);
    const welcome = await hello(back, { session_id, epoch, seq: 1 });
    assert.deepEqual([welcome.recovered, welcome.replayed, welcome.top, welcome.session_id], [false, 0, 2, session_id]);
    assert.notEqual(welcome.epoch, epoch);
  });
});
