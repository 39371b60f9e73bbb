// `chatbox chat`: a line in, a line out, and an exit code that says whether everything was answered; whatever the server,
// the network or the person at the keyboard does.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocketServer } from "ws";
import { Network } from "./network.mjs";
import { BIN, PREFIX, SOON_MS, Server, mint, serve, somebody, within } from "./support.mjs";

/** A running `chatbox chat`. */
class Talk {
  out = "";
  err = "";
  #looks = new Set();

  constructor(t, args, { env = {}, terminal = false } = {}) {
    const all = { PATH: process.env.PATH, HOME: os.tmpdir(), ...sanitizers(), ...env };
    const line = [BIN, "chat", ...args];
    this.process = terminal ? spawn("script", ["-qefc", line.map((a) => `'${a}'`).join(" "), "/dev/null"], { env: all }) : spawn(BIN, ["chat", ...args], { env: all });
    this.process.stdin.on("error", () => {});
    for (const [stream, name] of [[this.process.stdout, "out"], [this.process.stderr, "err"]]) {
      stream.on("data", (bytes) => {
        this[name] += bytes;
        for (const look of [...this.#looks]) look();
      });
    }
    this.ended = new Promise((resolve) => this.process.on("close", (code, signal) => resolve({ code, signal, out: this.out, err: this.err })));
    this.ended.then(() => [...this.#looks].forEach((look) => look()));
    t.after(() => this.process.kill("SIGKILL"));
  }

  says(text) {
    this.process.stdin.write(text);
    return this;
  }

  /** The end of the input. → { code, out, err } */
  ends(text = "") {
    this.process.stdin.end(text);
    return within(this.ended, () => `the chat to end; out: ${this.out} err: ${this.err}`);
  }

  prints(pattern, name = "out") {
    const found = new Promise((resolve) => {
      const look = () => pattern.test(this[name]) && (this.#looks.delete(look), resolve());
      this.#looks.add(look);
      look();
    });
    return within(found, () => `${pattern} in ${this[name]}; the other: ${name === "out" ? this.err : this.out}`);
  }
}

const sanitizers = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(A|T|UB|L)SAN_OPTIONS$/.test(name)));

const chat = (t, server, { user = somebody(), token = server.token(user), url = server.origin, args = [], ...more } = {}) => new Talk(t, ["--url", url, "--token", token, ...args], more);

/** A server of the test's own, which says what it wants. heard: what it was sent. */
async function pretend(t, act) {
  const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => sockets.on("listening", resolve));
  sockets.on("connection", (socket, request) => {
    socket.on("error", () => {});
    act(socket, request);
  });
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  });
  return { origin: `http://127.0.0.1:${sockets.address().port}`, token: () => mint("x".repeat(32), { user_id: "a" }) };
}

const greet = (socket, more = {}) => socket.send(JSON.stringify({ type: "connection_status", session_id: "S", user_id: "a", models: [], ...more }));

/** Acknowledges, gives pages of history, and leaves the answers to answer(socket, message). */
function polite(socket, answer) {
  let seq = 0;
  greet(socket);
  socket.on("message", (bytes) => {
    const m = JSON.parse(bytes);
    if (m.type === "user_message") {
      socket.send(JSON.stringify({ type: "ack", session_id: "S", cid: m.cid, id: `i${seq}`, seq: ++seq }));
      answer(socket, m);
    } else if (m.type === "history") {
      socket.send(JSON.stringify({ type: "history", session_id: "S", messages: [] }));
    }
  });
}

const reply = (socket, content, more = {}) => socket.send(JSON.stringify({ type: "ai_response", session_id: "S", content, sender: "ai", ...more }));

