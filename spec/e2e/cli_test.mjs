// The program's command line as a shell, a service manager or a container uses it: what is not understood is refused,
// what could not be printed is a failure, and neither closed descriptors nor stray signals end anything.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, ROOT, botThatSays, mint, serve, somebody } from "./support.mjs";

const SECRET = "c0ffee-Quiet-Harbour-Lantern-7781-Meadow-Fox";

/** A folder of its own, gone with the test. */
async function folder(t) {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-cli-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const environment = (dir, env = {}) => ({
  PATH: process.env.PATH,
  HOME: dir,
  JWT_SECRET: SECRET,
  STORE_URL: `sqlite:${path.join(dir, "chatbox.db")}`,
  SCRIPTS_DIR: path.join(ROOT, "scripts"),
  WEB_DIR: path.join(ROOT, "web"),
  SERVER_ADDRESS: "127.0.0.1",
  SERVER_PORT: "0",
  ...env,
});

/** { status, stdout, stderr } of the program, or of a shell line that calls it "$0". */
const run = (dir, args, env) => spawnSync(BIN, args, { env: environment(dir, env), encoding: "utf8", timeout: 120000 });
const shell = (dir, line, env) => spawnSync("sh", ["-c", line, BIN], { env: environment(dir, env), encoding: "utf8", timeout: 120000 });

describe("arguments", () => {
  test("one that a command does not take is refused by name, and nothing is done", async (t) => {
    const dir = await folder(t);
    const surplus = [
      ["run", "my.conf"],
      ["config", "my.conf"],
      ["check", path.join(ROOT, "scripts"), "my.conf"],
      ["reencrypt", "my.conf"],
      ["handback", "my.conf"],
    ];
    for (const args of surplus) {
      const { status, stdout, stderr } = run(dir, args);
      assert.equal(status, 2, args.join(" "));
      assert.match(stderr, /my\.conf/, args.join(" "));
      assert.equal(stdout, "");
    }
    for (const args of [["token", "--user", "a", "b"], ["reload", "b"], ["promote", "b"], ["rollback", "b"], ["scripts", "b"],
      ["export", "--user", "a", "b"], ["erase", "--user", "a", "b"], ["docs", "settings", "b"], ["backup", "a", "b"]]) {
      assert.equal(run(dir, args).status, 2, args.join(" "));
    }
  });

  test("an unknown option is refused by every command, and every command explains itself", async (t) => {
    const dir = await folder(t);
    const words = ["run", "check", "config", "token", "reload", "promote", "rollback", "scripts", "reencrypt", "handback", "backup", "export", "erase"];
    for (const word of words) {
      assert.equal(run(dir, [word, "--nonsense"]).status, 2, word);
      for (const help of [["-h"], ["--help"], ["--config", "nowhere.conf", "--help"]]) {
        const { status, stdout } = run(dir, [word, ...help]);
        assert.equal(status, 0, word);
        assert.match(stdout, new RegExp(`^Usage: chatbox ${word}`));
      }
    }
    assert.equal(run(dir, ["token", "--user", "--help"]).stdout.split(".").length, 3, "a user may be called --help");
  });
});

describe("standard output", () => {
  test("what could not be printed is a failure", async (t) => {
    const dir = await folder(t);
    for (const args of ["config", "token --user alice", "docs settings", "docs lua", "--help", "--version", "check"]) {
      const { status, stderr } = shell(dir, `exec "$0" ${args} >/dev/full`);
      assert.equal(status, 1, args);
      assert.match(stderr, /standard output/, args);
    }
  });

  test("closed descriptors are no accident, and no command prints into a file it opened itself", async (t) => {
    const dir = await folder(t);
    for (const closed of ["<&-", "2>&-", "<&- 2>&-"]) {
      assert.equal(shell(dir, `exec "$0" token --user alice ${closed}`).status, 0, closed);
      assert.equal(shell(dir, `exec "$0" check ${closed}`).status, 0, closed);
    }
    for (const closed of [">&-", "<&- >&-", "<&- >&- 2>&-"]) {
      assert.equal(shell(dir, `exec "$0" token --user alice ${closed}`).status, 1, closed);
      assert.equal(shell(dir, `exec "$0" check ${closed}`).status, 1, closed);
    }
  });
});

describe("a running server", () => {
  test("is not ended or stopped by signals that mean nothing to it", async (t) => {
    const server = await serve(t);
    for (const name of ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGXFSZ", "SIGPWR", "SIGTTIN", "SIGTTOU"]) {
      server.process.kill(name);
    }
    for (const number of [34, 40, 64]) spawnSync("kill", [`-${number}`, String(server.process.pid)]);
    await server.join(somebody("alice"));
  });

  for (const closed of ["<&-", "<&- >&-", "<&- >&- 2>&-"]) {
    test(`lives with ${closed}`, async (t) => {
      const dir = await folder(t);
      const child = spawn("sh", ["-c", `exec "$0" run ${closed}`, BIN], { env: environment(dir), stdio: ["pipe", "pipe", "pipe"] });
      const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
      t.after(() => child.kill("SIGKILL"));
      let reached;
      do reached = run(dir, ["scripts"]);
      while (reached.status !== 0 && child.exitCode === null && child.signalCode === null);
      assert.equal(reached.status, 0, reached.stderr);
      child.kill("SIGTERM");
      assert.deepEqual(await ended, { code: 0, signal: null });
    });
  }
});

describe("backup and restore", () => {
  test("a copy put over a database that crashed is not undone by what that left, and restore puts it there", async (t) => {
    const server = await serve(t);
    const database = path.join(server.dir, "chatbox.db");
    const copy = path.join(server.dir, "copy.db");
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("before the copy", "cid-1");
    assert.equal((await server.command("backup", copy)).code, 0);
    await alice.saysSurely("after the copy", "cid-2");
    const busy = await server.command("restore", copy);
    assert.equal(busy.code, 1);
    assert.match(busy.err, /another process uses the database/);
    await server.kill();
    assert.ok((await stat(`${database}-wal`)).size > 0);

    await cp(copy, database);
    const refused = spawnSync(BIN, ["run"], { env: server.env, encoding: "utf8", timeout: 120000 });
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /is a backup, and .*-wal beside it would undo it: use `chatbox restore`/);
    assert.ok((await stat(`${database}-wal`)).size > 0, "nothing has changed");

    const restored = await server.command("restore", copy);
    assert.equal(restored.code, 0, restored.err);
    assert.equal((await stat(database)).mode & 0o777, 0o600);
    const next = await server.again();
    t.after(() => next.remove());
    const users = (text) => [...new Set(text.map((m) => m.content).filter((content) => /^(before|after) the copy$/.test(content)))]; // said and echoed
    assert.deepEqual(users(await next.history(alice.user, alice.session)), ["before the copy"]);
    await next.kill(); // its own -wal is no reason to refuse it
    const last = await server.again();
    t.after(() => last.remove());
    assert.deepEqual(users(await last.history(alice.user, alice.session)), ["before the copy"]);
  });

  test("restore changes nothing when the file is no whole backup", async (t) => {
    const server = await serve(t);
    const database = path.join(server.dir, "chatbox.db");
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("kept", "cid-1");
    await server.stop();
    const before = await readFile(database);
    const bad = path.join(server.dir, "bad");
    await mkdir(bad);
    await writeFile(path.join(bad, "empty"), "");
    await writeFile(path.join(bad, "text"), "no database at all, but longer than the header of one\n".repeat(100));
    await writeFile(path.join(bad, "torn"), before.subarray(0, 4096));
    spawnSync("mkfifo", [path.join(bad, "pipe")]);
    for (const name of ["empty", "text", "torn", "pipe", "none", "."]) {
      const { code, err } = await server.command("restore", path.join(bad, name));
      assert.equal(code, 1, `${name}: ${err}`);
      assert.deepEqual(await readFile(database), before, name);
    }
    assert.equal((await server.command("restore", database)).code, 1);
    assert.equal((await server.command("restore")).code, 2);
    assert.deepEqual((await readdir(server.dir)).filter((name) => name.includes("restoring")), []);
    const next = await server.again();
    t.after(() => next.remove());
    assert.equal((await next.history(alice.user, alice.session))[0].content, "kept");
  });

  test("a backup that was ended leaves nothing that blocks the next one", async (t) => {
    const server = await serve(t);
    const copy = path.join(server.dir, "copy.db");
    await writeFile(`${copy}.part`, "");
    assert.equal((await server.command("backup", copy)).code, 0);
    const other = path.join(server.dir, "other.db");
    await writeFile(`${other}.part`, "a letter to my aunt");
    const refused = await server.command("backup", other);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /other\.db\.part is already there/);
    assert.equal(await readFile(`${other}.part`, "utf8"), "a letter to my aunt");
  });
});

