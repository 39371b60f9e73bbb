// In: a built chatbox. Out: what it costs when everybody comes back at once: the 99th percentile from opening the socket to
// being told all that was missed, processor time of the server per client, and what those notice who have stayed.
// Why: after a restart or an outage all clients come within seconds, each behind by a while; that is when a server that
// is fast with those who are there shows what it does for those who were not. The server has its limits of connections
// raised and everything else as it is shipped; every wait has an end.
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import WebSocket from 'ws';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const CHATBOX = process.env.CHATBOX ?? join(root, 'build', 'release', 'chatbox');
const WAIT_MS = 60_000;
const STAYED = 50; // clients that are there all the time, and ping five times a second
const PING_MS = 200;
const TICKS = 100; // of the kernel, per second

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '10000' },
    within: { type: 'string', default: '10' },
    missed: { type: 'string', default: '20' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  console.log('Usage: bench/resume.mjs [--clients 10000] [--within SECONDS, 10] [--missed MESSAGES of each, even, 20]');
  process.exit(0);
}
const CLIENTS = Number(values.clients), WITHIN_MS = 1000 * Number(values.within), MISSED = Number(values.missed);

const secret = randomBytes(32).toString('base64url').replaceAll('12345', 'abcde');
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token(user) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ user_id: user, roles: [], iat: now, exp: now + 3600 })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const dir = mkdtempSync(join(tmpdir(), 'chatbox-bench-'));
const server = spawn(CHATBOX, ['run'], {
  env: {
    SERVER_ADDRESS: '127.0.0.1', SERVER_PORT: '0', JWT_SECRET: secret, LOG_FORMAT: 'json', STORE_URL: `sqlite:${dir}/chatbox.db`,
    SCRIPTS_DIR: join(root, 'scripts'), WEB_DIR: join(root, 'web'), MAX_CONNECTIONS: '30000', MAX_CONNECTIONS_PER_ADDRESS: '30000',
    MAX_HANDSHAKES: '4096', ADDRESS_WORK_RATE: '1000000', ADDRESS_BYTE_RATE: '1GiB',
  },
  stdio: ['ignore', 'ignore', 'pipe'],
});
process.on('exit', () => {
  server.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});
const port = await new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error('the server did not start')), WAIT_MS).unref();
  createInterface({ input: server.stderr }).on('line', (line) => {
    const said = JSON.parse(line);
    if (said.msg === 'listening') resolve(Number(said.port));
  });
});

/** A client; hear is called with every document. */
function open(user, hear) {
  const url = `ws://127.0.0.1:${port}/chatbox/ws`;
  const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token(user)}` }, perMessageDeflate: false });
  const ready = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${user} waited too long`)), WAIT_MS);
    const done = (value) => {
      clearTimeout(late);
      resolve(value);
    };
    socket.on('message', (data) => hear(JSON.parse(data), socket, done));
    socket.on('error', reject);
  });
  return { socket, ready };
}

/** Says what the others are to have missed. → the place of its client before that */
async function speak(user) {
  let said = 0, place;
  const { socket, ready } = open(user, (m, s, done) => {
    if (m.type === 'connection_status' && !place) s.send('{"type":"hello","v":2}');
    if (m.type === 'welcome') place = { session_id: m.session_id, epoch: m.epoch, seq: 0 };
    if (m.type === 'welcome' || m.type === 'ai_response') {
      if (said === MISSED / 2) return done();
      s.send(JSON.stringify({ type: 'user_message', session_id: place.session_id, content: `message ${++said} of somebody who talks` }));
    }
  });
  await ready;
  socket.terminate();
  return place;
}

/** Comes back. → ms until it had heard all it had missed */
async function comeBack(user, place) {
  const began = performance.now();
  let heard = 0;
  const { socket, ready } = open(user, (m, s, done) => {
    if (m.type === 'welcome' && !(m.recovered && m.replayed === MISSED)) throw new Error(JSON.stringify(m));
    if (m.seq && m.seq !== ++heard) throw new Error(`seq ${m.seq} after ${heard - 1}`);
    if (heard === MISSED) done(performance.now() - began);
  });
  socket.on('open', () => socket.send(JSON.stringify({ type: 'hello', v: 2, resume: place })));
  return ready;
}

async function inParallel(count, limit, work) {
  let next = 0;
  const results = Array(count);
  await Promise.all(Array.from({ length: limit }, async () => {
    while (next < count) {
      const i = next++;
      results[i] = await work(i);
    }
  }));
  return results;
}

const rank = (list, part) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(part * list.length))];
const ms = (value) => `${value.toFixed(1)} ms`;
const cpu_s = () => {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};

const places = await inParallel(CLIENTS, 200, (i) => speak(`user${i}`));
console.log(`${CLIENTS} clients have missed ${MISSED} messages each`);

const pings = { before: [], during: [] };
let phase = 'before';
const stayed = Array.from({ length: STAYED }, (_, i) => {
  let sent;
  const { socket } = open(`stayed${i}`, (m) => m.type === 'pong' && pings[phase].push(performance.now() - sent));
  return setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return;
    sent = performance.now();
    socket.send('{"type":"ping"}');
  }, PING_MS);
});
await new Promise((resolve) => setTimeout(resolve, 3000));
phase = 'during';
const [cpu, began] = [cpu_s(), performance.now()];
const times = await Promise.all(places.map(async (place, i) => {
  await new Promise((resolve) => setTimeout(resolve, (i * WITHIN_MS) / CLIENTS));
  return comeBack(`user${i}`, place);
}));
const took_s = (performance.now() - began) / 1000, spent_s = cpu_s() - cpu;
for (const timer of stayed) clearInterval(timer);
console.log(`came back within ${took_s.toFixed(1)} s; until all was told: median ${ms(rank(times, 0.5))}, p99 ${ms(rank(times, 0.99))}`);
console.log(`processor time of the server per client: ${((spent_s * 1e6) / CLIENTS).toFixed(0)} µs`);
console.log(`those who stayed, ping to pong: p99 ${ms(rank(pings.before, 0.99))} before, ${ms(rank(pings.during, 0.99))} meanwhile`);
process.exit(0);