describe("a script", () => {
  let server;
  before(async () => (server = await Server.start({ env: { RATE_LIMIT: "1000000" } })));
  after(() => server?.remove());

  test("sends lines, gets each answered in order, and 0", async (t) => {
    const lines = Array.from({ length: 50 }, (_, i) => `line ${i}`);
    const { code, out, err } = await chat(t, server).ends(lines.join("\n"));
    assert.deepEqual([code, out, err], [0, `${lines.join("\n")}\n`, ""]);
  });

  test("has nothing to say: 0", async (t) => {
    assert.deepEqual(await chat(t, server).ends(), { code: 0, signal: null, out: "", err: "" });
    assert.equal((await chat(t, server).ends("\n  \n\t\r\n")).code, 0);
  });

  test("says what is no text: it is mended, and answered", async (t) => {
    const { code, out } = await chat(t, server).ends(Buffer.from([0x61, 0xff, 0x62, 0x0a, 0xed, 0xa0, 0xbd, 0x0a]));
    assert.deepEqual([code, out.replaceAll("\ufffd", "?")], [0, "a?b\n???\n"]);
  });

  test("says too much: that line is refused and named, the others are answered, and 1", async (t) => {
    const { code, out, err } = await chat(t, server).ends(`one\n${"x".repeat(10001)}\ntwo\n`);
    assert.deepEqual([code, out], [1, "one\ntwo\n"]);
    assert.match(err, /^chatbox: INVALID_FORMAT: .*10000 bytes\n$/);
  });

  test("has a line of more than a mebibyte: 1", async (t) => {
    const { code, err } = await chat(t, server).ends("x".repeat(3 << 20));
    assert.equal(code, 1);
    assert.match(err, /a line of more than 1 MiB/);
  });

  test("goes on in the conversation it names", async (t) => {
    const user = somebody();
    await chat(t, server, { user }).ends("first\n");
    const { sessions } = (await server.get("/sessions", { user })).json;
    assert.equal((await chat(t, server, { user, args: ["--session", sessions[0].id] }).ends("second\n")).code, 0);
    assert.deepEqual((await server.history(user, sessions[0].id)).map((m) => m.content), ["first", "first", "second", "second"]);
  });

  test("hears only the answers to its own lines, not what was said before", async (t) => {
    const user = somebody();
    await chat(t, server, { user }).ends("before\n");
    assert.equal((await chat(t, server, { user }).ends("now\n")).out, "now\n");
  });

  test("takes the token from the environment", async (t) => {
    const talk = new Talk(t, ["--url", server.origin], { env: { CHATBOX_TOKEN: server.token(somebody()) } });
    assert.equal((await talk.ends("hello\n")).out, "hello\n");
  });

  for (const tail of ["", "/", PREFIX, `${PREFIX}/`, `${PREFIX}/ws`, `${PREFIX}/chat.html#token=x`]) {
    test(`finds the server at ADDRESS${tail}`, async (t) => {
      assert.equal((await chat(t, server, { url: server.origin + tail }).ends("hello\n")).out, "hello\n");
    });
  }

  test("whose output nobody reads fails", async (t) => {
    const talk = chat(t, server);
    talk.process.stdout.destroy();
    const { code } = await talk.ends("one\ntwo\nthree\n");
    assert.equal(code, 1);
  });

  test("is told when the token ends", async (t) => {
    const user = somebody();
    const talk = chat(t, server, { token: server.token(user, { exp: Math.floor(Date.now() / 1000) - 3600 }) });
    const { code, err } = await talk.ends("hello\n");
    assert.equal(code, 1);
    assert.match(err, /the server refused: 401 Authentication failed/);
  });

  test("is slowed by a rate limit, and everything is answered", async (t) => {
    const slow = await serve(t, { env: { RATE_LIMIT: "2", RATE_WINDOW: "1s" } });
    const { code, out, err } = await chat(t, slow).ends("1\n2\n3\n4\n5\n");
    assert.deepEqual([code, out, err], [0, "1\n2\n3\n4\n5\n", ""]);
  });
});

