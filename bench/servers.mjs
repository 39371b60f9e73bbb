// In: the name of a server. Out: the server, running on core 0 with a fresh database, and a way to load it from core 1.
// Why: how each is built, started, found and stopped, apart from what is measured. Only processes started here are
// stopped, by their id.
import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

const bench = dirname(fileURLToPath(import.meta.url));
const root = dirname(bench);
const built = join(root, 'build', 'bench');

const CHATBOX = process.env.CHATBOX ?? join(root, 'build', 'release', 'chatbox');
const LOAD = process.env.CHATBOX_LOAD ?? join(root, 'build', 'release', 'chatbox-load');
const SCRIPTS = process.env.CHATBOX_SCRIPTS ?? join(root, 'scripts');
// An earlier build and its scripts, to be compared with in the same run.
const BEFORE = process.env.CHATBOX_BEFORE;
const BEFORE_SCRIPTS = process.env.CHATBOX_BEFORE_SCRIPTS ?? SCRIPTS;

const START_MS = 10_000;
const START_COUNTED_MS = 60_000; // in valgrind
const STOP_MS = 5_000;
const STOP_COUNTED_MS = 30_000;
const LOAD_MS = 60_000;

const CONTENT = 'Hello, this is message {i} of an ordinary conversation, as people write them.';
const ANSWER = 'this is message {i} of';

// What is sent and what its answer contains. A message that is to be acknowledged needs a cid nobody used before.
function dialogue(kind, name) {
  if (kind === 'acked') {
    const run = randomBytes(6).toString('hex');
    const message = { type: 'user_message', session_id: '{session}', cid: `${run}-{i}`, content: CONTENT };
    return { message, answer: `"cid":"${run}-{i}"` };
  }
  const session = name === 'raw' ? '0'.repeat(32) : '{session}'; // an echo has no session to name
  return { message: { type: 'measure', session_id: session, content: CONTENT }, answer: ANSWER };
}

const pinned = (core, command) => (availableParallelism() > 1 ? ['taskset', '-c', String(core), ...command] : command);

function build(source, program, command, environment = {}) {
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return;
  mkdirSync(dirname(program), { recursive: true });
  const [name, ...rest] = command;
  const done = spawnSync(name, rest, { env: { ...process.env, ...environment }, encoding: 'utf8' });
  if (done.error || done.status !== 0) throw new Error(`cannot build ${source}: ${done.error?.message ?? done.stderr}`);
}

function buildGo() {
  const source = join(bench, 'peers', 'go', 'main.go');
  const program = join(built, 'go');
  // Debian's packages lie in a GOPATH; nothing is fetched.
  build(source, program, ['go', 'build', '-o', program, source], {
    GO111MODULE: 'off', GOFLAGS: '-mod=mod', GOPATH: '/usr/share/gocode', GOCACHE: join(built, 'go-cache'),
  });
  return [program];
}

