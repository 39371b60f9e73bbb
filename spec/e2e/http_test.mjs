// The HTTP side: probes, metrics, conversations, pages, and everything that is not there (reference, section 3).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PREFIX, Server, mint, serve, somebody } from "./support.mjs";

let server;
before(async () => (server = await Server.start({ env: { RATE_LIMIT: "1000000" } })));
after(() => server?.remove());

const JSON_TYPE = "application/json; charset=utf-8";
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;

function refused(response, status, code, error) {
  assert.equal(response.status, status, response.text);
  assert.equal(response.headers["content-type"], JSON_TYPE);
  assert.deepEqual(response.json, { error, code });
}

const notThere = (response) => {
  assert.equal(response.status, 404, response.text);
  assert.equal(response.text.trim(), "404 page not found");
  assert.match(response.headers["content-type"], /^text\/plain/);
};

describe("probes", () => {
  test("healthz is healthy", async () => {
    const { status, json, headers } = await server.get("/healthz");
    assert.equal(status, 200);
    assert.equal(headers["content-type"], JSON_TYPE);
    assert.deepEqual(Object.keys(json).sort(), ["status", "timestamp"]);
    assert.equal(json.status, "healthy");
    assert.match(json.timestamp, TIME);
  });

  test("readyz is ready when the store is", async () => {
    const { status, json } = await server.get("/readyz");
    assert.equal(status, 200);
    assert.equal(json.status, "ready");
    assert.equal(json.checks.mongodb.status, "ready");
  });

  test("HEAD is GET without the body", async () => {
    const head = await server.ask("HEAD", "/healthz");
    assert.equal(head.status, 200);
    assert.equal(head.text, "");
    assert.ok(Number(head.headers["content-length"]) > 0);
    assert.equal((await server.ask("HEAD", "/chat.html")).status, 200);
    assert.equal((await server.ask("HEAD", "/nothing")).status, 404);
  });

  test("are never refused, however often they are asked", async (t) => {
    const strict = await serve(t, { env: { PUBLIC_RATE_LIMIT: "3" } });
    const client = { headers: { "X-Forwarded-For": "203.0.113.9" } };
    for (let i = 0; i < 20; i++) assert.equal((await strict.get(i % 2 ? "/healthz" : "/readyz", client)).status, 200);
  });
});

