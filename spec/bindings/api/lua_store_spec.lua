-- chat.store: what is stored, for scripts.
local scene = require "spec.support.scene"

local STORE = [[ return {
  say = function(s, c, text)
    for word in text:gmatch "%S+" do s:append { sender = "user", type = "x", content = word } end
    s:flush()
    return s.id
  end,
  close = function(s) s:close() end,
  session = function(s, c, id) return chat.store.session(id) end,
  sessions = function(s, c, limit) return chat.store.sessions { user_id = s.user_id, limit = tonumber(limit) } end,
  nobody = function() return chat.store.sessions { user_id = "nobody" } end,
  history = function(s, c, words)
    local limit, before = words:match "(%d*) ?(%d*)"
    local list, why, code = chat.store.history { session_id = s.id, limit = tonumber(limit), before_seq = tonumber(before) }
    if not list then return nil, why, code end
    local texts = {}
    for i, m in ipairs(list) do texts[i] = m.seq .. m.content end
    return table.concat(texts, " ")
  end,
  ready = function() return chat.store.ready() end,
  ready_and_sleep = function(s, c)
    s:send(tostring(chat.store.ready()), { to = c })
    chat.timer.sleep "10s"
    return "slept"
  end,
} ]]

local FAILED = { nil, "database operation failed", "STORE" }
local UNKNOWN = { nil, "not found", "NOT_FOUND" }

