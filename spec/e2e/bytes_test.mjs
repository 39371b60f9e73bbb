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
bot:hears("^json (.*)$", function(session, message)
  local json = require "lib.json"
  local ok, text = pcall(function() return json.encode(assert(json.decode(message.content:sub(6)))) end)
  session:reply(ok and text or "no: " .. text)
end)
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

/** Random documents, the same in each run. */
function* documents(count) {
  let state = 12345;
  const below = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
  const text = () => Array.from({ length: below(6) }, () => ["a", '"', "\\", "\n", "\0", "/", "é", "€", "😀", "\u007f", "\u2028"][below(11)]).join("");
  const number = () => [below(100), -below(2 ** 31), below(2 ** 31) * 4194304, 2 ** 53, below(1000) / 7, below(1000) * 1e300, 5e-324, 0.1][below(8)];
  const value = (depth) => {
    const kind = below(depth > 5 ? 3 : 6);
    if (kind === 0) return text();
    if (kind === 1) return number();
    if (kind === 2) return below(2) === 0;
    if (kind < 5) return Array.from({ length: below(5) }, () => (below(6) === 0 ? null : value(depth + 1)));
    return Object.fromEntries(Array.from({ length: below(5) }, (_, i) => [`${text()}${i}k`, value(depth + 1)]));
  };
  for (let i = 0; i < count; i++) yield [value(0)];
}

describe("JSON", () => {
  test("survives a script: node's and Python's readers find what was sent", async (t) => {
    const server = await start(t);
    const alice = await server.join(somebody("alice"));
    const sent = [[[], {}, [[]], [null, 1, null], 9007199254740992, -9007199254740992, 0.1 + 0.2, "\u2028"], ...documents(150)].map((d) => JSON.stringify(d));
    const back = [];
    for (const text of sent) {
      alice.says(`json ${text}`);
      back.push((await alice.hears("ai_response")).content);
    }
    for (const [i, text] of sent.entries()) assert.deepEqual(JSON.parse(back[i]), JSON.parse(text), back[i]);
    const judge = "import json, sys; a, b = json.load(sys.stdin); print([i for i in range(len(a)) if json.loads(a[i]) != json.loads(b[i])])";
    const judged = spawnSync("python3", ["-c", judge], { input: JSON.stringify([sent, back]) });
    if (judged.error) return t.diagnostic("there is no python3 to judge too");
    assert.equal(String(judged.stdout).trim(), "[]", String(judged.stderr));
  });

  test("of a client's metadata is stored and shown byte for byte; half a character in a content is refused by its cid", async (t) => {
    const server = await start(t);
    const alice = await server.join(somebody("alice"));
    const other = await server.join(alice.user);
    const metadata = String.raw`{ "id" : 1234567890123456789, "half":"\ud83d", "n":1.10, "e":"\u00e9\/" }`;
    alice.sends(`{"type":"user_message","content":"hi","metadata":${metadata},"cid":"one"}`);
    await alice.hears("ack", { cid: "one" });
    const shown = await other.hears("user_message");
    assert.ok(shown.metadata.id === 1234567890123456789 && shown.metadata.half === "\ud83d");
    const answer = await server.get(`/sessions/${alice.session}`, { user: alice.user });
    assert.ok(JSON.stringify(answer).includes(JSON.stringify(metadata).slice(1, -1)), JSON.stringify(answer).slice(0, 600));
    const half = String.raw`{"type":"user_message","content":"a\ud83d","cid":"two"}`;
    alice.sends(half);
    const refused = await alice.hears("error");
    assert.equal(refused.cid, "two");
    assert.match(refused.error.message, /content contains half of a surrogate pair/);
    await alice.talks("still here");
    assert.equal((await server.history(alice.user, alice.session)).filter((m) => m.content.startsWith("a")).length, 0);
  });
});
