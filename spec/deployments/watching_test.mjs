// What watches a server: Prometheus' own tools and a real Prometheus take the configuration, the rules and the metrics;
// every alert fires and is quiet where it should, and has its entry in the runbook; the dashboard asks for what there is.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { parse } from "yaml";
import { BIN, ROOT, serve, within } from "../e2e/support.mjs";
import { freePort, havePrometheus } from "./support.mjs";

const skip = havePrometheus();
const PROMETHEUS = path.join(ROOT, "deployments/prometheus");
const read = (file) => readFile(path.join(ROOT, file), "utf8");
const promtool = (args, input) => spawnSync("promtool", args, { encoding: "utf8", input });
const alerts = parse(await read("deployments/prometheus/rules/chatbox.yml")).groups.flatMap((g) => g.rules);
const known = new Set([...(await read("docs/metrics.md")).matchAll(/^\| `(chatbox_[a-z_]+)` \|/gm)].map((m) => m[1]));

/** Metrics that text names, without the endings of histograms. */
const named = (text) => new Set([...text.matchAll(/\bchatbox_[a-z_]+\b/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, "")));

describe("the rules", () => {
  test("and the configuration are what Prometheus takes", { skip }, () => {
    const { status, stdout, stderr } = promtool(["check", "config", path.join(PROMETHEUS, "prometheus.yml")]);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, new RegExp(`${alerts.length} rules found`));
  });

  test("raise each alert when they should and not when it is close", { skip }, () => {
    const { status, stdout, stderr } = promtool(["test", "rules", path.join(PROMETHEUS, "tests/chatbox.yml")]);
    assert.equal(status, 0, stdout + stderr);
  });

  test("have a test that fires and one that does not for each alert", async () => {
    const tests = parse(await read("deployments/prometheus/tests/chatbox.yml")).tests.flatMap((one) => one.alert_rule_test);
    const which = (fires) => tests.filter((one) => one.exp_alerts.length > 0 === fires).map((one) => one.alertname).sort();
    const all = alerts.map((rule) => rule.alert).sort();
    assert.ok(all.length >= 20);
    assert.deepEqual(which(true), all);
    assert.deepEqual(which(false), all);
  });

  test("and the dashboard name only metrics there are, and the dashboard all of them", async () => {
    const dashboard = JSON.parse(await read("deployments/grafana/chatbox.json"));
    const shown = named(JSON.stringify(dashboard.panels.map((p) => p.targets ?? [])));
    for (const name of named(alerts.map((rule) => rule.expr).join("\n"))) assert.ok(known.has(name), `no metric ${name} (rules)`);
    assert.deepEqual([...shown].sort(), [...known].sort());
  });

  test("ask for labels the server gives", { skip }, async (t) => {
    const server = await serve(t);
    const { text } = await server.get("/metrics/prometheus");
    for (const { alert, expr } of alerts) {
      for (const [, name, label, values] of expr.matchAll(/(chatbox_[a-z_]+)\{(\w+)=~?"([^"]+)"\}/g)) {
        if (name === "chatbox_store_operation_seconds_bucket") continue; // kinds appear with the first operation
        for (const value of values.split("|")) assert.ok(text.includes(`\n${name}{${label}="${value}"}`), `${alert}: ${name} ${value}`);
      }
    }
  });
});

test("whatever counts refusals stands at zero from the start, so that the first one raises an alert, too", async (t) => {
  const server = await serve(t);
  const { text } = await server.get("/metrics/prometheus");
  const sources = await Promise.all(["core/server", "core/net", "core/chat"].map(async (dir) => {
    const files = (await readdir(path.join(ROOT, dir))).filter((f) => f.endsWith(".c"));
    return (await Promise.all(files.map((f) => read(path.join(dir, f))))).join("\n");
  }));
  const labels = new Set([...sources.join("\n").matchAll(/"limiter=\\"(\w+)\\""/g)].map((m) => m[1]));
  assert.ok(labels.size >= 7);
  for (const label of labels) assert.match(text, new RegExp(`^chatbox_ratelimit_blocked_total\\{limiter="${label}"\\} \\d+$`, "m"));
  assert.match(text, /^chatbox_script_reloads_total\{outcome="failed"\} 0$/m);
});

test("the bounds in force stand beside what they bound", async (t) => {
  const server = await serve(t, { env: { MAX_CONNECTIONS: "777", STORE_QUEUE: "4321", SCRIPT_COROUTINES: "50", WORKERS: "3" } });
  const { text } = await server.get("/metrics/prometheus");
  for (const [name, value] of [["MAX_CONNECTIONS", 777], ["STORE_QUEUE", 4321], ["SCRIPT_COROUTINES", 150]]) assert.ok(text.includes(`chatbox_limit{setting="${name}"} ${value}\n`), name);
  const [, open] = text.match(/^chatbox_open_descriptors (\d+)$/m), [, most] = text.match(/^chatbox_limit\{setting="DESCRIPTORS"\} (\d+)$/m);
  assert.ok(Number(open) > 5 && Number(open) < Number(most));
  const [, started] = text.match(/^chatbox_start_time_seconds (\d+)$/m);
  assert.ok(Math.abs(Number(started) - Date.now() / 1000) < 600);
});

test("what a running server shows is clean to promtool, but for the two names it has always had", { skip }, async (t) => {
  const server = await serve(t);
  const { text } = await server.get("/metrics/prometheus");
  const { stdout, stderr } = promtool(["check", "metrics"], text);
  const complaints = (stdout + stderr).trim().split("\n").filter(Boolean).sort();
  const kept = ["chatbox_active_sessions_total", "chatbox_websocket_connections_total"];
  assert.deepEqual(complaints, kept.map((name) => `${name} non-counter metrics should not have "_total" suffix`));
});

