// In: nothing. Out: a world for the client library that stands still: a clock that moves when it is told to, sockets and
// answers of HTTP that the test gives, a storage, a window. Why: what the library does after 30 seconds of silence, or
// after a night's sleep, is tried without waiting for it.

import { ChatboxClient } from "../../web/chatbox-client.js";

/** Everything that can happen without time passing has happened. */
export const settled = async () => {
  for (let i = 0; i < 30; i++) await Promise.resolve();
};

/** What Web Storage offers, with a quota. */
export class Shelf {
  items = new Map();
  quota = Infinity; // characters of all values
  get length() {
    return this.items.size;
  }
  key(i) {
    return [...this.items.keys()][i] ?? null;
  }
  getItem(key) {
    return this.items.get(key) ?? null;
  }
  setItem(key, value) {
    const others = [...this.items].reduce((sum, [k, v]) => sum + (k === key ? 0 : v.length), 0);
    if (others + String(value).length > this.quota) throw new Error("QuotaExceededError");
    this.items.set(key, String(value));
  }
  removeItem(key) {
    this.items.delete(key);
  }
}

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
/** Nobody verifies it here. */
export const token = (user, more = {}) => `${base64url({ alg: "none" })}.${base64url({ user_id: user, ...more })}.`;

class Socket {
  readyState = 0;
  sent = [];
  constructor(address) {
    this.address = new URL(address);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.closedWith = code;
    this.readyState = 3;
  }
  opens() {
    this.readyState = 1;
    this.onopen?.({});
  }
  says(...messages) {
    for (const m of messages) this.onmessage?.({ data: typeof m === "string" ? m : JSON.stringify(m) });
  }
  breaks(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  of(type) {
    return this.sent.filter((m) => m.type === type);
  }
}

export class World {
  time = 1.8e12;
  timers = [];
  sockets = [];
  asked = []; // by HTTP: "METHOD path", in order
  chance = 0.999999;
  storage = new Shelf();
  listeners = new Map();
  visibility = "visible";
  /** What HTTP answers: (path, method, token) → { status, body, headers } or an error to throw, or a promise of it. */
  answers = () => ({ status: 200, body: { sessions: [], messages: [] } });

  get parts() {
    const world = this;
    const target = {
      addEventListener: (name, run) => world.listeners.set(name, (world.listeners.get(name) ?? new Set()).add(run)),
      removeEventListener: (name, run) => world.listeners.get(name)?.delete(run),
    };
    return {
      WebSocket: class extends Socket {
        constructor(address) {
          super(address);
          world.sockets.push(this);
        }
      },
      fetch: (url, { method, headers, signal }) => world.#fetch(new URL(url), method, headers.Authorization.slice(7), signal),
      storage: this.storage,
      now: () => this.time,
      setTimeout: (run, ms) => {
        const timer = { at: this.time + ms, ms, run };
        this.timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        this.timers = this.timers.filter((t) => t !== timer);
      },
      random: () => this.chance,
      window: target,
      document: Object.defineProperty({ ...target }, "visibilityState", { get: () => this.visibility }),
    };
  }

  async #fetch(url, method, bearer, signal) {
    const path = url.pathname + url.search;
    this.asked.push(`${method} ${path}`);
    const hung = new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
    const answer = await Promise.race([this.answers(path, method, bearer), hung]);
    if (answer instanceof Error) throw answer;
    const { status = 200, body = {}, headers = {} } = answer;
    return { ok: status < 400, status, headers: new Headers(headers), json: async () => body };
  }

  /** A client, and what it told: told.message, told.state … */
  client(options = {}) {
    const client = new ChatboxClient({ url: "https://chat.example/chatbox", token: token("alice"), ...options, world: this.parts });
    const told = {};
    for (const name of ["state", "message", "history", "change", "failed", "error", "session", "mark", "typing", "bye", "token", "event"]) {
      told[name] = [];
      client.on(name, (value) => told[name].push(value));
    }
    return { client, told };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Timers that are set, the next one first. */
  get waiting() {
    return [...this.timers].sort((a, b) => a.at - b.at);
  }

  /** So much time passes, and what is due goes off in order. */
  async passes(ms) {
    const until = this.time + ms;
    await settled();
    for (let next; (next = this.waiting[0]) && next.at <= until; await settled()) {
      this.timers = this.timers.filter((t) => t !== next);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = until;
  }

  /** The machine sleeps: nothing runs; afterwards everything that is overdue. */
  async sleeps(ms) {
    this.time += ms;
    await this.passes(0);
  }

  async happens(name) {
    for (const run of [...(this.listeners.get(name) ?? [])]) run({});
    await settled();
  }

  /** The newest socket opens and is greeted; v2: by a server that knows hello. */
  async greets({ session = "S", user = "alice", welcome } = {}) {
    await settled();
    this.socket.opens();
    this.socket.says({ type: "connection_status", session_id: session, user_id: user, models: [] });
    if (welcome) this.socket.says({ type: "welcome", session_id: session, epoch: "e1", top: 0, ping_s: 54, recovered: false, ...welcome });
    else this.socket.says({ type: "error", session_id: session, error: { code: "INVALID_FORMAT", message: "Invalid message format: unknown message type hello", recoverable: true } });
    await settled();
  }

  /** The newest socket acknowledges what it has been sent last. */
  acks(seq, more = {}) {
    const { cid } = this.socket.of("user_message").at(-1);
    this.socket.says({ type: "ack", session_id: "S", cid, id: `id-${seq}`, seq, ...more });
  }
}

export const event = (seq, content = `m${seq}`, more = {}) => ({ type: "ai_response", session_id: "S", seq, id: `id-${seq}`, content, sender: "ai", timestamp: "2026-01-01T00:00:00Z", ...more });
