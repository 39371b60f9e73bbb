// Every setting that is a duration, on a running server: what is waited for happens, and never earlier than promised.
// Time is what these tests are about, so they wait for it; but each waits for an event, with a lower bound that is the
// promise and an upper one that only finds out what hangs. The title begins with the name of the setting: that is how
// the table of settings names its test (core/config/duration_tests.h). They wait side by side.

import assert from "node:assert/strict";
import net from "node:net";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, DEFAULTS, PREFIX, Server, botThatSays, closeCode, frame, lockDatabase, queryDatabase, rawJoin, serve, somebody, within } from "./support.mjs";

const now = () => performance.now();
const ECHO = "bots/echo.lua";
const HEALTH = `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`;
const TSAN = BIN.includes("/tsan/") && "ThreadSanitizer delays signals, and what ends a handler is one";
const bot = (body) => ({
  [ECHO]: `local bot = require "bot" "echo"
bot:otherwise(function(session, message) session:reply(message.content) end)
${body}
return bot
`,
});
const BURN = `local function burn(ms)
  local first = os.clock()
  while (os.clock() - first) * 1000 < ms do end
end
`;

/** What since has waited for is there: not before `least` ms are over. */
function notBefore(since, least, what) {
  const took = now() - since;
  assert.ok(took >= least, `${what} after ${took} ms, promised were ${least}`);
}

/** So long nothing is done: for what has to stay as it is. */
const passes = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server that may end as it likes. */
async function doomed(t, options) {
  const server = await Server.start(options);
  t.after(async () => {
    server.process.kill("SIGKILL");
    await server.exited;
    await server.remove().catch(() => {});
  });
  return server;
}

