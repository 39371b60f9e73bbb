// The life of a connection: who may stay although silent, who has to go when there is no room, and what happens when the
// process may open no more descriptors.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { BINARY, CLOSE, PING, PREFIX, TEXT, closeCode, frame, rawJoin, serve, somebody, within } from "./support.mjs";

const HEALTH = `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`;
const HEALTHY = /"healthy"[^}]*}/;

async function healthy(server) {
  const raw = await server.raw(HEALTH);
  await raw.receives(HEALTHY);
  return raw;
}

const HALF = HEALTH.slice(0, -10);
const REST = HEALTH.slice(-10);

/** A connection that is for certain in the middle of a request: what was sent before the half is answered. */
async function half(server) {
  const raw = await server.raw(HEALTH + HALF);
  await raw.receives(HEALTHY);
  return raw;
}

async function completes(raw) {
  raw.socket.write(REST);
  await raw.receives(new RegExp(`(${HEALTHY.source}[^]*){2}`));
}

describe("a client that says nothing", () => {
  const times = { WS_PING_PERIOD: "300ms", WS_PONG_WAIT: "3s" };

  test("stays for as long as it answers pings", async (t) => {
    const server = await serve(t, { env: times });
    const alice = await server.join(somebody("alice"));
    let pings = 0;
    const twice = new Promise((resolve) => alice.socket.on("ping", () => ++pings === 20 && resolve())); // two times WS_PONG_WAIT
    await within(Promise.race([twice, alice.closed.then(({ code }) => Promise.reject(new Error(`closed with ${code} after ${pings} pings`)))]), "20 pings", 60000);
    await alice.talks("I was here all the time");
  });

  test("goes when it does not", async (t) => {
    const server = await serve(t, { env: times });
    const raw = await rawJoin(server, somebody());
    await raw.ends();
    assert.ok(raw.received.includes(Buffer.from([0x89, 0x00])), "it was asked");
    assert.equal(await server.metric("chatbox_websocket_connections_total"), 0);
  });

  test("stays when it sends pongs nobody asked for, or pings", async (t) => {
    const server = await serve(t, { env: { WS_PING_PERIOD: "2s", WS_PONG_WAIT: "3s" } });
    const raw = await rawJoin(server, somebody());
    const times = 8;
    for (let i = 1; i <= times; i++) {
      raw.socket.write(Buffer.concat([frame(10, ""), frame(PING, `${i}`)]));
      await raw.receives(new RegExp(`\x8a.${i}`, "s"));
      await within(new Promise((resolve) => setTimeout(resolve, 500)), "half a second");
    }
    raw.drop();
  });
});

describe("a frame a client may not send", () => {
  const unmasked = (first, text) => Buffer.concat([Buffer.of(first, text.length), Buffer.from(text)]);
  const broken = {
    "a text without a mask": unmasked(0x81, "{}"),
    "a ping without a mask": unmasked(0x89, ""),
    "a close without a mask": unmasked(0x88, "\x03\xe8"),
    "a length in more bytes than it needs": Buffer.of(0x81, 0xfe, 0, 2, 0, 0, 0, 0, 0x7b, 0x7d),
    "a ping of 126 bytes": frame(PING, "x".repeat(126)),
    "a close of one byte": frame(CLOSE, "x"),
    ...Object.fromEntries([0, 999, 1004, 1005, 1006, 1015, 2999, 5000].map((code) => [`a close with ${code}`, frame(CLOSE, Buffer.of(code >> 8, code & 255))])),
    "a compressed message nobody agreed to": frame(TEXT, "{}", { rsv: 4 }),
    "binary within a text": Buffer.concat([frame(TEXT, "{", { fin: false }), frame(BINARY, "}")]),
  };
  test("closes with 1002, and what is behind it is not read", async (t) => {
    const server = await serve(t);
    const before = (await server.metric("chatbox_messages_received_total")) ?? 0;
    for (const [what, bytes] of Object.entries(broken)) {
      const raw = await rawJoin(server, somebody());
      raw.socket.write(Buffer.concat([bytes, frame(TEXT, JSON.stringify({ type: "user_message", content: "smuggled" }))]));
      await raw.ends();
      assert.equal(closeCode(raw), 1002, what);
    }
    assert.equal(await server.metric("chatbox_messages_received_total"), before);
  });

  test("closes with 1007 when the reason of a close is no text", async (t) => {
    const server = await serve(t);
    const raw = await rawJoin(server, somebody());
    raw.socket.write(frame(CLOSE, Buffer.of(3, 0xe8, 0xff)));
    await raw.ends();
    assert.equal(closeCode(raw), 1007);
  });
});

