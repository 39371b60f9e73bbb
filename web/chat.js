// In: a token and what the client library tells. Out: the chat page, working. chatbox-client.js knows the protocol and the
// network, view.js the page, composer.js the reader's keyboard; this file ties them together and knows what to say when.

import { ChatboxClient, claims } from "./chatbox-client.js";
import { Composer } from "./composer.js";
import * as tokens from "./token.js";
import { $, View } from "./view.js";

const view = new View({ again: (entry) => client.retry(entry) });
const composer = new Composer(say, () => client?.typing());

/** @type {ChatboxClient | null} */
let client = null;
let who = ""; // the user's name
let paging = false; // earlier messages are on their way: the reader's place is kept
let ending = ""; // the conversation that was ended here: that it has ended is no news

function begin({ token, session = "" }) {
  if (!token) {
    tokens.askParent();
    return view.gate("You need a link to chat", "This page was opened without a token, so it does not know who you are.");
  }
  client?.disconnect();
  client = new ChatboxClient({
    url: new URL(".", location.href), // the page lies at {prefix}/chat.html, so {prefix}/ is beside it
    sessionId: session,
    retryWithinMs: 0, // a reader decides about what the server asks to wait for
    getToken() {
      tokens.askParent(); // its answer, if there is one, comes to listenToParent
      return null;
    },
  });
  client.on("token", named);
  client.on("state", showState);
  client.on("history", ({ reason }) => redraw(reason === "first" ? "end" : "follow"));
  client.on("change", () => redraw());
  client.on("message", seen);
  client.on("session", moved);
  client.on("error", refused);
  client.on("typing", ({ active }) => view.dots(active));
  client.on("event", (m) => Object.hasOwn(news, m.type) && news[m.type](m));
  view.chat();
  view.notice("");
  client.setToken(token);
  redraw("end");
}

function named(token) {
  const { name } = claims(token);
  who = typeof name === "string" && name ? name : client.userId;
}

/* what the library tells */

// Why there will be no connection without the reader's doing: title and text of the page that stands in for the chat.
const ENDS = {
  token_expired: ["Your link has expired", "The token in it was good for a limited time only. Your conversation is kept, and a new link opens it again."],
  unauthorized: [
    "This link is not valid",
    "The server does not accept the token in it. It may belong to another server, or to an earlier start of this one.",
  ],
  erased: ["This chat was erased", "All that was said in it is gone. A new link begins a new one."],
  not_yours: ["This chat is not yours", "The server does not let you in. A new link begins a new one."],
  refused: ["You cannot chat now", "The server does not accept this connection."],
};
ENDS.token_revoked = ENDS.unauthorized;

function showState({ state, reason, retryInMs, refusedSocket }) {
  if (ENDS[reason] && state === "closed") return view.gate(...ENDS[reason]);
  if (state === "idle") return;
  const seconds = Math.ceil(retryInMs / 1000);
  const text = {
    connecting: "Connecting…",
    online: who ? `Connected as ${who}` : "Connected",
    offline: `Offline, trying again in ${seconds} s`,
    closed: "Not connected",
  }[state];
  view.status(state === "online" ? "open" : state === "closed" ? "offline" : state, text);
  online(state === "online");
  if (state === "online") {
    view.notice("", "connection");
    if (parent === window && matchMedia("(hover: hover)").matches) composer.focus(); // never steals a keyboard or a frame
  } else if (refusedSocket) {
    view.notice("The server does not take another live connection right now. If this chat is open in many tabs, close some.", "connection");
  } else if (reason === "replaced") {
    view.notice("This chat was opened on another device, and it cannot be open on so many.", "connection", ["Use it here", () => client.connect()]);
  }
}

function online(yes) {
  composer.online(yes);
  $("new-chat").disabled = !yes;
  if (!yes) view.dots(false);
}

function redraw(how = paging ? "keep" : "follow") {
  view.draw(client.messages, how);
  view.earlier(client.hasEarlier);
  view.busy(false);
}

function seen(message) {
  if (document.visibilityState === "visible" && view.atEnd) client.markRead(message.seq);
}

function moved({ session_id: id, ended }) {
  if (!id && !ended) view.notice("This conversation could not be found. Your next message starts a new one.");
}

function refused({ code, message, retryAfterMs, incident, detail, sessionId, willRetry }) {
  if (detail) console.error(detail);
  view.dots(false);
  if (willRetry) return;
  if (code === "NOT_FOUND" && sessionId) return view.notice("This conversation was ended in another window. Your message can be sent in a new one.");
  const when = retryAfterMs > 0 ? ` You can try again in ${Math.ceil(retryAfterMs / 1000)} s.` : "";
  const number = incident ? ` (incident ${incident})` : "";
  view.notice(`${message}${number}.${when}`);
}

const news = {
  connection_status(m) {
    if (m.content) view.banner(m.content);
    if (m.ended && m.session_id === client.sessionId && m.session_id !== ending)
      view.notice("This conversation was ended in another window. What you write now begins a new one.");
  },
  loading: () => view.dots(true),
  ai_response: () => view.dots(false),
  admin_join: (m) => view.banner(`${m.metadata?.admin_name || "Somebody from the team"} has joined the conversation`),
  admin_leave: () => view.banner(""),
  notification: (m) => m.content && view.notice(m.content),
  script_error: (m) => console.error(m.text),
};

/* what the reader does */

function say(content) {
  view.notice("");
  try {
    client.send(content);
  } catch (error) {
    return view.notice(`${error.message}.`);
  }
  redraw("end");
}

async function showEarlier() {
  $("earlier").disabled = paging = true;
  view.busy(true);
  try {
    await client.loadEarlier();
  } catch {
    view.notice("Earlier messages could not be loaded.");
  }
  redraw("keep");
  $("earlier").disabled = paging = false;
}

async function newChat() {
  composer.focus();
  if (!client.sessionId || client.messages.length === 0) return;
  online(false);
  ending = client.sessionId;
  try {
    await client.startNew();
  } catch (error) {
    ending = "";
    online(client.online);
    return view.notice(`A new chat could not be started. ${error.message}`);
  }
  history.replaceState(null, "", location.pathname);
  view.banner("");
  composer.focus();
}

$("earlier").addEventListener("click", showEarlier);
$("new-chat").addEventListener("click", newChat);
document.addEventListener("visibilitychange", () => client && document.visibilityState === "visible" && view.atEnd && client.markRead());
addEventListener("hashchange", () => {
  const found = tokens.takeFromAddress();
  if (found.fresh) begin(found);
});
tokens.listenToParent((token) => {
  tokens.keep(token);
  if (!client) return begin({ token });
  view.chat();
  client.setToken(token);
});
begin(tokens.takeFromAddress());
