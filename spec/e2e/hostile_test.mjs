// Strangers who do not mean well, or cannot read as fast as others write: they hurt themselves only.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { PREFIX, SOON_MS, TEXT, frame, rawJoin, serve, somebody } from "./support.mjs";

const FREE = { RATE_LIMIT: "1000000", INBOX_LIMIT: "100000" };

describe("a slow reader", () => {
  test("is closed at the bound of its outbox; the other device of the same user gets everything, others do not notice", async (t) => {
    const server = await serve(t, { env: { ...FREE, OUTBOX_LIMIT: "64KiB" } });
    const fast = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    await fast.talks("start");
    const slow = await server.join(fast.user);
    slow.socket.pause();

    const text = "x".repeat(9000);
    let sent = 0;
    while (!(await server.metric("chatbox_outbox_overflows_total"))) {
      assert.ok(sent < 5000, "45 MB and more are waiting for somebody who does not read");
      for (let i = 0; i < 50; i++) await fast.talks(`${sent++} ${text}`);
    }
    await bob.talks("nothing happened here");
    const { sessions } = (await server.get("/sessions", { user: fast.user })).json;
    assert.equal(sessions[0].message_count, 2 + 2 * sent);

    slow.socket.resume();
    const { code } = await slow.ends();
    assert.notEqual(code, 1000);
    await fast.talks("still here");

    const back = await server.join(fast.user, { session: fast.session });
    await back.talks("and so am I");
  });
});

describe("a request that is never finished", () => {
  test("is cut off in time", async (t) => {
    const server = await serve(t, { env: { HANDSHAKE_TIMEOUT: "1s" } });
    const halves = ["", "GET", `GET ${PREFIX}/ws HTTP/1.1\r\n`, `GET ${PREFIX}/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n`];
    const began = Date.now();
    for (const half of await Promise.all(halves.map((bytes) => server.raw(bytes)))) await half.ends();
    assert.ok(Date.now() - began < SOON_MS, "HANDSHAKE_TIMEOUT is 1 s");
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
  });

  test("takes one of MAX_HANDSHAKES places; who has upgraded takes none; those beyond are sent away", async (t) => {
    const server = await serve(t, { env: { MAX_HANDSHAKES: "4", WORKERS: "1", HANDSHAKE_TIMEOUT: "60s" } });
    const people = [];
    for (let i = 0; i < 6; i++) people.push(await server.join(somebody()));
    const halves = [];
    for (let i = 0; i < 4; i++) {
      const half = await server.raw(`GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\nGET ${PREFIX}/ws HTTP/1.1\r\n`);
      await half.receives(/healthy/); // so the half behind it has been read, too
      halves.push(half);
    }
    const beyond = await server.raw(`GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`);
    await beyond.ends();
    assert.doesNotMatch(beyond.received.toString(), /healthy/);
    for (const person of people) await person.talks("we are here");

    for (const half of halves) {
      half.socket.end(); // the server hangs up, too: its place is free then
      await half.ends();
    }
    const alice = await server.join(somebody("alice"));
    await alice.talks("there is room again");
  });
});

