// What the service manager hears (sd_notify): that the server serves, that it is well, that it reads its scripts again and has
// done so, whatever came of it, and that it stops.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import path from "node:path";
import { test } from "node:test";
import { Server, within } from "./support.mjs";

/** A line for each datagram. Perl, for Node has no sockets of that kind and every Debian has Perl. */
const MANAGER = `
  use IO::Socket::UNIX; $| = 1;
  my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
  print "ready\\n";
  while (defined $socket->recv(my $text, 4096)) { $text =~ s/\\n/ /g; print "$text\\n"; }`;

test("it hears READY when the server serves, WATCHDOG in between, RELOADING and READY around an order, and STOPPING", async (t) => {
  const place = await Server.start();
  t.after(() => place.remove());
  await place.stop();
  const socket = path.join(place.dir, "notify");
  const manager = spawn("perl", ["-e", MANAGER, socket], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => manager.kill("SIGKILL"));
  const lines = createInterface({ input: manager.stdout })[Symbol.asyncIterator]();
  /** The next that is not about the watchdog. */
  const hears = async (what, watchdog = false) => {
    for (;;) {
      const { value = "(nothing)" } = await within(lines.next(), `the manager to hear ${what}`);
      if (value === "WATCHDOG=1" && !watchdog) continue;
      return value;
    }
  };
  assert.equal(await hears("that it listens"), "ready");
  const server = await place.again({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: "500000" });
  t.after(() => server.remove());
  assert.equal(await hears("READY"), "READY=1");
  assert.equal(await hears("that all is well", true), "WATCHDOG=1");
  assert.equal(await hears("that all is still well", true), "WATCHDOG=1");

  const orders = [["bots/echo.lua", "return"], ["bots/echo.lua", "this is no Lua"]]; // taken, refused: it is over either way
  for (const [file, text] of orders) {
    await server.script(file, text);
    server.process.kill("SIGHUP");
    assert.match(await hears("that it reloads"), /^RELOADING=1 MONOTONIC_USEC=\d+$/);
    assert.equal(await hears("that it has reloaded"), "READY=1");
  }
  server.process.kill("SIGTERM");
  assert.equal(await hears("that it stops"), "STOPPING=1");
});
