// Looking after what is stored, with the program's own commands, beside a running server and without one: copies, what a
// person may have of it, and its end. And a disk that is full.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, Server, lockDatabase, serve, somebody, within } from "./support.mjs";

const LIMITS = { RATE_LIMIT: "1000000", INBOX_LIMIT: "100000" };
const lines = (text) => text.trimEnd().split("\n").filter(Boolean).map((line) => JSON.parse(line));

async function ok(server, ...args) {
  const { code, out, err } = await server.command(...args);
  assert.equal(code, 0, `${args.join(" ")}: ${out}${err}`);
  return out;
}

/** The same place, started again, gone with the test. */
async function again(t, server, env) {
  const next = await server.again(env);
  t.after(() => next.remove());
  return next;
}

/** Asks until the answer has that status, and that reason; one is good for a moment. */
async function readyz(server, status, reason) {
  for (;;) {
    const answer = await server.get("/readyz");
    if (answer.status === status && (!reason || reason.test(answer.json.checks.mongodb.reason))) return;
  }
}

describe("chatbox backup", () => {
  test("copies while people talk; a server starts on the copy and has all that was acknowledged before", async (t) => {
    const server = await serve(t, { env: LIMITS });
    const alice = await server.join(somebody("alice"));
    const acks = [];
    for (let i = 0; i < 20; i++) acks.push(await alice.saysSurely(`text ${i}`, `cid-${i}`));
    for (let i = 20; i < 200; i++) alice.says(`text ${i}`, { cid: `cid-${i}` });
    const copy = path.join(server.dir, "copy.db");
    await ok(server, "backup", copy);
    assert.equal((await stat(copy)).mode & 0o777, 0o600);
    const twice = await server.command("backup", copy);
    assert.equal(twice.code, 1);
    assert.match(twice.err, /copy\.db is already there/);
    await alice.hears("ack", { cid: "cid-199" });
    await server.stop();

    const restored = await again(t, server, { STORE_URL: `sqlite:${copy}` });
    const said = await restored.history(alice.user, alice.session);
    assert.deepEqual(said.map((m) => m.seq), said.map((_, i) => i + 1));
    for (const ack of acks) assert.equal(said[ack.seq - 1].id, ack.id);
    const back = await restored.join(alice.user);
    assert.equal(back.session, alice.session);
    assert.equal((await back.saysSurely("text 3", "cid-3")).duplicate, true);
  });

  test("needs a file", async (t) => {
    const server = await serve(t);
    for (const args of [[], ["a", "b"], ["--user", "x", "a"]]) assert.equal((await server.command("backup", ...args)).code, 2);
    assert.equal((await server.command("backup", "/nowhere/copy.db")).code, 1);
  });
});

describe("chatbox export", () => {
  const keys = { ENCRYPTION_KEY: randomBytes(32).toString("base64") };

  async function talked(server) {
    const alice = await server.join(somebody("alice"));
    await alice.talks("Hello there.");
    await alice.talks("second");
    return alice;
  }

  function isAll(alice, exported) {
    const [session, ...messages] = exported;
    assert.equal(session.line, "session");
    assert.equal(session.id, alice.session);
    assert.equal(session.user_id, alice.user);
    assert.equal(session.name, "Hello there.");
    assert.equal(session.messages, 4);
    assert.deepEqual(messages.map((m) => [m.line, m.session_id, m.seq, m.sender, m.content]), [
      ["message", alice.session, 1, "user", "Hello there."],
      ["message", alice.session, 2, "ai", "Hello there."],
      ["message", alice.session, 3, "user", "second"],
      ["message", alice.session, 4, "ai", "second"],
    ]);
  }

  test("is everything of a user, readable, beside a server and without one", async (t) => {
    const server = await serve(t, { env: keys });
    const alice = await talked(server);
    await talked(server); // somebody else
    isAll(alice, lines(await ok(server, "export", "--user", alice.user)));
    await server.stop();
    isAll(alice, lines(await ok(server, "export", "--user", alice.user)));
  });

  test("is one conversation", async (t) => {
    const server = await serve(t, { env: keys });
    const alice = await talked(server);
    isAll(alice, lines(await ok(server, "export", "--session", alice.session)));
    const unknown = await server.command("export", "--session", "0".repeat(32));
    assert.equal(unknown.code, 1);
    assert.match(unknown.err, /not found/);
  });

  test("without the key is an error and no text", async (t) => {
    const server = await serve(t, { env: keys });
    const alice = await talked(server);
    await server.stop();
    server.env.ENCRYPTION_KEY = "";
    const { code, out } = await server.command("export", "--user", alice.user);
    assert.equal(code, 1);
    assert.doesNotMatch(out, /second|cb1:/);
  });

  test("needs to be told of whom", async (t) => {
    const server = await serve(t);
    for (const args of [[], ["--user", ""], ["--user", "a", "--session", "b"], ["--user", "a", "b"], ["--nobody", "x"]]) {
      assert.equal((await server.command("export", ...args)).code, 2, args.join(" "));
    }
  });
});

