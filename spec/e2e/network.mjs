// In: a server. Out: a network of the test's own in front of it, that breaks in every way in which networks break: it
// drops connections, delays, cuts in the middle of a frame, and swallows bytes without a word, in one direction or both.
// Why: a client's promises are about this. Chance comes from a seed, so that what failed can be played again.

import net from "node:net";

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function chance(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class Network {
  #pairs = new Set();
  #looks = new Set();
  counts = { connections: 0, dropped: 0, halved: 0, refused: 0, delayed: 0, blackholed: 0 };
  /** What becomes of what passes; a test changes it as it goes.
   *  up, down: false swallows that direction; refuse: new connections are cut at once; delayMs: of everything. */
  weather = { up: true, down: true, refuse: false, delayMs: 0 };
  /** Called with each piece of bytes: "drop" cuts the connection before them, "halve" after half of them, "blackhole"
   *  swallows them and all that follow on this connection, "delay" lets them wait. */
  fate = () => "pass";

  static async open(t, port) {
    const network = new Network();
    network.target = port;
    network.server = net.createServer((near) => network.#accept(near));
    await new Promise((resolve) => network.server.listen(0, "127.0.0.1", resolve));
    network.port = network.server.address().port;
    t.after(() => network.close());
    return network;
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  #accept(near) {
    this.counts.connections++;
    for (const look of [...this.#looks]) look();
    near.on("error", () => {});
    if (this.weather.refuse) {
      this.counts.refused++;
      return near.destroy();
    }
    const far = net.connect(this.target, "127.0.0.1");
    far.on("error", () => {});
    const pair = { near, far, dead: false };
    this.#pairs.add(pair);
    near.setNoDelay(true);
    far.setNoDelay(true);
    this.#carry(pair, near, far, "up");
    this.#carry(pair, far, near, "down");
  }

  #carry(pair, from, to, direction) {
    const { far } = pair;
    let queue = Promise.resolve(); // what is delayed keeps its place
    let waiting = 0;
    from.on("data", (bytes) => {
      if (pair.dead || !this.weather[direction]) return;
      const fate = this.fate(direction, bytes);
      if (fate === "drop") {
        this.counts.dropped++;
        return this.#cut(pair);
      }
      if (fate === "halve") {
        this.counts.halved++;
        to.write(bytes.subarray(0, bytes.length >> 1), () => this.#cut(pair));
        pair.dead = true;
        return;
      }
      if (fate === "blackhole") {
        this.counts.blackholed++;
        pair.dead = true;
        return;
      }
      const ms = fate === "delay" ? 20 : this.weather.delayMs;
      if (!ms && !waiting) return void to.write(bytes);
      this.counts.delayed++;
      waiting++;
      queue = queue.then(() => new Promise((done) => setTimeout(done, ms))).then(() => {
        waiting--;
        if (!pair.dead) to.write(bytes);
      });
    });
    from.on("close", () => {
      if (pair.dead && from === far) return; // what is swallowed does not say that it has gone
      queue.then(() => this.#cut(pair));
    });
  }

  #cut(pair) {
    this.#pairs.delete(pair);
    pair.near.destroy();
    pair.far.destroy();
  }

  /** All connections are reset. */
  cut() {
    for (const pair of [...this.#pairs]) this.#cut(pair);
  }

  /** All connections there are swallow everything from now on; new ones work. */
  blackhole() {
    for (const pair of this.#pairs) pair.dead = true;
    this.counts.blackholed += this.#pairs.size;
  }

  /** The next connection has been asked for. */
  called() {
    return new Promise((resolve) => {
      const look = () => (this.#looks.delete(look), resolve());
      this.#looks.add(look);
    });
  }

  close() {
    this.cut();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
