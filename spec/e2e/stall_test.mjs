// What hangs and cannot be ended: a worker, a stop, a script that loads. The process says where, and is gone in time, so
// that whatever looks after it can start it again. The guard is switched off for all of them: nothing else would hang.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, botThatSays, Server, serve, somebody, within } from "./support.mjs";

const UNGUARDED = { SCRIPT_SLICE_BUDGET: "0", SCRIPT_MESSAGE_BUDGET: "100ms" };
const BOT = "bots/echo.lua";
// ThreadSanitizer delays signals, and a signal is how a thread is asked for its line: there only the rest is looked at.
const PLACED = !BIN.includes("/tsan/");
const placed = (text, pattern) => PLACED && assert.match(text, pattern);
const HANGS = `local bot = require "bot" "echo"
local function hang()
  chat.log.info "it hangs"
  while true do end
end
bot:hears("hang at once", function() hang() end)
bot:hears("hang", function() chat.timer.sleep(1) hang() end)
bot:otherwise(function(session, message) session:reply(message.content) end)
return bot
`;
const LOADS_FOR_EVER = `local bot = require "bot" "echo"
chat.log.info "it loads"
while true do end
return bot
`;

/** A server whose end is part of the test. */
async function doomed(t, env, scripts) {
  const server = await Server.start({ env: { ...UNGUARDED, ...env }, scripts });
  t.after(async () => {
    server.process.kill("SIGKILL");
    await server.exited;
    await server.remove().catch(() => {});
  });
  return server;
}

describe("a worker that hangs", () => {
  test("ends the process with 70 and the line of the script; what was acknowledged is there afterwards", async (t) => {
    const server = await doomed(t, { WORKER_STALL_TIMEOUT: "500ms" }, { [BOT]: HANGS });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    await alice.talks("before");
    const ack = await bob.saysSurely("kept");
    alice.says("hang"); // in its second slice: the message is stored by then
    assert.deepEqual(await within(server.exited, "the process to end"), { code: 70, signal: null });
    const line = await server.log.has((l) => /stalled/.test(l.msg), "what the log says");
    placed(line.script, /^scripts\/bots\/echo\.lua:[456]\b/);
    assert.equal(line.level, "error");
    // What ran when the process ended is tried once more, and ends it once more; then it counts as failed.
    const again = await server.again();
    t.after(() => again.process.kill("SIGKILL"));
    assert.deepEqual(await within(again.exited, "the process to end over the same message"), { code: 70, signal: null });
    const next = await again.again();
    t.after(() => next.kill());
    const said = await next.history(bob.user, ack.session_id ?? bob.session);
    assert.equal(said[0].content, "kept");
  });

  test("takes a message along that was not acknowledged yet: no later start hangs over it", async (t) => {
    const server = await doomed(t, { WORKER_STALL_TIMEOUT: "500ms" }, { [BOT]: HANGS });
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    alice.says("hang at once", { cid: "c-1" });
    assert.deepEqual(await within(server.exited, "the process to end"), { code: 70, signal: null });
    assert.equal(alice.heard.all.filter((m) => m.type === "ack" && m.cid === "c-1").length, 0);
    const next = await server.again();
    t.after(() => next.kill());
    await (await next.join(alice.user)).talks("after");
    const said = await next.history(alice.user, alice.session);
    assert.deepEqual(said.map((m) => m.content).filter((text) => text.startsWith("hang")), []);
  });

  test("does not keep a stop from ending within SHUTDOWN_TIMEOUT", async (t) => {
    const server = await doomed(t, { WORKER_STALL_TIMEOUT: "10m", SHUTDOWN_TIMEOUT: "1s" }, { [BOT]: HANGS });
    const alice = await server.join(somebody("alice"));
    const { id } = await alice.saysSurely("before");
    assert.ok(id);
    alice.says("hang");
    await server.log.next((l) => l.text.includes("it hangs"), "the worker to hang");
    assert.deepEqual(await server.signal("SIGTERM"), { code: 70, signal: null });
    assert.match(server.log.all.at(-1).text, /SHUTDOWN_TIMEOUT/);
    placed(server.log.all.at(-1).text, /bots\/echo\.lua:[456]\b/);
  });

  test("is not one that has much to do: handlers that use all they may, one after the other, for longer than that", async (t) => {
    const BUSY = `local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  local began = os.clock()
  while os.clock() - began < 0.09 do end
  session:reply(message.content)
end)
return bot
`;
    const env = { SCRIPT_SLICE_BUDGET: "1s", SCRIPT_MESSAGE_BUDGET: "1s", WORKERS: "1", WORKER_STALL_TIMEOUT: "2s", RATE_LIMIT: "1000000" };
    const server = await serve(t, { env, scripts: { [BOT]: BUSY } });
    const people = [];
    for (let i = 0; i < 4; i++) people.push(await server.join(somebody("busy")));
    for (const person of people) for (let i = 0; i < 15; i++) person.says(`${i}`); // 5.4 s of work, in the inboxes at once
    for (const person of people) for (let i = 0; i < 15; i++) await person.hears("ai_response", { content: `${i}` });
    assert.equal(server.process.exitCode, null);
  });

  test("is not one that has nothing to do", async (t) => {
    const server = await serve(t, { env: { ...UNGUARDED, WORKER_STALL_TIMEOUT: "200ms", RATE_LIMIT: "1000000" } });
    const alice = await server.join(somebody("alice"));
    for (const end = Date.now() + 1000; Date.now() < end; ) await alice.talks("still here?");
    assert.equal(server.process.exitCode, null);
  });
});

