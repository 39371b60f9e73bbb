// In: built programs (chatbox, chatbox-load) and the peers in peers/. Out: a table of what each server did under the same
// load, with ratios. Why: absolute figures of a machine mean little; what holds is the ratio of servers that took turns on
// the same core within seconds. The server has core 0, the generator core 1, and every wait has an end.
import { parseArgs } from 'node:util';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { workspace } from './servers.mjs';
import { reached, table, TARGETS } from './table.mjs';

const WHAT = ['one', 'sixteen', 'fixed', 'guards', 'guards16', 'kill', 'reload', 'stored', 'filled', 'acked', 'idle', 'counts'];
const STORES = ['stored', 'filled', 'acked'];
const BUILDS = ['chatbox', 'before']; // ours: now, and an earlier one
const OURS = [...STORES, 'kill', 'reload']; // what the peers do not do
const GUARDS = ['guards', 'guards16']; // with and without
const COUNTED = ['chatbox', 'before', 'luajit']; // what can be counted: native code in one process
const COUNT_S = [5, 15]; // two runs; the difference is made of messages only
const COUNT_RATE = 400;
const RELOAD_MS = 250; // from one to the next
const KILL_MS = 1000; // likewise
const FILL = ['--connections', '1000', '--inflight', '4', '--seconds', '20', '--warmup', '0'];

const help = `Usage: bench/run [options] [WHAT…]
WHAT is any of: one sixteen fixed reload stored filled acked idle counts; all of them when none is named.
  one      200 connections, 1 message in flight each      messages per second
  sixteen  200 connections, 16 messages in flight each    messages per second
  fixed    200 connections, 20,000 messages per second    processor time per message, 99th percentile of latency
  guards   as one, by chatbox with and without what bounds the time and memory of scripts (then they are compiled)
                                                          processor time per message
  guards16 the same as sixteen                            processor time per message
  kill     5,000 messages per second on one worker, without and with a handler that has to be ended every second;
           chatbox only                                   99th percentile of latency
  reload   10,000 messages per second, without and with a reload of the scripts every 250 ms; chatbox only
                                                          what a reload adds to the 99th percentile
  stored   200 connections, 1 message in flight each, which are stored, acknowledged and answered by the echo bot;
           chatbox only                                   acknowledged messages per second
  filled   the same in a database with millions of messages of other people (--millions), made once and kept in build/bench
                                                          acknowledged messages per second, processor time of each
  acked    the same, 2,000 messages per second            latency from sending to the ack
  idle     15,000 connections that say nothing            resident memory of each
  counts   400 messages per second in valgrind, whose simulated processor no neighbour disturbs
                                                          instructions and first-level cache misses per message
Options:
  --quick           one short round
  --rounds N        default 3
  --seconds S       measured time of one run, default 3
  --only NAMES      of chatbox,luajit,go,node,raw (guards brings in unguarded, CHATBOX_BEFORE brings in before)
  --connections N   of the idle run, default 15000
  --millions N      messages in the database of filled, 0.1 to 20, default 1: the first time a minute for each
  --strict          exit 1 when a target is missed
  --json FILE       every single result
Environment: CHATBOX, CHATBOX_LOAD (programs; default build/release/…), CHATBOX_SCRIPTS (default scripts/);
CHATBOX_BEFORE, CHATBOX_BEFORE_SCRIPTS: an earlier build to compare with in the same run, and its scripts.`;

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string', default: 'chatbox,luajit,go,node,raw' },
      connections: { type: 'string', default: '15000' },
      millions: { type: 'string', default: '1' },
      strict: { type: 'boolean' },
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
  const o = {
    rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
    seconds: Number(values.seconds ?? (values.quick ? 1.5 : 3)),
    warmup: values.quick ? 0.5 : 1,
    connections: Number(values.connections),
    millions: Number(values.millions),
    names: values.only.split(','),
    what: positionals.length ? positionals : WHAT,
    strict: values.strict,
    json: values.json,
  };
  if (o.what.some((w) => GUARDS.includes(w)) && !o.names.includes('unguarded')) o.names.push('unguarded');
  if (process.env.CHATBOX_BEFORE && !o.names.includes('before')) o.names.splice(1, 0, 'before');
  const unknown = o.what.filter((w) => !WHAT.includes(w));
  if (unknown.length) throw new Error(`no such measurement: ${unknown.join(', ')}; see --help`);
  if (!(o.millions >= 0.1 && o.millions <= 20)) throw new Error('--millions has to be 0.1 to 20');
  if (!(o.rounds >= 1 && o.rounds <= 20)) throw new Error('--rounds has to be 1 to 20');
  return o;
}

