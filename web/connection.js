// In: an address to connect to. Out: decoded messages, and whether we are connected.
// Why: connections break; this one comes back after 1, 2, 4, 8, 16, 30, 30 … seconds, at once when the network or the
// reader returns, and notices a socket that is open but dead. What was not acknowledged is the caller's to send again.

const BACK_OFF_S = [1, 2, 4, 8, 16, 30];
const STEADY_MS = 5000; // a connection that lived so long was a good one: the back-off starts anew
const SILENT_MS = 10000;

export class Connection {
  #socket = null;
  #timer = 0;
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #running = false;
  #attempt = 0; // bumped by every stop and start: what an older attempt still brings is dropped

  /** prepare() → the address, asynchronously; it throws what refused() may judge: true ends the attempts.
   *  message(object), state("connecting" | "open" | "offline", { seconds, reached }). */
  constructor({ prepare, refused, message, state }) {
    Object.assign(this, { prepare, refused, message, state });
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retryNow());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  start() {
    this.stop();
    this.#running = true;
    this.#failures = 0;
    this.#connect();
  }

  stop() {
    this.#running = false;
    this.#drop();
  }

  retryNow() {
    if (this.#running && this.#timer) this.#connect();
  }

  send(object) {
    if (this.open) this.#socket.send(JSON.stringify(object));
    return this.open;
  }

  /** To be called now and then while an acknowledgement is overdue. */
  probe() {
    const silent = Date.now() - this.#heardAt;
    if (!this.open || silent < SILENT_MS) return;
    if (silent < 2 * SILENT_MS) this.send({ type: "ping" });
    else this.#lost(true);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#attempt++;
    this.#openedAt = 0;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  async #connect() {
    this.#drop();
    const attempt = this.#attempt;
    this.state("connecting", {});
    let address;
    try {
      address = await this.prepare();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (this.refused(error)) this.stop();
      else this.#lost(error.status !== 0);
      return;
    }
    if (attempt !== this.#attempt) return;
    const socket = new WebSocket(address);
    this.#socket = socket;
    const current = (act) => (event) => attempt === this.#attempt && act(event);
    socket.onopen = current(() => {
      this.#openedAt = this.#heardAt = Date.now();
      this.state("open", {});
    });
    socket.onmessage = current(({ data }) => {
      this.#heardAt = Date.now();
      let object = null;
      try {
        object = JSON.parse(data);
      } catch {
        console.warn("chatbox: the server sent something that is not JSON");
      }
      if (object && typeof object === "object") this.message(object);
    });
    socket.onclose = current(() => this.#lost(true));
  }

  #lost(reached) {
    if (this.#openedAt && Date.now() - this.#openedAt >= STEADY_MS) this.#failures = 0;
    const opened = this.#openedAt > 0;
    this.#drop();
    const seconds = BACK_OFF_S[Math.min(this.#failures++, BACK_OFF_S.length - 1)];
    this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
    this.state("offline", { seconds, refusedSocket: reached && !opened });
  }
}
