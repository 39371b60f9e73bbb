// In: chatbox, built, and the shell of SQLite. Out: a table of how long a page of GET /admin/sessions takes in each
// order, at its beginning and deep inside, and what memory it costs. Why: an operator's list must not grow slow with what
// it lists. The database is made for this, filled behind the server's back, and thrown away.
import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PROGRAM = process.env.CHATBOX_BIN ?? join(root, 'build', 'release', 'chatbox');
const TARGET_MS = 50;
const SORTS = ['start_time', 'end_time', 'message_count', 'total_tokens', 'user_id', 'duration', 'last_activity'];
const FILTERS = ['', 'status=active', 'status=ended', 'admin_assisted=true', 'user_id=u77'];

const { values: options } = parseArgs({
  options: { conversations: { type: 'string', default: '1000000' }, pages: { type: 'string', default: '200' }, strict: { type: 'boolean' }, help: { type: 'boolean' } },
});
if (options.help) {
  console.log(`Usage: bench/admin [--conversations N] [--pages N] [--strict]
Pages of 100 conversations out of N (1000000), in every order, following the cursor. --strict: exit 1 when the
99th percentile of an order is over ${TARGET_MS} ms. Environment: CHATBOX_BIN, BENCH_DIR.`);
  process.exit(0);
}
const N = Number(options.conversations), PAGES = Number(options.pages);

// 2 users in 100 conversations; 7 of 10 have ended; 1 in 1000 was helped.
const fill = `PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;
INSERT INTO sessions(id, uid, nm, modelId, ts, endTs, lastActivity, helpRequested, adminAssisted, totalTokens, maxRespTime, avgRespTime, top)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${N})
SELECT printf('%032x', i * 7919), 'u' || (i * 7 % (${N} / 50 + 1)), 'Conversation ' || i, 'echo', 1700000000000 + i * 1000,
  iif(i % 10 < 7, 1700000000000 + i * 1000 + i * 31 % 3600000, NULL), 1700000000000 + i * 1000 + i * 13 % 1800000, 0,
  i % 1000 = 0, i * 17 % 5000, i % 900, i % 400, i * 5 % 60 FROM n;`;

const secret = randomBytes(32).toString('hex').replaceAll('12345', '54321');
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token() {
  const now = Math.floor(Date.now() / 1000);
  const body = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url({ user_id: 'root', roles: ['admin'], iat: now, exp: now + 86400 })}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

mkdirSync(process.env.BENCH_DIR ?? join(root, 'build', 'bench'), { recursive: true });
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? join(root, 'build', 'bench'), 'admin-'));
const database = join(folder, 'chatbox.db');

async function start() {
  const child = spawn(PROGRAM, ['run'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      PATH: process.env.PATH, JWT_SECRET: secret, STORE_URL: `sqlite:${database}`, SERVER_PORT: '0', SERVER_ADDRESS: '127.0.0.1', LOG_FORMAT: 'json', WORKERS: '1',
      SCRIPTS_DIR: join(root, 'scripts'), WEB_DIR: join(root, 'web'), ADMIN_READ_RATE_LIMIT: '1000000', USER_WORK_RATE: '1000000', ADDRESS_WORK_RATE: '1000000',
    },
  });
  const lines = createInterface({ input: child.stderr });
  const port = await new Promise((resolve, reject) => {
    lines.on('line', (line) => line.startsWith('{') && JSON.parse(line).msg === 'listening' && resolve(Number(JSON.parse(line).port)));
    child.on('exit', (code) => reject(new Error(`${PROGRAM} ended (${code})`)));
    child.on('error', reject);
  });
  return { child, port, ended: new Promise((resolve) => child.on('exit', resolve)) };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const bearer = token();
function ask(port, query) {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    http.get({ host: '127.0.0.1', port, agent, path: `/chatbox/admin/sessions?${query}`, headers: { Authorization: `Bearer ${bearer}` } }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const ms = performance.now() - began;
        if (response.statusCode !== 200) reject(new Error(`${query}: ${response.statusCode} ${Buffer.concat(parts)}`));
        else resolve({ ms, ...JSON.parse(Buffer.concat(parts)) });
      });
    }).on('error', reject);
  });
}

const rss = (child) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;
const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

let missed = false;
try {
  let server = await start(); // makes the schema
  server.child.kill('SIGTERM');
  await server.ended;
  const filled = spawnSync('sqlite3', [database], { input: fill });
  if (filled.status !== 0) throw new Error(`sqlite3: ${filled.error ?? filled.stderr}`);
  server = await start();
  await ask(server.port, 'limit=1');
  const before = rss(server.child);
  console.log(`${N} conversations, pages of 100, ms\n\n| order, filter | pages | median | p99 | worst |\n|---|---|---|---|---|`);
  for (const filter of FILTERS) {
    for (const sort of filter ? ['start_time', 'last_activity', 'duration'] : SORTS) {
      const times = [];
      for (const order of ['desc', 'asc']) {
        let cursor = '';
        for (let i = 0; i < PAGES / 2 && cursor !== undefined; i++) {
          const page = await ask(server.port, `limit=100&sort_by=${sort}&sort_order=${order}&${filter}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
          times.push(page.ms);
          cursor = page.next_cursor;
        }
      }
      times.sort((a, b) => a - b);
      missed ||= at(times, 0.99) > TARGET_MS;
      console.log(`| ${sort}${filter && `, ${filter}`} | ${times.length} | ${at(times, 0.5).toFixed(1)} | ${at(times, 0.99).toFixed(1)} | ${times.at(-1).toFixed(1)} |`);
    }
  }
  const deep = await ask(server.port, 'limit=100&offset=10000');
  console.log(`| start_time, offset=10000 | 1 | ${deep.ms.toFixed(1)} | | |`);
  console.log(`\nMemory: ${before.toFixed(0)} MiB before, ${rss(server.child).toFixed(0)} MiB after. Target: p99 at most ${TARGET_MS} ms: ${missed ? 'MISSED' : 'met'}`);
  server.child.kill('SIGTERM');
  await server.ended;
} finally {
  agent.destroy();
  rmSync(folder, { recursive: true });
}
process.exit(missed && options.strict ? 1 : 0);
