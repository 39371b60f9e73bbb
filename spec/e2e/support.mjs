// In: the server's binary (CHATBOX_BIN, or the development build). Out: a running server on a port and a store of its
// own, people who talk to it over real sockets, and raw bytes for what no client library would send.
// Why: a test reads as a conversation. Nothing here sleeps: whoever waits, waits for an event, up to DEADLINE_MS. Every
// process is ended by its id when its test ends, and an exit that is not clean fails the test.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { checkAnswer, checkMessage } from "./described.mjs";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const BIN = process.env.CHATBOX_BIN ?? path.join(ROOT, "build/dev/chatbox");
/** How many times as long as the reference this processor takes (spec/support/speed.lua), at least 1. */
export const SLOWNESS = Math.max(1, Number(process.env.SPEC_SLOWNESS ?? 1));
/** A setting: so many milliseconds of the reference's processor time. */
export const budget = (ms) => `${Math.ceil(ms * SLOWNESS)}ms`;
/** For who waits for an event: only what hangs is found out by it, so it is long. */
export const DEADLINE_MS = Number(process.env.E2E_DEADLINE_MS ?? 30000) * SLOWNESS;
/** For a whole test: likewise. */
export const TEST_MS = process.env.SPEC_LONG ? 3600000 : 840000;
/** "Soon", where something much later would be wrong. */
export const SOON_MS = 5000 * SLOWNESS;
export const PREFIX = "/chatbox";

