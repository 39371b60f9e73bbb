// Stopping and starting: well, badly, and not at all. What was acknowledged is there afterwards, once.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { Raw, serve, somebody, within } from "./support.mjs";

const LIMITS = { RATE_LIMIT: "1000000", INBOX_LIMIT: "100000" };

/** A server in the place of another one, gone with the test. */
async function again(t, server) {
  const next = await server.again();
  t.after(() => next.remove());
  return next;
}

describe("SIGTERM", () => {
  test("closes every connection with 1001 and ends with 0", async (t) => {
    const server = await serve(t);
    const people = await Promise.all(Array.from({ length: 5 }, () => server.join(somebody())));
    await people[0].talks("hello");
    const [ending, ...closes] = await Promise.all([server.signal("SIGTERM"), ...people.map((p) => p.ends())]);
    assert.deepEqual(ending, { code: 0, signal: null });
    for (const close of closes) assert.deepEqual(close, { code: 1001, reason: "Server shutting down" });
  });

  test("still answers a request that has begun, and does not wait long for one that never ends", async (t) => {
    const server = await serve(t);
    const half = "GET /chatbox/healthz HTTP/1.1\r\nHost: localhost\r\n";
    const begun = await Raw.open(server.port, half);
    await Raw.open(server.port, half); // says no more
    const since = performance.now();
    const ending = server.signal("SIGTERM");
    await server.log.next((line) => line.msg === "stopping", "the stop to begin");
    begun.socket.write("\r\n");
    await begun.receives(/^HTTP\/1.1 200 .*"status"/s);
    assert.deepEqual(await ending, { code: 0, signal: null });
    assert.ok(performance.now() - since >= 2000, "it waited REQUESTS_MS for the other");
  });

  test("again and again until the process is gone is the same as once, and so is SIGHUP meanwhile", async (t) => {
    for (const second of ["SIGTERM", "SIGINT", "SIGHUP"]) {
      const server = await serve(t);
      await (await server.join(somebody("alice"))).talks("hello");
      server.process.kill("SIGTERM");
      const impatient = setInterval(() => server.process.kill(second), 1);
      try {
        assert.deepEqual(await within(server.exited, "the end"), { code: 0, signal: null }, second);
      } finally {
        clearInterval(impatient);
      }
    }
  });

  test("does not wait for a client that has stopped reading", async (t) => {
    const server = await serve(t, { env: { SHUTDOWN_TIMEOUT: "3s" } });
    const alice = await server.join(somebody("alice"));
    alice.socket.pause();
    assert.deepEqual(await server.signal("SIGTERM"), { code: 0, signal: null });
    alice.socket.resume();
  });

  test("is not held up by a handler that waits", async (t) => {
    const bot = `local bot = require "bot" "echo"
bot:otherwise(function(session) session:reply "asking" session:ask { within = "5m" } end)
return bot
`;
    const server = await serve(t, { env: { SHUTDOWN_TIMEOUT: "1s" }, scripts: { "bots/echo.lua": bot } });
    const alice = await server.join(somebody("alice"));
    alice.says("hello");
    await alice.hears("ai_response", { content: "asking" });
    assert.deepEqual(await server.signal("SIGTERM"), { code: 0, signal: null });
  });

  test("takes nothing more from clients that never pause, says when to come back, and finishes what is in hand", async (t) => {
    const server = await serve(t, { env: { ...LIMITS, SHUTDOWN_TIMEOUT: "60s" } });
    const people = await Promise.all(Array.from({ length: 4 }, () => server.join(somebody())));
    let count = 0;
    for (const person of people) {
      const more = () => person.socket.readyState === 1 && person.says(`text ${++count}`, { cid: `c${count}` });
      person.socket.on("message", () => (more(), more())); // each thing it hears makes it say two
      more();
    }
    await people[0].hears("ack");
    const ending = server.signal("SIGTERM"); // half of SHUTDOWN_TIMEOUT would be longer than the test waits
    for (const person of people) {
      const bye = await person.hears("bye");
      assert.equal(bye.code, "going_away");
      assert.ok(bye.retry_after_ms > 0, JSON.stringify(bye));
      assert.equal((await person.ends()).code, 1001);
    }
    assert.deepEqual(await ending, { code: 0, signal: null });

    const later = await again(t, server);
    for (const person of people) {
      const back = await later.join(person.user, { session: person.session });
      await back.talks("the last word");
      const said = (await later.get(`/sessions/${back.session}`, { user: person.user })).json.messages;
      const acks = person.heard.all.filter((m) => m.type === "ack");
      for (const ack of acks.slice(-400)) {
        const question = said.find((m) => m.id === ack.id);
        if (!question) continue; // of an older page
        assert.equal(said.filter((m) => m.sender === "ai" && m.content === question.content).length, 1, question.content);
      }
    }
  });

  test("SIGINT is the same", async (t) => {
    const server = await serve(t);
    await server.join(somebody());
    assert.deepEqual(await server.signal("SIGINT"), { code: 0, signal: null });
  });

  test("keeps the history: the conversation goes on where it was", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    await server.signal("SIGTERM");

    const later = await again(t, server);
    const back = await later.join(alice.user);
    assert.equal(back.greeting.session_id, alice.session);
    await back.talks("after");
    const said = await later.history(alice.user, alice.session);
    assert.deepEqual(said.map((m) => m.content), ["before", "before", "after", "after"]);
  });

  test("in the middle of a storm loses nothing that was acknowledged", async (t) => {
    const server = await serve(t, { env: LIMITS });
    await storm(t, server, "SIGTERM");
  });
});

