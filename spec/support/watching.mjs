// In: docs/metrics.md, which is made from the table of metrics, and the rules of deployments/prometheus. Out: the dashboard
// for Grafana with a panel for each metric, and the rules as a resource of the Prometheus operator; with --check nothing is
// written and a file that differs is a failure. Why: a dashboard drawn by hand shows metrics that are gone and lacks new ones.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const read = (file) => readFileSync(path.join(root, file), "utf8");

/** { name, kind, help } in the order of the table. */
const metrics = [...read("docs/metrics.md").matchAll(/^\| `([a-z_]+)` \| (\w+) \| (.*) \|$/gm)].map(([, name, kind, help]) => ({ name, kind, help }));

/** Rows from top to bottom; the first that fits takes the metric. */
const ROWS = [
  ["Server", /start_time|worker|descriptors|resident|log_dropped|limit$/],
  ["Store", /store|mongodb|encryption|damaged/],
  ["Scripts", /script/],
  ["People", /./],
];

/** Labels a panel is split by. */
const BY = {
  chatbox_ratelimit_blocked_total: "limiter", chatbox_http_request_duration_seconds: "endpoint",
  chatbox_mongodb_operation_seconds: "operation", chatbox_store_operation_seconds: "kind", chatbox_script_errors_total: "version",
  chatbox_scripts_info: "version, role", chatbox_script_reloads_total: "outcome", chatbox_script_kills_total: "kind", chatbox_limit: "setting",
};
/** The bound drawn beside a number: what chatbox_limit calls it. */
const BOUND = {
  chatbox_websocket_connections_total: "MAX_CONNECTIONS", chatbox_active_sessions_total: "MAX_SESSIONS", chatbox_store_queue: "STORE_QUEUE",
  chatbox_script_coroutines: "SCRIPT_COROUTINES", chatbox_open_descriptors: "DESCRIPTORS",
};
for (const name of [...Object.keys(BY), ...Object.keys(BOUND)]) {
  if (!metrics.some((m) => m.name === name)) throw new Error(`${name} is not in the table of metrics: take it out of spec/support/watching.mjs`);
}

const SELECT = '{job="chatbox",instance=~"$instance"}';
const legend = (by) => ["instance", ...by].map((label) => `{{${label}}}`).join(" ");

/** What a panel asks for: { expr, legendFormat }. */
function targets({ name, kind }) {
  const by = BY[name]?.split(", ") ?? [];
  const labels = ["instance", ...by];
  if (kind === "histogram") {
    return [0.5, 0.99].map((q) => ({
      expr: `histogram_quantile(${q}, sum by (${[...labels, "le"].join(", ")}) (rate(${name}_bucket${SELECT}[$__rate_interval])))`,
      legendFormat: `${legend(by)} ${q * 100} %`,
    }));
  }
  if (kind === "counter") return [{ expr: `sum by (${labels.join(", ")}) (rate(${name}${SELECT}[$__rate_interval]))`, legendFormat: legend(by) }];
  if (name.endsWith("_start_time_seconds")) return [{ expr: `time() - ${name}${SELECT}`, legendFormat: legend(by) }];
  const bound = BOUND[name] && { expr: `chatbox_limit{job="chatbox",instance=~"$instance",setting="${BOUND[name]}"}`, legendFormat: `{{instance}} ${BOUND[name]}` };
  return [{ expr: `${name}${SELECT}`, legendFormat: legend(by) }, ...(bound ? [bound] : [])];
}

function unit({ name, kind }) {
  if (kind === "counter") return "cps";
  return name.endsWith("_seconds") ? "s" : name.endsWith("_bytes") ? "bytes" : "short";
}

const datasource = { type: "prometheus", uid: "$datasource" };

function panel(metric, id, gridPos) {
  return {
    id, gridPos, type: "timeseries", title: metric.help, description: metric.name, datasource,
    fieldConfig: { defaults: { unit: unit(metric), min: 0, custom: { fillOpacity: 10, showPoints: "never" } }, overrides: [] },
    options: { legend: { displayMode: "list", placement: "bottom", showLegend: true }, tooltip: { mode: "multi", sort: "desc" } },
    targets: targets(metric).map((target, i) => ({ refId: "AB"[i], datasource, range: true, ...target })),
  };
}

const WIDTH = 8, HEIGHT = 7, COLUMNS = 3;

function panels() {
  const left = new Set(metrics), all = [];
  let y = 0;
  for (const [title, pattern] of ROWS) {
    const mine = [...left].filter((m) => pattern.test(m.name));
    mine.forEach((m) => left.delete(m));
    all.push({ id: all.length + 1, type: "row", title, collapsed: false, gridPos: { x: 0, y: y++, w: 24, h: 1 }, panels: [] });
    mine.forEach((m, i) => all.push(panel(m, all.length + 1, { x: (i % COLUMNS) * WIDTH, y: y + Math.floor(i / COLUMNS) * HEIGHT, w: WIDTH, h: HEIGHT })));
    y += Math.ceil(mine.length / COLUMNS) * HEIGHT;
  }
  return all;
}

const variable = (name, type, label, more) => ({ name, type, label, hide: 0, refresh: 1, ...more });
const dashboard = {
  uid: "chatbox", title: "Chatbox", description: "Every metric of docs/metrics.md; made by ./dev docs.", tags: ["chatbox"], editable: true,
  schemaVersion: 38, version: 1, refresh: "30s", time: { from: "now-3h", to: "now" }, timezone: "browser",
  templating: { list: [
    variable("datasource", "datasource", "Data source", { query: "prometheus" }),
    variable("instance", "query", "Server", { datasource, query: { query: 'label_values(up{job="chatbox"}, instance)', refId: "instance" }, multi: true, includeAll: true, allValue: ".*" }),
  ] },
  annotations: { list: [{
    name: "Alerts", enable: true, iconColor: "red", datasource, expr: 'ALERTS{alertname=~"Chatbox.*",alertstate="firing"}', titleFormat: "{{alertname}}", textFormat: "{{instance}}",
  }] },
  panels: panels(),
};

const rule = {
  apiVersion: "monitoring.coreos.com/v1", kind: "PrometheusRule", metadata: { name: "chatbox" },
  spec: { groups: parse(read("deployments/prometheus/rules/chatbox.yml")).groups },
};
const files = {
  "deployments/grafana/chatbox.json": `${JSON.stringify(dashboard, null, 2)}\n`,
  "deployments/kubernetes/base/prometheusrule.yaml":
    `# Made from deployments/prometheus/rules/chatbox.yml by ./dev docs. For the Prometheus operator; without it, leave this file and\n# servicemonitor.yaml out of the kustomization.\n${stringify(rule, { lineWidth: 0 })}`,
};
for (const [file, text] of Object.entries(files)) {
  if (process.argv[2] === "--check") {
    let there = "";
    try {
      there = read(file);
    } catch {
      // not there: out of date as well
    }
    if (there !== text) {
      console.log(`${file} is out of date: ./dev docs`);
      process.exitCode = 1;
    }
  } else {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), text);
  }
}
