// Secrets of a deployment: no placeholder starts a server, none gets past check-secrets, and a mounted file is as good as
// a variable.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { BIN, ROOT, mint, serve } from "./support.mjs";

const SECRET = "c0ffee-Quiet-Harbour-Lantern-7781-Meadow-Fox";
const KEY = "8Qm4Zt0cVb7nXk2LrJ5wHs9dPf3gTy6AeUi1oMzKvNc=";
const CHECK = path.join(ROOT, "deployments/check-secrets");

async function folder(t) {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-secrets-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const environment = (dir, env) => ({
  PATH: process.env.PATH, HOME: dir, JWT_SECRET: SECRET, STORE_URL: `sqlite:${path.join(dir, "chatbox.db")}`,
  SCRIPTS_DIR: path.join(ROOT, "scripts"), WEB_DIR: path.join(ROOT, "web"), SERVER_ADDRESS: "127.0.0.1", SERVER_PORT: "0",
  CHATBOX: BIN, ...env,
});

const run = (dir, args, env, input) =>
  spawnSync(BIN, args, { env: environment(dir, env), encoding: "utf8", timeout: 120000, input });
const checkSecrets = (dir, manifest) =>
  spawnSync(CHECK, ["-"], { env: environment(dir), encoding: "utf8", timeout: 120000, input: manifest });

const PLACEHOLDERS = ["smtp-password", "your-api-key", "mail-password", "change me", "changeme", "Change_Me-now", "CHANGE-ME",
  "REPLACE_WITH_A_SECRET", "a placeholder", "example", "local-development-secret-change-in-production", "minioadmin",
  "CHANGE-ME-32-BYTE-KEY-FOR-AES256", "<the secret>"];
const SECRETS = ["JWT_SECRET", "ENCRYPTION_KEY", "ENCRYPTION_PREVIOUS_KEYS", "SMTP_PASS", "SMS_AUTH_TOKEN", "WEBHOOK_SECRET",
  "LLM_PROVIDER_1_API_KEY"];
/** What a setting has for a value that holds this secret. */
const valueOf = (name, secret) => (name === "STORE_URL" ? `mongodb://chat:${encodeURIComponent(secret)}@127.0.0.1:1/chat` : secret);

describe("a placeholder", () => {
  test("starts no server, whichever secret it stands in for, and one line names the setting and the remedy", async (t) => {
    const dir = await folder(t);
    for (const name of [...SECRETS, "STORE_URL"]) {
      for (const placeholder of name === "SMTP_PASS" ? PLACEHOLDERS : ["your-kJ8x-secret", "kjx-password"]) {
        const { status, stderr } = run(dir, ["run"], { [name]: valueOf(name, placeholder) });
        assert.equal(status, 2, `${name}=${placeholder}`);
        const lines = stderr.trimEnd().split("\n");
        assert.equal(lines.length, 1, stderr);
        assert.match(lines[0], new RegExp(`^chatbox: ${name}: .*placeholder.*${name}_FILE`));
        assert.ok(!/kJ8x|kjx|32-BYTE/.test(lines[0]), lines[0]);
      }
    }
  });

  test("does not get past check-secrets, in stringData or in base64, with its file and line", async (t) => {
    const dir = await folder(t);
    for (const name of [...SECRETS, "STORE_URL"]) {
      for (const placeholder of PLACEHOLDERS) {
        const value = valueOf(name, placeholder);
        const plain = checkSecrets(dir, `kind: Secret\nstringData:\n  ${name}: ${JSON.stringify(value)}\n`);
        assert.equal(plain.status, 1, `${name}=${value}`);
        assert.match(plain.stdout, new RegExp(`^stdin:3: ${name}: `));
      }
      const coded = checkSecrets(dir, `kind: Secret\ndata:\n  ${name}: ${btoa(valueOf(name, "change-me"))}\n`);
      assert.match(coded.stdout, new RegExp(`^stdin:3: ${name}: .*placeholder`));
      assert.equal(coded.status, 1);
    }
  });

  test("of the manifests as they are is found, each of them, and real ones in their place are right", async (t) => {
    const dir = await folder(t);
    const template = await readFile(path.join(ROOT, "deployments/kubernetes/base/secret.yaml"), "utf8");
    const { status, stdout } = checkSecrets(dir, template);
    assert.equal(status, 1);
    const names = [...template.matchAll(/^ {2}([A-Z0-9_]+): ([^"].*)$/gm)].map((m) => m[1]);
    assert.ok(names.length >= 7);
    for (const name of names) assert.match(stdout, new RegExp(`: ${name}: `), name);
    const real = template.replace(/^( {2}JWT_SECRET: ).*$/m, `$1${SECRET}`).replace(/^( {2}ENCRYPTION_KEY: ).*$/m, `$1${KEY}`)
      .replace("REPLACE_WITH_THE_PASSWORD", "5fR9dkQ2")
      .replace(/^ {2}(SMTP_PASS|SMS_AUTH_TOKEN|WEBHOOK_SECRET|LLM_PROVIDER_1_API_KEY): .*$/gm, "  $1: k7Jw2mXq9");
    const good = checkSecrets(dir, real);
    assert.equal(good.status, 0, good.stdout);
    assert.equal(good.stdout, "");
  });
});

describe("check-secrets", () => {
  test("finds a secret that stands in the open, wherever in the manifest it does", async (t) => {
    const dir = await folder(t);
    const open = [
      `kind: ConfigMap\ndata:\n  JWT_SECRET: ${SECRET}\n`,
      `kind: ConfigMap\ndata:\n  STORE_URL: mongodb://chat:5fR9dkQ2@db/chat\n`,
      `kind: ConfigMap\ndata:\n  chatbox.conf: |\n    SERVER_PORT=8080\n    JWT_SECRET=${SECRET}\n`,
      `kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n        - env:\n            - {name: ENCRYPTION_KEY, value: "${KEY}"}\n`,
      `kind: List\nitems:\n  - kind: StatefulSet\n    spec: {containers: [{env: [{name: SMTP_PASS, value: k7Jw2mXq9}]}]}\n`,
      JSON.stringify({ kind: "ConfigMap", data: { WEBHOOK_SECRET: "k7Jw2mXq9" } }),
      `services:\n  chatbox:\n    environment:\n      JWT_SECRET: ${SECRET}\n`,
    ];
    for (const manifest of open) {
      const { status, stdout } = checkSecrets(dir, `kind: Service\nspec: {}\n---\n${manifest}`);
      assert.equal(status, 1, manifest);
      assert.match(stdout, /: [A-Z_]+: stands in the open in a /, manifest);
      assert.ok(!/5fR9dkQ2|Harbour|8Qm4|k7Jw/.test(stdout), stdout); // no secret is shown
    }
  });

  test("leaves alone what only refers to a secret, and what is none", async (t) => {
    const dir = await folder(t);
    const fine = [
      "", "# nothing\n", "kind: ConfigMap\ndata:\n  STORE_URL: sqlite:/var/lib/chatbox/chatbox.db\n  CHATBOX_BOT: example\n",
      `services:\n  chatbox:\n    environment:\n      JWT_SECRET: \${JWT_SECRET:?openssl rand -base64 32}\n`,
      "kind: Deployment\nspec: {env: [{name: JWT_SECRET, valueFrom: {secretKeyRef: {name: chatbox, key: JWT_SECRET}}}]}\n",
      "kind: Deployment\nspec: {env: [{name: JWT_SECRET_FILE, value: /run/secrets/jwt}]}\n",
      "kind: SealedSecret\nspec: {encryptedData: {JWT_SECRET: AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq}}\n",
      "kind: ExternalSecret\nspec: {data: [{secretKey: JWT_SECRET, remoteRef: {key: chatbox/JWT_SECRET}}]}\n",
    ];
    for (const manifest of fine) {
      const { status, stdout, stderr } = checkSecrets(dir, manifest);
      assert.equal(status, 0, manifest + stdout + stderr);
    }
  });

  test("asks strength of JWT_SECRET and ENCRYPTION_KEY only", async (t) => {
    const dir = await folder(t);
    const weak = { JWT_SECRET: ["short", "0123456789-password-0123456789-abc"],
      ENCRYPTION_KEY: ["short", "0123456789abcdef0123456789abcdef", "abababababababababababababababab"], SMTP_PASS: [] };
    for (const [name, values] of Object.entries(weak)) {
      for (const value of values) {
        assert.equal(checkSecrets(dir, `kind: Secret\nstringData: {${name}: "${value}"}\n`).status, 1, `${name}=${value}`);
      }
    }
    assert.equal(checkSecrets(dir, "kind: Secret\nstringData: {SMTP_PASS: x, LLM_PROVIDER_1_API_KEY: k}\n").status, 0);
    assert.equal(checkSecrets(dir, `kind: Secret\nstringData: {SMTP_PASS: "line\\n"}\n`).status, 1); // the mail server would get it
  });

  test("says what it cannot read, ends on what refers to itself, and fails", async (t) => {
    const dir = await folder(t);
    const laughs = Array.from({ length: 40 }, (_, i) => `a${i}: &a${i} [${i ? `*a${i - 1}, *a${i - 1}` : 1}]`).join("\n");
    for (const manifest of ["a: b: c", "kind: Secret\n\tdata: x", "a: &a [*a]", laughs, "[".repeat(500), "kind: Secret\ndata: {JWT_SECRET: '%%'}"]) {
      const { status, stdout } = checkSecrets(dir, manifest);
      assert.equal(status, 1, manifest.slice(0, 60));
      assert.match(stdout, /^stdin:\d+: /);
    }
    assert.equal(run(dir, ["check-secrets"]).status, 2);
    const missing = run(dir, ["check-secrets", path.join(dir, "none.yaml")]);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /none\.yaml: No such file/);
  });
});

describe("a secret in a file", () => {
  test("serves like one in a variable, a newline at its end or not", async (t) => {
    const dir = await folder(t);
    const jwt = path.join(dir, "jwt"), key = path.join(dir, "key");
    await writeFile(jwt, `${SECRET}\n`);
    await writeFile(key, KEY);
    await chmod(jwt, 0o400);
    const env = { JWT_SECRET: "", JWT_SECRET_FILE: jwt, ENCRYPTION_KEY_FILE: key, SMTP_PASS: "k7Jw2mXq9" };
    const server = await serve(t, { env });
    const headers = { authorization: `Bearer ${mint(SECRET, { user_id: "ann", name: "Ann" })}` };
    const answer = await fetch(`${server.origin}/chatbox/sessions`, { headers });
    assert.equal(answer.status, 200);
    assert.ok(server.log.all.some((l) => l.level === "warn" && l.setting === "SMTP_PASS" && /nothing uses/.test(l.msg)));
  });

  test("that is missing, empty or a pipe stops the start with its name", async (t) => {
    const dir = await folder(t);
    await writeFile(path.join(dir, "empty"), "\n");
    spawnSync("mkfifo", [path.join(dir, "pipe")]);
    for (const [name, words] of [["none", "no such file"], ["empty", "is empty"], ["pipe", "not a regular file"], ["", "not a regular file"]]) {
      const { status, stderr } = run(dir, ["run"], { JWT_SECRET: "", JWT_SECRET_FILE: path.join(dir, name) });
      assert.equal(status, 2, name);
      assert.match(stderr, new RegExp(`^chatbox: JWT_SECRET_FILE: ${dir}.*${words}`));
    }
    await writeFile(path.join(dir, "jwt"), SECRET);
    const both = run(dir, ["config"], { JWT_SECRET_FILE: path.join(dir, "jwt") });
    assert.equal(both.status, 2);
    assert.match(both.stderr, /JWT_SECRET and JWT_SECRET_FILE are both set/);
    const shown = run(dir, ["config"], { JWT_SECRET: "", JWT_SECRET_FILE: path.join(dir, "jwt") });
    assert.match(shown.stdout, /# from the file of its own\nJWT_SECRET=\(hidden\)\n/);
  });
});
