// Where a request ends (RFC 9112, section 6): the same for us and for every proxy before us, so that nobody's bytes become
// a part of somebody else's request. The table is run directly, over TLS, and through nginx and HAProxy with pooled
// connections to the server; behind each row comes an innocent request of somebody else.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { PROXIED, TABLE } from "./framing_table.mjs";
import { PREFIX, Server, botThatSays, somebody, within } from "./support.mjs";

/* ---- a client that reads answers, one after the other ---- */

class Line {
  received = Buffer.alloc(0);
  answers = [];
  #asked = [];
  #looks = new Set();

  /** methods: of the requests, in order, for an answer to HEAD has no body. */
  static async open(connect, methods) {
    const line = new Line();
    line.#asked = [...methods];
    line.socket = connect();
    line.socket.on("data", (part) => {
      line.received = Buffer.concat([line.received, part]);
      while (line.#take());
      for (const look of [...line.#looks]) look();
    });
    line.socket.on("error", () => {});
    line.closed = new Promise((resolve) => line.socket.on("end", () => resolve("end")).on("close", () => resolve("reset")));
    line.closed.then((how) => {
      line.over = how;
      for (const look of [...line.#looks]) look();
    });
    await within(new Promise((resolve) => line.socket.once(line.socket instanceof tls.TLSSocket ? "secureConnect" : "connect", resolve)), "a connection");
    return line;
  }

  #take() {
    const end = this.received.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = this.received.subarray(0, end).toString("latin1");
    const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(head)?.[1]);
    assert.ok(status, `not an answer: ${head}`);
    const said = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const chunked = /^transfer-encoding: chunked$/im.test(head);
    const bare = status < 200 || status === 204 || status === 304 || this.#asked[0] === "HEAD";
    let length = bare ? 0 : said;
    if (chunked && !bare) {
      const last = this.received.indexOf("0\r\n\r\n", end + 4);
      if (last < 0) return false;
      length = last + 5 - end - 4;
    }
    if (this.received.length < end + 4 + length) return false;
    const body = this.received.subarray(end + 4, end + 4 + length).toString("latin1");
    this.received = this.received.subarray(end + 4 + length);
    if (status < 200) return true; // 100 Continue is no answer yet
    this.#asked.shift();
    this.answers.push({ status, head, body });
    return true;
  }

  /** Waits for so many answers, or the end. */
  hears(count, what) {
    let look;
    const heard = new Promise((resolve) => {
      look = () => (this.answers.length >= count || this.over) && resolve();
      this.#looks.add(look);
      look();
    });
    return within(heard, () => `${count} answers to ${what}; heard ${JSON.stringify(this.statuses)}`).finally(() => this.#looks.delete(look));
  }

  get statuses() {
    return this.answers.map((answer) => answer.status);
  }

  drop() {
    this.socket.destroy();
  }
}

/** A piece that arrives whole: a row that is refused early must not lose its answer for what was sent behind it. */
function say(line, bytes) {
  return new Promise((resolve) => line.socket.write(Buffer.from(bytes, "latin1"), resolve));
}

const END = `${PREFIX}/sessions/x/end`;
const methods = (row) => [...row.bytes.matchAll(/(?:^|\r\n\r\n|\r\n)([A-Z]+) \S+ HTTP\//g)].map((match) => match[1]);

async function innocent(connect, times = 2) {
  for (let i = 0; i < times; i++) {
    const line = await Line.open(connect, ["GET"]);
    await say(line, `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: innocent\r\n\r\n`);
    await line.hears(1, "an innocent request");
    assert.deepEqual(line.statuses, [200], line.answers[0]?.head);
    assert.match(line.answers[0].body, /"healthy"/);
    line.drop();
  }
}

/* ---- the table, directly ---- */

async function directly(row, connect) {
  const line = await Line.open(connect, methods(row));
  await say(line, row.bytes);
  await line.hears(row.answers.length, row.name);
  assert.deepEqual(line.statuses, row.answers, line.answers.at(-1)?.head);
  for (const { status, head } of line.answers) {
    assert.match(head, /^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/m, "every answer has a date");
    if (status === 401) assert.match(head, /^WWW-Authenticate: Bearer/m);
  }
  if (row.closed) {
    assert.match(line.answers.at(-1).head, /^Connection: close$/m);
    assert.equal(await within(line.closed, `the end behind ${row.name}`), "end");
    assert.deepEqual(line.statuses, row.answers, "something behind it was read as a request");
    assert.equal(line.received.length, 0, "bytes behind the last answer");
  } else {
    await say(line, `GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await line.hears(row.answers.length + 1, `what follows ${row.name}`);
    assert.deepEqual(line.statuses, [...row.answers, 200]);
  }
  line.drop();
}

const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-framing-"));
after(() => rm(dir, { recursive: true, force: true }));

describe("a request, directly", () => {
  let server;
  before(async () => (server = await Server.start({ env: { WORKERS: "1" } })));
  after(() => server?.remove());
  const connect = () => net.connect({ port: server.port, host: "127.0.0.1" });
  for (const row of TABLE) {
    test(row.name, async () => {
      await directly(row, connect);
      await innocent(connect, 1);
    });
  }

  test("a byte at a time is the same request", async () => {
    for (const row of TABLE.filter((r) => r.bytes.length < 250)) {
      const line = await Line.open(connect, methods(row));
      line.socket.setNoDelay(true);
      for (const byte of Buffer.from(row.bytes, "latin1")) if (!line.over) line.socket.write(Buffer.of(byte));
      await line.hears(row.answers.length, row.name);
      assert.deepEqual(line.statuses, row.answers, row.name);
      line.drop();
    }
  });
});

describe("a body", () => {
  let server;
  before(async () => (server = await Server.start({ env: { WORKERS: "1", MAX_BODY_SIZE: "2000" } })));
  after(() => server?.remove());

  test("is waited for with 100 Continue by who asks for it, once", async () => {
    const raw = await server.raw(`POST ${END} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    await raw.receives(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    raw.socket.write("hello");
    await raw.receives(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 401 /);
    raw.drop();
  });

  test("is not asked for when it would be refused", async () => {
    const raw = await server.raw(`POST ${END} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2001\r\n\r\n`);
    await raw.receives(/^HTTP\/1\.1 413 [^]*Connection: close\r\n/);
    await raw.ends();
  });

  test("in chunks has the bound of one with a length", async () => {
    const chunk = `3e8\r\n${"x".repeat(1000)}\r\n`;
    const head = `POST ${END} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const fits = await server.raw(`${head}${chunk}${chunk}0\r\n\r\n`);
    await fits.receives(/^HTTP\/1\.1 401 /);
    fits.drop();
    const over = await server.raw(`${head}${chunk}${chunk}1\r\n`);
    await over.receives(/^HTTP\/1\.1 413 /);
    await over.ends();
  });

  test("in chunks is what the script gets: a share stays a share", async () => {
    await server.script("bots/echo.lua", botThatSays("new"));
    const headers = { "Content-Type": "application/json", "Transfer-Encoding": "chunked" };
    const token = server.token(somebody("admin"), { roles: ["admin"] });
    const { status, json } = await server.post("/admin/scripts/reload", { token, headers, body: '{"canary_percent":10}' });
    assert.equal(status, 200, JSON.stringify(json));
    const { json: shown } = await server.get("/admin/scripts", { token });
    assert.match(JSON.stringify(shown), /"canary_percent":10\b/);
  });
});

describe("a request, over TLS", () => {
  let server;
  before(async () => {
    const cert = path.join(dir, "cert.pem");
    const key = path.join(dir, "key.pem");
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
    server = await Server.start({ env: { WORKERS: "1", TLS_CERT_FILE: cert, TLS_KEY_FILE: key } });
  });
  after(() => server?.remove());
  const connect = () => tls.connect({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false });
  for (const row of TABLE) test(row.name, () => directly(row, connect));
});

/* ---- the table, through proxies that share their connections to us ---- */

/** A proxy on a socket of its own, until the end of the tests. */
class Proxy {
  static async start(name, command, args, socket) {
    const proxy = new Proxy();
    proxy.socket = socket;
    let noise = "";
    proxy.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    proxy.process.stdout.on("data", (part) => (noise += part));
    proxy.process.stderr.on("data", (part) => (noise += part));
    proxy.exited = new Promise((resolve) => proxy.process.on("close", resolve).on("error", (error) => resolve((noise += error.message))));
    const there = (async () => {
      while (!(await new Promise((resolve) => {
        const attempt = net.connect(socket, () => resolve(attempt.destroy())).on("error", () => resolve(false));
      }))) if (await Promise.race([proxy.exited.then(() => true), new Promise((resolve) => setTimeout(resolve, 20))])) throw new Error(noise);
    })();
    await within(there, `${name} to listen`);
    return proxy;
  }

  connect = () => net.connect(this.socket);

  async stop() {
    this.process.kill("SIGTERM");
    await within(this.exited, "a proxy to end");
  }
}

const proxies = {
  async nginx(port) {
    const socket = path.join(dir, "nginx.sock");
    const config = path.join(dir, "nginx.conf");
    await writeFile(config, `
      daemon off; master_process off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.log;
      events { worker_connections 64; }
      http {
        access_log off; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
        upstream chat { server 127.0.0.1:${port}; keepalive 1; }
        server {
          listen unix:${socket};
          location / { proxy_pass http://chat; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_next_upstream off; proxy_read_timeout 5s; }
        }
      }`);
    return Proxy.start("nginx", "nginx", ["-p", dir, "-e", `${dir}/nginx.log`, "-c", config], socket);
  },
  async haproxy(port) {
    const socket = path.join(dir, "haproxy.sock");
    const config = path.join(dir, "haproxy.cfg");
    await writeFile(config, `
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  retries 0
frontend all
  bind ${socket}
  default_backend chat
backend chat
  http-reuse always
  server one 127.0.0.1:${port} pool-max-conn 1
`);
    return Proxy.start("haproxy", "haproxy", ["-db", "-f", config], socket);
  },
};

for (const [name, start] of Object.entries(proxies)) {
  describe(`a request through ${name}`, () => {
    let server;
    let proxy;
    before(async () => {
      server = await Server.start({ env: { WORKERS: "1" } });
      proxy = await start(server.port);
      await innocent(proxy.connect, 1);
    });
    after(async () => {
      await proxy?.stop();
      await server?.remove();
    });
    for (const row of TABLE) {
      test(`${row.name} is nobody else's`, async () => {
        const expected = PROXIED[row.name]?.[name] ?? row.answers;
        const line = await Line.open(proxy.connect, methods(row));
        await say(line, row.bytes);
        await line.hears(Math.max(expected.length, 1), row.name);
        await innocent(proxy.connect);
        const all = line.statuses;
        line.drop();
        assert.deepEqual(all.slice(0, Math.max(expected.length, 1)), expected, line.answers.at(-1)?.head);
      });
    }
  });
}