describe("a folder of scripts", () => {
  test("check, start and reload leave the same out, say so once, and none of them waits for a pipe", async (t) => {
    const server = await serve(t);
    const left = path.join(server.scripts, "pipe.lua");
    assert.equal(spawnSync("mkfifo", [left]).status, 0);
    await symlink("nowhere", path.join(server.scripts, "bots/gone.lua"));
    await symlink("/dev/zero", path.join(server.scripts, "zero.lua"));
    await server.script("extra.lua", "\uFEFFreturn {}\r\n");
    const checked = await server.command("check");
    assert.equal(checked.code, 0, checked.out);
    for (const name of ["pipe.lua: a pipe", "bots/gone.lua: a link to nothing", "zero.lua: a device"]) assert.ok(checked.err.includes(name), checked.err);
    const reload = await server.command("reload");
    assert.equal(reload.code, 0, reload.out + reload.err);
    await server.script("extra.lua", "\uFEFFreturn { 1 }\r\n");
    assert.equal((await server.command("reload")).code, 0);
    const said = server.log.all.filter((line) => line.msg === "left out of the scripts");
    assert.equal(said.length, 1);
    assert.match(said[0].skipped, /pipe\.lua: a pipe/);
    await server.stop();
    const next = await server.again();
    t.after(() => next.remove());
    await next.join(somebody("alice"));
    assert.match(checked.out, /ok: version/);
  });
});

