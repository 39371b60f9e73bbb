// What deployments/debian makes of the program's own tables and of deployments/systemd, as far as it can be seen without
// building the package: slow/package_test.mjs does that.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { BIN, ROOT } from "../e2e/support.mjs";

const program = (...args) => execFileSync(BIN, args, { encoding: "utf8" });
const missing = (command) => (spawnSync("sh", ["-c", `command -v ${command}`]).status === 0 ? false : `no ${command}`);

/** The usage lines of --help: [["run", "[--fresh] [--config FILE]"], …]. */
function commands() {
  const found = [...program("--help").matchAll(/^ {2}chatbox ([\w-]+)(.*)$/gm)].map((m) => [m[1], m[2]]);
  assert.ok(found.length > 10);
  return found;
}

async function folder(t) {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-package-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** What bash offers for each of these lines (lists of words), the last word being the one that is typed. */
async function completed(t, lines) {
  const dir = await folder(t);
  await writeFile(path.join(dir, "a file.conf"), "");
  const script = `${program("docs", "completion")}
    while IFS=$'\\t' read -ra COMP_WORDS; do
      [[ \${COMP_WORDS[-1]} != . ]] || COMP_WORDS[-1]=""
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _chatbox; (IFS=$'\\t'; echo "\${COMPREPLY[*]}")
    done`;
  const input = lines.map((words) => `${["chatbox", ...words].join("\t")}\n`).join("");
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], { cwd: dir, input, encoding: "utf8" });
  assert.equal(stderr, "");
  assert.equal(status, 0);
  return stdout.trimEnd().split("\n").map((line) => line.split("\t"));
}

test("completion offers every command, and of each every option and word of its usage", async (t) => {
  const all = commands();
  const [first, ...rest] = await completed(t, [["."], ...all.map(([name]) => [name, "."])]);
  assert.deepEqual(first.sort(), ["--help", "--version", ...all.map(([name]) => name)].sort());
  all.forEach(([name, usage], i) => {
    const words = usage.replace(/--[\w-]+( [^-[\]|\s]+)?/g, (option) => option.split(" ")[0]); // without values
    const wanted = [...words.matchAll(/--[\w-]+|(?<![\w-])[a-z][\w.]*/g)].map((m) => m[0]);
    for (const word of wanted) assert.ok(rest[i].includes(word), `chatbox ${name}: ${word} is not offered: ${rest[i]}`);
    assert.ok(rest[i].includes("--help"), name);
  });
});

test("completion offers files where a file is meant, and nothing where only the user knows", async (t) => {
  const [config, backup, user, begun] = await completed(t, [["run", "--config", "a"], ["backup", "a"], ["export", "--user", "."], ["docs", "set"]]);
  assert.deepEqual(config, ["a file.conf"]);
  assert.deepEqual(backup, ["a file.conf"]);
  assert.deepEqual(user, [""]);
  assert.deepEqual(begun, ["settings"]);
});

/** As it is read, on one endless line. */
async function page(t, name) {
  const file = path.join(await folder(t), name);
  await writeFile(file, program("docs", name));
  const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "2000", MAN_KEEP_FORMATTING: "" };
  const { stdout, stderr, status } = spawnSync("man", ["--warnings", "--no-hyphenation", "-l", file], { env, encoding: "utf8" });
  assert.equal(stderr, "");
  assert.equal(status, 0);
  return stdout.replace(/\s+/g, " ");
}

test("chatbox(1) is all that --help says, without a warning of man", { skip: missing("man") }, async (t) => {
  const text = await page(t, "chatbox.1");
  const help = program("--help").split("\n").slice(1).map((line) => line.trim()).filter(Boolean);
  for (const line of help) assert.ok(text.includes(line), line);
});

test("chatbox.conf(5) has every setting of the table with its help and default", { skip: missing("man") }, async (t) => {
  const text = await page(t, "chatbox.conf.5");
  const rows = [...(await readFile(path.join(ROOT, "docs/settings.md"), "utf8")).matchAll(/^\| `([A-Z0-9_]+)` \| \w+(?:, \*secret\*)? \| (.*?) \| .*? \| (.*) \|$/gm)];
  assert.ok(rows.length > 80);
  for (const [, name, fallback, help] of rows) {
    assert.ok(text.includes(` ${name} ${help}`), `${name} ${help}`);
    const value = fallback === "(empty)" ? "empty" : fallback.slice(1, -1);
    assert.ok(text.slice(text.indexOf(` ${name} ${help}`)).includes(`Default: ${value}.`), name);
  }
});

/** The units of the package, which starts `bin`. */
async function units(t, bin) {
  const dir = await folder(t);
  const files = [];
  for (const kind of ["service", "socket"]) {
    const made = execFileSync("sed", ["-f", `deployments/debian/${kind}.sed`, `deployments/systemd/chatbox.${kind}`], { cwd: ROOT, encoding: "utf8" });
    files.push(path.join(dir, `chatbox.${kind}`));
    await writeFile(files.at(-1), made.replaceAll("/usr/bin/chatbox", bin));
  }
  return files;
}

test("systemd knows every key of the units, those for hand and those of the package", { skip: missing("systemd-analyze") }, async (t) => {
  const dir = await folder(t);
  const byHand = [];
  for (const kind of ["service", "socket"]) {
    const unit = await readFile(path.join(ROOT, `deployments/systemd/chatbox.${kind}`), "utf8");
    byHand.push(path.join(dir, `chatbox.${kind}`));
    await writeFile(byHand.at(-1), unit.replaceAll("/usr/local/bin/chatbox", BIN));
  }
  for (const files of [byHand, await units(t, BIN)]) {
    const { stdout, stderr, status } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
    const ours = (stdout + stderr).split("\n").filter((line) => line.includes("chatbox"));
    assert.deepEqual(ours, []);
    assert.equal(status, 0, stdout + stderr);
  }
});

test("the unit of the package gives away no more rights than the one for hand", { skip: missing("systemd-analyze") }, async (t) => {
  const [service] = await units(t, "/usr/bin/true");
  for (const file of [service, path.join(ROOT, "deployments/systemd/chatbox.service")]) {
    const { stdout, stderr } = spawnSync("systemd-analyze", ["security", "--offline=true", "--no-pager", file], { encoding: "utf8" });
    const level = Number(/Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1] ?? assert.fail(stdout + stderr));
    assert.ok(level <= 1.4, `${file}: ${level}`);
  }
});

test("the package has the version of the program", async () => {
  const changelog = await readFile(path.join(ROOT, "deployments/debian/changelog"), "utf8");
  assert.equal(`chatbox ${/^chatbox \((.*?)\)/.exec(changelog)[1]}`, program("--version").trim());
});
