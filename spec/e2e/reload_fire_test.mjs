// Reloads under fire: many connections, steady traffic, one reload after the other by every way there is, every fourth of
// scripts that are broken. Nobody is disconnected, nothing is lost or doubled, no answer comes from a broken version, and
// memory stays where it was. 20 reloads over 500 connections; with SPEC_LONG=1 (./dev test --long) 200 over 5,000.

import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { BIN, TEST_MS, serve, somebody, within } from "./support.mjs";

const LONG = Boolean(process.env.SPEC_LONG);
const RELOADS = LONG ? 200 : 20;
const CONNECTIONS = LONG ? 5000 : 500;
const TALKERS = 16; // so many wait for an answer at any time
const JOINING = 50;
const SANITIZED = /asan|tsan/.test(BIN);
const ROOM = 2 * 1024 * 1024; // bytes; a leak of one VM a reload and worker would be more

const DONE = "the order is carried out"; // as the log says it
const BOT = "bots/echo.lua";
const bot = (version) => `local bot = require "bot" "echo"
bot:hears("slowly", function(session, message)
  chat.timer.sleep "5ms"
  session:reply("${version} " .. message.content)
end)
bot:otherwise(function(session, message) session:reply("${version} " .. message.content) end)
function bot.self_test() assert(type(bot.answer) == "function", "no answer") end
return bot
`;

// What is wrong, and where the report has to point.
const BROKEN = [
  // Passes every check, starts on one worker, and not on the other: all or nothing.
  [(v) => `if chat.shared.add("loads of ${v}", 1) == 2 then error "not everywhere" end ${bot(v)}`, /echo\.lua:1: not everywhere/],
  [(v) => `${bot(v)}}`, /echo\.lua:9: /],
  [(v) => bot(v).replace("session:reply(", "sesion:reply("), /echo\.lua:4: global 'sesion' does not exist/],
  [(v) => bot(v).replace('"no answer"', "nil .. 1"), /echo\.lua:7: /],
  [(v) => bot(v).replace('== "function"', '== "table"'), /echo\.lua:7: no answer/],
  [(v) => `error "not today"\n${bot(v)}`, /echo\.lua:1: not today/],
];

/** Bytes of the process that grow for no good reason: the store keeps pages of what was said, and may. */
async function memory(server) {
  const status = await readFile(`/proc/${server.process.pid}/status`, "utf8");
  const database = path.join(server.dir, "chatbox.db");
  const stored = await Promise.all([database, `${database}-wal`].map((file) => stat(file)));
  return 1024 * Number(status.match(/RssAnon:\s+(\d+)/)[1]) - stored.reduce((sum, { size }) => sum + size, 0);
}

/** Ways to ask for a reload: each answers [done, text]. */
const triggers = (server, admin) => [
  async () => {
    const { code, out } = await server.command("reload", "--why", "fire");
    return [code === 0, out];
  },
  async () => {
    server.process.kill("SIGHUP");
    await server.log.next((l) => l.msg === "an order for the scripts" && l.who === "SIGHUP", "SIGHUP to be taken");
    const line = await server.log.next((l) => l.msg === DONE || l.msg.startsWith("reload failed"), "the outcome of SIGHUP");
    return [line.msg === DONE, line.text];
  },
  async () => {
    const { status, text } = await server.post("/admin/scripts/reload", { token: admin, body: '{"why":"fire"}' });
    return [status === 200, text];
  },
];

class Talk {
  sent = 0;
  constructor(person) {
    this.person = person;
    this.version = 0;
  }

  /** One message, its acknowledgement and its answer: exactly these. */
  async turn() {
    const n = this.sent++;
    const content = `${n % 5 === 0 ? "slowly" : "quickly"} ${n}`;
    const cid = `${this.person.user}-${n}`;
    this.person.says(content, { cid });
    await this.person.hears("ack", { cid });
    const { content: said } = await this.person.next((m) => m.type === "ai_response", "an answer");
    const [, version, rest] = said.match(/^v(\d+) (.*)$/);
    assert.equal(rest, content, "answered once, and in order");
    assert.ok(Number(version) >= this.version, `version ${version} after ${this.version}`);
    this.version = Number(version);
  }
}