/** Stops one thread of a process, which a signal cannot: whoever traces a process holds the thread it traces. */
const HOLD = `local ffi = require "ffi"
ffi.cdef "long ptrace(int request, int pid, void *at, void *with); int waitpid(int pid, int *status, int options);"
local pid = tonumber(arg[1])
if ffi.C.ptrace(16, pid, nil, nil) ~= 0 then print "refused" os.exit(1) end
ffi.C.waitpid(pid, nil, 0x40000000)
print "held" io.stdout:flush()
io.read()
`;

describe("the main thread", () => {
  test("that hangs ends the process with 70, too", async (t) => {
    const server = await doomed(t, { WORKER_STALL_TIMEOUT: "500ms" });
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    const file = `${server.dir}/hold.lua`;
    writeFileSync(file, HOLD);
    const holder = spawn(path.join(path.dirname(BIN), "lua_host"), [file, `${server.process.pid}`], { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => holder.kill("SIGKILL"));
    const said = await within(new Promise((resolve) => holder.stdout.once("data", (bytes) => resolve(`${bytes}`.trim()))), "the thread to be held");
    if (said !== "held") return t.skip("this system lets nobody trace a process");
    await server.log.next((l) => /the main thread has stalled/.test(l.msg), "the watchdog to say so");
    holder.stdin.end(); // whoever traces it hears of its end first
    assert.deepEqual(await within(server.exited, "the process to end"), { code: 70, signal: null });
  });
});

describe("a script that never has loaded", () => {
  const BRIEF = { SCRIPT_CHECK_TIMEOUT: "1s" }; // for what never loads; what does gets its time on a busy machine, too

  test("is refused by check, with its line", async (t) => {
    const server = await serve(t, { env: UNGUARDED });
    await server.script(BOT, LOADS_FOR_EVER);
    Object.assign(server.env, BRIEF);
    const { code, out, err } = await server.command("check");
    assert.equal(code, 1, err);
    assert.match(out, /SCRIPT_CHECK_TIMEOUT/);
    placed(out, new RegExp(`^${server.scripts}/bots/echo\\.lua:3: `, "m"));
    assert.match(err, /1 problem/);
  });

  test("is refused by a reload, while everything else goes on", async (t) => {
    const server = await serve(t, { env: { ...UNGUARDED, SCRIPT_CHECK_TIMEOUT: "4s" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    await server.script(BOT, LOADS_FOR_EVER);
    const reload = server.command("reload");
    await server.log.next((l) => l.msg === "an order for the scripts", "the reload to begin");
    const { code, out } = await server.command("scripts");
    assert.equal(code, 0);
    assert.match(out, /reload .*begun/);
    await alice.talks("meanwhile");
    const refused = await reload;
    assert.equal(refused.code, 1);
    assert.match(refused.out, /SCRIPT_CHECK_TIMEOUT/);
    placed(refused.out, /^scripts\/bots\/echo\.lua:3: /);
    await alice.talks("afterwards");
    await server.script(BOT, botThatSays("mended"));
    assert.equal((await server.command("reload")).code, 0);
    alice.says("and now?");
    await alice.hears("ai_response", { content: "mended" });
  });

  test("does not hold up a stop while a reload tries it", async (t) => {
    const server = await serve(t, { env: { ...UNGUARDED, SCRIPT_CHECK_TIMEOUT: "10m" } });
    await server.script(BOT, LOADS_FOR_EVER);
    const reload = server.command("reload");
    await server.log.next((l) => l.msg === "an order for the scripts", "the reload to begin");
    assert.deepEqual(await server.signal("SIGTERM"), { code: 0, signal: null });
    const { code, out } = await reload;
    assert.equal(code, 1);
    assert.match(out, /the server is stopping/);
  });

  /** chatbox run in the place of a server: its end and what it said. */
  async function run(server, signal, more) {
    const child = spawn(BIN, ["run"], { env: { ...server.env, ...more }, stdio: ["ignore", "ignore", "pipe"] });
    let err = "";
    child.stderr.on("data", (bytes) => {
      err += bytes;
      if (signal && /it loads/.test(err)) child.kill(signal);
    });
    const ended = new Promise((resolve) => child.on("close", (code, by) => resolve({ code, by, err })));
    try {
      return await within(ended, () => `the start to end: ${err}`);
    } finally {
      child.kill("SIGKILL");
    }
  }

  test("is refused by the start, with its line", async (t) => {
    const server = await serve(t, { env: UNGUARDED });
    await server.script(BOT, LOADS_FOR_EVER);
    await server.signal("SIGTERM");
    const { code, err } = await run(server, null, BRIEF);
    assert.equal(code, 1, err);
    assert.match(err, /SCRIPT_CHECK_TIMEOUT/);
    placed(err, /scripts\/bots\/echo\.lua:3: /);
  });

  test("does not keep a start from being ended by SIGTERM", async (t) => {
    const server = await serve(t, { env: UNGUARDED });
    await server.script(BOT, LOADS_FOR_EVER);
    await server.signal("SIGTERM");
    const { code, err } = await run(server, "SIGTERM", { SCRIPT_CHECK_TIMEOUT: "10m" });
    assert.equal(code, 0, err);
  });
});
