// Who may come in, and what exactly everybody else is told (reference, sections 1.1 and 1.2).

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { PREFIX, Server, mint, serve, somebody } from "./support.mjs";

const SECURITY = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "strict-origin-when-cross-origin",
  "x-xss-protection": "1; mode=block",
};

function refuses(response, status, body, { version = false } = {}) {
  assert.equal(response.status, status, response.text);
  assert.equal(response.text, body);
  if (body) assert.equal(response.headers["content-type"], "text/plain; charset=utf-8");
  assert.equal(response.headers["sec-websocket-version"], version ? "13" : undefined);
  for (const [name, value] of Object.entries(SECURITY)) assert.equal(response.headers[name], value, name);
}

const MISSING = "Missing authentication token\n";
const FAILED = "Authentication failed\n";

describe("the token of a handshake", () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server?.remove());
  const bearer = (token) => ({ Authorization: `Bearer ${token}` });

  test("comes in a header", async () => {
    const alice = await server.join(somebody("alice"));
    assert.equal(alice.greeting.user_id, alice.user);
    assert.equal(alice.greeting.sender, "system");
    assert.equal(typeof alice.greeting.session_id, "string");
    await alice.leaves();
  });

  test("or in the query, where there is no header", async () => {
    const user = somebody("alice");
    const alice = await server.join(user, { token: "", query: `token=${encodeURIComponent(server.token(user))}` });
    assert.equal(alice.greeting.user_id, user);
    await alice.leaves();
  });

  test("in the header wins over the one in the query", async () => {
    const user = somebody("alice");
    const alice = await server.join(user, { query: `token=${server.token(somebody("bob"))}` });
    assert.equal(alice.greeting.user_id, user);
    await alice.leaves();
  });

  test("is missing", async () => {
    refuses(await server.handshake("/ws"), 401, MISSING);
    refuses(await server.get("/ws"), 401, MISSING);
  });

  test("is missing when the header is of another scheme, whatever the query says", async () => {
    const token = server.token(somebody());
    for (const header of [`Basic ${token}`, `Bearer${token}`, "Bearer ", "Bearer", token]) {
      refuses(await server.handshake(`/ws?token=${token}`, { Authorization: header }), 401, MISSING);
    }
  });

  test("is of a scheme that is written in any case, and a refusal names it", async () => {
    const user = somebody("alice");
    for (const scheme of ["bearer", "BEARER", "bEaReR", "Bearer "]) {
      const alice = await server.join(user, { token: "", headers: { Authorization: `${scheme} ${server.token(user)}` } });
      assert.equal(alice.greeting.user_id, user);
      await alice.leaves();
    }
    assert.equal((await server.handshake("/ws")).headers["www-authenticate"], "Bearer");
    assert.equal((await server.handshake("/ws", bearer("x"))).headers["www-authenticate"], 'Bearer error="invalid_token"');
  });

  const user_id = "alice";
  const past = Math.floor(Date.now() / 1000) - 120;
  const bad = {
    "is not a token": () => "hello",
    "is empty between its dots": () => "..",
    "is longer than any token": () => "a".repeat(9000),
    "is signed with another secret": () => mint(randomBytes(32).toString("hex"), { user_id }),
    "is not signed": () => mint("", { user_id }, { alg: "none" }),
    "has expired": (s) => mint(s, { user_id, exp: past }),
    "never expires": (s) => mint(s, { user_id, exp: undefined }),
    "expires in words": (s) => mint(s, { user_id, exp: "tomorrow" }),
    "is not valid yet": (s) => mint(s, { user_id, nbf: past + 3600 }),
    "names nobody": (s) => mint(s, {}),
    "names the empty user": (s) => mint(s, { user_id: "" }),
    "names a number": (s) => mint(s, { user_id: 7 }),
    "has one role that is not a list": (s) => mint(s, { user_id, roles: "admin" }),
    "has roles that are not all words": (s) => mint(s, { user_id, roles: ["admin", 1] }),
    "has no roles": (s) => mint(s, { user_id, roles: undefined }),
  };
  for (const [what, make] of Object.entries(bad)) {
    test(`${what}: refused`, async () => {
      refuses(await server.handshake("/ws", bearer(make(server.secret))), 401, FAILED);
    });
  }

  for (const alg of ["HS256", "HS384", "HS512"]) {
    test(`is signed with ${alg}: welcome`, async () => {
      const alice = await server.join(somebody(), { token: mint(server.secret, { user_id: "alice" }, { alg }) });
      await alice.leaves();
    });
  }

  test("is looked at before anything else", async () => {
    refuses(await server.handshake("/ws", { "Sec-WebSocket-Version": "12" }), 401, MISSING);
    refuses(await server.handshake("/ws", { ...bearer("x"), "Sec-WebSocket-Version": "12" }), 401, FAILED);
  });

  test("is never in a log line", async () => {
    const user = somebody("alice");
    const token = server.token(user);
    const alice = await server.join(user, { token: "", query: `token=${token}` });
    await alice.talks("hello");
    await alice.leaves();
    await server.handshake(`/ws?token=${token}x`);
    const signature = token.split(".")[2];
    assert.ok(server.log.all.length > 0);
    for (const line of [...server.log.all.map((l) => l.text), ...server.noise]) assert.ok(!line.includes(signature), line);
  });
});