test(`${RELOADS} reloads under ${CONNECTIONS} connections that talk`, { timeout: TEST_MS }, async (t) => {
  const server = await serve(t, { env: { RATE_LIMIT: "1000000", MAX_CONNECTIONS: "20000" }, scripts: { [BOT]: bot("v0") } });
  const admin = server.token("boss", { roles: ["admin"] });
  const talks = [];
  while (talks.length < CONNECTIONS) {
    const some = await Promise.all(Array.from({ length: JOINING }, () => server.join(somebody())));
    talks.push(...some.map((person) => new Talk(person)));
  }

  let talking = true;
  let turns = 0;
  let awaited = [];
  const talker = async (first) => { // each has people of its own
    for (let i = first; talking; i = i + TALKERS < talks.length ? i + TALKERS : first) {
      await talks[i].turn();
      turns++;
      awaited = awaited.filter((waiting) => turns < waiting.turns || waiting.resolve());
    }
  };
  const pass = (more) => new Promise((resolve) => awaited.push({ turns: turns + more, resolve }));
  const fire = Promise.all(Array.from({ length: TALKERS }, (_, i) => talker(i)));
  const failed = fire.then(() => new Promise(() => {})); // who waits for a reload hears of a talk that failed

  const ways = triggers(server, admin);
  const running = [0];
  let resident;
  for (let i = 1; i <= RELOADS; i++) {
    const broken = i % 4 === 0 && BROKEN[(i / 4 - 1) % BROKEN.length];
    await server.script(BOT, broken ? broken[0](`v${i}`) : bot(`v${i}`));
    const [done, text] = await Promise.race([ways[i % ways.length](), failed]);
    assert.equal(done, !broken, `reload ${i}: ${text}`);
    if (broken) assert.match(text, broken[1]);
    else running.push(i);
    const seen = talks[i % talks.length].version;
    assert.ok(running.includes(seen), `an answer of version ${seen}, which never ran`);
    await Promise.race([pass(TALKERS), failed]);
    if (i === RELOADS / 4) resident = await memory(server);
  }
  talking = false;
  await fire;
  const now = await memory(server);

  // Everybody is still there, and on the last good version; what was said is stored, each once and in order.
  await Promise.all(talks.slice(0, 100).map((talk) => talk.turn()));
  assert.deepEqual(new Set(talks.slice(0, 100).map((talk) => talk.version)), new Set([running.at(-1)]));
  for (const talk of talks) {
    assert.equal(talk.person.socket.readyState, 1, `${talk.person.user} is connected`);
    talk.person.heardNothingOf("error");
  }
  const sent = talks.reduce((sum, talk) => sum + talk.sent, 0);
  assert.equal(await server.metric("chatbox_messages_received_total"), sent);
  assert.equal(await server.metric("chatbox_websocket_connections_total"), CONNECTIONS);
  for (const talk of talks.slice(0, 100)) {
    const said = await server.history(talk.person.user, talk.person.session || talk.person.greeting.session_id);
    const asked = said.filter((m) => m.sender === "user").map((m) => m.content);
    const answered = said.filter((m) => m.sender === "ai").map((m) => m.content.replace(/^v\d+ /, ""));
    assert.deepEqual(asked, Array.from({ length: talk.sent }, (_, n) => `${n % 5 === 0 ? "slowly" : "quickly"} ${n}`));
    assert.deepEqual(answered, asked);
  }

  // Old versions are gone: one VM a worker is left, and no memory but theirs.
  const shown = (await server.get("/admin/scripts", { token: admin })).json;
  assert.deepEqual(shown.vms.map((vm) => vm.role), ["current", "current"]);
  assert.equal(shown.history[0].outcome, RELOADS % 4 === 0 ? "failed" : "running");
  const { text: metrics } = await server.get("/metrics/prometheus");
  assert.match(metrics, new RegExp(`chatbox_script_reloads_total\\{outcome="ok"\\} ${running.length - 1}\\b`));
  t.diagnostic(`${turns} answers, ${Math.round(resident / 1024)} KiB after a quarter, ${Math.round(now / 1024)} KiB at the end`);
  if (!SANITIZED) assert.ok(now < resident + ROOM, `memory grew from ${resident} to ${now}`);
  await within(Promise.all(talks.map((talk) => talk.person.leaves())), "everybody to leave");
});
