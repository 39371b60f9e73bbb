// In: the address bar, the tab's storage, an embedding page. Out: the token to show to the server, or none.
// Why: a token in the fragment never reaches a log or a Referer; it leaves the address bar at once and lives as long as
// the tab. Nothing here is verified: the server does that. The claims are read only to say something helpful.

const KEY = "chatbox.token";
const LONGEST_TIMER_MS = 2 ** 31 - 1;
let kept = ""; // where storage is forbidden (some embedded frames), the page's own memory has to do

function storage(action, value) {
  try {
    return action === "get" ? sessionStorage.getItem(KEY) : action === "set" ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY);
  } catch {
    return null;
  }
}

/** Takes token and session out of the address bar. → { token, session, fresh }; fresh: the token came just now. */
export function takeFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const query = new URLSearchParams(location.search);
  const fresh = fragment.get("token") ?? "";
  if (fresh) keep(fresh);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return {
    token: fresh || storage("get") || kept,
    session: fragment.get("session") ?? query.get("session_id") ?? "",
    fresh: fresh !== "",
  };
}

export function keep(token) {
  kept = token;
  storage("set", token);
}

export function forget() {
  kept = "";
  storage("remove");
}

/** What the token says about itself, {} when it cannot be read. */
export function claims(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/** Milliseconds until it ends; Infinity when it does not say. */
function left(token) {
  const { exp } = claims(token);
  return typeof exp === "number" ? exp * 1000 - Date.now() : Infinity;
}

export const expired = (token) => left(token) <= 0;

/** When to ask for the next one: a minute before this one ends, or half-way when it is short. null: never. */
export function askIn(token) {
  const ms = left(token);
  return ms > 0 && ms <= LONGEST_TIMER_MS ? Math.max(ms - 60000, ms / 2, 1000) : null;
}

/** Asks the embedding page for a token; it may post {type: "token", token} at any time. Only our own origin and those
 *  listed in <meta name="chatbox-parents"> are heard. */
export function listenToParent(onToken) {
  const listed = document.querySelector('meta[name="chatbox-parents"]')?.content ?? "";
  const trusted = new Set([location.origin, ...listed.split(/\s+/).filter(Boolean)]);
  addEventListener("message", ({ origin, source, data }) => {
    if (source !== parent || !trusted.has(origin)) return;
    if (data?.type === "token" && typeof data.token === "string" && data.token) onToken(data.token);
  });
}

export function askParent() {
  if (parent !== window) parent.postMessage({ type: "request_token" }, "*"); // carries nothing worth hiding
}
