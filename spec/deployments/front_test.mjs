// The configurations for nginx and HAProxy, as they are but for ports and certificates: page, HTTP, WebSocket over TLS, the
// client's real address, a pooled connection, and a reload that disconnects nobody.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { request } from "node:https";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import WebSocket from "ws";
import { ROOT, Server, somebody, within } from "../e2e/support.mjs";
import { freePort } from "./support.mjs";

let dir, certificate, server, port;

/** Replaces each of these once and only once: what is no longer in the file would not be tested. */
async function configuration(file, replacements) {
  let text = await readFile(path.join(ROOT, "deployments", file), "utf8");
  for (const [from, to] of replacements) {
    assert.equal(text.split(from).length, 2, `${from} stands in ${file} once`);
    text = text.replace(from, () => to);
  }
  return text;
}

const fronts = {
  async nginx() {
    const site = await configuration("nginx/chatbox.conf", [
      ["server 127.0.0.1:8080;", `server 127.0.0.1:${server.port};`], ["listen 443 ssl;", `listen 127.0.0.1:${port} ssl;`],
      ["  listen [::]:443 ssl;\n", ""], ["/etc/ssl/certs/chat.example.org.pem", certificate], ["/etc/ssl/private/chat.example.org.key", certificate],
    ]);
    await writeFile(path.join(dir, "chatbox.conf"), site);
    await writeFile(path.join(dir, "nginx.conf"), `pid ${dir}/nginx.pid; error_log ${dir}/nginx.log; worker_processes 1;
      events { worker_connections 256; }
      http { client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
        include ${dir}/chatbox.conf; }`);
    const args = ["-p", dir, "-e", `${dir}/nginx.log`, "-c", `${dir}/nginx.conf`];
    const process = spawn("nginx", [...args, "-g", "daemon off;"], { stdio: "ignore" });
    return { process, reload: () => execFileSync("nginx", [...args, "-s", "reload"]) };
  },
  async haproxy() {
    const text = await configuration("haproxy/haproxy.cfg", [
      ["bind :443 ssl crt /etc/haproxy/chat.example.org.pem", `bind 127.0.0.1:${port} ssl crt ${certificate}`],
      ["server one 127.0.0.1:8080", `server one 127.0.0.1:${server.port}`],
    ]);
    await writeFile(path.join(dir, "haproxy.cfg"), text);
    const process = spawn("haproxy", ["-Ws", "-f", path.join(dir, "haproxy.cfg"), "-p", path.join(dir, "haproxy.pid")], { stdio: "ignore" });
    return { process, reload: () => process.kill("SIGUSR2") };
  },
};

const tls = { rejectUnauthorized: false };

/** { status, headers, text } through the front. */
const ask = (where, options = {}) => new Promise((resolve, reject) => {
  request(`https://127.0.0.1:${port}${where}`, { ...tls, ...options }, (answer) => {
    let text = "";
    answer.on("data", (data) => (text += data)).on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
  }).on("error", reject).end();
});

/** Until the front has a server it gives requests to. */
async function ready() {
  for (;;) {
    const { status } = await ask("/chatbox/healthz").catch(() => ({}));
    if (status === 200) return;
    await pause(50); // there is no event of another program to wait for
  }
}

/** A person with a socket through the front: says something and resolves to the answer. */
async function talker(user) {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/chatbox/ws`, { ...tls, headers: { Authorization: `Bearer ${server.token(user)}` } });
  await within(new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject)), "the socket to open");
  let closed = false;
  socket.on("close", () => (closed = true));
  const says = (content) => within(new Promise((resolve) => {
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.type === "ai_response" && message.content === content) resolve(message);
    });
    socket.send(JSON.stringify({ type: "user_message", content, session_id: randomUUID() }));
  }), `the answer to ${content}`);
  return { socket, says, closed: () => closed };
}

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-front-"));
  const [key, cert] = [path.join(dir, "key"), path.join(dir, "cert")];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, "-subj", "/CN=chat.example.org"], { stdio: "ignore" });
  certificate = path.join(dir, "both.pem");
  await writeFile(certificate, (await readFile(cert, "utf8")) + (await readFile(key, "utf8")));
  server = await Server.start();
});
after(async () => {
  await server?.remove();
  await rm(dir, { recursive: true, force: true });
});

for (const [name, start] of Object.entries(fronts)) {
  const missing = spawnSync(name, ["-v"]).error;
  describe(`through ${name}`, { skip: missing ? `no ${name}` : false }, () => {
    let front;
    before(async () => {
      port = await freePort();
      front = await start();
      await within(ready(), `${name} to serve`);
    });
    after(async () => {
      const gone = new Promise((resolve) => front.process.on("exit", resolve));
      front.process.kill("SIGTERM");
      await within(gone, `${name} to end`);
    });

    test("the page, the API and the chat are there", async () => {
      const page = await ask("/chatbox/chat.html");
      assert.equal(page.status, 200);
      assert.match(page.text, /<html/);
      const user = somebody();
      const list = await ask("/chatbox/sessions", { headers: { authorization: `Bearer ${server.token(user)}` } });
      assert.equal(list.status, 200);
      const person = await talker(user);
      await person.says("salut");
      person.socket.close();
    });

    test("the redirect to the page stays behind the front", async () => {
      const { status, headers } = await ask("/chatbox");
      assert.ok(status === 301 || status === 302 || status === 307 || status === 308 || status === 200, String(status));
      if (headers.location) assert.ok(!headers.location.includes(String(server.port)), headers.location);
    });

    test("the server sees the client's address, whatever the client says it is", async () => {
      // METRICS_ALLOWED_NETWORKS has this machine in it: who could pretend another address would be refused
      const { status } = await ask("/chatbox/metrics/prometheus", { headers: { "X-Forwarded-For": "203.0.113.9" } });
      assert.equal(status, 200);
    });

    test("one person after the other on a pooled connection has an own answer", async () => {
      const answers = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
        const user = somebody(`pooled-${i}`);
        const { status, text } = await ask(i % 4 ? "/chatbox/sessions" : "/chatbox/nowhere",
          { method: i % 4 ? "GET" : "PUT", headers: { authorization: `Bearer ${server.token(user)}` } });
        return [i % 4 ? 200 : 404, status, text];
      }));
      for (const [expected, status, text] of answers) assert.equal(status, expected, text);
    });

    test("a reload of the front disconnects nobody", async () => {
      const person = await talker(somebody());
      await person.says("before");
      front.reload();
      const newcomer = await within((async () => {
        for (;;) {
          const came = await talker(somebody()).catch(() => null);
          if (came) return came;
        }
      })(), "a newcomer to be served");
      await newcomer.says("new");
      await person.says("after");
      assert.equal(person.closed(), false);
      person.socket.close();
      newcomer.socket.close();
    });
  });
}
