// Encryption at rest: what was said is not in the files; it is read with its key, by whoever may read it, and by nobody
// without. A change of the key, up to dropping the old one.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { serve, somebody } from "./support.mjs";

const newKey = (spelling = "base64") => randomBytes(32).toString(spelling);
const keyId = (key) => createHash("sha256").update(Buffer.from(key, "base64")).digest("hex").slice(0, 8);
const CIPHERTEXT = /cb1:|[A-Za-z0-9+/_-]{38,}/;

/** Another server in the place of this one, with these keys. */
async function again(t, server, ENCRYPTION_KEY, ENCRYPTION_PREVIOUS_KEYS = "", env = {}) {
  await server.stop();
  const next = await server.again({ ENCRYPTION_KEY, ENCRYPTION_PREVIOUS_KEYS, ...env });
  t.after(() => next.remove());
  return next;
}

/** Alice says it; the echo bot says it again. The first sentence becomes the name. */
async function conversation(server, ...texts) {
  const alice = await server.join(somebody("alice"));
  await alice.talks("Hello.");
  for (const text of texts) await alice.talks(text);
  return alice;
}

/** The files of the store that contain the text. */
async function filesWith(server, text) {
  const names = (await readdir(server.dir)).filter((name) => name.startsWith("chatbox.db"));
  assert.ok(names.includes("chatbox.db"));
  const contents = await Promise.all(names.map((name) => readFile(path.join(server.dir, name))));
  return names.filter((_, i) => contents[i].includes(text));
}

async function reads(server, alice, ...texts) {
  const said = await server.history(alice.user, alice.session);
  assert.deepEqual(said.map((m) => m.content), ["Hello.", ...texts].flatMap((text) => [text, text]));
}

/** Changes the database of a server behind its back. Skips the test where there is nothing to do that with. */
function edit(t, server, sql) {
  const code = `import sqlite3; c = sqlite3.connect(${JSON.stringify(path.join(server.dir, "chatbox.db"))}); c.executescript(${JSON.stringify(sql)}); c.commit()`;
  const { status, stderr } = spawnSync("python3", ["-c", code], { encoding: "utf8" });
  if (/ENOENT|No module/.test(stderr ?? "") || status === null) t.skip("there is no python3 with sqlite3 to edit a database with");
  assert.equal(status, 0, stderr);
}

/** What each reader sees: "seq sender content" of each message, or that it is damaged; the same by HTTP, socket and export. */
async function seen(server, alice) {
  const line = (m) => `${m.seq} ${m.damaged ? "DAMAGED" : m.content}`;
  const http = await server.history(alice.user, alice.session);
  const back = await server.join(alice.user, { session: alice.session });
  back.sends({ type: "history", session_id: alice.session });
  const { messages: socket } = await back.hears("history");
  const { code, out } = await server.command("export", "--session", alice.session);
  const exported = out.trimEnd().split("\n").map((text) => JSON.parse(text)).filter((l) => l.line === "message");
  for (const m of [...http, ...socket, ...exported]) {
    assert.ok(!m.damaged || (m.content === "" && !m.metadata && !m.file_url && !m.extra), JSON.stringify(m));
  }
  assert.deepEqual(socket.map(line), http.map(line));
  assert.deepEqual(exported.map(line), http.map(line));
  assert.equal(code, http.some((m) => m.damaged) ? 1 : 0, "an export is complete, or says that it is not");
  return http.map(line);
}

/** Neither over HTTP nor in the chat. The log names the place, not the text. */
async function cannotRead(server, alice) {
  const answer = await server.get(`/sessions/${alice.session}`, { user: alice.user });
  assert.ok([500, 503].includes(answer.status), answer.text);
  assert.doesNotMatch(answer.text, CIPHERTEXT);

  const back = await server.join(alice.user, { session: alice.session });
  back.sends({ type: "history", session_id: alice.session });
  const error = await back.hearsError("DATABASE_ERROR");
  assert.equal(error.recoverable, true);
  for (const message of back.heard.all) assert.doesNotMatch(message.content ?? "", CIPHERTEXT);

  const line = await server.log.has((l) => l.msg === "a message cannot be read", "what the log says");
  assert.equal(line.level, "error");
  assert.equal(line.session, alice.session);
  assert.ok(Number(line.seq) > 0);
  assert.doesNotMatch(line.reason, CIPHERTEXT);
}

