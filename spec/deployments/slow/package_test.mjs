// deployments/debian: the package on a fresh Debian with systemd as process 1: installed, used, upgraded, removed, purged.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../e2e/support.mjs";
import { hammer, install, System, Talker } from "./system.mjs";

const HTTP = "http://127.0.0.1:8080/chatbox";
const CONF = "/etc/chatbox/chatbox.conf";
let dir, root, system;

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-package-"));
  root = path.join(dir, "root");
  const built = spawnSync(path.join(ROOT, "deployments/debian/build"), [path.join(dir, "build")], { encoding: "utf8" });
  assert.equal(built.status, 0, built.stdout + built.stderr); // lintian's complaints are in it
  const deb = built.stdout.trim().split("\n").at(-1);
  const needed = execFileSync("dpkg-deb", ["-f", deb, "Depends"], { encoding: "utf8" }).split(",").map((one) => one.trim().split(/[ |]/)[0]);
  await install(root, ["systemd-sysv", "dbus", "libnss-systemd", "curl", ...needed]);
  execFileSync("cp", [deb, path.join(root, "root/first.deb")]);
  await newer(deb, path.join(root, "root/second.deb"));
  system = await System.boot(root);
});
after(async () => {
  await system?.off();
  await rm(dir, { recursive: true, force: true });
});

/** The same package in its next version, with two of its scripts and its settings changed. */
async function newer(deb, to) {
  const tree = path.join(dir, "newer");
  execFileSync("dpkg-deb", ["-R", deb, tree]);
  const control = path.join(tree, "DEBIAN/control");
  await writeFile(control, (await readFile(control, "utf8")).replace(/^Version: .*$/m, "Version: 99.0"));
  await appendFile(path.join(tree, "etc/chatbox/scripts/bots/echo.lua"), "-- the newer one\n");
  await appendFile(path.join(tree, "etc/chatbox/scripts/routes.lua"), "-- the newer one\n");
  await appendFile(path.join(tree, "etc/chatbox/chatbox.conf"), "# the newer one\n");
  execFileSync("dpkg-deb", ["--root-owner-group", "-b", tree, to], { stdio: "ignore" });
}

const inside = (file) => path.join(root, file);
const pid = () => Number(system.property("chatbox", "MainPID"));
const token = (user) => system.does("chatbox", "token", "--user", user, "--ttl", "1h", "--config", CONF).trim();
const join = (user) => Talker.connect(system, "ws://127.0.0.1:8080/chatbox/ws", token(user));
/** The next entry of the journal with these words. */
const journal = (words) => system.journal.next((entry) => entry.MESSAGE.includes(words), words);
const started = () => system.journal.next((entry) => /^Started chatbox.service/.test(entry.MESSAGE), "the service to be started");

test("it installs, starts by itself, and is ready with a secret of its own", async () => {
  system.follow("chatbox");
  system.does("dpkg", "-i", "/root/first.deb");
  await started();
  assert.match(system.does("curl", "-sS", `${HTTP}/readyz`), /"status":"ready"/);
  assert.equal(system.does("systemctl", "is-enabled", "chatbox.service", "chatbox.socket"), "enabled\nenabled\n");
  assert.equal(system.does("stat", "-c", "%U %a %s", "/etc/chatbox/jwt-secret", CONF).split("\n")[0], "chatbox 600 64");
  assert.equal(system.does("stat", "-c", "%U %a", "/var/lib/chatbox").trim(), "chatbox 700");
  assert.match(system.does("cat", `/proc/${pid()}/status`), /^CapEff:\s+0+$/m);
  assert.match(system.does("systemctl", "is-system-running"), /^running$/m);
  assert.equal(system.does("dpkg", "-V", "chatbox"), "");
  assert.equal(system.run("sh", "-c", "ldd /usr/bin/chatbox | grep 'not found'").stdout, "");
});

