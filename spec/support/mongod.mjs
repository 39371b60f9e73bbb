// In: nothing. Out: a real MongoDB server of a test's own on loopback, standalone, which can be killed, paused and
// started again; or why there is none. Why: what a conversation does when its database goes is seen on one that goes.
// How a server is found: mongod.sh. It is ready when it answers a hello of ours, so no driver is needed.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { ROOT, within } from "../e2e/support.mjs";

const SCRIPT = path.join(ROOT, "spec/support/mongod.sh");
const PATIENCE_MS = 60000;

/** false, or why there is no server: what node:test wants to hear as { skip }. */
export const noMongod = await promisify(execFile)(SCRIPT, ["find"]).then(
  () => false,
  (error) => error.stderr.trim() || error.message,
);

/** {hello: 1, $db: "admin"} as one message of MongoDB's protocol. */
const HELLO = (() => {
  const body = Buffer.from("\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0", "latin1");
  const message = Buffer.alloc(16 + 4 + 1 + 4 + body.length);
  message.writeInt32LE(message.length, 0);
  message.writeInt32LE(1, 4);
  message.writeInt32LE(2013, 12); // OP_MSG
  message.writeInt32LE(4 + body.length, 21);
  body.copy(message, 25);
  return message;
})();

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Whether it answered; it did not when nobody listens yet. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(HELLO));
    socket.on("data", () => resolve(true)).on("error", () => resolve(false)).on("close", () => resolve(false));
    socket.on("data", () => socket.destroy());
  });
}

export class Mongod {
  /** For one test, gone with it. */
  static async start(t) {
    const mongod = new Mongod();
    mongod.dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-mongod-"));
    mongod.port = await freePort();
    t.after(async () => {
      await mongod.kill();
      await rm(mongod.dir, { recursive: true, force: true });
    });
    await mongod.again();
    return mongod;
  }

  url(database) {
    return `mongodb://127.0.0.1:${this.port}/${database}`;
  }

  /** Started on the data it has. */
  async again() {
    this.process = spawn(SCRIPT, ["run", this.dir, String(this.port)], { stdio: "ignore" });
    this.ended = once(this.process, "close");
    let gone = false;
    this.ended.then(() => (gone = true));
    const ready = async () => {
      while (!gone && !(await answers(this.port))) await setTimeout(50); // it tells nobody that it listens
      if (gone) throw new Error("mongod ended");
    };
    await within(ready(), "mongod to answer", PATIENCE_MS);
  }

  async kill() {
    this.process.kill("SIGCONT");
    this.process.kill("SIGKILL");
    await this.ended;
  }

  pause() {
    this.process.kill("SIGSTOP");
  }

  resume() {
    this.process.kill("SIGCONT");
  }
}
