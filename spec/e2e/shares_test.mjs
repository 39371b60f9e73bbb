// One person, or one address, tries to take what is there for everybody, and an ordinary talker beside it does not notice.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { serve, somebody, within } from "./support.mjs";

describe("a log that nobody reads", () => {
  const LOUD = `local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  for i = 1, 100 do chat.log.info(("x"):rep(3000), { line = i }) end
  session:reply(message.content)
end)
return bot
`;

  test("stops neither the talking nor the stop; what was dropped is counted, and said once it flows again", async (t) => {
    const env = { LOG_BUFFER: "64KiB", RATE_LIMIT: "1000000" };
    const server = await serve(t, { env, scripts: { "bots/echo.lua": LOUD } });
    const alice = await server.join(somebody("alice"));
    server.process.stderr.pause();
    for (let i = 0; !(await server.metric("chatbox_log_dropped_total")); i++) {
      assert.ok(i < 200, "60 MB of log are waiting for somebody who does not read");
      await alice.talks(`${i}`);
    }
    for (let i = 0; i < 5; i++) await alice.talks(`still here ${i}`);

    server.process.stderr.resume();
    const note = await server.log.next((line) => line.component === "log", "how much was dropped");
    assert.ok(Number(note.count) > 0);
    await alice.talks("and now");
    await server.log.next((line) => line.component === "script", "the log to go on");

    server.process.stderr.pause();
    for (let i = 0; i < 5; i++) await alice.talks(`again ${i}`);
    server.process.kill("SIGTERM");
    const { code } = await within(new Promise((resolve) => server.process.on("exit", (status) => resolve({ code: status }))), "the stop");
    assert.equal(code, 0);
    server.process.stderr.resume();
    await server.exited;
  });
});
