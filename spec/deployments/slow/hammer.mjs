// In: a URL. Out: a line when the first request is answered, and when standard input ends a line of JSON: how often what
// happened. Why: a port that is ever closed is found by whoever never stops knocking. Each request has a connection of its own.

import http from "node:http";

const url = process.argv[2];
const seen = { answered: 0, longest_ms: 0 };
let more = true;
process.stdin.on("end", () => (more = false)).resume();

const ask = () =>
  new Promise((resolve) => {
    const start = performance.now();
    const end = (how) => {
      seen[how] = (seen[how] ?? 0) + 1;
      seen.longest_ms = Math.max(seen.longest_ms, Math.round(performance.now() - start));
      if (how === "answered" && seen.answered === 1) console.log("begun");
      resolve();
    };
    http
      .get(url, { agent: false, timeout: 60000 }, (response) => {
        response.resume().on("end", () => end(response.statusCode === 200 ? "answered" : `${response.statusCode}`));
        response.on("error", (error) => end(error.code));
      })
      .on("timeout", function () {
        this.destroy(new Error("no answer for a minute"));
      })
      .on("error", (error) => end(error.code ?? error.message));
  });

const knock = async () => {
  while (more) await ask();
};
await Promise.all([knock(), knock(), knock(), knock()]);
console.log(JSON.stringify(seen));