describe("a close", () => {
  test("is echoed with its code, or without one", async (t) => {
    const server = await serve(t);
    for (const code of [1000, 1001, 3000, 4999]) {
      const raw = await rawJoin(server, somebody());
      raw.socket.write(frame(CLOSE, Buffer.of(code >> 8, code & 255)));
      await raw.ends();
      assert.equal(closeCode(raw), code);
    }
    const raw = await rawJoin(server, somebody());
    raw.socket.write(frame(CLOSE, ""));
    await raw.ends();
    assert.deepEqual(raw.received.subarray(-2), Buffer.of(0x88, 0));
  });
});

describe("a place", () => {
  test("is never held by connections that do nothing: the longest idle one goes", async (t) => {
    const server = await serve(t, { env: { MAX_HANDSHAKES: "4", WORKERS: "1" } });
    const talker = await server.join(somebody("talker"));
    const kept = [await healthy(server), await healthy(server), await healthy(server)];
    const silent = await server.raw();
    kept[0].socket.write(HEALTH); // the first is now the youngest
    await kept[0].receives(new RegExp(`${HEALTHY.source}[^]*${HEALTHY.source}`));
    kept.push(await healthy(server), await healthy(server));
    await kept[1].ends();
    await kept[2].ends();
    kept[0].socket.write(HEALTH);
    await kept[0].receives(new RegExp(`(${HEALTHY.source}[^]*){3}`));
    for (let i = 0; i < 10; i++) kept.push(await healthy(server));
    await silent.ends();
    await talker.talks("what happened?");
    for (const raw of kept) raw.drop();
  });

  test("is not held by those who were told good-bye and do not hang up", async (t) => {
    const server = await serve(t, { env: { MAX_HANDSHAKES: "4", WORKERS: "1" } });
    const gone = [];
    for (let i = 0; i < 8; i++) {
      const raw = await rawJoin(server, somebody());
      raw.socket.allowHalfOpen = true; // it reads the end and does not answer it
      gone.push(raw);
    }
    const ended = gone.map((raw) => new Promise((resolve) => raw.socket.on("end", resolve)));
    for (const raw of gone) raw.socket.write(frame(CLOSE, Buffer.of(3, 0xe8)));
    await within(Promise.all(ended), "all to be told");
    for (let i = 0; i < 8; i++) (await healthy(server)).drop();
    for (const raw of gone) raw.drop();
  });

  test("that a request holds is not taken: the newcomer is told, counted, and logged about once a second", async (t) => {
    const server = await serve(t, { env: { MAX_HANDSHAKES: "4", WORKERS: "1", HANDSHAKE_TIMEOUT: "60s" } });
    const halves = [];
    for (let i = 0; i < 4; i++) halves.push(await half(server));
    const refusals = 50;
    const began = Date.now();
    for (let i = 0; i < refusals; i++) {
      const raw = await server.raw(HEALTH);
      await raw.ends();
      const text = raw.received.toString("latin1");
      assert.match(text, /^HTTP\/1\.1 503 Service Unavailable\r\n/);
      assert.match(text, /\r\nRetry-After: 1\r\n/);
      assert.match(text, /\r\nConnection: close\r\n/);
      raw.drop();
    }
    const seconds = Math.ceil((Date.now() - began) / 1000);
    for (const raw of halves) await completes(raw);
    const { text } = await server.get("/metrics/prometheus");
    assert.match(text, new RegExp(`^chatbox_ratelimit_blocked_total\\{limiter="handshake"\\} ${refusals}$`, "m"));
    const lines = server.log.all.filter((line) => /MAX_HANDSHAKES/.test(line.msg));
    assert.ok(lines.length >= 1 && lines.length <= seconds + 1, `${lines.length} lines in ${seconds} s`);
    for (const raw of halves) raw.drop();
  });

  test("that is refused is in the log a second later, also when nobody else comes", async (t) => {
    const server = await serve(t, { env: { MAX_HANDSHAKES: "1", WORKERS: "1", HANDSHAKE_TIMEOUT: "60s" } });
    const raw = await half(server);
    for (let i = 0; i < 3; i++) await (await server.raw(HEALTH)).ends();
    for (let said = 0; said < 3;) said += Number((await server.log.next((line) => /MAX_HANDSHAKES/.test(line.msg), "the last refusals")).refused);
    raw.drop();
  });
});

