// A token that ends while its connection is open: what the client is told, and how it goes on.

import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { SignJWT, exportSPKI, generateKeyPair } from "jose";
import { Server, serve, somebody } from "./support.mjs";

const now = () => Date.now() / 1000;
/** The next whole second but n: what is due then is neither late nor early by chance. */
const inSeconds = (n) => Math.floor(now()) + n;

describe("a token that ends on an open connection", () => {
  let server;
  before(async () => (server = await Server.start({ env: { JWT_LEEWAY: "0", MAX_CONNECTIONS_PER_USER: "50" } })));
  after(() => server?.remove());

  test("ends the connection: bye token_expired, then close 4401", async () => {
    const exp = inSeconds(2);
    const alice = await server.join(somebody(), { claims: { exp } });
    await alice.talks("still here");
    const bye = await alice.hears("bye");
    assert.equal(bye.code, "token_expired");
    assert.equal(bye.sender, "system");
    assert.ok(bye.reason && !Number.isNaN(Date.parse(bye.timestamp)));
    assert.ok(now() >= exp, "not before its time");
    const { code, reason } = await alice.ends();
    assert.deepEqual([code, reason], [4401, "token_expired"]);
  });

  test("does not matter once a new one was sent, whatever worker the conversation is on", async () => {
    const user = somebody();
    const exp = inSeconds(2);
    const devices = [];
    for (let i = 0; i < 6; i++) devices.push(await server.join(user, { claims: { exp } }));
    const idle = await server.join(user, { claims: { exp } });
    for (const device of devices) {
      device.sends({ type: "refresh", token: server.token(user, { exp: exp + 3600 }) });
      const told = await device.hears("refreshed");
      assert.equal(Date.parse(told.expires_at), (exp + 3600) * 1000);
    }
    assert.equal((await idle.ends()).code, 4401);
    for (const device of devices) {
      device.heardNothingOf("bye");
      await device.talks("on we go");
    }
    for (const device of devices) await device.leaves();
  });

  test("can be replaced more than once, and it is the newest that ends it", async () => {
    const user = somebody();
    const alice = await server.join(user);
    alice.sends({ type: "refresh", token: server.token(user, { exp: inSeconds(2) }) });
    await alice.hears("refreshed");
    assert.equal((await alice.hears("bye")).code, "token_expired");
    assert.equal((await alice.ends()).code, 4401);
  });

  test("may end when no calendar goes so far", async () => {
    const alice = await server.join(somebody(), { claims: { exp: 1e300 } });
    for (const exp of [1e300, Number.MAX_SAFE_INTEGER, 253402300800]) {
      alice.sends({ type: "refresh", token: server.token(alice.user, { exp }) });
      assert.equal((await alice.hears("refreshed")).expires_at, undefined);
    }
    await alice.talks("still here");
    await alice.leaves();
  });

  test("is not replaced by what is no good or somebody else's", async () => {
    const user = somebody();
    const exp = inSeconds(3);
    const alice = await server.join(user, { claims: { exp } });
    const refused = async (token, code) => {
      alice.sends({ type: "refresh", token, cid: "r" });
      const { error, cid } = await alice.hears("error");
      assert.deepEqual([error.code, cid], [code, "r"]);
    };
    await refused(server.token(somebody("eve"), { roles: ["admin"] }), "INVALID_TOKEN");
    await refused(server.token(user, { exp: 1000 }), "EXPIRED_TOKEN");
    await refused("nonsense", "INVALID_TOKEN");
    await refused(`${server.token(user)}x`, "INVALID_TOKEN");
    assert.equal((await alice.hears("bye")).code, "token_expired");
    assert.ok(now() >= exp);
  });

  test("takes its name and its rights with it", async (t) => {
    const home = await serve(t, {
      scripts: {
        "bots/echo.lua": `local bot = require "bot" "echo"
          bot:otherwise(function(session, message)
            session:reply(message.user.name .. (message.user.admin and "!" or ""))
          end)
          return bot`,
      },
    });
    const alice = await home.join(somebody("alice"), { claims: { name: "Alice" } });
    const answer = async (content) => {
      alice.says(content);
      return (await alice.hears("ai_response")).content;
    };
    assert.equal(await answer("who am I?"), "Alice");
    alice.sends({ type: "refresh", token: home.token(alice.user, { name: "Alice B.", roles: ["admin"] }) });
    await alice.hears("refreshed");
    assert.equal(await answer("and now?"), "Alice B.!");
    alice.sends({ type: "refresh", token: home.token(alice.user) });
    await alice.hears("refreshed");
    assert.equal(await answer("and now?"), alice.user);
  });

  test("is looked at so often and no more", async () => {
    const alice = await server.join(somebody());
    for (let i = 0; i < 30; i++) alice.sends({ type: "refresh", token: "x" });
    const { error } = await alice.next((m) => m.type === "error" && m.error.code === "TOO_MANY_REQUESTS", "TOO_MANY_REQUESTS");
    assert.ok(error.retry_after > 0 && error.retry_after <= 1000);
    await alice.talks("all the same");
    await alice.leaves();
  });

  test("holds as much longer as the clocks may be apart", async (t) => {
    const patient = await serve(t, { env: { JWT_LEEWAY: "2s" } });
    const exp = inSeconds(1);
    const alice = await patient.join(somebody(), { claims: { exp } });
    assert.equal((await alice.hears("bye")).code, "token_expired");
    assert.ok(now() >= exp + 2);
  });

  test("that never ends never ends one", async (t) => {
    const lax = await serve(t, { env: { JWT_LEEWAY: "0", JWT_REQUIRE_EXP: "false" } });
    const user = somebody();
    const alice = await lax.join(user, { claims: { exp: undefined } });
    const other = await lax.join(user, { claims: { exp: inSeconds(2) } });
    assert.equal((await other.ends()).code, 4401);
    alice.heardNothingOf("bye");
    await alice.talks("for ever");
  });
});

describe("a key that is taken out of its file", () => {
  test("ends the connections it let in: bye token_revoked, then close 4401; the others stay", async (t) => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "chatbox-keys-"));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const file = path.join(dir, "keys.pem");
    const put = (text) => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    const [old, young] = [await generateKeyPair("RS256"), await generateKeyPair("RS256")];
    const sign = (pair, user) => new SignJWT({ user_id: user, roles: [] }).setProtectedHeader({ alg: "RS256" }).setExpirationTime("1h").sign(pair.privateKey);
    put((await exportSPKI(old.publicKey)) + (await exportSPKI(young.publicKey)));
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file } });
    const [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map((name) => somebody(name));
    const revoked = await server.join(alice, { token: await sign(old, alice) });
    const kept = await server.join(bob, { token: await sign(young, bob) });
    const renewed = await server.join(carol, { token: await sign(old, carol) });
    const secret = await server.join(dave);
    renewed.sends({ type: "refresh", token: await sign(young, carol) });
    await renewed.hears("refreshed");
    put(await exportSPKI(young.publicKey));
    assert.equal((await revoked.hears("bye")).code, "token_revoked");
    assert.equal((await revoked.ends()).code, 4401);
    for (const one of [kept, renewed, secret]) await one.talks("still here");
  });
});