function buildC(name, libraries) {
  const source = (file) => join(bench, 'peers', 'c', file);
  const program = join(built, name);
  const sources = [source(`${name}.c`), source('loop.c')];
  for (const file of sources) {
    build(file, program, ['cc', '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, ...sources, ...libraries]);
  }
  return program;
}

const buildLuajit = () => [
  buildC('luajit', ['-I/usr/include/luajit-2.1', '-lcrypto', '-lluajit-5.1', '-l:liblua5.1-cjson.so']),
  join(bench, 'peers', 'c', 'handler.lua'),
];

// The real scripts with one route more. routes.lua keeps its place in the tree under another name; what lies over it
// (bench/scripts) asks for it and adds the route.
function overlay(folder, name, from) {
  const scripts = join(folder, name);
  cpSync(from, scripts, { recursive: true });
  renameSync(join(scripts, 'routes.lua'), join(scripts, 'chat_routes.lua'));
  cpSync(join(bench, 'scripts'), scripts, { recursive: true });
}

function token(secret, user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ user_id: user, name: user, roles: [], iat: now, exp: now + 3600 })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const UNMETERED = {
  READ_RATE_LIMIT: '1000000',
  END_RATE_LIMIT: '1000000',
  LIVE_RATE_LIMIT: '1000000',
  ADMIN_RATE_LIMIT: '1000000',
  CONNECTION_WORK_RATE: '10000000',
  USER_WORK_RATE: '10000000',
  ADDRESS_WORK_RATE: '10000000',
  CONNECTION_BYTE_RATE: '1GiB',
  USER_BYTE_RATE: '1GiB',
  ADDRESS_BYTE_RATE: '1GiB',
  INBOX_BYTES: '1GiB',
  INBOX_BYTES_PER_USER: '1GiB',
};

// Every limit out of the way: what is compared is the work, not the protection.
const chatboxEnvironment = (folder, secret, run, scripts = 'scripts') => ({
  PATH: process.env.PATH,
  MONGOC_DISABLE_SHM: '1',
  SERVER_ADDRESS: '127.0.0.1',
  SERVER_PORT: '0',
  WORKERS: '1',
  LOG_FORMAT: 'json',
  JWT_SECRET: secret,
  STORE_URL: `sqlite:${join(folder, `chat-${run}.db`)}`,
  SCRIPTS_DIR: join(folder, scripts),
  WEB_DIR: join(root, 'web'),
  MAX_CONNECTIONS: '100000',
  MAX_CONNECTIONS_PER_USER: '100000',
  MAX_HANDSHAKES: '10000',
  MAX_SESSIONS: '1000000',
  RATE_LIMIT: '1000000',
  RATE_WINDOW: '1s',
  ...UNMETERED,
  PUBLIC_RATE_LIMIT: '1000000',
  INBOX_LIMIT: '1000',
  SCRIPT_KILLS_MAX: '0',
});

// In valgrind everything takes fifty times as long.
const PATIENT = { SCRIPT_CHECK_TIMEOUT: '1m', WORKER_STALL_TIMEOUT: '1m' };

// Nothing ends a handler, nothing bounds its memory, everything is compiled: what the guards are compared with.
const UNGUARDED = { SCRIPT_SLICE_BUDGET: '0', SCRIPT_MEMORY_LIMIT: '0' };

function ours() {
  if (!existsSync(CHATBOX)) throw new Error(`${CHATBOX} is not built; ./dev bench builds it`);
  return [CHATBOX, 'run'];
}

const commands = {
  chatbox: ours,
  unguarded: ours,
  before: () => {
    if (!BEFORE || !existsSync(BEFORE)) throw new Error('CHATBOX_BEFORE names no program');
    return [BEFORE, 'run'];
  },
  go: buildGo,
  node: () => [process.execPath, join(bench, 'peers', 'node', 'server.mjs')],
  luajit: buildLuajit,
  raw: () => [buildC('raw', ['-lcrypto'])],
};

// The end of what a process said, for an error message.
const tail = (text) => text.trim().split('\n').slice(-5).join('\n  ');

function listening(child, log, limit) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`did not listen within ${limit} ms`)), limit);
    const ended = () => reject(new Error('ended before it listened'));
    child.once('exit', ended);
    child.once('error', reject);
    child.stderr.setEncoding('utf8').on('data', (text) => {
      log.said = (log.said + text).slice(-16384);
      if (log.port) return;
      const line = log.said.split('\n').find((l) => l.includes('"msg":"listening"') && l.endsWith('}'));
      if (!line) return;
      clearTimeout(timer);
      child.off('exit', ended);
      log.port = JSON.parse(line).port;
      resolve(log.port);
    });
  });
}

// One command over the control socket, as `chatbox reload` sends it.
function command(socket, line) {
  return new Promise((resolve, reject) => {
    let said = '';
    const connection = connect(socket, () => connection.write(`${line}\n`));
    connection.setEncoding('utf8').on('data', (text) => { said += text; });
    connection.once('error', reject);
    connection.once('close', () => (said.startsWith('ok ') ? resolve(said) : reject(new Error(`${line}: ${said}`))));
  });
}

// Changes a script and reloads, again and again, while work() runs. → what it gave, and how many reloads there were.
async function reloading(folder, every, work) {
  const script = join(folder, 'scripts', 'changing.lua');
  let reloads = 0;
  let running = true;
  const loop = async () => {
    while (running) {
      writeFileSync(script, `return ${process.hrtime.bigint()}LL\n`);
      await command(join(folder, 'chatbox.sock'), 'reload');
      reloads += 1;
      await sleep(every);
    }
  };
  const done = loop();
  const result = await work().finally(() => { running = false; });
  await done;
  return { ...result, reloads };
}

