// In: a token and what the server says. Out: the chat page, working. This file ties the others together and is the only
// one that knows the protocol; connection.js knows sockets, conversation.js order, view.js the page.
// Order of a (re)connect: token and conversation by HTTP, then the socket, then the history; what the socket brings
// meanwhile waits, then what was never acknowledged is sent again under its old cid, which the server stores only once.

import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import * as tokens from "./token.js";
import { $, View } from "./view.js";

const PAGE = 50; // messages of one page of history
const UNSENT_KEY = "chatbox.unsent";

const conversation = new Conversation();
const view = new View({ again });
const composer = new Composer(say);
const connection = new Connection({ prepare, refused, message: enqueue, state: showState });
const placeholder = uuid(); // names a conversation the server has not made yet

let api = null;
let user = "";
let who = ""; // the user's name
let session = ""; // "" until there is one
let leaving = ""; // the conversation that was ended here: what is still said of it is old news
let greeted = false; // this socket has told us where we are
let renewal = 0; // the timer that asks for the next token
let work = Promise.resolve(); // messages of the socket, one after the other

function begin({ token, session: wanted = "" }) {
  if (!token) {
    tokens.askParent();
    return view.gate("You need a link to chat", "This page was opened without a token, so it does not know who you are.");
  }
  const { user_id: id } = tokens.claims(token);
  if (user && id !== user) conversation.clear();
  user = id ?? "";
  session = wanted;
  use(token);
  view.chat();
  view.notice("");
  restoreUnsent();
  view.draw(conversation.entries, "end");
  connection.start();
}

/** From now on it is this token that counts. The embedding page is asked for the next one before it ends. */
function use(token) {
  const { name } = tokens.claims(token);
  api = new Api(token);
  who = typeof name === "string" && name ? name : user;
  clearTimeout(renewal);
  const ms = tokens.askIn(token);
  if (ms !== null) renewal = setTimeout(tokens.askParent, ms);
}

/** A new token of the same user: the open connection goes on with it. */
function refresh(token) {
  if (!greeted || !user || tokens.claims(token).user_id !== user) return false;
  use(token);
  return connection.send({ type: "refresh", token });
}

/* connecting */

async function prepare() {
  const sessions = await api.sessions();
  if (!session) session = sessions.find((s) => s.is_active)?.id ?? "";
  return api.socketAddress(session);
}

function refused(error) {
  if (error.status !== 401) return false;
  const late = tokens.expired(api.token);
  tokens.forget();
  tokens.askParent();
  view.gate(
    late ? "Your link has expired" : "This link is not valid",
    late
      ? "The token in it was good for a limited time only. Your conversation is kept, and a new link opens it again."
      : "The server does not accept the token in it. It may belong to another server, or to an earlier start of this one.",
  );
  return true;
}

function showState(state, { seconds, refusedSocket }) {
  const text = { connecting: "Connecting…", open: who ? `Connected as ${who}` : "Connected", offline: `Offline, trying again in ${seconds} s` }[state];
  view.status(state, text);
  if (state === "open") view.notice("", "connection");
  else online(false);
  greeted = false;
  if (refusedSocket) view.notice("The server does not take another live connection right now. If this chat is open in many tabs, close some.", "connection");
}

function online(yes) {
  composer.online(yes);
  $("new-chat").disabled = !yes;
  if (!yes) view.dots(false);
}

/* what the server says */

function enqueue(message) {
  work = work.then(() => handle(message)).catch((error) => console.error(error));
}

const handlers = {
  async connection_status(m) {
    if (m.content) view.banner(m.content);
    if (m.ended && m.session_id === session && session !== leaving)
      view.notice("This conversation was ended in another window. What you write now begins a new one.");
    if (greeted) return;
    greeted = true;
    await catchUp();
    online(connection.open);
    if (parent === window && matchMedia("(hover: hover)").matches) composer.focus(); // never steals a keyboard or a frame
    for (const entry of conversation.pending) transmit(entry);
  },
  ack(m) {
    conversation.acknowledge(m);
    keepUnsent();
    view.draw(conversation.entries);
  },
  user_message: (m) => show(m),
  file_upload: (m) => show(m),
  voice_message: (m) => show(m),
  loading: () => view.dots(true),
  ai_response(m) {
    const { streaming, done } = m.metadata ?? {};
    view.dots(false);
    if (streaming !== "true") return show(m);
    conversation.stream(entryOf(m), done === "true");
    view.draw(conversation.entries);
  },
  error(m) {
    const { code, message = "Something went wrong", retry_after: wait, incident, detail } = m.error ?? {};
    if (detail) console.error(detail);
    view.dots(false);
    conversation.fail(m.cid);
    keepUnsent();
    view.draw(conversation.entries);
    if (code === "NOT_FOUND" && m.session_id === session) return endedElsewhere();
    const when = wait > 0 ? ` You can try again in ${Math.ceil(wait / 1000)} s.` : "";
    const number = incident ? ` (incident ${incident})` : "";
    view.notice(`${message}${number}.${when}`);
  },
  admin_join: (m) => view.banner(`${m.metadata?.admin_name || "Somebody from the team"} has joined the conversation`),
  admin_leave: () => view.banner(""),
  notification: (m) => m.content && view.notice(m.content),
  script_error: (m) => console.error(m.text),
};

