// In: the programs of this machine. Out: the reason to skip a test, or false.

import { spawnSync } from "node:child_process";

/** Why there is no kubectl, or false. */
export function haveKubectl() {
  const { error } = spawnSync("kubectl", ["version", "--client"]);
  return error ? "no kubectl (Debian: kubernetes-client)" : false;
}