// Sends what the guard has to end, again and again, while work() runs. → what it gave, and how many were ended.
async function killing(port, bearer, every, work) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chatbox/ws`, { headers: { Authorization: `Bearer ${bearer}` } });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  let kills = 0;
  socket.on('message', (text) => { kills += text.includes('"INTERNAL"'); });
  const timer = setInterval(() => socket.send('{"type":"spin"}'), every);
  const result = await work().finally(() => { clearInterval(timer); socket.terminate(); });
  return { ...result, kills };
}

async function stop(child, limit = STOP_MS) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), limit);
  await ended;
  clearTimeout(timer);
}

function load(command) {
  return new Promise((resolve, reject) => {
    const [name, ...rest] = pinned(1, command);
    const child = spawn(name, rest, { timeout: LOAD_MS, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let said = '';
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { said += text; });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(out));
      else reject(new Error(`the load generator gave up (${code}): ${tail(said)}`));
    });
  });
}

// What a run of callgrind counted: instructions, and what the first level of the cache did not have.
function counted(file) {
  const text = readFileSync(file, 'utf8');
  const line = (name) => text.match(new RegExp(`^${name}: (.*)$`, 'm'))[1].trim().split(/\s+/);
  const of = Object.fromEntries(line('events').map((event, i) => [event, Number(line('totals')[i])]));
  return { instructions: of.Ir, instruction_misses: of.I1mr, data_misses: of.D1mr + of.D1mw };
}

// What can be started, and a folder for its files. A peer that is not installed is left out, and said so.
export async function workspace({ names, connections }) {
  if (!existsSync(LOAD)) throw new Error(`${LOAD} is not built; ./dev bench builds it`);
  const folder = mkdtempSync(join(tmpdir(), 'chatbox-bench-'));
  const close = () => rmSync(folder, { recursive: true, force: true });
  const secret = randomBytes(48).toString('base64url');
  const tokens = join(folder, 'tokens');
  const command = {};
  let runs = 0;
  try {
    const users = Array.from({ length: Math.max(200, connections) }, (_, i) => token(secret, `user-${i}`));
    writeFileSync(tokens, users.join('\n'), { mode: 0o600 });
    for (const name of names) {
      if (!commands[name]) throw new Error(`no such server: ${name}`);
      try {
        command[name] = commands[name]();
      } catch (error) {
        if (name === 'chatbox') throw error;
        process.stderr.write(`bench: ${name} is left out: ${error.message}\n`);
      }
    }
    if (command.chatbox) overlay(folder, 'scripts', SCRIPTS);
    if (command.before) overlay(folder, 'scripts-before', BEFORE_SCRIPTS);
  } catch (error) {
    close();
    throw error;
  }

  // counting: the server runs in valgrind, and what it counted is the result. database: it starts on a copy of that, or
  // with `keeps` on the file itself.
  async function serve(name, use, { counting = false, database, keeps = false } = {}) {
    const scripts = name === 'before' ? 'scripts-before' : 'scripts';
    const environment = ['chatbox', 'before', 'unguarded'].includes(name)
      ? { ...chatboxEnvironment(folder, secret, ++runs, scripts), ...(name === 'unguarded' && UNGUARDED) }
      : { ...process.env, GOMAXPROCS: '1', NODE_ENV: 'production' };
    if (counting) Object.assign(environment, PATIENT);
    if (keeps) environment.STORE_URL = `sqlite:${database}`;
    else if (database) cpSync(database, environment.STORE_URL.replace('sqlite:', ''));
    const counts = join(folder, `counts-${name}-${++runs}`);
    const under = counting ? ['valgrind', '--tool=callgrind', '--cache-sim=yes', `--callgrind-out-file=${counts}`] : [];
    const [program, ...rest] = pinned(0, [...under, ...command[name]]);
    const child = spawn(program, rest, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    const interrupted = () => { child.kill('SIGKILL'); process.exit(130); };
    process.once('SIGINT', interrupted);
    const log = { said: '' };
    try {
      const port = await listening(child, log, counting ? START_COUNTED_MS : START_MS);
      await use({
        killing: (every, work) => killing(port, token(secret, 'killer'), every, work),
        reloading: (every, work) => reloading(folder, every, work),
        load: (flags, kind, file = tokens) => {
          const { message, answer } = dialogue(kind, name);
          return load([LOAD, '--json', '--port', String(port), '--pid', String(child.pid), '--tokens-file', file,
            '--message', JSON.stringify(message), '--answer', answer, ...flags]);
        },
      });
    } catch (error) {
      throw new Error(`${name}: ${error.message}${log.said && `\nit said:\n  ${tail(log.said)}`}`);
    } finally {
      process.off('SIGINT', interrupted);
      await stop(child, counting ? STOP_COUNTED_MS : STOP_MS);
    }
    return counting ? counted(counts) : undefined;
  }

  // A database with so many million messages, in the conversations of others than those who are measured; kept for the
  // next time, for it takes a minute to make each.
  async function filled(millions, flags) {
    const database = join(built, `filled-${millions}.db`);
    if (existsSync(database)) return database;
    mkdirSync(built, { recursive: true });
    const making = join(built, 'filling.db');
    const clear = () => ['', '-wal', '-shm', '.lock'].forEach((end) => rmSync(making + end, { force: true }));
    clear(); // of a run that was broken off
    const others = join(folder, 'tokens-of-others');
    writeFileSync(others, Array.from({ length: 1000 }, (_, i) => token(secret, `other-${i}`)).join('\n'), { mode: 0o600 });
    try {
      await serve('chatbox', async (server) => {
        for (let messages = 0; messages < millions * 1e6;) {
          process.stderr.write(`bench: ${Math.round(messages / 1e4) / 100} of ${millions} million messages are stored\n`);
          messages += 2 * (await server.load(flags, 'acked', others)).messages;
        }
      }, { database: making, keeps: true });
      renameSync(making, database);
    } finally {
      clear();
    }
    return database;
  }

  return { filled, names: names.filter((name) => command[name]), serve, close };
}