describe("a server", () => {
  test("that is not there: said at once, and 1", async (t) => {
    const { code, out, err } = await new Talk(t, ["--url", "http://127.0.0.1:1", "--token", "a.b.c"]).ends("hello\n");
    assert.deepEqual([code, out, err], [1, "", "chatbox: cannot connect to 127.0.0.1:1: connection refused\n"]);
  });

  test("whose name nobody knows", async (t) => {
    const { code, err } = await new Talk(t, ["--url", "http://no-such-host.invalid", "--token", "a.b.c"]).ends();
    assert.equal(code, 1);
    assert.match(err, /no-such-host\.invalid: /);
  });

  for (const [what, bytes, says] of [
    ["is no HTTP server", "SSH-2.0-OpenSSH\r\n\r\n", /no HTTP server/],
    ["hangs up", "", /hung up/],
    ["has no chat there", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", /no chat at this address/],
    ["agrees to something else", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", /does not speak WebSocket/],
    ["refuses with control characters", "HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\na\x1b[31mb\x00c", /the server refused: 503 a \[31mb ?c?\n/],
  ]) {
    test(`that ${what}: said in a line, and 1`, async (t) => {
      const other = net.createServer((socket) => socket.on("error", () => {}).once("data", () => socket.end(bytes)));
      await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
      t.after(() => other.close());
      const { code, err } = await new Talk(t, ["--url", `http://127.0.0.1:${other.address().port}`, "--token", "a.b.c"]).ends("hello\n");
      assert.equal(code, 1);
      assert.match(err, says);
      assert.equal(err.trim().split("\n").length, 1);
    });
  }

  test("that stops and starts again: what is on its way is answered, once", async (t) => {
    const server = await serve(t);
    const network = await Network.open(t, server.port);
    const user = somebody();
    const talk = chat(t, { origin: network.origin, token: (u) => server.token(u) }, { user }).says("one\n");
    await talk.prints(/^one\n$/);
    await server.stop();
    await talk.prints(/going_away/, "err");
    talk.says("two\n");
    const later = await server.again();
    t.after(() => later.remove());
    network.target = later.port;
    const { code, out } = await talk.ends("three\n");
    assert.deepEqual([code, out], [0, "one\ntwo\nthree\n"]);
    const { sessions } = (await later.get("/sessions", { user })).json;
    assert.deepEqual((await later.history(user, sessions[0].id)).map((m) => m.content), ["one", "one", "two", "two", "three", "three"]);
  });

  test("whose network breaks again and again: every line is answered, once", async (t) => {
    const server = await serve(t, { env: { RATE_LIMIT: "1000000" } });
    const network = await Network.open(t, server.port);
    let pieces = 0;
    network.fate = () => (++pieces % 17 === 0 ? "drop" : "pass");
    const user = somebody();
    const lines = Array.from({ length: 12 }, (_, i) => `n${i}`);
    const { code, out, err } = await chat(t, { origin: network.origin, token: (u) => server.token(u) }, { user }).ends(lines.join("\n"));
    assert.deepEqual([code, out.trim().split("\n")], [0, lines], err);
    assert.ok(network.counts.dropped > 2);
    const { sessions } = (await server.get("/sessions", { user })).json;
    assert.deepEqual((await server.history(user, sessions[0].id)).filter((m) => m.sender === "user").map((m) => m.content), lines);
  });

  test("that never answers: 1, after the time that was given", async (t) => {
    const server = await pretend(t, (socket) => polite(socket, () => {}));
    const { code, out, err } = await chat(t, server, { args: ["--timeout", "1s"] }).ends("hello\n");
    assert.deepEqual([code, out, err], [1, "", "chatbox: there is no answer\n"]);
  });

  test("whose handler failed: its error is printed, and 1", async (t) => {
    const server = await serve(t, { scripts: { "bots/echo.lua": 'local bot = require "bot" "echo"\nbot:otherwise(function(s, m) if m.content == "fail" then error "no" end s:reply(m.content) end)\nreturn bot\n' } });
    const { code, out, err } = await chat(t, server).ends("one\nfail\ntwo\n");
    assert.deepEqual([code, out], [1, "one\ntwo\n"]);
    assert.match(err, /^chatbox: INTERNAL: /);
  });

  test("that answers twice, or in pieces: all of it is printed before the next line is sent", async (t) => {
    const server = await serve(t, { scripts: { "bots/echo.lua": 'local bot = require "bot" "echo"\nbot:otherwise(function(s, m) s:reply(m.content .. " a") s:flush() s:reply(m.content .. " b") end)\nreturn bot\n' } });
    assert.equal((await chat(t, server).ends("one\ntwo\n")).out, "one a\none b\ntwo a\ntwo b\n");
    const pieces = await pretend(t, (socket) =>
      polite(socket, () => {
        for (const [content, done] of [["Hel", "false"], ["lo\n", "false"], ["you", "false"], [undefined, "true"]]) reply(socket, content, { metadata: { streaming: "true", done } });
      }),
    );
    assert.deepEqual(await chat(t, pieces).ends("x\n"), { code: 0, signal: null, out: "Hello\nyou\n", err: "" });
  });

  for (const [close, word, says] of [
    [1008, "refused", /refused/],
    [4401, "token_expired", /token_expired/],
    [4403, "erased", /erased/],
    [4409, "replaced", /replaced/],
  ]) {
    test(`that says bye with ${close} ${word}: printed, not come back to, and 1`, async (t) => {
      let connections = 0;
      const server = await pretend(t, (socket) => {
        connections++;
        greet(socket);
        socket.send(JSON.stringify({ type: "bye", code: word, reason: "Because", sender: "system" }));
        socket.close(close, word);
      });
      const { code, err } = await chat(t, server).ends("hello\n");
      assert.deepEqual([code, connections], [1, 1]);
      assert.match(err, says);
      assert.match(err, /Because/);
      assert.match(err, new RegExp(close));
    });
  }

  test("that says bye and when to come back: not before", async (t) => {
    const times = [];
    const server = await pretend(t, (socket) => {
      times.push(Date.now());
      if (times.length > 1) return polite(socket, (s, m) => reply(s, m.content));
      greet(socket);
      socket.send(JSON.stringify({ type: "bye", code: "going_away", reason: "Server shutting down", retry_after_ms: 1500 }));
      socket.close(1001, "going_away");
    });
    const { code, out } = await chat(t, server).ends("hello\n");
    assert.deepEqual([code, out], [0, "hello\n"]);
    assert.ok(times[1] - times[0] >= 1500);
  });

  test("that breaks the protocol: said, and 1", async (t) => {
    for (const bytes of [[0xc1, 0x00], [0x81, 0x80, 0, 0, 0, 0], [0x80, 0x00], [0x89, 0x7e, 0, 126], [0x81, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0], [0x83, 0x00]]) {
      const server = await pretend(t, (socket) => socket._socket.write(Buffer.from(bytes)));
      const { code, err } = await chat(t, server).ends("hello\n");
      assert.equal(code, 1, bytes.join());
      assert.match(err, /broke the protocol/);
    }
  });

  test("that sends fragments, pings, nonsense and what nobody knows: the answer is heard all the same", async (t) => {
    const server = await pretend(t, (socket) =>
      polite(socket, (s, m) => {
        for (const text of ["nonsense", "null", "[]", "5", '{"type":5}', '{"type":"new"}', '{"type":"ai_response"}']) s.send(text);
        s.ping("x");
        const text = JSON.stringify({ type: "ai_response", content: m.content, sender: "ai" });
        s.send(text.slice(0, 9), { fin: false });
        s.ping("y");
        s.send(text.slice(9), { fin: true });
      }),
    );
    const { code, out } = await chat(t, server).ends("hello\n");
    assert.deepEqual([code, out], [0, "hello\n"]);
  });
});

describe("at a keyboard", () => {
  test("it says who one is, answers, and ends with Ctrl-D and 0", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const talk = chat(t, server, { user, terminal: true });
    await talk.prints(new RegExp(`Connected as ${user}`));
    talk.says("hello\n");
    await talk.prints(/hello\r\n(.*\r\n)?hello\r\n/);
    talk.says("\x04");
    assert.equal((await within(talk.ended, "the chat to end")).code, 0);
  });

  test("it ends with Ctrl-C and 130, at once, also while an answer is awaited or a server does not answer", async (t) => {
    const silent = await pretend(t, (socket) => polite(socket, () => {}));
    const asked = chat(t, silent, { terminal: true });
    await asked.prints(/Connected/);
    asked.says("hello\n\x03");
    assert.equal((await within(asked.ended, "the chat to end", SOON_MS)).code, 130);

    const hole = net.createServer(() => {});
    await new Promise((resolve) => hole.listen(0, "127.0.0.1", resolve));
    t.after(() => hole.close());
    const called = new Promise((resolve) => hole.on("connection", (socket) => resolve(t.after(() => socket.destroy()))));
    const lost = new Talk(t, ["--url", `http://127.0.0.1:${hole.address().port}`, "--token", "a.b.c"]);
    await within(called, "a call");
    lost.process.kill("SIGINT");
    assert.equal((await within(lost.ended, "the chat to end", SOON_MS)).code, 130);
  });

  test("control characters in an answer do not reach the terminal", async (t) => {
    const server = await pretend(t, (socket) => polite(socket, (s) => reply(s, "a\x1b]0;title\x07b\u009bc\x7fd\tü")));
    const talk = chat(t, server, { terminal: true });
    await talk.prints(/Connected/);
    talk.says("x\n");
    await talk.prints(/a\ufffd\]0;title\ufffdb\ufffdc\ufffdd\tü/);
    talk.says("\x04");
    await within(talk.ended, "the chat to end");
    const piped = await chat(t, server).ends("x\n");
    assert.equal(piped.out, "a\x1b]0;title\x07b\u009bc\x7fd\tü\n", "a pipe gets it as it is");
  });
});

describe("wss", () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), "chatbox-chat-"));
  const [cert, key] = [path.join(dir, "cert.pem"), path.join(dir, "key.pem")];
  before(() => {
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  test("works with a certificate that is trusted, by name and by number; any other is refused", async (t) => {
    const server = await serve(t, { env: { TLS_CERT_FILE: cert, TLS_KEY_FILE: key } });
    for (const host of ["localhost", "127.0.0.1"]) {
      const big = "x".repeat(9999);
      const { code, out, err } = await chat(t, server, { url: `wss://${host}:${server.port}${PREFIX}`, env: { SSL_CERT_FILE: cert } }).ends(`hello\n${big}\n`);
      assert.deepEqual([code, out], [0, `hello\n${big}\n`], err);
    }
    const wrong = await chat(t, server, { url: `https://127.0.0.2:${server.port}`, env: { SSL_CERT_FILE: cert } }).ends("hello\n");
    assert.equal(wrong.code, 1);
    const unknown = await chat(t, server, { url: `https://127.0.0.1:${server.port}` }).ends("hello\n");
    assert.equal(unknown.code, 1);
    assert.match(unknown.err, /^chatbox: TLS: .*self-signed certificate/i);
    const plain = await chat(t, server, { url: `http://127.0.0.1:${server.port}` }).ends("hello\n");
    assert.equal(plain.code, 1);
  });
});

