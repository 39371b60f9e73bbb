// Versions of the scripts as those see them who answer for the server: on the command line and over HTTP.

import assert from "node:assert/strict";
import { mkdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { DEADLINE_MS, botThatSays, serve, somebody } from "./support.mjs";

const BOT = "bots/echo.lua";
const ADMIN = { roles: ["admin"] };

const answer = async (client) => {
  client.says("what do you say now?");
  const { content, session_id } = await client.hears("ai_response");
  client.session = session_id;
  return content;
};

async function answersAll(client, content, deadline = Date.now() + DEADLINE_MS) {
  for (;;) {
    const said = await answer(client);
    if (said === content) return;
    assert.ok(Date.now() < deadline, `the bot still says ${said}`);
  }
}

const command = async (server, ...args) => {
  const { code, out, err } = await server.command(...args);
  assert.equal(code, 0, `chatbox ${args.join(" ")}: ${out}${err}`);
  return out;
};

describe("on the command line", () => {
  test("edit, reload, break, go back; the history says who, when, why and what came of it", async (t) => {
    const server = await serve(t);
    const alice = await server.join(somebody("alice"));
    await server.script(BOT, botThatSays("one"));
    await command(server, "reload", "--why", "a friendlier greeting");
    assert.equal(await answer(alice), "one");
    await server.script(BOT, botThatSays("two"));
    await command(server, "reload");
    assert.equal(await answer(alice), "two");

    await server.script(BOT, "return nil +");
    const failed = await server.command("reload", "--why", "Friday");
    assert.equal(failed.code, 1);
    assert.match(failed.out, /^scripts\/bots\/echo\.lua:1: /);
    assert.equal(await answer(alice), "two");

    assert.match(await command(server, "rollback", "--why", "two is too short"), /^version [0-9a-f]{12}\n$/);
    assert.equal(await answer(alice), "one");
    const seen = await command(server, "scripts");
    const lines = seen.trim().split("\n");
    assert.match(lines[0], /^version +role +calls +failed +killed +waiting +memory$/);
    assert.match(lines[1], /^[0-9a-f]{12} +current/);
    const history = lines.filter((line) => /^ *\d+ +\d{4}-/.test(line));
    assert.match(history[0], /rollback .* running, by .*\(uid \d+\), because: two is too short$/);
    assert.match(history[1], /reload .* failed: scripts\/bots\/echo\.lua:1: .*because: Friday$/);
    assert.match(history[2], /reload .* rolled back, by /);
    assert.match(history[3], /reload .* replaced, by .*because: a friendlier greeting$/);
    assert.match(history[4], /start .* replaced$/);
  });

  test("a canary has a share, is promoted, and its conversations notice nothing", async (t) => {
    const server = await serve(t);
    const people = await Promise.all(Array.from({ length: 24 }, () => server.join(somebody())));
    await server.script(BOT, botThatSays("canary"));
    assert.match(await command(server, "reload", "--canary", "50%"), /has 50 % of the conversations/);
    const first = await Promise.all(people.map(answer));
    const share = first.filter((said) => said === "canary").length;
    assert.ok(share > 2 && share < 22, `${share} of 24`);
    assert.deepEqual(await Promise.all(people.map(answer)), first.map((said) => (said === "canary" ? said : "what do you say now?")));
    assert.match(await command(server, "scripts"), /canary .*\n(.*\n)*the canary has 50 % of the conversations/);
    assert.equal((await server.command("reload")).code, 1);
    await command(server, "promote");
    assert.deepEqual(new Set(await Promise.all(people.map(answer))), new Set(["canary"]));
  });

  test("a canary that fails goes by itself", async (t) => {
    const server = await serve(t, { env: { SCRIPT_CANARY_MIN: "1", SCRIPT_CANARY_MARGIN: "10" } });
    const people = await Promise.all(Array.from({ length: 24 }, () => server.join(somebody())));
    await server.script(BOT, 'local bot = require "bot" "echo"\nbot:otherwise(function() error "worse" end)\nreturn bot\n');
    await command(server, "reload", "--canary", "50%");
    for (const person of people) person.says("hello");
    await Promise.all(people.map((person) => person.next((m) => m.type === "ai_response" || m.type === "error", "an answer")));
    await server.log.next((line) => line.msg === "the canary was rolled back", "the canary to go");
    for (const person of people) assert.equal((await person.talks("and now")).content, "and now");
    assert.match(await command(server, "scripts"), /rollback .* done: \d+ of \d+ calls failed .*by canary watch/);
  });

  test("what cannot be said is refused with 2, what cannot be done with 1", async (t) => {
    const server = await serve(t);
    for (const args of [["reload", "--canary", "100%"], ["reload", "--canary", "ten"], ["reload", "x"], ["promote", "--canary", "1%"],
      ["rollback", "--why", "two\nlines"], ["scripts", "--why", "x"]]) {
      assert.equal((await server.command(...args)).code, 2, args.join(" "));
    }
    for (const args of [["promote"], ["rollback"]]) {
      const { code, out } = await server.command(...args);
      assert.equal(code, 1);
      assert.match(out, /there is no /);
    }
    for (const verb of ["reload", "promote", "rollback", "scripts", "check"]) {
      assert.match(await command(server, verb, "--help"), new RegExp(`^Usage: chatbox ${verb}`));
    }
  });

  test("nobody else may open the control socket", async (t) => {
    const server = await serve(t);
    const { mode } = await stat(path.join(server.dir, "chatbox.sock"));
    assert.equal(mode & 0o777, 0o600);
  });

  test("`chatbox check` finds everything at once, as lines an editor can open, and says so by its exit code", async (t) => {
    const server = await serve(t);
    assert.match(await command(server, "check", server.scripts), /^ok: version [0-9a-f]{12}, \d+ files\n$/);
    await server.script(BOT, 'local bot = require "bot" "echo"\nbot:otherwise(function(session)\n  sesion:reply "x"\n  chat.log.inf "x"\nend)\nreturn bot\n');
    await server.script("bots/other.lua", 'local bot = require "bot" "other"\nbot:answers()\nreturn bot\n');
    const routes = await server.readScript("routes.lua");
    await server.script("routes.lua", routes.replace("help.help_request", "help.help_reqest"));
    const { code, out, err } = await server.command("check", server.scripts);
    assert.equal(code, 1);
    const line = 1 + routes.slice(0, routes.indexOf("help.help_request")).split("\n").length - 1;
    assert.deepEqual(out.trim().split("\n"), [
      `${server.scripts}/bots/echo.lua:3: global 'sesion' does not exist`,
      `${server.scripts}/bots/echo.lua:4: chat.log.inf does not exist`,
      `${server.scripts}/routes.lua:${line}: route help_request has no handler: handlers.help has no help_reqest`,
      `${server.scripts}/bots/other.lua:2: a bot has no field or method answers: did you mean answer?`,
    ]);
    assert.match(err, /^4 problems$/m);
    assert.equal((await server.command("check", path.join(server.dir, "nothing"))).code, 1);
  });
});

describe("over HTTP", () => {
  test("reload, look, roll back: for administrators only", async (t) => {
    const server = await serve(t);
    const boss = somebody("boss");
    const token = server.token(boss, ADMIN);
    const alice = await server.join(somebody("alice"));
    await alice.talks("hello");
    await server.script(BOT, botThatSays("new"));
    assert.equal((await server.post("/admin/scripts/reload")).status, 401);
    assert.equal((await server.post("/admin/scripts/reload", { user: "alice" })).status, 403);
    assert.equal((await server.get("/admin/scripts", { user: "alice" })).status, 403);
    await alice.talks("still the old one");

    const done = await server.post("/admin/scripts/reload", { token, body: JSON.stringify({ why: "new text" }) });
    assert.equal(done.status, 200, done.text);
    assert.match(done.json.outcome, /^version [0-9a-f]{12}$/);
    assert.equal(await answer(alice), "new");

    const shown = (await server.get("/admin/scripts", { token })).json;
    assert.equal(`version ${shown.version}`, done.json.outcome);
    assert.equal(shown.vms.filter((vm) => vm.role === "current").length, 2);
    assert.deepEqual(
      shown.history.map(({ order, outcome, who, why }) => [order, outcome, who, why]),
      [["reload", "running", `admin ${boss}`, "new text"], ["start", "replaced", "", ""]],
    );

    await server.script(BOT, "return undeclared");
    const refused = await server.post("/admin/scripts/reload", { token });
    assert.equal(refused.status, 409);
    assert.match(refused.json.error, /^scripts\/bots\/echo\.lua:1: global 'undeclared' does not exist$/);
    assert.equal((await server.post("/admin/scripts/rollback", { token })).status, 200);
    await alice.talks("the old one again");
    const metrics = (await server.get("/metrics/prometheus")).text;
    assert.match(metrics, new RegExp(`chatbox_scripts_info\\{version="[0-9a-f]{12}",role="current"\\} 1`));
    assert.equal(metrics.match(/^chatbox_scripts_info/gm).length, 1, "versions that are gone have no line");
  });
});

describe("with no time to drain", () => {
  test("whoever orders a reload hears what came of it, from the version that it replaced", async (t) => {
    const server = await serve(t, { env: { SCRIPT_DRAIN_TIMEOUT: "0" } });
    const token = server.token("boss", ADMIN);
    for (let i = 0; i < 40; i++) {
      await server.script(BOT, botThatSays(`number ${i}`));
      const { status, text } = await server.post("/admin/scripts/reload", { token });
      assert.equal(status, 200, text);
    }
  });
});

describe("as Kubernetes does it", () => {
  test("a ConfigMap that swaps its link is a change like any other", async (t) => {
    const server = await serve(t, { env: { SCRIPT_WATCH: "true", RATE_LIMIT: "1000000" } });
    const alice = await server.join(somebody("alice"));
    // A mounted ConfigMap: bots/echo.lua -> ..data/echo.lua, ..data -> ..2024_1, and an update swaps ..data.
    const bots = path.join(server.scripts, "bots");
    const put = async (name, text) => {
      await mkdir(path.join(bots, name));
      await writeFile(path.join(bots, name, "echo.lua"), text);
      await symlink(name, path.join(bots, "..tmp"));
      await rename(path.join(bots, "..tmp"), path.join(bots, "..data"));
    };
    await put("..2024_1", botThatSays("first"));
    await rm(path.join(bots, "echo.lua"));
    await symlink("..data/echo.lua", path.join(bots, "echo.lua"));
    await answersAll(alice, "first");
    await put("..2024_2", botThatSays("second"));
    await answersAll(alice, "second");
  });
});
