// In: what gcc's counters have left in build/coverage. Out: how often each line of core and bindings ran, in the format of
// lcov's tracefiles. Why: lcov's own reader stops at a file without code, and takes minutes. Objects of rooms and of the program
// only; those of tests would count themselves.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";

const root = process.cwd();
const objects = path.join(root, "build/coverage/CMakeFiles");
const notes = readdirSync(objects, { recursive: true }).filter((f) => /^[^/]+\.dir\/(core|bindings)\/.*\.gcno$/.test(f)).map((f) => path.join(objects, f));

const files = new Map(); // path -> Map(line -> count)
for (const note of notes) {
  const { status, stdout, stderr } = spawnSync("gcov", ["--json-format", "--stdout", note], { encoding: "utf8", cwd: objects, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`gcov ${note}: ${stderr}`);
  for (const { file, lines } of stdout.split("\n").filter(Boolean).flatMap((text) => JSON.parse(text).files)) {
    const where = path.relative(root, path.resolve(root, file));
    if (!/^(core|bindings)\//.test(where)) continue;
    const counts = files.get(where) ?? new Map();
    files.set(where, counts);
    for (const { line_number: line, count } of lines) counts.set(line, (counts.get(line) ?? 0) + count);
  }
}
for (const [where, counts] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
  console.log(`TN:\nSF:${path.join(root, where)}`);
  for (const [line, count] of [...counts].sort(([a], [b]) => a - b)) console.log(`DA:${line},${count}`);
  console.log(`LF:${counts.size}\nLH:${[...counts.values()].filter((n) => n > 0).length}\nend_of_record`);
}