describe("a duration", { concurrency: 6 }, () => {
  test("CLOSE_GRACE_MS: who does not answer a close is cut after 5 s", async (t) => {
    const server = await serve(t);
    const user = somebody();
    const raw = await rawJoin(server, user);
    const since = now();
    assert.equal((await server.command("erase", "--user", user)).code, 0);
    await raw.receives((buffer) => closeCode({ received: buffer }) === 4403);
    await raw.ends();
    notBefore(since, 5000, "the end");
  });

  test("CONTROL_IDLE_MS: a command that says nothing for 10 s is hung up on", async (t) => {
    const server = await serve(t);
    const since = now();
    const socket = net.connect(path.join(server.dir, "chatbox.sock"));
    await within(new Promise((resolve) => socket.resume().on("close", resolve)), "the hang-up");
    notBefore(since, 10000, "the hang-up");
  });

  test("WS_PING_PERIOD: so long lies between two pings, not less", async (t) => {
    const server = await serve(t, { env: { WS_PING_PERIOD: "300ms", WS_PONG_WAIT: "60s" } });
    const since = now();
    const alice = await server.join(somebody("alice"));
    for (let count = 1; count <= 6; count++) {
      await within(new Promise((resolve) => alice.socket.once("ping", resolve)), "a ping");
      notBefore(since, 300 * count, `${count} pings`);
    }
  });

  test("WS_PONG_WAIT: who says nothing for so long is cut, and nobody earlier, whenever it spoke last", async (t) => {
    const server = await serve(t, { env: { WS_PING_PERIOD: "1s", WS_PONG_WAIT: "1200ms", WORKERS: "1" } });
    const raw = await rawJoin(server, somebody());
    await raw.receives((buffer) => buffer.includes(Buffer.of(0x89, 0)));
    await passes(300); // the server sleeps meanwhile, and so does its clock of the turn
    const since = now();
    raw.socket.write(frame(10, ""));
    await raw.ends();
    notBefore(since, 1200, "the end");
  });

  test("WS_PONG_WAIT: who answers every ping stays, however near the two settings are", async (t) => {
    const server = await serve(t, { env: { WS_PING_PERIOD: "900ms", WS_PONG_WAIT: "1s" } });
    const alice = await server.join(somebody("alice"));
    let pings = 0;
    const six = new Promise((resolve) => alice.socket.on("ping", () => ++pings === 6 && resolve("stays")));
    assert.equal(await within(Promise.race([six, alice.closed]), "six pings"), "stays");
    await alice.talks("still here");
  });

  test("WS_PONG_WAIT: a machine that slept closes nobody who answers", async (t) => {
    const server = await serve(t, { env: { WS_PING_PERIOD: "300ms", WS_PONG_WAIT: "1s", HTTP_IDLE_TIMEOUT: "1s" } });
    const alice = await server.join(somebody("alice"));
    let pings = 0;
    await within(new Promise((resolve) => alice.socket.once("ping", resolve)), "a ping");
    server.process.kill("SIGSTOP");
    await passes(2500);
    server.process.kill("SIGCONT");
    const more = new Promise((resolve) => alice.socket.on("ping", () => ++pings === 5 && resolve("stays")));
    assert.equal(await within(Promise.race([more, alice.closed]), "pings after the sleep"), "stays");
    await alice.talks("good morning");
  });

  test("HANDSHAKE_TIMEOUT: so long a request has to be complete, the first and any other", async (t) => {
    const server = await serve(t, { env: { HANDSHAKE_TIMEOUT: "700ms", HTTP_IDLE_TIMEOUT: "1h" } });
    let since = now();
    const first = await server.raw("GET /");
    await first.ends();
    notBefore(since, 700, "the end of who sent half a request");
    const kept = await server.raw(HEALTH);
    await kept.receives(/"healthy"[^}]*}/);
    await passes(1000); // between two requests another time counts
    since = now();
    kept.socket.write("GET /");
    await kept.ends();
    notBefore(since, 700, "the end of the second request");
  });

  test("HTTP_IDLE_TIMEOUT: so long a connection may wait for its next request", async (t) => {
    const server = await serve(t, { env: { HTTP_IDLE_TIMEOUT: "1s", HANDSHAKE_TIMEOUT: "600s" } });
    const since = now();
    const raw = await server.raw(HEALTH);
    await raw.receives(/"healthy"[^}]*}/);
    await raw.ends();
    notBefore(since, 1000, "the end");
  });

  test("RATE_BURST: so much time's worth of the rates may be spent at once", async (t) => {
    const env = { ...DEFAULTS, CONNECTION_BYTE_RATE: "1GiB", USER_BYTE_RATE: "1GiB", CONNECTION_WORK_RATE: "5", RATE_BURST: "2s", RATE_LIMIT: "1000000" };
    const server = await serve(t, { env });
    const since = now();
    const alice = await server.join(somebody("alice"));
    let said = 0;
    let refused;
    while (!refused) {
      alice.says(`${++said}`);
      const m = await alice.next((x) => x.type === "error" || (x.type === "ai_response" && x.content === `${said}`));
      refused = m.type === "error" && m;
    }
    assert.equal(refused.error.code, "TOO_MANY_REQUESTS");
    assert.ok(said > 10, `the ${said}th was refused, 10 are 2 s worth of 5 a second`);
    assert.ok(said <= 11 + Math.ceil((now() - since) / 200), `${said} in ${now() - since} ms`);
    assert.ok(refused.error.retry_after > 0 && refused.error.retry_after <= 200, JSON.stringify(refused));
  });

  test("RATE_WINDOW: so long what was said counts; retry_after is neither too short nor too long", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "2", RATE_WINDOW: "1s" } });
    const alice = await server.join(somebody("alice"));
    const since = now();
    for (const word of ["one", "two", "three"]) alice.says(word);
    const { error } = await alice.next((m) => m.type === "error", "the refusal");
    assert.ok(error.retry_after > 0 && error.retry_after <= 1000, JSON.stringify(error));
    await passes(error.retry_after);
    await alice.talks("three"); // not refused again
    notBefore(since, 1000, "the third message was taken");
  });

  test("RATE_LIMIT_CLEANUP_INTERVAL: so often limiters forget who has been quiet for a window", async (t) => {
    const since = now();
    const env = { RATE_LIMIT_CLEANUP_INTERVAL: "700ms", RATE_WINDOW: "1ms", LOG_LEVEL: "debug" };
    const server = await serve(t, { env });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.log.next((l) => /limiters are cleaned up/.test(l.msg) && Number(l.forgotten) > 0, "the clean-up");
    notBefore(since, 700, "the clean-up");
    const bob = await server.join(somebody("bob"));
    await bob.talks("hello");
    await server.log.next((l) => /limiters are cleaned up/.test(l.msg) && Number(l.forgotten) > 0, "the next clean-up");
    notBefore(since, 1400, "the next clean-up");
  });

  test("SESSION_TTL: so long a conversation that everybody has left stays in memory", async (t) => {
    const server = await serve(t, { env: { SESSION_TTL: "800ms", SESSION_CLEANUP_INTERVAL: "50ms", WORKERS: "1" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await passes(300);
    const since = now();
    await alice.leaves();
    await server.log.next((l) => /idle conversations have left memory/.test(l.msg), "it to leave memory");
    notBefore(since, 800, "it left memory");
    assert.equal((await server.history(alice.user, alice.session)).length, 2, "it stays in the store");
  });

  test("SESSION_CLEANUP_INTERVAL: so often idle conversations are looked for", async (t) => {
    const since = now();
    const server = await serve(t, { env: { SESSION_TTL: "10ms", SESSION_CLEANUP_INTERVAL: "900ms" } });
    for (let count = 1; count <= 2; count++) {
      const alice = await server.join(somebody("alice"));
      await alice.talks("hello");
      await alice.leaves();
      await server.log.next((l) => /idle conversations have left memory/.test(l.msg), "the sweep");
      notBefore(since, 900 * count, `sweep ${count}`);
    }
  });

  test("STORE_TIMEOUT: so long a message waits for a database that is away", async (t) => {
    const server = await serve(t, { env: { STORE_TIMEOUT: "1200ms" } });
    const alice = await server.join(somebody("alice"));
    await alice.saysSurely("before");
    const free = await lockDatabase(server);
    if (!free) return t.skip("there is no python3 with sqlite3 to lock a database with");
    const since = now();
    alice.says("too late", { cid: "c2" });
    await alice.hearsError("DATABASE_ERROR");
    notBefore(since, 1200, "the refusal");
    await free();
  });

  test("ANSWER_LATE_MAX: what waited longer for a server is not answered, what waited less is", async (t) => {
    const scripts = bot(`bot:otherwise(function(session, message)
  if chat.config.get "SESSION_TTL" == 900000 then chat.timer.sleep "1m" end
  session:reply("answer to " .. message.content)
end)`);
    for (const [max, answered] of [["40ms", []], ["1h", ["answer to question"]]]) {
      const server = await doomed(t, { scripts });
      const alice = await server.join(somebody("alice"));
      const ack = await alice.saysSurely("question");
      await server.kill();
      await passes(50);
      const later = await server.again({ ANSWER_LATE_MAX: max, SESSION_TTL: "10m" });
      t.after(() => later.stop());
      const back = await later.join(alice.user);
      await back.talksTo("next", "answer to next");
      const said = (await later.history(alice.user, ack.session_id)).map((m) => m.content);
      assert.deepEqual(said, ["question", ...answered, "next", "answer to next"], max);
    }
  });

  test("RETENTION_CLEANUP_INTERVAL: so often what is older than RETENTION_DAYS is looked for", async (t) => {
    const since = now();
    const server = await serve(t, { env: { RETENTION_DAYS: "1", RETENTION_CLEANUP_INTERVAL: "900ms", SESSION_TTL: "10ms", SESSION_CLEANUP_INTERVAL: "10ms" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await alice.leaves();
    await server.log.next((l) => /idle conversations have left memory/.test(l.msg), "it to leave memory");
    if ((await queryDatabase(server, "UPDATE sessions SET lastActivity = 1")) !== 0) return t.skip("there is no python3 with sqlite3 to age a conversation with");
    await server.log.next((l) => l.component === "erasure", "it to be erased");
    notBefore(since, 900, "it was erased");
  });

  test("SCRIPT_DRAIN_TIMEOUT: so long handlers of the version before may go on", async (t) => {
    const scripts = bot(`bot:otherwise(function(session) session:reply "waiting" chat.timer.sleep "1m" end)`);
    const server = await serve(t, { env: { SCRIPT_DRAIN_TIMEOUT: "800ms" }, scripts });
    const alice = await server.join(somebody("alice"));
    await alice.talksTo("hello", "waiting");
    await server.script(ECHO, botThatSays("new"));
    const since = now();
    const reload = server.command("reload");
    await server.log.next((l) => /handlers of an old version are cancelled/.test(l.msg) && Number(l.handlers) === 1, "the handler to be cancelled");
    notBefore(since, 800, "it was cancelled");
    assert.equal((await reload).code, 0);
    await alice.talksTo("hello", "new");
  });

  test("SCRIPT_CHECK_TIMEOUT: so long scripts may load", async (t) => {
    const server = await serve(t, { env: { SCRIPT_SLICE_BUDGET: "0", SCRIPT_MESSAGE_BUDGET: "100ms" } });
    await server.script(ECHO, "while true do end");
    server.env.SCRIPT_CHECK_TIMEOUT = "700ms";
    const since = now();
    const { code, out } = await server.command("check");
    notBefore(since, 700, "the refusal");
    assert.equal(code, 1);
    assert.match(out, /SCRIPT_CHECK_TIMEOUT/);
  });

  test("SCRIPT_SLICE_BUDGET: so much processor time a handler has in one go", { skip: TSAN }, async (t) => {
    const scripts = bot(`${BURN}bot:hears("much", function(session) burn(60000) end)
bot:hears("little", function(session) burn(100) session:reply "done" end)`);
    const server = await serve(t, { env: { SCRIPT_SLICE_BUDGET: "400ms" }, scripts });
    const alice = await server.join(somebody("alice"));
    await alice.talksTo("little", "done");
    const since = now();
    alice.says("much");
    const { incident } = await alice.hearsError("INTERNAL");
    notBefore(since, 400, "its end");
    const line = await server.log.next((l) => l.incident === incident, "why");
    assert.match(line.text, /SCRIPT_SLICE_BUDGET/);
  });

  test("SCRIPT_MESSAGE_BUDGET: so much it has for one message, however often it waits", { skip: TSAN }, async (t) => {
    const scripts = bot(`${BURN}bot:hears("much", function() while true do burn(20) chat.timer.sleep(0) end end)
bot:hears("little", function(session) for _ = 1, 5 do burn(20) chat.timer.sleep(0) end session:reply "done" end)`);
    const server = await serve(t, { env: { SCRIPT_SLICE_BUDGET: "10s", SCRIPT_MESSAGE_BUDGET: "500ms" }, scripts });
    const alice = await server.join(somebody("alice"));
    await alice.talksTo("little", "done");
    const since = now();
    alice.says("much");
    const { incident } = await alice.hearsError("INTERNAL");
    notBefore(since, 500, "its end");
    const line = await server.log.next((l) => l.incident === incident, "why");
    assert.match(line.text, /SCRIPT_MESSAGE_BUDGET/);
  });

  test("SCRIPT_WAIT_DEADLINE: so long a handler may wait", async (t) => {
    const scripts = bot(`bot:hears("long", function() chat.timer.sleep "1m" end)
bot:hears("short", function(session) chat.timer.sleep(300) session:reply "done" end)`);
    const server = await serve(t, { env: { SCRIPT_WAIT_DEADLINE: "900ms" }, scripts });
    const alice = await server.join(somebody("alice"));
    await alice.talksTo("short", "done");
    const since = now();
    alice.says("long");
    const { incident } = await alice.hearsError("INTERNAL");
    notBefore(since, 900, "its end");
    const line = await server.log.next((l) => l.incident === incident, "why");
    assert.match(line.text, /SCRIPT_WAIT_DEADLINE/);
  });

  test("SCRIPT_KILLS_WINDOW: kills further apart than that put nothing aside, nearer ones do", async (t) => {
    const scripts = bot(`bot:otherwise(function() chat.timer.sleep "1m" end)`);
    const env = { SCRIPT_WAIT_DEADLINE: "100ms", SCRIPT_KILLS_MAX: "2" };
    const kill = async (client) => {
      client.says("hello");
      const m = await client.next((x) => x.type === "error" || x.type === "ai_response", "an end");
      return m.type === "error" ? m.error.code : m.content;
    };
    const far = await serve(t, { env: { ...env, SCRIPT_KILLS_WINDOW: "50ms" }, scripts });
    const alice = await far.join(somebody("alice"));
    for (let i = 0; i < 4; i++) assert.equal(await kill(alice), "INTERNAL"); // each takes longer than the window
    const near = await serve(t, { env: { ...env, SCRIPT_KILLS_WINDOW: "24h", SCRIPT_ASIDE_TEXT: "put aside" }, scripts });
    const bob = await near.join(somebody("bob"));
    for (let i = 0; i < 2; i++) assert.equal(await kill(bob), "INTERNAL");
    assert.equal(await kill(bob), "put aside");
  });

  test("WORKER_STALL_TIMEOUT: so long a worker may not come round", async (t) => {
    const scripts = bot(`bot:hears("hang", function() while true do end end)`);
    const server = await doomed(t, { env: { WORKER_STALL_TIMEOUT: "800ms", SCRIPT_SLICE_BUDGET: "0", SCRIPT_MESSAGE_BUDGET: "100ms" }, scripts });
    const alice = await server.join(somebody("alice"));
    const since = now();
    alice.says("hang");
    assert.deepEqual(await within(server.exited, "the process to end"), { code: 70, signal: null });
    notBefore(since, 800, "its end");
  });

  test("SHUTDOWN_TIMEOUT: so long a stop may take, whatever hangs", async (t) => {
    const scripts = bot(`bot:hears("hang", function() chat.log.info "it hangs" while true do end end)`);
    const env = { WORKER_STALL_TIMEOUT: "10m", SHUTDOWN_TIMEOUT: "900ms", SCRIPT_SLICE_BUDGET: "0", SCRIPT_MESSAGE_BUDGET: "100ms" };
    const server = await doomed(t, { env, scripts });
    const alice = await server.join(somebody("alice"));
    alice.says("hang");
    await server.log.next((l) => l.text.includes("it hangs"), "the worker to hang");
    const since = now();
    assert.deepEqual(await server.signal("SIGTERM"), { code: 70, signal: null });
    notBefore(since, 900, "its end");
  });

  test("SHUTDOWN_TIMEOUT: half of it handlers have to finish", async (t) => {
    const scripts = bot(`bot:otherwise(function(session) session:reply "waiting" chat.timer.sleep(500) session:reply "finished" end)`);
    const server = await serve(t, { env: { SHUTDOWN_TIMEOUT: "60s" }, scripts });
    const alice = await server.join(somebody("alice"));
    await alice.talksTo("hello", "waiting");
    const ending = server.signal("SIGTERM");
    await alice.hears("ai_response", { content: "finished" });
    assert.equal((await alice.ends()).code, 1001);
    assert.deepEqual(await ending, { code: 0, signal: null });
  });

  test("JWT_LEEWAY: so much longer than its end a token holds", async (t) => {
    const server = await serve(t, { env: { JWT_LEEWAY: "2s" } });
    const exp = Math.floor(Date.now() / 1000);
    const alice = await server.join(somebody("alice"), { claims: { exp } });
    assert.equal((await alice.hears("bye")).code, "token_expired");
    assert.ok(Date.now() >= (exp + 2) * 1000, `it ended at ${Date.now()}, it held until ${exp + 2}`);
  });

  // Constants: docs/limits.md has the list.
  test("LINGER_MS: the last answer may be read for 2 s, then the connection is gone", async (t) => {
    const server = await serve(t);
    const socket = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    const ended = new Promise((resolve) => socket.on("end", resolve));
    const gone = new Promise((resolve) => socket.on("error", resolve).on("close", resolve));
    const since = now();
    socket.write("nonsense\r\n\r\n");
    socket.resume();
    await within(ended, "the answer's end");
    const knock = setInterval(() => socket.writable && socket.write("x"), 50);
    await within(gone, "the connection to be gone").finally(() => clearInterval(knock));
    notBefore(since, 2000, "it was gone");
  });

  test("STEP_MS: at a stop clients are told to come back in 250 ms to 4 s", async (t) => {
    const server = await serve(t);
    const people = await Promise.all(Array.from({ length: 5 }, () => server.join(somebody())));
    server.process.kill("SIGTERM");
    for (const person of people) {
      const { retry_after_ms } = await person.hears("bye");
      assert.ok(retry_after_ms >= 250 && retry_after_ms <= 4000, `${retry_after_ms}`);
    }
  });

  test("FRESH_MS: the probes ask the store at most four times a second and worker", async (t) => {
    const since = now();
    const server = await serve(t, { env: { WORKERS: "1" } });
    while (now() - since < 1500) assert.equal((await server.get("/readyz")).status, 200);
    const { text } = await server.get("/metrics/prometheus");
    const pings = Number(/^chatbox_store_\w*seconds_count\{kind="ping"\} (\d+)$/m.exec(text)?.[1]);
    assert.ok(pings >= 1 && pings <= 1 + (now() - since) / 250, `${pings} pings in ${now() - since} ms`);
  });
});