/** Somebody who talked before ids were looked at: the same bytes with a line break for the ~. */
async function fromBefore(t) {
  const server = await serve(t);
  const user = somebody("old~user");
  const client = await server.join(user);
  await client.talks("from before");
  await server.stop();
  const file = path.join(server.dir, "chatbox.db");
  const bytes = await readFile(file, "latin1");
  const old = user.replace("~", "\n");
  assert.ok(bytes.includes(user));
  await writeFile(file, bytes.replaceAll(user, old), "latin1");
  return { server, user: old };
}

describe("an id that nobody can have today", () => {
  test("can still be exported and erased, with a server and without", async (t) => {
    for (const running of [false, true]) {
      const { server, user } = await fromBefore(t);
      const at = running ? await again(t, server) : server;
      assert.equal(lines(await ok(at, "export", "--user", user))[0].user_id, user);
      assert.equal(await ok(at, "erase", "--user", user), "erased: 1 conversations, 2 messages\n");
      assert.equal(await ok(at, "export", "--user", user), "");
      assert.equal((await at.command("erase", "--user", user)).code, 2);
    }
  });
});

describe("chatbox erase", () => {
  test("of a user who is connected: out of the store, out of memory, and not written back", async (t) => {
    const server = await serve(t, { env: LIMITS });
    const [alice, bob] = await Promise.all([server.join(somebody("alice")), server.join(somebody("bob"))]);
    const tab = await server.join(alice.user);
    await alice.talks("to be forgotten");
    await bob.talks("to be kept");
    for (let i = 0; i < 500; i++) alice.says(`in a hurry ${i}`); // on its way while it is erased
    assert.match(await ok(server, "erase", "--user", alice.user), /^erased: 1 conversations, \d+ messages$/m);
    for (const client of [alice, tab]) assert.deepEqual(await client.ends(), { code: 4403, reason: "erased" });
    assert.equal((await server.get(`/sessions/${alice.session}`, { user: alice.user })).status, 404);
    assert.equal((await server.get("/sessions", { user: alice.user })).json.count, 0);

    const back = await server.join(alice.user, { session: alice.session });
    assert.notEqual(back.session, alice.session);
    await back.talks("a new life");
    await bob.talks("still here");
    assert.equal((await server.history(bob.user, bob.session)).length, 4);
    await server.stop(); // nothing that was in memory is written at the end
    assert.equal(await ok(server, "export", "--session", back.session).then((out) => lines(out).length), 3);
    assert.equal((await server.command("export", "--session", alice.session)).code, 1);
  });

  test("in the middle of an answer that takes its time", async (t) => {
    const bot = `local bot = require "bot" "echo"
bot:hears("go on", function() chat.shared.set("go on", true) end)
bot:otherwise(function(session, request)
  session:reply "wait"
  while not chat.shared.get "go on" do chat.timer.sleep(5) end
  session:set { name = "written back" }
  session:reply "done"
end)
return bot
`;
    const server = await serve(t, { scripts: { "bots/echo.lua": bot } });
    const alice = await server.join(somebody("alice"));
    alice.says("hello");
    await alice.hears("ai_response", { content: "wait" });
    await ok(server, "erase", "--user", alice.user);
    await alice.ends();
    const bob = await server.join(somebody("bob"));
    bob.says("go on");
    await server.log.next((line) => line.msg === "a write was not taken" && line.error === "GONE", "the handler to go on in vain");
    assert.equal((await server.get("/sessions", { user: alice.user })).json.count, 0);
  });

  test("without a server, and again", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.stop();
    assert.equal(await ok(server, "erase", "--user", alice.user), "erased: 1 conversations, 2 messages\n");
    assert.equal(await ok(server, "erase", "--user", alice.user), "erased: 0 conversations, 0 messages\n");
  });

  test("makes no database where there is none, and needs a user", async (t) => {
    const server = await serve(t);
    await server.stop();
    server.env.STORE_URL = `sqlite:${path.join(server.dir, "none.db")}`;
    assert.equal((await server.command("erase", "--user", "x")).code, 1);
    await assert.rejects(stat(path.join(server.dir, "none.db")));
    for (const args of [[], ["--session", "x"], ["--user", "a\nb"]]) assert.equal((await server.command("erase", ...args)).code, 2);
  });

  test("goes through the server where the store is no file", async (t) => {
    const socket = path.join(os.tmpdir(), `chatbox-${process.pid}.sock`);
    const server = await serve(t, { env: { STORE_URL: "memory:chat", CONTROL_SOCKET: socket } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    assert.equal(await ok(server, "erase", "--user", alice.user), "erased: 1 conversations, 2 messages\n");
    assert.equal((await alice.ends()).code, 4403);
    assert.equal((await server.command("export", "--user", alice.user)).code, 1);
  });

  test("asks the server of its own database, not of another one in the same folder", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    const copy = path.join(server.dir, "copy.db");
    await ok(server, "backup", copy);
    const url = server.env.STORE_URL;
    server.env.STORE_URL = `sqlite:${copy}`;
    assert.equal(await ok(server, "erase", "--user", alice.user), "erased: 1 conversations, 2 messages\n");
    server.env.STORE_URL = url;
    assert.equal((await server.history(alice.user, alice.session)).length, 2);
  });
});

