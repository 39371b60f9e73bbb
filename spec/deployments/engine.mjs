// In: root.sh and Debian's buildah, podman and crun. Out: images that are built and containers that run, in a folder of the
// test's own, and nothing of it left behind. Why: there is no container engine on the machines that test; what podman and
// buildah need is mount and process namespaces of their own, which `alone` gives to the whole test file.

import { execFile, execFileSync, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { ROOT } from "../e2e/support.mjs";

const SCRIPT = path.join(ROOT, "spec/deployments/root.sh");
const LIMIT = { encoding: "utf8", maxBuffer: 1 << 26, timeout: 1800000 };

/** First thing in a test file: the file runs once more, in namespaces of its own, and this process is only its shell. */
export function alone() {
  if (process.env.CHATBOX_ALONE) return;
  const env = { ...process.env, CHATBOX_ALONE: "1" };
  const { status } = spawnSync(SCRIPT, ["alone", process.execPath, ...process.execArgv, ...process.argv.slice(1)], { stdio: "inherit", env });
  process.exit(status ?? 1);
}

/** A port nobody has at the moment. */
export const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

export class Engine {
  /** With the base image of the Dockerfile, made by debootstrap. */
  static async start() {
    const engine = new Engine();
    engine.dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-engine-"));
    engine.storage = ["--root", `${engine.dir}/store`, "--runroot", `${engine.dir}/run`, "--storage-driver", "overlay"];
    engine.containers = [...engine.storage, "--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
    const base = path.join(engine.dir, "base");
    execFileSync(SCRIPT, ["new", base], { stdio: ["ignore", "ignore", "inherit"] });
    const tar = path.join(engine.dir, "base.tar");
    execFileSync("tar", ["-C", base, "--numeric-owner", "-cf", tar, "."]);
    await engine.podman("import", tar, "docker.io/library/debian:12-slim");
    await rm(tar);
    await rm(base, { recursive: true, force: true });
    return engine;
  }

  /** Resolves to what it printed on standard output; rejects with both outputs when the exit code is not 0. */
  async podman(...args) {
    const { stdout } = await promisify(execFile)("podman", [...this.containers, ...args], LIMIT);
    return stdout;
  }

  /** The same, but never rejects: { code, out, err }. */
  tries(...args) {
    return new Promise((resolve) => {
      execFile("podman", [...this.containers, ...args], LIMIT, (error, out, err) => resolve({ code: error ? error.code : 0, out, err }));
    });
  }

  /** The Dockerfile as it is, with FOLDER as the source tree. */
  async build(folder, tag, epoch) {
    await promisify(execFile)("buildah", [...this.storage, "build", "--isolation", "chroot", "--pull-never", "--layers=false", "--format", "docker",
      "--timestamp", String(epoch), "--build-arg", `SOURCE_DATE_EPOCH=${epoch}`, "-f", path.join(folder, "deployments/docker/Dockerfile"), "-t", tag, folder], LIMIT);
  }

  async inspect(name) {
    return JSON.parse(await this.podman("inspect", name))[0];
  }

  /** A folder in it. */
  async folder(name) {
    const folder = path.join(this.dir, name);
    await mkdir(folder, { recursive: true });
    return folder;
  }

  async remove() {
    await this.tries("rm", "--all", "--force", "--time", "0");
    await this.tries("image", "unmount", "--all");
    spawnSync("umount", [`${this.dir}/store/overlay`]);
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** What git knows of the source tree, as a clone on another machine has it: other folder, other times, stricter modes. */
export async function clone(folder) {
  await mkdir(folder, { recursive: true });
  const files = execFileSync("git", ["-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], { encoding: "utf8" }).split("\0").filter(Boolean);
  for (const file of files) await cp(path.join(ROOT, file), path.join(folder, file), { recursive: true });
  execFileSync("chmod", ["-R", "go-rwx", folder]);
}
