// What operators and owners do with conversations over HTTP, on a real database: lists with every filter, shares, and one
// conversation erased. What each answer says is in spec/scripts/api/admin_spec.lua.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Server, serve, somebody } from "./support.mjs";

let server, root;
before(async () => {
  server = await Server.start({ env: { RATE_LIMIT: "1000000" } });
  root = { token: server.token("root", { roles: ["chat_admin"] }) };
});
after(() => server?.remove());

describe("the list of all conversations", () => {
  test("answers every combination of filters and orders, each conversation once", async () => {
    const people = [somebody("ann"), somebody("bob")];
    for (const user of [...people, ...people, ...people]) {
      const client = await server.join(user);
      await client.talks("Hello.");
      if (user === people[0]) await server.post(`/sessions/${client.session}/end`, { user });
      await client.leaves();
    }
    const [one] = (await server.get("/admin/sessions?status=active", root)).json;
    assert.equal((await server.post(`/admin/takeover/${one.id}`, root)).status, 200);
    const all = (await server.get("/admin/sessions", root)).json;
    const matches = (s, { status, assisted, user, from }) => (!status || s.is_active === (status === "active")) && (!assisted || s.admin_assisted === (assisted === "true"))
      && (!user || s.user_id === user) && (!from || from === "2000-01-01");
    let tried = 0;
    for (const sort of ["start_time", "end_time", "message_count", "total_tokens", "user_id", "duration", "last_activity"])
      for (const order of ["asc", "desc"])
        for (const status of ["", "active", "ended"])
          for (const assisted of ["", "true", "false"])
            for (const user of ["", people[0]])
              for (const from of ["", "2000-01-01", "2999-01-01"]) {
                const wanted = all.filter((s) => matches(s, { status, assisted, user, from })).map((s) => s.id).sort();
                const query = `sort_by=${sort}&sort_order=${order}&status=${status}&admin_assisted=${assisted}&user_id=${user}&start_time=${from}`;
                const seen = [];
                for (let cursor = ""; cursor !== undefined; ) {
                  const page = await server.get(`/admin/sessions?limit=2&${query}${cursor && `&cursor=${cursor}`}`, root);
                  assert.equal(page.status, 200, `${query}: ${page.text}`);
                  seen.push(...page.json.sessions.map((s) => s.id));
                  cursor = page.json.next_cursor;
                }
                assert.deepEqual(seen.sort(), wanted, query);
                tried++;
              }
    assert.equal(tried, 7 * 2 * 3 * 3 * 2 * 3);
  });
});

describe("a conversation", () => {
  test("that is taken over and left again tells everybody in it, and another administrator may have it", async (t) => {
    const shared = await serve(t);
    const ann = await shared.join(somebody("ann"));
    await ann.talks("Hello.");
    const phone = await shared.join(ann.user);
    const stranger = await shared.join(somebody("eve"));
    const [jane, joe] = ["jane", "joe"].map((id) => ({ token: shared.token(id, { roles: ["admin"], name: `${id} of the desk` }) }));
    const where = `/admin/takeover/${ann.session}`;
    const listed = async () => (await shared.get("/admin/sessions", jane)).json.find((s) => s.id === ann.session);
    for (const [admin, id] of [[jane, "jane"], [joe, "joe"]]) {
      assert.equal((await shared.post(where, admin)).status, 200);
      for (const client of [ann, phone]) {
        const { session_id, sender, metadata } = await client.hears("admin_join");
        assert.deepEqual({ session_id, sender, metadata }, { session_id: ann.session, sender: "admin", metadata: { admin_id: id, admin_name: `${id} of the desk` } });
      }
      assert.equal((await shared.ask("DELETE", where, admin === jane ? joe : jane)).status, 400);
      assert.deepEqual((await shared.ask("DELETE", where, admin)).json, { status: "left" });
      for (const client of [ann, phone]) {
        const { session_id, sender, content, metadata } = await client.hears("admin_leave");
        const said = `Administrator ${id} of the desk has left the session`;
        assert.deepEqual({ session_id, sender, content, metadata },
          { session_id: ann.session, sender: "admin", content: said, metadata: { admin_id: id, admin_name: `${id} of the desk` } });
      }
      const { admin_assisted, assisting_admin_name } = await listed();
      assert.deepEqual([admin_assisted, assisting_admin_name], [true, undefined]);
    }
    assert.equal((await shared.ask("DELETE", where, jane)).status, 200); // nobody has it: nothing more is said
    assert.equal((await shared.ask("DELETE", where, { user: ann.user })).status, 403);
    await ann.talks("Still there?");
    assert.equal(ann.heard.all.filter((m) => m.type === "admin_leave").length, 2);
    stranger.heardNothingOf("admin_join", "admin_leave");
  });

  test("that was deleted stays so, and neither it nor its share is in the files", async (t) => {
    const first = await serve(t, { env: { ENCRYPTION_KEY: "" } });
    const ann = await first.join(somebody("ann"));
    await ann.talks("The tulips are in the cellar.");
    const share = (await first.post(`/sessions/${ann.session}/share`, { user: ann.user })).json.share_token;
    assert.equal((await first.ask("DELETE", `/sessions/${ann.session}`, { user: ann.user })).status, 200);
    await ann.closed;
    assert.equal((await first.get(`/sessions/${ann.session}`, { user: ann.user })).status, 404);
    assert.equal((await first.get(`/shared/${share}`)).status, 404);
    await first.stop();
    const next = await Server.start({ dir: first.dir, secret: first.secret });
    t.after(() => next.stop());
    assert.deepEqual((await next.get("/sessions", { user: ann.user })).json.sessions, []);
    const gone = async () => {
      const files = await Promise.all(["chatbox.db", "chatbox.db-wal"].map((name) => readFile(path.join(first.dir, name)).catch(() => Buffer.alloc(0))));
      return !files.some((bytes) => bytes.includes("tulips") || bytes.includes(share));
    };
    while (!(await gone())) await next.get("/healthz"); // it goes on at the start
  });

  test("that is shared can be read by nobody who has only the files", async (t) => {
    const sealed = await serve(t, { env: { ENCRYPTION_KEY: "the first key of 32 bytes. 1 2 3" } });
    const ann = await sealed.join(somebody("ann"));
    await ann.talks("The tulips are in the cellar.");
    const { share_token: share } = (await sealed.post(`/sessions/${ann.session}/share`, { user: ann.user })).json;
    assert.equal((await sealed.get(`/shared/${share}`)).status, 200);
    assert.equal((await sealed.post(`/sessions/${ann.session}/share`, { user: ann.user })).json.share_token, share);
    for (const name of ["chatbox.db", "chatbox.db-wal"]) {
      const bytes = await readFile(path.join(sealed.dir, name)).catch(() => Buffer.alloc(0));
      assert.ok(!bytes.includes(share), name);
    }
  });
});