/** promise, or an error that says what was waited for. */
export async function within(promise, what, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${typeof what === "function" ? what() : what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A queue somebody waits at. next() takes what fits and everything before it: a conversation only goes forward. */
export class Heard {
  all = [];
  #read = 0;
  #waiting = new Set();
  #ended = null;

  put(item) {
    this.all.push(item);
    for (const look of [...this.#waiting]) look();
  }

  /** Nothing more will come: whoever waits is told why. */
  end(why) {
    this.#ended = why;
    for (const look of [...this.#waiting]) look();
  }

  next(predicate, what, ms) {
    return this.#await((item, at) => at >= this.#read && predicate(item), (at) => (this.#read = at + 1), what, ms);
  }

  /** The first of all, read or not; waits for it: what a server writes may come after what it does. */
  has(predicate, what, ms) {
    return this.#await(predicate, () => {}, what, ms);
  }

  #await(predicate, take, what, ms) {
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        const i = this.all.findIndex(predicate);
        if (i >= 0) {
          take(i);
          resolve(this.all[i]);
        } else if (this.#ended) {
          reject(new Error(`${this.#ended} while waiting for ${what}; heard ${JSON.stringify(this.all.slice(-5))}`));
        } else {
          return;
        }
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
    const told = () => `${what}; unread: ${JSON.stringify(this.all.slice(this.#read).slice(-5))}`;
    return within(found, told, ms).finally(() => this.#waiting.delete(look));
  }

  get unread() {
    return this.all.slice(this.#read);
  }
}

/* ---- tokens ---- */

const base64url = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A secret without any of the words the server refuses. */
function newSecret() {
  for (;;) {
    const secret = randomBytes(32).toString("hex");
    if (!secret.includes("12345")) return secret;
  }
}

export function mint(secret, claims, { alg = "HS256" } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const body = `${base64url({ alg, typ: "JWT" })}.${base64url({ roles: [], iat: now, exp: now + 3600, ...claims })}`;
  if (alg === "none") return `${body}.`;
  return `${body}.${createHmac(`sha${alg.slice(2)}`, secret).update(body).digest("base64url")}`;
}

let people = 0;
/** A user nobody else in this run has. */
export const somebody = (name = "user") => `${name}-${process.pid}-${++people}`;

/* ---- the server ---- */

/** Rates out of the way of tests that are in a hurry; those about rates set their own, or DEFAULTS. */
const UNLIMITED = {
  PUBLIC_RATE_LIMIT: "100000",
  READ_RATE_LIMIT: "100000",
  END_RATE_LIMIT: "100000",
  LIVE_RATE_LIMIT: "1000000",
  ADMIN_RATE_LIMIT: "100000",
  CONNECT_RATE_LIMIT: "1000000",
  ADDRESS_CONNECT_RATE_LIMIT: "1000000",
  SCRIPT_LOG_RATE: "1000000",
  ADMIN_READ_RATE_LIMIT: "100000",
  CONNECTION_WORK_RATE: "1000000",
  USER_WORK_RATE: "1000000",
  ADDRESS_WORK_RATE: "1000000",
  CONNECTION_BYTE_RATE: "1GiB",
  USER_BYTE_RATE: "1GiB",
  ADDRESS_BYTE_RATE: "1GiB",
  INBOX_BYTES: "1GiB",
  INBOX_BYTES_PER_USER: "1GiB",
};
/** env: the rates as they are when nobody sets them. */
export const DEFAULTS = Object.fromEntries(Object.keys(UNLIMITED).map((name) => [name, undefined]));

const SANITIZER = /ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed/;

export class Server {
  log = new Heard();
  noise = []; // what is not a line of the log

  /** env: settings; scripts: { "bots/echo.lua": text } replaces files of the copied scripts; dir: of an earlier server;
   *  secret: likewise; args: of chatbox run. */
  static async start({ env = {}, scripts = {}, dir, secret, args = [] } = {}) {
    const server = new Server();
    server.fresh = !dir;
    // Its scripts and paths are ours: what it says is described.
    server.plain = !dir && Object.keys(scripts).length === 0 && env.CHATBOX_PATH_PREFIX === undefined;
    server.args = args;
    server.dir = dir ?? (await mkdtemp(path.join(os.tmpdir(), "chatbox-")));
    server.scripts = path.join(server.dir, "scripts");
    server.secret = secret ?? newSecret();
    if (server.fresh) await cp(path.join(ROOT, "scripts"), server.scripts, { recursive: true });
    for (const [file, text] of Object.entries(scripts)) await server.script(file, text);
    server.env = {
      PATH: process.env.PATH,
      MONGOC_DISABLE_SHM: "1", // or the driver leaves a file in /dev/shm for each server that is killed
      HOME: server.dir,
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => /^((A|T|UB|L)SAN_OPTIONS|LUA_LINES_DIR)$/.test(name))),
      SERVER_ADDRESS: "127.0.0.1",
      SERVER_PORT: "0",
      WORKERS: "2",
      JWT_SECRET: server.secret,
      STORE_URL: `sqlite:${path.join(server.dir, "chatbox.db")}`,
      SCRIPTS_DIR: server.scripts,
      WEB_DIR: path.join(ROOT, "web"),
      ...UNLIMITED,
      SCRIPT_SLICE_BUDGET: "1m", // on any machine, under any sanitizer; a test that looks at time sets its own
      SCRIPT_MESSAGE_BUDGET: "10m",
      LOG_FORMAT: "json",
      ...env,
    };
    await server.#run();
    return server;
  }

  async #run() {
    this.process = spawn(BIN, ["run", ...this.args], { env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    this.exited = new Promise((resolve, reject) => {
      this.process.on("error", reject);
      this.process.on("close", (code, signal) => resolve({ code, signal }));
    });
    this.exited.catch(() => {});
    createInterface({ input: this.process.stderr }).on("line", (line) => this.#hear(line));
    const gone = this.exited.then(({ code, signal }) => this.log.end(`the server ended (${signal ?? code}: ${this.noise.join("\n")})`));
    gone.catch((error) => this.log.end(`${BIN}: ${error.message}`));
    try {
      const { port } = await this.log.next((line) => line.msg === "listening", "the server to listen", 2 * DEADLINE_MS);
      this.port = Number(port);
    } catch (error) {
      this.process.kill("SIGKILL");
      if (this.fresh) await rm(this.dir, { recursive: true, force: true });
      throw error;
    }
  }

  #hear(text) {
    try {
      this.log.put({ ...JSON.parse(text), text });
    } catch {
      this.noise.push(text);
    }
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  token(user, claims = {}) {
    return mint(this.secret, { user_id: user, name: user, ...claims });
  }

  script(file, text) {
    this.plain = false;
    return writeFile(path.join(this.scripts, file), text);
  }

  readScript(file) {
    return readFile(path.join(this.scripts, file), "utf8");
  }

  signal(name) {
    this.process.kill(name);
    return within(this.exited, `the server to end after ${name}`, 2 * DEADLINE_MS);
  }

  kill() {
    return this.signal("SIGKILL");
  }

  /** A clean end, or an error. The store stays, for another server. */
  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill("SIGTERM");
    let ending;
    try {
      ending = await within(this.exited, "the server to end after SIGTERM", 2 * DEADLINE_MS);
    } catch (error) {
      this.process.kill("SIGKILL");
      throw error;
    }
    this.healthy();
    return ending;
  }

  healthy() {
    const bad = this.noise.findIndex((line) => SANITIZER.test(line));
    assert.equal(bad, -1, this.noise.slice(bad, bad + 40).join("\n"));
  }

  /** The same place, started again. */
  async again(env = {}) {
    const next = await Server.start({ env: { ...this.env, ...env }, dir: this.dir, secret: this.secret });
    next.fresh = this.fresh;
    return next;
  }

  /** End of a test, whatever happened in it. */
  async remove() {
    const killed = this.process.signalCode === "SIGKILL";
    try {
      const { code, signal } = await this.stop();
      if (!killed) assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the server did not end well: ${this.noise.join("\n")}`);
    } finally {
      await rm(this.dir, { recursive: true, force: true });
    }
  }

  /** The program with other arguments: { code, out, err }. */
  async command(...args) {
    const child = spawn(BIN, args, { env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (bytes) => (out += bytes));
    child.stderr.on("data", (bytes) => (err += bytes));
    const ended = new Promise((resolve, reject) => child.on("close", (code) => resolve({ code, out, err })).on("error", reject));
    try {
      return await within(ended, `chatbox ${args.join(" ")} to end`);
    } finally {
      child.kill("SIGKILL");
    }
  }

  /* ---- HTTP ---- */

  /** path below the prefix, sent as it is. → { status, headers, text, json } */
  ask(method, where, { user, token, headers = {}, body, prefix = PREFIX } = {}) {
    const bearer = token ?? (user && this.token(user));
    const options = {
      host: "127.0.0.1",
      port: this.port,
      method,
      path: prefix + where,
      headers: { ...(bearer && { Authorization: `Bearer ${bearer}` }), ...headers },
      agent: false,
    };
    const answered = new Promise((resolve, reject) => {
      const request = http.request(options, (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => {
          try {
            const whole = answer(response, Buffer.concat(parts).toString());
            if (this.plain && prefix === PREFIX) checkAnswer(method, where, whole);
            resolve(whole);
          } catch (error) {
            reject(error);
          }
        });
      });
      request.on("upgrade", (response, socket) => {
        socket.destroy();
        resolve(answer(response, ""));
      });
      request.on("error", reject);
      request.end(body);
    });
    return within(answered, `an answer to ${method} ${where}`);
  }

  get(where, options) {
    return this.ask("GET", where, options);
  }

  post(where, options) {
    return this.ask("POST", where, options);
  }

  /** With all labels together; undefined: there is no such line. */
  async metric(name) {
    const { text } = await this.get("/metrics/prometheus");
    const lines = text.split("\n").filter((l) => l.startsWith(`${name} `) || l.startsWith(`${name}{`));
    return lines.length ? lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0) : undefined;
  }

  async history(user, id) {
    return (await this.get(`/sessions/${id}`, { user })).json.messages;
  }

  /* ---- sockets ---- */

  /** An upgrade request; headers replace the good ones, undefined leaves one out. */
  handshake(where, headers = {}) {
    const good = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
    };
    const all = Object.entries({ ...good, ...headers }).filter(([, value]) => value !== undefined);
    return this.ask("GET", where, { headers: Object.fromEntries(all) });
  }

  /** Bytes as they are. → a Raw */
  raw(bytes = "", options = {}) {
    return Raw.open(this.port, bytes, options);
  }

  /** user joins and has been greeted. */
  async join(user, options = {}) {
    const client = await Client.connect(this, user, options);
    client.greeting = await client.hears("connection_status");
    client.session = client.greeting.session_id;
    return client;
  }
}

function answer(response, text) {
  const found = { status: response.statusCode, headers: response.headers, text };
  Object.defineProperty(found, "json", { get: () => JSON.parse(text) });
  return found;
}

/** A server for one test, gone with it. */
export async function serve(t, options) {
  const server = await Server.start(options);
  t.after(() => server.remove());
  return server;
}

/* ---- people ---- */

export class Client {
  heard = new Heard();

  static async connect(server, user, { claims, token, session, query = "", headers = {}, ...options } = {}) {
    const client = new Client();
    client.user = user;
    const bearer = token ?? server.token(user, claims);
    const wanted = session === undefined ? "" : `session_id=${encodeURIComponent(session)}`;
    const search = [query, wanted].filter(Boolean).join("&");
    client.socket = new WebSocket(`ws://127.0.0.1:${server.port}${PREFIX}/ws${search && `?${search}`}`, {
      headers: { ...(bearer && { Authorization: `Bearer ${bearer}` }), ...headers },
      perMessageDeflate: false,
      ...options,
    });
    client.closed = new Promise((resolve) => {
      client.socket.on("close", (code, reason) => {
        client.heard.end(`${user}'s connection closed (${code} ${reason})`);
        resolve({ code, reason: reason.toString() });
      });
    });
    client.socket.on("message", (data) => {
      const message = JSON.parse(data);
      client.heard.put(message);
      if (this.plain) checkMessage(message);
    });
    const opened = new Promise((resolve, reject) => client.socket.on("open", resolve).on("error", reject));
    await within(opened, `${user} to connect`);
    client.socket.on("error", () => {}); // "close" tells
    return client;
  }

  next(predicate, what = "a message", ms) {
    return this.heard.next(predicate, `${this.user} to hear ${what}`, ms);
  }

  /** The next message of this type, with these fields. */
  hears(type, fields = {}) {
    const fits = (m) => m.type === type && Object.entries(fields).every(([k, v]) => m[k] === v);
    return this.next(fits, `${type} ${Object.keys(fields).length ? JSON.stringify(fields) : ""}`);
  }

  async hearsError(code) {
    const { error } = await this.next((m) => m.type === "error", `error ${code}`);
    assert.equal(error.code, code, JSON.stringify(error));
    return error;
  }

  /** A JSON document, or text as it is. */
  sends(what, options = {}) {
    this.socket.send(typeof what === "string" || Buffer.isBuffer(what) ? what : JSON.stringify(what), options);
  }

  says(content, fields = {}) {
    this.sends({ type: "user_message", session_id: this.session || randomUUID(), content, ...fields });
  }

  /** Says it and waits until it is stored. → the ack */
  async saysSurely(content, cid = randomUUID()) {
    this.says(content, { cid });
    const ack = await this.hears("ack", { cid });
    this.session = ack.session_id || this.session;
    return ack;
  }

  /** Says it and waits for the answer of the echo bot. */
  async talks(content) {
    this.says(content);
    const reply = await this.hears("ai_response", { content });
    this.session = reply.session_id;
    return reply;
  }

  /** Says it and waits for that answer. */
  async talksTo(content, answer) {
    this.says(content);
    return this.hears("ai_response", { content: answer });
  }

  /** Fails when anything of these types came that nobody asked about. */
  heardNothingOf(...types) {
    assert.deepEqual(this.heard.all.filter((m) => types.includes(m.type)), []);
  }

  leaves() {
    this.socket.close(1000);
    return within(this.closed, `${this.user} to leave`);
  }

  ends() {
    return within(this.closed, `${this.user}'s connection to be closed`);
  }
}

/** A plain connection: what was received, and its end. */
export class Raw {
  received = Buffer.alloc(0);
  #looks = new Set();

  static async open(port, bytes, { hangUp = false } = {}) {
    const raw = new Raw();
    raw.socket = net.connect(port, "127.0.0.1");
    raw.socket.on("data", (part) => {
      raw.received = Buffer.concat([raw.received, part]);
      for (const look of [...raw.#looks]) look();
    });
    raw.socket.on("error", () => {}); // a reset is an end like any other
    raw.closed = new Promise((resolve) => raw.socket.on("close", resolve));
    await within(new Promise((resolve) => raw.socket.on("connect", resolve)), "a connection");
    if (bytes.length) raw.socket.write(bytes);
    if (hangUp) raw.socket.end();
    return raw;
  }

  /** Waits until what was received fits: a pattern on latin1 text, or a function of the buffer. */
  async receives(fits) {
    const fit = typeof fits === "function" ? fits : (buffer) => fits.test(buffer.toString("latin1"));
    const found = new Promise((resolve, reject) => {
      const look = () => fit(this.received) && (this.#looks.delete(look), resolve());
      this.#looks.add(look);
      this.closed.then(() => (fit(this.received) ? resolve() : reject(new Error(`closed after ${JSON.stringify(this.received.toString("latin1"))}`))));
      look();
    });
    await within(found, () => `${fits} in ${JSON.stringify(this.received.toString("latin1").slice(0, 500))}`);
    return this.received;
  }

  ends() {
    return within(this.closed, () => `the server to hang up; received ${JSON.stringify(this.received.toString("latin1").slice(0, 500))}`);
  }

  drop() {
    this.socket.destroy();
  }
}

/** A client's frame: masked, as it has to be. */
export function frame(opcode, payload, { fin = true, rsv = 0 } = {}) {
  const body = Buffer.from(payload);
  const mask = randomBytes(4);
  const small = body.length < 126;
  const head = Buffer.alloc(small ? 2 : body.length < 65536 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = 0x80 | (small ? body.length : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(body.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(body.length), 2);
  return Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i & 3])]);
}

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;

/** A WebSocket without a library: upgraded, and greeted. */
export async function rawJoin(server, user) {
  const raw = await server.raw(
    `GET ${PREFIX}/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Authorization: Bearer ${server.token(user)}\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`,
  );
  await raw.receives(/connection_status/);
  return raw;
}

/** The close code in what the server sent last: its close frame is the last it sends. */
export function closeCode(raw) {
  const at = raw.received.lastIndexOf(Buffer.from([0x88]));
  return at < 0 || raw.received.length < at + 4 ? undefined : raw.received.readUInt16BE(at + 2);
}

/** What a bot says that answers everything with this text. */
export const botThatSays = (text) => `local bot = require "bot" "echo"
bot:otherwise(function(session) session:reply ${JSON.stringify(text)} end)
return bot
`;

/* ---- somebody else at the database ---- */

/** Python with its sqlite3 at the server's database; → { child, ended } */
function python(server, code) {
  const file = path.join(server.dir, "chatbox.db");
  const child = spawn("python3", ["-c", `import sqlite3, sys; c = sqlite3.connect(${JSON.stringify(file)}, isolation_level=None); ${code}`], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  return { child, ended: new Promise((resolve) => child.on("close", resolve).on("error", resolve)) };
}

/** Holds the write lock of the file until the function that comes back is called; undefined: there is no python3. */
export async function lockDatabase(server) {
  const { child, ended } = python(server, 'c.execute("BEGIN IMMEDIATE"); print("locked", flush=True); sys.stdin.read()');
  const locked = new Promise((resolve) => child.stdout.on("data", () => resolve(true)));
  if ((await Promise.race([locked, ended])) !== true) return undefined;
  return async () => {
    child.stdin.end();
    await ended;
  };
}

/** One statement; 0: it was done. */
export const queryDatabase = (server, sql) => python(server, `c.execute(${JSON.stringify(sql)})`).ended;
