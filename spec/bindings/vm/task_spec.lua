-- task.c: a run of a handler. Its effects happen slice by slice, all or nothing; when it waits, others run.
local scene = require "spec.support.scene"

local HISTORY = [[
  history = function(s)
    local texts = {}
    for i, m in ipairs(chat.store.history { session_id = s.id } or {}) do texts[i] = m.content end
    return table.concat(texts, " "), s.name, s.total_tokens, s.end_ms
  end,
  counter = function() return chat.metrics.render():match "chatbox_script_task_spec (%d+)" end,
]]

describe("a handler", function()
  after_each(scene.close)

  describe("that raises", function()
    it("leaves nothing of its slice: no message, no field, no send, no count", function()
      local world = scene.case([[ return { ]] .. HISTORY .. [[
        count = function() chat.metrics.add "task_spec" end,
        fail = function(s)
          s:append { sender = "user", type = "x", content = "no" }
          s:set { name = "no" }
          s:add_tokens(5)
          s:add_response_time(5)
          s:close()
          s:send '"no"'
          chat.metrics.add "task_spec"
          error "oh"
        end } ]])
      local alice, desk = world:connect "alice", world:connect "alice"
      alice:sends "count"
      local before = alice:asks "counter"
      alice:sends "fail"
      assert.is_string(alice:hears().failed)
      assert.is_nil(alice:hears())
      assert.is_nil(desk:hears())
      assert.same({ "", "", 0, 0 }, alice:asks "history")
      assert.same(before, alice:asks "counter")
    end)

    it("leaves what earlier slices did, among it the user's message", function()
      local world = scene.case([[ return { ]] .. HISTORY .. [[
        fail = function(s)
          s:append { sender = "user", type = "x", content = "question" }
          s:commit()
          s:append { sender = "ai", type = "x", content = "no" }
          error "oh"
        end,
        later = function(s)
          s:append { sender = "user", type = "x", content = "second" }
          chat.timer.sleep "1s"
          s:append { sender = "ai", type = "x", content = "no" }
          error "oh"
        end } ]])
      local alice = world:connect "alice"
      alice:sends "fail"
      assert.equal("question", alice:asks("history")[1])
      alice:sends "later"
      world:advance "1s"
      assert.equal("question second", alice:asks("history")[1])
    end)
  end)

  describe("that succeeds", function()
    it("sends what it said only after it is stored, in order, also behind an earlier slice", function()
      local world = scene.case [[ return {
        store = function(s) s:append { sender = "ai", type = "x", content = "1" } s:send '"stored"' end,
        say = function(s) s:send '"said"' end } ]]
      local alice = world:connect "alice"
      world:fault("writes wait", true)
      alice:sends "store"
      alice:sends "say"
      assert.is_nil(alice:hears())
      world:fault("writes wait", false)
      assert.same({ "stored", "said" }, alice:hears_all())
    end)

    it("but cannot be stored is told so, its sends are not heard, and nothing of it shows", function()
      local world = scene.case([[ return { ]] .. HISTORY .. [[
        store = function(s) s:append { sender = "ai", type = "x", content = "lost" } s:send '"heard"' end,
        look = function(s) return s.stored, s.top end } ]])
      local alice, desk = world:connect "alice", world:connect "alice"
      world:fault("writes fail", true)
      alice:sends "store"
      assert.same({ { refused = "STORE" } }, alice:hears_all())
      assert.same({}, desk:hears_all())
      assert.same({ false, 0 }, alice:asks "look")
      world:fault("writes fail", false)
      alice:sends "store"
      assert.same({ "heard" }, alice:hears_all())
      assert.equal("lost", alice:asks("history")[1])
    end)

    it("is told once, also when the store refuses at once", function()
      local world = scene.case [[ return {
        store = function(s) s:append { sender = "ai", type = "x", content = "1" } s:commit() s:send '"on"' end } ]]
      local alice = world:connect "alice"
      world:stop_store()
      alice:sends "store"
      assert.same({ { refused = "STORE" }, "on" }, alice:hears_all())
    end)

    it("is told once by a handler that fails to store twice, and again by the next one", function()
      local world = scene.case [[ return {
        store = function(s)
          s:append { sender = "user", type = "x", content = "1" } s:commit()
          s:append { sender = "ai", type = "x", content = "2" }
        end } ]]
      local alice = world:connect "alice"
      world:fault("writes fail", true)
      for _ = 1, 2 do
        alice:sends "store"
        assert.same({ { refused = "STORE" } }, alice:hears_all())
      end
    end)

    it("changes several conversations together with its own", function()
      local world = scene.case [[ local other return {
        connect = function(s) other = other or s end,
        tell = function(s) other:send '"hello"' s:send '"told"' other:set { name = "named" } return other.name end,
        fail = function(s) other:send '"no"' other:set { name = "no" } error "oh" end,
        look = function() return other.name end } ]]
      local alice, bob = world:connect "alice", world:connect "bob"
      bob:sends "tell"
      assert.same({ "hello" }, alice:hears_all())
      assert.same({ "told", { "named" } }, bob:hears_all())
      bob:sends "fail"
      assert.same({}, alice:hears_all())
      assert.same({ "named" }, alice:asks "look")
    end)
  end)

  describe("that waits", function()
    local ORDER = [[ return {
      immediate = { now = true },
      slow = function(s, c, n) s:send('"begins ' .. n .. '"') chat.timer.sleep "1s" return "slow " .. n end,
      quick = function(s, c, n) return "quick " .. n end,
      now = function(s, c, n) return "now " .. n end,
    } ]]

    it("keeps the next messages of its conversation waiting, in order, but not immediate ones", function()
      local world = scene.case(ORDER)
      local alice, desk = world:connect "alice", world:connect "alice"
      alice:sends "slow 1"
      desk:sends "quick 2"
      alice:sends "slow 3"
      alice:sends "quick 4"
      alice:sends "now 5"
      assert.same({ "begins 1", { "now 5" } }, alice:hears_all())
      world:advance "1s"
      assert.same({ { "slow 1" }, "begins 3" }, alice:hears_all())
      assert.same({ "begins 1", { "quick 2" }, "begins 3" }, desk:hears_all())
      world:advance "1s"
      assert.same({ { "slow 3" }, { "quick 4" } }, alice:hears_all())
    end)

    it("does not keep other conversations waiting", function()
      local world = scene.case(ORDER)
      local alice, bob = world:connect "alice", world:connect "bob"
      alice:sends "slow 1"
      assert.same({ "quick 1" }, bob:asks "quick 1")
    end)

    it("lets its slice take effect before", function()
      local world = scene.case(ORDER)
      local alice = world:connect "alice"
      alice:sends "slow 1"
      assert.same({ "begins 1" }, alice:hears_all())
    end)

    it("and returns \"later\" has ended all the same: it could come back only before it waited", function()
      local world = scene.new { files = { ["init.lua"] = [[
        local function none() end
        return { connect = none, http = none, failed = none, refused = none,
          message = function(s, text, connection, busy)
            if busy and text ~= "wait" then return "later" end
            s:send('"begins ' .. text .. '"')
            chat.timer.sleep(text == "slow" and "1s" or "2s")
            return "later"
          end } ]] } }
      local alice = world:connect "alice"
      alice:sends "slow"
      alice:sends "wait"
      world:advance "1h"
      alice:sends "last"
      world:advance "1h"
      assert.same({ "begins slow", "begins wait", "begins last" }, alice:hears_all())
      assert.equal(0, world:tasks())
    end)

    it("for nothing goes on at once, however often it does so", function()
      assert.same({ 100000 }, scene.run [[
        local n = 0
        for i = 1, 100000 do n = n + (#session:flush() == 0 and 1 or 0) end
        return n ]])
    end)

    it("keeps its conversation in memory, whatever it waits for and whoever has left", function()
      local world = scene.case [[ return { immediate = { now = true },
        slow = function(s) chat.timer.sleep "1s" end, now = function(s) chat.timer.sleep "1m" end,
        connect = function() chat.timer.sleep "1s" end } ]]
      local alice, bob = world:connect "alice", world:connect "bob"
      bob:leave()
      assert.equal(2, world:conversations())
      world:advance "1s"
      assert.equal(1, world:conversations())
      alice:sends "slow"
      alice:sends "now"
      alice:leave()
      world:advance "59s"
      assert.equal(1, world:conversations())
      world:advance "1s"
      assert.equal(0, world:conversations())
    end)

    it("still reaches who asked, after that one moved to another conversation", function()
      local world = scene.case [[ local other return {
        connect = function(s) other = other or s end,
        go = function(s, c) chat.connection.move(s, c, other) chat.timer.sleep "1s" return "moved" end } ]]
      world:connect "alice"
      local bob = world:connect "bob"
      bob:sends "go"
      world:advance "1s"
      assert.same({ { "moved" } }, bob:hears_all())
    end)

    it("when its user has left comes to an end, and nobody is hurt", function()
      local world = scene.case(ORDER)
      local alice = world:connect "alice"
      alice:sends "slow 1"
      alice:leave()
      world:advance "1s"
      assert.equal(0, world:tasks())
    end)

    it("is cancelled when the server stops, and the user is told", function()
      local world = scene.case [[ return {
        slow = function(s) s:append { sender = "user", type = "x", content = "1" } chat.timer.sleep "1h" return "never" end,
        ask = function(s) s:ask() return "never" end,
        read = function(s) chat.store.session(s.id) return "never" end,
        ok = function() return "ok" end } ]]
      local alice, bob, carol = world:connect "alice", world:connect "bob", world:connect "carol"
      alice:sends "slow"
      bob:sends "ask"
      assert.equal(2, world:tasks())
      world:cancel()
      assert.equal(0, world:tasks())
      assert.same({ { refused = "CANCELLED" } }, alice:hears_all())
      assert.same({ { refused = "CANCELLED" } }, bob:hears_all())
      world:advance "2h" -- their timers are gone with them
      assert.same({ "ok" }, alice:asks "ok")
      assert.same({ "ok" }, bob:asks "ok")
      assert.same({ "ok" }, carol:asks "ok")
    end)

    it("and is cancelled meanwhile is not resumed by an answer that comes too late", function()
      local world = scene.case [[ return {
        store = function(s) s:append { sender = "user", type = "x", content = "1" } s:flush() return "never" end,
        ok = function() chat.timer.sleep(1) return "ok" end } ]]
      local alice = world:connect "alice"
      world:fault("writes wait", true)
      alice:sends "store"
      world:cancel()
      alice:sends "ok" -- takes the place of the one that was cancelled
      world:fault("writes wait", false)
      assert.equal(1, world:tasks())
      world:advance(1)
      assert.same({ { refused = "CANCELLED" }, { "ok" } }, alice:hears_all()) -- behind what waited for the store
    end)
  end)

  it("whose answer comes too late is not resumed by it, nor is who came after", function()
    local world = scene.case [[ return {
      immediate = { wait = true },
      read = function(s) return "read", (chat.store.sessions { user_id = "nobody" }) end,
      wait = function() return "waited", chat.timer.sleep "1s" end } ]]
    local alice = world:connect "alice"
    world:fault("reads wait", true)
    alice:sends "read"
    world:cancel()
    assert.same({ { refused = "CANCELLED" } }, alice:hears_all())
    alice:sends "wait"
    world:fault("reads wait", false)
    assert.equal(1, world:tasks())
    world:advance "1s"
    assert.same({ { "waited", true } }, alice:hears_all())
  end)

  it("that asks does not hold up a stop; what others do goes on", function()
    local world = scene.case [[ return {
      ask = function(s) s:ask() return "never" end, slow = function() chat.timer.sleep "1s" return "slow" end } ]]
    local alice, bob, carol = world:connect "alice", world:connect "bob", world:connect "carol"
    alice:sends "ask"
    bob:sends "slow"
    carol:sends "ask"
    world:cancel_askers()
    assert.equal(1, world:tasks())
    assert.same({ { refused = "CANCELLED" } }, alice:hears_all())
    assert.same({ { refused = "CANCELLED" } }, carol:hears_all())
    world:advance "1s"
    assert.same({ { "slow" } }, bob:hears_all())
  end)

  describe("may wait", function()
    local NESTED = [[
      local wait = chat.timer.sleep
      return {
        wrap = function() return coroutine.wrap(function() wait(5) return "a" end)() end,
        resume = function()
          local co = coroutine.create(function(x) local y = coroutine.yield(x + 1) wait(5) return y + 1 end)
          local _, first = coroutine.resume(co, 1)
          local _, second = coroutine.resume(co, 10)
          return first, second, coroutine.status(co)
        end,
        nested = function()
          return coroutine.wrap(function()
            local inner = coroutine.wrap(function() wait(5) coroutine.yield "x" wait(5) return "y" end)
            return inner() .. inner() .. tostring(#chat.store.sessions { user_id = "nobody" })
          end)()
        end,
        generator = function(s)
          local parts = {}
          for i in coroutine.wrap(function() for i = 1, 3 do wait(1) coroutine.yield(i) end end) do parts[i] = i end
          return table.concat(parts, "-")
        end,
        fails = function()
          local co = coroutine.create(function() wait(5) error "inside" end)
          return coroutine.resume(co)
        end,
        pcall = function() return pcall(function() wait(5) return "ok" end) end,
        pcall_fails = function() return pcall(function() wait(5) error("after", 0) end) end,
        xpcall = function() return xpcall(function() wait(5) error("after", 0) end, function(m) wait(5) return m .. "!" end) end,
        meta = function() return (setmetatable({}, { __index = function() wait(5) return "m" end })).x end,
        sort = function() return (select(2, pcall(table.sort, { 1, 2 }, function() wait(5) end))) end,
        gsub = function() return (select(2, pcall(string.gsub, "a", "a", function() chat.store.ready() end))) end,
      } ]]

    it("inside coroutines of its own, pcall and metamethods", function()
      local world = scene.case(NESTED)
      local alice = world:connect "alice"
      local function says(word)
        alice:sends(word)
        world:advance "1m"
        assert.equal(0, world:tasks())
        return alice:hears()
      end
      assert.same({ "a" }, says "wrap")
      assert.same({ 2, 11, "dead" }, says "resume")
      assert.same({ "xy0" }, says "nested")
      assert.same({ "1-2-3" }, says "generator")
      assert.is_false(says("fails")[1])
      assert.same({ true, "ok" }, says "pcall")
      assert.same({ false, "after" }, says "pcall_fails")
      assert.same({ false, "after!" }, says "xpcall")
      assert.same({ "m" }, says "meta")
    end)

    it("but not inside a call-back of a C function: that is an error like any other", function()
      local world = scene.case(NESTED)
      local alice = world:connect "alice"
      assert.matches("cannot wait inside table.sort %(scripts/case.lua:%d+%)", alice:asks("sort")[1])
      assert.matches("cannot wait inside string.gsub %(scripts/case.lua:%d+%)", alice:asks("gsub")[1])
      assert.equal(0, world:tasks())
      assert.same({ "a" }, (function() alice:sends "wrap" world:advance(5) return alice:hears() end)())
    end)

    it("unless too many do already: that one fails, and those who wait go on", function()
      local world = scene.case([[ return {
        wait = function() chat.timer.sleep "1s" return "waited" end,
        read = function(s) return pcall(chat.store.session, s.id) end,
        open = function(s) return pcall(chat.session.open, s.id) end,
        ask = function(s) return pcall(s.ask, s), s:offer "x" end,
        flush = function(s) s:append { sender = "user", type = "x", content = "1" } return pcall(s.flush, s) end,
      } ]], { SCRIPT_COROUTINES = "2" })
      local clients = {}
      for i, name in ipairs { "alice", "bob", "carol" } do
        clients[i] = world:connect(name)
        clients[i]:sends(i < 3 and "wait" or "read")
      end
      local carol = clients[3]
      local why = "too many handlers are waiting"
      assert.matches(why, carol:hears()[2])
      assert.matches(why, carol:asks("wait").failed)
      assert.matches(why, carol:asks("open")[2])
      assert.matches(why, carol:asks("flush")[2])
      assert.same({ false, false }, carol:asks "ask")
      world:advance "1s"
      assert.same({ "waited" }, clients[1]:hears())
      assert.same({ "waited" }, clients[2]:hears())
      assert.is_true(carol:asks("read")[1])
    end)
  end)
end)