describe("the runbook", () => {
  const page = read("docs/runbook.md");

  test("has a section for each alert and an alert for each section, in their order", async () => {
    const sections = [...(await page).matchAll(/^## (.*)$/gm)].map((m) => m[1]);
    assert.deepEqual(sections, alerts.map((rule) => rule.alert));
  });

  test("says how urgent it is as the rule does, what it means, and what to do", async () => {
    for (const section of (await page).split(/^## /m).slice(1)) {
      const { labels } = alerts.find((rule) => section.startsWith(`${rule.alert}\n`));
      assert.match(section, labels.severity === "page" ? /^\w+\n\nPage\. \w/ : /^\w+\n\nTicket\. \w/);
      assert.match(section, /^\* /m);
    }
  });

  test("names commands, settings, metrics and files there are", async () => {
    const text = await page;
    const help = spawnSync(BIN, ["--help"], { encoding: "utf8" }).stdout;
    const words = new Set([...help.matchAll(/^ {2}chatbox ([a-z-]+)/gm)].map((m) => m[1]));
    const settings = new Set([...(await read("docs/settings.md")).matchAll(/^\| `([A-Z0-9_]+)`/gm)].map((m) => m[1]));
    const used = [...text.matchAll(/`chatbox ([a-z-]+)[^`]*`/g)].map((m) => m[1]);
    assert.ok(used.length >= 10);
    for (const word of used) assert.ok(words.has(word), `there is no chatbox ${word}`);
    const codes = new Set(["TOO_MANY_REQUESTS", "DATABASE_ERROR"]); // what clients are told
    for (const [, name] of text.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`/g)) assert.ok(settings.has(name) || codes.has(name), `there is no setting ${name}`);
    for (const name of named(text)) assert.ok(known.has(name), `there is no metric ${name}`);
    for (const [, file] of text.matchAll(/`(deployments\/[\w./-]+)`/g)) await read(file);
    for (const [, file] of text.matchAll(/\]\(([\w-]+\.md)\)/g)) await read(path.join("docs", file));
  });
});

/** A Prometheus that watches server with the configuration as it is, but for its address and the length of its pauses. */
async function prometheus(t, server) {
  const dir = await mkdtemp(path.join(os.tmpdir(), "chatbox-prometheus-"));
  await cp(PROMETHEUS, dir, { recursive: true });
  const port = await freePort();
  const change = async (file, changes) => {
    let text = await readFile(path.join(dir, file), "utf8");
    for (const [from, to] of changes) {
      assert.match(text, from);
      text = text.replace(from, to);
    }
    await writeFile(path.join(dir, file), text);
  };
  const origin = new URL(server.origin).host;
  await change("prometheus.yml", [[/chatbox:8080\]/, `${origin}]`], [/scrape_interval: 15s/, "scrape_interval: 1s"], [/scrape_timeout: 10s/, "scrape_timeout: 1s"], [/evaluation_interval: 15s/, "evaluation_interval: 1s"]]);
  await change("rules/chatbox.yml", [[/for: \d+m/g, "for: 1s"], [/for: \d+s/g, "for: 1s"]]);
  const child = spawn("prometheus", [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`, `--web.listen-address=127.0.0.1:${port}`], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  const gone = new Promise((resolve) => child.on("close", resolve));
  t.after(async () => {
    child.kill("SIGKILL");
    await gone;
    await rm(dir, { recursive: true, force: true });
  });
  const api = async (where) => (await fetch(`http://127.0.0.1:${port}/api/v1/${where}`).catch(() => undefined))?.json();
  /** Until look() finds something; Prometheus has no events to wait for. */
  const until = (what, look) => within((async () => {
    for (let found; ; await pause(100)) if ((found = await look())) return found;
  })(), () => `${what}; Prometheus said ${said.slice(-2000)}`);
  const firing = async () => (await api("alerts"))?.data.alerts.filter((a) => a.state === "firing").map((a) => a.labels.alertname) ?? [];
  return { api, until, firing };
}

test("a real Prometheus scrapes a server, raises the alerts when its store and it itself go, and answers every panel", { skip }, async (t) => {
  const server = await serve(t);
  const watch = await prometheus(t, server);
  await watch.until("the first scrape", async () => (await watch.api("query?query=chatbox_store_ready==1"))?.data.result.length === 1);
  await watch.until("it to find nothing wrong", async () => (await watch.firing()).length === 0);

  const { panels } = JSON.parse(await read("deployments/grafana/chatbox.json"));
  for (const { expr } of panels.flatMap((p) => p.targets ?? [])) {
    const query = expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*");
    const answer = await watch.api(`query?query=${encodeURIComponent(query)}`);
    assert.equal(answer.status, "success", `${expr}: ${answer.error}`);
    if (!query.includes("rate(")) assert.ok(answer.data.result.length >= 1, `${expr} finds nothing`);
  }

  const database = path.join(server.dir, "chatbox.db");
  await rename(database, `${database}.away`);
  await watch.until("ChatboxStoreUnavailable", async () => (await watch.firing()).includes("ChatboxStoreUnavailable"));
  await rename(`${database}.away`, database);
  await watch.until("the store to be back", async () => !(await watch.firing()).includes("ChatboxStoreUnavailable"));

  await server.stop();
  await watch.until("ChatboxDown", async () => (await watch.firing()).includes("ChatboxDown"));
});
