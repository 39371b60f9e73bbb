// When the page connects, and when it tries again. The clock and the socket are stand-ins, so nothing here waits.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

let timers; // { ms, run } of what has been set and not cleared
let sockets;
let now;
const listeners = {};

class Socket {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor(address) {
    this.address = address;
    sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  opens() {
    this.readyState = 1;
    this.onopen({});
  }
  says(data) {
    this.onmessage({ data });
  }
  breaks() {
    this.readyState = 3;
    this.onclose({});
  }
}

globalThis.WebSocket = Socket;
globalThis.addEventListener = (name, fn) => (listeners[name] = fn);
globalThis.document = { addEventListener: (name, fn) => (listeners[name] = fn), visibilityState: "visible" };
globalThis.setTimeout = (run, ms) => timers.push({ ms, run });
globalThis.clearTimeout = (id) => id && (timers[id - 1] = null);
Date.now = () => now;
const { Connection } = await import("../../web/connection.js");

beforeEach(() => {
  timers = [];
  sockets = [];
  now = 1e12;
});

/** A connection and what it told its owner. */
function make({ prepare = async () => "ws://here", refused = () => false } = {}) {
  const told = [];
  const heard = [];
  const connection = new Connection({ prepare, refused, message: (m) => heard.push(m), state: (s, more) => told.push([s, more]) });
  return { connection, told, heard };
}

const settled = async () => {
  for (let i = 0; i < 5; i++) await Promise.resolve();
};
const waiting = () => timers.filter(Boolean);

/** The timer that is set goes off. */
async function goesOff() {
  const [timer] = waiting();
  timers[timers.indexOf(timer)] = null;
  now += timer.ms;
  timer.run();
  await settled();
  return timer.ms / 1000;
}

test("it comes back after 1, 2, 4, 8, 16, 30 and then every 30 seconds", async () => {
  const { connection } = make();
  connection.start();
  await settled();
  const delays = [];
  for (let i = 0; i < 8; i++) {
    sockets.at(-1).breaks();
    assert.equal(waiting().length, 1);
    delays.push(await goesOff());
  }
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
});

test("a connection that lasted begins the count anew; one that broke at once does not", async () => {
  const { connection } = make();
  connection.start();
  await settled();
  sockets.at(-1).breaks();
  await goesOff();
  sockets.at(-1).opens();
  sockets.at(-1).breaks();
  assert.equal(await goesOff(), 2);
  sockets.at(-1).opens();
  now += 5000;
  sockets.at(-1).breaks();
  assert.equal(await goesOff(), 1);
});

test("a server that is not there is tried again; a refusal is final", async () => {
  let status = 0;
  const prepare = async () => {
    throw Object.assign(new Error("no"), { status });
  };
  const { connection, told } = make({ prepare, refused: (error) => error.status === 401 });
  connection.start();
  await settled();
  assert.deepEqual(told.at(-1), ["offline", { seconds: 1, refusedSocket: false }]);
  status = 401;
  await goesOff();
  assert.deepEqual(waiting(), []);
});

test("a socket that is refused though the server answers is told apart", async () => {
  const { connection, told } = make();
  connection.start();
  await settled();
  sockets[0].breaks();
  assert.deepEqual(told.at(-1), ["offline", { seconds: 1, refusedSocket: true }]);
});

test("when the network or the reader is back it does not wait", async () => {
  for (const event of ["online", "visibilitychange"]) {
    const { connection } = make();
    connection.start();
    await settled();
    sockets.at(-1).breaks();
    const before = sockets.length;
    listeners[event]();
    await settled();
    assert.equal(sockets.length, before + 1);
    assert.deepEqual(waiting(), []);
    connection.stop();
  }
});

test("what is stopped stays stopped, and what an old socket still says is not heard", async () => {
  const { connection, heard } = make();
  connection.start();
  await settled();
  sockets[0].opens();
  sockets[0].says('{"type":"a"}');
  connection.start();
  await settled();
  sockets[0].says('{"type":"late"}');
  sockets[0].onclose({});
  sockets[1].opens();
  connection.stop();
  listeners.online();
  assert.deepEqual(heard, [{ type: "a" }]);
  assert.deepEqual(waiting(), []);
  assert.equal(sockets.length, 2);
});

test("what is no object is not passed on", async () => {
  const { connection, heard } = make();
  console.warn = () => {};
  connection.start();
  await settled();
  sockets[0].opens();
  for (const text of ["null", "1", "nonsense", '{"type":"b"}']) sockets[0].says(text);
  assert.deepEqual(heard, [{ type: "b" }]);
});

test("an open socket that is silent is asked, then given up", async () => {
  const { connection, told } = make();
  connection.start();
  await settled();
  sockets[0].opens();
  connection.probe();
  assert.deepEqual(sockets[0].sent, []);
  now += 10000;
  connection.probe();
  assert.deepEqual(sockets[0].sent, [{ type: "ping" }]);
  sockets[0].says('{"type":"pong"}');
  now += 9000;
  connection.probe();
  assert.equal(sockets[0].sent.length, 1);
  now += 11000;
  connection.probe();
  assert.equal(told.at(-1)[0], "offline");
});
