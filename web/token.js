// In: the address bar, the tab's storage, an embedding page. Out: the token to show to the server, or none.
// Why: a token in the fragment never reaches a log or a Referer; it leaves the address bar at once and lives as long as
// the tab, also when the server does not take it: it may be a moment too early, or the server may be another one.

const KEY = "chatbox.token";
let kept = ""; // where storage is forbidden (some embedded frames), the page's own memory has to do

function storage(action, value) {
  try {
    return action === "get" ? sessionStorage.getItem(KEY) : sessionStorage.setItem(KEY, value);
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
