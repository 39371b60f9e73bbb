// A port that a service manager keeps (LISTEN_FDS): whoever connects while the server is restarted waits, and is served.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { BIN, Server, within } from "./support.mjs";

/** As systemd does it with a socket unit: listens, never accepts, and starts a server with the socket as descriptor 3 for
 *  each line it reads. Perl, for it is on every Debian and can hold a socket without accepting from it. */
const MANAGER = `
  use IO::Socket::INET; use POSIX ();
  $^F = 255; $| = 1;
  my $socket = IO::Socket::INET->new(Listen => 64, LocalAddr => "127.0.0.1", Proto => "tcp") or die;
  print "port ", $socket->sockport, "\\n";
  while (<STDIN>) {
    my $pid = fork;
    if (!$pid) { POSIX::dup2(fileno $socket, 3); @ENV{"LISTEN_PID", "LISTEN_FDS"} = ($$, 1); exec @ARGV; die }
    print "started $pid\\n";
    waitpid $pid, 0;
    print "ended ", $? & 127 ? "by signal " . ($? & 127) : $? >> 8, "\\n";
  }`;

test("no connection is refused while the server is restarted, and what came meanwhile is answered", async (t) => {
  const place = await Server.start(); // a store, scripts and settings; then this server makes room
  t.after(() => place.remove());
  await place.stop();
  const manager = spawn("perl", ["-e", MANAGER, BIN, "run"], { env: place.env, stdio: ["pipe", "pipe", "pipe"] });
  let server = 0;
  t.after(() => {
    manager.kill("SIGKILL");
    if (server) process.kill(server, "SIGKILL");
  });
  const said = createInterface({ input: manager.stdout })[Symbol.asyncIterator]();
  const logged = createInterface({ input: manager.stderr })[Symbol.asyncIterator]();
  const hear = async (word) => {
    const { value = "" } = await within(said.next(), `the manager to say ${word}`);
    assert.ok(value.startsWith(word), value);
    return value.slice(word.length + 1);
  };
  const port = await hear("port");
  const start = async () => {
    manager.stdin.write("start\n");
    server = Number(await hear("started"));
    for (let line = ""; !line.includes('"listening"'); ) ({ value: line } = await within(logged.next(), "the server to listen"));
  };
  const end = async (signal) => {
    process.kill(server, signal);
    const how = await hear("ended");
    server = 0;
    return how;
  };
  const ask = () => fetch(`http://127.0.0.1:${port}/chatbox/healthz`, { headers: { connection: "close" } });
  for (const [signal, how] of [["SIGTERM", "0"], ["SIGKILL", "by signal 9"]]) {
    await start();
    assert.equal((await ask()).status, 200);
    assert.equal(await end(signal), how);
    const meanwhile = Array.from({ length: 20 }, ask); // nobody runs
    await start();
    for (const answer of await within(Promise.all(meanwhile), "those who came meanwhile to be answered")) assert.equal(answer.status, 200);
    assert.equal(await end("SIGTERM"), "0");
  }
});