describe("garbage", () => {
  const requests = {
    "random bytes": randomBytes(2000),
    "zeros": Buffer.alloc(2000),
    "TLS where there is none": Buffer.from("16030100c8010000c40303", "hex"),
    "a request line without an end": `GET /${"a".repeat(100000)}`,
    "a header without an end": `GET ${PREFIX}/healthz HTTP/1.1\r\nX: ${"a".repeat(100000)}`,
    "a thousand headers": `GET ${PREFIX}/healthz HTTP/1.1\r\n${Array.from({ length: 5000 }, (_, i) => `X-${i}: y\r\n`).join("")}\r\n`,
    "an unknown method": `BREW ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`,
    "HTTP of the future": `GET ${PREFIX}/healthz HTTP/9.9\r\nHost: a\r\n\r\n`,
    "no path": "GET HTTP/1.1\r\n\r\n",
    "a proxy's request": "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "HTTP/2 at once": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade to HTTP/2": `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
    "two lengths": `POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx`,
  };

  test("instead of a request ends that connection at most", async (t) => {
    const server = await serve(t, { env: { HANDSHAKE_TIMEOUT: "1s" } });
    const alice = await server.join(somebody("alice"));
    for (const [what, bytes] of Object.entries(requests)) {
      const raw = await server.raw(bytes);
      const answered = raw.receives(/^HTTP\/1\.[01] \d\d\d /).catch((error) => error);
      const end = await Promise.race([raw.closed.then(() => "closed"), answered]);
      assert.ok(!/waited/.test(end?.message), `${what} is neither answered nor hung up on`);
      raw.drop();
      await alice.talks(`after ${what}`);
    }
  });

  test("instead of frames ends that connection at most", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    for (let i = 0; i < 20; i++) {
      const raw = await rawJoin(server, somebody());
      raw.socket.write(randomBytes(3000));
      raw.socket.end();
      await raw.ends();
    }
    await alice.talks("hello");
  });

  test("in messages is refused, one error each", async (t) => {
    const server = await serve(t, { env: FREE });
    const alice = await server.join(somebody("alice"));
    const words = ["{", "}", "[", "]", '"', ":", ",", "\\u0000", "\\ud800", "1e999", "-", "null", "type", "user_message", "content", " "];
    const texts = Array.from(randomBytes(300), (_, i) => Array.from(randomBytes(1 + (i % 30)), (b) => words[b % words.length]).join(""));
    for (const text of texts) alice.sends(text);
    await alice.talks("done");
    assert.equal(alice.heard.all.filter((m) => m.type === "error").length, texts.length);
  });

  test("a lone surrogate in a message hurts neither the log nor the history", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    alice.sends('{"type":"user_message","session_id":"s","content":"a\\ud800b"}');
    await alice.next((m) => m.type === "error" || m.type === "ai_response");
    await alice.talks("hello");
    assert.ok(Array.isArray(await server.history(alice.user, alice.session)));
  });
});

describe("somebody in a hurry", () => {
  test("who hangs up at once, a hundred times, leaves no place taken", async (t) => {
    const server = await serve(t);
    const user = somebody();
    for (let i = 0; i < 100; i++) {
      const raw = await rawJoin(server, user);
      raw.socket.resetAndDestroy();
      await raw.closed;
    }
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    assert.equal(await server.metric("chatbox_websocket_connections_total"), 1);
  });

  test("who sends and hangs up has still said it", async (t) => {
    const server = await serve(t);
    const user = somebody();
    const alice = await server.join(user);
    await alice.talks("start");
    const raw = await rawJoin(server, user);
    raw.socket.end(frame(TEXT, JSON.stringify({ type: "user_message", session_id: alice.session, content: "bye" })));
    await alice.hears("user_message", { content: "bye" });
    await alice.hears("ai_response", { content: "bye" });
  });

  test("who floods is held back by the inbox, told so, and holds nobody else up", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1000000", INBOX_LIMIT: "8" } });
    const alice = await server.join(somebody("alice"));
    const bob = await server.join(somebody("bob"));
    const bytes = Array.from({ length: 2000 }, (_, i) => frame(TEXT, JSON.stringify({ type: "user_message", session_id: "s", content: `n${i}`, cid: `c${i}` })));
    const raw = await rawJoin(server, alice.user);
    raw.socket.write(Buffer.concat(bytes));
    await bob.talks("is it my turn?");
    await raw.receives((buffer) => {
      const text = buffer.toString("latin1");
      return text.split('"type":"ack"').length + text.split('"SERVICE_ERROR"').length - 2 === 2000;
    });
    assert.match(raw.received.toString(), /Server busy — please retry/);
    raw.drop();
    await alice.talks("and now?");
  });
});
