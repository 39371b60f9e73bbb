// What the server says of itself for machines: OpenAPI for HTTP, AsyncAPI for the socket (scripts/api/described.lua).

import { Parser } from "@asyncapi/parser";
import spectralCore from "@stoplight/spectral-core";
import spectralRulesets from "@stoplight/spectral-rulesets";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { checkAnswer, checkMessage, description } from "./described.mjs";
import { ROOT, Server, somebody } from "./support.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server?.remove());

/** Who runs the server is not known to the server; a license of OpenAPI 3.1 may have an identifier in place of a URL. */
const NOT_OURS = { "contact-properties": "off", "license-url": "off" };

async function findings(document) {
  const spectral = new spectralCore.Spectral();
  spectral.setRuleset({ extends: [[spectralRulesets.oas, "all"]], rules: NOT_OURS });
  return (await spectral.run(document)).map((f) => `${f.code} ${f.path.join(".")}: ${f.message}`);
}

describe("the description of HTTP", () => {
  test("is what a linter accepts, and it finds what is wrong", async () => {
    const { json } = await server.get("/openapi.json");
    assert.equal(json.openapi, "3.1.0");
    assert.deepEqual(await findings(json), []);
    const broken = structuredClone(json);
    broken.paths["/sessions/{id}"].get.parameters = [];
    delete broken.paths["/healthz"].get.responses;
    assert.ok((await findings(broken)).length >= 2);
  });

  test("names every endpoint, and each can be asked for", async () => {
    const { json } = await server.get("/openapi.json");
    const routes = await readFile(path.join(ROOT, "scripts/api/routes.lua"), "utf8");
    const lines = [...routes.matchAll(/\{ "(GET|POST|PATCH|DELETE|PUT)", "([^"]+)"/g)];
    assert.ok(lines.length > 15);
    for (const [, method, where] of lines) {
      const operation = json.paths[where.replace(/:(\w+)/g, "{$1}")]?.[method.toLowerCase()];
      assert.ok(operation?.summary, `${method} ${where}`);
      const asked = await server.ask(method, where.replace(/:\w+/g, "x"), { user: somebody() });
      assert.notEqual(asked.text.trim(), "404 page not found", `${method} ${where}`);
    }
  });

  test("is what answers are held against", () => {
    const said = (status, json) => ({ status, headers: { "content-type": "application/json; charset=utf-8" }, text: JSON.stringify(json) });
    assert.throws(() => checkAnswer("GET", "/healthz", said(200, { status: "healthy" })), /timestamp/);
    assert.throws(() => checkAnswer("GET", "/sessions", said(418, {})), /418 is not described/);
    assert.doesNotThrow(() => checkAnswer("GET", "/nothing", said(418, {})));
  });
});

describe("the description of the socket", () => {
  test("is what the parser accepts, and it finds what is wrong", async () => {
    const { json } = await server.get("/asyncapi.json");
    assert.equal(json.asyncapi, "3.0.0");
    const parser = new Parser();
    const { document, diagnostics } = await parser.parse(JSON.stringify(json));
    assert.deepEqual(diagnostics.filter((d) => d.severity <= 1).map((d) => `${d.path.join(".")}: ${d.message}`), []);
    assert.ok(document.messages().length > 15);
    json.operations.say.action = "shout";
    const broken = await parser.parse(JSON.stringify(json));
    assert.ok(broken.diagnostics.some((d) => d.severity === 0));
  });

  test("has every message of routes.lua, and what comes back", async () => {
    const { components } = description("asyncapi");
    const routes = await readFile(path.join(ROOT, "scripts/routes.lua"), "utf8");
    const kinds = [...routes.matchAll(/^ {2}(\w+) = \{/gm)].map((m) => m[1]).filter((kind) => kind !== "common");
    assert.ok(kinds.length >= 9);
    for (const kind of kinds) assert.ok(components.messages[`client.${kind}`], kind);
    for (const kind of ["ack", "ai_response", "bye", "connection_status", "error", "history"]) assert.ok(components.messages[`server.${kind}`], kind);
    for (const [name, message] of Object.entries(components.messages)) assert.notEqual(message.summary, message.title, `${name} is described`);
  });

  test("is what messages are held against", () => {
    const at = { sender: "system", timestamp: "2026-03-02T15:00:00.000Z" };
    assert.throws(() => checkMessage({ type: "shout", ...at }), /not described/);
    assert.throws(() => checkMessage({ type: "pong", ...at, secret: 1 }), /additional/);
    assert.throws(() => checkMessage({ type: "ack", ...at, seq: "one" }), /integer/);
  });
});

test("docs/protocol.md is what the server prints", async () => {
  const page = await readFile(path.join(ROOT, "docs/protocol.md"), "utf8");
  for (const word of ["/chatbox/ws", "`bye`", "4401", "TOO_MANY_REQUESTS", "/chatbox/openapi.json", "`user_message`"]) assert.ok(page.includes(word), word);
});
