// deployments/docker: the Dockerfile as it stands, built with buildah on a Debian made by debootstrap, twice, and run by podman
// with a read-only root and no capability. Whoever talks to it is the npm package ws.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import { chmod, chown, cp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import path from "node:path";
import { before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import WebSocket from "ws";
import { parse } from "yaml";
import { ROOT, within } from "../../e2e/support.mjs";
import { alone, clone, composed, freePort } from "../engine.mjs";

const EPOCH = 1700000000;
const MEGABYTE = 1e6;
const version = (await readFile(path.join(ROOT, "CMakeLists.txt"), "utf8")).match(/^project\(chatbox VERSION (\S+)/m)[1];

const engine = await alone(async (builder) => {
  // Somebody may be editing the tree meanwhile: both builds have what is there now.
  const [here, elsewhere] = [path.join(builder.dir, "here"), path.join(builder.dir, "elsewhere")];
  await clone(here);
  await cp(here, elsewhere, { recursive: true });
  execFileSync("chmod", ["-R", "go-rwx", elsewhere]);
  await builder.build(here, "chatbox:one", EPOCH);
  await builder.podman("tag", "chatbox:one", `chatbox:${version}`);
  await builder.build(elsewhere, "chatbox:two", EPOCH);
  // There is no registry here. What Debian has of the same programs stands in, under the same names.
  await builder.standIn("docker.io/library/nginx:1.26.2", `RUN apt-get update && groupadd -g 101 nginx && useradd -u 101 -g 101 nginx \\
    && apt-get install -y --no-install-recommends nginx-light && rm -rf /etc/nginx/sites-enabled/* /var/lib/nginx \\
    && mkdir /var/cache/nginx && ln -s /var/cache/nginx /var/lib/nginx \\
    && ln -sf /dev/stderr /var/log/nginx/error.log && ln -sf /dev/stdout /var/log/nginx/access.log`);
  await builder.standIn("docker.io/prom/prometheus:v2.42.0", `RUN apt-get update && apt-get install -y --no-install-recommends prometheus \\
    && install -d -o 65534 -g 65534 /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]`);
});

describe("the image", () => {
  test("says what it is, what it needs and how it is asked whether it is well", async () => {
    const { Config: config, HealthCheck, Labels } = await engine.inspect("chatbox:one").then((all) => ({ HealthCheck: all.HealthCheck ?? all.Healthcheck, ...all }));
    assert.equal(config.User, "10001:10001");
    assert.deepEqual(config.Entrypoint, ["/usr/local/bin/chatbox"]);
    assert.deepEqual(config.Cmd, ["run"]);
    assert.deepEqual(Object.keys(config.Volumes), ["/var/lib/chatbox"]);
    assert.deepEqual(Object.keys(config.ExposedPorts), ["8080/tcp"]);
    assert.equal(config.StopSignal, "SIGTERM");
    assert.deepEqual(HealthCheck.Test, ["CMD", "/usr/local/bin/chatbox-healthcheck"]);
    assert.equal(Labels["org.opencontainers.image.version"], version);
    for (const name of ["title", "description", "revision", "licenses", "base.name"]) assert.ok(Labels[`org.opencontainers.image.${name}`], name);
    const secrets = (config.Env ?? []).filter((line) => /SECRET|KEY|PASS|STORE_URL/.test(line));
    assert.deepEqual(secrets, [], "a secret, or what would be refused beside a file with it");
  });

  test("adds at most 120 MB to Debian, and neither sources nor compilers", async () => {
    const { GraphDriver } = await engine.inspect("chatbox:one");
    const layer = GraphDriver.Data.UpperDir;
    const bytes = Number(execFileSync("du", ["-s", "--apparent-size", "--block-size=1", layer], { encoding: "utf8" }).split("\t")[0]);
    console.log(`# ${(bytes / MEGABYTE).toFixed(1)} MB beyond the base`);
    assert.ok(bytes > 1 * MEGABYTE && bytes <= 120 * MEGABYTE, `${bytes} bytes`);
    const files = execFileSync("find", [layer, "-type", "f", "-not", "-path", "*/usr/share/doc/*", "-printf", "/%P\n"], { encoding: "utf8" }).split("\n");
    assert.ok(files.includes("/usr/local/bin/chatbox"));
    const unwanted = files.filter((file) => /\.[cho]$|^\/source|\/gcc$|\/cmake$|^\/var\/lib\/apt\/lists\/.*Packages|\.deb$|^\/var\/log\/.*\.log$/.test(file));
    assert.deepEqual(unwanted, []);
  });

  test("is the same when it is built again elsewhere, later, from files with other times and modes", async () => {
    const [one, two] = await Promise.all(["chatbox:one", "chatbox:two"].map((tag) => engine.inspect(tag)));
    assert.deepEqual(two.RootFS, one.RootFS);
    assert.deepEqual(two.Config, one.Config);
    assert.equal(two.Created, one.Created);
    assert.equal(Date.parse(one.Created), EPOCH * 1000);
  });
});

/* ---- running ---- */

const RUN = ["--network", "host", "--no-healthcheck", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];

/** A container of the image, with a secret from a file and a port nobody else has. */
class Box {
  static async start(name, secrets, ...more) {
    const box = new Box();
    box.name = name;
    box.port = await freePort();
    const env = { SERVER_ADDRESS: "127.0.0.1", SERVER_PORT: String(box.port), JWT_SECRET_FILE: "/run/secrets/JWT_SECRET", WORKERS: "2" };
    await engine.podman("run", "-d", "--name", name, ...RUN, "-v", `${name}:/var/lib/chatbox`, "-v", `${secrets}:/run/secrets:ro`,
      ...Object.entries(env).flatMap(([key, value]) => ["-e", `${key}=${value}`]), ...more, "chatbox:one");
    await box.ready();
    return box;
  }

  url(where) {
    return `http://127.0.0.1:${this.port}/chatbox${where}`;
  }

  async ready() {
    const look = async () => {
      for (;;) {
        if ((await fetch(this.url("/readyz")).catch(() => null))?.status === 200) return;
        const { State } = await engine.inspect(this.name);
        if (!State.Running) throw new Error(`it ended: ${(await engine.tries("logs", this.name)).err}`);
        await pause(100); // there is no event of a container to wait for
      }
    };
    await within(look(), `${this.name} to be ready`);
  }

  async token(user) {
    return (await engine.podman("exec", this.name, "chatbox", "token", "--user", user, "--ttl", "1h")).trim();
  }

  /** Says content, hears the answer of the bot, and resolves to the id of the conversation. */
  async talk(token, content, answer = content) {
    const socket = new WebSocket(`${this.url("/ws").replace("http", "ws")}`, { headers: { Authorization: `Bearer ${token}` } });
    const heard = [];
    socket.on("message", (data) => heard.push(JSON.parse(data)));
    await within(new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject)), "the socket to open");
    const answered = new Promise((resolve) => socket.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.type === "ai_response" && message.content === answer) resolve(message);
    }));
    socket.send(JSON.stringify({ type: "user_message", content }));
    const { session_id } = await within(answered, () => `the answer ${answer}; heard ${JSON.stringify(heard.slice(-5))}`);
    socket.close();
    await within(new Promise((resolve) => socket.on("close", resolve)), "the socket to close");
    return session_id;
  }

  async said(token, session) {
    const answer = await fetch(this.url(`/sessions/${session}`), { headers: { Authorization: `Bearer ${token}` } });
    assert.equal(answer.status, 200, await answer.clone().text());
    return (await answer.json()).messages.map((message) => message.content);
  }
}

