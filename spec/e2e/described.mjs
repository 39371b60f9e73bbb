// In: what a server answers or sends. Out: nothing, or an error that says how it differs from the descriptions the
// server gives of itself. Why: every test of the real server is so a test of its descriptions, too.

import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const BIN = process.env.CHATBOX_BIN ?? path.join(ROOT, "build/dev/chatbox");
const PREFIX = "/chatbox";

/** As `chatbox docs WHICH` prints it. */
export function description(which) {
  const env = { ...process.env, SCRIPTS_DIR: path.join(ROOT, "scripts"), JWT_SECRET: undefined };
  return JSON.parse(execFileSync(BIN, ["docs", which], { env, maxBuffer: 1 << 24 }));
}

let made;
function judges() {
  if (made) return made;
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  const openapi = description("openapi");
  ajv.addSchema({ $id: "http", components: openapi.components });
  const routes = Object.entries(openapi.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      pattern: new RegExp(`^${template.replace(/[.]/g, "\\.").replace(/\{\w+\}/g, "[^/]+")}$`),
      operation,
    })));
  const messages = new Map();
  for (const [name, { payload }] of Object.entries(description("asyncapi").components.messages)) {
    if (name.startsWith("server.")) messages.set(name.slice(7), ajv.compile(payload));
  }
  const compiled = new Map();
  const compile = (schema) => {
    const key = JSON.stringify(schema);
    if (!compiled.has(key)) compiled.set(key, ajv.compile(JSON.parse(key.replaceAll('"#/components', '"http#/components'))));
    return compiled.get(key);
  };
  return (made = { ajv, routes, messages, compile });
}

function must(judge, value, what) {
  if (!judge(value)) throw new Error(`${what} is not as described: ${JSON.stringify(judge.errors.slice(0, 3))} ${JSON.stringify(value).slice(0, 500)}`);
}

/** An answer of an endpoint that is described; where: below the prefix. */
export function checkAnswer(method, where, { status, headers, text }) {
  const { routes, compile } = judges();
  const below = where.split("?")[0];
  const route = routes.find((r) => r.method === method && r.pattern.test(below));
  if (!route) return;
  const what = `${method} ${PREFIX}${below}: ${status}`;
  const described = route.operation.responses[status];
  if (status === 413 || status === 414 || status === 431) return; // refused before it was anybody's
  if (!described) throw new Error(`${what} is not described`);
  const schema = described.content?.["application/json"]?.schema;
  const isJson = headers["content-type"]?.startsWith("application/json") && text !== "";
  if (schema && isJson) must(compile(schema), JSON.parse(text), what);
}

/** A message from the server. */
export function checkMessage(message) {
  const { messages } = judges();
  const judge = messages.get(message.type);
  if (!judge) throw new Error(`the server sent ${message.type}, which is not described`);
  must(judge, message, `the message ${message.type}`);
}
