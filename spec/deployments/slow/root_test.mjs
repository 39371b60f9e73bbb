// spec/deployments/root.sh: what a fresh Debian of its own means to the tests beside this one.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { ROOT, within } from "../../e2e/support.mjs";

const SCRIPT = path.join(ROOT, "spec/deployments/root.sh");
let dir, root;

const enter = (...command) => spawnSync(SCRIPT, ["enter", root, ...command], { encoding: "utf8", timeout: 60000 });
/** The control group a run has left behind. */
const group = (pid) => execFileSync("find", ["/sys/fs/cgroup", "-name", `chatbox-test-${pid}`], { encoding: "utf8" });

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-root-"));
  root = path.join(dir, "root");
  execFileSync(SCRIPT, ["new", root], { stdio: ["ignore", "ignore", "inherit"] });
});
after(() => rm(dir, { recursive: true, force: true }));

test("it is Debian 12 with a root and processes of its own, and passes the exit code on", () => {
  const { status, stdout } = enter("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; ls -d /proc/[0-9]* | wc -l; cat /proc/self/cgroup; exit 7");
  const [release, processes, inGroup] = stdout.split("\n");
  assert.equal(release, "bookworm");
  assert.ok(Number(processes) < 10, `${processes} processes`);
  assert.match(inGroup, /^\d+:/);
  assert.equal(status, 7);
});

test("it has no mount and no control group when it is over, and what it wrote is in the folder", async () => {
  const { status, pid } = enter("sh", "-c", "echo kept >/kept; mkdir /sys/fs/cgroup/deeper; mount -t tmpfs tmpfs /mnt");
  assert.equal(status, 0);
  assert.equal(await readFile(path.join(root, "kept"), "utf8"), "kept\n");
  assert.ok(!(await readFile("/proc/self/mounts", "utf8")).includes(root));
  assert.equal(group(pid), "");
});

test("who kills it ends everything inside", async () => {
  const sleeper = `sleep 1${process.pid}`; // nobody else's
  const child = spawn(SCRIPT, ["enter", root, "sh", "-c", `${sleeper} & echo started; wait`], { stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise((resolve) => child.on("exit", resolve));
  await within(new Promise((resolve) => createInterface({ input: child.stdout }).on("line", resolve)), "it to start");
  child.kill("SIGTERM");
  await within(gone, "it to end");
  assert.equal(spawnSync("pgrep", ["-f", `^${sleeper}$`]).status, 1);
  assert.equal(group(child.pid), "");
});