describe("a container", () => {
  let box, secrets, token, session;
  before(async () => {
    secrets = await engine.folder("secrets");
    let secret;
    do secret = randomBytes(32).toString("hex"); while (secret.includes("12345"));
    await writeFile(path.join(secrets, "JWT_SECRET"), `${secret}\n`, { mode: 0o400 });
    await chown(path.join(secrets, "JWT_SECRET"), 10001, 10001);
    await chmod(secrets, 0o755);
    box = await Box.start("box", secrets);
    token = await box.token("alice");
  });

  test("is nobody special: no root, no capability, no new privileges, a system call filter", async () => {
    const { State } = await engine.inspect("box");
    const status = await readFile(`/proc/${State.Pid}/status`, "utf8");
    const field = (name) => status.match(new RegExp(`^${name}:\\s+(.*)$`, "m"))[1].split("\t").join(" ");
    assert.equal(field("Uid"), "10001 10001 10001 10001");
    assert.equal(field("Gid"), "10001 10001 10001 10001");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) assert.match(field(set), /^0+$/, set);
    assert.equal(field("NoNewPrivs"), "1");
    assert.equal(field("Seccomp"), "2");
  });

  test("writes into its volume and nowhere else", async () => {
    const writes = (where) => engine.tries("exec", "box", "sh", "-c", `: >${where}`);
    for (const where of ["/x", "/tmp/x", "/usr/local/share/chatbox/scripts/x", "/etc/x"]) assert.notEqual((await writes(where)).code, 0, where);
    assert.equal((await writes("/var/lib/chatbox/x")).code, 0);
    assert.equal(await engine.podman("exec", "box", "ls", "-A", "/dev/shm"), "");
  });

  test("answers the probes, the page and the metrics", async () => {
    for (const where of ["/healthz", "/readyz", "/metrics/prometheus", "/chat.html"]) {
      const answer = await fetch(box.url(where));
      assert.equal(answer.status, 200, where);
      await answer.text();
    }
  });

  test("its HEALTHCHECK is content while it answers, and only then", async () => {
    const { HealthCheck, Healthcheck } = await engine.inspect("chatbox:one");
    const command = (HealthCheck ?? Healthcheck).Test.slice(1);
    assert.equal((await engine.tries("exec", "box", ...command)).code, 0);
    assert.equal((await engine.tries("exec", "-e", `CHATBOX_PATH_PREFIX=/elsewhere`, "box", ...command)).code, 1);
    assert.equal((await engine.tries("exec", "-e", `SERVER_PORT=${await freePort()}`, "box", ...command)).code, 1);
    const { State } = await engine.inspect("box");
    process.kill(State.Pid, "SIGSTOP");
    try {
      assert.equal((await engine.tries("exec", "box", ...command)).code, 1, "the server hangs");
    } finally {
      process.kill(State.Pid, "SIGCONT");
    }
  });

  test("carries a conversation, and what it was told to reload it has reloaded", async () => {
    session = await box.talk(token, "before");
    assert.deepEqual(await box.said(token, session), ["before", "before"]);
    const { code, err } = await engine.tries("exec", "box", "chatbox", "reload", "--why", "a test");
    assert.equal(code, 0, err);
  });

  test("stops on SIGTERM with exit code 0, well within its time, and says so", async () => {
    await engine.podman("stop", "--time", "35", "box");
    const { State } = await engine.inspect("box");
    assert.equal(State.ExitCode, 0, (await engine.tries("logs", "--tail", "20", "box")).err);
    const { out, err } = await engine.tries("logs", "box");
    assert.ok(!/Sanitizer|Assertion/.test(out + err));
    await assert.rejects(fetch(box.url("/healthz")));
  });

  test("started again has the conversation, and so has a new one on its volume", async () => {
    await engine.podman("start", "box");
    await box.ready();
    assert.deepEqual(await box.said(token, session), ["before", "before"]);
    assert.equal(await box.talk(token, "between"), session);
    await engine.podman("rm", "--force", "--time", "35", "box");
    box = await Box.start("box", secrets);
    assert.deepEqual(await box.said(token, session), ["before", "before", "between", "between"]);
    await engine.podman("stop", "--time", "35", "box");
  });

  test("answers with scripts that are mounted, and after a reload with what has become of them", async () => {
    const scripts = await engine.folder("mounted");
    await cp(path.join(ROOT, "scripts"), scripts, { recursive: true });
    execFileSync("chmod", ["-R", "a+rX", scripts]);
    const bot = path.join(scripts, "bots/echo.lua");
    const original = await readFile(bot, "utf8");
    const says = (word) => writeFile(bot, original.replace("reply(message.content)", `reply("${word} " .. message.content)`));
    await says("one");
    const other = await Box.start("scripted", secrets, "-v", `${scripts}:/usr/local/share/chatbox/scripts:ro`);
    const dave = await other.token("dave");
    const conversation = await other.talk(dave, "hello", "one hello");
    await says("two");
    const { code, err } = await engine.tries("exec", "scripted", "chatbox", "reload");
    assert.equal(code, 0, err);
    assert.equal(await other.talk(dave, "hello", "two hello"), conversation);
    await engine.podman("stop", "--time", "35", "scripted");
    assert.equal((await engine.inspect("scripted")).State.ExitCode, 0);
  });

  test("with a placeholder for a secret ends with code 2 and a line that names it", async () => {
    const { code, out, err } = await engine.tries("run", "--rm", ...RUN, "-e", "JWT_SECRET=change me", "chatbox:one");
    assert.equal(code, 2);
    assert.match(out + err, /JWT_SECRET/);
  });
});

