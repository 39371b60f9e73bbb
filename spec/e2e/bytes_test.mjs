// What leaves the server is text that every client can read: a script that says bytes which are no UTF-8 is told its own
// line, its user stays connected and nothing of it is stored. What an earlier version stored is shown mended.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, test } from "node:test";
import { serve, somebody } from "./support.mjs";

const BOT = `local bot = require "bot" "bytes"
local half = ("écoute"):sub(1, 1)
local wrong = {
  reply = function(session) session:reply(half) end,
  send = function(session) session:send('{"type":"x","content":"' .. half .. '"}') end,
  append = function(session) session:append { sender = "ai", type = "ai_response", content = half } end,
  name = function(session) session:set { name = half } end,
  close = function(session, message) chat.connection.close(session, message.connection, 1000, half) end,
  log = function() chat.log.info(half) end,
  metric = function() chat.metrics.add("bytes", 1, { label = half }) end,
}
bot:hears("^wrong (%a+)$", function(session, message, kind) wrong[kind](session, message) end)
bot:otherwise(function(session, message) session:reply(message.content) end)
return bot
`;
const line = (kind) => BOT.split("\n").findIndex((l) => l.startsWith(`  ${kind} =`)) + 1;
const start = (t) => serve(t, { env: { CHATBOX_BOT: "bytes", RATE_LIMIT: "1000000" }, scripts: { "bots/bytes.lua": BOT } });

describe("bytes that are no text", () => {
  test("raise in the script, at its line; the client stays and can read all that was said", async (t) => {
    const server = await start(t);
    const alice = await server.join(somebody("alice"));
    for (const kind of ["reply", "send", "append", "name", "close", "log", "metric"]) {
      alice.says(`wrong ${kind}`);
      const { error } = await alice.hears("error");
      assert.equal(error.code, "INTERNAL", kind);
      const said = await server.log.next((l) => l.incident === error.incident, `what is logged of ${kind}`);
      assert.match(JSON.stringify(said), new RegExp(`bots/bytes\\.lua:${line(kind)}\\b.*not UTF-8 at byte ${kind === "send" ? 24 : 1}\\b`), kind);
      await alice.talks(`after ${kind}`);
    }
    const all = await server.history(alice.user, alice.session);
    assert.equal(all.length, 7 * 3);
    assert.ok(all.every((m) => !m.content.includes("\ufffd")));
    const back = await server.join(alice.user);
    assert.equal(back.session, alice.session);
    await back.talks("still here");
  });

  test("that an earlier version stored are shown mended", async (t) => {
    const server = await start(t);
    const alice = await server.join(somebody("alice"));
    await alice.talks("first");
    await server.stop();
    const file = path.join(server.dir, "chatbox.db");
    const code = `import sqlite3; c = sqlite3.connect(${JSON.stringify(file)}); c.executescript("UPDATE messages SET content = x'61c362' WHERE seq = 2; UPDATE sessions SET nm = CAST(x'e98f' AS TEXT)"); c.commit()`;
    const damaged = spawnSync("python3", ["-c", code]);
    if (damaged.error) return t.skip("there is no python3 with sqlite3 to damage a text with");
    assert.equal(damaged.status, 0, String(damaged.stderr));
    const again = await server.again();
    t.after(() => again.remove());
    const all = await again.history(alice.user, alice.session);
    assert.deepEqual(all.map((m) => m.content), ["first", "a\ufffdb"]);
    const { json } = await again.get("/sessions", { user: alice.user });
    assert.deepEqual(json.sessions.map((s) => s.name), ["\ufffd\ufffd"]);
    await again.log.next((l) => l.msg.startsWith("a stored text is not UTF-8"), "the one line about it");
    const back = await again.join(alice.user);
    back.sends({ type: "history" });
    await back.talks("still here");
  });
});