describe("scripts that are checked", () => {
  test("may call whatever there is while they load: it answers or raises, as in a server", async (t) => {
    const server = await serve(t);
    const stubs = await readFile(path.join(ROOT, "docs/stubs/chat.lua"), "utf8");
    const names = [...stubs.matchAll(/^function (chat\.[a-z_.]+)\(/gm)].map((m) => m[1]).filter((name) => !/timer\.sleep/.test(name));
    assert.ok(names.length > 30, `${names.length} functions`);
    const calls = names.flatMap((name) => ["", '"x"', '"x", 1', '"x", "y", 1', "{}, {}", "1, 2, 3"].map((a) => `pcall(${[name, a].filter(Boolean).join(", ")})`));
    await server.script("lib/everything.lua", `${calls.join("\n")}\nlocal n = chat.shared.add("loads", 1)\nreturn { self_test = function() assert(n == 1) end }\n`);
    await server.script("extra.lua", 'return require "lib.everything"\n');
    const { code, out, err } = await server.command("check");
    assert.equal(code, 0, out + err);
  });
});

describe("a folder of scripts that is watched", () => {
  test("may be removed and put back, and a link above it may be swapped, time and again", async (t) => {
    const dir = await folder(t);
    const release = async (name, text) => {
      await cp(path.join(ROOT, "scripts"), path.join(dir, name, "scripts"), { recursive: true });
      await writeFile(path.join(dir, name, "scripts/bots/echo.lua"), botThatSays(text));
    };
    const current = async (name) => {
      await symlink(name, path.join(dir, "next"));
      await rename(path.join(dir, "next"), path.join(dir, "current"));
    };
    for (const name of ["first", "second", "third"]) await release(name, name);
    await current("first");
    const scripts = path.join(dir, "current/scripts");
    const server = await serve(t, { env: { SCRIPT_WATCH: "true", SCRIPTS_DIR: scripts, RATE_LIMIT: "1000000" } });
    const alice = await server.join(somebody("alice"));
    const answers = async (text) => {
      do alice.says("?");
      while ((await alice.hears("ai_response")).content !== text);
    };
    await answers("first");
    for (const name of ["second", "third", "first"]) {
      await current(name);
      await answers(name);
    }
    const away = path.join(dir, "away");
    await rename(path.join(dir, "first/scripts"), away);
    await server.log.next((line) => line.msg === "reload failed: the running version goes on", "a reload that fails");
    await answers("first");
    await writeFile(path.join(away, "bots/echo.lua"), botThatSays("back"));
    await rename(away, path.join(dir, "first/scripts"));
    await answers("back");
    await writeFile(path.join(scripts, "bots/echo.lua"), botThatSays("saved"));
    await answers("saved");
  });
});

describe("erase and export", () => {
  test("find the user that chats, in whatever spelling the shell has the id", async (t) => {
    const server = await serve(t);
    const composed = `${somebody()}-j\u00fcrgen`;
    const alice = await server.join(composed);
    await alice.saysSurely("hello", "cid-1");
    const typed = composed.normalize("NFD");
    const exported = await server.command("export", "--user", typed);
    assert.equal(exported.code, 0, exported.err);
    assert.match(exported.out, /"hello"/);
    const erased = await server.command("erase", "--user", typed);
    assert.equal(erased.code, 0, erased.err);
    assert.match(erased.out, /other spelling of the id: 1 conversations/);
    assert.doesNotMatch((await server.command("export", "--user", composed)).out, /hello/);
    assert.equal((await server.command("erase", "--user", "bob\n")).code, 2, "nobody can have this id");
  });
});

describe("a secret in quotes", () => {
  for (const quote of ['"', "'"]) {
    test(`${quote} means the same in the environment as in the file`, async (t) => {
      const server = await serve(t, { secret: SECRET, env: { JWT_SECRET: `${quote}${SECRET}${quote}` } });
      await server.join(somebody("alice"));
      const file = path.join(server.dir, "chatbox.conf");
      await writeFile(file, `JWT_SECRET=${quote}${SECRET}${quote}\n`, { mode: 0o600 });
      const dir = await folder(t);
      const token = run(dir, ["token", "--user", "bob", "--config", file], { JWT_SECRET: undefined });
      assert.equal(token.status, 0, token.stderr);
      const claims = JSON.parse(Buffer.from(token.stdout.split(".")[1], "base64url"));
      assert.equal(mint(SECRET, claims).split(".").length, 3);
      assert.equal((await server.get("/sessions", { token: token.stdout.trim() })).status, 200);
    });
  }
});
