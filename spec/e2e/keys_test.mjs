// Keys and certificates that are exchanged while the server runs. The tokens are another library's (jose); what a
// handshake presents is what Node's own TLS sees.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { SignJWT, exportJWK, exportSPKI, generateKeyPair } from "jose";
import { PREFIX, serve, somebody, within } from "./support.mjs";

const dir = mkdtempSync(path.join(os.tmpdir(), "chatbox-keys-"));
after(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
const fresh = (name) => path.join(dir, `${++files}-${name}`);

/* ---- who signs ---- */

class Signer {
  static async make(alg, kid) {
    return Object.assign(new Signer(), { alg, kid, ...(await generateKeyPair(alg)) });
  }
  async jwk(more = {}) {
    return { ...(await exportJWK(this.publicKey)), kid: this.kid, alg: this.alg, use: "sig", ...more };
  }
  pem() {
    return exportSPKI(this.publicKey);
  }
  token(user, claims = {}, header = {}) {
    const jwt = new SignJWT({ user_id: user, roles: [], ...claims }).setProtectedHeader({ alg: this.alg, kid: this.kid, ...header });
    if (!("iat" in claims)) jwt.setIssuedAt();
    if (!("exp" in claims)) jwt.setExpirationTime("1h");
    return jwt.sign(this.privateKey);
  }
}

const jwks = async (...signers) => JSON.stringify({ keys: await Promise.all(signers.map((s) => s.jwk())) });
/** As a careful writer does it: never half a file. */
function put(file, text) {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

const status = async (server, token) => (await server.get("/sessions", { token })).status;
const readAgain = (server) => server.log.next((line) => line.component === "keys" && line.msg === "read again", "the keys to be read again");
const refused = (server) => server.log.next((line) => line.component === "keys" && line.level === "error", "a refusal of the keys");

let rsa, ec, next;
before(async () => {
  rsa = await Signer.make("RS256", "rsa-1");
  ec = await Signer.make("ES256", "ec-1");
  next = await Signer.make("RS256", "rsa-2");
});

describe("public keys", () => {
  test("of a JWKS check another library's tokens, each by its kid and its own algorithm", async (t) => {
    const file = fresh("jwks.json");
    put(file, await jwks(rsa, ec, next));
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file } });
    for (const signer of [rsa, ec, next]) assert.equal(await status(server, await signer.token(somebody())), 200);
    assert.equal(await status(server, await rsa.token(somebody(), {}, { kid: "rsa-2" })), 401);
    assert.equal(await status(server, await rsa.token(somebody(), {}, { kid: "unknown" })), 401);
    assert.equal(await status(server, await rsa.token(somebody(), {}, { kid: undefined })), 200);
    assert.equal(await status(server, await (await Signer.make("RS256", "rsa-1")).token(somebody())), 401);
    assert.equal(await status(server, await (await Signer.make("PS256", "rsa-1")).token(somebody())), 401);
  });

  test("that are added are taken, and those that are removed are refused, without anybody saying so", async (t) => {
    const file = fresh("jwks.json");
    put(file, await jwks(rsa));
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file } });
    const [old, young] = [await rsa.token(somebody()), await next.token(somebody())];
    assert.deepEqual([await status(server, old), await status(server, young)], [200, 401]);
    put(file, await jwks(rsa, next));
    await readAgain(server);
    assert.deepEqual([await status(server, old), await status(server, young)], [200, 200]);
    put(file, await jwks(next));
    await readAgain(server);
    assert.deepEqual([await status(server, old), await status(server, young)], [401, 200]);
    assert.equal((await server.handshake("/ws", { Authorization: `Bearer ${old}` })).status, 401);
  });

  test("that cannot be used leave the old ones in force, and the log and `chatbox reload` say why", async (t) => {
    const file = fresh("keys.pem");
    put(file, await rsa.pem());
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file } });
    const token = await rsa.token(somebody());
    for (const [text, why] of [
      ['{"keys":[', /is not JSON/],
      ["-----BEGIN PUBLIC KEY-----\nMIIB", /damaged PEM/],
      ["", /neither a PEM public key nor a JWKS/],
    ]) {
      put(file, text);
      assert.match((await refused(server)).why, why);
      assert.equal(await status(server, token), 200);
    }
    const { code, out, err } = await server.command("reload");
    assert.equal(code, 1);
    assert.match(out + err, /JWT_PUBLIC_KEY_FILE: .*neither a PEM.*stays in force/);
    await refused(server); // the log says it too
    unlinkSync(file);
    assert.match((await refused(server)).why, /no such file/);
    put(file, await ec.pem());
    await readAgain(server);
    assert.deepEqual([await status(server, token), await status(server, await ec.token(somebody()))], [401, 200]);
    assert.equal((await server.command("reload")).code, 0);
  });

  test("are read again on SIGHUP", async (t) => {
    const file = fresh("keys.pem");
    put(file, await rsa.pem());
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file } });
    server.process.kill("SIGHUP");
    await server.log.next((line) => line.msg === "read again" && line.on === "SIGHUP", "the keys to be read again");
  });

  test("in a mounted secret are exchanged by its link", async (t) => {
    const mount = mkdtempSync(path.join(dir, "secret-"));
    for (const [name, text] of [["..1", await jwks(rsa)], ["..2", await jwks(next)]]) {
      execFileSync("mkdir", [path.join(mount, name)]);
      writeFileSync(path.join(mount, name, "jwks.json"), text);
    }
    symlinkSync("..1", path.join(mount, "..data"));
    symlinkSync("..data/jwks.json", path.join(mount, "jwks.json"));
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: path.join(mount, "jwks.json") } });
    symlinkSync("..2", path.join(mount, "..data_tmp"));
    renameSync(path.join(mount, "..data_tmp"), path.join(mount, "..data"));
    await readAgain(server);
    assert.equal(await status(server, await next.token(somebody())), 200);
    assert.equal(await status(server, await rsa.token(somebody())), 401);
  });
});

