// What a message may look like, and what happens to one that does not (reference, sections 1.3 to 1.6): a clear error to
// the one who sent it, and the connection stays, unless the protocol itself is broken.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { BINARY, CLOSE, PING, Server, TEXT, closeCode, frame, rawJoin, serve, somebody } from "./support.mjs";

let server;
before(async () => (server = await Server.start({ env: { RATE_LIMIT: "1000000" } })));
after(() => server?.remove());

/** Sends it, hears the error, and talks on over the same connection. */
async function refused(what, code, text, options) {
  const alice = await server.join(somebody("alice"));
  alice.sends(what, options);
  const message = await alice.hears("error");
  assert.equal(message.sender, "ai");
  assert.equal(message.error.code, code, JSON.stringify(message));
  assert.match(message.error.message, text);
  assert.equal(message.error.recoverable, true);
  await alice.talks("still here");
  await alice.leaves();
}

const SHAPE = /^Invalid message format/;
const RULE = /^Message validation failed/;
const say = (fields) => ({ type: "user_message", session_id: "s", content: "hi", ...fields });

describe("not a message at all", () => {
  const texts = {
    "no JSON": "hello",
    "half a JSON": '{"type":"user_message"',
    "JSON and more": '{"type":"ping"} {"type":"ping"}',
    "an empty text": "",
    null: "null",
    "a number": "42",
    "a string": '"user_message"',
    "true": "true",
    "an empty array": "[]",
    "an array of messages": '[{"type":"ping"}]',
    "an empty object": "{}",
    "NaN": '{"type":"ping","x":NaN}',
    "deep nesting": `{"type":"user_message","content":"hi","metadata":${"[".repeat(5000)}${"]".repeat(5000)}}`,
  };
  for (const [what, text] of Object.entries(texts)) test(what, () => refused(text, "INVALID_FORMAT", SHAPE));
});

describe("a message of the wrong shape", () => {
  const messages = {
    "a type that is a number": { type: 5 },
    "a type that is null": { type: null },
    "content that is a number": say({ content: 7 }),
    "content that is an object": say({ content: {} }),
    "a session id that is a list": say({ session_id: [] }),
    "a time that is a number": say({ timestamp: 1 }),
    "a time that is none": say({ timestamp: "yesterday" }),
    "metadata that is a list": say({ metadata: ["a"] }),
    "metadata within metadata": say({ metadata: { a: { b: "c" } } }),
    "a cid that is a number": say({ cid: 1 }),
  };
  for (const [what, message] of Object.entries(messages)) test(what, () => refused(message, "INVALID_FORMAT", SHAPE));
});

describe("a message against the rules", () => {
  const messages = {
    "no content": say({ content: undefined }),
    "empty content": say({ content: "" }),
    "content that is only white space": say({ content: " \n\t " }),
    "content of 10 001 bytes": say({ content: "x".repeat(10001) }),
    "content of 3 334 letters of three bytes": say({ content: "語".repeat(3334) }),
    "a session id of 129 bytes": say({ session_id: "s".repeat(129) }),
    "a cid of 129 bytes": say({ cid: "c".repeat(129) }),
    "an empty cid": say({ cid: "" }),
    "a sender nobody is": say({ sender: "god" }),
    "a model id of 101 bytes": { type: "model_select", session_id: "s", model_id: "m".repeat(101) },
    "a metadata value of 1 001 bytes": say({ metadata: { a: "x".repeat(1001) } }),
    "help asked by somebody else": { type: "help_request", session_id: "s", sender: "admin" },
    "a file without an id": { type: "file_upload", session_id: "s", file_url: "https://files.example/a" },
  };
  for (const [what, message] of Object.entries(messages)) test(what, () => refused(message, "INVALID_FORMAT", RULE));
});

describe("a message of an unknown type", () => {
  for (const type of ["nonsense", "__index", "constructor", "common", "ai_response", "loading", "x".repeat(5000)]) {
    test(type.slice(0, 20), () => refused({ type, content: "hi" }, "INVALID_FORMAT", /^Invalid message format: unknown message type [^ ]{1,100}$/));
  }
});

describe("a message that is good", () => {
  let alice;
  before(async () => (alice = await server.join(somebody("alice"))));
  after(() => alice.leaves());

  test("of 10 000 bytes is answered whole", () => alice.talks("y".repeat(10000)));
  test("in any script and with emoji comes back the same", () => alice.talks("Grüße, 你好, שלום, 👩‍👩‍👧 \u2028 <b>&amp;</b> \\ \" /"));
  test("keeps its lines and its inner blanks", () => alice.talks("one\n  two\t\tthree"));

  test("loses its NULs and its outer blanks", async () => {
    alice.says("\u0000  tri\u0000mmed \n");
    await alice.hears("ai_response", { content: "trimmed" });
  });

  test("may have fields nobody knows", async () => {
    alice.says("with more", { colour: "green", nested: { a: [1, 2, { b: null }] } });
    await alice.hears("ai_response", { content: "with more" });
  });

  test("may have nulls where fields may be absent", async () => {
    alice.says("with nulls", { timestamp: null, metadata: null, cid: null, sender: null });
    await alice.hears("ai_response", { content: "with nulls" });
  });

  test("may have numbers and booleans in its metadata, as the web client sends them", async () => {
    const tablet = await server.join(alice.user);
    alice.says("with metadata", { metadata: { size: 1024, big: true, name: "a.png" } });
    const { metadata } = await tablet.hears("user_message", { content: "with metadata" });
    assert.deepEqual(metadata, { size: 1024, big: true, name: "a.png" });
    await tablet.leaves();
  });

  test("is the user's, whatever it says of its sender", async () => {
    const tablet = await server.join(alice.user);
    alice.says("I am the boss", { sender: "admin" });
    assert.equal((await tablet.hears("user_message", { content: "I am the boss" })).sender, "user");
    await tablet.leaves();
  });

  test("may come in a binary frame", async () => {
    alice.sends(Buffer.from(JSON.stringify(say({ content: "binary" }))), { binary: true });
    await alice.hears("ai_response", { content: "binary" });
  });

  test("a ping gets a pong", async () => {
    alice.sends({ type: "ping" });
    await alice.hears("pong");
  });
});