describe("chat.store", function()
  after_each(scene.close)

  it(".message finds one by its cid, in its conversation only", function()
    local world = scene.case [[ return {
      say = function(s, c, cid) s:append { sender = "user", type = "user_message", content = "x", cid = cid } s:flush() end,
      id = function(s) return s.id end,
      find = function(s, c, rest)
        local id, cid = rest:match "^(%S+) (%S+)$"
        local message, why, code = chat.store.message { session_id = id, cid = cid }
        return message and message.seq or code, message and #message.id, message and message.at_ms > 0
      end } ]]
    local alice, bob = world:connect "alice", world:connect "bob"
    alice:sends "say c1"
    alice:sends "say c2"
    bob:sends "say c3"
    local id = alice:asks("id")[1]
    assert.same({ 2, 32, true }, bob:asks("find " .. id .. " c2"))
    assert.same({ "NOT_FOUND" }, alice:asks("find " .. id .. " c3"))
    assert.same({ "NOT_FOUND" }, alice:asks("find " .. ("ab"):rep(16) .. " c1"))
    assert.same({ "NOT_FOUND" }, alice:asks "find nothing c1")
    local _, why = scene.run "chat.store.message { session_id = session.id }"
    assert.matches("session_id and cid are needed", why, 1, true)
  end)

  it(".epoch gives a number of the database as it is now, the same for everybody", function()
    local world = scene.case [[ return { epoch = function() return chat.store.epoch() end } ]]
    local epoch = world:connect("alice"):asks "epoch"
    assert.matches("^%x%x%x%x%x%x%x%x$", epoch[1])
    assert.same(epoch, world:connect("bob"):asks "epoch")
  end)

  it(".history ends with the message that brings it to so many bytes", function()
    local world = scene.case [[ return {
      say = function(s) for _ = 1, 5 do s:append { sender = "user", type = "t", content = ("x"):rep(100) } end end,
      read = function(s, c, bytes)
        local page = chat.store.history { session_id = s.id, limit = 5, bytes = tonumber(bytes) }
        return #page, page[1].seq
      end } ]]
    local alice = world:connect "alice"
    alice:sends "say"
    assert.same({ 5, 1 }, alice:asks "read 0")
    assert.same({ 3, 3 }, alice:asks "read 201")
    assert.same({ 1, 5 }, alice:asks "read 1")
  end)

  it(".session gives the record, or NOT_FOUND", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    local id = alice:asks("say a b")[1]
    assert.same({ {
      id = id, user_id = "alice", name = "", model_id = "", assisting_admin_id = "", assisting_admin_name = "",
      start_ms = 1772463602000, last_activity_ms = 1772463602000, end_ms = 0, total_tokens = 0, max_response_ms = 0,
      avg_response_ms = 0, top = 2, received = 0, read = 0, help_requested = false, admin_assisted = false,
    } }, world:connect("bob"):asks("session " .. id))
    assert.same(UNKNOWN, alice:asks("session " .. ("0"):rep(32)))
    assert.same(UNKNOWN, alice:asks "session what?")
  end)

  it(".sessions gives a user's conversations, the newest first, at most so many", function()
    local world = scene.case(STORE)
    local ids = {}
    for i = 1, 3 do
      local alice = world:connect "alice"
      ids[i] = alice:asks("say x")[1]
      alice:sends "close"
      alice:leave()
      world:advance "1s"
    end
    local list = world:connect("alice"):asks("sessions 2")[1]
    assert.same({ ids[3], ids[2] }, { list[1].id, list[2].id })
    assert.equal(2, #list)
    assert.equal(3, #world:connect("alice"):asks("sessions")[1])
    assert.same({ {} }, world:connect("bob"):asks "nobody")
  end)

  it(".sessions goes on behind a record", function()
    local world = scene.case [[ return {
      say = function(s) s:append { sender = "user", type = "x", content = "x" } s:flush() s:close() return s.id end,
      page = function(s)
        local ids, after = {}, nil
        repeat
          local list = chat.store.sessions { user_id = s.user_id, limit = 2, after = after }
          for _, record in ipairs(list) do ids[#ids + 1], after = record.id, record end
        until #list < 2
        return ids
      end } ]]
    local ids = {}
    for i = 3, 1, -1 do
      local alice = world:connect "alice"
      ids[i] = alice:asks("say")[1]
      alice:leave()
      world:advance "1s"
    end
    assert.same({ ids }, world:connect("alice"):asks "page")
  end)

  local OPERATOR = [[ return {
    say = function(s, c, text)
      s:append { sender = "user", type = "x", content = text }
      s:set { admin_assisted = text == "help" }
      s:flush()
      return s.id
    end,
    close = function(s) s:close() s:flush() end,
    all = function(s, c, sort)
      local ids, after, last, list = {}, nil, nil, nil
      repeat
        list, last = chat.store.list { sort = sort, limit = 1, after = after }
        for i, record in ipairs(list) do ids[#ids + 1] = record.user_id end
        after = last
      until not last
      return table.concat(ids, " ")
    end,
    some = function(s, c, what)
      local query = { assisted = { assisted = true }, ended = { active = false }, bobs = { user_id = "bob" },
        old = { to_ms = 5 }, second = { offset = 1, limit = 1, ascending = true } }
      local ids = {}
      for i, record in ipairs(chat.store.list(query[what])) do ids[i] = record.user_id end
      return table.concat(ids, " ")
    end,
    totals = function() return chat.store.totals { from_ms = 0, to_ms = 8e15 } end,
    misuse = function(s, c, what)
      return pcall(chat.store.list, ({ sort = { sort = "x" }, limit = { limit = 1001 }, offset = { offset = 10001 },
        after = { after = { id = "x" } } })[what])
    end,
    share = function(s, c, rest)
      local id, user, expires = rest:match "(%S+) (%S+) ?(%d*)"
      local share, why, code = chat.store.share { session_id = id, user_id = user, expires_ms = tonumber(expires) }
      return share and share.token or code, share and share.expires_ms
    end,
    unshare = function(s, c, rest)
      local id, user = rest:match "(%S+) (%S+)"
      return chat.store.unshare { session_id = id, user_id = user }
    end,
    shared = function(s, c, token)
      local record, _, code = chat.store.shared(token)
      return record and record.id or code
    end,
    erase = function(s, c, rest)
      local id, user = rest:match "(%S+) (%S+)"
      return chat.store.erase { session_id = id, user_id = user, actor = "spec" }
    end,
    record = function(s, c, id) local r, _, code = chat.store.session(id) return r and r.id or code end,
  } ]]

  it(".list and .totals are of everybody's conversations", function()
    local world = scene.case(OPERATOR)
    local clients = {}
    for i, user in ipairs { "alice", "bob", "carl" } do
      clients[i] = world:connect(user)
      clients[i]:asks("say " .. (i == 2 and "help" or "x"))
      world:advance "1s"
    end
    clients[3]:sends "close"
    local root = world:connect "root"
    assert.same({ "carl bob alice" }, root:asks "all start_time")
    assert.same({ "carl bob alice" }, root:asks "all user_id")
    assert.equal(#"carl bob alice", #root:asks("all duration")[1])
    assert.same({ "bob" }, root:asks "some assisted")
    assert.same({ "carl" }, root:asks "some ended")
    assert.same({ "bob" }, root:asks "some bobs")
    assert.same({ "" }, root:asks "some old")
    assert.same({ "bob" }, root:asks "some second")
    local totals = root:asks("totals")[1]
    assert.same({ 3, 2, 1, 0 }, { totals.sessions, totals.active, totals.assisted, totals.tokens })
    for _, what in ipairs { "sort", "limit", "offset", "after" } do
      assert.is_false(root:asks("misuse " .. what)[1])
    end
  end)

  it(".share gives a token, .shared what it shows, .unshare takes it back", function()
    local world = scene.case(OPERATOR)
    local alice = world:connect "alice"
    local id = alice:asks("say x")[1]
    local token = alice:asks("share " .. id .. " alice")[1]
    assert.equal(32, #token)
    assert.same({ token, 0 }, alice:asks("share " .. id .. " alice"))
    assert.same({ token, 8000000000000 }, alice:asks("share " .. id .. " alice 8000000000000"))
    assert.same({ token, 8000000000000 }, alice:asks("share " .. id .. " alice"))
    assert.same({ "NOT_FOUND" }, { alice:asks("share " .. id .. " bob")[1] })
    assert.same({ "NOT_FOUND" }, { alice:asks("share nothing alice")[1] })
    assert.same({ id }, alice:asks("shared " .. token))
    assert.same({ "NOT_FOUND" }, alice:asks "shared nothing")
    assert.same(UNKNOWN, alice:asks("unshare " .. id .. " bob"))
    assert.same({ true }, alice:asks("unshare " .. id .. " alice"))
    assert.same({ "NOT_FOUND" }, alice:asks("shared " .. token))
  end)

  it(".erase erases one conversation of its user, in memory and in the store", function()
    local world = scene.case(OPERATOR)
    local alice, bob = world:connect "alice", world:connect "bob"
    local id, kept = alice:asks("say x")[1], bob:asks("say y")[1]
    assert.same(UNKNOWN, bob:asks("erase " .. id .. " bob"))
    local again = world:connect "alice"
    assert.same({ true }, bob:asks("erase " .. again:asks("say z")[1] .. " alice"))
    assert.same({ "NOT_FOUND" }, bob:asks("record " .. id))
    assert.same({ kept }, bob:asks("record " .. kept))
    assert.truthy(alice:closed())
  end)

  it(".history gives the last messages, the oldest first, page by page", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    alice:asks "say a b c d e"
    assert.same({ "1a 2b 3c 4d 5e" }, alice:asks "history")
    assert.same({ "4d 5e" }, alice:asks "history 2")
    assert.same({ "2b 3c" }, alice:asks "history 2 4")
    assert.same({ "1a" }, alice:asks "history 2 2")
    assert.same({ "" }, alice:asks "history 2 1")
  end)

  it(".ready says whether the store answers and the server is not stopping", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    assert.same({ true }, alice:asks "ready")
    world:fault("reads fail", true)
    assert.same({ false, "the database does not answer" }, alice:asks "ready")
    world:fault("reads fail", false)
    assert.same({ true }, alice:asks "ready")
    world:stopping()
    assert.same({ false, "the server is stopping" }, alice:asks "ready")
  end)

  it(".ready does not wait longer than 1.5 s, and what comes later changes nothing", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    alice:asks "say a"
    world:fault("reads wait", true)
    alice:sends "ready_and_sleep"
    world:advance(1499)
    assert.is_nil(alice:hears())
    world:advance(1)
    assert.equal("false", alice:hears())
    world:fault("reads wait", false)
    assert.same({ true }, world:connect("bob"):asks "ready") -- by now the late answer is there
    assert.is_nil(alice:hears()) -- and has not ended another wait
    world:advance "10s"
    assert.same({ "slept" }, alice:hears())
  end)

  it("gives nil, a reason and STORE when the disk fails", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    alice:asks "say a"
    world:fault("reads fail", true)
    assert.same(FAILED, alice:asks("session " .. ("0"):rep(32)))
    assert.same(FAILED, alice:asks "sessions")
    assert.same(FAILED, alice:asks "history")
  end)

  it("does not wait for a store that takes nothing any more", function()
    local world = scene.case(STORE)
    local alice = world:connect "alice"
    world:stop_store()
    assert.same({ nil, "the server is stopping", "STOPPING" }, alice:asks "sessions")
    assert.same({ false, "the database does not answer" }, alice:asks "ready")
  end)

  it("refuses wrong arguments and names the field", function()
    local function refused(body, why)
      local values, message = scene.run(body)
      assert.is_nil(values, body)
      assert.matches(why, message, 1, true)
    end
    refused("chat.store.session()", "bad argument #1 to 'session' (string expected")
    refused("chat.store.session 'a\\0b'", "the text contains a NUL")
    refused("chat.store.sessions 'alice'", "bad argument #1 to 'sessions' (table expected")
    refused("chat.store.sessions {}", "user_id is needed")
    refused("chat.store.sessions { user_id = 5 }", "field user_id: a string is expected, got number")
    refused("chat.store.sessions { user_id = 'a', limit = 0 }", "field limit: a number from 1")
    refused("chat.store.sessions { user_id = 'a', limit = 1001 }", "field limit: a number from 1")
    refused("chat.store.sessions { user_id = 'a', limit = 0/0 }", "field limit: a number from 1")
    refused("chat.store.sessions { user_id = 'a', limit = '5' }", "field limit: a number from 1")
    refused("chat.store.history {}", "session_id is needed")
    refused("chat.store.history { session_id = 'a', before_seq = -1 }", "field before_seq: a number from 0")
    refused("chat.store.history { session_id = 'a', before_seq = {} }", "field before_seq: a number from 0")
  end)
end)