describe("an upgrade", () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server?.remove());

  /** A request as lines; undefined leaves a header out. */
  async function raw(changes, path = "/ws", method = "GET") {
    const headers = {
      Host: "127.0.0.1",
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      Authorization: `Bearer ${server.token(somebody())}`,
      ...changes,
    };
    const lines = Object.entries(headers).filter(([, value]) => value !== undefined);
    return server.raw([`${method} ${PREFIX}${path} HTTP/1.1`, ...lines.map(([k, v]) => `${k}: ${v}`), "", ""].join("\r\n"));
  }

  test("is answered with the key's own proof and nothing that was not asked for", async () => {
    const socket = await raw({ "Sec-WebSocket-Extensions": "permessage-deflate" });
    const head = (await socket.receives(/\r\n\r\n/)).toString("latin1");
    socket.drop();
    const proof = createHash("sha1").update("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    assert.match(head, /^HTTP\/1\.1 101 /);
    assert.ok(head.includes(`ccept: ${proof}\r\n`), head);
    assert.doesNotMatch(head, /sec-websocket-(protocol|extensions)/i);
  });

  test("may list other things in Connection and write Upgrade as it likes", async () => {
    const socket = await raw({ Connection: "keep-alive, UPGRADE", Upgrade: "WebSocket" });
    await socket.receives(/^HTTP\/1\.1 101 [\s\S]*connection_status/);
    socket.drop();
  });

  const defects = {
    "without Connection": { Connection: undefined },
    "with Connection: keep-alive": { Connection: "keep-alive" },
    "with a Connection that only sounds like it": { Connection: "upgraded" },
    "without Upgrade": { Upgrade: undefined },
    "to something else": { Upgrade: "h2c" },
    "without a version": { "Sec-WebSocket-Version": undefined },
    "of version 12": { "Sec-WebSocket-Version": "12" },
    "of version 14": { "Sec-WebSocket-Version": "14" },
    "without a key": { "Sec-WebSocket-Key": undefined },
    "with an empty key": { "Sec-WebSocket-Key": "" },
    "with a short key": { "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ==" },
    "with a key that is not base64": { "Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!==" },
  };
  for (const [what, changes] of Object.entries(defects)) {
    test(`${what}: Bad Request`, async () => {
      const socket = await raw(changes);
      const text = (await socket.receives(/\r\n\r\n[\s\S]*\n$/)).toString("latin1");
      socket.drop();
      assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n/);
      assert.match(text, /\r\nsec-websocket-version: 13\r\n/i);
      assert.match(text, /\r\ncontent-type: text\/plain; charset=utf-8\r\n/i);
      assert.match(text, /\r\nx-frame-options: DENY\r\n/i);
      assert.ok(text.endsWith("\r\n\r\nBad Request\n"), text);
    });
  }

  test("that asks for a sub-protocol is accepted without one", async () => {
    const socket = await raw({ "Sec-WebSocket-Protocol": "chat, superchat" });
    const head = (await socket.receives(/\r\n\r\n[\s\S]*connection_status/)).toString("latin1");
    socket.drop();
    assert.match(head, /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(head.split("\r\n\r\n")[0], /sec-websocket-protocol/i);
  });

  test("is not made of a plain GET", async () => {
    refuses(await server.get("/ws", { user: somebody() }), 400, "Bad Request\n", { version: true });
  });

  test("somewhere else is not there", async () => {
    const socket = await raw({}, "/sessions/ws");
    await socket.receives(/^HTTP\/1\.1 4\d\d /);
    socket.drop();
  });

  test("reaches the server below its prefix only", async () => {
    const moved = await Server.start({ env: { CHATBOX_PATH_PREFIX: "/talk/here" } });
    try {
      assert.equal((await moved.get("/healthz", { prefix: "/talk/here" })).status, 200);
      assert.equal((await moved.get("/healthz")).status, 404);
      assert.equal((await moved.get("/ws", { prefix: "/talk/here" })).status, 401);
    } finally {
      await moved.remove();
    }
  });
});

