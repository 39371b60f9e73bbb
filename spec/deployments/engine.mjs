// In: root.sh and Debian's buildah, podman and crun. Out: images that are built and containers that run, in a folder of the
// test's own, and nothing of it left behind. Why: there is no container engine on the machines that test; what podman and
// buildah need is mount and process namespaces of their own, which `alone` gives to the whole test file.

import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { ROOT } from "../e2e/support.mjs";

const SCRIPT = path.join(ROOT, "spec/deployments/root.sh");
const LIMIT = { encoding: "utf8", maxBuffer: 1 << 26, timeout: 1800000 };

/** This file once more, as it was called; resolves to the exit code. Who ends this process ends that one. */
const again = (command, args, env) => new Promise((resolve, reject) => {
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn(command, [...args, ...node], { stdio: "inherit", env: { ...process.env, ...env } });
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => child.kill("SIGTERM"));
  child.on("error", reject).on("exit", (code) => resolve(code ?? 1));
});

/** First thing in a test file, which is thereby run three times: as it is called, only to get namespaces of its own; in these, for
 *  prepare(engine), which builds images and needs the network for it; and then for its tests, on a network on which nobody else is,
 *  so that every port is free. There it resolves to the engine. */
export async function alone(prepare) {
  const { CHATBOX_ENGINE: dir, CHATBOX_ENGINE_READY: ready } = process.env;
  if (ready) return new Engine(dir);
  let code = 1;
  if (!dir) {
    const own = await mkdtemp(path.join(os.tmpdir(), "chatbox-engine-"));
    code = await again(SCRIPT, ["alone"], { CHATBOX_ENGINE: own });
    await rm(own, { recursive: true, force: true });
  } else {
    try {
      const engine = await Engine.start(dir);
      await prepare(engine);
      const network = 'ip link set lo up && mount -t tmpfs tmpfs /run && exec "$@"';
      code = await again("unshare", ["--net", "sh", "-c", network, "sh"], { CHATBOX_ENGINE_READY: "1" });
      await engine.stop();
    } catch (error) {
      console.error(error);
    }
  }
  process.exit(code);
}

/** A port nobody has at the moment. */
export const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/** Control groups are disabled because those of this machine may be of the first version, which has no room for namespaces. */
const CONFIGURATION = (dir) => `[containers]
cgroups = "disabled"
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=10000:10000"]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "${dir}/networks"
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

export class Engine {
  constructor(dir) {
    this.dir = dir;
    this.storage = ["--root", `${dir}/store`, "--runroot", `${dir}/run`, "--storage-driver", "overlay"];
    this.options = { ...LIMIT, env: { ...process.env, CONTAINERS_CONF: `${dir}/containers.conf` } };
  }

  /** With the base image of the Dockerfile, made by debootstrap. */
  static async start(dir) {
    const engine = new Engine(dir);
    await mkdir(path.join(engine.dir, "networks"));
    await writeFile(path.join(engine.dir, "containers.conf"), CONFIGURATION(engine.dir));
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
    const { stdout } = await promisify(execFile)("podman", [...this.storage, ...args], this.options);
    return stdout;
  }

  /** The same, but never rejects: { code, out, err }. */
  tries(...args) {
    return new Promise((resolve) => {
      execFile("podman", [...this.storage, ...args], this.options, (error, out, err) => resolve({ code: error ? error.code : 0, out, err }));
    });
  }

  async #buildah(...args) {
    await promisify(execFile)("buildah", [...this.storage, "build", "--isolation", "chroot", "--pull-never", "--layers=false", "--format", "docker", ...args], this.options);
  }

  /** The Dockerfile as it is, with FOLDER as the source tree. */
  build(folder, tag, epoch) {
    const same = ["--timestamp", String(epoch), "--build-arg", `SOURCE_DATE_EPOCH=${epoch}`];
    return this.#buildah(...same, "-f", path.join(folder, "deployments/docker/Dockerfile"), "-t", tag, folder);
  }

  /** What a registry would have, made of Debian's packages: lines after FROM. */
  async standIn(tag, lines) {
    const empty = await this.folder("empty");
    const file = path.join(this.dir, "Dockerfile");
    await writeFile(file, `FROM docker.io/library/debian:12-slim\n${lines}\n`);
    await this.#buildah("-f", file, "-t", tag, empty);
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

  /** Nothing of it runs or is mounted any more. */
  async stop() {
    await this.tries("rm", "--all", "--force", "--time", "0");
    spawnSync("umount", [`${this.dir}/store/overlay`]);
  }
}

/** What git knows of the source tree, or could, as a clone has it. */
export async function clone(folder) {
  await mkdir(folder, { recursive: true });
  const files = execFileSync("git", ["-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], { encoding: "utf8" }).split("\0").filter(Boolean);
  for (const file of files) await cp(path.join(ROOT, file), path.join(folder, file), { recursive: true });
}

/* ---- compose.yaml ---- */

/** What a service says that changes nothing here: who starts when, who starts it again, bounds that this machine may not have. */
const ELSEWHERE = new Set(["image", "build", "command", "entrypoint", "depends_on", "restart", "logging", "mem_limit", "cpus", "ulimits"]);

/** The words of `podman run` for a service of compose.yaml in FOLDER. A key that is not known here is an error. */
export function composed(compose, name, folder) {
  const service = compose.services[name];
  const file = (from) => (from.startsWith(".") ? path.join(folder, from) : from);
  const words = {
    environment: (env) => Object.entries(env).flatMap(([key, value]) => ["-e", `${key}=${value}`]),
    secrets: (list) => list.flatMap((secret) => ["-v", `${path.join(folder, compose.secrets[secret].file)}:/run/secrets/${secret}:ro`]),
    volumes: (list) => list.flatMap((line) => ["-v", [file(line.split(":")[0]), ...line.split(":").slice(1)].join(":")]),
    tmpfs: (list) => list.flatMap((line) => ["--tmpfs", line]),
    read_only: () => ["--read-only", "--read-only-tmpfs=false"],
    cap_drop: (list) => list.flatMap((cap) => ["--cap-drop", cap]),
    security_opt: (list) => list.flatMap((option) => ["--security-opt", option.replace(":true", "")]),
    sysctls: (table) => Object.entries(table).flatMap(([key, value]) => ["--sysctl", `${key}=${value}`]),
    ports: (list) => list.flatMap((line) => ["-p", line]),
    user: (user) => ["--user", user],
    stop_signal: (signal) => ["--stop-signal", signal],
    stop_grace_period: (time) => ["--stop-timeout", String(parseInt(time, 10))],
    networks: (table) => Object.entries(table).flatMap(([net, { ipv4_address: ip } = {}]) => ["--network", `${net}:${ip ? `ip=${ip},` : ""}alias=${name}`]),
  };
  const options = Object.entries(service).filter(([key]) => !ELSEWHERE.has(key)).flatMap(([key, value]) => words[key](value));
  if (service.entrypoint) options.push("--entrypoint", JSON.stringify(service.entrypoint));
  return ["--name", name, ...options, service.image, ...(service.command ?? [])];
}
