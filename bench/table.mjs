// In: single results. Out: medians, ratios and whether the targets were met, as text.
// Why: ratios are taken within a round, where the machine was the same, and then their median; a ratio of two medians
// would mix times at which the machine was busy with times at which it was not.

const ROWS = [
  { what: 'one', key: 'per_second', title: '1 in flight, messages/s' },
  { what: 'one', key: 'server_us_per_message', title: '1 in flight, CPU us/message', digits: 2 },
  { what: 'sixteen', key: 'per_second', title: '16 in flight, messages/s' },
  { what: 'sixteen', key: 'server_us_per_message', title: '16 in flight, CPU us/message', digits: 2 },
  { what: 'fixed', key: 'server_us_per_message', title: '20,000/s, CPU us/message', digits: 2 },
  { what: 'fixed', key: 'p99_us', title: '20,000/s, p99 us' },
  { what: 'guards', key: 'server_us_per_message', title: '1 in flight, guarded or not, CPU us/message', digits: 2 },
  { what: 'guards16', key: 'server_us_per_message', title: '16 in flight, guarded or not, CPU us/message', digits: 2 },
  { what: 'kill', key: 'calm_p99_us', title: '5,000/s, p99 us' },
  { what: 'kill', key: 'p99_us', title: '5,000/s, 1 kill/s, p99 us' },
  { what: 'reload', key: 'calm_p99_us', title: '10,000/s, p99 us' },
  { what: 'reload', key: 'p99_us', title: '10,000/s, 4 reloads/s, p99 us' },
  { what: 'reload', key: 'bump_us', title: '10,000/s, what a reload adds to p99, us' },
  { what: 'stored', key: 'per_second', title: 'stored and acked, 1 in flight, messages/s' },
  { what: 'stored', key: 'server_us_per_message', title: 'stored and acked, CPU us/exchange', digits: 1 },
  { what: 'filled', key: 'per_second', title: 'the same, millions stored before, messages/s' },
  { what: 'filled', key: 'server_us_per_message', title: 'the same, CPU us/exchange', digits: 1 },
  { what: 'acked', key: 'p50_us', title: 'stored and acked, 2,000/s, p50 us' },
  { what: 'acked', key: 'p99_us', title: 'stored and acked, 2,000/s, p99 us' },
  { what: 'idle', key: 'resident_per_connection', title: 'idle, bytes/connection' },
  { what: 'counts', key: 'instructions', title: '400/s, instructions/message' },
  { what: 'counts', key: 'instruction_misses', title: '400/s, I1 misses/message' },
  { what: 'counts', key: 'data_misses', title: '400/s, D1 misses/message' },
];

export const TARGETS = [
  { what: 'one', key: 'per_second', against: 'go', least: 1.2 },
  { what: 'one', key: 'per_second', against: 'node', least: 1.5 },
  { what: 'sixteen', key: 'per_second', against: 'go', least: 2.5 },
  { what: 'sixteen', key: 'per_second', against: 'node', least: 2.5 },
  { what: 'fixed', key: 'server_us_per_message', against: 'go', most: 0.8 },
  { what: 'guards', key: 'server_us_per_message', against: 'unguarded', most: 1.05 },
  { what: 'reload', key: 'bump_us', most: 10000 },
  { what: 'stored', key: 'server_us_per_message', most: 90 },
  { what: 'filled', key: 'server_us_per_message', of: 'stored', most: 1.4 },
  { what: 'idle', key: 'resident_per_connection', most: 8192 },
];

export function median(values) {
  const sorted = values.filter((v) => Number.isFinite(v)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (!sorted.length) return undefined;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const pick = (results, { what }, name) => results.filter((r) => r.what === what && r.name === name);

export const value = (results, row, name) => median(pick(results, row, name).map((r) => r[row.key]));

export function ratio(results, row, ours, theirs) {
  const rounds = new Map(pick(results, row, theirs).map((r) => [r.round, r[row.key]]));
  return median(pick(results, row, ours).map((r) => r[row.key] / rounds.get(r.round)));
}

// What a target is about: a ratio to another server, to another load of ours (within a round), or a figure.
export function reached(results, target) {
  if (target.against) return ratio(results, target, 'chatbox', target.against);
  if (!target.of) return value(results, target, 'chatbox');
  const rounds = new Map(pick(results, { what: target.of }, 'chatbox').map((r) => [r.round, r[target.key]]));
  return median(pick(results, target, 'chatbox').map((r) => r[target.key] / rounds.get(r.round)));
}

// What makes a figure worth less than it looks.
function remarks(results) {
  const said = [];
  for (const r of results) {
    const where = `${r.name}, ${r.what}, round ${r.round + 1}`;
    if (r.unanswered) said.push(`${where}: ${r.unanswered} messages were not answered`);
    if (r.elsewhere_cores > 0.2) said.push(`${where}: something else used ${r.elsewhere_cores.toFixed(2)} cores`);
    if (r.generator_cores > 0.95 && r.what !== 'fixed') said.push(`${where}: the generator was the limit`);
  }
  return said;
}

function targetLine(results, target) {
  const row = ROWS.find((r) => r.what === target.what && r.key === target.key);
  const got = reached(results, target);
  if (got === undefined) return undefined;
  const met = target.least ? got >= target.least : got <= target.most;
  const bound = target.least ? `at least ${target.least}` : `at most ${target.most}`;
  const to = target.against ?? target.of;
  const shown = to ? `${got.toFixed(2)} of ${to}` : Math.round(got);
  return `  ${met ? 'met   ' : 'MISSED'}  ${row.title}: ${shown}, target ${bound}`;
}

export function table(results, names, cores) {
  const others = names.includes('chatbox') ? names.filter((n) => n !== 'chatbox') : [];
  const head = ['', ...names, ...others.map((n) => `chatbox/${n}`)];
  const rows = ROWS.filter((row) => results.some((r) => r.what === row.what)).map((row) => [
    row.title,
    ...names.map((n) => value(results, row, n)?.toFixed(row.digits ?? 0) ?? '-'),
    ...others.map((n) => ratio(results, row, 'chatbox', n)?.toFixed(2) ?? '-'),
  ]);
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((r) => r[i].length)));
  const line = (cells) => cells.map((c, i) => (i ? c.padStart(widths[i]) : c.padEnd(widths[i]))).join('  ');
  const targets = TARGETS.map((t) => targetLine(results, t)).filter(Boolean);
  const said = remarks(results);
  if (cores < 2) said.push('one core only: server and generator shared it, so only ratios mean anything');
  return [
    line(head), ...rows.map(line), '',
    ...(targets.length ? ['Targets:', ...targets, ''] : []),
    ...(said.length ? ['Take care:', ...said.map((s) => `  ${s}`), ''] : []),
  ].join('\n');
}
