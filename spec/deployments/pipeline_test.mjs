// docs/pipeline.md: the repository it describes is made as it says, the commands of both pipelines pass on it with an installed
// tree, and fail when the bot is wrong.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { BIN, DEADLINE_MS, ROOT } from "../e2e/support.mjs";

const page = await readFile(path.join(ROOT, "docs/pipeline.md"), "utf8");
const files = Object.fromEntries([...page.matchAll(/^```\w+ file=(\S+)\n(.*?)^```$/gms)].map(([, file, text]) => [file, text]));

/** A repository as the page describes it, beside a tree that was installed: { dir, run(command, env) }. */
async function repository(t) {
  const place = await mkdtemp(path.join(os.tmpdir(), "chatbox-pipeline-"));
  t.after(() => rm(place, { recursive: true, force: true }));
  const prefix = path.join(place, "installed"), dir = path.join(place, "repository");
  const { status, stderr } = spawnSync("cmake", ["--install", path.dirname(BIN), "--prefix", prefix], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  await cp(path.join(prefix, "share/chatbox/scripts"), path.join(dir, "scripts"), { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(dir, file)), { recursive: true });
    await writeFile(path.join(dir, file), text);
  }
  await mkdir(path.join(dir, "ci"));
  await cp(path.join(ROOT, "deployments/ci/talk"), path.join(dir, "ci/talk"));
  await writeFile(path.join(dir, "chatbox.conf"), "CHATBOX_BOT=refunds\nRATE_LIMIT=50\n");
  const run = (command, env = {}) =>
    spawnSync("bash", ["-euo", "pipefail", "-c", command], {
      cwd: dir, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 4 * DEADLINE_MS, env: { PATH: `${prefix}/bin:${process.env.PATH}`, HOME: place, ...env },
    });
  return { dir, run };
}

const workflow = parse(files[".github/workflows/bots.yml"]).jobs.bots, job = parse(files[".gitlab-ci.yml"]).bots;
const pipelines = {
  "GitHub Actions": { env: workflow.env, commands: workflow.steps.flatMap((step) => step.run ?? []) },
  "GitLab CI": { env: job.variables, commands: job.script },
};

describe("the pipeline of", () => {
  for (const [name, { env, commands }] of Object.entries(pipelines)) {
    test(`${name} passes`, async (t) => {
      const { run } = await repository(t);
      assert.equal(commands.length, 3);
      for (const command of commands) {
        const { status, stdout, stderr } = run(command, env);
        // one draw in some thousand contains a word that a JWT_SECRET must not
        if (status === 2 && /which makes it easy to guess/.test(stderr)) continue;
        assert.equal(status, 0, `${command}: ${stdout}${stderr}`);
      }
      assert.match(run(commands[2], env).stdout, /^1\.\.1\nok 1 - dialogues\/refund\.txt\n$/);
    });
  }

  test("both run the same", () => assert.deepEqual(pipelines["GitHub Actions"], pipelines["GitLab CI"]));
});

describe("a pipeline fails", () => {
  const { env, commands: [check, config, talk] } = pipelines["GitLab CI"];

  test("at the check, with file and line, when a script does not load or its own test does not hold", async (t) => {
    const { dir, run } = await repository(t);
    await writeFile(path.join(dir, "scripts/bots/refunds.lua"), files["scripts/bots/refunds.lua"].replace('"4711")', '"4712")'));
    const own = run(check, env);
    assert.equal(own.status, 1);
    assert.match(own.stdout + own.stderr, /assertion failed.*self_test of bots\.refunds/);
    await appendFile(path.join(dir, "scripts/bots/refunds.lua"), "\nend\n");
    const syntax = run(check, env);
    assert.equal(syntax.status, 1);
    assert.match(syntax.stdout + syntax.stderr, /^scripts\/bots\/refunds\.lua:\d+: /m);
  });

  test("at the settings, when one is unknown", async (t) => {
    const { dir, run } = await repository(t);
    await appendFile(path.join(dir, "chatbox.conf"), "RATE_LIMITS=3\n");
    const { status, stderr } = run(config, env);
    assert.equal(status, 2);
    assert.match(stderr, /RATE_LIMITS/);
  });

  test("at the conversation, with what differs, when the bot answers something else, too little or nothing", async (t) => {
    const { dir, run } = await repository(t);
    const bot = (from, to) => writeFile(path.join(dir, "scripts/bots/refunds.lua"), files["scripts/bots/refunds.lua"].replace(from, to));
    await bot("I only do refunds.", "I do refunds only.");
    const differs = run(talk, env);
    assert.equal(differs.status, 1);
    assert.match(differs.stdout, /^# -I only do refunds\.\n# \+I do refunds only\.\nnot ok 1 - dialogues\/refund\.txt$/m);
    await bot('session:reply "I only do refunds."', 'error "out of order"');
    const fails = run(talk, env);
    assert.equal(fails.status, 1, fails.stdout);
    await bot("return bot", "");
    const refuses = run(talk, env);
    assert.equal(refuses.status, 1);
    assert.match(refuses.stdout, /^Bail out! the server did not start$/m);
  });

  test("at a conversation in which nobody says anything", async (t) => {
    const { dir, run } = await repository(t);
    await writeFile(path.join(dir, "dialogues/empty.txt"), "# to be written\n");
    const { status, stdout } = run(talk, env);
    assert.equal(status, 1);
    assert.match(stdout, /^not ok 1 - dialogues\/empty\.txt\nok 2 - dialogues\/refund\.txt$/m);
  });
});