describe("kill -9", () => {
  test("between ack and answer: the next server answers, also when nobody comes back", async (t) => {
    const bot = `local bot = require "bot" "echo"
bot:otherwise(function(session, message) chat.timer.sleep(chat.config.get "SESSION_TTL" == 600000 and "0s" or "1m") session:reply("answer to " .. message.content) end)
return bot
`;
    const server = await serve(t, { scripts: { "bots/echo.lua": bot } });
    const alice = await server.join(somebody("alice"));
    const ack = await alice.saysSurely("question", "c1");
    await server.kill();
    const later = await server.again({ SESSION_TTL: "10m" });
    t.after(() => later.remove());
    await later.log.next((line) => line.msg === "messages that were left unanswered are looked at", "the recovery");
    const back = await later.join(alice.user);
    back.says("question", { cid: "c1" });
    assert.equal((await back.hears("ack", { cid: "c1" })).duplicate, true);
    await back.talksTo("next", "answer to next");
    const said = await later.history(alice.user, ack.session_id);
    assert.deepEqual(said.map((m) => m.content), ["question", "answer to question", "next", "answer to next"]);
  });

  test("loses nothing that was acknowledged; sent again, everything is there exactly once", async (t) => {
    const server = await serve(t, { env: LIMITS });
    await storm(t, server, "SIGKILL");
  });

  test("of a server that was idle leaves a store that opens", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const ack = await alice.saysSurely("stored");
    await server.kill();
    const later = await again(t, server);
    const said = await later.history(alice.user, ack.session_id);
    assert.deepEqual([said[0].id, said[0].seq, said[0].content], [ack.id, ack.seq, "stored"]);
  });
});

/** Three people send 200 messages each; the server goes down among the acknowledgements. */
async function storm(t, server, signal) {
  const people = await Promise.all(Array.from({ length: 3 }, () => server.join(somebody())));
  const cids = Array.from({ length: 200 }, (_, i) => `cid-${i}`);
  for (const person of people) for (const cid of cids) person.says(`text of ${cid}`, { cid });
  await people[0].hears("ack", { cid: "cid-40" });
  await server.signal(signal);
  await Promise.all(people.map((p) => p.ends()));

  const later = await again(t, server);
  for (const person of people) {
    const acks = person.heard.all.filter((m) => m.type === "ack");
    if (person === people[0]) assert.ok(acks.length > 40);
    if (acks.length === 0) continue;
    const id = acks[0].session_id;
    const stored = await later.history(person.user, id);
    for (const ack of acks) {
      assert.deepEqual(stored.filter((m) => m.id === ack.id).map((m) => [m.seq, m.content]), [[ack.seq, `text of ${ack.cid}`]]);
    }
    assert.deepEqual(stored.map((m) => m.seq), stored.map((_, i) => i + 1), "no gaps");

    const back = await later.join(person.user, { session: id });
    for (const cid of cids) back.says(`text of ${cid}`, { cid });
    await back.hears("ack", { cid: "cid-199" });
    await back.talks("the last word"); // what was there before it is answered by then
    const after = await later.history(person.user, id);
    const texts = [...cids.map((cid) => `text of ${cid}`), "the last word"];
    assert.deepEqual(after.filter((m) => m.sender === "user").map((m) => m.content), texts, "each once, in order");
    assert.deepEqual(after.filter((m) => m.sender === "ai").map((m) => m.content), texts, "each answered once");
  }
}

