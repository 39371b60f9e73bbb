// Encryption at rest: what was said is not in the files; it is read with its key, by whoever may read it, and by nobody
// without. A change of the key, up to dropping the old one.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { serve, somebody } from "./support.mjs";

const newKey = (spelling = "base64") => randomBytes(32).toString(spelling);
const keyId = (key) => createHash("sha256").update(Buffer.from(key, "base64")).digest("hex").slice(0, 8);
const CIPHERTEXT = /cb1:|[A-Za-z0-9+/_-]{38,}/;

/** Another server in the place of this one, with these keys. */
async function again(t, server, ENCRYPTION_KEY, ENCRYPTION_PREVIOUS_KEYS = "") {
  await server.stop();
  const next = await server.again({ ENCRYPTION_KEY, ENCRYPTION_PREVIOUS_KEYS });
  t.after(() => next.remove());
  return next;
}

/** Alice says it; the echo bot says it again. The first sentence becomes the name, which is not encrypted. */
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

  const line = server.log.all.find((l) => l.msg === "a message cannot be read");
  assert.equal(line.level, "error");
  assert.equal(line.session, alice.session);
  assert.ok(Number(line.seq) > 0);
  assert.doesNotMatch(line.reason, CIPHERTEXT);
}

describe("with a key", () => {
  test("no text is in the files, neither while the server runs nor after it", async (t) => {
    const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
    await conversation(server, "the cat sat on the mat");
    assert.deepEqual(await filesWith(server, "the cat sat"), []);
    await server.stop();
    assert.deepEqual(await filesWith(server, "the cat sat"), []);
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

  test("what was said before there was one is still read", async (t) => {
    const server = await serve(t);
    const alice = await conversation(server, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    const later = await again(t, server, newKey());
    await reads(later, alice, "in the open", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  });
});

describe("with another key, or none", () => {
  for (const [what, key] of [["another", newKey()], ["none", ""]]) {
    test(`${what}: the history is an error, never ciphertext; the chat goes on`, async (t) => {
      const server = await serve(t, { env: { ENCRYPTION_KEY: newKey() } });
      const alice = await conversation(server, "the cat sat on the mat");
      const later = await again(t, server, key);
      await cannotRead(later, alice);
      const bob = await later.join(somebody("bob"));
      await bob.talks("undisturbed");
    });
  }
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
