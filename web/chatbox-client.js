// In: the address of a chatbox server and a token. Out: one conversation, live, over whatever network there is: messages
// in the order of the server, none lost, none twice; what you say, shown at once and sent for certain.
// Why: sockets break, sleep, and die without a word. Everybody who talks to the server needs the same care, so it is here
// once: one file without dependencies, for browsers and for Node. `import { ChatboxClient } from ".../chatbox-client.js"`,
// or the global of the same name once the module has loaded. The manual is docs/client.md.
//
// How it keeps its promises:
//   order     every stored message has a number (seq) without gaps. An event that skips one is held back until what is
//             missing has been fetched; one that is known is dropped.
//   sending   one message at a time is on its way, under a cid of its own. It is sent again until the server has
//             acknowledged it; the server stores a cid once. An error in the middle cannot change the order.
//   liveness  a ping has to be answered by its pong; a timer that goes off too late means that the machine slept.

const PAGE = 50; // messages of the newest page, which is loaded first
const FETCH_PAGE = 500; // messages of a page when a hole is filled
const KEPT = 2000; // entries of a conversation; the oldest leave first and can be had again with loadEarlier
const AHEAD_MAX = 10000; // events that wait until a hole is filled; more: the connection is made anew
const CONTENT_BYTES = 10000; // of UTF-8, as the server counts
const BACK_OFF_MS = 1000; // of the first failure; doubled by each
const BACK_OFF_MAX_MS = 30000;
const STEADY_MS = 5000; // a connection that lived so long was a good one: the back-off begins anew
const RETRY_AFTER_MAX_MS = 300000; // a server that asks for more gets this
const READY_MS = 15000; // to connect, upgrade and be greeted
const HTTP_MS = 10000; // for an answer over HTTP
const PING_AFTER_MS = 12000; // without a proof that the other side hears us
const PONG_MS = 8000; // without a pong, and nothing else heard: lost. Twice that: lost whatever is heard
const WAKE_PONG_MS = 3000; // the same right after waking up
const LATE_MS = 4000; // a timer so late means that the machine was asleep
const ACK_MS = 10000; // without an acknowledgement: sent again under the same cid
const ATTEMPTS = 8; // times a message may be refused by errors that pass
const HISTORY_TRIES = 5; // of loadEarlier
const UNSENT_MAX = 10000; // messages
const UNSENT_CHARS = 2 ** 21; // of all of them
const STALE_MS = 24 * 3600000; // an unsent message so old is shown as failed, not sent without asking
const GONE_MS = 30 * 24 * 3600000; // and so old it is removed from the storage, whoever's it was
const MARK_MS = 1000; // read and received marks are sent at most so often
const TYPING_MS = 4000; // typing is repeated so often while it goes on
const TYPING_TTL_MS = 6000; // and believed for so long when the server says nothing else
const TIMER_MAX_MS = 2 ** 31 - 1;
const STORAGE = "chatbox.unsent";
const HELLO = "hello"; // its cid: an error of the server names it

/* ---- what is passed around ---- */

/**
 * A message of the conversation.
 * @typedef {object} ChatboxMessage
 * @property {number} seq its number in the conversation; 0: not (yet) stored
 * @property {string} id "": not known yet
 * @property {string} cid the client's own id, of messages of this client only
 * @property {string} type "user_message", "ai_response", "file_upload" …
 * @property {"user" | "ai" | "admin" | "system"} sender
 * @property {string} name of an administrator
 * @property {string} content
 * @property {number} at milliseconds since 1970
 * @property {"" | "pending" | "failed" | "streaming"} state "": stored; pending: will be sent, or sent again
 * @property {string} [file_url]
 * @property {Record<string, unknown>} [metadata]
 * @property {ChatboxError} [error] why it failed
 * @property {boolean} [kept] of a pending one: it outlives this page
 * @property {number} [order] of an unsent one: its place among them
 * @property {string} [session] of an unsent one: the conversation in which it was first sent
 */

/**
 * Everything the client is told by. `on(name, listener)`.
 * @typedef {object} ChatboxEvents
 * @property {ChatboxState} state it connects, is online, is offline and will try again, or has given up
 * @property {ChatboxMessage} message a message has been stored: each once, in order, own ones included
 * @property {{ messages: ChatboxMessage[], reason: "first" | "gap" | "epoch" | "moved" }} history the newest page was
 *   loaded in place of what was known: at first, when too much was missed, when the server restored a backup, or when
 *   the conversation is another one
 * @property {undefined} change anything in `messages` has changed: draw it anew
 * @property {ChatboxMessage} failed a message of this client will not be sent any more, see its `error`
 * @property {ChatboxError} error the server refused something
 * @property {{ session_id: string, from: string, ended: boolean }} session the conversation has another id now
 * @property {{ received: number, read: number, unread: number }} mark how far the user's devices have got
 * @property {{ user_id: string, name: string, active: boolean }} typing
 * @property {{ code: string, reason: string, retry_after_ms: number }} bye the server is about to close the connection
 * @property {string} token a new token is in use
 * @property {Record<string, any>} event any message of the server, as it came
 */

/**
 * @typedef {object} ChatboxState
 * @property {"idle" | "connecting" | "online" | "offline" | "closed"} state
 *   offline: it will try again by itself; closed: only `connect()` or `setToken()` will
 * @property {string} reason "" or a word: network, silent, token_expired, unauthorized, erased, replaced, refused …
 * @property {number} retryInMs of offline
 * @property {boolean} refusedSocket of offline: the server answers, but takes no further connection now
 */

/**
 * What stands in for the world; tests bring their own.
 * @typedef {object} ChatboxWorld
 * @property {any} [WebSocket] in Node 20: the package `ws`
 * @property {typeof fetch} [fetch]
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length"> | null} [storage] localStorage;
 *   null: what is unsent does not outlive the page
 * @property {() => number} [now] milliseconds since 1970
 * @property {(run: () => void, ms: number) => any} [setTimeout]
 * @property {(timer: any) => void} [clearTimeout]
 * @property {() => number} [random] 0 ≤ x < 1
 * @property {Pick<EventTarget, "addEventListener" | "removeEventListener"> | null} [window] tells `online` and `pageshow`
 * @property {any} [document] tells `visibilitychange`
 */

/**
 * @typedef {object} ChatboxOptions
 * @property {string | URL} [url] of the server with its prefix, such as https://chat.example.com/chatbox; where this file
 *   came from, if absent
 * @property {string} [token] absent: getToken is asked for one
 * @property {(why: { reason: "first" | "expiring" | "unauthorized" | "token_expired" | "token_revoked", token: string }) =>
 *   Promise<string | null> | string | null} [getToken] brings a token, from your own backend. null: nobody is signed in
 * @property {string} [sessionId] the conversation to open; absent: the user's active one
 * @property {{ session_id: string, epoch?: string | number, seq: number }} [position] of an earlier `position`: goes on
 *   from there, so that nothing in between is missed
 * @property {number} [retryWithinMs] an error that says when to come back is obeyed up to this (60000); later: failed
 * @property {number} [maxUnsent] messages that may wait (10000)
 * @property {number} [recoverMax] messages that are fetched to fill a hole (10000); more: `history` with reason gap
 * @property {boolean} [markReceived] tell the server by itself what has arrived (true)
 * @property {ChatboxWorld} [world]
 */

/** What went wrong, with a code to act on; docs/client.md lists them. */
export class ChatboxError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, retryAfterMs?: number, recoverable?: boolean, cid?: string, incident?: string, detail?: string,
   *   sessionId?: string }} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = "ChatboxError";
    this.code = code;
    /** Of HTTP; 0: the server was not reached. */
    this.status = more.status ?? 0;
    this.retryAfterMs = more.retryAfterMs ?? 0;
    this.recoverable = more.recoverable ?? false;
    /** Of the message it is about, "" if of none. */
    this.cid = more.cid ?? "";
    /** The number under which the server's log has more. */
    this.incident = more.incident ?? "";
    this.detail = more.detail ?? "";
    /** Of the conversation it is about. */
    this.sessionId = more.sessionId ?? "";
    /** The message it is about is sent again without anybody's doing. */
    this.willRetry = false;
  }
}

