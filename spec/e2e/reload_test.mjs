// Changing scripts while people talk: the next answer is of the new version, on the same socket; what is wrong stays
// out and is reported with file and line.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DEADLINE_MS, SOON_MS, botThatSays, serve, somebody } from "./support.mjs";

const BOT = "bots/echo.lua";
const DEVELOPMENT = { DEVELOPMENT: "true", RATE_LIMIT: "1000000" };
const TYPO = `local bot = require "bot" "echo"

bot:otherwise(function(session)
  session:reply("never seen"
end)
return bot
`;

/** Talks until the bot answers so. Each question waits for its answer: no clock but the deadline of every answer. */
async function talksUntil(client, answer, deadline = Date.now() + DEADLINE_MS) {
  for (;;) {
    client.says("what do you say now?");
    const { content, session_id } = await client.hears("ai_response");
    client.session = session_id;
    if (content === answer) return;
    assert.ok(Date.now() < deadline, `the bot still says ${content}`);
  }
}

const reportOf = (server, file, line) => server.log.next((l) => l.text.includes(`${file}:${line}`), `a log line with ${file}:${line}`);

describe("in development", () => {
  test("saving a script changes the next answer on the same connection", async (t) => {
    const server = await serve(t, { env: DEVELOPMENT });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    await alice.talks("hello");
    const began = Date.now();
    await server.script(BOT, botThatSays("I have changed"));
    await talksUntil(alice, "I have changed");
    assert.ok(Date.now() - began < SOON_MS, "a change is seen soon");
    await talksUntil(bob, "I have changed"); // every worker has it
    await server.script(BOT, botThatSays("and again"));
    await talksUntil(alice, "and again");
  });

  test("a new file another script asks for is found", async (t) => {
    const server = await serve(t, { env: DEVELOPMENT });
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.script("lib/greeting.lua", 'return "from a file of its own"\n');
    await server.script(BOT, `local bot = require "bot" "echo"
local greeting = require "lib.greeting"
bot:otherwise(function(session) session:reply(greeting) end)
return bot
`);
    await talksUntil(alice, "from a file of its own");
  });

  test("a typo leaves the old version answering; the log and the administrator's page say where it is", async (t) => {
    const server = await serve(t, { env: DEVELOPMENT });
    const alice = await server.join(somebody("alice"));
    const boss = await server.join(somebody("boss"), { claims: { roles: ["admin"] } });
    await alice.talks("before");
    await server.script(BOT, TYPO);
    await reportOf(server, BOT, 5);
    const told = await boss.hears("script_error");
    assert.match(told.text, /bots\/echo\.lua:5/);
    assert.match(told.version, /^[0-9a-f]{12}$/);
    await alice.talks("the old one still answers");
    alice.heardNothingOf("script_error", "error");

    await server.script(BOT, botThatSays("mended"));
    await talksUntil(alice, "mended");
  });

  const broken = {
    "returns nothing": ["", /bots\/echo/],
    "raises while it loads": ['error "not today"\n', /bots\/echo\.lua:1.*not today/],
    "has no otherwise": ['return require "bot" "echo"\n', /otherwise/],
    "asks for a file that is not there": ['return require "bots.nobody"\n', /nobody/],
    "writes a global": ["answers = {}\nreturn answers\n", /bots\/echo\.lua:1.*answers/],
    "reads an undeclared global": ["return undeclared.thing\n", /bots\/echo\.lua:1.*undeclared/],
  };
  test("a script that loads badly stays out, too", async (t) => {
    const server = await serve(t, { env: DEVELOPMENT });
    const alice = await server.join(somebody("alice"));
    for (const [what, [text, report]] of Object.entries(broken)) {
      await server.script(BOT, text);
      await server.log.next((l) => l.level === "error" && report.test(l.text), `a report of a script that ${what}`);
      await alice.talks(`the old one, though the new one ${what}`);
    }
  });

  test("a handler that fails hurts one message: a number for the user, the place for the log and the administrator", async (t) => {
    const bot = `local bot = require "bot" "echo"
bot:hears("boom", function(session)
  session:reply "never sent"
  local nothing
  return nothing.field
end)
bot:otherwise(function(session, message) session:reply(message.content) end)
return bot
`;
    const server = await serve(t, { env: DEVELOPMENT, scripts: { [BOT]: bot } });
    const alice = await server.join(somebody("alice"));
    const boss = await server.join(somebody("boss"), { claims: { roles: ["admin"] } });
    for (const person of [alice, boss]) {
      person.says("boom");
      const error = await person.hearsError("INTERNAL");
      assert.equal(error.recoverable, true);
      assert.ok(error.incident, "an incident number");
      const line = await server.log.next((l) => l.text.includes(error.incident), "the incident in the log");
      assert.match(line.text, /bots\/echo\.lua:5/);
      assert.equal(/echo\.lua:5/.test(JSON.stringify(person.heard.all)), person === boss);
      await person.talks("and on it goes");
      const said = await server.history(person.user, person.session);
      assert.deepEqual(said.map((m) => m.content), ["boom", "and on it goes", "and on it goes"]); // asked, not answered
    }
  });
});

