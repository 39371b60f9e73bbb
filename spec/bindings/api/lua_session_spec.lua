-- chat.session: what a script can do with one conversation.
local scene = require "spec.support.scene"

local GONE = { nil, "it is gone", "GONE" }

-- The message of what the body of a handler raises.
local function refused(body, why)
  local values, message = scene.run(body)
  assert.is_nil(values, "this must not work: " .. body)
  assert.matches(why, message, 1, true)
end

describe("chat.session", function()
  after_each(scene.close)

  describe("fields", function()
    it("say who and what the conversation is", function()
      local world = scene.case [[ return { look = function(s)
        return { s.user_id, s.name, s.model_id, s.assisting_admin_id, s.assisting_admin_name, s.start_ms, s.end_ms,
                 s.total_tokens, s.top, s.members, s.help_requested, s.admin_assisted, s.stored }, #s.id, s.last_activity_ms
      end } ]]
      local alice = world:connect "alice"
      world:connect "alice"
      local seen = alice:asks "look"
      assert.same({ "alice", "", "", "", "", 1772463602000, 0, 0, 0, 2, false, false, false }, seen[1])
      assert.equal(32, seen[2])
      assert.equal(0, seen[3])
    end)

    it("that do not exist raise, whatever they are called", function()
      refused("return session.colour", "a session has no field or method colour")
      refused("return session[nil]", "a session has no field or method")
      refused("return session[{}]", "a session has no field or method")
      refused("session.name = 'mine'", "index a session to change name: session:set { name = … }")
      refused("return session.nmae", "scripts/case.lua:1: a session has no field or method nmae: did you mean name?")
      refused("session:Flush()", "a session has no field or method Flush: did you mean flush?")
      refused("session:finsh()", "a session has no field or method finsh")
    end)
  end)

  describe("what is not UTF-8", function()
    it("raises where it is said, whatever it was meant for", function()
      local bytes = { ["\\xc3"] = 1, ["a\\xff"] = 2, ["\\xed\\xa0\\x80"] = 1, ["abcdefgh\\xf4\\x90\\x80\\x80"] = 9, ["\\xc0\\x80"] = 1 }
      for escaped, at in pairs(bytes) do
        local text, why = '"' .. escaped .. '"', ": not UTF-8 at byte " .. at
        refused("session:send(" .. text .. ")", "session:send" .. why)
        refused("session:append { sender = 'ai', type = 'x', content = " .. text .. " }", "content" .. why)
        refused("session:append { sender = 'ai', type = " .. text .. ", content = '' }", "type" .. why)
        refused("session:append { sender = 'ai', type = 'x', content = '', cid = " .. text .. " }", "cid" .. why)
        refused("session:append { sender = 'ai', type = 'x', content = '', extra = " .. text .. " }", "extra" .. why)
        refused("session:set { name = " .. text .. " }", "name" .. why)
        refused("chat.connection.close(session, connection, 1000, " .. text .. ")", "reason" .. why)
      end
    end)
  end)

  describe("a handle", function()
    it("is equal to another of the same conversation, and shows its id", function()
      assert.same({ true, true, false }, scene.run [[
        local same = assert(chat.session.open((session:append { sender = "user", type = "x", content = "" }
          and session:commit() and session.id)))
        return same == session, tostring(same) == session.id, same == 1
      ]])
    end)

    it("of a conversation that has left memory gives nil, \"it is gone\", \"GONE\"", function()
      local world = scene.case [[
        local kept, connection_kept
        return {
          connect = function(s, c) if not kept then kept, connection_kept = s, c end end,
          look = function() return tostring(kept), kept.id, kept.members, kept.stored end,
          set = function() return kept:set { name = "x" } end,
          append = function() return kept:append { sender = "ai", type = "x", content = "" } end,
          add_tokens = function() return kept:add_tokens(1) end,
          add_response_time = function() return kept:add_response_time(1) end,
          times = function() return kept:times() end,
          send = function() return kept:send "x" end,
          close = function() return kept:close() end,
          user = function() return chat.connection.user(kept, connection_kept) end,
          wanted = function() return chat.connection.wanted(kept, connection_kept) end,
          hang_up = function() return chat.connection.close(kept, connection_kept, 1000, "") end,
          move = function(s, c) return chat.connection.move(s, c, kept) end,
          forward = function(s, c) return chat.connection.forward(s, c, kept, "look") end,
          from = function(s) return chat.connection.move(kept, connection_kept, s) end,
        } ]]
      world:connect("alice"):leave()
      assert.equal(0, world:conversations())
      local bob = world:connect "bob"
      assert.same({ "session (gone)" }, bob:asks "look")
      for _, word in ipairs { "set", "append", "add_tokens", "add_response_time", "times", "send", "close", "user",
                              "wanted", "hang_up", "move", "forward", "from" } do
        assert.same(GONE, bob:asks(word), word)
      end
    end)

    it("is the only thing that passes for one", function()
      refused("return session.set({}, {})", "session expected")
      refused("return session.flush(chat)", "session expected")
      refused("return session.send(1, 'x')", "session expected")
    end)

    it("hides its metatable", function()
      assert.same({ false }, scene.run "return getmetatable(session)")
    end)
  end)

  describe("session:set", function()
    it("changes all six fields, and the handler sees its own changes at once", function()
      local world = scene.case [[ return {
        change = function(s)
          s:set { name = "n", model_id = "m", assisting_admin_id = "a", assisting_admin_name = "A",
                  help_requested = true, admin_assisted = true }
          return s.name, s.model_id, s.assisting_admin_id, s.assisting_admin_name, s.help_requested, s.admin_assisted, s.stored
        end,
        look = function(s)
          return s.name, s.model_id, s.assisting_admin_id, s.assisting_admin_name, s.help_requested, s.admin_assisted, s.stored
        end,
        stored = function(s) local r = chat.store.session(s.id)
          return r.name, r.model_id, r.assisting_admin_id, r.assisting_admin_name, r.help_requested, r.admin_assisted, true
        end,
        back = function(s) s:set { help_requested = false, name = "" } return s.help_requested, s.name end,
      } ]]
      local alice = world:connect "alice"
      local all = { "n", "m", "a", "A", true, true, true }
      assert.same(all, alice:asks "change")
      assert.same(all, alice:asks "look")
      assert.same(all, alice:asks "stored")
      assert.same({ false, "" }, alice:asks "back")
    end)

    it("refuses what cannot be set and names it, before it changes anything", function()
      refused("session:set { colour = 'red' }", "session:set cannot set colour")
      refused("session:set { id = 'x' }", "session:set cannot set id")
      refused("session:set { name = 5 }", "field name: a string is expected, got number")
      refused("session:set { name = ('x'):rep(1001) }", "field name: longer than 1000 bytes")
      refused("session:set { name = 'a\\0b' }", "field name: contains a NUL")
      refused("session:set { help_requested = 1 }", "session:set: help_requested is true or false")
      refused("session:set 'name'", "bad argument #1 to 'set' (table expected")
      assert.same({ "" }, scene.run "pcall(session.set, session, { name = 'x', colour = 'red' }) return session.name")
    end)
  end)

  it("session:answered says whether the handler has answered in its own conversation", function()
    local world = scene.case [[ local first return {
      connect = function(s) first = first or s end,
      say = function(s, c, who) s:append { sender = who, type = "t", content = "x" } return s:answered(), first:answered() end,
      wait = function(s) s:append { sender = "ai", type = "t", content = "x" } s:flush() return s:answered() end,
      elsewhere = function(s) first:append { sender = "ai", type = "t", content = "x" } return s:answered() end,
      nothing = function(s) return s:answered() end } ]]
    world:connect "alice"
    local bob = world:connect "bob"
    assert.same({ false, false }, bob:asks "say user")
    assert.same({ true, false }, bob:asks "say ai")
    assert.same({ false }, bob:asks "nothing")
    assert.same({ true }, bob:asks "wait")
    assert.same({ false }, bob:asks "elsewhere")
  end)

  describe("session:mark", function()
    it("moves received and read on, never back and never beyond top, and is stored", function()
      local world = scene.case [[ return {
        say = function(s) s:append { sender = "user", type = "t", content = "x" } s:append { sender = "ai", type = "t", content = "y" } end,
        mark = function(s, c, both)
          local received, read = both:match "(%d+) (%d+)"
          s:mark(tonumber(received), tonumber(read))
          return s.received, s.read
        end,
        look = function(s) return s.received, s.read, s.top end,
        stored = function(s) local r = chat.store.session(s.id) return r.received, r.read end,
      } ]]
      local alice = world:connect "alice"
      assert.same({ 0, 0, 0 }, alice:asks "look")
      alice:sends "say"
      assert.same({ 2, 1 }, alice:asks "mark 2 1")
      assert.same({ 2, 1 }, alice:asks "stored")
      assert.same({ 2, 1 }, alice:asks "mark 1 0")
      alice:sends "mark 99 99"
      assert.same({ 2, 2, 2 }, alice:asks "look")
      assert.same({ 2, 2 }, alice:asks "stored")
    end)

    it("refuses what is no seq", function()
      refused("session:mark(-1, 0)", "a seq is expected")
      refused("session:mark(0, 0/0)", "a seq is expected")
      refused("session:mark(1)", "number expected")
    end)
  end)

  describe("session:add_tokens and session:add_response_time", function()
    it("add up, and session:times shows the largest and the mean", function()
      local world = scene.case [[ return {
        add = function(s) s:add_tokens(3) s:add_tokens(4) s:add_response_time(100) s:add_response_time(300) return s.total_tokens end,
        look = function(s) return s.total_tokens, s:times() end,
      } ]]
      local alice = world:connect "alice"
      assert.same({ 7 }, alice:asks "add")
      assert.same({ 7, { max = 300, avg = 200, count = 2 } }, alice:asks "look")
    end)

    it("refuse what is no amount", function()
      refused("session:add_tokens(-1)", "tokens are 0 or more")
      refused("session:add_tokens(0/0)", "tokens are 0 or more")
      refused("session:add_tokens 'x'", "number expected")
      refused("session:add_response_time(-1)", "a response time is 0 ms or more")
      refused("session:add_response_time(1/0)", "a response time is 0 ms or more")
    end)
  end)

  describe("session:append", function()
    it("adds a message with all it has", function()
      local world = scene.case [[ return {
        add = function(s, _, cid)
          local id = s:append { sender = "user", type = "note", content = "a\0b", cid = "c1", extra = '{"x":1}' }
          s:append { sender = "admin", type = "note", content = "" }
          return #id, s.stored, s.last_activity_ms
        end,
        read = function(s) return chat.store.history { session_id = s.id } end,
      } ]]
      local alice = world:connect "alice"
      assert.same({ 32, true, 1772463602000 }, alice:asks "add")
      local stored = alice:asks("read")[1]
      assert.equal(2, #stored)
      stored[1].id, stored[2].id = nil, nil
      assert.same({ seq = 1, cid = "c1", sender = "user", type = "note", content = "a\0b", extra = '{"x":1}',
                    at_ms = 1772463602000 }, stored[1])
      assert.same({ seq = 2, sender = "admin", type = "note", content = "", at_ms = 1772463602000 }, stored[2])
    end)

    it("refuses a message that is none and names the field", function()
      refused("session:append {}", "sender is user, ai, admin or system")
      refused("session:append { sender = 'dog', type = 'x', content = '' }", "sender is user, ai, admin or system")
      refused("session:append { sender = 'ai', content = '' }", "type and content are needed")
      refused("session:append { sender = 'ai', type = 'x' }", "type and content are needed")
      refused("session:append { sender = 'ai', type = 'x', content = 1 }", "field content: a string is expected, got number")
      refused("session:append { sender = 'ai', type = 'x', content = '', cid = ('x'):rep(129) }", "field cid: longer than 128 bytes")
      refused("session:append { sender = 'ai', type = 'x', content = '', extra = {} }", "field extra: a string is expected")
      refused("session:append 'x'", "bad argument #1 to 'append' (table expected")
    end)

    it("takes what the table itself holds: no text can vanish between the checks", function()
      refused([[session:append(setmetatable({}, { __index = function(_, key)
        return key == "sender" and "ai" or ("x"):rep(50000) .. key end }))]], "sender is user, ai, admin or system")
    end)

    it("has a bound for one slice", function()
      refused([[
        for _ = 1, 1024 do assert(session:append { sender = "ai", type = "x", content = "" }) end
        local id, why, code = session:append { sender = "ai", type = "x", content = "" }
        error(tostring(id) .. ", " .. why .. ", " .. code)
      ]], "nil, the queue is full, FULL")
    end)
  end)

  describe("session:close", function()
    it("ends the conversation; the user's next one is new", function()
      local world = scene.case [[ return {
        id = function(s) return s.id end,
        close = function(s) s:close() return s.end_ms end,
        ended = function(s) return s.end_ms end,
      } ]]
      local alice = world:connect "alice"
      local id = alice:asks("id")[1]
      assert.same({ 1772463602000 }, alice:asks "close")
      assert.same({ 1772463602000 }, alice:asks "ended")
      assert.not_equal(id, world:connect("alice"):asks("id")[1])
    end)
  end)

  describe("session:send of an event", function()
    local EVENT = [[ return {
      say = function(s, c, cid)
        s:append { sender = "user", type = "x", content = "first" }
        local id = s:append { sender = "user", type = "x", content = "second", cid = cid ~= "" and cid or nil }
        s:send('{"a":1}', { event = true, except = c })
        return id
      end,
      bare = function(s)
        s:append { sender = "ai", type = "x", content = "" }
        s:send("{}", { event = true })
        s:send("7", { event = true })
      end,
      early = function(s) return s:send("{}", { event = true }) end,
    } ]]

    it("carries id and seq of the message appended last, once it is stored", function()
      local world = scene.case(EVENT)
      local phone, desk = world:connect "alice", world:connect "alice"
      world:fault("writes wait", true)
      phone:sends "say"
      assert.same({}, desk:hears_all())
      world:fault("writes wait", false)
      local id = phone:hears()[1]
      assert.same({ { a = 1, id = id, seq = 2 } }, desk:hears_all())
    end)

    it("goes out once, whoever says the same again", function()
      local world = scene.case(EVENT)
      local phone, desk = world:connect "alice", world:connect "alice"
      phone:asks "say c1"
      desk:hears_all()
      phone:asks "say c1"
      assert.same({}, desk:hears_all())
    end)

    it("may have no fields, or be no object", function()
      local world = scene.case(EVENT)
      local alice = world:connect "alice"
      alice:sends "bare"
      local heard = alice:hears_all()
      assert.same({ 1, 7 }, { heard[1].seq, heard[2] })
    end)

    it("needs a message", function()
      assert.same({ nil, "not found", "NOT_FOUND" }, scene.case(EVENT):connect("alice"):asks "early")
    end)
  end)

  describe("session:send", function()
    local SENDS = [[ return {
      all = function(s) s:send '"all"' end,
      to = function(s, c) s:send('"to"', { to = c }) end,
      except = function(s, c) s:send('"except"', { except = c }) end,
    } ]]

    it("reaches every member, or one, or all but one", function()
      local world = scene.case(SENDS)
      local phone, desk, bob = world:connect "alice", world:connect "alice", world:connect "bob"
      phone:sends "all"
      phone:sends "to"
      phone:sends "except"
      assert.same({ "all", "to" }, phone:hears_all())
      assert.same({ "all", "except" }, desk:hears_all())
      assert.same({}, bob:hears_all())
    end)

    it("reaches those alone whose clients speak a version of the protocol", function()
      local world = scene.case [[ return {
        new = function(s, c) chat.connection.replaceable(s, c) end,
        tell = function(s, c)
          for version = 1, 2 do
            s:send(tostring(version), { protocol = version })
            s:send(tostring(version * 10), { protocol = version, except = c })
          end
        end } ]]
      local old, new, other = world:connect "alice", world:connect "alice", world:connect "alice"
      new:sends "new"
      old:sends "tell"
      assert.same({ { 1 }, { 2, 20 }, { 1, 10 } }, { old:hears_all(), new:hears_all(), other:hears_all() })
    end)

    it("refuses options it does not know: a slip must not tell everybody", function()
      refused("session:send('x', { only = connection })", "session:send: there is no option only")
      refused("session:send('x', { event = 1 })", "event is true or false")
      refused("session:append { sender = 'ai', type = 'x', content = '' } session:send('{}', { event = true, to = connection })",
        "session:send: an event is for everybody")
      refused("session:send('x', { protocol = 3 })", "protocol is 1 or 2")
      refused("session:send('x', { protocol = '2' })", "protocol is 1 or 2")
      refused("session:send('x', { protocol = 2, to = connection })", "protocol is for what everybody who speaks it is told")
      refused("session:send('x', {})", "session:send: the options name a connection")
      refused("session:send('x', { to = nil })", "session:send: the options name a connection")
      refused("session:send('x', { to = 'me' })", "session:send: to is a connection")
      refused("session:send('x', { except = -1 })", "a connection is expected")
      refused("session:send('x', { to = 0 })", "a connection is expected")
      refused("session:send('x', connection)", "bad argument #2 to 'send' (table expected")
      refused("session:send()", "bad argument #1 to 'send' (string expected")
      refused("session:send {}", "bad argument #1 to 'send' (string expected")
    end)

    it("has a bound for one slice", function()
      refused([[
        for _ = 1, 8 do assert(session:send(("x"):rep(1024 * 1024))) end
        local ok, why, code = session:send "x"
        error(tostring(ok) .. ", " .. why .. ", " .. code)
      ]], "nil, the queue is full, FULL")
    end)

    it("closes who reads too slowly", function()
      local world = scene.case([[ return { flood = function(s) for _ = 1, 9 do s:send(("x"):rep(1024)) end end } ]],
        { OUTBOX_LIMIT = "8192" })
      local alice, slow = world:connect "alice", world:connect "alice"
      slow:stalls(true)
      alice:sends "flood"
      slow:stalls(false)
      assert.equal(1013, (slow:closed()))
    end)
  end)

  describe("session:flush", function()
    it("tells what was stored, in order, and only what was not told before", function()
      local world = scene.case [[ return {
        say = function(s, _, cid)
          s:append { sender = "user", type = "x", content = "1", cid = cid }
          s:commit()
          local id = s:append { sender = "ai", type = "x", content = "2" }
          local stored = s:flush()
          return stored, id == stored[2].id, s:flush(), s.top
        end } ]]
      local alice = world:connect "alice"
      local first = alice:asks "say A"
      assert.equal(1, first[1][1].seq)
      assert.equal("A", first[1][1].cid)
      assert.is_false(first[1][1].duplicate)
      assert.equal(2, first[1][2].seq)
      assert.is_nil(first[1][2].cid)
      assert.is_true(first[2])
      assert.same({}, first[3])
      assert.equal(2, first[4])
      local again = alice:asks "say A"
      assert.is_true(again[1][1].duplicate)
      assert.equal(1, again[1][1].seq)
      assert.equal(first[1][1].id, again[1][1].id)
      assert.equal(3, again[1][2].seq)
    end)

    it("gives nil, a reason, \"STORE\" when it was not stored, and then the user is told by the script alone", function()
      local world = scene.case [[ return { say = function(s)
        s:append { sender = "user", type = "x", content = "1" }
        local stored, why, code = s:flush()
        return stored or false, why, code, s.stored
      end } ]]
      local alice = world:connect "alice"
      world:fault("writes fail", true)
      alice:sends "say"
      assert.same({ { false, "database operation failed", "STORE", false } }, alice:hears_all())
      world:fault("writes fail", false)
      assert.is_table(alice:asks("say")[1])
    end)

    it("does the same when the store takes nothing any more", function()
      local world = scene.case [[ return { say = function(s)
        s:append { sender = "user", type = "x", content = "1" }
        return s:flush()
      end } ]]
      local alice = world:connect "alice"
      assert.is_true(world:stop_store())
      alice:sends "say"
      assert.same({ { nil, "database operation failed", "STORE" } }, alice:hears_all())
    end)

    it("remembers only so much of what nobody asks for", function()
      assert.same({ true, 5000 }, scene.run [[
        for i = 1, 5000 do
          session:append { sender = "ai", type = "x", content = "", cid = tostring(i) }
          if i % 500 == 0 then session:commit() end
        end
        local stored = session:flush()
        return #stored >= 2048 and #stored <= 4096, stored[#stored].seq
      ]])
    end)
  end)

  describe("session:keep", function()
    local KEEP = [[
      local function keep(s, c, cid, open)
        s:append { sender = "user", type = "user_message", content = "q", cid = cid, open = open ~= false }
        s:send('{"type":"receipt"}', { to = c, receipt = true })
        s:keep()
      end
      local function commits()
        return tonumber(chat.metrics.render():match "chatbox_store_commits_total (%d+)")
      end
    ]]
    local function case(handlers)
      local world = scene.case(KEEP .. "return {" .. handlers .. "}")
      return world, world:connect "alice"
    end

    it("stores what was kept and what follows in one write, and gives a receipt", function()
      local _, alice = case [[
        both = function(s, c) keep(s, c, "A") s:append { sender = "ai", type = "x", content = "a" } s:send '"answer"' end,
        commits = function() return commits() end ]]
      local before = alice:asks("commits")[1]
      alice:sends "both"
      local heard = alice:hears_all()
      assert.same({ "receipt", 1, false, 32 }, { heard[1].type, heard[1].seq, heard[1].duplicate, #heard[1].id })
      assert.equal("answer", heard[2])
      assert.equal(before + 1, alice:asks("commits")[1])
    end)

    it("keeps it when the handler fails, is told behind it, and nobody deals with it again", function()
      local world, alice = case [[
        fails = function(s, c)
          s:set { name = "first" } keep(s, c, "A")
          s:set { name = "second" } s:add_tokens(5) s:append { sender = "ai", type = "x", content = "a" } s:send '"never"'
          error "oh"
        end,
        look = function(s) return s.name, s.total_tokens, s.top, chat.store.history { session_id = s.id }[1].content end ]]
      alice:sends "fails"
      local heard = alice:hears_all()
      assert.equal(2, #heard)
      assert.same({ "receipt", 1 }, { heard[1].type, heard[1].seq })
      assert.matches("oh", heard[2].failed)
      assert.same({ "first", 0, 1, "q" }, alice:asks "look")
      world:crash()
      assert.same({}, world:connect("alice"):hears_all())
    end)

    it("holds back what takes effect at once, and what waits, until it is stored", function()
      local world, alice = case [[
        counts = function(s, c, cid) keep(s, c, cid) chat.shared.set("n", 1) s:send '"counted"' end,
        sleeps = function(s, c, cid) keep(s, c, cid) chat.timer.sleep "1s" s:send '"slept"' end,
        n = function() return chat.shared.get "n" or 0 end ]]
      local bob = world:connect "bob"
      world:fault("writes wait", true)
      alice:sends "counts A"
      assert.same({ 0 }, bob:asks "n")
      assert.same({}, alice:hears_all())
      world:fault("writes wait", false)
      assert.same({ 1 }, bob:asks "n")
      assert.equal("counted", alice:hears_all()[2])
      world:fault("writes wait", true)
      alice:sends "sleeps B"
      world:advance "5s"
      world:fault("writes wait", false)
      assert.equal("receipt", alice:hears().type)
      assert.is_nil(alice:hears()) -- it has not slept yet
      world:advance "1s"
      assert.equal("slept", alice:hears())
    end)

    it("ends the handler there when it was not stored: nothing has happened, and the client is told once", function()
      for _, after in ipairs { 'chat.shared.set("n", 1)', 'chat.timer.sleep "1s"', "s:flush()", "s:ask()", "" } do
        local world, alice = case([[ go = function(s, c) keep(s, c, "A") ]] .. after .. [[ s:send '"on"' end,
          n = function(s) return chat.shared.get "n" or 0, s.top, s.stored end ]])
        world:fault("writes fail", true)
        alice:sends "go"
        world:advance "5s"
        assert.same({ { refused = "STORE", cid = "A" } }, alice:hears_all())
        world:fault("writes fail", false)
        assert.same({ 0, 0, false }, alice:asks "n")
        assert.equal(0, world:tasks())
      end
    end)

    it("lets the next message of the conversation wait until one with a cid is stored", function()
      local world, alice = case [[ say = function(s, c, cid) keep(s, c, cid) end ]]
      world:fault("writes wait", true)
      alice:sends("say A", true)
      alice:sends "say B"
      world:fault("writes fail", true)
      world:fault("writes wait", false)
      world:fault("writes fail", false)
      local heard = alice:hears_all()
      assert.same({ refused = "STORE", cid = "A" }, heard[1])
      assert.is_nil(heard[2] and heard[2].seq) -- B would be stored before A
      alice:sends "say A"
      alice:sends "say B"
      local seqs = {}
      for _, one in ipairs(alice:hears_all()) do seqs[#seqs + 1] = one.seq end
      assert.same({ 1, 2 }, seqs)
    end)

    it("offers an answer to whoever asked once the answer is stored", function()
      local world, alice = case [[
        ask = function(s) local got = s:ask() s:send(('"got %s"'):format(tostring(got))) end,
        answer = function(s, c) keep(s, c, "A") return s:offer "it" end ]]
      alice:sends "ask"
      world:fault("writes wait", true)
      alice:sends "answer"
      assert.same({}, alice:hears_all())
      world:fault("writes wait", false)
      local heard = alice:hears_all()
      assert.same({ "receipt", true, "got it" }, { heard[1].type, heard[2][1], heard[3] })
    end)

    it("is one of messages, in their own conversation, and a receipt is for one connection", function()
      local world, alice = case [[ go = function(s) end ]]
      assert.is_nil(alice:asks "go")
      assert.is_not_nil(world)
      refused("session:send('{}', { receipt = true })", "session:send: a receipt is for one connection")
      refused("session:send('{}', { to = connection, receipt = 1 })", "receipt is true or false")
      local other = scene.case([[ local other return {
        connect = function(s) other = other or s end, go = function() other:keep() end } ]])
      other:connect "alice"
      assert.matches("only the handler of a message can", other:connect("bob"):asks("go").failed, 1, true)
    end)
  end)

  describe("session:fresh", function()
    it("is sure of a conversation that began here, and asks the store about one that did not", function()
      local world = scene.case [[ return {
        fresh = function(s, _, cid) return s:fresh(cid) end,
        say = function(s, _, cid) s:append { sender = "user", type = "x", content = "x", cid = cid } s:flush() end } ]]
      local alice = world:connect "alice"
      assert.same({ true }, alice:asks "fresh A")
      alice:sends "say A"
      assert.same({ false }, alice:asks "fresh A")
      assert.same({ true }, alice:asks "fresh B")
      world:crash()
      alice = world:connect "alice"
      assert.same({}, alice:asks "fresh A")
      alice:sends "say B"
      assert.same({ false }, alice:asks "fresh B")
    end)
  end)

  describe("session:commit", function()
    it("lets what was done so far take effect, also when the handler fails after it", function()
      local world = scene.case [[ return {
        say = function(s, c) s:send('"before"') s:commit() s:send('"after"') error "late" end } ]]
      local alice = world:connect "alice"
      alice:sends "say"
      assert.equal("before", alice:hears())
      assert.matches("late", alice:hears().failed)
    end)
  end)

  describe("session:ask", function()
    local ASK = [[ return {
      ask = function(s, c, within) return "heard", s:ask(within ~= "" and { within = within } or nil) end,
      offer = function(s, c, word) return s:offer { word = word, list = { 1, { true } } } end,
      sleep = function(s) chat.timer.sleep "10s" return "slept" end,
      ping = function() return "pong" end,
    } ]]

    it("waits for what is offered, while other messages run", function()
      local world = scene.case(ASK)
      local alice = world:connect "alice"
      assert.is_nil(alice:asks "ask 5m")
      assert.same({ "pong" }, alice:asks "ping")
      alice:sends "offer yes"
      assert.same({ { true }, { "heard", { word = "yes", list = { 1, { true } } } } }, alice:hears_all())
      assert.same({ false }, alice:asks "offer again")
      assert.equal(0, world:tasks())
    end)

    it("gives up after a time, which is five minutes when nothing is said", function()
      local world = scene.case(ASK)
      local alice = world:connect "alice"
      alice:sends "ask"
      world:advance(299999)
      assert.is_nil(alice:hears())
      world:advance(1)
      assert.same({ "heard", nil, "nobody answered in time", "TIMEOUT" }, alice:hears())
      assert.same({ false }, alice:asks "offer late")
      alice:sends "ask 250ms"
      world:advance(250)
      assert.equal("TIMEOUT", alice:hears()[4])
    end)

    it("is for one handler of a conversation at a time", function()
      local world = scene.case(ASK)
      local alice, bob = world:connect "alice", world:connect "bob"
      alice:sends "ask"
      assert.same({ "heard", nil, "another handler is waiting for an answer", "CONFLICT" }, alice:asks "ask")
      assert.same({ false }, bob:asks "offer mine")
      alice:sends "offer yes"
      assert.same({ true }, alice:hears())
    end)

    it("that nobody answers goes on beside the handler that has its turn, and the order stays", function()
      local world = scene.case [[ return {
        ask = function(s) s:ask { within = "1s" } chat.timer.sleep "1s" return "asked" end,
        slow = function(s) chat.timer.sleep "5s" return "slow" end,
        next = function() return "next" end,
      } ]]
      local alice = world:connect "alice"
      alice:sends "ask"
      alice:sends "slow"
      alice:sends "next"
      world:advance "4s"
      assert.same({ { "asked" } }, alice:hears_all())
      world:advance "1s"
      assert.same({ { "slow" }, { "next" } }, alice:hears_all())
    end)

    it("keeps the conversation in memory while it waits", function()
      local world = scene.case(ASK)
      local alice = world:connect "alice"
      alice:sends "ask"
      alice:leave()
      assert.equal(0, world:sweep(0))
      assert.equal(1, world:conversations())
      world:advance "5m"
      assert.equal(0, world:conversations())
    end)

    it("refuses a bad time and another conversation", function()
      refused("session:ask { within = 'soon' }", "a duration is a number of ms")
      refused("session:ask(5)", "bad argument #1 to 'ask' (table expected")
      refused("session.offer(session)", "value expected")
      local world = scene.case [[ local other return {
        connect = function(s) other = other or s end, ask = function() return other:ask() end } ]]
      world:connect "alice"
      assert.matches("only the conversation of the message", world:connect("bob"):asks("ask").failed)
    end)
  end)

  describe("chat.session.open", function()
    local OPEN = [[ return {
      store = function(s) s:append { sender = "user", type = "x", content = "" } s:flush() return s.id end,
      open = function(s, c, id)
        local other, why, code = chat.session.open(id)
        if not other then return false, why, code end
        return other.user_id, other.top
      end,
      idle = function(s, c, id) local other = chat.session.open(id) chat.timer.sleep "1h" return other.id end,
    } ]]

    it("finds a conversation in memory and in the store, whoever's it is", function()
      local world = scene.case(OPEN)
      local alice, bob = world:connect "alice", world:connect "bob"
      local id = alice:asks("store")[1]
      assert.same({ "alice", 1 }, bob:asks("open " .. id))
      alice:leave()
      assert.equal(1, world:sweep(0))
      assert.same({ "alice", 1 }, bob:asks("open " .. id))
    end)

    it("says NOT_FOUND for what nobody knows and for what is no id, STORE when the store fails", function()
      local world = scene.case(OPEN)
      local alice = world:connect "alice"
      assert.same({ false, "not found", "NOT_FOUND" }, alice:asks("open " .. ("0"):rep(32)))
      assert.same({ false, "not found", "NOT_FOUND" }, alice:asks "open nonsense")
      world:fault("reads fail", true)
      assert.same({ false, "database operation failed", "STORE" }, alice:asks("open " .. ("0"):rep(32)))
    end)

    it("keeps what it found in memory while the handler lives", function()
      local world = scene.case(OPEN, { SCRIPT_WAIT_DEADLINE = "2h" })
      local alice, bob = world:connect "alice", world:connect "bob"
      local id = alice:asks("store")[1]
      alice:leave()
      assert.equal(1, world:sweep(0))
      bob:sends("idle " .. id)
      assert.equal(0, world:sweep(0))
      world:advance "1h"
      assert.same({ id }, bob:hears())
      assert.equal(1, world:sweep(0))
    end)

    it("refuses what is no text", function()
      refused("chat.session.open()", "bad argument #1 to 'open' (string expected")
      refused("chat.session.open 'a\\0b'", "the text contains a NUL")
    end)
  end)

  it(":current is where its user goes on: the active one, or a new one when that has ended", function()
    local world = scene.case [[ return {
      say = function(s) s:append { sender = "user", type = "user_message", content = "x" } return s.id end,
      current = function(s) local other = s:current() return other.id, other.user_id, other == s, other.end_ms end,
      finish = function(s) s:close() s:flush() end } ]]
    local alice = world:connect "alice"
    local id = alice:asks("say")[1]
    assert.same({ id, "alice", true, 0 }, alice:asks "current")
    alice:sends "finish"
    local new = alice:asks "current"
    assert.same({ "alice", false, 0 }, { new[2], new[3], new[4] })
    assert.not_equal(id, new[1])
  end)

  describe("a message that is open", function()
    local OPEN = "local m = { sender = 'user', type = 'user_message', content = 'x', open = true }\n"

    it("is one to a handler, in its own conversation", function()
      refused(OPEN .. "session:append(m) session:append(m)", "the handler deals with another message already")
      local world = scene.case([[ local other return {
        connect = function(s) other = other or s end,
        go = function(s) ]] .. OPEN .. [[ other:append(m) end } ]])
      world:connect "alice"
      assert.matches("only the handler of a message can leave one open", world:connect("bob"):asks("go").failed, 1, true)
    end)

    it("is closed by its handler's end, by its failure, and not by one that never ends", function()
      local world = scene.case([[ return {
        ends = function(s) ]] .. OPEN .. [[ s:append(m) chat.timer.sleep "1s" end,
        fails = function(s) ]] .. OPEN .. [[ s:append(m) s:flush() error "oh" end,
        again = function(s) ]] .. OPEN .. [[ m.cid = "c" s:append(m) local all = s:flush()
          local waits = all[1].open
          if not waits then chat.timer.sleep "1h" end
          return all[1].duplicate, waits end } ]], { SCRIPT_WAIT_DEADLINE = "10m" })
      local alice = world:connect "alice"
      for _, word in ipairs { "ends", "fails" } do
        alice:sends(word)
        world:advance "1s"
      end
      alice:hears_all()
      alice:sends "again"
      world:crash()
      alice = world:connect "alice"
      assert.same({ true, true }, alice:asks "again")
    end)

    it("is tried again by session:attempt, of whoever deals with it and nobody else", function()
      refused("session:attempt()", "this handler deals with no stored message of the conversation")
      local world = scene.case([[ return { ask = function(s) ]] .. OPEN .. [[
        s:append(m) s:flush() local ok = s:attempt() return ok, s:flush() ~= nil end } ]])
      assert.same({ true, true }, world:connect("alice"):asks "ask")
    end)
  end)

  describe("chat.session.method", function()
    it("adds a method to every conversation, while scripts load", function()
      local world = scene.case [[
        assert(chat.session.method("double", function(s, n) return s.user_id, 2 * n end))
        return { run = function(s) return s:double(4) end } ]]
      assert.same({ "alice", 8 }, world:connect("alice"):asks "run")
    end)

    it("refuses a name that is taken, a value that is no function, and to do it later", function()
      local function load_error(text)
        local world, why = scene.new { files = { ["init.lua"] = text } }
        assert.is_nil(world)
        return why
      end
      assert.matches("scripts/init.lua:1: a session has a field or method send already",
        load_error "chat.session.method('send', print)", 1, true)
      assert.matches("scripts/init.lua:1: a session has a field or method name already",
        load_error "chat.session.method('name', print)", 1, true)
      assert.matches("function expected", load_error "chat.session.method('x', 1)", 1, true)
      refused("chat.session.method('x', print)", "methods are added while scripts load")
    end)
  end)
end)