describe("metrics", () => {
  test("are limited by address, and a trusted proxy's own has no limit", async (t) => {
    const strict = await serve(t, { env: { PUBLIC_RATE_LIMIT: "3", METRICS_ALLOWED_NETWORKS: "" } });
    const from = (address) => strict.get("/metrics/prometheus", { headers: { "X-Forwarded-For": address } });
    for (let i = 0; i < 3; i++) assert.equal((await from("203.0.113.9")).status, 200);
    const { status, json, headers } = await from("203.0.113.9");
    assert.equal(status, 429);
    assert.deepEqual(json, { error: "rate_limit_exceeded", message: "Too many requests. Please try again later." });
    assert.ok(Number(headers["retry-after"]) >= 1 && Number(headers["retry-after"]) <= 60, headers["retry-after"]);
    assert.equal((await from("203.0.113.10")).status, 200);
    for (let i = 1; i <= 3; i++) assert.equal((await from(`2001:db8:0:1::${i}`)).status, 200);
    assert.equal((await from("2001:db8:0:1:ffff::9")).status, 429); // one network of 64 bits is one subscriber
    for (let i = 0; i < 10; i++) assert.equal((await strict.get("/metrics/prometheus")).status, 200); // loopback
  });

  test("are in the format of Prometheus and count what happens", async () => {
    const sent = (await server.metric("chatbox_messages_received_total")) ?? 0;
    const alice = await server.join(somebody("alice"));
    await alice.talks("count me");
    const { status, headers, text } = await server.get("/metrics/prometheus");
    assert.equal(status, 200);
    assert.match(headers["content-type"], /^text\/plain; version=0\.0\.4/);
    assert.match(text, /^# TYPE chatbox_websocket_connections_total gauge$/m);
    for (const line of text.trimEnd().split("\n")) assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{.*\})? -?[0-9.e+-]+|[a-z_]+\{.*\} \+?Inf)$/i);
    assert.equal(await server.metric("chatbox_messages_received_total"), sent + 1);
    const open = await server.metric("chatbox_websocket_connections_total");
    assert.ok(open >= 1);
    await alice.leaves();
    assert.match(text, /chatbox_http_request_duration_seconds_count\{endpoint="\/chatbox\/healthz",method="GET"\}/);
  });

  test("are for the networks that may see them", async (t) => {
    const closed = await serve(t, { env: { METRICS_ALLOWED_NETWORKS: "203.0.113.0/24" } });
    refused(await closed.get("/metrics/prometheus"), 403, "FORBIDDEN", "Insufficient permissions");
    const inside = await closed.get("/metrics/prometheus", { headers: { "X-Forwarded-For": "203.0.113.9" } });
    assert.equal(inside.status, 200);
    const says = async (headers) => (await closed.get("/metrics/prometheus", { headers })).status;
    assert.equal(await says({ "X-Forwarded-For": "10.0.0.1, 203.0.113.9:50123" }), 200);
    assert.equal(await says({ "X-Forwarded-For": "203.0.113.9, [2001:db8::1]:443" }), 403);
  });

  test("are not for who comes through a proxy that nobody named; it is warned about once", async (t) => {
    const strict = await serve(t, { env: { TRUSTED_PROXIES: "192.0.2.1", METRICS_ALLOWED_NETWORKS: "127.0.0.0/8,203.0.113.0/24" } });
    const says = async (headers) => (await strict.get("/metrics/prometheus", { headers })).status;
    assert.equal(await says({}), 200);
    assert.equal(await says({ "X-Forwarded-For": "203.0.113.9" }), 403);
    assert.equal(await says({ "X-Forwarded-For": "127.0.0.1" }), 403);
    assert.equal(await says({ Forwarded: "for=127.0.0.1" }), 403);
    for (const address of ["127.0.0.1", "203.0.113.9", "[::1]:80", "nobody", "10.0.0.1, 127.0.0.1"]) assert.equal(await says({ "X-Real-IP": address }), 403, address);
    assert.equal(await says({ "X-Real-IP": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", Forwarded: "for=127.0.0.1" }), 403);
    assert.equal(await says({}), 200);
    assert.equal((await strict.get("/healthz", { headers: { "X-Forwarded-For": "203.0.113.9" } })).status, 200);
    await strict.stop();
    assert.equal(strict.log.all.filter((line) => line.component === "gate" && line.level === "warn" && line.peer === "127.0.0.1").length, 1);
  });

  test("count by the address at the other end of the socket, whatever a peer that is not trusted says it is", async (t) => {
    const strict = await serve(t, { env: { TRUSTED_PROXIES: "192.0.2.1", PUBLIC_RATE_LIMIT: "6", METRICS_ALLOWED_NETWORKS: "" } });
    const says = async (headers) => (await strict.get("/metrics/prometheus", { headers })).status;
    for (const [i, name] of ["X-Real-IP", "X-Forwarded-For", "Forwarded"].entries()) {
      for (let k = 0; k < 2; k++) assert.equal(await says({ [name]: `203.0.113.${10 * i + k}` }), 200);
    }
    assert.equal(await says({ "X-Real-IP": "203.0.113.99" }), 429);
    const trusting = await serve(t, { env: { PUBLIC_RATE_LIMIT: "1", METRICS_ALLOWED_NETWORKS: "203.0.113.0/24" } }); // loopback is trusted
    const tells = async (headers) => (await trusting.get("/metrics/prometheus", { headers })).status;
    assert.equal(await tells({ "X-Real-IP": "203.0.113.1" }), 200);
    assert.equal(await tells({ "X-Real-IP": "203.0.113.1" }), 429);
    assert.equal(await tells({ "X-Real-IP": "203.0.113.2" }), 200);
    assert.equal(await tells({ "X-Real-IP": "198.51.100.1" }), 403);
  });

  test("are for all when no network is named, also through a proxy", async (t) => {
    const open = await serve(t, { env: { TRUSTED_PROXIES: "192.0.2.1", METRICS_ALLOWED_NETWORKS: "" } });
    assert.equal((await open.get("/metrics/prometheus", { headers: { "X-Forwarded-For": "203.0.113.9" } })).status, 200);
  });
});

describe("conversations", () => {
  test("need a token, in the header", async () => {
    const user = somebody();
    for (const where of ["/sessions", "/sessions/x", `/sessions?token=${server.token(user)}`]) {
      refused(await server.get(where), 401, "UNAUTHORIZED", "Invalid authorization header");
    }
    refused(await server.post("/sessions/x/end"), 401, "UNAUTHORIZED", "Invalid authorization header");
    const basic = await server.get("/sessions", { headers: { Authorization: "Basic YTpi" } });
    refused(basic, 401, "UNAUTHORIZED", "Invalid authorization header");
  });

  test("need a good token", async () => {
    const expired = mint(server.secret, { user_id: "alice", exp: 1000 });
    for (const token of ["nonsense", expired, mint("another secret", { user_id: "alice" })]) {
      refused(await server.get("/sessions", { token }), 401, "INVALID_TOKEN", "Invalid or expired authentication token");
    }
  });

  test("of somebody new are an empty list", async () => {
    const user = somebody();
    const { status, json } = await server.get("/sessions", { user });
    assert.equal(status, 200);
    assert.deepEqual(json, { count: 0, limit: 100, sessions: [], truncated: false, user_id: user });
  });

  test("are listed, newest first, with what the contract says", async () => {
    const alice = await server.join(somebody("alice"));
    await alice.talks("First. And more");
    const first = alice.session;
    await server.post(`/sessions/${first}/end`, { user: alice.user });
    await alice.leaves();
    const back = await server.join(alice.user);
    await back.talks("Second!");

    const { json } = await server.get("/sessions", { user: alice.user });
    assert.deepEqual([json.count, json.truncated, json.user_id], [2, false, alice.user]);
    assert.deepEqual(json.sessions.map((s) => [s.id, s.name, s.is_active]), [[back.session, "Second!", true], [first, "First.", false]]);
    const [fresh, ended] = json.sessions;
    assert.match(fresh.start_time, TIME);
    assert.match(fresh.last_activity, TIME);
    assert.equal(fresh.end_time, undefined);
    assert.match(ended.end_time, TIME);
    for (const field of ["message_count", "duration", "total_tokens", "max_response_time", "avg_response_time"]) {
      assert.ok(Number.isInteger(fresh[field]) && fresh[field] >= 0, `${field}: ${fresh[field]}`);
    }
    assert.equal(fresh.message_count, 2);
    assert.equal(fresh.admin_assisted, false);
    assert.equal(fresh.user_id, alice.user);
  });

  test("are shown whole, or a page at a time", async () => {
    const alice = await server.join(somebody("alice"));
    for (let i = 0; i < 5; i++) await alice.talks(`n${i}`);
    const show = async (query = "") => (await server.get(`/sessions/${alice.session}${query}`, { user: alice.user })).json;
    const whole = await show();
    assert.deepEqual([whole.session_id, whole.name], [alice.session, "n0"]);
    assert.equal(typeof whole.model_id, "string");
    assert.equal(whole.messages.length, 10);
    const [asked, answered] = whole.messages;
    assert.deepEqual([asked.sender, asked.content, answered.sender], ["user", "n0", "ai"]);
    assert.match(asked.timestamp, TIME);

    const last = await show("?limit=3");
    assert.deepEqual(last.messages.map((m) => m.seq), [8, 9, 10]);
    assert.deepEqual((await show(`?limit=3&before_seq=${last.before_seq}`)).messages.map((m) => m.seq), [5, 6, 7]);
    assert.deepEqual((await show("?before_seq=1")).messages, []);
    for (const bad of ["limit=0", "limit=1001", "limit=x", "limit=-1", "before_seq=x", "before_seq=-5", "limit=1e2"]) {
      const { status, json } = await server.get(`/sessions/${alice.session}?${bad}`, { user: alice.user });
      assert.deepEqual([bad, status, json.code], [bad, 400, "BAD_REQUEST"]);
    }
  });

  test("that have just begun are empty, not broken", async () => {
    const alice = await server.join(somebody("alice"));
    const { status, json } = await server.get(`/sessions/${alice.session}`, { user: alice.user });
    assert.deepEqual([status, json.messages, json.session_id], [200, [], alice.session]);
  });

  test("that are not there, or somebody else's, are not found", async () => {
    const alice = await server.join(somebody("alice"));
    await alice.talks("mine");
    const unknown = "0123456789abcdef0123456789abcdef";
    for (const id of [unknown, "x", "a".repeat(500), encodeURIComponent("'; drop table sessions; --")]) {
      refused(await server.get(`/sessions/${id}`, { user: alice.user }), 404, "NOT_FOUND", "Session not found");
      refused(await server.post(`/sessions/${id}/end`, { user: alice.user }), 404, "NOT_FOUND", "Session not found");
    }
    refused(await server.get(`/sessions/${alice.session}`, { user: somebody("bob") }), 404, "NOT_FOUND", "Session not found");
  });

  test("can be ended twice: the first end counts", async () => {
    const alice = await server.join(somebody("alice"));
    await alice.talks("bye");
    const end = () => server.post(`/sessions/${alice.session}/end`, { user: alice.user });
    const time = async () => (await server.get("/sessions", { user: alice.user })).json.sessions[0].end_time;
    assert.deepEqual((await end()).json, { status: "ended" });
    const first = await time();
    assert.deepEqual((await end()).json, { status: "ended" });
    assert.equal(await time(), first);
  });
});

describe("every answer", () => {
  test("carries the security headers, also when it refuses", async () => {
    for (const where of ["/healthz", "/sessions", "/nothing", "/ws"]) {
      const { headers } = await server.get(where);
      assert.equal(headers["x-content-type-options"], "nosniff", where);
      assert.equal(headers["x-frame-options"], "DENY", where);
      assert.equal(headers["referrer-policy"], "strict-origin-when-cross-origin", where);
      assert.equal(headers["x-xss-protection"], "1; mode=block", where);
    }
  });

  test("to what is not there is 404", async () => {
    for (const where of ["/nothing", "/sessions/a/b/c", "/chat", "/.git/config", "/chat.html/x", "/sessionsx"]) notThere(await server.get(where));
    notThere(await server.get("/healthz", { prefix: "" }));
    notThere(await server.get("/healthz", { prefix: "/chatboxx" }));
    for (const method of ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"]) notThere(await server.ask(method, "/healthz"));
  });

  test("comes one after the other over one connection that stays", async () => {
    const raw = await server.raw(`GET ${PREFIX}/healthz HTTP/1.1\r\nHost: a\r\n\r\n`);
    await raw.receives(/"healthy"[^}]*}/);
    raw.socket.write(`GET ${PREFIX}/nothing HTTP/1.1\r\nHost: a\r\n\r\n`);
    await raw.receives(/404 page not found/);
    raw.socket.write(`GET ${PREFIX}/readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await raw.receives(/"ready"/);
    raw.drop();
  });
});

describe("the pages", () => {
  test("lie under the prefix and may be embedded, under a policy of their own", async () => {
    for (const [where, type] of [["/chat.html", "text/html"], ["/chat.js", "text/javascript"], ["/chat.css", "text/css"], ["/icon.svg", "image/svg+xml"]]) {
      const { status, headers } = await server.get(where);
      assert.equal(status, 200, where);
      assert.ok(headers["content-type"].startsWith(type), `${where}: ${headers["content-type"]}`);
      assert.equal(headers["x-frame-options"], undefined);
      assert.match(headers["content-security-policy"], /default-src 'none'/);
      assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
      assert.equal(headers["x-content-type-options"], "nosniff");
    }
  });

  test("may be shown in a frame by the pages that FRAME_ANCESTORS names", async (t) => {
    const framed = await serve(t, { env: { FRAME_ANCESTORS: "'self', https://shop.example" } });
    assert.match((await framed.get("/chat.html")).headers["content-security-policy"], /; frame-ancestors 'self'\s+https:\/\/shop\.example$/);
    assert.doesNotMatch((await server.get("/chat.html")).headers["content-security-policy"], /frame-ancestors/);
  });

  test("are what / and the prefix lead to", async () => {
    for (const [prefix, where] of [["", "/"], [PREFIX, ""], [PREFIX, "/"]]) {
      const { status, headers } = await server.get(where, { prefix });
      assert.ok([301, 302, 303, 307, 308].includes(status), `${prefix}${where}: ${status}`);
      const asked = new URL(`http://proxy.example${prefix}${where}`);
      assert.equal(new URL(headers.location, asked).href, `http://proxy.example${PREFIX}/chat.html`);
    }
  });

  test("are led to below the path a proxy shows them under, and with the query", async () => {
    const shown = `/support${PREFIX}/?a=b%20c&d=%26`; // what the browser sees; the server sees it without /support
    const { headers } = await server.get("/?a=b%20c&d=%26");
    assert.equal(new URL(headers.location, `https://site.example${shown}`).href,
      `https://site.example/support${PREFIX}/chat.html?a=b%20c&d=%26`);
    const root = await server.get("/?x=1", { prefix: "" });
    assert.equal(new URL(root.headers.location, "https://site.example/support/?x=1").href,
      `https://site.example/support${PREFIX}/chat.html?x=1`);
  });

  test("are not sent twice to somebody who has them", async () => {
    const { headers } = await server.get("/chat.css");
    const again = await server.get("/chat.css", { headers: { "If-None-Match": headers.etag } });
    assert.equal(again.status, 304);
    assert.equal(again.text, "");
  });

  test("do not need a working token, whatever is sent with them", async () => {
    assert.equal((await server.get("/chat.html", { token: "nonsense" })).status, 200);
  });
});

