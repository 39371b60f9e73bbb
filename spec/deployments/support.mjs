// In: the programs of this machine. Out: the reason to skip a test, or false; a port that is free.

import { spawnSync } from "node:child_process";
import net from "node:net";

/** Why there is no kubectl, or false. */
export function haveKubectl() {
  const { error } = spawnSync("kubectl", ["version", "--client"]);
  return error ? "no kubectl (Debian: kubernetes-client)" : false;
}

/** Why there is no Prometheus, or false. */
export function havePrometheus() {
  const { error } = spawnSync("promtool", ["--version"]);
  return error ? "no promtool (Debian: prometheus)" : false;
}

/** A port nobody has at the moment. */
export const freePort = () => new Promise((resolve) => {
  const s = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = s.address();
    s.close(() => resolve(port));
  });
});
