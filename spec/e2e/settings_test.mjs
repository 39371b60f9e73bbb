// Every setting that is a time, a number or a size at both ends of its bounds, on a running server: it starts, somebody
// talks, nobody is cut, nothing spins, it stops. Why: a product of a long time and a high rate that wraps becomes a wait
// that is over at once, or never; the sanitizers look on. All of a kind are at one end together, because each costs a
// server; with SPEC_LONG each has a server of its own as well.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { BIN, Client, Server, TEST_MS, rawJoin, somebody, within } from "./support.mjs";

/** { name, type, min, max } of each setting that has bounds, from the program itself. */
const TABLE = [...execFileSync(BIN, ["docs", "settings"]).toString().matchAll(/^\| `(\w+)` \| (duration|number|size) \| `[^`]*` \| (\S+) to (\S+) \|/gm)]
  .map(([, name, type, min, max]) => ({ name, type, min, max }));

/** What has to be said with one, because they are checked together. */
const BESIDE = { "WS_PING_PERIOD max": { WS_PONG_WAIT: "1h", WS_PING_PERIOD: "59m" }, "WS_PONG_WAIT min": { WS_PONG_WAIT: "101ms", WS_PING_PERIOD: "100ms" } };
/** What a busy machine may do at the lower end is no failure: these leave too little time for it. */
const HURRIED = new Set(["WORKER_STALL_TIMEOUT", "SCRIPT_CHECK_TIMEOUT", "SCRIPT_SLICE_BUDGET", "SCRIPT_MESSAGE_BUDGET"]);
/** More threads and memory than a test should take. */
const HUGE = new Set(["WORKERS", "STORE_READERS"]);

const settings = (rows, end) => Object.assign({}, ...rows.map((row) => ({ [row.name]: row[end] })), ...rows.map(({ name }) => BESIDE[`${name} ${end}`] ?? {}));

/** Processor time of a process so far, in ms. */
async function processorMs(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10; // ticks of 1/100 s
}
const passes = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Somebody comes and is answered. With hurried times it may take several tries. */
async function talks(server, tries) {
  const alice = somebody("alice"); // the same each time: a limiter may have room for one
  for (let i = 1; ; i++) {
    let client;
    try {
      client = await Client.connect(server, alice);
      await client.hears("connection_status");
      client.says("hello");
      await client.hears("ai_response", { content: "hello" });
      return client;
    } catch (error) {
      client?.socket.terminate();
      if (i >= tries) throw error;
      await passes(100); // a limit of one a second has to let the next one in
    }
  }
}

/** quiet: so many ms nobody says anything, and neither is anybody cut nor does anything spin. */
async function lives(env, { quiet = 0, tries = 1, codes = [0] } = {}) {
  const server = await Server.start({ env });
  try {
    const alice = await talks(server, tries);
    if (quiet) {
      let cut = null;
      const watched = {
        "one who talked": alice.closed,
        "one who does not answer pings": (await rawJoin(server, somebody("mute"))).closed,
        "half a request": (await server.raw("GET /")).closed,
        "one who may ask again": (await server.raw("GET /chatbox/healthz HTTP/1.1\r\nHost: x\r\n\r\n")).closed,
      };
      for (const [who, closed] of Object.entries(watched)) closed.then(() => (cut = who));
      const before = await processorMs(server.process.pid);
      await passes(quiet);
      const used = (await processorMs(server.process.pid)) - before;
      assert.ok(used < quiet / 2, `${used} ms of processor time in ${quiet} ms in which nothing happened`);
      assert.equal(cut, null);
      assert.equal((await server.get("/healthz")).status, 200);
    }
    const { code, signal } = await server.stop();
    assert.ok(signal === null && codes.includes(code), `it ended with ${signal ?? code}: ${server.noise.join("\n")}`);
  } finally {
    server.process.kill("SIGKILL");
    await server.exited;
    await server.remove().catch(() => {});
  }
}

describe("at the ends of their bounds", () => {
  const of = (...types) => TABLE.filter(({ name, type }) => types.includes(type) && !HUGE.has(name));

  test("the table has them all", () => {
    for (const type of ["duration", "number", "size"]) assert.ok(of(type).length >= 10, type);
    assert.ok(TABLE.some(({ name }) => name === "SHUTDOWN_TIMEOUT"));
  });

  test("all times as long as they may be: nothing is over at once, nothing spins", () =>
    lives(settings(of("duration"), "max"), { quiet: 2500 }));

  test("nor when pings are frequent and an answer may take as long as can be", () =>
    lives({ ...settings(of("duration"), "max"), WS_PING_PERIOD: "100ms" }, { quiet: 2500 }));

  test("all rates, numbers and sizes as high as they may be, and times as long", () =>
    lives({ ...settings(of("duration", "number", "size"), "max"), SERVER_PORT: "0" }, { quiet: 500 }));

  test("all times as short as they may be: it starts, answers and stops", () =>
    lives(settings(of("duration").filter(({ name }) => !HURRIED.has(name)), "min"), { tries: 50, codes: [0, 70] }));

  // The server's own reads may fill a queue of the store that holds one, so it takes several tries; and each is a connection.
  test("all numbers and sizes as small as they may be", () =>
    lives(settings(of("number", "size").filter(({ name }) => !/CONNECT_RATE/.test(name)), "min"), { tries: 50 }));

  test("a limit at its highest rate and longest window: who is over it waits no longer than that", async (t) => {
    const server = await Server.start({ env: { RATE_LIMIT: "1", RATE_WINDOW: "24h" } });
    t.after(() => server.remove());
    const alice = await talks(server, 1);
    alice.says("again");
    const { retry_after } = await alice.hearsError("TOO_MANY_REQUESTS");
    assert.ok(retry_after > 0 && retry_after <= 24 * 3600 * 1000, `${retry_after}`);
  });

  test("each by itself", { skip: !process.env.SPEC_LONG && "takes two minutes: SPEC_LONG", timeout: TEST_MS }, async (t) => {
    for (const row of TABLE) {
      for (const end of ["min", "max"]) {
        const hurried = row.type === "duration" && end === "min";
        const env = row.name === "SERVER_PORT" ? { SERVER_PORT: "0" } : settings([row], end);
        await t.test(`${row.name}=${row[end]}`, () => within(lives(env, hurried ? { tries: 50, codes: [0, 70] } : {}), row.name, TEST_MS));
      }
    }
  });
});
