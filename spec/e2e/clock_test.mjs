// The wall clock of a machine is set while the server runs, a day ahead and an hour back: only what is about dates
// notices. The clock is that of libfaketime, which the test sets by writing a file; what waits goes by the other clock,
// which nobody can set, as on a real machine.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, serve, somebody } from "./support.mjs";

const LIBRARY = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
  .map((dir) => path.join(dir, "faketime/libfaketimeMT.so.1")).find((file) => existsSync(file));
const skip = !LIBRARY ? "libfaketime is not here" : /\/(asan|tsan)\//.test(BIN) && "a sanitizer takes no library before itself";

const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
const passes = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server whose clock is set by set("+1d"). */
async function serveWithClock(t, env) {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-clock-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, "clock");
  const set = async (offset) => {
    await writeFile(`${file}.new`, `${offset}\n`);
    await rename(`${file}.new`, file); // it is never read half
  };
  await set("+0");
  const clock = {
    LD_PRELOAD: LIBRARY,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_FORCE_MONOTONIC_FIX: "0", // or the library itself ends each wait of a thread at once
    FAKETIME_DISABLE_SHM: "1",
    NO_FAKE_STAT: "1",
  };
  const server = await serve(t, { env: { ...env, ...clock } });
  return { server, set };
}

/** What the server takes for now, ms. */
const clockOf = async (server) => Date.parse((await server.get("/healthz")).headers.date);

async function processorMs(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Long enough for pings, sweeps and timers of a second, in which nothing may spin. */
async function quiet(server) {
  const before = await processorMs(server.process.pid);
  await passes(2000);
  const used = (await processorMs(server.process.pid)) - before;
  assert.ok(used < 1000, `${used} ms of processor time in 2 s in which nothing happened`);
}

describe("a wall clock that is set while the server runs", { skip, concurrency: 3 }, () => {
  for (const [how, offset, ms] of [["a day ahead", "+1d", DAY_MS], ["twenty years ahead", "+20y", 20 * 365 * DAY_MS], ["an hour back", "-1h", -HOUR_MS]]) {
    test(`${how}: everybody stays, is answered in order, and comes back to the place they were at`, async (t) => {
      const exp = Math.floor(Date.now() / 1000) + 30 * 365 * 24 * 3600;
      const env = { WS_PING_PERIOD: "200ms", WS_PONG_WAIT: "30s", SESSION_TTL: "1h", SESSION_CLEANUP_INTERVAL: "100ms", RATE_LIMIT_CLEANUP_INTERVAL: "100ms" };
      const { server, set } = await serveWithClock(t, env);
      const user = somebody("alice");
      const alice = await server.join(user, { claims: { exp } });
      const silent = await server.join(somebody("silent"), { claims: { exp } });
      for (let i = 0; i < 3; i++) await alice.talks(`before ${i}`);
      alice.sends({ type: "hello", v: 2 });
      const { epoch } = await alice.hears("welcome");

      await set(offset);
      assert.ok(Math.abs((await clockOf(server)) - (Date.now() + ms)) < 60_000 + Math.abs(ms) / 100, "the clock was not set");
      await quiet(server);
      for (let i = 0; i < 3; i++) await alice.talks(`after ${i}`);
      await set("+0");
      await quiet(server);
      await alice.talks("and back");
      silent.heardNothingOf("bye", "error");
      assert.equal(silent.socket.readyState, 1);

      const said = await server.history(user, alice.session);
      assert.deepEqual(said.map((m) => m.seq), said.map((_, i) => i + 1));
      const texts = ["before 0", "before 1", "before 2", "after 0", "after 1", "after 2", "and back"].flatMap((text) => [text, text]);
      assert.deepEqual(said.map((m) => m.content), texts);
      assert.equal(new Set(said.map((m) => m.id)).size, said.length);

      const back = await server.join(user, { claims: { exp } });
      back.sends({ type: "hello", v: 2, resume: { session_id: alice.session, epoch, seq: said.length - 4 } });
      const welcome = await back.hears("welcome");
      assert.equal(welcome.recovered, true);
      for (const content of ["after 2", "and back"]) await back.hears("ai_response", { content });
    });
  }

  test("rates neither come back earlier nor last longer", async (t) => {
    const { server, set } = await serveWithClock(t, { RATE_LIMIT: "3", RATE_WINDOW: "1h" });
    const exp = Math.floor(Date.now() / 1000) + 30 * 24 * 3600;
    const alice = await server.join(somebody("alice"), { claims: { exp } });
    const bob = await server.join(somebody("bob"), { claims: { exp } });
    for (let i = 0; i < 3; i++) await alice.talks(`${i}`);
    for (const offset of ["+1d", "-1h"]) {
      await set(offset);
      alice.says("one too many");
      const { retry_after } = await alice.hearsError("TOO_MANY_REQUESTS");
      assert.ok(retry_after > HOUR_MS / 2 && retry_after <= HOUR_MS, `retry_after ${retry_after}`);
      await bob.talks("I have said little"); // two of three
    }
  });

  test("what waits goes on waiting as long as it would have", async (t) => {
    const SLOW = `local bot = require "bot" "echo"
bot:otherwise(function(session, message) chat.timer.sleep "1500ms" session:reply(message.content) end)
return bot
`;
    const { server, set } = await serveWithClock(t, {});
    await server.stop();
    await server.script("bots/echo.lua", SLOW);
    const slow = await server.again();
    t.after(() => slow.stop());
    for (const offset of ["+1d", "-1h"]) {
      await set("+0");
      const alice = await slow.join(somebody("alice"), { claims: { exp: Math.floor(Date.now() / 1000) + 30 * 24 * 3600 } });
      const began = performance.now();
      alice.says("slowly", { cid: "c1" });
      await alice.hears("ack");
      await set(offset);
      await alice.hears("ai_response");
      assert.ok(performance.now() - began >= 1490, `${offset}: it was over after ${performance.now() - began} ms`);
    }
  });

  test("the end of a token is a date: it comes with the clock, and a clock set back does not close anybody", async (t) => {
    const { server, set } = await serveWithClock(t, {});
    const now = Math.floor(Date.now() / 1000);
    const stays = await server.join(somebody("stays"), { claims: { iat: now, exp: now + 30 * 24 * 3600 } });
    const goes = await server.join(somebody("goes"), { claims: { iat: now, exp: now + 7200 } });
    await set("-1h");
    await quiet(server);
    for (const client of [stays, goes]) await client.talks("still here");
    await set("+1d");
    const bye = await goes.hears("bye");
    assert.equal(bye.code, "token_expired");
    assert.equal((await goes.closed).code, 4401);
    await stays.talks("still here");
    await set("+0");
    await stays.talks("still here");
    await (await server.join(somebody("comes"))).talks("hello");
  });
});
