// In: chatbox-commit, built. Out: a table of messages committed per second through the store, beside what the library of
// the database makes of the same rows, schema and batch. Why: figures of a disk mean little; what the store leaves of
// its database's own ceiling, in turns within seconds, holds on any. Databases are made for this and thrown away.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './table.mjs';

const bench = dirname(fileURLToPath(import.meta.url));
const root = dirname(bench);
const PROGRAM = process.env.CHATBOX_COMMIT ?? join(root, 'build', 'release', 'chatbox-commit');
const SESSIONS = [1, 100, 1000];
const TARGET = 0.7;
const MONGOD = join(root, 'spec', 'support', 'mongod.sh');
const MONGOD_MS = 60_000;

const help = `Usage: bench/store [options]
Messages committed per second at ${SESSIONS.join(', ')} sessions, each with one message on its way, beside the ceiling.
Options:
  --rounds N    default 3
  --seconds S   measured time of one run, default 2
  --strict      exit 1 when less than ${TARGET} of a ceiling is reached
Environment: CHATBOX_COMMIT (program), BENCH_DIR (disk to measure on; default build/bench).`;

function options() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '2' },
      strict: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
  const o = { rounds: Number(values.rounds), seconds: Number(values.seconds), strict: values.strict };
  if (!(o.rounds >= 1 && o.rounds <= 20)) throw new Error('--rounds has to be 1 to 20');
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not built; ./dev bench builds it`);
  return o;
}

function measure(url, sessions, who, seconds, ...batch) {
  const run = spawnSync(PROGRAM, [url, sessions, who, seconds, ...batch].map(String), { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr.trim() || `chatbox-commit ended with ${run.status ?? run.signal}`);
  return JSON.parse(run.stdout);
}

// The ceiling gets the batch the store had: what a commit costs is shared by as many.
function turns(backend, o) {
  const rows = [];
  for (const sessions of SESSIONS) {
    const seen = [];
    for (let round = 0; round < o.rounds; round++) {
      process.stderr.write(`bench: ${backend.name}, ${sessions} sessions, round ${round + 1} of ${o.rounds}\n`);
      const store = measure(backend.fresh(), sessions, 'store', o.seconds);
      const batch = Math.max(1, Math.round(store.batch));
      const ceiling = measure(backend.fresh(), sessions, 'ceiling', o.seconds, batch);
      seen.push({ store: store.per_second, ceiling: ceiling.per_second, batch });
    }
    const middle = (pick) => median(seen.map(pick));
    rows.push({
      name: backend.name, sessions, batch: middle((s) => s.batch), store: middle((s) => s.store),
      ceiling: middle((s) => s.ceiling), ratio: middle((s) => s.store / s.ceiling),
    });
  }
  return rows;
}

function table(rows) {
  const head = ['', 'sessions', 'batch', 'store/s', 'ceiling/s', 'of ceiling', ''];
  const cells = rows.map((r) => [
    r.name, r.sessions, r.batch, Math.round(r.store), Math.round(r.ceiling), r.ratio.toFixed(2),
    r.ratio >= TARGET ? 'met' : 'MISSED',
  ].map(String));
  const widths = head.map((_, i) => Math.max(...[head, ...cells].map((r) => r[i].length)));
  return [head, ...cells].map((r) => r.map((c, i) => (i ? c.padStart(widths[i]) : c.padEnd(widths[i]))).join('  ')).join('\n');
}

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

const accepts = (port) => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
  socket.once('error', () => setTimeout(resolve, 100, false));
});

// A server of its own, one member, as the tests find it; nothing where there is none.
async function mongo(folder) {
  const found = spawnSync(MONGOD, ['find'], { encoding: 'utf8' });
  if (found.status !== 0) {
    process.stderr.write(`bench: mongodb SKIPPED: ${found.stderr.trim()}\n`);
    return undefined;
  }
  const port = await freePort();
  const data = join(folder, 'mongo');
  mkdirSync(data);
  const child = spawn(MONGOD, ['run', data, String(port)], { stdio: 'ignore' });
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  const stop = () => { child.kill('SIGKILL'); return ended; };
  for (const end = Date.now() + MONGOD_MS; !await accepts(port);) {
    if (Date.now() < end && child.exitCode === null) continue;
    await stop();
    throw new Error('mongod did not start');
  }
  let made = 0;
  return { name: 'mongodb', fresh: () => `mongodb://127.0.0.1:${port}/bench${++made}`, stop };
}

async function main() {
  const o = options();
  const parent = process.env.BENCH_DIR ?? join(root, 'build', 'bench');
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, 'store-'));
  let made = 0;
  let server;
  try {
    const sqlite = { name: 'sqlite', fresh: () => `sqlite:${join(folder, `${++made}.db`)}` };
    const rows = turns(sqlite, o);
    server = await mongo(folder);
    if (server) rows.push(...turns(server, o));
    console.log(`${table(rows)}\n\nTarget: at least ${TARGET} of the ceiling.`);
    return o.strict && rows.some((r) => r.ratio < TARGET) ? 1 : 0;
  } finally {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main().catch((error) => {
  console.error(`bench: ${error.message}`);
  return 2;
});