test("people talk to it over a WebSocket, and what they said outlives kill -9, after which it is started again", async () => {
  const alice = await join("alice");
  await alice.asks("good morning", "good morning");
  const first = pid();
  system.does("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "chatbox");
  const knocking = spawnSync("nsenter", ["-t", `${system.init}`, "-n", "curl", "-sS", "--max-time", "60", `${HTTP}/healthz`], { encoding: "utf8" });
  assert.equal(knocking.status, 0, knocking.stderr); // it waited
  await started();
  assert.notEqual(pid(), first);
  assert.equal(system.property("chatbox", "NRestarts"), "1");
  alice.leave();
  assert.match(system.does("chatbox", "export", "--user", "alice", "--config", CONF), /good morning/);
});

test("systemctl reload takes changed scripts while people talk, and fails when they are not sound", async () => {
  const bob = await join("bob");
  await bob.asks("one", "one");
  const first = pid(), echo = inside("/etc/chatbox/scripts/bots/echo.lua");
  const text = await readFile(echo, "utf8");
  await writeFile(echo, text.replace("session:reply(message.content)", 'session:reply("you said " .. message.content)'));
  system.does("systemctl", "reload", "chatbox");
  await bob.asks("two", "you said two");
  const good = await readFile(echo, "utf8");
  await writeFile(echo, "this is no Lua\n");
  assert.equal(system.run("systemctl", "reload", "chatbox").status, 1);
  await journal("bots/echo.lua");
  assert.equal(system.property("chatbox", "ActiveState"), "active");
  await bob.asks("three", "you said three");
  await writeFile(echo, good); // the operator's own, from here on
  system.does("systemctl", "reload", "chatbox");
  assert.equal(pid(), first);
  bob.leave();
});

test("nobody who connects while it is restarted is refused", async (t) => {
  const knocking = hammer(t, system, `${HTTP}/healthz`);
  await knocking.begun();
  for (let i = 0; i < 5; i++) {
    system.does("systemctl", "reset-failed", "chatbox"); // or the fifth restart in ten seconds is one too many
    system.does("systemctl", "restart", "chatbox");
  }
  const { answered, longest_ms, ...other } = await knocking.end();
  assert.deepEqual(other, {}, `${answered} were answered`);
  assert.ok(answered > 100, `${answered}`);
  assert.ok(longest_ms < 60000);
});

test("the journal has the fields of what it logs", async () => {
  const { stdout } = system.run("journalctl", "-u", "chatbox", "-o", "json", "CHATBOX_MSG=listening");
  const entry = JSON.parse(stdout.split("\n")[0]);
  assert.equal(entry.PRIORITY, "6");
  assert.equal(entry.CHATBOX_COMPONENT, "server");
  assert.equal(entry.CHATBOX_PORT, "8080");
  assert.equal(entry.CHATBOX_ADDRESS, "127.0.0.1");
  assert.equal(entry.SYSLOG_IDENTIFIER, "chatbox");
  assert.match(entry.MESSAGE, /^component=server msg="listening" address=127.0.0.1 port=8080 /);
  // bob broke it above: a script says so, by file and line
  const broken = system.does("journalctl", "-u", "chatbox", "-o", "cat", "-p", "warning", "CHATBOX_COMPONENT=script");
  assert.match(broken, /bots\/echo.lua:1/);
});

test("one that hangs is ended by the watchdog and started again", async () => {
  await system.write("/etc/systemd/system/chatbox.service.d/test.conf", "[Service]\nWatchdogSec=2s\n");
  system.does("systemctl", "daemon-reload");
  system.does("systemctl", "restart", "chatbox");
  const first = pid();
  system.does("systemctl", "kill", "-s", "STOP", "chatbox");
  await journal("Watchdog timeout");
  await started();
  assert.notEqual(pid(), first);
  assert.match(system.does("curl", "-sS", `${HTTP}/readyz`), /"status":"ready"/);
  await rm(inside("/etc/systemd/system/chatbox.service.d"), { recursive: true });
  system.does("systemctl", "daemon-reload");
});

test("a setting that is wrong stops it for good, whoever knocks, and the journal says which", async () => {
  await appendFile(inside(CONF), "WORKERS=many\n");
  assert.notEqual(system.run("systemctl", "restart", "chatbox").status, 0);
  await journal('WORKERS: "many" is not a number');
  assert.equal(system.property("chatbox", "ActiveState"), "failed");
  assert.equal(system.property("chatbox", "ExecMainStatus"), "2");
  assert.equal(system.property("chatbox", "NRestarts"), "0");
  assert.notEqual(system.run("curl", "-sS", `${HTTP}/healthz`).status, 0); // started it again, until the socket gave up
  assert.equal(system.property("chatbox.socket", "ActiveState"), "failed");
  await writeFile(inside(CONF), (await readFile(inside(CONF), "utf8")).replace("WORKERS=many", "WORKERS=1"));
  system.does("systemctl", "reset-failed", "chatbox");
  system.does("systemctl", "restart", "chatbox");
  assert.match(system.does("chatbox", "config", "--config", CONF), /^# from the file\nWORKERS=1$/m);
  assert.equal(system.property("chatbox.socket", "ActiveState"), "active");
  assert.match(system.does("curl", "-sS", `${HTTP}/readyz`), /"status":"ready"/);
});

test("an upgrade keeps what the operator changed, brings what is new, and refuses nobody", async (t) => {
  const secret = await readFile(inside("/etc/chatbox/jwt-secret"), "utf8");
  const first = pid();
  const knocking = hammer(t, system, `${HTTP}/healthz`);
  await knocking.begun();
  system.does("dpkg", "--force-confold", "-i", "/root/second.deb");
  const { answered, longest_ms, ...other } = await knocking.end();
  assert.deepEqual(other, {}, `${answered} were answered, the slowest after ${longest_ms} ms`);
  assert.notEqual(pid(), first, "the old one still runs");
  const bob = await join("bob");
  await bob.asks("still", "you said still");
  bob.leave();
  assert.match(await readFile(inside(CONF), "utf8"), /^WORKERS=1$/m);
  assert.match(await readFile(inside("/etc/chatbox/scripts/routes.lua"), "utf8"), /the newer one/);
  assert.equal(await readFile(inside("/etc/chatbox/jwt-secret"), "utf8"), secret);
  assert.equal(system.does("stat", "-c", "%U %a", CONF).trim(), "chatbox 600");
  assert.equal(system.does("dpkg-query", "-W", "-f", "${Version}", "chatbox"), "99.0");
});

test("stopped, it says goodbye to everybody and ends in order", async () => {
  const carol = await join("carol");
  system.does("systemctl", "stop", "chatbox.socket"); // and with it the service
  await carol.hears((m) => m.type === "bye", "bye");
  assert.equal(system.property("chatbox", "Result"), "success");
  assert.equal(system.property("chatbox", "ExecMainStatus"), "0");
  assert.equal(system.run("curl", "-sS", `${HTTP}/healthz`).status, 7, "somebody still listens");
  carol.leave();
});

test("removed, even while somebody knocks, it leaves settings, scripts and conversations; purged, nothing", async (t) => {
  system.does("systemctl", "start", "chatbox.socket", "chatbox");
  const knocking = hammer(t, system, `${HTTP}/healthz`);
  await knocking.begun();
  system.does("dpkg", "--remove", "chatbox");
  assert.ok((await knocking.end()).ECONNREFUSED > 0);
  assert.equal(system.run("curl", "-sS", `${HTTP}/healthz`).status, 7, "it still runs");
  for (const kept of [CONF, "/etc/chatbox/scripts/bots/echo.lua", "/etc/chatbox/jwt-secret", "/var/lib/chatbox/chatbox.db"]) {
    assert.ok(existsSync(inside(kept)), kept);
  }
  assert.ok(!existsSync(inside("/usr/bin/chatbox")));
  system.does("dpkg", "-i", "/root/second.deb"); // it comes back as it was
  assert.match(system.does("chatbox", "export", "--user", "alice", "--config", CONF), /good morning/);
  system.does("dpkg", "--purge", "chatbox");
  const left = system.does("find", "/etc", "/usr", "/var", "/lib/systemd", "-path", "/var/lib/dpkg", "-prune", "-o", "-path", "/var/log", "-prune", "-o", "-name", "*chatbox*", "-print");
  assert.equal(left, "");
  assert.equal(system.run("systemctl", "--failed", "--plain", "--no-legend").stdout, "");
});