describe("a token", () => {
  test("has to come from the issuer and be meant for the audience that are set", async (t) => {
    const file = fresh("jwks.json");
    put(file, await jwks(ec));
    const server = await serve(t, { env: { JWT_PUBLIC_KEY_FILE: file, JWT_ISSUER: "https://id.example", JWT_AUDIENCE: "chat" } });
    const good = { iss: "https://id.example", aud: "chat" };
    const says = async (claims) => status(server, await ec.token(somebody(), claims));
    assert.equal(await says(good), 200);
    assert.equal(await says({ ...good, aud: ["shop", "chat"] }), 200);
    for (const claims of [{}, { iss: good.iss }, { aud: good.aud }, { ...good, iss: "https://other.example" }, { ...good, aud: "shop" }, { ...good, aud: ["shop"] }]) {
      assert.equal(await says(claims), 401, JSON.stringify(claims));
    }
    const { out } = await server.command("token", "--user", "me");
    assert.equal(await status(server, out.trim()), 200);
  });

  test("may be a little late or early, as clocks are, and have fractions in its dates", async (t) => {
    const server = await serve(t);
    const now = Date.now() / 1000;
    const says = (claims) => status(server, server.token(somebody(), claims));
    assert.equal(await says({ exp: now - 30 }), 200);
    assert.equal(await says({ exp: now - 90 }), 401);
    assert.equal(await says({ nbf: now + 30 }), 200);
    assert.equal(await says({ nbf: now + 90 }), 401);
    const strict = await serve(t, { env: { JWT_LEEWAY: "0" } });
    assert.equal(await status(strict, strict.token(somebody(), { exp: now - 2 })), 401);
    assert.equal(await status(strict, strict.token(somebody(), { nbf: Date.now() / 1000 })), 200);
  });

  test("names one user however the letters are composed", async (t) => {
    const server = await serve(t);
    const user = `${somebody()}-ju\u0308rgen`;
    const alice = await server.join(user);
    assert.equal(alice.greeting.user_id, user.normalize("NFC"));
    await alice.talks("remember me");
    const other = await server.join(user.normalize("NFC"));
    assert.equal(other.session, alice.session);
    assert.equal(await status(server, server.token("line\nbreak")), 401);
    assert.equal(await status(server, server.token("c1\u0085")), 401);
    const made = await server.command("token", "--user", user);
    assert.equal(JSON.parse(Buffer.from(made.out.split(".")[1], "base64url")).user_id, user.normalize("NFC"));
    assert.equal((await server.command("token", "--user", "line\nbreak")).code, 2);
  });
});

describe("a certificate", () => {
  /** Writes a pair for that name; → its fingerprint. */
  function certify(pair, name) {
    const [key, cert] = [`${pair.TLS_KEY_FILE}.new`, `${pair.TLS_CERT_FILE}.new`];
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key, "-out", cert, "-subj", `/CN=${name}`], { stdio: "ignore" });
    renameSync(cert, pair.TLS_CERT_FILE);
    renameSync(key, pair.TLS_KEY_FILE);
  }
  const presented = (server) =>
    within(
      new Promise((resolve, reject) => {
        const socket = tls.connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().subject.CN);
          socket.destroy();
        });
        socket.on("error", reject);
      }),
      "a handshake",
    );

  test("is presented from the moment it was read, by every worker, and an open connection goes on", async (t) => {
    const pair = { TLS_CERT_FILE: fresh("cert.pem"), TLS_KEY_FILE: fresh("key.pem") };
    certify(pair, "first");
    const server = await serve(t, { env: pair });
    assert.equal(await presented(server), "first");
    const open = tls.connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false });
    await within(new Promise((resolve) => open.once("secureConnect", resolve)), "a handshake");
    certify(pair, "second");
    await readAgain(server);
    for (let i = 0; i < 20; i++) assert.equal(await presented(server), "second");
    const shown = execFileSync("sh", ["-c", `openssl s_client -connect 127.0.0.1:${server.port} </dev/null 2>/dev/null | openssl x509 -noout -subject`]).toString();
    assert.match(shown, /CN = second/);
    open.write(`GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.match(String(await within(new Promise((resolve) => open.once("data", resolve)), "an answer")), /200 OK/);
    open.destroy();
  });

  test("that is not one, or not with its key, leaves the old one", async (t) => {
    const pair = { TLS_CERT_FILE: fresh("cert.pem"), TLS_KEY_FILE: fresh("key.pem") };
    certify(pair, "good");
    const server = await serve(t, { env: pair });
    put(pair.TLS_CERT_FILE, "nothing");
    assert.match((await refused(server)).why, /TLS_CERT_FILE: .*no PEM certificate/);
    assert.equal(await presented(server), "good");
    const { code, out, err } = await server.command("reload");
    assert.equal(code, 1);
    assert.match(out + err, /TLS_CERT_FILE: .*stays in force/);
    await refused(server); // the log says it too
    const other = { TLS_CERT_FILE: pair.TLS_CERT_FILE, TLS_KEY_FILE: fresh("other.pem") };
    certify(other, "other");
    assert.match((await refused(server)).why, /TLS_KEY_FILE: .*not the key of the certificate/);
    assert.equal(await presented(server), "good");
    certify(pair, "new");
    await readAgain(server);
    assert.equal(await presented(server), "new");
  });
});
