// In: nothing. Out: raw requests and what is answered to them: TABLE, used by framing_test.mjs directly, over TLS and
// through two proxies, and as seeds of the fuzzers (`node framing_table.mjs DIR` writes them as files).
// Why: where one request ends and the next begins has to be seen alike by all who stand in a row (RFC 9112, section 6);
// each row is a way in which programs have disagreed about it.
//
// answers: the statuses, in order. closed: the server hangs up behind them; otherwise the connection carries another
// request. PROXIED is the column of the proxies.

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const OK = "/chatbox/healthz";
const END = "/chatbox/sessions/x/end"; // 401 without a token, once its body is there
const HIDDEN = `GET ${OK} HTTP/1.1\r\nHost: smuggled\r\n\r\n`;

const get = (fields = "", target = OK, version = "HTTP/1.1") => `GET ${target} ${version}\r\nHost: a\r\n${fields}\r\n`;
const post = (fields, body = "", method = "POST", target = END) => `${method} ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
const length = (value, body) => post(`Content-Length: ${value}\r\n`, body);
const chunked = (body, coding = "chunked") => post(`Transfer-Encoding: ${coding}\r\n`, body);

const good = (name, bytes, ...answers) => ({ name, bytes, answers });
/** Refused, and a request is hidden behind it that a careless reader would answer. */
const refused = (name, bytes, status = 400) => ({ name, bytes: bytes + HIDDEN, answers: [status], closed: true });

export const TABLE = [
  /* requests that are good */
  good("a plain GET", get(), 200),
  good("HEAD", `HEAD ${OK} HTTP/1.1\r\nHost: a\r\n\r\n`, 200),
  ...["POST", "PUT", "PATCH", "DELETE"].map((method) => good(`${method} without a length has no body`, post("", "", method, "/nowhere"), 404)),
  good("POST of no bytes", length(0), 401),
  good("POST with a length", length(5, "hello"), 401),
  good("GET with a body", `GET ${OK} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`, 200),
  good("a chunked body", chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), 401),
  good("a chunked body of nothing", chunked("0\r\n\r\n"), 401),
  good("chunks with extensions and a trailer", chunked('2;a=b;c="d"\r\nhi\r\n0;last\r\nX-Sum: 1\r\n\r\n'), 401),
  good("a length in a trailer means nothing", chunked("2\r\nhi\r\n0\r\nContent-Length: 50\r\n\r\n"), 401),
  good("Chunked in capitals", chunked("2\r\nhi\r\n0\r\n\r\n", "Chunked"), 401),
  good("a chunk size with zeros before it", chunked("002\r\nhi\r\n0\r\n\r\n"), 401),
  good("two requests in one piece", get() + get("", "/nowhere"), 200, 404),
  good("three, one of them with a body", get("", "/nowhere") + length(5, "hello") + get(), 404, 401, 200),
  good("a chunked body and the next request in one piece", chunked("2\r\nhi\r\n0\r\n\r\n") + get(), 401, 200),
  good("an empty line first", `\r\n${get()}`, 200),
  good("a target with its host", get("", `http://a${OK}`), 200),
  good("an upgrade to HTTP/2", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), 200),
  good("an upgrade to something unknown, with a body", post("Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n", "hello"), 401),
  good("a method nobody knows", `BREW ${OK} HTTP/1.1\r\nHost: a\r\n\r\n`, 501),
  good("a header with nothing in it", get("X-Empty:\r\n"), 200),
  good("a header with bytes beyond ASCII", get("X-Name: caf\u00e9\r\n"), 200),
  { name: "Connection: close among others", bytes: get("Connection: x, CLOSE ,y\r\n") + HIDDEN, answers: [200], closed: true },
  { name: "HTTP/1.0", bytes: `GET ${OK} HTTP/1.0\r\n\r\n${HIDDEN}`, answers: [200], closed: true },
  { name: "HTTP/1.0 that stays", bytes: `GET ${OK} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n`, answers: [200] },
  good("100-continue with the body sent at once", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), 401),

  /* the length is in doubt */
  refused("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n", "x")),
  refused("the same length twice", post("Content-Length: 1\r\nContent-Length: 1\r\n", "x")),
  refused("a list of lengths", length("1, 1", "x")),
  ...["-1", "+1", "1x", "x", "", "0x1", "1 1", "1.0", "\u00b9"].map((value) => refused(`the length "${value}"`, length(value, ""))),
  refused("a length and chunks", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
  refused("chunks and a length", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n")),
  refused("chunks and a length of 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n")),
  refused("chunks in HTTP/1.0", `POST ${END} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
  refused("a length beyond any number", length("99999999999999999999", ""), 413),
  refused("a length beyond MAX_BODY_SIZE", length("104857600", ""), 413),

  /* the coding is in doubt */
  refused("gzip", chunked("", "gzip"), 501),
  refused("gzip in chunks", chunked("0\r\n\r\n", "gzip, chunked"), 501),
  refused("identity", chunked("", "identity"), 501),
  refused("xchunked", chunked("0\r\n\r\n", "xchunked"), 501),
  refused("chunked with a parameter", chunked("0\r\n\r\n", "chunked;q=1"), 501),
  refused("chunked with a blank in it", chunked("0\r\n\r\n", "chun ked"), 501),
  refused("chunked twice", chunked("0\r\n\r\n", "chunked, chunked")),
  refused("chunked, then gzip", chunked("0\r\n\r\n", "chunked, gzip")),
  refused("two codings in two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", "0\r\n\r\n")),
  refused("no coding at all", chunked("0\r\n\r\n", "")),
  refused("a coding behind a vertical tab", chunked("0\r\n\r\n", "\x0bchunked")),

  /* a chunk is in doubt */
  ...Object.entries({
    "without a size": "\r\n", "with a size that is no number": "x\r\n", "of negative size": "-1\r\n", "of size 0x2": "0x2\r\nhi\r\n",
    "with a blank before its size": " 2\r\nhi\r\n", "with a blank behind its size": "2 \r\nhi\r\n", "of a size that wraps": "10000000000000002\r\nhi\r\n",
    "with a bare LF behind its size": "2\nhi\r\n", "with a bare CR in its extension": "2;a\rb\r\nhi\r\n", "with a bare LF in its extension": "2;a\nhi\r\n",
    "longer than it says": "2\r\nhiX\r\n", "that ends with a bare LF": "2\r\nhi\n0\r\n\r\n",
    "with NUL in its extension": "2;\0\r\nhi\r\n",
  }).map(([what, body]) => refused(`a chunk ${what}`, chunked(body))),
  refused("a trailer that is folded", chunked("0\r\n X: y\r\n\r\n")),
  refused("a trailer with a bare LF", chunked("0\r\nX: y\n\r\n")),
  refused("a trailer without end", chunked(`0\r\nX: ${"y".repeat(5000)}`), 413),
  refused("a chunk extension without end", chunked(`2;${"x".repeat(5000)}`), 413),

  /* lines and fields */
  refused("a folded header", get("X: y\r\n folded\r\n")),
  refused("a header folded with a tab", get("X: y\r\n\tfolded\r\n")),
  refused("a first header that is folded", `GET ${OK} HTTP/1.1\r\n Host: a\r\n\r\n`),
  refused("a blank before the colon", post("Content-Length : 5\r\n", "hello")),
  refused("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n")),
  refused("a header without a colon", get("X\r\n")),
  refused("a header without a name", get(": y\r\n")),
  refused("a name with a blank", get("X Y: z\r\n")),
  refused("a name in quotes", get('"X": z\r\n')),
  refused("a bare LF behind a header", get("X: y\nZ: w\r\n")),
  refused("a bare LF behind the request line", `GET ${OK} HTTP/1.1\nHost: a\r\n\r\n`),
  refused("only bare LFs", `GET ${OK} HTTP/1.1\nHost: a\n\n`),
  refused("a bare LF at the end of the head", `GET ${OK} HTTP/1.1\r\nHost: a\r\n\n`),
  refused("a bare CR in a header", get("X: y\rZ: w\r\n")),
  refused("a bare CR behind the head", `GET ${OK} HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n`),
  refused("NUL in a header", get("X: y\0z\r\n")),
  refused("NUL in a name", get("X\0Y: z\r\n")),
  refused("NUL in the target", get("", `${OK}\0`)),
  refused("a control character in a header", get("X: y\x01\r\n")),
  refused("an empty line that is a bare LF first", `\n${get()}`),

  /* who is asked */
  refused("no host", `GET ${OK} HTTP/1.1\r\n\r\n`),
  refused("two hosts", get("Host: b\r\n")),
  refused("the same host twice", get("Host: a\r\n")),
  refused("a host with a path", `GET ${OK} HTTP/1.1\r\nHost: a/b\r\n\r\n`),
  refused("a host with a blank", `GET ${OK} HTTP/1.1\r\nHost: a b\r\n\r\n`),
  refused("a target with its host, and no Host", `GET http://a${OK} HTTP/1.1\r\n\r\n`),
  refused("two tokens", get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")),

  /* what is asked */
  refused("two words", `GET ${OK}\r\nHost: a\r\n\r\n`),
  refused("four words", get("", `${OK} x`)),
  refused("two blanks", get("", ` ${OK}`)),
  refused("a blank first", ` ${get()}`),
  refused("a tab between", `GET\t${OK} HTTP/1.1\r\nHost: a\r\n\r\n`),
  refused("a version in small letters", get("", OK, "http/1.1")),
  refused("a version without a point", get("", OK, "HTTP/1")),
  refused("a version that is no number", get("", OK, "HTTP/1.x")),
  refused("a version of the future", get("", OK, "HTTP/9.9"), 505),
  refused("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
  refused("a target without a slash", get("", "x")),
  refused("a target of another scheme", get("", "ftp://a/x")),
  refused("a target with a fragment", get("", `${OK}#x`)),
  refused("a target beyond ASCII", get("", `${OK}\u00e9`)),
  ...["%", "%4", "%zz", "%00", "x%00.png"].map((bad) => refused(`the path ${bad}`, get("", `/chatbox/${bad}`))),
  ...["%", "a=%zz", "a=%00"].map((bad) => refused(`the query ${bad}`, get("", `${OK}?${bad}`))),
  refused("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
  refused("an expectation nobody can meet", post("Expect: miracles\r\nContent-Length: 5\r\n", "hello"), 417),
  refused("a body behind an upgrade to WebSocket", get("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "/chatbox/ws")),
  refused("a target over the limit", get("", `/${"a".repeat(20000)}`), 414),
  refused("headers over the limit", get(`X: ${"a".repeat(20000)}\r\n`), 431),
  refused("more headers than anybody needs", get("X: y\r\n".repeat(101)), 431),
];

// What a proxy makes of a row where that is not our answer: it repairs the request, or answers by itself (Debian 12's nginx 1.22 and
// HAProxy 2.6). Either way the next request on the connection they share to us has to be answered as if nothing had been.
export const PROXIED = {
  "a length beyond any number": { nginx: [400], haproxy: [400] },
  "chunked twice": { nginx: [501] },
  "chunked, then gzip": { nginx: [501] },
  "no coding at all": { nginx: [501] },
  "a coding behind a vertical tab": { nginx: [501] },
  "a chunk that ends with a bare LF": { nginx: [401], haproxy: [401] },
  "a trailer that is folded": { nginx: [401] },
  "a trailer with a bare LF": { nginx: [401], haproxy: [401] },
  "a trailer without end": { nginx: [401] },
  "a chunk extension without end": { nginx: [400], haproxy: [400] },
  "a header without a colon": { nginx: [200] },
  "a name in quotes": { nginx: [200] },
  "a bare LF behind a header": { nginx: [200], haproxy: [200] },
  "a bare LF behind the request line": { nginx: [200], haproxy: [200] },
  "only bare LFs": { nginx: [200], haproxy: [200] },
  "a bare LF at the end of the head": { nginx: [200], haproxy: [200] },
  "an empty line that is a bare LF first": { nginx: [200], haproxy: [200] },
  "two words": { nginx: [] },
  "two blanks": { nginx: [200], haproxy: [200] },
  "HTTP/2 at once": { nginx: [400], haproxy: [] },
  "a target of another scheme": { nginx: [404] },
  "an expectation nobody can meet": { nginx: [401] },
  "headers over the limit": { nginx: [400], haproxy: [400] },
  "the same length twice": { haproxy: [401] },
  "a list of lengths": { haproxy: [401] },
  "a length and chunks": { haproxy: [401] },
  "chunks and a length": { haproxy: [401] },
  "chunks and a length of 0": { haproxy: [401] },
  "gzip": { haproxy: [400] },
  "gzip in chunks": { haproxy: [422] },
  "identity": { haproxy: [400] },
  "xchunked": { haproxy: [400] },
  "chunked with a parameter": { haproxy: [400] },
  "chunked with a blank in it": { haproxy: [400] },
  "a folded header": { haproxy: [200] },
  "a header folded with a tab": { haproxy: [200] },
  "the same host twice": { haproxy: [200] },
  "a tab between": { haproxy: [200] },
  "a version of the future": { haproxy: [200] },
  "a target over the limit": { haproxy: [400] },
  "more headers than anybody needs": { haproxy: [400] },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dir = process.argv[2];
  mkdirSync(dir, { recursive: true });
  for (const row of TABLE) {
    writeFileSync(path.join(dir, row.name.replace(/[^a-z0-9]+/gi, "-")), Buffer.from(row.bytes, "latin1"));
  }
}
