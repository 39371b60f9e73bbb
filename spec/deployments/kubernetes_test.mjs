// The Kubernetes manifests: what kubectl makes of each overlay is what the API takes, down to the spelling of every key, and
// agrees with the server's settings, ports, paths and times.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import ts from "typescript";
import { parse, parseAllDocuments } from "yaml";
import { BIN, Client, ROOT, serve, somebody } from "../e2e/support.mjs";
import { haveKubectl, havePrometheus } from "./support.mjs";

const skip = haveKubectl();
const OVERLAYS = ["single", "mongodb"];
const SECRET = "c0ffee-Quiet-Harbour-Lantern-7781-Meadow-Fox";

function render(overlay) {
  const dir = path.join(ROOT, "deployments/kubernetes/overlays", overlay);
  const { status, stdout, stderr } = spawnSync("kubectl", ["kustomize", dir], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return parseAllDocuments(stdout).map((d) => d.toJS());
}
const rendered = skip ? {} : Object.fromEntries(OVERLAYS.map((o) => [o, render(o)]));
const find = (overlay, kind, name) => rendered[overlay].find((o) => o.kind === kind && (!name || o.metadata.name === name));
const container = (overlay) => find(overlay, "Deployment").spec.template.spec.containers[0];
const seconds = (text) => Number(/^(\d+)s$/.exec(text)[1]);

/** Where the type of an object is declared. */
function moduleOf({ apiVersion, kind }) {
  const at = apiVersion.startsWith("monitoring.coreos.com/") ? "@kubernetes-models/prometheus-operator" : "kubernetes-models";
  return `${at}/${apiVersion}/${kind}`;
}

/**
 * What the API's schemas say against these objects. Each is written as a literal of its declared type: TypeScript then
 * finds what is missing, what is of the wrong type, and, other than a validator of JSON schemas, every key nobody knows.
 */
async function complaints(objects, t) {
  const dir = await mkdtemp(path.join(ROOT, "build/kubernetes-")); // below node_modules of the tree
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, "manifests.ts");
  const lines = objects.flatMap((o, i) => [
    `import { I${o.kind} as I${i} } from "${moduleOf(o)}";`, `export const o${i}: I${i} = ${JSON.stringify(o)};`]);
  await writeFile(file, lines.join("\n"));
  const options = { noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2020, types: [],
    moduleResolution: ts.ModuleResolutionKind.Node10, module: ts.ModuleKind.CommonJS };
  const program = ts.createProgram([file], options);
  return ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, " "));
}