describe("RETENTION_DAYS", () => {
  test("erases what is older, not what is newer, and says so", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.stop();
    const kept = await again(t, server, { RETENTION_DAYS: "1" });
    assert.equal((await kept.history(alice.user, alice.session)).length, 2);
    await kept.stop();

    // A conversation of long ago: what is stored is changed, not the clock.
    const file = path.join(server.dir, "chatbox.db");
    const aged = spawnSync("python3", ["-c", `import sqlite3; c = sqlite3.connect("${file}"); c.execute("UPDATE sessions SET lastActivity = 1"); c.commit()`]);
    if (aged.status !== 0) return t.skip("there is no python3 with sqlite3 to age a conversation with");
    const strict = await again(t, server, { RETENTION_DAYS: "1" });
    const line = await strict.log.next((l) => l.component === "erasure", "the old conversation to be erased");
    assert.equal(Number(line.conversations), 1);
    assert.equal((await strict.get(`/sessions/${alice.session}`, { user: alice.user })).status, 404);
  });
});

describe("run --fresh", () => {
  const run = (server) => spawnSync(BIN, ["run", "--fresh"], { env: server.env, encoding: "utf8" });

  test("is refused outside development, and the database stays", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.stop();
    const { status, stderr } = run(server);
    assert.equal(status, 2);
    assert.match(stderr, /DEVELOPMENT/);
    assert.equal(lines(await ok(server, "export", "--user", alice.user)).length, 3);
  });

  test("starts with an empty database", async (t) => {
    const server = await serve(t, { env: { DEVELOPMENT: "true" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.stop();
    const fresh = await Server.start({ env: server.env, dir: server.dir, secret: server.secret, args: ["--fresh"] });
    t.after(() => fresh.remove());
    assert.equal((await fresh.get("/sessions", { user: alice.user })).json.count, 0);
  });
});

describe("a database somebody else has locked", () => {
  test("is away: not ready, messages wait, and all goes on when it is back", async (t) => {
    const server = await serve(t, { env: LIMITS });
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("before", "c1");
    const free = await lockDatabase(server);
    if (!free) return t.skip("there is no python3 with sqlite3 to lock a database with");
    alice.says("meanwhile", { cid: "c2" });
    await within(readyz(server, 503), "the server to say that it is not ready");
    assert.equal((await server.get("/healthz")).status, 200);
    assert.equal((await server.history(alice.user, alice.session)).length, 2); // reading goes on
    alice.heardNothingOf("error");
    await free();
    assert.equal((await alice.hears("ack", { cid: "c2" })).seq, 3);
    await within(readyz(server, 200), "the server to be ready again");
  });

  test("for longer than STORE_TIMEOUT: a recoverable DATABASE_ERROR under the cid, and no ack", async (t) => {
    const server = await serve(t, { env: { ...LIMITS, STORE_TIMEOUT: "1s" } });
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("before", "c1");
    const free = await lockDatabase(server);
    if (!free) return t.skip("there is no python3 with sqlite3 to lock a database with");
    alice.says("too late", { cid: "c2" });
    const told = await alice.next((m) => m.type === "error", "the error");
    assert.deepEqual([told.cid, told.error.code, told.error.recoverable], ["c2", "DATABASE_ERROR", true]);
    await free();
    await within(readyz(server, 200), "the server to be ready again, though nobody writes");
    const ack = await alice.saysSurely("too late", "c2");
    assert.deepEqual([ack.seq, ack.duplicate], [3, false]);
  });
});

describe("a full disk", () => {
  test("is a recoverable DATABASE_ERROR, nothing is acknowledged, and all goes on when there is room", async (t) => {
    const server = await serve(t, { env: LIMITS });
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("there is room", "first");
    const { size } = await stat(path.join(server.dir, "chatbox.db-wal"));
    const limit = (bytes) => spawnSync("prlimit", ["--pid", `${server.process.pid}`, `--fsize=${bytes}`]).status;
    if (limit(`${size}:unlimited`) !== 0) return t.skip("prlimit cannot limit a process here");
    const text = "x".repeat(9000);
    alice.says(text, { cid: "too much" });
    const error = await alice.hearsError("DATABASE_ERROR");
    assert.equal(error.recoverable, true);
    assert.equal((await server.get("/healthz")).status, 200);
    await within(readyz(server, 503), "the server to say that it is not ready");
    assert.equal((await server.get(`/sessions/${alice.session}`, { user: alice.user })).status, 200); // reading goes on
    limit("unlimited");
    await within(readyz(server, 200), "the server to be ready again by itself: nobody sends messages to one that is not");
    const ack = await alice.saysSurely(text, "too much");
    assert.equal(ack.duplicate, false);
    const acks = alice.heard.all.filter((m) => m.type === "ack");
    assert.deepEqual(acks.map((m) => m.cid), ["first", "too much"]);
    const mine = (await server.history(alice.user, alice.session)).filter((m) => m.sender === "user");
    assert.deepEqual(mine.map((m) => m.content), ["there is room", text]);
  });
});

describe("a database that is not what it was, though nobody writes", { concurrency: 4 }, () => {
  const file = (server) => path.join(server.dir, "chatbox.db");
  const unready = (server, reason) => within(readyz(server, 503, reason), `the server to say that ${reason}`);
  const ready = (server) => within(readyz(server, 200), "the server to be ready");

  /** A server with some conversations, all of which are in the file and none in its log. */
  async function filled(t) {
    const server = await serve(t, { env: LIMITS });
    const alice = await server.join(somebody("alice"));
    for (let i = 0; i < 30; i++) await alice.saysSurely(`${i} ${"x".repeat(3000)}`);
    await alice.leaves();
    await server.stop();
    const later = await again(t, server);
    await ready(later);
    return later;
  }

  async function damage(server, pages) {
    const { size } = await stat(file(server));
    const handle = await open(file(server), "r+");
    const kept = Buffer.alloc(size);
    await handle.read(kept, 0, size, 0);
    for (const page of pages(size / 4096)) await handle.write(Buffer.alloc(4096, 0xa5), 0, 4096, page * 4096);
    return async () => {
      await handle.write(kept, 0, size, 0);
      await handle.close();
    };
  }

  for (const name of ["chatbox.db", "chatbox.db-wal"]) {
    test(`${name} was deleted: not ready, nothing more is acknowledged, and all is well when it is back`, async (t) => {
      const server = await filled(t);
      const alice = await server.join(somebody("alice"));
      await alice.saysSurely("before", "c1");
      const there = path.join(server.dir, name);
      await rename(there, `${there}.away`); // as good as deleted, but it can come back
      alice.says("into nowhere", { cid: "c2" });
      await alice.hearsError("DATABASE_ERROR");
      await unready(server, /removed or replaced/);
      await rename(`${there}.away`, there);
      await ready(server);
      assert.equal((await alice.saysSurely("into nowhere", "c2")).duplicate, false);
    });
  }

  test("deleted: not ready, though nobody says anything", async (t) => {
    const server = await serve(t);
    await ready(server);
    await rm(file(server));
    await unready(server, /removed or replaced/);
  });

  test("another file in its place: not ready", async (t) => {
    const server = await filled(t);
    await ok(server, "backup", path.join(server.dir, "copy.db"));
    await rename(path.join(server.dir, "copy.db"), file(server));
    await unready(server, /removed or replaced/);
  });

  test("an empty file of the same name: not ready", async (t) => {
    const server = await filled(t);
    await truncate(file(server));
    await unready(server, /damaged/);
  });

  const places = {
    "its first page": () => [0],
    "a page somewhere in it": (count) => [count >> 1],
    "its last page": (count) => [count - 1],
    "all pages but the first": (count) => Array.from({ length: count - 1 }, (_, i) => i + 1),
  };
  for (const [what, pages] of Object.entries(places)) {
    test(`damage in ${what}: not ready, and ready when it is mended`, async (t) => {
      const server = await filled(t);
      const mend = await damage(server, pages);
      await unready(server, /damaged/);
      assert.equal((await server.get("/healthz")).status, 200);
      await mend();
      await ready(server);
    });
  }

  test("damaged, and somebody writes: not ready", async (t) => {
    const server = await filled(t);
    await damage(server, (count) => Array.from({ length: count - 1 }, (_, i) => i + 1));
    const bob = await server.join(somebody("bob")).catch(() => undefined);
    bob?.says("lost", { cid: "c2" });
    await unready(server, /damaged|takes no writes/);
  });

  test("a full disk, or one that may only be read: not ready, and ready again by itself", async (t) => {
    const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-disk-"));
    let server;
    t.after(async () => {
      await server?.remove();
      spawnSync("umount", ["-l", dir]);
      await rm(dir, { recursive: true, force: true });
    });
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "chatbox", dir]).status !== 0) return t.skip("only root may mount a small disk");
    server = await Server.start({ env: { ...LIMITS, STORE_URL: `sqlite:${path.join(dir, "chatbox.db")}` } });
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("there is room", "c1");
    await ready(server);
    await writeFile(path.join(dir, "fill"), Buffer.alloc(8 << 20)).catch((error) => assert.equal(error.code, "ENOSPC"));
    await unready(server, /no room/);
    await rm(path.join(dir, "fill"));
    await ready(server);
    assert.equal((await alice.saysSurely("there is room again", "c2")).duplicate, false);
    if (spawnSync("mount", ["-o", "remount,ro", dir]).status === 0) {
      await unready(server, /read-only/);
      spawnSync("mount", ["-o", "remount,rw", dir]);
      await ready(server);
    }
  });
});
