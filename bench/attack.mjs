// In: a built chatbox and chatbox-load. Out: a table: what ordinary talkers feel while somebody attacks the server, one
// line per attack. Why: absolute latencies of a machine mean little; what holds is the ratio of the same talkers' 99th
// percentile with and without the attack, one after the other on the same server. The server has the limits it is
// shipped with and two workers; an attacker is a process of its own, behind one forwarded address, and every wait has an
// end. What an attacker was told (refusals) is counted: an attack that was not even tried would look harmless.
import { fork, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const bench = dirname(fileURLToPath(import.meta.url));
const root = dirname(bench);
const CHATBOX = process.env.CHATBOX ?? join(root, 'build', 'release', 'chatbox');
const LOAD = process.env.CHATBOX_LOAD ?? join(root, 'build', 'release', 'chatbox-load');
const ADDRESS = '198.51.100.7'; // of the attacker, as a proxy would say it
const STRANGER = '127.0.0.2'; // or without one: the server trusts 127.0.0.1, where the talkers are, and nobody else
const FAT = 20_000; // messages of the one who is erased, questions and answers
const START_MS = 10_000;
const STOP_MS = 35_000;

const help = `Usage: bench/attack.mjs [options] [ATTACK…]
For each attack: ordinary talkers alone, then the same talkers beside it; their 99th percentiles and the ratio.
  --talkers N    default 100; each says something twice in three seconds, and is answered by the echo bot
  --seconds S    measured time of one run, default 5
  --rounds N     default 1; of several the median is shown
  --json FILE    every single result
  --strict       exit 1 when a ratio is over 2
`;

/* ---- attacks: run in a process of their own ---- */

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token(secret, user) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ user_id: user, name: user, roles: [], iat: now, exp: now + 3600 })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function frame(text, first = 0x81) {
  const body = Buffer.from(text);
  const head = Buffer.alloc(body.length < 126 ? 6 : body.length < 65536 ? 8 : 14); // the mask is zero
  head[0] = first;
  head[1] = 0x80 | (body.length < 126 ? body.length : body.length < 65536 ? 126 : 127);
  if (head.length === 8) head.writeUInt16BE(body.length, 2);
  if (head.length === 14) head.writeBigUInt64BE(BigInt(body.length), 2);
  return Buffer.concat([head, body]);
}

const told = { sent: 0, refused: 0, closed: 0 };
const REFUSED = /TOO_MANY_REQUESTS|SERVICE_ERROR|HTTP\/1\.1 (4[0-9]{2}|503)/g;

/** A connection that counts what it is told and does not keep it. → the socket, when it is there */
function open(port, first, localAddress = '127.0.0.1') {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress }, () => {
      if (first) socket.write(first);
      resolve(socket);
    });
    socket.on('data', (bytes) => (told.refused += bytes.toString('latin1').match(REFUSED)?.length ?? 0));
    socket.on('error', () => resolve(socket));
    socket.on('close', () => (told.closed += 1));
  });
}

const upgrade = (secret, user) =>
  `GET /chatbox/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${token(secret, user)}\r\n` +
  `X-Forwarded-For: ${ADDRESS}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`;
const request = (method, path, secret, user) =>
  `${method} /chatbox${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${ADDRESS}\r\nContent-Length: 0\r\n` +
  `${user ? `Authorization: Bearer ${token(secret, user)}\r\n` : ''}\r\n`;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until that happens to the socket, or its end. */
function either(socket, event) {
  return new Promise((resolve) => {
    const done = () => {
      socket.off(event, done).off('close', done);
      resolve();
    };
    if (socket.destroyed) resolve();
    else socket.once(event, done).once('close', done);
  });
}

/** The same bytes on a connection, as fast as it takes them; a new connection when it is closed. */
async function flood(port, first, bytes, count) {
  for (;;) {
    const socket = await open(port, first);
    while (!socket.destroyed) {
      told.sent += count;
      const more = socket.write(bytes);
      await (more ? new Promise(setImmediate) : either(socket, 'drain'));
    }
    await pause(10);
  }
}

const many = (text, count) => [Buffer.concat(Array.from({ length: count }, () => frame(text))), count];
const manyFrames = (first, text, count) => [Buffer.concat(Array.from({ length: count }, () => frame(text, first))), count];
const talk = (size) => JSON.stringify({ type: 'user_message', content: 'x'.repeat(size) });
const each = (count, run) => Promise.all(Array.from({ length: count }, (_, i) => run(i)));

/** Requests on one kept connection, the next when the last was answered. */
async function ask(port, text) {
  for (;;) {
    const socket = await open(port);
    while (!socket.destroyed) {
      told.sent += 1;
      socket.write(text);
      await either(socket, 'data');
    }
    await pause(10);
  }
}