/**
 * Half a surrogate pair (an emoji that was cut) cannot be encoded as UTF-8: it becomes U+FFFD.
 * @param {string} text
 * @returns {string}
 */
export function mend(text) {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/**
 * The same for all texts in a value of JSON.
 * @param {any} value
 * @returns {any}
 */
function mendAll(value) {
  if (typeof value === "string") return mend(value);
  if (Array.isArray(value)) return value.map(mendAll);
  if (!value || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [mend(key), mendAll(v)]));
}

/**
 * What a token says about itself, {} when it cannot be read. Nothing is verified: the server does that.
 * @param {string} token
 * @returns {{ user_id?: string, name?: string, exp?: number, nbf?: number, [claim: string]: unknown }}
 */
export function claims(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/** crypto.randomUUID() exists on https and localhost only. */
function uuid() {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

const encoder = new TextEncoder();

/* ---- the list ---- */

/** In: messages from the history, from the socket and from here, in any order and more than once. Out: one list in the
 *  order of the server, without doubles; what is unsent stands at its end. seq orders; id and cid tell what is the same. */
export class Conversation {
  /** @type {ChatboxMessage[]} */
  #said = []; // the server has them, or sent them
  /** @type {ChatboxMessage[]} */
  #unsent = []; // pending and failed, in the order in which they were said
  #byId = new Map();
  #bySeq = new Map();
  #byCid = new Map();

  /** @returns {ChatboxMessage[]} */
  get entries() {
    return [...this.#said, ...this.#unsent];
  }

  get unsent() {
    return this.#unsent;
  }

  get pending() {
    return this.#unsent.filter((e) => e.state === "pending");
  }

  /** The first that waits to be sent. */
  get next() {
    return this.#unsent.find((e) => e.state === "pending");
  }

  get oldestSeq() {
    return this.#said.find((e) => e.seq)?.seq ?? 0;
  }

  get newestSeq() {
    for (let i = this.#said.length - 1; i >= 0; i--) if (this.#said[i].seq) return this.#said[i].seq;
    return 0;
  }

  /** @param {string} cid */
  byCid(cid) {
    return this.#byCid.get(cid);
  }

  /**
   * A message of this client, before the server has it.
   * @param {string} cid
   * @param {string} content
   * @param {number} at
   * @param {Partial<ChatboxMessage>} [more]
   * @returns {ChatboxMessage}
   */
  say(cid, content, at, more = {}) {
    const entry = { seq: 0, id: "", cid, type: "user_message", sender: /** @type {const} */ ("user"), name: "", content, at, state: /** @type {const} */ ("pending"), ...more };
    this.#unsent.push(entry);
    this.#byCid.set(cid, entry);
    return entry;
  }

  /** @param {{ cid?: string, id?: string, seq?: number }} ack */
  acknowledge({ cid = "", id = "", seq = 0 }) {
    const entry = this.#byCid.get(cid);
    if (!entry) return;
    const twin = this.#byId.get(id) ?? this.#bySeq.get(seq); // the history may have brought it already
    if (twin && twin !== entry) this.#remove(twin);
    this.#unindex(entry);
    for (const key of /** @type {const} */ (["error", "kept", "order", "session"])) delete entry[key];
    Object.assign(entry, { id: id || entry.id, seq: seq || entry.seq, state: "" });
    const at = this.#unsent.indexOf(entry);
    if (at >= 0) this.#unsent.splice(at, 1);
    if (at >= 0) this.#insert(entry);
    else this.#settle(entry);
    this.#index(entry);
  }

  /**
   * Without a cid it is the oldest one that waits: a conversation is worked through in order.
   * @param {string} [cid]
   * @param {ChatboxError} [error]
   */
  fail(cid, error) {
    const entry = cid ? this.#byCid.get(cid) : this.next;
    if (entry?.state !== "pending") return undefined;
    entry.state = "failed";
    if (error) entry.error = error;
    return entry;
  }

  /** @param {ChatboxMessage} entry */
  again(entry) {
    entry.state = "pending";
    delete entry.error;
  }

  /**
   * A whole message, of whoever.
   * @param {Partial<ChatboxMessage>} message
   * @returns {ChatboxMessage}
   */
  receive(message) {
    const known = this.#byId.get(message.id || undefined) ?? this.#byCid.get(message.cid || undefined) ?? this.#bySeq.get(message.seq || undefined);
    if (known && this.#unsent.includes(known)) {
      this.acknowledge({ ...message, cid: known.cid });
      return known;
    }
    const entry = known ?? { seq: 0, id: "", cid: "", name: "" };
    if (known) this.#unindex(known);
    Object.assign(entry, message, { state: "" });
    if (known) this.#settle(entry);
    else this.#insert(entry);
    this.#index(entry);
    if (this.#said.at(-1) === entry) this.#trim(); // not while earlier ones are shown
    return entry;
  }

  /**
   * A piece of an answer that is being written.
   * @param {Partial<ChatboxMessage>} message
   * @param {boolean} done
   */
  stream(message, done) {
    let entry = this.#said.findLast((e) => e.state === "streaming");
    if (!entry && (message.content || message.id)) {
      entry = /** @type {ChatboxMessage} */ ({ seq: 0, id: "", cid: "", name: "", ...message, content: "", state: "streaming" });
      this.#said.push(entry);
    }
    if (!entry) return undefined;
    entry.content += message.content ?? "";
    if (!done) return entry;
    this.#unindex(entry);
    const twin = this.#byId.get(message.id || undefined);
    if (twin && twin !== entry) this.#remove(twin);
    Object.assign(entry, { id: message.id || entry.id, seq: message.seq || entry.seq, state: "" });
    this.#settle(entry);
    this.#index(entry);
    return entry;
  }

  /**
   * The newest page of the history, after a (re)connect. What only this client showed, such as a half-written answer,
   * goes; what is unsent stays. A hole between what we have and the page would lie: then the page replaces all.
   * @param {Partial<ChatboxMessage>[]} page
   */
  catchUp(page) {
    const first = page.find((m) => m.seq)?.seq ?? 0;
    const gap = first > this.newestSeq + 1;
    for (const entry of this.#said.filter((e) => gap || !e.seq)) this.#remove(entry);
    for (const message of page) this.receive(message);
  }

  /** The conversation is another one now: what it has not got yet may still be sent there. */
  forget() {
    for (const entry of this.#said) this.#unindex(entry);
    this.#said = [];
  }

  /** What is unsent is dropped as well. */
  clear() {
    this.forget();
    for (const entry of this.#unsent) this.#unindex(entry);
    this.#unsent = [];
  }

  /** @param {ChatboxMessage} entry */
  drop(entry) {
    this.#unindex(entry);
    this.#unsent = this.#unsent.filter((e) => e !== entry);
  }

  /** @param {any} entry */
  #index(entry) {
    if (entry.id) this.#byId.set(entry.id, entry);
    if (entry.seq) this.#bySeq.set(entry.seq, entry);
    if (entry.cid) this.#byCid.set(entry.cid, entry);
  }

  /** @param {any} entry */
  #unindex(entry) {
    if (this.#byId.get(entry.id) === entry) this.#byId.delete(entry.id);
    if (this.#bySeq.get(entry.seq) === entry) this.#bySeq.delete(entry.seq);
    if (this.#byCid.get(entry.cid) === entry) this.#byCid.delete(entry.cid);
  }

  /** @param {ChatboxMessage} entry */
  #remove(entry) {
    this.#unindex(entry);
    const at = this.#said.lastIndexOf(entry);
    if (at >= 0) this.#said.splice(at, 1);
  }

  #trim() {
    const extra = this.#said.length - KEPT;
    if (extra > 0) for (const entry of this.#said.splice(0, extra)) this.#unindex(entry);
  }

  /** @param {any} entry before the first that is later; one without a number goes to the end. */
  #insert(entry) {
    let at = this.#said.length;
    for (let i = at - 1; entry.seq && i >= 0; i--) {
      const { seq } = this.#said[i];
      if (seq && seq < entry.seq) break;
      if (seq > entry.seq) at = i;
    }
    this.#said.splice(at, 0, entry);
  }

  /** Moves an entry that has got its seq only if it stands in the wrong place. @param {any} entry */
  #settle(entry) {
    const at = this.#said.lastIndexOf(entry);
    if (at < 0 || !entry.seq) return;
    let [before, after] = [at - 1, at + 1];
    while (before >= 0 && !this.#said[before].seq) before--;
    while (after < this.#said.length && !this.#said[after].seq) after++;
    if (!(this.#said[before]?.seq > entry.seq) && !(this.#said[after]?.seq < entry.seq)) return;
    this.#said.splice(at, 1);
    this.#insert(entry);
  }
}

/* ---- what is unsent, over a reload ---- */

/** In: unsent messages of one user of one server. Out: the same after a reload. Each is an item of its own, so that
 *  several tabs do not overwrite one another's; another user's are never read. */
class Unsent {
  /**
   * @param {ChatboxWorld["storage"]} storage
   * @param {string} place
   * @param {() => number} now
   */
  constructor(storage, place, now) {
    this.storage = storage;
    this.place = place;
    this.now = now;
    this.user = "";
  }

  /** @param {string} cid */
  #key(cid) {
    return `${STORAGE}:${this.place}:${encodeURIComponent(this.user)}:${cid}`;
  }

  /** @returns {boolean} false: it will not outlive the page. @param {ChatboxMessage} entry */
  put(entry) {
    if (!this.storage || !this.user) return false;
    const { cid, type, content, at, state, order, session, metadata } = entry;
    try {
      this.storage.setItem(this.#key(cid), JSON.stringify({ cid, type, content, at, state, order, session, metadata }));
      return true;
    } catch {
      return false; // full, or forbidden
    }
  }

  /** @param {string} cid */
  remove(cid) {
    try {
      this.storage?.removeItem(this.#key(cid));
    } catch {
      // forbidden: then nothing was kept either
    }
  }

  #keys() {
    /** @type {string[]} */
    const keys = [];
    try {
      for (let i = 0; i < (this.storage?.length ?? 0); i++) keys.push(this.storage?.key(i) ?? "");
    } catch {
      // forbidden
    }
    return keys.filter((key) => key.startsWith(`${STORAGE}:`));
  }

  /** Of this user, in the order in which they were said. What is very old, or damaged, goes. */
  all() {
    const found = [];
    for (const key of this.#keys()) {
      let saved;
      try {
        saved = JSON.parse(this.storage?.getItem(key) ?? "");
      } catch {
        saved = null;
      }
      const sound = typeof saved?.cid === "string" && typeof saved.content === "string" && typeof saved.at === "number";
      if (!sound || this.now() - saved.at > GONE_MS) this.#removeKey(key);
      else if (this.user && key === this.#key(saved.cid)) found.push(saved);
    }
    return found.sort((a, b) => (a.order ?? 0) - (b.order ?? 0));
  }

  /** @param {string} key */
  #removeKey(key) {
    try {
      this.storage?.removeItem(key);
    } catch {
      // forbidden
    }
  }

  erase() {
    const mine = this.#key("");
    for (const key of this.#keys()) if (this.user && key.startsWith(mine)) this.#removeKey(key);
  }
}

/* ---- the client ---- */

/** @returns {ChatboxWorld["storage"]} */
function localStorageOrNull() {
  try {
    return globalThis.localStorage ?? null; // some embedded frames may not even look at it
  } catch {
    return null;
  }
}

/** What the server says of a message, as an entry. @param {any} m @param {number} now */
function entryOf(m, now) {
  const at = Date.parse(m.timestamp);
  /** @type {Partial<ChatboxMessage>} */
  const entry = { type: m.type ?? "", sender: m.sender || "ai", content: m.content || m.file_url || "", at: Number.isNaN(at) ? now : at };
  if (m.id) entry.id = m.id;
  if (m.seq) entry.seq = m.seq;
  if (m.cid) entry.cid = m.cid;
  if (m.file_url) entry.file_url = m.file_url;
  if (m.metadata) entry.metadata = m.metadata;
  if (m.metadata?.admin_name) entry.name = m.metadata.admin_name;
  return entry;
}

// What tells in which conversation we are; others, such as a page of the history, may be about another one.
const FOLLOWED = new Set(["connection_status", "ack", "loading", "user_message", "ai_response", "file_upload", "voice_message"]);
const PASSING = new Set(["TOO_MANY_REQUESTS", "SERVICE_ERROR", "DATABASE_ERROR"]); // errors that another attempt may get round

export class ChatboxClient {
  /* the world */
  #world;
  #base;
  #options;
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();
  /** @type {Map<string, any>} */
  #timers = new Map(); // by name: setting one replaces it

  /* who */
  #token = "";
  #user = "";
  /** @type {Promise<string | null> | null} */
  #asking = null; // getToken, while it has not answered

  /* the connection */
  /** @type {any} */
  #socket = null;
  #running = false;
  #attempt = 0; // bumped by every stop and start: what an older attempt still brings is dropped
  #failures = 0;
  #notBefore = 0; // the server asked not to be called before
  #openedAt = 0;
  #everOpened = false;
  #ready = false; // greeted, and it knows who we are and where
  #probe = true; // ask over HTTP first: it says why a socket would be refused
  /** @type {any} */
  #bye = null;
  #provenAt = 0; // when something was heard that answers us
  #heardAt = 0;
  #pingAt = 0; // of the ping that has no pong yet, 0: there is none
  #pongMs = PONG_MS;
  #pingAfterMs = PING_AFTER_MS;
  #dueAt = 0; // when the watch should go off
  /** @type {ChatboxState} */
  #state = { state: "idle", reason: "", retryInMs: 0, refusedSocket: false };

  /* where */
  #session = "";
  #placeholder = uuid(); // names a conversation the server has not made yet
  #leaving = ""; // ended by startNew: what is still said of it is old news
  #v2 = false; // the server has answered our hello
  #awaitsWelcome = false;
  #greeted = false;
  /** @type {string | number | undefined} */
  #epoch = undefined;
  #last = 0; // all messages up to this seq have been told
  #known = false; // #last means something: the first page is here
  /** @type {number | undefined} */
  #newsFrom = undefined; // what came after this seq is news, however many connections the first page takes
  /** @type {Map<number, any>} */
  #ahead = new Map(); // seq → entry: wait for a hole to be filled
  #syncing = 0; // the sync that runs, 0: none
  #syncs = 0;
  #top = 0;
  #read = 0;
  #received = 0;
  #told = { received: 0, read: 0 }; // what the server has been told

  /* what we say */
  #conversation = new Conversation();
  #unsent;
  #unsentChars = 0;
  #order = 0;
  #inFlight = ""; // cid
  /** @type {Map<string, number>} */
  #attempts = new Map(); // cid → times refused
  /** @type {Map<string, { resolve: (m: ChatboxMessage) => void, reject: (e: ChatboxError) => void }[]>} */
  #waiting = new Map(); // cid → who waits for delivered
  #typedAt = 0;

  /** @param {ChatboxOptions} [options] */
  constructor(options = {}) {
    const here = typeof import.meta.url === "string" ? import.meta.url : "";
    const url = new URL(String(options.url ?? new URL(".", here)));
    if (!/^(https?|wss?):$/.test(url.protocol)) throw new ChatboxError("BAD_URL", `${url} is no http(s) address`);
    url.protocol = url.protocol.replace("ws", "http");
    url.search = url.hash = "";
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    this.#base = url;
    this.#options = { retryWithinMs: 60000, maxUnsent: UNSENT_MAX, recoverMax: 10000, markReceived: true, ...options };
    const g = /** @type {any} */ (globalThis);
    this.#world = {
      WebSocket: g.WebSocket,
      fetch: g.fetch?.bind(g),
      storage: options.world?.storage === undefined ? localStorageOrNull() : options.world.storage,
      now: Date.now,
      setTimeout: /** @type {(run: () => void, ms: number) => any} */ ((run, ms) => setTimeout(run, ms)),
      clearTimeout: /** @type {(timer: any) => void} */ ((timer) => clearTimeout(timer)),
      random: Math.random,
      window: typeof g.addEventListener === "function" ? g : null,
      document: g.document ?? null,
      ...Object.fromEntries(Object.entries(options.world ?? {}).filter(([, v]) => v !== undefined)),
    };
    if (!this.#world.WebSocket || !this.#world.fetch) throw new ChatboxError("NO_WEBSOCKET", "there is no WebSocket or no fetch here; give them as world");
    this.#unsent = new Unsent(this.#world.storage, url.host + url.pathname, this.#world.now);
    this.#session = options.position?.session_id ?? options.sessionId ?? "";
    if (options.position) [this.#last, this.#epoch, this.#known] = [options.position.seq, options.position.epoch, true];
    if (options.token) this.#use(options.token);
  }

  /* -- what you ask -- */

  get state() {
    return this.#state.state;
  }

  get online() {
    return this.#state.state === "online";
  }

  /** Of the conversation; "" until there is one. */
  get sessionId() {
    return this.#session;
  }

  get userId() {
    return this.#user;
  }

  get token() {
    return this.#token;
  }

  /** All there is to show, in order; what is unsent comes last. A new array each time, of the same objects. */
  get messages() {
    return this.#conversation.entries;
  }

  /** Messages of this client that the server does not have: pending and failed ones. */
  get unsent() {
    return [...this.#conversation.unsent];
  }

  /** Stored messages that have not been marked as read. */
  get unread() {
    return Math.max(0, Math.max(this.#top, this.#last) - this.#read);
  }

  /** There are older messages: `loadEarlier()`. */
  get hasEarlier() {
    return this.#conversation.oldestSeq > 1;
  }

  /** Where we are: to be given as `position` to a later client that is to miss nothing. */
  get position() {
    return { session_id: this.#session, epoch: this.#epoch, seq: this.#last };
  }

  /* -- what you do -- */

  /**
   * @template {keyof ChatboxEvents} K
   * @param {K} name
   * @param {(value: ChatboxEvents[K]) => void} listener
   * @returns {() => void} takes it away again
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => void all.delete(listener);
  }

  /** Connects, and stays connected until disconnect(). */
  connect() {
    this.#stop();
    this.#running = true;
    this.#renewSoon();
    this.#failures = 0;
    this.#notBefore = 0;
    this.#probe = true;
    this.#listen(true);
    this.#connect();
  }

  /** Closes the connection. What is unsent stays. */
  disconnect() {
    this.#stop();
    this.#tell({ state: "idle", reason: "" });
  }

  /**
   * Says something. It is in `messages` at once; `delivered()` tells when the server has it.
   * @param {string} content
   * @param {{ cid?: string, metadata?: Record<string, unknown> }} [more]
   * @returns {ChatboxMessage}
   */
  send(content, { cid = uuid(), metadata } = {}) {
    const text = mend(String(content));
    if (text.trim() === "") throw new ChatboxError("EMPTY", "there is nothing to send", { cid });
    if (encoder.encode(text.trim()).length > CONTENT_BYTES) throw new ChatboxError("TOO_LONG", `more than ${CONTENT_BYTES} bytes of UTF-8`, { cid });
    if (!/^[\x21-\x7e]{1,128}$/.test(cid)) throw new ChatboxError("BAD_CID", "a cid is 1 to 128 printable ASCII characters");
    if (this.#conversation.byCid(cid)) throw new ChatboxError("BAD_CID", "this cid has been used", { cid });
    if (this.#conversation.unsent.length >= this.#options.maxUnsent || this.#unsentChars + text.length > UNSENT_CHARS)
      throw new ChatboxError("TOO_MANY_UNSENT", "too much is waiting to be sent already", { cid, recoverable: true });
    const now = this.#world.now();
    this.#order = Math.max(now, this.#order + 0.001);
    const more = { order: this.#order, ...(metadata && { metadata: mendAll(metadata) }) };
    const entry = this.#conversation.say(cid, text, now, more);
    this.#unsentChars += text.length;
    entry.kept = this.#unsent.put(entry);
    this.#emit("change");
    this.#pump();
    return entry;
  }

  /**
   * Resolves once the server has stored the message; rejects with the error when it will not be sent.
   * @param {ChatboxMessage} message
   * @returns {Promise<ChatboxMessage>}
   */
  delivered(message) {
    if (message.state === "") return Promise.resolve(message);
    if (message.state === "failed") return Promise.reject(message.error ?? new ChatboxError("FAILED", "it was not sent"));
    return new Promise((resolve, reject) => {
      const all = this.#waiting.get(message.cid) ?? [];
      this.#waiting.set(message.cid, [...all, { resolve, reject }]);
    });
  }

  /** A failed message once more, under the same cid. @param {ChatboxMessage} message */
  retry(message) {
    if (message.state !== "failed" || this.#conversation.byCid(message.cid) !== message) return;
    this.#conversation.again(message);
    this.#attempts.delete(message.cid);
    message.kept = this.#unsent.put(message);
    this.#emit("change");
    this.#pump();
  }

  /** A failed message is not to be sent any more. @param {ChatboxMessage} message */
  discard(message) {
    if (message.state !== "failed" || this.#conversation.byCid(message.cid) !== message) return;
    this.#conversation.drop(message);
    this.#settled(message);
    this.#emit("change");
  }

  /**
   * The page before the oldest message there is. A request that fails is tried again.
   * @param {number} [limit]
   * @returns {Promise<boolean>} whether there is still more
   */
  async loadEarlier(limit = PAGE) {
    const before = this.#conversation.oldestSeq;
    if (!this.#session || before <= 1) return false;
    const session = this.#session;
    for (let tries = 1; ; tries++) {
      try {
        const page = await this.#history(session, before, limit);
        if (session !== this.#session) return this.hasEarlier;
        for (const m of page) this.#take(entryOf(m, this.#world.now()));
        this.#emit("change");
        return page.length > 0 && this.hasEarlier;
      } catch (error) {
        const { status, retryAfterMs } = /** @type {ChatboxError} */ (error);
        if (tries >= HISTORY_TRIES || (status >= 400 && status < 500 && status !== 429)) throw error;
        await new Promise((resolve) => this.#world.setTimeout(() => resolve(undefined), Math.max(retryAfterMs, this.#jitter(tries - 1) / 2)));
      }
    }
  }

  /** All up to this seq (the newest, if absent) has been read. @param {number} [seq] */
  markRead(seq = this.#last) {
    if (!(seq > this.#read)) return;
    this.#read = Math.min(seq, this.#last);
    this.#received = Math.max(this.#received, this.#read);
    this.#markSoon();
  }

  /** To be called at every key; the server is told now and then. @param {boolean} [active] false: the text is empty again */
  typing(active = true) {
    const now = this.#world.now();
    if (!this.#ready || (active && now - this.#typedAt < TYPING_MS) || (!active && !this.#typedAt)) return;
    this.#typedAt = active ? now : 0;
    if (this.#v2) this.#write({ type: "typing", session_id: this.#session, state: active ? "typing" : "idle", ttl: TYPING_TTL_MS });
    else if (active) this.#write({ type: "typing_indicator", session_id: this.#session });
  }

  /** A new token. One of the same user goes on over the open connection; another user's begins anew. @param {string} token */
  setToken(token) {
    const same = this.#use(token);
    if (same && this.#ready && this.#write({ type: "refresh", token })) return;
    this.connect();
  }

  /** Ends this conversation; the next message begins another one. */
  async startNew() {
    const ended = this.#session;
    if (!ended) return;
    this.#leaving = ended;
    try {
      await this.#http("POST", `sessions/${encodeURIComponent(ended)}/end`);
    } catch (error) {
      if (/** @type {ChatboxError} */ (error).status !== 404) {
        this.#leaving = "";
        throw error;
      }
    }
    this.#move("", true);
    for (const entry of [...this.#conversation.unsent]) {
      this.#conversation.drop(entry);
      this.#settled(entry, new ChatboxError("ENDED", "the conversation was ended"));
    }
    this.#emit("change");
    this.connect();
  }

  /** A message of any kind, as it is. @returns {boolean} whether there was a connection. @param {Record<string, unknown>} message */
  sendRaw(message) {
    return this.#ready && this.#write(mendAll(message));
  }

  /** Something woke us: what waits is tried now, and an open socket has to answer soon. */
  wake() {
    if (!this.#running) return;
    if (this.#socket && this.#openedAt) this.#ping(WAKE_PONG_MS);
    else if (this.#timers.has("retry") && this.#world.now() >= this.#notBefore) this.#connect();
  }

  /* -- events and timers -- */

  /** @template {keyof ChatboxEvents} K @param {K} name @param {ChatboxEvents[K]} [value] */
  #emit(name, value) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        console.error(error); // of whoever listens: it must not stop us
      }
    }
  }

  /** @param {Partial<ChatboxState>} state */
  #tell(state) {
    this.#state = { reason: "", retryInMs: 0, refusedSocket: false, ...state, state: state.state ?? this.#state.state };
    this.#emit("state", this.#state);
  }

  /** @param {string} name @param {number} ms @param {() => void} run */
  #after(name, ms, run) {
    this.#cancel(name);
    const timer = this.#world.setTimeout(() => {
      this.#timers.delete(name);
      run();
    }, Math.min(Math.max(0, Math.ceil(ms)), TIMER_MAX_MS));
    this.#timers.set(name, timer);
  }

  /** @param {string} name */
  #cancel(name) {
    if (!this.#timers.has(name)) return;
    this.#world.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** Full jitter: anything up to a bound that doubles. @param {number} failures */
  #jitter(failures) {
    return this.#world.random() * Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** Math.min(failures, 20));
  }

  #onWake = () => this.wake();
  #onVisible = () => this.#world.document.visibilityState === "visible" && this.wake();
  #listening = false;

  /** @param {boolean} on */
  #listen(on) {
    if (on === this.#listening) return;
    this.#listening = on;
    const how = on ? "addEventListener" : "removeEventListener";
    this.#world.window?.[how]("online", this.#onWake);
    this.#world.window?.[how]("pageshow", this.#onWake);
    this.#world.document?.[how]("visibilitychange", this.#onVisible);
  }

  /* -- who we are -- */

  /** From now on it is this token that counts. @param {string} token @returns {boolean} it is the same user's */
  #use(token) {
    this.#token = token;
    const { user_id: id } = claims(token);
    const user = typeof id === "string" ? id : "";
    const same = user === this.#user;
    if (!same) this.#become(user);
    this.#renewSoon();
    this.#emit("token", token);
    return same;
  }

  /** The next token is asked for a minute before this one ends, or half-way when it is short. */
  #renewSoon() {
    this.#cancel("renew");
    const { exp } = claims(this.#token);
    const left = typeof exp === "number" ? exp * 1000 - this.#world.now() : 0;
    if (!this.#running || !this.#options.getToken || left <= 0 || left > TIMER_MAX_MS) return;
    this.#after("renew", Math.max(left - 60000, left / 2, 1000), () => this.#renew());
  }

  /** Another person sees and sends nothing of the one before. @param {string} user */
  #become(user) {
    this.#conversation.clear();
    this.#inFlight = "";
    this.#attempts.clear();
    for (const all of this.#waiting.values()) for (const { reject } of all) reject(new ChatboxError("ANOTHER_USER", "the token is another user's now"));
    this.#waiting.clear();
    if (this.#user) this.#move("", true);
    this.#user = user;
    this.#unsent.user = user;
    this.#unsentChars = 0;
    for (const saved of this.#unsent.all()) {
      if (this.#conversation.byCid(saved.cid)) continue;
      const stale = saved.state === "failed" || this.#world.now() - saved.at > STALE_MS;
      const entry = this.#conversation.say(saved.cid, saved.content, saved.at, { type: saved.type, order: saved.order, session: saved.session, metadata: saved.metadata, kept: true });
      if (stale) this.#conversation.fail(saved.cid, new ChatboxError("NOT_SENT", "it could not be sent before"));
      this.#unsentChars += entry.content.length;
      this.#order = Math.max(this.#order, saved.order ?? 0);
    }
    this.#emit("change");
  }

  /** A token from getToken, or null; one question at a time. @param {any} reason @returns {Promise<string | null>} */
  #ask(reason) {
    const { getToken } = this.#options;
    if (!getToken) return Promise.resolve(null);
    this.#asking ??= (async () => {
      try {
        return (await getToken({ reason, token: this.#token })) || null;
      } finally {
        this.#asking = null;
      }
    })();
    return this.#asking;
  }

  async #renew() {
    const token = await this.#ask("expiring").catch(() => "");
    if (token && token !== this.#token) this.setToken(token);
    else if (token === "" || token === this.#token) this.#after("renew", 5000 + this.#jitter(3), () => this.#renew());
  }

  /** The server does not take the token. It is kept, and a new one asked for; without one we stop.
   *  @param {"unauthorized" | "token_expired" | "token_revoked"} reason */
  async #refusedToken(reason) {
    this.#drop();
    const attempt = this.#attempt;
    const refused = this.#token;
    this.#tell({ state: "connecting", reason });
    /** @type {string | null} */
    let token = null;
    let reached = true;
    try {
      token = await this.#ask(reason);
    } catch {
      reached = false; // the backend is away: it will be asked again
    }
    if (attempt !== this.#attempt || this.#token !== refused) return;
    if (token && token !== refused) {
      this.#use(token);
      this.#probe = true;
      return this.#failures++ === 0 ? this.#connect() : this.#again(reason);
    }
    const { nbf } = claims(refused);
    const ahead = typeof nbf === "number" ? nbf * 1000 - this.#world.now() : 0;
    this.#probe = true;
    if (!reached || token === refused || (ahead > 0 && ahead < RETRY_AFTER_MAX_MS)) return this.#again(reason, Math.max(0, ahead));
    this.#give(reason);
  }

  /* -- connecting -- */

  #stop() {
    this.#running = false;
    this.#listen(false);
    for (const name of [...this.#timers.keys()]) this.#cancel(name); // nothing of ours keeps a process alive
    this.#drop();
  }

  /** It will not come back by itself. @param {string} reason */
  #give(reason) {
    this.#stop();
    this.#tell({ state: "closed", reason });
  }

  #drop() {
    for (const name of ["retry", "ready", "watch", "ack", "sync", "mark", "hello"]) this.#cancel(name);
    this.#attempt++;
    this.#openedAt = this.#pingAt = 0;
    this.#ready = this.#greeted = this.#awaitsWelcome = false;
    this.#syncing = 0;
    this.#ahead.clear();
    this.#inFlight = "";
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {}; // an error of one that nobody listens to would end a process of Node
    try {
      socket.close(1000);
    } catch {
      // it was never open
    }
    if (typeof socket.terminate === "function") this.#world.setTimeout(() => socket.terminate(), 1000)?.unref?.();
  }

  async #connect() {
    this.#drop();
    const attempt = this.#attempt;
    this.#tell({ state: "connecting" });
    if (!this.#token) {
      const token = await this.#ask("first").catch(() => "");
      if (attempt !== this.#attempt) return;
      if (token === "") return this.#again("network");
      if (!token) return this.#give("unauthorized");
      this.#use(token);
    }
    if (this.#probe) {
      try {
        const { sessions = [] } = await this.#http("GET", "sessions");
        if (attempt !== this.#attempt) return;
        if (!this.#session) this.#session = sessions.find((/** @type {any} */ s) => s.is_active)?.id ?? "";
      } catch (error) {
        if (attempt !== this.#attempt) return;
        const { status, retryAfterMs } = /** @type {ChatboxError} */ (error);
        if (status === 401) return void this.#refusedToken(this.#expired() ? "token_expired" : "unauthorized");
        return this.#again("network", retryAfterMs);
      }
    }
    this.#open(attempt);
  }

  #expired() {
    const { exp } = claims(this.#token);
    return typeof exp === "number" && exp * 1000 <= this.#world.now();
  }

  /** @param {number} attempt */
  #open(attempt) {
    const address = new URL("ws", this.#base);
    address.protocol = this.#base.protocol.replace("http", "ws");
    // A browser cannot set headers on a WebSocket, so the token goes into the query.
    address.search = String(new URLSearchParams({ token: this.#token, ...(this.#session && { session_id: this.#session }) }));
    let socket;
    try {
      socket = new this.#world.WebSocket(address.href);
    } catch {
      return this.#again("network");
    }
    this.#socket = socket;
    this.#bye = null;
    const current = (/** @type {(event: any) => void} */ act) => (/** @type {any} */ event) => void (attempt === this.#attempt && act(event));
    this.#after("ready", READY_MS, () => this.#lost("silent"));
    socket.onopen = current(() => {
      this.#openedAt = this.#heardAt = this.#provenAt = this.#world.now();
      this.#everOpened = true;
      this.#probe = false;
      this.#hello();
      this.#watch();
    });
    socket.onmessage = current(({ data }) => this.#hear(data));
    socket.onerror = () => {}; // a close follows
    socket.onclose = current(({ code, reason }) => this.#closed(code, String(reason ?? "")));
  }

  #hello() {
    this.#awaitsWelcome = true;
    const knows = this.#known && this.#session && this.#epoch !== undefined;
    const resume = { session_id: this.#session, epoch: this.#epoch, seq: this.#last };
    this.#write({ type: "hello", v: 2, cid: HELLO, ...(knows && { resume }) });
  }

  /** @param {object} message @returns {boolean} */
  #write(message) {
    if (this.#socket?.readyState !== 1) return false;
    try {
      this.#socket.send(JSON.stringify(message));
      return true;
    } catch {
      return false; // it is closing
    }
  }

  /** What the server's last word means (delivery: close codes). @param {number} code @param {string} reason */
  #closed(code, reason) {
    const word = this.#bye?.code || reason;
    const opened = this.#openedAt > 0;
    if (code === 4401) return void this.#refusedToken(word === "token_revoked" ? "token_revoked" : "token_expired");
    if (code === 4403) return this.#erased(word);
    if (code === 4409) return this.#give("replaced");
    if (code === 1008) return this.#give("refused");
    if (code === 1009 || code === 1007) this.#fail(this.#inFlight, new ChatboxError("TOO_LONG", "the server does not take a message like this"));
    if (!opened) {
      const asked = this.#probe; // then the server answers and takes no socket
      this.#probe = true;
      return asked ? this.#again("refused_socket", 0, true) : this.#again("network");
    }
    this.#lost(word === "going_away" || word === "try_later" ? word : "network");
  }

  /** The user is erased, or the conversation never was theirs: nothing of it may stay or be sent. @param {string} reason */
  #erased(reason) {
    this.#unsent.erase();
    const gone = [...this.#conversation.unsent];
    this.#conversation.clear();
    this.#unsentChars = 0;
    this.#move("", true);
    for (const entry of gone) this.#settled(entry, new ChatboxError("ERASED", "the server has erased this user or conversation"));
    this.#emit("change");
    this.#give(reason === "not_yours" ? "not_yours" : "erased");
  }

  /** @param {string} reason */
  #lost(reason) {
    const now = this.#world.now();
    if (this.#openedAt && now - this.#openedAt >= STEADY_MS && this.#ready) this.#failures = 0;
    this.#again(reason, this.#bye?.retry_after_ms ?? 0);
  }

  /** Tries again after a while: what the server asked for, and then some. @param {string} reason @param {number} [atLeastMs] @param {boolean} [refusedSocket] */
  #again(reason, atLeastMs = 0, refusedSocket = false) {
    this.#drop();
    if (!this.#running) return;
    const least = Math.min(Math.max(0, Number(atLeastMs) || 0), RETRY_AFTER_MAX_MS);
    const ms = least + this.#jitter(this.#failures++);
    this.#notBefore = least ? this.#world.now() + least : 0;
    this.#after("retry", ms, () => this.#connect());
    this.#tell({ state: "offline", reason, retryInMs: ms, refusedSocket });
  }

  /* -- is anybody there -- */

  /** One timer that goes off when the next thing is due. */
  #watch() {
    const now = this.#world.now();
    const due = this.#pingAt ? Math.min(this.#quietAt(), this.#pingAt + 2 * this.#pongMs) : this.#provenAt + this.#pingAfterMs;
    this.#dueAt = Math.max(now, Math.min(due, now + PING_AFTER_MS)); // a clock that was set back does not stop the watch
    this.#after("watch", this.#dueAt - now, () => this.#look());
  }

  /** When nothing will have been heard for so long that a pong is overdue. */
  #quietAt() {
    return Math.max(this.#pingAt, this.#heardAt) + this.#pongMs;
  }

  #look() {
    const now = this.#world.now();
    if (now - this.#dueAt > LATE_MS || now < this.#heardAt) {
      this.#pingAt = 0; // asleep meanwhile, or the clock was set back: what was asked before does not count
      this.#heardAt = this.#provenAt = now;
      return this.#ping(WAKE_PONG_MS);
    }
    if (this.#pingAt && (now >= this.#quietAt() || now >= this.#pingAt + 2 * this.#pongMs)) return this.#lost("silent");
    if (!this.#pingAt && now >= this.#provenAt + this.#pingAfterMs) return this.#ping(PONG_MS);
    this.#watch();
  }

  /** @param {number} pongMs */
  #ping(pongMs) {
    if (this.#pingAt && pongMs >= this.#pongMs) return this.#watch();
    const now = this.#world.now();
    this.#pongMs = pongMs;
    this.#pingAt = now;
    if (pongMs < PONG_MS) this.#heardAt = Math.min(this.#heardAt, now);
    if (!this.#write({ type: "ping" })) return this.#lost("network");
    this.#watch();
  }

  #proven() {
    this.#provenAt = this.#world.now();
    this.#pongMs = PONG_MS;
    if (this.#pingAt) {
      this.#pingAt = 0;
      this.#watch();
    }
  }

  /* -- what the server says -- */

  /** @param {any} data */
  #hear(data) {
    this.#heardAt = this.#world.now();
    let m = null;
    try {
      m = JSON.parse(String(data));
    } catch {
      console.warn("chatbox: the server sent something that is not JSON");
    }
    if (!m || typeof m !== "object" || typeof m.type !== "string") return;
    if (FOLLOWED.has(m.type) && !m.duplicate) this.#follow(m);
    if (Object.hasOwn(this.#handlers, m.type)) this.#handlers[m.type](m); // newer servers may say more
    this.#emit("event", m);
  }

  /** @type {Record<string, (m: any) => void>} */
  #handlers = {
    connection_status: (m) => this.#greet(m),
    welcome: (m) => this.#welcome(m),
    pong: () => this.#proven(),
    ack: (m) => this.#acked(m),
    error: (m) => this.#refused(m),
    bye: (m) => {
      this.#bye = m;
      this.#emit("bye", { code: String(m.code ?? ""), reason: String(m.reason ?? ""), retry_after_ms: Number(m.retry_after_ms) || 0 });
    },
    user_message: (m) => this.#arrive(m),
    file_upload: (m) => this.#arrive(m),
    voice_message: (m) => this.#arrive(m),
    ai_response: (m) => this.#answer(m),
    mark: (m) => m.session_id === this.#session && this.#marked(m),
    typing: (m) => this.#typed(m.who ?? {}, m.state === "typing", Number(m.ttl) || TYPING_TTL_MS),
    typing_indicator: () => this.#typed({}, true, TYPING_TTL_MS),
  };

  /** The server says which conversation this is: a new one gets its id so, an ended one is left so. @param {any} m */
  #follow(m) {
    const id = m.session_id;
    if (typeof id !== "string" || !id || id === this.#session || id === this.#leaving) return;
    this.#move(id, false);
  }

  /** @param {string} id @param {boolean} ended */
  #move(id, ended) {
    const from = this.#session;
    if (id === from) return;
    this.#session = id;
    if (from) {
      this.#conversation.forget();
      this.#ahead.clear();
      this.#last = this.#top = this.#read = this.#received = 0;
      this.#told = { received: 0, read: 0 };
      this.#known = false;
      this.#newsFrom = undefined;
      this.#epoch = undefined;
      if (this.#ready && id) this.#sync("moved");
    }
    this.#emit("session", { session_id: id, from, ended });
    if (from) this.#emit("change");
  }

  /** @param {any} m */
  #greet(m) {
    if (this.#greeted) return;
    this.#greeted = true;
    if (!this.#user && typeof m.user_id === "string" && m.user_id) this.#become(m.user_id); // the token could not be read
    this.#settle();
  }

  /** @param {any} m */
  #welcome(m) {
    const waited = this.#awaitsWelcome;
    this.#awaitsWelcome = false;
    this.#greeted = this.#v2 = true;
    this.#proven();
    this.#follow(m);
    if (Number(m.ping_s) > 0) this.#pingAfterMs = Math.min(PING_AFTER_MS, m.ping_s * 1000);
    this.#top = Number(m.top) || 0;
    const anew = this.#epoch !== undefined && m.epoch !== undefined && m.epoch !== this.#epoch;
    this.#epoch = m.epoch;
    if (anew) this.#known = false; // the numbers mean something else now
    if (anew || this.#newsFrom === undefined) this.#newsFrom = this.#top;
    const [received, read] = [Number(m.received) || 0, Number(m.read) || 0];
    this.#told = { received, read };
    this.#read = anew ? read : Math.max(this.#read, read);
    this.#received = anew ? received : Math.max(this.#received, received);
    if (waited) this.#settle(m.recovered === true && this.#known && !anew, anew);
  }

  /** Greeted, and hello is answered or refused: we are there. @param {boolean} [recovered] @param {boolean} [anew] */
  #settle(recovered = false, anew = false) {
    if (this.#ready || !this.#greeted || this.#awaitsWelcome) return;
    this.#ready = true;
    this.#cancel("ready");
    this.#leaving = "";
    this.#tell({ state: "online" });
    if (recovered) this.#drain();
    if (!recovered && !(this.#known && this.#v2 && this.#top === this.#last && !anew)) this.#sync(anew ? "epoch" : this.#known ? "gap" : "first");
    this.#markSoon();
    this.#pump();
  }

  /** A message of the conversation that is stored, or one that never will be. @param {any} m */
  #arrive(m) {
    this.#place(entryOf(m, this.#world.now()));
  }

  /** Tells every stored message once and in order. @param {Partial<ChatboxMessage>} entry */
  #place(entry) {
    const seq = entry.seq ?? 0;
    if (!seq || (this.#known && !this.#syncing && seq <= this.#last)) {
      this.#take(entry);
      this.#emit("change");
    } else if (this.#known && !this.#syncing && seq === this.#last + 1) {
      this.#advance(entry);
      this.#emit("change");
    } else {
      this.#ahead.set(seq, entry);
      if (this.#ahead.size > AHEAD_MAX) return this.#lost("overrun");
      if (this.#ready && !this.#syncing) this.#sync(this.#known ? "gap" : "first");
    }
  }

  /** Into the list. A message of ours that comes from the server is stored, whether its ack has come or not.
   *  @param {Partial<ChatboxMessage>} entry */
  #take(entry) {
    const mine = this.#conversation.byCid(entry.cid ?? "");
    const unsent = mine && mine.state !== "";
    const told = this.#conversation.receive(entry);
    if (!unsent) return told;
    if (mine.cid === this.#inFlight) this.#inFlight = "";
    this.#settled(mine);
    this.#pump();
    return told;
  }

  /** @param {Partial<ChatboxMessage>} entry the very next one */
  #advance(entry) {
    this.#last = entry.seq ?? 0;
    this.#top = Math.max(this.#top, this.#last);
    const told = this.#take(entry);
    if (told.sender === "user" && told.cid) this.#read = Math.max(this.#read, this.#read === this.#last - 1 ? this.#last : 0);
    if (this.#options.markReceived) {
      this.#received = this.#last;
      this.#markSoon();
    }
    this.#emit("message", told);
  }

  /** @param {any} m */
  #answer(m) {
    const { streaming, done } = m.metadata ?? {};
    this.#typed({}, false, 0);
    const whole = streaming !== "true" || (done === "true" && m.content && !this.#conversation.entries.some((e) => e.state === "streaming"));
    if (whole) return this.#arrive(m);
    const entry = this.#conversation.stream(entryOf(m, this.#world.now()), done === "true");
    if (entry && done === "true" && m.seq) this.#place({ ...entry });
    this.#emit("change");
  }

  /** @param {any} m */
  #acked(m) {
    this.#proven();
    const { cid } = m;
    const entry = this.#conversation.byCid(cid);
    if (cid === this.#inFlight) this.#inFlight = "";
    if (entry && entry.state !== "") {
      const elsewhere = m.session_id && this.#session && m.session_id !== this.#session; // stored before we came here
      if (elsewhere) this.#conversation.drop(Object.assign(entry, { state: "", id: m.id ?? "" }));
      else this.#conversation.acknowledge(m);
      this.#settled(entry);
      if (m.seq && !elsewhere) this.#place({ ...entry });
      this.#emit("change");
    }
    this.#pump();
  }

  /** @param {any} m */
  #refused(m) {
    const said = m.error ?? {};
    const cid = typeof m.cid === "string" ? m.cid : "";
    const code = String(said.code ?? "");
    if (this.#awaitsWelcome && code === "INVALID_FORMAT" && (!cid || cid === HELLO)) {
      this.#awaitsWelcome = this.#v2 = false; // an older server: it does not know hello
      this.#proven();
      return this.#settle();
    }
    const error = new ChatboxError(code, String(said.message ?? "Something went wrong"), {
      retryAfterMs: Number(said.retry_after) || 0,
      recoverable: said.recoverable === true,
      cid,
      incident: said.incident,
      detail: said.detail,
      sessionId: typeof m.session_id === "string" ? m.session_id : "",
    });
    if (cid === HELLO && this.#awaitsWelcome && PASSING.has(code)) {
      return this.#after("hello", Math.max(error.retryAfterMs, this.#jitter(1)), () => this.#hello());
    }
    if (cid ? cid === this.#inFlight : this.#inFlight && PASSING.has(code)) this.#passes(error);
    else if (cid) this.#fail(cid, error);
    this.#emit("error", error);
    if (code === "NOT_FOUND" && m.session_id && m.session_id === this.#session) {
      this.#move("", true); // it has ended: what is unsent begins a new one
      this.connect();
    }
  }

  /** The message on its way was refused, or may have been: it is sent again when that can help. @param {ChatboxError} error */
  #passes(error) {
    const cid = this.#inFlight;
    const times = (this.#attempts.get(cid) ?? 0) + 1;
    this.#attempts.set(cid, times);
    const soon = error.retryAfterMs <= this.#options.retryWithinMs && (!error.retryAfterMs || this.#options.retryWithinMs > 0);
    if (!PASSING.has(error.code) || times > ATTEMPTS || !soon) return this.#fail(cid, error);
    error.willRetry = true;
    this.#after("ack", error.retryAfterMs + this.#jitter(times - 1), () => this.#transmit(cid));
  }

  /** @param {string} cid @param {ChatboxError} error */
  #fail(cid, error) {
    if (!cid) return;
    if (cid === this.#inFlight) {
      this.#inFlight = "";
      this.#cancel("ack");
    }
    const entry = this.#conversation.fail(cid, error);
    if (!entry) return;
    this.#unsent.put(entry);
    this.#attempts.delete(cid);
    for (const { reject } of this.#waiting.get(cid) ?? []) reject(error);
    this.#waiting.delete(cid);
    this.#emit("failed", entry);
    this.#emit("change");
    this.#pump();
  }

  /* -- sending -- */

  #pump() {
    if (!this.#ready || this.#inFlight) return;
    const next = this.#conversation.next;
    if (!next) return;
    this.#inFlight = next.cid;
    this.#transmit(next.cid);
  }

  /** @param {string} cid */
  #transmit(cid) {
    const entry = this.#conversation.byCid(cid);
    if (!this.#ready || cid !== this.#inFlight || !entry) return;
    const { content, metadata } = entry;
    // The conversation in which it was first sent is named again, though we may be in another one now: if it has the message,
    // the server says so, and does not store it here a second time.
    if (!entry.session && this.#session) {
      entry.session = this.#session;
      entry.kept = this.#unsent.put(entry);
    }
    this.#write({ type: "user_message", session_id: entry.session || this.#placeholder, cid, content, sender: "user", ...(metadata && { metadata }) });
    this.#after("ack", ACK_MS, () => {
      this.#ping(PONG_MS);
      this.#transmit(cid);
    });
  }

  /** It is no longer unsent. @param {ChatboxMessage} entry @param {ChatboxError} [error] */
  #settled(entry, error) {
    if (!this.#inFlight) this.#cancel("ack");
    this.#unsent.remove(entry.cid);
    this.#unsentChars = Math.max(0, this.#unsentChars - entry.content.length);
    this.#attempts.delete(entry.cid);
    for (const { resolve, reject } of this.#waiting.get(entry.cid) ?? []) error ? reject(error) : resolve(entry);
    this.#waiting.delete(entry.cid);
  }

  /* -- marks and typing -- */

  #markSoon() {
    if (!this.#v2 || !this.#ready || this.#timers.has("mark")) return;
    if (this.#received <= this.#told.received && this.#read <= this.#told.read) return;
    this.#after("mark", MARK_MS, () => {
      const mark = { ...(this.#received > 0 && { received: this.#received }), ...(this.#read > 0 && { read: this.#read }) };
      if (this.#ready && this.#write({ type: "mark", session_id: this.#session, ...mark })) this.#told = { received: this.#received, read: this.#read };
    });
  }

  /** @param {any} m */
  #marked(m) {
    const [received, read] = [Number(m.received) || 0, Number(m.read) || 0];
    this.#read = Math.max(this.#read, read);
    this.#told = { received: Math.max(this.#told.received, received), read: Math.max(this.#told.read, read) };
    this.#emit("mark", { received, read: this.#read, unread: this.unread });
  }

  /** @param {{ id?: unknown, name?: unknown }} who @param {boolean} active @param {number} ttlMs */
  #typed(who, active, ttlMs) {
    const told = { user_id: String(who.id ?? ""), name: String(who.name ?? "") };
    const timer = `typing ${told.user_id}`;
    if (!active && !this.#timers.has(timer)) return;
    if (active) this.#after(timer, Math.min(ttlMs, 60000), () => this.#emit("typing", { ...told, active: false }));
    else this.#cancel(timer);
    this.#emit("typing", { ...told, active });
  }

  /* -- history -- */

  /** Brings what is missing, however often it takes. @param {"first" | "gap" | "epoch" | "moved"} reason @param {number} [failures] */
  async #sync(reason, failures = 0) {
    const sync = (this.#syncing = ++this.#syncs);
    const session = this.#session;
    const over = () => sync !== this.#syncing;
    try {
      const found = session ? await this.#missing(session, over) : { page: [], whole: true };
      if (over()) return;
      this.#syncing = 0;
      this.#catchUp(found.page, found.whole, reason);
    } catch (error) {
      if (over()) return;
      const { status, retryAfterMs } = /** @type {ChatboxError} */ (error);
      if (status === 401) return void this.#refusedToken(this.#expired() ? "token_expired" : "unauthorized");
      if (status === 404) {
        this.#syncing = 0;
        return this.#catchUp([], !this.#known, reason); // a conversation nobody has said anything in, or one that is gone
      }
      this.#after("sync", Math.max(retryAfterMs, this.#jitter(failures) / 2), () => over() || this.#sync(reason, failures + 1));
    }
  }

  /** The messages after #last, or the first page and what is news; whole: there is no hole between. @param {string} session @param {() => boolean} over */
  async #missing(session, over) {
    let page = await this.#history(session, 0, this.#known ? FETCH_PAGE : PAGE);
    const from = this.#known ? this.#last : (this.#newsFrom ?? Infinity);
    while (!over() && page.length && page[0].seq > from + 1 && page.length < this.#options.recoverMax) {
      const before = await this.#history(session, page[0].seq, FETCH_PAGE);
      if (!before.length) break;
      page = [...before, ...page];
    }
    const whole = this.#known && (page.length ? page[0].seq <= this.#last + 1 && page.at(-1).seq >= this.#last : this.#last === 0);
    return { page: whole || !this.#known ? page : page.slice(-PAGE), whole };
  }

  /** @param {any[]} found @param {boolean} whole @param {"first" | "gap" | "epoch" | "moved"} reason */
  #catchUp(found, whole, reason) {
    const now = this.#world.now();
    const entries = found.map((m) => entryOf(m, now));
    if (whole && this.#known) {
      this.#conversation.catchUp([]); // what only this client showed goes
      for (const entry of entries) if ((entry.seq ?? 0) <= this.#last) this.#take(entry);
      for (const entry of entries) if (entry.seq === this.#last + 1) this.#advance(entry);
    } else {
      // What was said since the first welcome is news, although the page has it already.
      const from = this.#known ? this.#top : (this.#newsFrom ?? this.#top);
      const since = this.#v2 ? entries.findIndex((e) => e.seq === from + 1) : -1;
      const page = since < 0 ? entries : entries.slice(0, since);
      this.#conversation.forget();
      for (const entry of page) this.#take(entry);
      this.#last = page.at(-1)?.seq ?? (since < 0 ? 0 : from);
      this.#top = Math.max(this.#last, this.#known ? this.#top : 0);
      this.#known = true;
      if (this.#options.markReceived) this.#received = this.#last;
      this.#emit("history", { messages: this.#conversation.entries.filter((e) => e.state === ""), reason });
      for (const entry of entries.slice(page.length)) if (entry.seq === this.#last + 1) this.#advance(entry);
    }
    this.#drain();
    this.#markSoon();
    this.#emit("change");
  }

  /** What came while a hole was filled. */
  #drain() {
    const held = [...this.#ahead].sort(([a], [b]) => a - b);
    this.#ahead.clear();
    for (const [, entry] of held) this.#place(entry);
  }

  /** At most `limit` messages before `before` (a seq; 0: the newest), oldest first. @param {string} session @param {number} before @param {number} limit @returns {Promise<any[]>} */
  async #history(session, before, limit) {
    const query = new URLSearchParams({ limit: String(limit), ...(before && { before_seq: String(before) }) });
    return (await this.#http("GET", `sessions/${encodeURIComponent(session)}?${query}`)).messages ?? [];
  }

  /** @param {string} method @param {string} path @returns {Promise<any>} */
  async #http(method, path) {
    const stop = new AbortController();
    const timer = this.#world.setTimeout(() => stop.abort(), HTTP_MS);
    try {
      const response = await this.#world.fetch(String(new URL(path, this.#base)), {
        method,
        headers: { Authorization: `Bearer ${this.#token}` },
        cache: "no-store",
        credentials: "omit",
        signal: stop.signal,
      });
      if (response.ok) return await response.json();
      const wait = Number(response.headers?.get?.("Retry-After")) * 1000 || 0;
      throw new ChatboxError("HTTP", `The server answered ${response.status}.`, { status: response.status, retryAfterMs: wait });
    } catch (error) {
      if (error instanceof ChatboxError) throw error;
      throw new ChatboxError("UNREACHABLE", "The server cannot be reached.");
    } finally {
      this.#world.clearTimeout(timer);
    }
  }
}

Object.assign(globalThis, { ChatboxClient });