describe("an origin", () => {
  const good = "https://shop.example";
  let server;
  before(async () => (server = await Server.start({ env: { WS_ALLOWED_ORIGINS: `${good}, https://other.example` } })));
  after(() => server?.remove());

  const from = (user, origin) => server.handshake("/ws", { Authorization: `Bearer ${server.token(user)}`, Origin: origin });

  test("that is listed is welcome", async () => {
    const alice = await server.join(somebody(), { headers: { Origin: "https://other.example" } });
    await alice.leaves();
  });

  for (const origin of ["https://shop.example.evil.test", "http://shop.example", "https://SHOP.example", "https://shop.example/", "null", undefined]) {
    test(`${origin ?? "that is absent"} is forbidden where others are listed`, async () => {
      refuses(await from(somebody(), origin), 403, "Forbidden\n", { version: true });
    });
  }

  test("does not matter where none is listed", async (t) => {
    const open = await serve(t);
    const alice = await open.join(somebody(), { headers: { Origin: "null" } });
    await alice.leaves();
  });

  test("is written as an operator likes, in capitals and with its port", async (t) => {
    const loud = await serve(t, { env: { WS_ALLOWED_ORIGINS: "HTTPS://Shop.Example:443,http://localhost:80" } });
    for (const origin of ["https://shop.example", "http://localhost"]) {
      const alice = await loud.join(somebody(), { headers: { Origin: origin } });
      await alice.leaves();
    }
    refuses(await loud.handshake("/ws", { Authorization: `Bearer ${loud.token(somebody())}`, Origin: "https://shop.example:444" }), 403, "Forbidden\n", { version: true });
  });

  test("may be any where * is listed, or none", async (t) => {
    const open = await serve(t, { env: { WS_ALLOWED_ORIGINS: "https://shop.example, *" } });
    for (const headers of [{ Origin: "https://anywhere.example" }, { Origin: "null" }, {}]) {
      const alice = await open.join(somebody(), { headers });
      await alice.leaves();
    }
  });

  for (const entry of ["shop.example", "https://shop.example/", '"https://shop.example"', "https://*.example", "https://shop.example:port", "null"]) {
    test(`that can never match, ${entry}, stops the start`, async () => {
      for (const setting of ["WS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGINS"]) {
        await assert.rejects(Server.start({ env: { [setting]: `https://good.example, ${entry}` } }), new RegExp(`${setting}: .*has an entry`));
      }
    });
  }

  test("refused ten times costs no place: ten good connections still fit", async () => {
    const user = somebody();
    for (let i = 0; i < 10; i++) assert.equal((await from(user, "https://evil.example")).status, 403);
    for (let i = 0; i < 10; i++) {
      const bad = { Authorization: `Bearer ${server.token(user)}`, Origin: good, "Sec-WebSocket-Version": "12" };
      assert.equal((await server.handshake("/ws", bad)).status, 400);
    }
    const devices = [];
    for (let i = 0; i < 10; i++) devices.push(await server.join(user, { headers: { Origin: good } }));
    for (const device of devices) await device.leaves();
  });
});

describe("the eleventh connection of a user", () => {
  test("is refused, the ten others are told, and a place that becomes free is free", async (t) => {
    const server = await serve(t);
    const user = somebody("alice");
    const devices = [];
    for (let i = 0; i < 10; i++) devices.push(await server.join(user));

    const refused = await server.handshake("/ws", { Authorization: `Bearer ${server.token(user)}` });
    refuses(refused, 429, "Connection limit exceeded, please try again later\n");
    assert.equal(refused.headers["retry-after"], undefined);
    for (const device of devices) {
      const told = await device.hears("notification");
      assert.equal(told.sender, "system");
      assert.equal(
        told.content,
        "Connection limit reached. You have reached the maximum number of simultaneous connections. Close an existing connection to open a new one.",
      );
    }

    const bob = await server.join(somebody("bob"));
    await bob.talks("I am not alice");
    bob.heardNothingOf("notification");

    await devices[0].leaves();
    const again = await server.join(user);
    await again.talks("back");
  });

  test("is the limit's, whatever else is wrong with it", async (t) => {
    const server = await serve(t, { env: { MAX_CONNECTIONS_PER_USER: "1" } });
    const alice = await server.join(somebody("alice"));
    const bad = { Authorization: `Bearer ${server.token(alice.user)}`, "Sec-WebSocket-Version": "12" };
    refuses(await server.handshake("/ws", bad), 429, "Connection limit exceeded, please try again later\n");
  });

  test("in total: the server has a limit, too", async (t) => {
    const server = await serve(t, { env: { MAX_CONNECTIONS: "3" } });
    const people = [];
    for (let i = 0; i < 3; i++) people.push(await server.join(somebody()));
    const refused = await server.handshake("/ws", { Authorization: `Bearer ${server.token(somebody())}` });
    assert.equal(refused.status, 503);
    await people[0].leaves();
    await server.join(somebody());
  });
});

describe("a page of another site", () => {
  test("that CORS does not list is refused before anything is looked at", async (t) => {
    const server = await serve(t, { env: { CORS_ALLOWED_ORIGINS: "https://shop.example" } });
    const headers = { Authorization: `Bearer ${server.token(somebody())}`, Origin: "https://evil.example" };
    const refused = await server.handshake("/ws", headers);
    assert.equal(refused.status, 403);
    assert.equal(refused.text, "");
    const own = await server.join(somebody(), { headers: { Origin: server.origin } });
    await own.leaves();
    const listed = await server.join(somebody(), { headers: { Origin: "https://shop.example" } });
    await listed.leaves();
  });
});
