// In: messages as they come, from history, from the socket, from this tab, in any order and more than once.
// Out: one list, in the order of the server, without doubles.
// Why: a message of ours is shown before the server has it, acknowledged later, found again in the history after a
// reconnect. seq orders, id and cid tell what is the same. No page in here, so it can be tested as it is.

const KEPT = 2000; // entries; the oldest leave first and can be had again from the history

/** entry: { seq, id, cid, sender, name, content, at (ms), state: "" | "pending" | "failed" | "streaming" }
 *  seq 0: not (yet) in the history. */
export class Conversation {
  entries = [];

  get pending() {
    return this.entries.filter((e) => e.state === "pending");
  }

  get oldestSeq() {
    return this.entries.find((e) => e.seq)?.seq ?? 0;
  }

  get newestSeq() {
    return this.entries.findLast((e) => e.seq)?.seq ?? 0;
  }

  /** A message of this tab, before the server has seen it. */
  say(cid, content, at) {
    this.entries.push({ seq: 0, id: "", cid, sender: "user", name: "", content, at, state: "pending" });
  }

  acknowledge({ cid, id, seq }) {
    const entry = this.entries.find((e) => cid && e.cid === cid);
    if (!entry) return;
    this.entries = this.entries.filter((e) => e === entry || !id || e.id !== id); // the history may have brought it already
    Object.assign(entry, { id: id || entry.id, seq: seq || entry.seq, state: "" });
    this.#settle(entry);
  }

  /** Without a cid it is the oldest one that waits: a conversation is worked through in order. */
  fail(cid) {
    const entry = cid ? this.entries.find((e) => e.cid === cid) : this.pending[0];
    if (entry?.state === "pending") entry.state = "failed";
  }

  again(entry) {
    entry.state = "pending";
  }

  /** A whole message, of whoever. */
  receive(message) {
    const known = this.entries.find(
      (e) => (message.id && e.id === message.id) || (message.cid && e.cid === message.cid) || (message.seq && e.seq === message.seq),
    );
    if (known) Object.assign(known, message, { state: "" });
    const entry = known ?? { seq: 0, id: "", cid: "", name: "", ...message, state: "" };
    if (!known) this.#insert(entry);
    this.#settle(entry);
    if (this.entries.at(-1) === entry) this.entries.splice(0, Math.max(0, this.entries.length - KEPT)); // not while earlier ones are shown
  }

  /** A piece of an answer that is being written. */
  stream(message, done) {
    let entry = this.entries.find((e) => e.state === "streaming");
    if (!entry && (message.content || message.id)) {
      entry = { seq: 0, id: "", cid: "", name: "", ...message, content: "", state: "streaming" };
      this.entries.push(entry);
    }
    if (!entry) return;
    entry.content += message.content;
    if (!done) return;
    Object.assign(entry, { id: message.id || entry.id, seq: message.seq || entry.seq, state: "" });
    this.#settle(entry);
  }

  /** The newest page of the history, after a (re)connect. What only this page showed, such as a half-written answer, goes;
   *  what is not acknowledged stays. A hole between what we have and the page would lie: then the page replaces all. */
  catchUp(page) {
    const first = page.find((m) => m.seq)?.seq ?? 0;
    const gap = first > this.newestSeq + 1;
    const ours = (e) => e.cid && (e.state === "pending" || e.state === "failed");
    this.entries = this.entries.filter((e) => ours(e) || (e.seq && !gap));
    for (const message of page) this.receive(message);
  }

  /** The conversation is another one now: what it has not got yet may still be sent there. */
  forget() {
    this.entries = this.entries.filter((e) => e.state === "pending" || e.state === "failed");
  }

  clear() {
    this.entries = [];
  }

  #insert(entry) {
    if (!entry.seq) return this.entries.push(entry);
    const later = this.entries.findIndex((e) => e.seq > entry.seq || (e.cid && e.state === "pending"));
    this.entries.splice(later < 0 ? this.entries.length : later, 0, entry);
  }

  /** Moves an entry that has got its seq only if it stands in the wrong place. */
  #settle(entry) {
    if (!entry.seq) return;
    const at = this.entries.indexOf(entry);
    const wrong = this.entries.some((e, i) => e.seq && (i < at ? e.seq > entry.seq : e.seq < entry.seq));
    if (!wrong) return;
    this.entries.splice(at, 1);
    const later = this.entries.findIndex((e) => e.seq > entry.seq);
    const before = this.entries.findLastIndex((e) => e.seq && e.seq < entry.seq);
    this.entries.splice(later < 0 ? before + 1 : later, 0, entry);
  }
}