describe("with a key", () => {
  test("no text is in the files, neither while the server runs nor after it", async (t) => {
    const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
    await conversation(server, "the cat sat on the mat");
    for (const text of ["the cat sat", "Hello."]) assert.deepEqual(await filesWith(server, text), []);
    await server.stop();
    for (const text of ["the cat sat", "Hello."]) assert.deepEqual(await filesWith(server, text), []); // nor is the name
  });

  test("names are listed as they were given, also after a restart", async (t) => {
    const key = newKey();
    const server = await serve(t, { env: { ENCRYPTION_KEY: key } });
    const alice = await conversation(server);
    const later = await again(t, server, key);
    const { json } = await later.get("/sessions", { user: alice.user });
    assert.deepEqual(json.sessions.map((s) => [s.name, s.name_damaged]), [["Hello.", undefined]]);
  });

  test("without one it is: the test above looks in the right place", async (t) => {
    const server = await serve(t);
    await conversation(server, "the cat sat on the mat");
    assert.notDeepEqual(await filesWith(server, "the cat sat"), []);
    assert.ok(server.log.all.some((l) => l.level === "warn" && /ENCRYPTION_KEY/.test(l.msg)), "and the log warns of it");
  });

  test("the history is there after a restart, however the key is spelled", async (t) => {
    const key = newKey();
    const server = await serve(t, { env: { ENCRYPTION_KEY: key } });
    const alice = await conversation(server, "Grüße 👋", "cb1:0123abcd:not really");
    const later = await again(t, server, Buffer.from(key, "base64").toString("hex"));
    await reads(later, alice, "Grüße 👋", "cb1:0123abcd:not really");
  });

  test("what was said before there was one is kept, asks for reencrypt, and is all there after it", async (t) => {
    const server = await serve(t);
    const alice = await conversation(server, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    const key = newKey();
    const later = await again(t, server, key);
    assert.ok(later.log.all.some((l) => /run `chatbox reencrypt`/.test(l.msg)));
    const back = await later.join(alice.user, { session: alice.session });
    await back.talks("under the key");
    const damaged = [1, 2, 3, 4, 5, 6].map((seq) => `${seq} DAMAGED`);
    assert.deepEqual(await seen(later, alice), [...damaged, "7 under the key", "8 under the key"]);
    await later.stop();
    const { code, out, err } = await later.command("reencrypt");
    assert.equal(code, 0, err);
    assert.match(out, /6 of them were plain text/);
    const last = await again(t, later, key);
    assert.ok(!last.log.all.some((l) => /reencrypt/.test(l.msg)));
    await reads(last, alice, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "under the key");
    assert.equal((await last.get("/sessions", { user: alice.user })).json.sessions[0].name, "Hello.");
  });

  test("ENCRYPTION_ALLOW_PLAINTEXT shows it, and says what that means", async (t) => {
    const server = await serve(t);
    const alice = await conversation(server, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    const later = await again(t, server, newKey(), "", { ENCRYPTION_ALLOW_PLAINTEXT: "true" });
    assert.ok(later.log.all.some((l) => /ENCRYPTION_ALLOW_PLAINTEXT/.test(l.msg)));
    await reads(later, alice, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  });
});

// Messages 1 to 4 of Alice: "Hello." and "secret", each said by her (1, 3) and by the bot (2, 4).
describe("what somebody changes in the database file", () => {
  const WAS = "CREATE TEMP TABLE was AS SELECT * FROM messages;";
  const cases = [
    ["two contents swapped", `${WAS} UPDATE messages SET content = (SELECT content FROM was WHERE was.session = messages.session AND was.seq = 4 - messages.seq) WHERE seq IN (1, 3)`, [1, 3]],
    ["two messages swapped", "UPDATE messages SET seq = seq - 4 WHERE seq IN (1, 3); UPDATE messages SET seq = -seq WHERE seq < 0", [1, 3]],
    ["a sender", "UPDATE messages SET sender = 'ai' WHERE seq = 3", [3]],
    ["two fields swapped", "UPDATE messages SET sender = type, type = sender WHERE seq = 2", [2]],
    ["a time", "UPDATE messages SET ts = ts + 60000 WHERE seq = 2", [2]],
    ["a link added", `UPDATE messages SET extra = '{"file_url":"https://elsewhere.example"}' WHERE seq = 4`, [4]],
    ["plain text in the place of a ciphertext", "UPDATE messages SET content = CAST('I owe you everything' AS BLOB) WHERE seq = 4", [4]],
    ["another form claimed", "UPDATE messages SET content = CAST('cb1' || substr(content, 4) AS BLOB) WHERE seq = 4", [4]],
    ["one byte", "UPDATE messages SET content = CAST(substr(content, 1, 20) || iif(substr(content, 21, 1) = CAST('A' AS BLOB), 'B', 'A') || substr(content, 22) AS BLOB) WHERE seq = 2", [2]],
    ["two conversations swapped", "UPDATE messages SET session = -session; UPDATE messages SET session = session + 3", [1, 2, 3, 4]],
  ];
  for (const [what, sql, damaged] of cases) {
    test(`${what}: it is shown as damaged, and the page around it is served`, async (t) => {
      const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
      const alice = await conversation(server, "secret");
      await conversation(server, "of somebody else");
      edit(t, server, sql);
      const texts = ["Hello.", "Hello.", "secret", "secret"];
      assert.deepEqual(await seen(server, alice), texts.map((text, i) => `${i + 1} ${damaged.includes(i + 1) ? "DAMAGED" : text}`));
      const lines = server.log.all.filter((l) => l.msg === "a message cannot be read");
      assert.ok(lines.length > 0 && lines.every((l) => l.session === alice.session));
      const back = await server.join(alice.user, { session: alice.session });
      await back.talks("the talk goes on");
    });
  }

  test("a conversation given to somebody else: its owner's name and words are not shown to him", async (t) => {
    const key = newKey();
    const server = await serve(t, { env: { ENCRYPTION_KEY: key } });
    const alice = await conversation(server, "secret");
    await server.stop();
    const mallory = somebody("mallory");
    edit(t, server, `UPDATE sessions SET uid = '${mallory}'`);
    const later = await again(t, server, key);
    const { json } = await later.get("/sessions", { user: mallory });
    assert.deepEqual(json.sessions.map((s) => [s.name, s.name_damaged]), [["", true]]);
    const said = await later.history(mallory, alice.session);
    assert.ok(said.every((m) => m.damaged && m.content === ""));
  });
});

describe("with another key, or none", () => {
  test("another: the history is an error, never ciphertext; the chat goes on", async (t) => {
    const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
    const alice = await conversation(server, "the cat sat on the mat");
    const later = await again(t, server, newKey());
    assert.ok(later.log.all.some((l) => l.level === "error" && /ENCRYPTION_PREVIOUS_KEYS/.test(l.msg)), "and the start says why");
    await cannotRead(later, alice);
    const bob = await later.join(somebody("bob"));
    await bob.talks("undisturbed");
  });

  test("none: the server does not start, and nothing is mixed in", async (t) => {
    const key = newKey();
    const server = await serve(t, { env: { ENCRYPTION_KEY: key } });
    const alice = await conversation(server, "the cat sat on the mat");
    await server.stop();
    server.env.ENCRYPTION_KEY = "";
    const { code, err } = await server.command("run");
    assert.notEqual(code, 0);
    assert.match(err, /the database is encrypted, and ENCRYPTION_KEY is not set/);
    await reads(await again(t, server, key), alice, "the cat sat on the mat");
  });
});

describe("a change of the key", () => {
  test("keeps old text readable while the old key is among the previous ones", async (t) => {
    const [first, second] = [newKey(), newKey()];
    const server = await serve(t, { env: { ENCRYPTION_KEY: first } });
    const alice = await conversation(server, "under the first");
    const later = await again(t, server, second, first);
    const back = await later.join(alice.user, { session: alice.session });
    await back.talks("under the second");
    await reads(later, alice, "under the first", "under the second");
    assert.ok((await filesWith(later, keyId(first))).length > 0);
    assert.ok((await filesWith(later, keyId(second))).length > 0);
  });

  test("reencrypt moves everything, then the old key can go", async (t) => {
    const [first, second] = [newKey(), newKey()];
    const server = await serve(t);
    const alice = await conversation(server, "in the open");
    const middle = await again(t, server, first);
    await (await middle.join(alice.user, { session: alice.session })).talks("under the first");
    await middle.stop();

    middle.env = { ...middle.env, ENCRYPTION_KEY: second, ENCRYPTION_PREVIOUS_KEYS: first };
    const { code, out, err } = await middle.command("reencrypt");
    assert.equal(code, 0, err);
    assert.match(out, /100 %.* 6 of 6 messages, 6 written anew/);
    assert.match(out, /4 of them were plain text/);
    assert.match(out, new RegExp(`done: 6 messages.*${keyId(second)}`));
    for (const gone of ["in the open", keyId(first)]) assert.deepEqual(await filesWith(middle, gone), [], gone);

    const later = await again(t, middle, second);
    await reads(later, alice, "in the open", "under the first");
  });

  test("reencrypt without the old key says so, leaves what it cannot read and fails", async (t) => {
    const [first, second] = [newKey(), newKey()];
    const server = await serve(t, { env: { ENCRYPTION_KEY: first } });
    const alice = await conversation(server, "under the first");
    await server.stop();
    server.env = { ...server.env, ENCRYPTION_KEY: second };
    const { code, err } = await server.command("reencrypt");
    assert.equal(code, 1);
    assert.match(err, /4 of 4 messages cannot be decrypted/);
    assert.match(err, new RegExp(keyId(first)));
    await reads(await again(t, server, first), alice, "under the first");
  });

  test("reencrypt of a database in use is refused", async (t) => {
    const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
    const alice = await conversation(server, "the cat sat on the mat");
    const { code, err } = await server.command("reencrypt");
    assert.equal(code, 1);
    assert.match(err, /another process uses the database/);
    await reads(server, alice, "the cat sat on the mat");
  });
});

describe("a key that is none", () => {
  const cases = [
    ["too short", { ENCRYPTION_KEY: "c2hvcnQ=" }, /ENCRYPTION_KEY.*8 characters.*32 bytes/],
    ["a placeholder", { ENCRYPTION_KEY: "REPLACE_WITH_A_KEY_OF_32_BYTES!!" }, /ENCRYPTION_KEY.*REPLACE_WITH/],
    ["among the previous ones", { ENCRYPTION_KEY: newKey(), ENCRYPTION_PREVIOUS_KEYS: `${newKey()},c2hvcnQ=` }, /ENCRYPTION_PREVIOUS_KEYS.*8 characters/],
    ["previous ones alone", { ENCRYPTION_PREVIOUS_KEYS: newKey() }, /ENCRYPTION_PREVIOUS_KEYS: needs ENCRYPTION_KEY/],
  ];
  for (const [what, env, pattern] of cases) {
    test(`${what}: nothing starts, one line says why and does not tell it`, async (t) => {
      const server = await serve(t);
      await server.stop();
      server.env = { ...server.env, ...env };
      for (const command of ["run", "reencrypt"]) {
        const { code, err } = await server.command(command);
        assert.equal(code, 2, err);
        assert.match(err, pattern);
        assert.equal(err.trim().split("\n").filter((line) => !/"level":"info"/.test(line)).length, 1, err);
        assert.ok(!err.includes("c2hvcnQ="));
      }
    });
  }

  test("reencrypt without any says which setting", async (t) => {
    const server = await serve(t);
    await server.stop();
    const { code, err } = await server.command("reencrypt");
    assert.equal(code, 2);
    assert.match(err, /ENCRYPTION_KEY/);
  });
});