describe("paths that mean harm", () => {
  const paths = ["/../../../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..\\..\\etc\\passwd", "//etc/passwd", "/chat.html%00.png", "/%ff%fe", "/%", "/%zz", "/./chat.lua", `/${"a/".repeat(2000)}`];
  for (const where of paths) {
    test(`${where.slice(0, 40)} leads nowhere`, async () => {
      const raw = await server.raw(`GET ${PREFIX}${where} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      await raw.ends();
      const text = raw.received.toString("latin1");
      assert.match(text, /^(HTTP\/1\.[01] (4\d\d|30[1278]) |$)/);
      assert.doesNotMatch(text, /root:/);
      assert.equal((await server.get("/healthz")).status, 200);
    });
  }
});

describe("bodies", () => {
  test("over MAX_BODY_SIZE are refused", async (t) => {
    const small = await serve(t, { env: { MAX_BODY_SIZE: "2000" } });
    const user = somebody();
    const raw = await small.raw(
      `POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${small.token(user)}\r\nContent-Length: 2001\r\n\r\n${"x".repeat(2001)}`,
    );
    await raw.receives(/^HTTP\/1\.1 413 /);
    raw.drop();
    const fits = await small.post("/sessions/x/end", { user, body: "x".repeat(2000) });
    assert.equal(fits.status, 404);
  });

  test("of unknown length grow no further than that", async (t) => {
    const small = await serve(t, { env: { MAX_BODY_SIZE: "2000" } });
    const raw = await small.raw(
      `POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${small.token(somebody())}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    const chunk = `3e8\r\n${"x".repeat(1000)}\r\n`;
    for (let i = 0; i < 10; i++) raw.socket.write(chunk);
    raw.socket.write("0\r\n\r\n");
    await Promise.race([raw.receives(/^HTTP\/1\.1 4\d\d /), raw.closed]);
    raw.drop();
    assert.equal((await small.get("/healthz")).status, 200);
  });

  test("that never come do not hold the server up", async (t) => {
    const hasty = await serve(t, { env: { HANDSHAKE_TIMEOUT: "1s" } });
    const raw = await hasty.raw(`POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf`);
    await raw.ends();
    assert.equal((await hasty.get("/healthz")).status, 200);
  });

  test("of a size that is nonsense are refused at once", async () => {
    for (const length of ["-1", "99999999999999999999", "1x", "x"]) {
      const raw = await server.raw(`POST ${PREFIX}/sessions/x/end HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`);
      await raw.receives(/^HTTP\/1\.1 4\d\d /);
      raw.drop();
    }
    assert.equal((await server.get("/healthz")).status, 200);
  });
});

describe("pages of other sites (CORS)", () => {
  const shop = "https://shop.example";
  let open;
  before(async () => (open = await Server.start({ env: { CORS_ALLOWED_ORIGINS: `${shop},https://other.example` } })));
  after(() => open?.remove());

  test("that are listed may ask", async () => {
    const { status, headers } = await open.get("/sessions", { user: somebody(), headers: { Origin: shop } });
    assert.equal(status, 200);
    assert.equal(headers["access-control-allow-origin"], shop);
    assert.equal(headers["access-control-allow-credentials"], "true");
    assert.match(headers.vary, /Origin/);
  });

  test("that are listed may ask whether they may", async () => {
    const { status, headers } = await open.ask("OPTIONS", "/sessions", { headers: { Origin: shop, "Access-Control-Request-Method": "GET" } });
    assert.equal(status, 204);
    assert.equal(headers["access-control-allow-origin"], shop);
    assert.match(headers["access-control-allow-headers"], /Authorization/);
    assert.match(headers["access-control-allow-methods"], /POST/);
    assert.equal(headers["access-control-max-age"], "43200");
  });

  test("that are not listed may not", async () => {
    for (const method of ["GET", "OPTIONS", "POST"]) {
      const { status, text, headers } = await open.ask(method, "/sessions", { headers: { Origin: "https://evil.example" } });
      assert.deepEqual([status, text, headers["access-control-allow-origin"]], [403, "", undefined]);
    }
  });

  test("are the server's own, or none: untouched", async () => {
    for (const headers of [{}, { Origin: open.origin }]) {
      const answer = await open.get("/healthz", { headers });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers["access-control-allow-origin"], undefined);
    }
  });

  test("get no headers where CORS is off", async () => {
    const { status, headers } = await server.get("/healthz", { headers: { Origin: shop } });
    assert.equal(status, 200);
    assert.equal(headers["access-control-allow-origin"], undefined);
  });
});