const ATTACKS = {
  pings: ['four connections of one user send pings without pause', ({ port, secret }) =>
    each(4, () => flood(port, upgrade(secret, 'mallory'), ...many('{"type":"ping"}', 500)))],
  history: ['they ask for a thousand messages of history', ({ port, secret }) =>
    each(4, () => flood(port, upgrade(secret, 'mallory'), ...many('{"type":"history","limit":1000}', 200)))],
  garbage: ['messages of 1 MB that are not even JSON', ({ port, secret }) =>
    each(2, () => flood(port, upgrade(secret, 'mallory'), ...many('['.repeat(1_000_000), 1)))],
  inbox: ['five users say 10 kB without waiting for an answer', ({ port, secret }) =>
    each(5, (i) => flood(port, upgrade(secret, `mallory-${i}`), ...many(talk(9_900), 20)))],
  spin: ['a handler that never ends, again and again', ({ port, secret }) =>
    each(2, (i) => flood(port, upgrade(secret, `mallory-${i}`), ...many('{"type":"spin"}', 1)))],
  sessions: ['connect, end, hang up, again', async ({ port, secret }) => {
    for (;;) {
      const socket = await open(port, upgrade(secret, 'mallory'));
      const session = await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1000);
        socket.on('data', (bytes) => {
          const found = /"session_id":"([0-9a-f]{32})"/.exec(bytes.toString('latin1'));
          if (found) resolve(found[1], clearTimeout(timer));
        });
        socket.once('close', resolve);
      });
      told.sent += 1;
      if (session) {
        const ending = await open(port, request('POST', `/sessions/${session}/end`, secret, 'mallory'));
        await either(ending, 'data');
        ending.destroy();
      }
      socket.destroy();
    }
  }],
  handshakes: ['1,500 answered connections are kept, and more are opened', async ({ port }) => {
    for (let i = 0; ; i++) {
      told.sent += 1;
      const socket = await open(port, request('GET', '/healthz'));
      if (i >= 1500) await new Promise((resolve) => { socket.once('close', resolve); setTimeout(resolve, 20); });
    }
  }],
  lists: ['HTTP requests with a token, twenty connections', ({ port, secret }) =>
    each(20, () => ask(port, request('GET', '/sessions', secret, 'mallory')))],
  strangers: ['HTTP requests without one', ({ port }) => each(20, () => ask(port, request('GET', '/sessions')))],
  probes: ['readiness asked without pause: it is never refused', ({ port }) => each(20, () => ask(port, request('GET', '/readyz')))],
  'ping frames': ['four connections of one user send ping frames without pause', ({ port, secret }) =>
    each(4, () => flood(port, upgrade(secret, 'mallory'), ...manyFrames(0x89, '', 2000)))],
  fragments: ['messages in empty pieces that never end', ({ port, secret }) =>
    each(4, () => flood(port, Buffer.concat([Buffer.from(upgrade(secret, 'mallory')), frame('', 0x01)]), ...manyFrames(0x00, '', 2000)))],
  connects: ['connect with a good token, hang up, again, twenty at a time', ({ port, secret }) =>
    each(20, async () => {
      for (;;) {
        told.sent += 1;
        const socket = await open(port, upgrade(secret, 'mallory'));
        await either(socket, 'data');
        socket.destroy();
      }
    })],
  tokens: ['handshakes with tokens that are no good', ({ port }) =>
    each(20, async () => {
      for (;;) {
        told.sent += 1;
        const socket = await open(port, upgrade('not the secret', 'mallory'));
        await either(socket, 'data');
        socket.destroy();
      }
    })],
  slowly: ['three thousand requests that are begun and not finished', ({ port }) =>
    each(3000, async () => {
      for (;;) {
        told.sent += 1;
        const socket = await open(port, 'GET /chatbox/healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ', STRANGER);
        await either(socket, 'close');
        await pause(100);
      }
    })],
  chunks: ['bodies in chunks of one byte', ({ port, secret }) => each(20, () => ask(port, Buffer.concat([
    Buffer.from(`POST /chatbox/sessions HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${ADDRESS}\r\nAuthorization: Bearer ${token(secret, 'mallory')}\r\nTransfer-Encoding: chunked\r\n\r\n`),
    Buffer.from(`${'1\r\nx\r\n'.repeat(10000)}0\r\n\r\n`)])))],
  log: ['the reader of the log stops reading, and somebody makes the scripts log', ({ port, secret }) =>
    each(2, () => flood(port, upgrade(secret, 'mallory'), ...many('{"type":"noise"}', 20)))],
  erasure: [`a user with ${FAT} messages is erased`, () => {}],
  descriptors: ['1,400 descriptors, and connections until there are none', async ({ port }) => {
    const all = [];
    for (;;) {
      told.sent += 1;
      all.push(await open(port, 'GET /chatbox/healthz HTTP/1.1\r\nHost: a\r\n\r\n'));
      if (all.length > 2000) all.shift().destroy();
    }
  }],
  framing: ['requests whose end is in doubt', ({ port }) =>
    each(20, () => ask(port, 'POST /chatbox/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx'))],
};

