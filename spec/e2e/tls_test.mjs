// TLS on the port itself: the same server, encrypted; or a start that says what is wrong with the files.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import https from "node:https";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { PREFIX, Server, mint, serve, somebody } from "./support.mjs";

const dir = mkdtempSync(path.join(os.tmpdir(), "chatbox-tls-"));
const cert = path.join(dir, "cert.pem");
const key = path.join(dir, "key.pem");
const pair = { TLS_CERT_FILE: cert, TLS_KEY_FILE: key };

before(() => {
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
});
after(() => rmSync(dir, { recursive: true, force: true }));

describe("TLS", () => {
  test("carries HTTP and a chat, also answers of many kilobytes", async (t) => {
    const server = await serve(t, { env: pair });
    const status = await new Promise((resolve, reject) => {
      https.get(`https://127.0.0.1:${server.port}${PREFIX}/healthz`, { rejectUnauthorized: false }, (res) => resolve(res.resume().statusCode)).on("error", reject);
    });
    assert.equal(status, 200);

    const socket = new WebSocket(`wss://127.0.0.1:${server.port}${PREFIX}/ws`, {
      rejectUnauthorized: false,
      headers: { Authorization: `Bearer ${mint(server.secret, { user_id: somebody() })}` },
    });
    const texts = ["hello", "x".repeat(9000), "good\u0300bye"];
    const answers = new Promise((resolve, reject) => {
      const heard = [];
      socket.on("error", reject);
      socket.on("close", () => reject(new Error("closed")));
      socket.on("message", (bytes) => {
        const message = JSON.parse(bytes);
        if (message.type === "ai_response" && heard.push(message.content) === texts.length) resolve(heard);
      });
    });
    socket.on("open", () => texts.forEach((content) => socket.send(JSON.stringify({ type: "user_message", content }))));
    assert.deepEqual(await answers, texts);
    socket.terminate();
  });

  test("is not spoken in clear", async (t) => {
    const server = await serve(t, { env: pair });
    for (let i = 0; i < 20; i++) { // some come while the handshake begins, some before it
      const raw = await server.raw(`GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`);
      await raw.ends();
      assert.doesNotMatch(raw.received.toString("latin1"), /healthy/);
    }
  });

  test("refuses with an answer, too: who finds no place is told 503, also beside a hundred who never finish the handshake", async (t) => {
    const server = await serve(t, { env: { ...pair, MAX_HANDSHAKES: "2", WORKERS: "1", HANDSHAKE_TIMEOUT: "60s" } });
    const ask = (text) =>
      new Promise((resolve, reject) => {
        const socket = tls.connect({ port: server.port, rejectUnauthorized: false }, () => socket.write(text));
        let heard = "";
        socket.on("data", (part) => ((heard += part), heard.includes("\r\n\r\n") && resolve({ socket, heard })));
        socket.on("error", reject);
        socket.on("close", () => reject(new Error(`closed after ${JSON.stringify(heard)}`)));
      });
    const whole = `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`;
    const halves = [];
    for (let i = 0; i < 2; i++) halves.push((await ask(whole + whole.slice(0, -10))).socket);
    for (let i = 0; i < 5; i++) {
      const { socket, heard } = await ask(whole);
      assert.match(heard, /^HTTP\/1\.1 503 Service Unavailable\r\n/);
      assert.match(heard, /\r\nRetry-After: 1\r\n/);
      socket.destroy();
    }
    const silent = [];
    for (let i = 0; i < 100; i++) silent.push(await server.raw()); // 64 places to say no, the rest is hung up on
    await Promise.race(silent.map((raw) => raw.closed));
    for (const raw of silent) raw.drop();
    for (const socket of halves) socket.destroy();
    for (let answered = false; !answered;) answered = await ask(whole).then(({ heard, socket }) => (socket.destroy(), heard.includes(" 200 ")), () => false);
  });

  test("needs both files, and files that can be used", async () => {
    await assert.rejects(Server.start({ env: { TLS_CERT_FILE: cert } }), /TLS_KEY_FILE/);
    await assert.rejects(Server.start({ env: { ...pair, TLS_CERT_FILE: path.join(dir, "absent.pem") } }), /TLS_CERT_FILE/);
    await assert.rejects(Server.start({ env: { ...pair, TLS_KEY_FILE: cert } }), /TLS_KEY_FILE/);
  });
});
