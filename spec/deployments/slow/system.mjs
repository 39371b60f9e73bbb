// In: a folder with a fresh Debian (root.sh). Out: systemd running in it as process 1, commands inside it, its journal as
// events, and clients beside it: Node's programs of this machine in its network.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { Heard, ROOT, within } from "../../e2e/support.mjs";

export const SCRIPT = path.join(ROOT, "spec/deployments/root.sh");

const childrenOf = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
};
const nameOf = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
};
const below = (pid) => [pid, ...childrenOf(pid).flatMap(below)];

/** A fresh Debian in `root`, with these packages, in which packages start their services. */
export async function install(root, packages) {
  const made = spawnSync(SCRIPT, ["new", root], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  const commands = `set -e; apt-get -q update; apt-get -q -y install ${packages.join(" ")}; apt-get clean; rm -f /usr/sbin/policy-rc.d`;
  const { status, stdout, stderr } = spawnSync(SCRIPT, ["enter", root, "sh", "-c", commands], { encoding: "utf8", timeout: 600000 });
  assert.equal(status, 0, (stdout + stderr).slice(-3000));
}

export class System {
  journal = new Heard();

  static async boot(root) {
    const system = new System();
    system.root = root;
    system.outer = spawn(SCRIPT, ["boot", root], { stdio: ["ignore", "ignore", "inherit"] });
    system.ended = new Promise((resolve) => system.outer.on("exit", resolve));
    // Nobody tells when systemd can be asked; so it is asked, until it says how it is.
    let said = "";
    const running = async () => {
      for (; !/^(running|degraded)/.test(said); await new Promise((again) => setTimeout(again, 100))) {
        system.init ??= below(system.outer.pid).find((pid) => nameOf(pid) === "systemd");
        if (system.init) said = system.run("systemctl", "is-system-running", "--wait").stdout;
      }
    };
    await within(running(), () => `systemd to run: ${said}`, 120000);
    assert.equal(said.trim(), "running", system.run("systemctl", "--failed").stdout);
    system.does("systemctl", "log-target", "journal"); // what systemd says of the units, too
    return system;
  }

  #into = (...command) => ["-t", this.init, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", ...command].map(String);

  /** A command inside. */
  run(...command) {
    return spawnSync("nsenter", this.#into(...command), { encoding: "utf8", timeout: 180000 });
  }

  /** One that has to succeed. → what it prints */
  does(...command) {
    const { status, stdout, stderr, signal } = this.run(...command);
    assert.equal(status, 0, `${command.join(" ")}: ${signal ?? status}\n${stdout}${stderr}`);
    return stdout;
  }

  /** One that goes on. */
  starts(...command) {
    return spawn("nsenter", this.#into(...command), { stdio: ["ignore", "pipe", "inherit"] });
  }

  /** A program of this machine's Node in the network of the system. */
  beside(file, ...args) {
    const script = path.join(ROOT, "spec/deployments/slow", file);
    return spawn("nsenter", ["-t", `${this.init}`, "-n", process.execPath, script, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  }

  /** From now on `journal` hears what the journal says of a unit, entry by entry. */
  follow(unit) {
    const child = this.starts("journalctl", "-f", "-n", "all", "-o", "json", "-u", unit);
    createInterface({ input: child.stdout }).on("line", (line) => this.journal.put(JSON.parse(line)));
    child.on("exit", () => this.journal.end("the journal is over"));
  }

  property(unit, name) {
    return this.does("systemctl", "show", unit, "-p", name, "--value").trim();
  }

  async copy(file, to) {
    await cp(file, path.join(this.root, to));
  }

  async write(file, text) {
    const to = path.join(this.root, file);
    await mkdir(path.dirname(to), { recursive: true });
    await writeFile(to, text);
  }

  async off() {
    this.outer.kill("SIGTERM"); // and everything inside with it
    await within(this.ended, "the system to end");
  }
}

/** Says what somebody in the network of the system says and hears over a WebSocket (talk.mjs). */
export class Talker {
  heard = new Heard();

  static async connect(system, url, token) {
    const talker = new Talker();
    talker.child = system.beside("talk.mjs", url, token);
    createInterface({ input: talker.child.stdout }).on("line", (line) => talker.heard.put(JSON.parse(line)));
    talker.child.on("exit", () => talker.heard.end("the connection is over"));
    await talker.hears((m) => m.type === "welcome" || m.opened, "to be let in");
    return talker;
  }

  hears(predicate, what) {
    return this.heard.next(predicate, what);
  }

  /** → the answer, which fits `expected` */
  async asks(content, expected) {
    this.child.stdin.write(`${content}\n`);
    return this.hears((m) => m.content === expected, `"${expected}"`);
  }

  leave() {
    this.child.kill("SIGKILL");
  }
}

/** Connects over and over, several at a time, until it is asked how it went (hammer.mjs). */
export function hammer(t, system, url) {
  const child = system.beside("hammer.mjs", url);
  t.after(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    begun: () => within(lines.next(), "the hammer to begin"),
    async end() {
      child.stdin.end();
      const { value = "nothing" } = await within(lines.next(), "the hammer to say how it went");
      return JSON.parse(value);
    },
  };
}
