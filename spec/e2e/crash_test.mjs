// The whole server, killed with SIGKILL at random moments while several people talk: what was acknowledged is there after
// the next start, exactly once and in order, and what was not can be said again. STORE_URL: another store than a file of
// the test's own. SPEC_LONG=1: a hundred rounds. On MongoDB: mongo_test.mjs.

import { test } from "node:test";
import { ROUNDS, survivesKills } from "../support/crash.mjs";
import { TEST_MS } from "./support.mjs";

test(`${ROUNDS} kills lose nothing that was acknowledged and double nothing`, { timeout: TEST_MS }, (t) =>
  survivesKills(t, process.env.STORE_URL ? { STORE_URL: process.env.STORE_URL } : {}));