describe("a server that cannot start", () => {
  /** Starts it and expects it not to: one line that says why. */
  async function says(t, pattern, env, prepare = async () => {}) {
    const server = await serve(t);
    await server.stop();
    await prepare(server);
    server.env = { ...server.env, ...env(server) };
    const { code, err } = await server.command("run");
    assert.notEqual(code, 0);
    assert.match(err, pattern);
    const lines = err.trim().split("\n").filter((line) => !/"level":"(debug|info)"/.test(line));
    assert.equal(lines.length, 1, err);
    assert.ok(!err.includes(server.secret), "the secret is not told");
  }

  test("because the port is taken names the setting", async (t) => {
    const other = await serve(t);
    await says(t, /SERVER_PORT/, () => ({ SERVER_PORT: String(other.port) }));
  });
  test("because a value is wrong names key, value and bound", (t) => says(t, /SERVER_PORT.*99999.*65535/, () => ({ SERVER_PORT: "99999" })));
  test("because a duration is none names it", (t) => says(t, /SESSION_TTL.*soon/, () => ({ SESSION_TTL: "soon" })));
  test("because there is no secret says which setting", (t) => says(t, /JWT_SECRET/, () => ({ JWT_SECRET: "" })));
  test("because the secret is short", (t) => says(t, /JWT_SECRET.*32/, () => ({ JWT_SECRET: "a1b2c3d4" })));
  test("because the secret is a placeholder", (t) => says(t, /JWT_SECRET/, () => ({ JWT_SECRET: `REPLACE_WITH_${"x".repeat(40)}` })));
  test("because there are no scripts names the folder", (t) => says(t, /nowhere/, () => ({ SCRIPTS_DIR: "/nowhere" })));
  test("because the bot is not there names it", (t) => says(t, /nobody/, () => ({ CHATBOX_BOT: "nobody" })));
  test("because the store cannot be made names it", (t) => says(t, /nowhere/, () => ({ STORE_URL: "sqlite:/proc/nowhere/chatbox.db" })));
  test("because a script has a typo names file and line", (t) =>
    says(t, /bots\/echo\.lua:2/, () => ({}), (server) => server.script("bots/echo.lua", "local bot =\nend\n")));
  test("because the file of settings has an unknown key names its line", async (t) => {
    const server = await serve(t);
    await server.stop();
    const file = path.join(server.dir, "settings");
    await writeFile(file, "# settings\nSERVER_PROT=1\n", { mode: 0o600 });
    const { code, err } = await server.command("run", "--config", file);
    assert.notEqual(code, 0);
    assert.match(err, /SERVER_PROT/);
    assert.match(err, /2/);
  });

  test("because another one has its store; the other one goes on", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    const { code, err } = await server.command("run");
    assert.notEqual(code, 0);
    assert.match(err, /another process/);
    await alice.talks("undisturbed");
  });
});

describe("the command line", () => {
  test("prints the settings in force, without the secrets", async (t) => {
    const server = await serve(t);
    const { code, out } = await server.command("config");
    assert.equal(code, 0);
    assert.match(out, /^WORKERS=2/m);
    assert.match(out, /^SESSION_TTL=15m/m);
    assert.ok(!out.includes(server.secret));
    assert.match(out, /^JWT_SECRET=\(hidden\)/m);
  });

  test("makes a token the server takes", async (t) => {
    const server = await serve(t);
    const { code, out } = await server.command("token", "--user", "carol");
    assert.equal(code, 0);
    const carol = await server.join("carol", { token: out.trim() });
    assert.equal(carol.greeting.user_id, "carol");
  });

  test("explains itself, and says so when it is not understood", async (t) => {
    const server = await serve(t);
    for (const what of [["--help"], ["run", "--help"], ["check", "--help"], ["config", "--help"], ["token", "--help"], ["reload", "--help"]]) {
      const { code, out } = await server.command(...what);
      assert.equal(code, 0, what.join(" "));
      assert.match(out, /chatbox/);
    }
    for (const what of [["fly"], ["run", "--fast"]]) {
      const { code, err } = await server.command(...what);
      assert.notEqual(code, 0);
      assert.match(err, new RegExp(what.at(-1)));
    }
  });
});
