// Somebody else's things: every endpoint and every kind of message is tried, by a user who knows all the ids there are,
// against a conversation, a message, a share and a user that are not his. The list of what to try is the server's own
// description, so what is added is tried, too.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { description } from "./described.mjs";
import { Server, somebody } from "./support.mjs";

const SECRET = "the tulips are in the cellar";
const UNKNOWN = "0123456789abcdef0123456789abcdef";

let server, alice, mallory, share, ids;
before(async () => {
  server = await Server.start({ env: { RATE_LIMIT: "1000000" } });
  alice = await server.join(somebody("alice"));
  alice.says(SECRET, { cid: "alice-1" });
  alice.session = (await alice.hears("ai_response")).session_id;
  mallory = await server.join(somebody("mallory"));
  await mallory.talks("hello");
  share = (await server.post(`/sessions/${alice.session}/share`, { user: alice.user })).json.share_token;
  const [message] = await server.history(alice.user, alice.session);
  ids = { conversation: alice.session, message: message.id, user: alice.user, share, "share's hash": "f".repeat(64), unknown: UNKNOWN };
});
after(() => server?.remove());

/** All that the owner sees of it. */
async function state() {
  const list = (await server.get("/sessions", { user: alice.user })).json.sessions.map(({ duration, ...rest }) => rest);
  const { messages, name } = (await server.get(`/sessions/${alice.session}`, { user: alice.user })).json;
  return { list, messages, name };
}

const leaks = (text) => text.includes("tulips") || text.includes("The tulips");

describe("over HTTP", () => {
  const bodies = [undefined, "{}", '{"name":"mine now"}', '{"expires_in":1}', JSON.stringify({ session_id: UNKNOWN })];

  test("no endpoint shows or changes what is somebody else's", async () => {
    const was = await state();
    let tried = 0;
    for (const [template, methods] of Object.entries(description("openapi").paths)) {
      for (const method of Object.keys(methods)) {
        for (const [what, id] of Object.entries(ids)) {
          if (template.includes("/shared/") && what === "share") continue; // that is what it is for
          const where = template.replace(/\{\w+\}/g, encodeURIComponent(id));
          if (where === template && what !== "conversation") continue;
          for (const body of bodies.filter((_, i) => method !== "get" || i === 0)) {
            const query = method === "get" ? `?session_id=${id}&user_id=${encodeURIComponent(alice.user)}&q=tulips&cursor=own~0~9999999999999~0~${UNKNOWN}~` : "";
            const { status, text } = await server.ask(method.toUpperCase(), where + query, { user: mallory.user, body });
            assert.ok(!leaks(text), `${method} ${template} with the id of a ${what}: ${text}`);
            if (/\{/.test(template)) assert.ok([400, 403, 404].includes(status), `${method} ${template} with a ${what}: ${status} ${text}`);
            tried++;
          }
        }
      }
    }
    assert.ok(tried > 60, String(tried));
    assert.deepEqual(await state(), was);
    assert.equal((await server.get(`/shared/${share}`)).status, 200);
  });

  test("a conversation that is not there and one that is somebody else's are told apart by nobody", async () => {
    for (const [method, tail, body] of [["GET", ""], ["POST", "/end"], ["POST", "/share"], ["DELETE", "/share"], ["DELETE", ""], ["PATCH", "", '{"name":"x"}']]) {
      const ask = (id) => server.ask(method, `/sessions/${id}${tail}`, { user: mallory.user, body });
      const [foreign, none] = [await ask(alice.session), await ask(UNKNOWN)];
      assert.deepEqual([foreign.status, foreign.text.length, foreign.json], [404, none.text.length, none.json], `${method} ${tail}`);
    }
  });

  test("an administrator reads any, and changes none", async () => {
    const root = { token: server.token(somebody("root"), { roles: ["admin"] }) };
    const was = await state();
    assert.ok(leaks((await server.get(`/sessions/${alice.session}`, root)).text));
    for (const [method, tail, body] of [["POST", "/end"], ["POST", "/share"], ["DELETE", "/share"], ["DELETE", ""], ["PATCH", "", '{"name":"x"}']]) {
      assert.equal((await server.ask(method, `/sessions/${alice.session}${tail}`, { ...root, body })).status, 404);
    }
    assert.deepEqual(await state(), was);
  });
});

describe("over the socket", () => {
  /** A document of that kind that passes every check of its fields. */
  function valid(schema) {
    const fill = (s) => s.const ?? s.enum?.[0] ?? (s.format === "uri" ? "https://files.example.com/a.png" : s.format === "date-time" ? new Date().toISOString()
      : s.type === "string" ? "x" : s.type === "integer" ? (s.minimum ?? 1) : s.type === "object" ? Object.fromEntries(Object.entries(s.properties ?? {}).map(([k, v]) => [k, fill(v)])) : "x");
    return Object.fromEntries(schema.required.map((name) => [name, fill(schema.properties[name])]));
  }

  test("no kind of message reaches, shows or ends somebody else's conversation, and only its sender hears of it", async () => {
    const was = await state();
    const kinds = Object.entries(description("asyncapi").components.messages).filter(([name]) => name.startsWith("client."));
    assert.ok(kinds.length >= 9);
    for (const [name, { payload }] of kinds) {
      for (const [what, id] of Object.entries(ids).filter(([, value]) => value.length <= 128)) {
        const stranger = await server.join(mallory.user);
        const heard = alice.heard.all.length;
        const cid = `try-${name}-${what}`.replace(/\W/g, "-");
        const document = { ...valid(payload), session_id: id, cid };
        if (payload.properties.resume) document.resume = { session_id: id, epoch: "x", seq: 0 };
        stranger.sends(document);
        stranger.sends({ type: "ping", session_id: id });
        stranger.sends({ type: "ping" });
        await stranger.hears("pong");
        for (const message of stranger.heard.all) {
          assert.ok(!leaks(JSON.stringify(message)), `${name} with a ${what}: ${JSON.stringify(message)}`);
          if (what === "conversation" && message.type === "error" && message.cid === cid) {
            assert.equal(message.error.code, "UNAUTHORIZED");
            assert.equal(message.session_id, id);
          }
        }
        if (what === "conversation" && name !== "client.ping" && name !== "client.refresh") {
          assert.ok(stranger.heard.all.some((m) => m.type === "error"), `${name} is refused: ${JSON.stringify(stranger.heard.all)}`);
        }
        await stranger.leaves();
        assert.deepEqual(alice.heard.all.slice(heard), [], `${name} with a ${what} is heard by its owner`);
      }
    }
    assert.deepEqual(await state(), was);
  });

  test("a connection that asks for it gets into a conversation of its own", async () => {
    const stranger = await server.join(mallory.user, { query: { session_id: alice.session } }).catch(() => null);
    if (!stranger) return;
    assert.notEqual(stranger.session, alice.session);
    await stranger.leaves();
  });
});
