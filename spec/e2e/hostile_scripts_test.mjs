// Handlers that do what nobody should (spec/support/hostile.lua), thrown at a server that others talk to meanwhile: each
// is ended within its budget, as the server's own log says; nobody else loses a word; memory comes back; it lives.
// SPEC_LONG=1: a thousand of them.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, DEADLINE_MS, ROOT, SLOWNESS, TEST_MS, budget, serve, somebody } from "./support.mjs";

const skip = BIN.includes("/tsan/") && "ThreadSanitizer delays signals, and what ends a handler is one";

const HOSTILE = await readFile(path.join(ROOT, "spec/support/hostile.lua"), "utf8");
const KINDS = [...HOSTILE.matchAll(/^hostile\.(\w+) = \{ "(\w+)"/gm)].map(([, kind, how]) => ({ kind, how }));
const COUNT = process.env.SPEC_LONG ? 1000 : KINDS.length;

// Processor time of the reference, of which this machine's is a multiple. What ends for another reason than time does so
// in a small part of the budget.
const SLICE_MS = 100;
const MESSAGE_MS = 1000;
const LATE_MS = 50; // what a handler may use beyond its budget

const BOT = `local bot = require "bot" "evil"
local hostile = require "hostile"
bot:hears("^evil (%S+) (%d+)$", function(session, message, kind)
  hostile[kind][2](tonumber(message.content:match "%d+$"), session, message.connection)
end)
bot:otherwise(function(session, message) session:reply(message.content) end)
return bot
`;

const settings = {
  CHATBOX_BOT: "evil",
  RATE_LIMIT: "1000000",
  SCRIPT_SLICE_BUDGET: budget(SLICE_MS),
  SCRIPT_MESSAGE_BUDGET: budget(MESSAGE_MS),
  SCRIPT_WAIT_DEADLINE: "2s",
  SCRIPT_ALLOCATION_LIMIT: "16MiB", // harder to keep to than the default
  SCRIPT_KILLS_MAX: "0",
  INBOX_LIMIT: "1000",
};

const start = (t, env = {}) => serve(t, { env: { ...settings, ...env }, scripts: { "hostile.lua": HOSTILE, "bots/evil.lua": BOT } });

/** Throws handler number i and waits for its end. */
async function attack(client, i) {
  const { kind } = KINDS[i % KINDS.length];
  client.says(`evil ${kind} ${i}`);
  const { error } = await client.next((m) => m.type === "error", `the end of ${kind} ${i}`);
  assert.equal(error.code, "INTERNAL", `${kind}: ${JSON.stringify(error)}`);
  assert.equal(error.recoverable, true);
  assert.match(error.incident, /^[0-9a-f]{12}$/);
  return { kind, how: KINDS[i % KINDS.length].how, incident: error.incident };
}

/**
 * The same, and a hoard is filled: what it has kept when it is ended for time stays; at the limit the scripts start anew.
 * → one for each time it was thrown
 */
async function attackUntilFull(server, client, i) {
  const all = [await attack(client, i)];
  const { how } = all[0];
  while (how === "hoard") {
    const { incident } = all.at(-1);
    const line = await server.log.next((l) => l.incident === incident, `the record of incident ${incident}`);
    if (line.kind === "memory") break;
    all.push(await attack(client, i));
  }
  return all;
}

/** Talks until told to stop. How often it was answered: every time. */
async function talk(client, going) {
  let answered = 0;
  while (going()) {
    const content = `word ${answered}`;
    client.says(content);
    await client.next((m) => m.type === "ai_response" && m.content === content, `the answer to ${content}`);
    answered++;
  }
  return answered;
}

/** What the log says of an incident. */
async function checkRecord(server, { kind, how, incident }) {
  const line = await server.log.has((l) => l.incident === incident, `the record of incident ${incident} of ${kind}`);
  assert.match(line.traceback, /scripts\//, kind);
  assert.ok(line.version, kind);
  if (how === "error") return;
  assert.equal(line.msg, "a handler was ended", `${kind}: ${line.traceback}`);
  assert.match(line.kind, /^(time|memory|wait)$/);
  assert.ok(Number(line.cpu_ms) <= (SLICE_MS + LATE_MS) * SLOWNESS, `${kind}: ${line.text}`);
  assert.ok(Number(line.message_cpu_ms) <= (MESSAGE_MS + SLICE_MS + LATE_MS) * SLOWNESS, `${kind}: ${line.text}`);
  if (kind !== "hoard" && how !== "any" && !kind.startsWith("sleeps")) assert.equal(line.kind, how, kind);
}

describe("hostile handlers", { skip }, () => {
  test(`${COUNT} of them, of ${KINDS.length} kinds, end in time, and the others go on`, { timeout: TEST_MS }, async (t) => {
    const server = await start(t);
    const before = await server.metric("chatbox_script_memory_bytes");
    const ordinary = await Promise.all(Array.from({ length: 6 }, () => server.join(somebody("ordinary"))));
    const evil = await Promise.all(Array.from({ length: 3 }, () => server.join(somebody("evil"))));
    let going = true;
    const talking = ordinary.map((client) => talk(client, () => going));
    const ended = [];
    let next = 0;
    await Promise.all(evil.map(async (client) => {
      while (next < COUNT) ended.push(...(await attackUntilFull(server, client, next++)));
    }));
    going = false;
    const answered = await Promise.all(talking);
    for (const count of answered) assert.ok(count > COUNT / 10, `${count} answers beside ${COUNT} attacks`);
    for (const one of ended) await checkRecord(server, one);
    const killed = ended.filter(({ how }) => how !== "error").length;
    assert.equal(server.log.all.filter((l) => l.msg === "a handler was ended").length, killed);

    // Nobody else heard of it, and the collector takes what is left when there is ordinary work.
    for (const client of ordinary) client.heardNothingOf("error");
    const deadline = Date.now() + 2 * DEADLINE_MS;
    for (let memory = Infinity; memory > before + 8 * 2 ** 20; memory = await server.metric("chatbox_script_memory_bytes")) {
      assert.ok(Date.now() < deadline, `${memory} bytes stay in the scripts' memory, ${before} before`);
      await Promise.all(ordinary.map((client) => Promise.all(Array.from({ length: 50 }, (_, i) => client.talks(`after ${i}`)))));
    }
  });

  test("a slice that is ended leaves nothing, and what the user said is stored", async (t) => {
    const server = await start(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await attack(alice, KINDS.findIndex(({ kind }) => kind === "appends"));
    alice.heardNothingOf("evil");
    await alice.talks("and on");
    const said = (await server.history(alice.user, alice.session)).map((m) => m.content);
    assert.deepEqual(said, ["hello", "hello", said[2], "and on", "and on"]);
    assert.match(said[2], /^evil appends/);
  });

  test("who overruns again and again is put aside, and chatbox scripts enable brings it back", async (t) => {
    const server = await start(t, { SCRIPT_KILLS_MAX: "3", SCRIPT_ASIDE_TEXT: "closed for repairs" });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    for (let i = 0; i < 3; i++) await attack(i % 2 ? alice : bob, 0);
    const { name } = await server.log.next((l) => l.msg.startsWith("put aside"), "the log to say so");
    assert.match(name, /^bot:evil hears /); // one rule of it: the others go on
    for (const client of [alice, bob]) {
      client.says(name.slice("bot:evil hears ".length));
      await client.hears("ai_response", { content: "closed for repairs" });
      await client.talks("hello?");
      client.sends({ type: "ping" });
      await client.hears("pong");
    }
    assert.equal(await server.metric("chatbox_scripts_aside"), 1);
    assert.equal(await server.metric("chatbox_scripts_aside_name"), 1);
    assert.ok((await server.command("scripts")).out.includes(`${name} is put aside`));
    assert.equal((await server.command("scripts", "enable", "bot:nobody")).code, 1);
    const { code, out } = await server.command("scripts", "enable", "bot:evil");
    assert.equal(code, 0);
    assert.match(out, /bot:evil answers again/);
    await attack(alice, 0);
    assert.equal(await server.metric("chatbox_scripts_aside"), 0);
  });
});

test("the log says once, at the start, whether scripts are compiled", async (t) => {
  for (const [env, manner] of [[{}, /^(compiled|interpreted): this LuaJIT/], [{ SCRIPT_SLICE_BUDGET: "0" }, /^compiled: .*nothing/]]) {
    const server = await serve(t, { env });
    const lines = server.log.all.filter((l) => l.msg === "how scripts run");
    assert.equal(lines.length, 1);
    assert.match(lines[0].manner, manner);
  }
});
