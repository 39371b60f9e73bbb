// docs/secrets.md: what it says to type does what it says, and the manifests name exactly the secrets the server has.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { BIN, ROOT } from "../e2e/support.mjs";
import { haveKubectl } from "./support.mjs";

const read = (file) => readFile(path.join(ROOT, file), "utf8");

test("the manifests name every secret of the settings table, and none that is no setting", async () => {
  const settings = [...(await read("docs/settings.md")).matchAll(/^\| `([A-Z0-9_]+)` \| text, \*secret\*/gm)].map((m) => m[1]);
  const template = [...(await read("deployments/kubernetes/base/secret.yaml")).matchAll(/^ {2}([A-Z0-9_]+): /gm)].map((m) => m[1]);
  assert.ok(settings.length >= 8);
  assert.deepEqual(template.sort(), settings.sort());
});

test("the commands of docs/secrets.md lead to manifests without a placeholder", { skip: haveKubectl() }, async (t) => {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-docs-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await cp(path.join(ROOT, "deployments"), path.join(dir, "deployments"), { recursive: true });
  await symlink(BIN, path.join(dir, "chatbox"));
  const blocks = [...(await read("docs/secrets.md")).matchAll(/^```sh\n(.*?)^```$/gms)].map((m) => m[1]);
  assert.ok(blocks.length >= 4);
  const env = { PATH: `${dir}:${process.env.PATH}`, HOME: dir };
  const { status, stdout, stderr } = spawnSync("bash", ["-euo", "pipefail"], { cwd: dir, env, encoding: "utf8", input: blocks.join("\n"), timeout: 120000 });
  // one draw in some thousand contains a word that a JWT_SECRET must not; the page says to draw again
  if (/which makes it easy to guess/.test(stdout + stderr)) return t.skip("the random secret happened to contain a word");
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^2\n[\w-]+\.[\w-]+\.[\w-]+\n$/);
  const before = spawnSync("bash", ["-c", "kubectl kustomize deployments/kubernetes/overlays/single | deployments/check-secrets -"], { cwd: dir, env, encoding: "utf8" });
  assert.equal(before.status, 1, "the placeholders of the template were not found");
});