describe("frames", () => {
  const text = (content) => JSON.stringify(say({ content }));

  test("a message may come in many fragments, even within a letter, with a ping between them", async () => {
    const raw = await rawJoin(server, somebody());
    const bytes = Buffer.from(text("füñf"));
    for (let i = 0; i < bytes.length; i++) {
      raw.socket.write(frame(i === 0 ? TEXT : 0, bytes.subarray(i, i + 1), { fin: i === bytes.length - 1 }));
      if (i === 5) raw.socket.write(frame(PING, "?"));
    }
    await raw.receives((buffer) => buffer.includes(Buffer.from([0x8a, 1, 0x3f])) && buffer.includes('"content":"füñf"'));
    raw.drop();
  });

  test("many messages may come in one packet", async () => {
    const raw = await rawJoin(server, somebody());
    raw.socket.write(Buffer.concat(["one", "two", "three"].map((c) => frame(TEXT, text(c)))));
    await raw.receives((buffer) => ["one", "two", "three"].every((c) => buffer.includes(`"content":"${c}"`)));
    raw.drop();
  });

  test("a message may come a byte at a time", async () => {
    const raw = await rawJoin(server, somebody());
    raw.socket.setNoDelay(true);
    for (const byte of frame(TEXT, text("slow"))) raw.socket.write(Buffer.from([byte]));
    await raw.receives(/"content":"slow"/);
    raw.drop();
  });

  const broken = {
    "invalid UTF-8": [1007, frame(TEXT, Buffer.from([0x7b, 0xc3, 0x28, 0x7d]))],
    "a letter that is not finished": [1007, frame(TEXT, Buffer.from([0x22, 0xe8, 0xaa]))],
    "an overlong letter": [1007, frame(TEXT, Buffer.from([0xc0, 0xaf]))],
    "half of a surrogate pair": [1007, frame(TEXT, Buffer.from([0xed, 0xa0, 0x80]))],
    "invalid UTF-8 in the second fragment": [1007, Buffer.concat([frame(TEXT, "{", { fin: false }), frame(0, Buffer.from([0xff]))])],
    "a reserved bit": [1002, frame(TEXT, "{}", { rsv: 4 })],
    "a reserved kind of frame": [1002, frame(3, "{}")],
    "a reserved kind of control frame": [1002, frame(11, "")],
    "a continuation of nothing": [1002, frame(0, "{}")],
    "a new message within a message": [1002, Buffer.concat([frame(TEXT, "{", { fin: false }), frame(TEXT, "{}")])],
    "a ping in fragments": [1002, frame(PING, "", { fin: false })],
  };
  for (const [what, [code, bytes]] of Object.entries(broken)) {
    test(`${what}: closed with ${code}`, async () => {
      const raw = await rawJoin(server, somebody());
      raw.socket.write(bytes);
      await raw.receives(() => closeCode(raw) === code);
      raw.socket.end();
      await raw.ends();
    });
  }

  test("a ping of 126 bytes ends the connection", async () => {
    const raw = await rawJoin(server, somebody());
    raw.socket.write(frame(PING, "x".repeat(126)));
    await raw.ends();
  });

  test("who does not answer a close is hung up on", async () => {
    const raw = await rawJoin(server, somebody());
    raw.socket.write(frame(0, "{}"));
    await raw.ends();
    assert.equal(closeCode(raw), 1002);
  });

  test("a close is echoed", async () => {
    const raw = await rawJoin(server, somebody());
    raw.socket.write(frame(CLOSE, Buffer.from([0x03, 0xe8])));
    await raw.ends();
    assert.equal(closeCode(raw), 1000);
  });

  test("a message over MAX_MESSAGE_SIZE closes with 1009, in one frame or in many, and hurts nobody else", async (t) => {
    const small = await serve(t, { env: { MAX_MESSAGE_SIZE: "20000" } });
    const bob = await small.join(somebody("bob"));
    const alice = await small.join(somebody("alice"));
    alice.sends("x".repeat(20001));
    assert.equal((await alice.ends()).code, 1009);

    const raw = await rawJoin(small, somebody());
    for (let i = 0; i < 30; i++) raw.socket.write(frame(i === 0 ? BINARY : 0, "x".repeat(1000), { fin: false }));
    await raw.receives(() => closeCode(raw) === 1009);
    raw.drop();
    await bob.talks("not me");
  });

  test("a message of exactly MAX_MESSAGE_SIZE is read", async (t) => {
    const small = await serve(t, { env: { MAX_MESSAGE_SIZE: "20000" } });
    const alice = await small.join(somebody("alice"));
    const message = text("fits");
    alice.sends(message + " ".repeat(20000 - message.length));
    await alice.hears("ai_response", { content: "fits" });
  });
});