const flags = (o) => ({
  one: ['--inflight', '1'],
  sixteen: ['--inflight', '16'],
  fixed: ['--mode', 'open', '--rate', '20000'],
  guards: ['--inflight', '1'],
  guards16: ['--inflight', '16'],
  kill: ['--mode', 'open', '--rate', '5000'],
  reload: ['--mode', 'open', '--rate', '10000'],
  stored: ['--inflight', '1'],
  filled: ['--inflight', '1'],
  acked: ['--mode', 'open', '--rate', '2000'],
  idle: ['--mode', 'idle', '--connections', String(o.connections), '--seconds', '1'],
});

// One server's turn of one round: started, put through what was asked for, stopped.
async function turn(space, name, round, o, results) {
  const loads = o.what.filter((w) => (name === 'unguarded' ? GUARDS.includes(w) : BUILDS.includes(name) || ![...OURS, ...GUARDS].includes(w)))
    .filter((w) => !['filled', 'idle', 'counts'].includes(w));
  const timing = ['--connections', '200', '--seconds', String(o.seconds), '--warmup', String(o.warmup)];
  const measure = async (server, what, more) => {
    process.stderr.write(`bench: round ${round + 1} of ${o.rounds}, ${name}, ${what}\n`);
    const kind = STORES.includes(what) ? 'acked' : 'measured';
    const run = () => server.load([...flags(o)[what], ...more], kind);
    if (!['kill', 'reload'].includes(what)) {
      results.push({ name, round, what, ...await run() });
      return;
    }
    const calm = await run();
    if (what === 'kill') {
      results.push({ name, round, what, ...await server.killing(KILL_MS, run), calm_p99_us: calm.p99_us });
      return;
    }
    const { reloads, ...shaken } = await server.reloading(RELOAD_MS, run);
    const bump = { bump_us: shaken.p99_us - calm.p99_us, calm_p99_us: calm.p99_us, reloads };
    results.push({ name, round, what, ...shaken, ...bump });
  };
  if (loads.length) {
    await space.serve(name, async (server) => {
      for (const what of loads) await measure(server, what, timing);
    });
  }
  if (o.what.includes('filled') && BUILDS.includes(name)) {
    const database = await space.filled(o.millions, FILL);
    await space.serve(name, (server) => measure(server, 'filled', timing), { database });
  }
  // Memory does not vary from round to round, but it does with what the process did before: a fresh one, once.
  if (round === 0 && o.what.includes('idle') && name !== 'unguarded') {
    await space.serve(name, (server) => measure(server, 'idle', []));
  }
}

// The same machine gives the same counts, so once is enough.
async function count(space, name, results) {
  const runs = [];
  for (const seconds of COUNT_S) {
    process.stderr.write(`bench: ${name}, counting ${seconds} s of messages\n`);
    let answered;
    const load = ['--connections', '200', '--mode', 'open', '--rate', String(COUNT_RATE), '--seconds', String(seconds), '--warmup', '1'];
    const total = await space.serve(name, async (server) => {
      answered = (await server.load(load, 'measured')).messages;
    }, { counting: true });
    runs.push({ ...total, answered });
  }
  const [few, many] = runs;
  const each = (key) => (many[key] - few[key]) / (many.answered - few.answered);
  results.push({
    name, round: 0, what: 'counts', instructions: each('instructions'),
    instruction_misses: each('instruction_misses'), data_misses: each('data_misses'),
  });
}

async function main() {
  const o = options();
  const space = await workspace(o);
  const results = [];
  try {
    for (let round = 0; round < o.rounds; round++) {
      for (const name of space.names) await turn(space, name, round, o, results);
    }
    if (o.what.includes('counts')) {
      for (const name of space.names.filter((n) => COUNTED.includes(n))) await count(space, name, results);
    }
  } finally {
    space.close();
  }
  if (o.json) writeFileSync(o.json, `${JSON.stringify(results, null, 1)}\n`);
  console.log(table(results, space.names, availableParallelism()));
  const missed = TARGETS.filter((t) => {
    const r = reached(results, t);
    return r !== undefined && !(t.least ? r >= t.least : r <= t.most);
  });
  return o.strict && missed.length ? 1 : 0;
}

process.exitCode = await main().catch((error) => {
  console.error(`bench: ${error.message}`);
  return 2;
});