describe("in production", () => {
  test("a saved file changes nothing; SIGHUP does", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1000000" } });
    const alice = await server.join(somebody("alice"));
    await server.script(BOT, botThatSays("reloaded"));
    await alice.talks("not yet");
    server.process.kill("SIGHUP");
    await talksUntil(alice, "reloaded");
  });

  test("SIGHUP with a typo is reported and changes nothing; an administrator's page hears nothing", async (t) => {
    const server = await serve(t);
    const boss = await server.join(somebody("boss"), { claims: { roles: ["admin"] } });
    await boss.talks("before");
    await server.script(BOT, TYPO);
    server.process.kill("SIGHUP");
    await reportOf(server, BOT, 5);
    await boss.talks("after");
    boss.heardNothingOf("script_error");
  });

  test("`chatbox reload` waits for the outcome: 0 and the new version, or not 0 and why", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");

    await server.script(BOT, TYPO);
    const failed = await server.command("reload");
    assert.notEqual(failed.code, 0);
    assert.match(failed.out + failed.err, /bots\/echo\.lua:5/);
    await alice.talks("the old one");

    await server.script(BOT, botThatSays("the new one"));
    const done = await server.command("reload");
    assert.equal(done.code, 0, done.err);
    alice.says("the very next answer");
    assert.equal((await alice.hears("ai_response")).content, "the new one");
  });

  test("`chatbox reload` without a server says so", async (t) => {
    const server = await serve(t);
    await server.stop();
    const { code, err } = await server.command("reload");
    assert.notEqual(code, 0);
    assert.match(err, /\S/);
    assert.equal(err.trim().split("\n").length, 1, err);
  });

  test("`chatbox check` finds the typo without serving", async (t) => {
    const server = await serve(t);
    assert.equal((await server.command("check")).code, 0);
    await server.script(BOT, TYPO);
    const { code, out, err } = await server.command("check");
    assert.notEqual(code, 0);
    assert.match(out + err, /bots\/echo\.lua:5/);
  });

  test("a handler that waits ends on the version it began with", async (t) => {
    const asking = (version) => `local bot = require "bot" "echo"
bot:hears("order", function(session)
  session:reply "${version}: which number?"
  local answer = session:ask { within = "1m" }
  session:reply("${version}: " .. answer.content)
end)
bot:otherwise(function(session) session:reply "${version}" end)
return bot
`;
    const server = await serve(t, { scripts: { [BOT]: asking("old") } });
    const alice = await server.join(somebody("alice"));
    alice.says("order");
    alice.session = (await alice.hears("ai_response", { content: "old: which number?" })).session_id;
    await server.script(BOT, asking("new"));
    assert.equal((await server.command("reload")).code, 0);
    alice.says("A-17");
    await alice.hears("ai_response", { content: "old: A-17" });
    alice.says("and what else?");
    await alice.hears("ai_response", { content: "new" });
  });

  test("under load no message is lost, doubled or answered out of order", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1000000" } });
    const people = await Promise.all(Array.from({ length: 8 }, () => server.join(somebody())));
    const counts = people.map(() => 0);
    let talking = true;
    const talk = async (person, i) => {
      while (talking) await person.talks(`n${counts[i]++}`);
    };
    const all = Promise.all(people.map(talk));
    for (let i = 0; i < 5; i++) assert.equal((await server.command("reload")).code, 0);
    talking = false;
    await all;
    for (const [i, person] of people.entries()) {
      const said = await server.history(person.user, person.session);
      const want = Array.from({ length: counts[i] }, (_, n) => [`n${n}`, `n${n}`]).flat();
      assert.deepEqual(said.map((m) => m.content), want.slice(-said.length));
      assert.equal(said.length, Math.min(1000, want.length));
    }
  });
});