describe("the manifests", { skip }, () => {
  for (const overlay of OVERLAYS) {
    test(`of ${overlay} are what the API takes, with no key it does not know`, async (t) => {
      assert.deepEqual(await complaints(rendered[overlay], t), []);
    });

    test(`of ${overlay} ask for nothing that a restricted namespace refuses`, () => {
      const pod = find(overlay, "Deployment").spec.template.spec;
      assert.equal(find(overlay, "Namespace").metadata.labels["pod-security.kubernetes.io/enforce"], "restricted");
      assert.equal(pod.securityContext.runAsNonRoot, true);
      assert.equal(pod.securityContext.seccompProfile.type, "RuntimeDefault");
      assert.equal(pod.automountServiceAccountToken, false);
      for (const c of pod.containers) {
        assert.equal(c.securityContext.allowPrivilegeEscalation, false);
        assert.equal(c.securityContext.readOnlyRootFilesystem, true);
        assert.deepEqual(c.securityContext.capabilities, { drop: ["ALL"] });
        assert.ok(c.resources.limits.memory && c.resources.requests.cpu);
      }
    });

    test(`of ${overlay} give a stop the time the server takes for it`, () => {
      const pod = find(overlay, "Deployment").spec.template.spec;
      const pause = Number(pod.containers[0].lifecycle.preStop.exec.command[1]);
      const stop = seconds(find(overlay, "ConfigMap", "chatbox").data.SHUTDOWN_TIMEOUT);
      assert.ok(pod.terminationGracePeriodSeconds >= pause + stop + 5);
    });

    test(`of ${overlay} have the memory that their settings may take`, async () => {
      const page = await readFile(path.join(ROOT, "docs/settings.md"), "utf8");
      const { data } = find(overlay, "ConfigMap", "chatbox");
      const unit = { "": 1, B: 1, KiB: 2 ** 10, Ki: 2 ** 10, MiB: 2 ** 20, Mi: 2 ** 20, GiB: 2 ** 30, Gi: 2 ** 30 };
      const bytes = (text) => Number(/^\d+/.exec(text)[0]) * unit[/[A-Za-z]*$/.exec(text)[0]];
      const setting = (name) => bytes(data[name] ?? new RegExp(`^\\| \`${name}\` \\| \\w+ \\| \`([^\`]+)\``, "m").exec(page)[1]);
      const store = 2 ** 20 * Number(/`STORE_QUEUE` operations, (\d+) MiB/.exec(await readFile(path.join(ROOT, "docs/limits.md"), "utf8"))[1]);
      const most = setting("WORKERS") * 3 * (setting("SCRIPT_MEMORY_LIMIT") + setting("SCRIPT_ALLOCATION_LIMIT")) + store +
        setting("MAX_CONNECTIONS") * 4096 + setting("SHARED_BYTES") + setting("LOG_BUFFER");
      const { limits, requests } = container(overlay).resources;
      assert.ok(bytes(limits.memory) >= most * 1.2, `${limits.memory} for ${Math.ceil(most / 2 ** 20)} MiB and what comes on top`);
      assert.ok(bytes(requests.memory) <= bytes(limits.memory) && requests.cpu);
    });

    test(`of ${overlay} let in the Ingress controller and Prometheus, and out only what the server needs`, () => {
      const { podSelector, policyTypes, ingress, egress } = find(overlay, "NetworkPolicy").spec;
      for (const [k, v] of Object.entries(podSelector.matchLabels)) assert.equal(find(overlay, "Deployment").spec.template.metadata.labels[k], v);
      assert.deepEqual(policyTypes, ["Ingress", "Egress"]); // what no rule names is refused
      const from = ingress.flatMap((rule) => rule.from.map((f) => f.namespaceSelector.matchLabels["kubernetes.io/metadata.name"]));
      assert.deepEqual(from.sort(), ["ingress-nginx", "monitoring"]);
      assert.deepEqual(ingress.flatMap((rule) => rule.ports), [{ port: "http", protocol: "TCP" }]);
      const out = egress.flatMap((rule) => rule.ports.map((p) => `${p.protocol} ${p.port}`));
      assert.deepEqual(out, ["UDP 53", "TCP 53", ...(overlay === "mongodb" ? ["TCP 27017"] : [])]);
      if (overlay === "mongodb") assert.equal(new URL(find(overlay, "Secret").stringData.STORE_URL).port, "27017");
    });

    test(`of ${overlay} let a WebSocket be silent for longer than it is between two pings, and find its pod again`, async () => {
      const { annotations } = find(overlay, "Ingress").metadata;
      const of = (name) => annotations[`nginx.ingress.kubernetes.io/${name}`];
      const page = await readFile(path.join(ROOT, "docs/settings.md"), "utf8");
      const ping = seconds(/^\| `WS_PING_PERIOD` \| duration \| `(\d+s)`/m.exec(page)[1]);
      for (const name of ["proxy-read-timeout", "proxy-send-timeout"]) assert.ok(Number(of(name)) > 2 * ping, name);
      assert.equal(of("affinity"), "cookie");
      assert.equal(of("proxy-body-size"), "1m");
      assert.match(page, /^\| `MAX_BODY_SIZE` \| size \| `(1MiB|[1-9]\d{0,2}KiB)`/m); // no more than the Ingress lets through
    });

    test(`of ${overlay} hold settings the server takes, and no secret in the open`, async (t) => {
      const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-kubernetes-"));
      t.after(() => rm(dir, { recursive: true, force: true }));
      const env = { ...find(overlay, "ConfigMap", "chatbox").data };
      for (const { name, value } of container(overlay).env ?? []) env[name] = value;
      await writeFile(path.join(dir, "settings"), Object.entries(env).map(([k, v]) => `${k}=${v}\n`).join(""));
      const run = spawnSync(BIN, ["config", "--config", path.join(dir, "settings")], { encoding: "utf8", env: {} });
      assert.equal(run.status, 0, run.stderr); // an unknown name would be refused
      assert.equal(Number(env.WORKERS), Number(container(overlay).resources.limits.cpu));
      const check = spawnSync(BIN, ["check-secrets", "-"], { encoding: "utf8", input: JSON.stringify({ kind: "List", items: rendered[overlay] }) });
      assert.equal(check.status, 1); // the placeholders
      assert.doesNotMatch(check.stdout, /in the open/);
    });

    test(`of ${overlay} give the Prometheus operator the rules that are tested, and a job of the name they ask for`, async () => {
      const rules = parse(await readFile(path.join(ROOT, "deployments/prometheus/rules/chatbox.yml"), "utf8"));
      assert.deepEqual(find(overlay, "PrometheusRule").spec.groups, rules.groups);
      assert.equal(find(overlay, "Service").metadata.name, "chatbox"); // a ServiceMonitor's job is called like the Service
      assert.equal(find(overlay, "ServiceMonitor").spec.jobLabel, undefined);
      const service = find(overlay, "Service");
      assert.ok(service.spec.ports.some((p) => p.name === find(overlay, "ServiceMonitor").spec.endpoints[0].port));
      for (const [k, v] of Object.entries(find(overlay, "ServiceMonitor").spec.selector.matchLabels)) assert.equal(service.metadata.labels[k], v);
    });

    test(`of ${overlay} ask the endpoints there are, on the port there is`, async (t) => {
      const server = await serve(t);
      const c = container(overlay);
      const port = c.ports.find((p) => p.name === "http").containerPort;
      assert.equal(port, 8080); // SERVER_PORT as it is when nobody sets it
      assert.equal(find(overlay, "Service").spec.ports[0].targetPort, "http");
      for (const probe of [c.startupProbe, c.livenessProbe, c.readinessProbe]) {
        assert.equal(probe.httpGet.port, "http");
        assert.equal((await fetch(server.origin + probe.httpGet.path)).status, 200);
      }
      const { endpoints } = find(overlay, "ServiceMonitor").spec;
      const metrics = await fetch(server.origin + endpoints[0].path);
      const text = await metrics.text();
      for (const m of find(overlay, "HorizontalPodAutoscaler")?.spec.metrics ?? []) assert.ok(text.includes(`\n${m.pods.metric.name} `));
      assert.ok(c.livenessProbe.httpGet.path !== c.readinessProbe.httpGet.path); // a database that is away restarts nobody
      assert.ok(find(overlay, "Ingress").spec.rules[0].http.paths[0].path === "/chatbox");
    });
  }

  test("with a misspelt key, a wrong type or a missing field would be found out", async (t) => {
    const change = [
      (d) => (d.spec.replcas = 3), (d) => (d.spec.template.spec.containers[0].livenessProbe.periodSecond = 3),
      (d) => (d.spec.template.spec.containers[0].env = [{ name: 7 }]), (d) => delete d.spec.selector,
    ];
    for (const fault of change) {
      const deployment = structuredClone(find("single", "Deployment"));
      fault(deployment);
      assert.notDeepEqual(await complaints([deployment], t), [], fault.toString());
    }
  });

  test("of mongodb grow before a pod is full, on a metric that the cluster is given", async (t) => {
    const { maxReplicas, minReplicas, metrics: [{ pods }], scaleTargetRef } = find("mongodb", "HorizontalPodAutoscaler").spec;
    const page = await readFile(path.join(ROOT, "docs/settings.md"), "utf8");
    const most = Number(find("mongodb", "ConfigMap", "chatbox").data.MAX_CONNECTIONS ?? /^\| `MAX_CONNECTIONS` \| number \| `(\d+)`/m.exec(page)[1]);
    assert.equal(Number(pods.target.averageValue), 0.7 * most);
    assert.ok(minReplicas >= 2 && maxReplicas > minReplicas);
    assert.equal(scaleTargetRef.name, find("mongodb", "Deployment").metadata.name);
    const [rule] = parse(await readFile(path.join(ROOT, "deployments/kubernetes/prometheus-adapter.yaml"), "utf8")).rules.custom;
    assert.equal(rule.seriesQuery.split("{")[0], pods.metric.name);
    const query = rule.metricsQuery.replace("<<.Series>>", pods.metric.name).replace("<<.LabelMatchers>>", 'namespace="chatbox"').replace("<<.GroupBy>>", "pod");
    const rules = JSON.stringify({ groups: [{ name: "a", rules: [{ record: "a", expr: query }] }, { name: "b", rules: [{ record: "b", expr: rule.seriesQuery }] }] });
    assert.doesNotMatch(rule.metricsQuery, /rate\(/); // a gauge, whatever its name ends in
    if (havePrometheus()) return;
    const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-kubernetes-"));
    t.after(() => rm(dir, { recursive: true, force: true }));
    await writeFile(path.join(dir, "rules.json"), rules);
    const { status, stderr } = spawnSync("promtool", ["check", "rules", path.join(dir, "rules.json")], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
  });

  test("of single keep one writer at the database, those of mongodb never take all pods at once", () => {
    const single = find("single", "Deployment").spec, several = find("mongodb", "Deployment").spec;
    assert.equal(single.replicas, 1);
    assert.equal(single.strategy.type, "Recreate");
    assert.equal(single.template.spec.volumes.find((v) => v.name === "data").persistentVolumeClaim.claimName, find("single", "PersistentVolumeClaim").metadata.name);
    assert.equal(several.replicas, undefined, "the autoscaler owns it");
    assert.equal(several.strategy.rollingUpdate.maxUnavailable, 0);
    assert.deepEqual(find("mongodb", "PodDisruptionBudget").spec.selector.matchLabels, several.selector.matchLabels);
    assert.ok(!find("single", "Secret").stringData.STORE_URL);
  });
});

test("the bot of the ConfigMap answers, and the swap of the mounted folder brings the next one without a restart", async (t) => {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-kubernetes-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const bot = await readFile(path.join(ROOT, "deployments/kubernetes/base/bots/hello.lua"), "utf8");
  const scripts = path.join(dir, "scripts"), bots = path.join(scripts, "bots");
  await cp(path.join(ROOT, "scripts"), scripts, { recursive: true });
  await rm(bots, { recursive: true });
  /** As the kubelet does it: a new folder, then one rename of the link all files go through. */
  const mount = async (version, text) => {
    await mkdir(path.join(bots, `..${version}`), { recursive: true });
    await writeFile(path.join(bots, `..${version}`, "hello.lua"), text);
    await symlink(`..${version}`, path.join(bots, "..data_tmp"));
    await rename(path.join(bots, "..data_tmp"), path.join(bots, "..data"));
  };
  await mount("2026_01", bot);
  await symlink("..data/hello.lua", path.join(bots, "hello.lua"));
  const server = await serve(t, { env: { SCRIPTS_DIR: scripts, SCRIPT_WATCH: "true", CHATBOX_BOT: "hello" } });
  const client = await Client.connect(server, somebody());
  await client.talksTo("salut", "You said: salut");
  await mount("2026_02", bot.replace("You said: ", "Once more: "));
  await server.log.next((l) => l.msg === "the order is carried out", "the reload");
  await client.talksTo("salut", "Once more: salut");
});