async function handle(message) {
  if (!Object.hasOwn(handlers, message.type)) return; // newer servers may say more
  if (message.type !== "error") await moveTo(message.session_id);
  await handlers[message.type](message);
}

/** The server says which conversation this is: a new one gets its name so, an ended one is left so. */
async function moveTo(id) {
  if (!id || id === session || id === leaving) return;
  const moved = session !== "";
  session = id;
  if (!moved) return;
  conversation.forget();
  view.draw(conversation.entries);
  if (greeted) await catchUp();
}

function show(message) {
  conversation.receive(entryOf(message));
  view.draw(conversation.entries);
}

function entryOf(m) {
  const at = Date.parse(m.timestamp);
  const entry = { sender: m.sender || "ai", content: m.content || m.file_url || "", at: Number.isNaN(at) ? Date.now() : at };
  if (m.id) entry.id = m.id;
  if (m.seq) entry.seq = m.seq;
  if (m.cid) entry.cid = m.cid;
  if (m.metadata?.admin_name) entry.name = m.metadata.admin_name;
  return entry;
}

/* history */

async function catchUp() {
  view.busy(true);
  let page = [];
  try {
    if (session) page = await api.history(session, 0, PAGE);
  } catch (error) {
    if (error.status === 401) return void (refused(error) && connection.stop());
    if (error.status === 404) return unknownConversation();
    view.notice("Earlier messages could not be loaded.");
    return;
  }
  const first = conversation.entries.length === conversation.pending.length;
  conversation.catchUp(page.map(entryOf));
  keepUnsent();
  view.draw(conversation.entries, first ? "end" : "follow");
  view.earlier(conversation.oldestSeq > 1);
  view.busy(false);
}

function endedElsewhere() {
  session = "";
  conversation.forget();
  view.draw(conversation.entries);
  view.notice("This conversation was ended in another window. Your message can be sent in a new one.");
  connection.start();
}

function unknownConversation() {
  if (conversation.newestSeq) view.notice("This conversation could not be found. Your next message starts a new one.");
  session = "";
  view.draw(conversation.entries);
  view.busy(false);
}

async function showEarlier() {
  $("earlier").disabled = true;
  view.busy(true);
  try {
    const page = await api.history(session, conversation.oldestSeq, PAGE);
    page.forEach((m) => conversation.receive(entryOf(m)));
    view.earlier(page.length > 0 && conversation.oldestSeq > 1);
    view.draw(conversation.entries, "keep");
  } catch (error) {
    view.notice("Earlier messages could not be loaded.");
  }
  view.busy(false);
  $("earlier").disabled = false;
}

/* what the reader does */

function say(content) {
  conversation.say(uuid(), content, Date.now());
  const entry = conversation.entries.at(-1);
  keepUnsent();
  view.notice("");
  view.draw(conversation.entries, "end");
  transmit(entry);
}

function again(entry) {
  conversation.again(entry);
  keepUnsent();
  view.draw(conversation.entries);
  transmit(entry);
}

function transmit({ cid, content }) {
  connection.send({ type: "user_message", session_id: session || placeholder, cid, content, sender: "user" });
}

async function newChat() {
  composer.focus();
  if (!session || conversation.entries.length === 0) return;
  online(false);
  leaving = session;
  try {
    await api.end(session);
  } catch (error) {
    if (error.status !== 404) {
      leaving = "";
      online(connection.open);
      return view.notice(`A new chat could not be started. ${error.message}`);
    }
  }
  session = "";
  conversation.clear();
  keepUnsent();
  history.replaceState(null, "", location.pathname);
  view.banner("");
  view.earlier(false);
  view.draw(conversation.entries);
  connection.start();
  composer.focus();
}

/* what is not acknowledged survives a reload of the page: it is sent again under the same cid */

function keepUnsent() {
  const unsent = conversation.entries.filter((e) => e.cid && e.state !== "" && e.sender === "user");
  const entries = unsent.map(({ cid, content, at, state }) => ({ cid, content, at, state }));
  try {
    if (entries.length) sessionStorage.setItem(UNSENT_KEY, JSON.stringify({ user, entries }));
    else sessionStorage.removeItem(UNSENT_KEY);
  } catch {
    // no storage: then a reload loses what the server does not have
  }
}

function restoreUnsent() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(UNSENT_KEY));
    if (saved?.user !== user) return;
    for (const { cid, content, at, state } of saved.entries) {
      if (conversation.entries.some((e) => e.cid === cid)) continue;
      conversation.say(cid, content, at);
      if (state === "failed") conversation.fail(cid);
    }
  } catch {
    // unreadable: nothing to restore
  }
}

/** crypto.randomUUID() exists on https and localhost only. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

$("earlier").addEventListener("click", showEarlier);
$("new-chat").addEventListener("click", newChat);
setInterval(() => conversation.pending.length && connection.probe(), 5000);
addEventListener("hashchange", () => {
  const found = tokens.takeFromAddress();
  if (found.fresh) begin(found);
});
tokens.listenToParent((token) => {
  tokens.keep(token);
  if (!refresh(token)) begin({ token, session });
});
begin(tokens.takeFromAddress());