/* Those that need more than a client: env for the server; before, which fills its database; beside, in this process. */
const SPECIAL = {
  descriptors: { limit: 1400 },
  log: { beside: ({ child }) => { child.stderr.pause(); return () => child.stderr.resume(); } },
  erasure: {
    before: fatten,
    beside: ({ env }) => {
      const child = spawn(CHATBOX, ['erase', '--user', 'fat'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      child.stdout.setEncoding('utf8').on('data', (text) => { told.said = text.trim(); });
      return () => end(child);
    },
  },
};

/* ---- the server and its talkers ---- */

function settings(folder, secret) {
  return {
    PATH: process.env.PATH, MONGOC_DISABLE_SHM: '1', SERVER_ADDRESS: '127.0.0.1', SERVER_PORT: '0', WORKERS: '2', LOG_FORMAT: 'json',
    JWT_SECRET: secret, STORE_URL: `sqlite:${join(folder, 'chat.db')}`, SCRIPTS_DIR: join(folder, 'scripts'),
    WEB_DIR: join(root, 'web'), SCRIPT_KILLS_MAX: '0', TRUSTED_PROXIES: '127.0.0.1',
  };
}

function start(env, limit) {
  const command = limit ? ['prlimit', [`--nofile=${limit}`, CHATBOX, 'run']] : [CHATBOX, ['run']];
  const child = spawn(...command, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  const port = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the server did not listen: ${said}`)), START_MS);
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`the server ended: ${said.slice(-2000)}`)));
    child.stderr.setEncoding('utf8').on('data', (text) => {
      said = (said + text).slice(-8192);
      const found = /"msg":"listening".*?"port":(\d+)/.exec(said);
      if (found) resolve(Number(found[1]), clearTimeout(timer));
    });
  });
  child.once('exit', (code, signal) => {
    if (code !== 0 || signal) process.stderr.write(`attack: the server ended with ${code ?? signal}: ${said.slice(-1000)}\n`);
  });
  return { child, port };
}

async function end(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}

/** What the talkers felt: the result of the load generator. */
function talkers(o, port, pid, tokens) {
  const content = 'Hello, this is message {i} of an ordinary conversation, as people write them.';
  const message = { type: 'user_message', session_id: '{session}', content };
  const rate = Math.max(1, Math.round((o.talkers * 2) / 3));
  const args = ['--json', '--port', port, '--pid', pid, '--tokens-file', tokens, '--mode', 'open', '--rate', rate,
    '--connections', o.talkers, '--seconds', o.seconds, '--warmup', 1, '--message', JSON.stringify(message), '--answer', 'this is message {i} of'];
  return new Promise((resolve, reject) => {
    const child = spawn(LOAD, args.map(String), { timeout: (o.seconds + 60) * 1000, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '', said = '';
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { said += text; });
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve(JSON.parse(out)) : resolve({ failed: said.trim().split('\n').pop() || `exit ${code}` })));
  });
}

/** A history for the user who is to be erased: said to a server without rates, before the one that is measured. */
async function fatten(place) {
  const env = { ...settings(place.folder, place.secret), RATE_LIMIT: '1000000', USER_WORK_RATE: '1000000', CONNECTION_WORK_RATE: '1000000',
    ADDRESS_WORK_RATE: '1000000', USER_BYTE_RATE: '1GiB', CONNECTION_BYTE_RATE: '1GiB' };
  const server = start(env);
  try {
    const port = await server.port;
    const tokens = join(place.folder, 'fat');
    writeFileSync(tokens, token(place.secret, 'fat'), { mode: 0o600 });
    const message = { type: 'user_message', session_id: '{session}', content: 'x'.repeat(200) + '{i}' };
    const args = ['--json', '--port', port, '--pid', server.child.pid, '--tokens-file', tokens, '--mode', 'open', '--rate', FAT / 2 / 10,
      '--connections', 1, '--seconds', 10, '--warmup', 1, '--message', JSON.stringify(message), '--answer', 'x{i}'];
    await new Promise((resolve, reject) => {
      const child = spawn(LOAD, args.map(String), { timeout: 60_000, stdio: ['ignore', 'ignore', 'inherit'] });
      child.once('error', reject);
      child.once('close', resolve);
    });
  } finally {
    await end(server.child);
  }
}

/** The talkers beside an attacker, which has begun before them and is ended after them. */
async function attacked(name, o, server, env, port, tokens, secret) {
  const pid = server.pid;
  const stop = SPECIAL[name]?.beside?.({ child: server, env });
  const child = fork(fileURLToPath(import.meta.url), ['--as', name], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  try {
    child.send({ port, secret });
    await pause(500);
    const felt = await talkers(o, port, pid, tokens);
    const count = new Promise((resolve) => { child.once('message', resolve); child.once('exit', () => resolve({})); });
    if (child.connected) child.send('told');
    return { ...felt, told: await Promise.race([count, pause(5000).then(() => ({}))]) };
  } finally {
    await end(child, 'SIGKILL');
    await stop?.();
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const ms = (us) => (us === undefined ? 'lost' : `${(us / 1000).toFixed(1)} ms`);

async function measure(name, o, place) {
  const results = [];
  for (let round = 0; round < o.rounds; round++) {
    await SPECIAL[name]?.before?.(place);
    const env = settings(place.folder, place.secret);
    const server = start(env, SPECIAL[name]?.limit);
    try {
      const port = await server.port;
      const calm = await talkers(o, port, server.child.pid, place.tokens);
      const hot = await attacked(name, o, server.child, env, port, place.tokens, place.secret);
      results.push({ name, round, calm, hot });
    } finally {
      await end(server.child);
    }
  }
  return results;
}

function line(name, results) {
  const good = results.filter(({ calm, hot }) => !calm.failed && !hot.failed);
  if (!good.length) return { text: `| ${name} | ${results[0].calm.failed ?? results[0].hot.failed} | | | |`, ratio: Infinity };
  const calm = median(good.map((r) => r.calm.p99_us)), hot = median(good.map((r) => r.hot.p99_us));
  const { sent = 0, refused = 0, closed = 0, said } = { ...good[0].hot.told, said: told.said };
  told.said = undefined;
  return { ratio: hot / calm, text: `| ${name} | ${ms(calm)} | ${ms(hot)} | ${(hot / calm).toFixed(2)} | ${sent} sent, ${refused} refused, ${closed} closed${said ? `, ${said}` : ''} | ${ATTACKS[name][0]} |` };
}

function prepare(talking) {
  const folder = mkdtempSync(join(tmpdir(), 'chatbox-attack-'));
  const secret = randomBytes(48).toString('base64url');
  cpSync(process.env.CHATBOX_SCRIPTS ?? join(root, 'scripts'), join(folder, 'scripts'), { recursive: true });
  renameSync(join(folder, 'scripts', 'routes.lua'), join(folder, 'scripts', 'chat_routes.lua')); // bench/scripts adds what spins
  cpSync(join(bench, 'scripts'), join(folder, 'scripts'), { recursive: true });
  const tokens = join(folder, 'tokens');
  writeFileSync(tokens, Array.from({ length: talking }, (_, i) => token(secret, `talker-${i}`)).join('\n'), { mode: 0o600 });
  return { folder, secret, tokens };
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      as: { type: 'string' }, talkers: { type: 'string', default: '100' }, seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '1' }, json: { type: 'string' }, strict: { type: 'boolean' }, help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(help + Object.entries(ATTACKS).map(([name, [what]]) => `  ${name.padEnd(14)} ${what}`).join('\n'));
  if (values.as) {
    process.on('message', (message) => (message === 'told' ? process.send(told) : ATTACKS[values.as][1](message)));
    process.on('disconnect', () => process.exit(0));
    return undefined;
  }
  const o = { talkers: Number(values.talkers), seconds: Number(values.seconds), rounds: Number(values.rounds) };
  if (!(o.talkers >= 1 && o.talkers <= 10000 && o.seconds >= 1 && o.seconds <= 60 && o.rounds >= 1 && o.rounds <= 20)) throw new Error('see --help');
  const names = positionals.length ? positionals : Object.keys(ATTACKS);
  const unknown = names.filter((name) => !ATTACKS[name]);
  if (unknown.length) throw new Error(`no such attack: ${unknown.join(', ')}; see --help`);
  for (const program of [CHATBOX, LOAD]) if (!existsSync(program)) throw new Error(`${program} is not built; ./dev bench builds it`);
  const place = prepare(o.talkers);
  const all = [], lines = [];
  try {
    for (const name of names) {
      process.stderr.write(`attack: ${name}\n`);
      const results = await measure(name, o, place);
      all.push(...results);
      lines.push(line(name, results));
      process.stderr.write(`${lines.at(-1).text}\n`); // should the rest not be waited for
    }
  } finally {
    rmSync(place.folder, { recursive: true, force: true });
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(all, null, 1)}\n`);
  console.log(`${o.talkers} talkers, two workers\n`);
  console.log('| attack | p99 alone | p99 beside it | ratio | the attacker | what it does |\n|---|---|---|---|---|---|');
  for (const { text } of lines) console.log(text);
  return values.strict && lines.some(({ ratio }) => !(ratio <= 2)) ? 1 : 0;
}

process.exitCode = await main().catch((error) => {
  console.error(`attack: ${error.message}`);
  return 2;
});