describe("the command line", () => {
  test("what cannot be is refused with 2 and a reason, and nobody is called", async (t) => {
    for (const [args, says] of [
      [[], /--url ADDRESS is needed/],
      [["--url", "example.com", "--token", "a"], /it begins with http/],
      [["--url", "http://", "--token", "a"], /no host/],
      [["--url", "http://a:99999", "--token", "a"], /port/],
      [["--url", "http://a:x", "--token", "a"], /port/],
      [["--url", "http://[::1", "--token", "a"], /\]/],
      [["--url", "http://u:p@a", "--token", "a"], /port|host/],
      [["--url", `http://a/${"x".repeat(600)}`, "--token", "a"], /too long/],
      [["--url", "http://a/b c", "--token", "a"], /encoded/],
      [["--url", "http://a"], /a token is needed/],
      [["--url", "http://a", "--token", "a\r\nX: y"], /a token is needed/],
      [["--url", "http://a", "--token", "a", "--session", "a&b"], /no id/],
      [["--url", "http://a", "--token", "a", "--timeout", "soon"], /--timeout/],
      [["--url", "http://a", "--token", "a", "--timeout", "0"], /--timeout/],
      [["--url", "http://a", "--token", "a", "surplus"], /--help/],
      [["--what"], /--what/],
    ]) {
      const { code, out, err } = await new Talk(t, args).ends("hello\n");
      assert.equal(code, 2, args.join(" "));
      assert.match(err, says);
      assert.equal(out, "");
    }
  });
});
