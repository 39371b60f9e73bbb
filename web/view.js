// In: the entries of a conversation. Out: what stands on the page.
// Why: the list is small, so every change draws it anew by comparison: an element per entry, moved only when it is out of
// place. Text goes in as textContent and nothing else. The reader's place is kept unless they are at the end.

const AT_END_PX = 60;
const NAMES = { user: "You", ai: "Assistant", admin: "Support", system: "" };
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export const $ = (id) => document.getElementById(id);

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

const dayOf = (at) => new Date(at).toDateString();

function dayName(at) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (dayOf(at) === today.toDateString()) return "Today";
  return dayOf(at) === yesterday.toDateString() ? "Yesterday" : date.format(at);
}

export class View {
  #items = new Map(); // entry → its <li>
  #dots = false;

  /** again(entry): the reader wants a failed message sent once more. */
  constructor({ again }) {
    this.again = again;
    this.room = $("room");
    this.pinned = true; // the reader was at the end when they last moved; a keyboard that opens must not change that
    this.room.addEventListener("scroll", () => this.#moved(), { passive: true });
    new ResizeObserver(() => this.pinned && this.toEnd()).observe(this.room);
    $("to-bottom").addEventListener("click", () => this.toEnd());
    $("notice").querySelector("button").addEventListener("click", () => this.notice("")); // Dismiss
  }

  get atEnd() {
    return this.room.scrollHeight - this.room.scrollTop - this.room.clientHeight < AT_END_PX;
  }

  #moved() {
    this.pinned = this.atEnd;
    if (this.pinned) $("to-bottom").hidden = true;
  }

  toEnd() {
    this.room.scrollTop = this.room.scrollHeight;
    $("to-bottom").hidden = true;
  }

  /** how: "keep" the reader's place, go to the "end", or (default) follow when they are at the end. */
  draw(entries, how = "follow") {
    const follow = how === "end" || (how === "follow" && this.atEnd);
    const fromEnd = this.room.scrollHeight - this.room.scrollTop;
    const grew = entries.length > this.#items.size;
    this.#reconcile(entries);
    this.#markLastSent(entries);
    $("empty").hidden = entries.length > 0 || this.#dots;
    if (follow) this.toEnd();
    else if (how === "keep") this.room.scrollTop = this.room.scrollHeight - fromEnd;
    else if (grew) $("to-bottom").hidden = false;
  }

  #reconcile(entries) {
    const stay = new Set(entries);
    for (const [entry, item] of this.#items) {
      if (stay.has(entry)) continue;
      item.remove();
      this.#items.delete(entry);
    }
    let here = $("log").firstChild;
    entries.forEach((entry, i) => {
      let item = this.#items.get(entry);
      if (!item) this.#items.set(entry, (item = this.#make(entry)));
      this.#update(item, entry, entries[i - 1], entries[i + 1]);
      if (item === here) here = here.nextSibling;
      else $("log").insertBefore(item, here);
    });
  }

  #make(entry) {
    const item = element("li");
    const time = element("time");
    const meta = element("div", "meta");
    meta.append(element("span", "state"), time);
    item.append(element("div", "day"), element("div", "name"), element("div", "bubble"), meta);
    return item;
  }

  #update(item, entry, previous, next) {
    const sameGroup = (a, b) => a && b && a.sender === b.sender && a.name === b.name && dayOf(a.at) === dayOf(b.at) && Math.abs(a.at - b.at) < 300000;
    const first = !sameGroup(previous, entry);
    const newDay = !previous || dayOf(previous.at) !== dayOf(entry.at);
    const look = [entry.sender, entry.state, first && "first", !sameGroup(entry, next) && "last", newDay && "new-day"].filter(Boolean).join(" ");
    const drawn = `${look} ${entry.at} ${entry.content.length}`;
    if (item.drawn === drawn) return;
    item.drawn = drawn;
    item.className = look;
    const [day, name, bubble, meta] = item.children;
    day.textContent = newDay ? dayName(entry.at) : "";
    day.hidden = !newDay;
    name.textContent = entry.name || NAMES[entry.sender] || "";
    name.classList.toggle("unseen", !first || entry.sender !== "admin"); // sides and colours say it, except to a listener
    if (bubble.textContent !== entry.content) bubble.textContent = entry.content;
    item.ariaBusy = entry.state === "streaming" ? "true" : "false";
    this.#stamp(meta, entry);
  }

  #markLastSent(entries) {
    $("log").querySelector(".delivered")?.classList.remove("delivered");
    const last = entries.findLast((e) => e.sender === "user" && e.state === "");
    this.#items.get(last)?.classList.add("delivered");
  }

  #stamp(meta, entry) {
    const [state, time] = meta.children;
    time.textContent = clock.format(entry.at);
    time.dateTime = new Date(entry.at).toISOString();
    time.title = full.format(entry.at);
    time.hidden = entry.state === "failed" || entry.state === "pending";
    state.textContent = entry.sender === "user" ? { pending: "Sending…", failed: "Not sent", "": "Sent" }[entry.state] : "";
    meta.querySelector("button")?.remove();
    if (entry.state !== "failed") return;
    const button = element("button", "", "Try again");
    button.type = "button";
    button.addEventListener("click", () => this.again(entry));
    meta.append(button);
  }

  dots(on) {
    const follow = this.atEnd;
    this.#dots = on;
    $("dots").hidden = !on;
    if (on && follow) this.toEnd();
  }

  /** While history is drawn nothing is read aloud. */
  busy(on) {
    $("live").ariaBusy = on ? "true" : "false";
  }

  earlier(shown) {
    $("earlier").hidden = !shown;
  }

  status(state, text) {
    $("status").dataset.state = state;
    if ($("status").textContent !== text) $("status").textContent = text;
  }

  /** "" takes it away; with a kind only if it is of that kind. action: [label, what it does]. */
  notice(text, kind = "", action = null) {
    if (!text && kind && $("notice").dataset.kind !== kind) return;
    $("notice").dataset.kind = kind;
    $("notice").querySelector("p").textContent = text;
    $("notice").hidden = !text;
    $("notice").querySelector(".act")?.remove();
    if (!action) return;
    const button = element("button", "act", action[0]);
    button.type = "button";
    button.addEventListener("click", action[1]);
    $("notice").querySelector("p").after(button);
  }

  banner(text) {
    $("banner").textContent = text;
    $("banner").hidden = !text;
  }

  /** The page that stands in for the chat when there is no usable token. */
  gate(title, text) {
    $("chat").hidden = true;
    $("gate").hidden = false;
    $("gate-title").textContent = title;
    $("gate-text").textContent = text;
    document.title = title;
    $("gate-title").focus();
  }

  chat() {
    $("gate").hidden = true;
    $("chat").hidden = false;
    document.title = "Chat";
  }
}