/* ---- compose.yaml ---- */

describe("the composition, but for MongoDB", () => {
  let docker, compose, certificate, token;

  /** { status, text } through nginx. */
  const ask = (where, headers = {}) => new Promise((resolve) => {
    request(`https://127.0.0.1:8443${where}`, { ca: certificate, servername: "localhost", headers }, (answer) => {
      let text = "";
      answer.on("data", (data) => (text += data)).on("end", () => resolve({ status: answer.statusCode, text }));
    }).on("error", (error) => resolve({ status: 0, text: error.message })).end();
  });

  const until = async (what, look) => within((async () => {
    while (!(await look())) await pause(200); // there is no event of another program to wait for
  })(), what);

  before(async () => {
    const folder = await engine.folder("composition");
    await cp(path.join(ROOT, "deployments"), folder, { recursive: true });
    docker = path.join(folder, "docker");
    execFileSync(path.join(docker, "make-secrets"));
    const url = path.join(docker, "secrets/STORE_URL");
    await rm(url);
    await writeFile(url, "sqlite:/var/lib/chatbox/chatbox.db", { mode: 0o444 });
    await chmod(url, 0o444);
    certificate = await readFile(path.join(docker, "secrets/TLS_CERTIFICATE"));
    compose = parse(await readFile(path.join(docker, "compose.yaml"), "utf8"), { merge: true });
    for (const [name, network] of Object.entries(compose.networks)) {
      const subnets = (network?.ipam?.config ?? []).flatMap(({ subnet }) => ["--subnet", subnet]);
      await engine.podman("network", "create", ...(network?.internal ? ["--internal"] : []), ...subnets, name);
    }
    for (const name of ["chatbox", "nginx", "prometheus"]) await engine.podman("run", "-d", "--no-healthcheck", ...composed(compose, name, docker));
    await until("the server behind nginx", async () => (await ask("/chatbox/readyz")).status === 200);
    token = (await engine.podman("exec", "chatbox", "chatbox", "token", "--user", "carol", "--ttl", "1h")).trim();
  }, { timeout: 300000 });

  test("carries page and chat over TLS, through nginx without root on its port 443", async () => {
    assert.equal((await ask("/chatbox/chat.html")).status, 200);
    const socket = new WebSocket("wss://127.0.0.1:8443/chatbox/ws", { ca: certificate, servername: "localhost", headers: { Authorization: `Bearer ${token}` } });
    await within(new Promise((resolve, reject) => {
      socket.on("error", reject).on("open", () => socket.send(JSON.stringify({ type: "user_message", content: "salut" })));
      socket.on("message", (data) => JSON.parse(data).type === "ai_response" && resolve());
    }), "an answer through nginx");
    socket.close();
  });

  test("shows its metrics to Prometheus, whose rules are loaded, and to nobody who comes through nginx", async () => {
    const asked = async (what) => (await (await fetch(`http://127.0.0.1:9090/api/v1/${what}`)).json()).data;
    await until("Prometheus to have scraped the server", async () => {
      const { result } = await asked("query?query=up%7Bjob%3D%22chatbox%22%7D").catch(() => ({ result: [] }));
      return result.length === 1 && result[0].value[1] === "1";
    });
    assert.ok((await asked("rules")).groups.length > 0);
    assert.equal((await ask("/chatbox/metrics/prometheus")).status, 403);
    assert.equal((await ask("/chatbox/metrics/prometheus", { "X-Forwarded-For": "172.31.247.4" })).status, 403);
  });

  test("nobody in it is root or has a capability, and nothing listens beyond this machine", async () => {
    for (const name of ["chatbox", "nginx", "prometheus"]) {
      const { State } = await engine.inspect(name);
      const status = await readFile(`/proc/${State.Pid}/status`, "utf8");
      assert.doesNotMatch(status, /^Uid:\s+0/m, name);
      assert.match(status, /^CapEff:\s+0+$/m, name);
      assert.match(status, /^NoNewPrivs:\s+1$/m, name);
    }
    await assert.rejects(fetch("http://172.31.247.1:9090/"));
  });

  test("stops in order, and each with exit code 0", async () => {
    for (const name of ["prometheus", "nginx", "chatbox"]) {
      await engine.podman("stop", name);
      assert.equal((await engine.inspect(name)).State.ExitCode, 0, name);
    }
  });
});