describe("an HTTP connection that stays", () => {
  test("is closed when nothing more is asked within HTTP_IDLE_TIMEOUT", async (t) => {
    const server = await serve(t, { env: { HTTP_IDLE_TIMEOUT: "1s", HANDSHAKE_TIMEOUT: "600s" } });
    const raw = await healthy(server);
    await raw.ends();
  });

  test("has HANDSHAKE_TIMEOUT for each request, not only for the first", async (t) => {
    const server = await serve(t, { env: { HTTP_IDLE_TIMEOUT: "1h", HANDSHAKE_TIMEOUT: "1s" } });
    const slow = await healthy(server);
    slow.socket.write("GET /");
    await slow.ends();
    const early = await server.raw(`${HEALTH}GET /`);
    await early.receives(HEALTHY);
    await early.ends();
  });

  test("answers who closes its half behind the request", async (t) => {
    const server = await serve(t);
    for (let i = 0; i < 20; i++) {
      const raw = await server.raw(HEALTH + HEALTH, { hangUp: true });
      await raw.ends();
      assert.equal(raw.received.toString().split('"healthy"').length, 3);
    }
  });

  test("lets its last answer be read by who is still sending", async (t) => {
    const server = await serve(t);
    const size = 8 << 20;
    for (const head of [`Content-Length: ${size}\r\n`, "Content-Length: 1\r\nContent-Length: 2\r\n"]) {
      const raw = await server.raw(`POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\n${head}\r\n`);
      raw.socket.pause(); // it reads only when it has sent everything
      await within(new Promise((resolve) => raw.socket.write(Buffer.alloc(size, "x"), resolve)), "everything to be sent");
      raw.socket.resume();
      await raw.ends();
      assert.match(raw.received.toString("latin1"), /^HTTP\/1\.1 4(13|00) [^]*"code":"BAD_REQUEST"}$/);
    }
  });

  test("reads frames that follow the handshake at once", async (t) => {
    const server = await serve(t);
    const head = `GET ${PREFIX}/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${server.token(somebody())}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    const raw = await server.raw(Buffer.concat([Buffer.from(HEALTH + head), frame(TEXT, JSON.stringify({ type: "user_message", content: "early" }))]));
    await raw.receives(/"healthy"[^]*HTTP\/1\.1 101 [^]*"content":"early"/);
    raw.drop();
  });
});

describe("a process that may open no more descriptors", () => {
  test("says so once, closes who is idle, serves who is there, and goes on by itself", async (t) => {
    const server = await serve(t, { env: { WORKERS: "1", HANDSHAKE_TIMEOUT: "600s" } });
    const alice = await server.join(somebody("alice"));
    await alice.talks("before");
    const idle = [await healthy(server), await healthy(server)];
    const open = readdirSync(`/proc/${server.process.pid}/fd`).length;
    execFileSync("prlimit", ["--pid", String(server.process.pid), `--nofile=${open + 6}`]);

    const halves = [];
    for (let i = 0; i < 12; i++) halves.push(await server.raw(HALF));
    await server.log.next((line) => /accepting pauses/.test(line.msg), "accepting to pause");
    for (const raw of idle) await raw.ends();
    for (let i = 0; i < 20; i++) await alice.talks(`meanwhile ${i}`);

    for (const raw of halves.slice(0, 8)) raw.drop();
    const newcomer = await healthy(server);
    for (const raw of halves.slice(8)) {
      raw.socket.write(REST);
      await raw.receives(HEALTHY);
    }
    await server.log.next((line) => /accepting goes on/.test(line.msg), "accepting to go on");
    const bob = await server.join(somebody("bob"));
    await bob.talks("after");
    const said = server.log.all.filter((line) => /accepting/.test(line.msg)).length;
    assert.ok(said <= 4, `${said} lines about it`);
    for (const raw of [newcomer, ...halves]) raw.drop();
  });
});
