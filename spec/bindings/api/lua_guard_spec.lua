-- lua_guard.c: a route or a rule of a bot whose handlers have to be ended again and again is put aside; the others go on.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

if chatbox.sanitizer == "thread" then
  describe("what overruns again and again", function()
    pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
  end)
  return
end

local EVIL = [[
  local bot = require "bot" "evil"
  local function forever() while true do end end
  bot:hears("loop", function() while true do end end)
  bot:hears("deep", function()
    local function down(n) return n == 0 and forever() or 1 + down(n - 1) end
    return down(5000)
  end)
  bot:hears("inside", function() coroutine.wrap(function() pcall(forever) end)() end)
  bot:hears("sleep", function() chat.timer.sleep "1h" end)
  bot:hears("raise", function() error "oh" end)
  bot:otherwise(function(session) session:reply "fine" end)
  return bot ]]

describe("what overruns again and again", function()
  after_each(scene.close)

  local function shipped(settings)
    settings = settings or {}
    settings.CHATBOX_BOT, settings.SCRIPT_SLICE_BUDGET = "evil", scene.budget(100)
    return scene.shipped { files = { ["bots/evil.lua"] = EVIL }, settings = settings }
  end

  local function says(world, client, content)
    client:hears_all()
    client:says(content)
    world:advance "6m"
    local last
    for document in function() return client:hears() end do last = document end
    return last
  end

  it("is put aside after SCRIPT_KILLS_MAX of them and answers SCRIPT_ASIDE_TEXT, until it is enabled", function()
    local world = shipped { SCRIPT_KILLS_MAX = "3", SCRIPT_KILLS_WINDOW = "1h", SCRIPT_ASIDE_TEXT = "closed" }
    local alice, bob = world:connect "alice", world:connect "bob"
    for i = 1, 3 do
      assert.equal("fine", says(world, i == 2 and bob or alice, "hello").content)
      local heard = says(world, i == 2 and bob or alice, "loop")
      assert.equal("INTERNAL", heard.error.code)
      assert.is_true(heard.error.recoverable)
      assert.matches("^%x+$", heard.error.incident)
    end
    assert.matches("put aside.*name=bot:evil", table.concat(scene.log(), "\n"))
    assert.equal("closed", says(world, alice, "loop").content)
    assert.equal("closed", says(world, bob, "loop").content)
    assert.equal("fine", says(world, bob, "hello").content)
    assert.equal("INTERNAL", says(world, bob, "raise").error.code)
    assert.equal("pong", alice:asks({ type = "ping" }).type)
    assert.equal(0, world:enable "route:user_message")
    assert.equal(1, world:enable "bot:evil")
    assert.equal("INTERNAL", says(world, alice, "loop").error.code)
  end)

  it("is a rule that rests under its own name, which the metrics show, also one with a long or odd text", function()
    local long = ("%s"):rep(30)
    local world = scene.shipped { settings = { CHATBOX_BOT = "odd", SCRIPT_KILLS_MAX = "1", SCRIPT_ASIDE_TEXT = "closed",
      SCRIPT_SLICE_BUDGET = scene.budget(100) }, files = { ["bots/odd.lua"] = [[
        local bot = require "bot" "odd"
        local function forever() while true do end end
        bot:hears('say "a"', function() forever() end)
        bot:hears("[\195-\196]", function() forever() end) -- bytes that are no text
        bot:hears("]] .. long .. [[x", function() forever() end)
        bot:hears("]] .. long .. [[y", function(session) session:reply "y" end)
        bot:otherwise(function(session) forever() end)
        bot:hears("metrics", function(session) session:reply(chat.metrics.render()) end)
        return bot ]] } }
    local alice = world:connect "alice"
    for _, word in ipairs { 'say "a"', "\195\169", long .. "x", "anything" } do
      assert.equal("INTERNAL", says(world, alice, word).error.code)
      assert.equal("closed", says(world, alice, word).content)
    end
    assert.equal("y", says(world, alice, long .. "y").content)
    local shown = says(world, alice, "metrics").content
    assert.matches('\nchatbox_scripts_aside 4\n', shown)
    assert.matches('\nchatbox_scripts_aside_name{name="bot:odd hears say %?a%?"} 1\n', shown)
    assert.matches('\nchatbox_scripts_aside_name{name="bot:odd hears %%s[%%s]+ #3"} 1\n', shown)
    assert.matches('\nchatbox_scripts_aside_name{name="bot:odd hears %[%?%-%?%]"} 1\n', shown)
    assert.equal(1, world:enable 'bot:odd otherwise')
    assert.equal(0, world:enable 'bot:od')
    assert.equal(3, world:enable 'bot:odd')
    assert.is_nil(says(world, alice, "metrics").content:match 'aside_name{')
  end)

  it("whether it loops, goes deep, hides in a coroutine or waits for ever", function()
    for _, how in ipairs { "loop", "deep", "inside", "sleep" } do
      local world = shipped { SCRIPT_KILLS_MAX = "2", SCRIPT_KILLS_WINDOW = "1h" }
      local alice = world:connect "alice"
      scene.log()
      for _ = 1, 2 do assert.equal("INTERNAL", says(world, alice, how).error.code) end
      assert.matches("put aside.*name=bot:evil", table.concat(scene.log(), "\n"), 1, false, how)
      assert.matches("out of order", says(world, alice, how).content)
      assert.equal("fine", says(world, alice, "hello").content)
      scene.close()
    end
  end)

  it("is not put aside for errors, nor for kills that lie apart", function()
    local world = shipped { SCRIPT_KILLS_MAX = "2", SCRIPT_KILLS_WINDOW = "5m" }
    local alice = world:connect "alice"
    for _ = 1, 4 do assert.equal("INTERNAL", says(world, alice, "raise").error.code) end
    for _ = 1, 4 do assert.equal("INTERNAL", says(world, alice, "loop").error.code) end
    assert.equal("fine", says(world, alice, "hello").content)
  end)

  it("is a route or an endpoint, too", function()
    local world = scene.shipped { settings = { SCRIPT_KILLS_MAX = "1", SCRIPT_ASIDE_TEXT = "closed",
      SCRIPT_SLICE_BUDGET = scene.budget(100) }, files = {
      ["handlers/help.lua"] = "return { help_request = function() while true do end end }",
      ["api/probes.lua"] = [[ return { healthz = function() while true do end end, readyz = function() end,
        metrics = function() return { body = "m" } end } ]] } }
    local alice = world:connect "alice"
    alice:hears_all()
    assert.equal("INTERNAL", alice:asks({ type = "help_request" }).error.code)
    local heard = alice:asks { type = "help_request" }
    assert.equal("SERVICE_ERROR", heard.error.code)
    assert.equal("closed", heard.error.message)
    assert.equal("pong", alice:asks({ type = "ping" }).type)
    assert.equal(500, world:http({ path = "/healthz" }).status)
    local answer = world:http { path = "/healthz" }
    assert.equal(503, answer.status)
    assert.equal("closed", answer.json.error)
    assert.equal(200, world:http({ path = "/metrics/prometheus" }).status)
  end)

  it("stays put aside in a VM that starts later, and comes back with new scripts", function()
    local world = shipped { SCRIPT_KILLS_MAX = "1" }
    local alice = world:connect "alice"
    assert.equal("INTERNAL", says(world, alice, "loop").error.code)
    assert.matches("out of order", says(world, alice, "loop").content)
    assert.is_true(world:reload { ["bots/evil.lua"] = (EVIL:gsub("while true do end", "while false do end")) })
    alice:hears_all()
    alice:says "loop"
    assert.equal("loading", alice:hears("loading").type)
    assert.equal("true", alice:hears("ai_response").metadata.done)
  end)

  it("is not watched under a name that is no text", function()
    local _, why = scene.new { files = { ["init.lua"] = "chat.guard.watch('\\255', function() end)" } }
    assert.matches("init.lua:1: name: not UTF%-8 at byte 1", why)
  end)

  it("can be watched only while scripts load", function()
    local refused = scene.run "return select(2, pcall(chat.guard.watch, 'x', function() end))"
    assert.matches("while scripts load", refused[1])
    assert.same({ true, "table" }, scene.run "return next(chat.guard.aside()) == nil, type(chat.guard.aside())")
  end)
end)

describe("protected calls and coroutines inside one another", function()
  after_each(scene.close)

  local CASE = [[
    local function protected(n, last, ...)
      if n == 0 then return last(...) end
      return select(2, pcall(protected, n - 1, last, ...))
    end
    local function nested(n, last)
      if n == 0 then return last() end
      return coroutine.wrap(nested)(n - 1, last)
    end
    local function fine() return "fine" end
    local function wait() chat.timer.sleep(1) return "fine" end
    local function one_more() return pcall(fine) end
    return {
      pcalls = function(_, _, n) return protected(tonumber(n), fine) end,
      xpcalls = function(_, _, n)
        local function down(i) return i == 0 and "fine" or select(2, xpcall(down, tostring, i - 1)) end
        return down(tonumber(n))
      end,
      coroutines = function(_, _, n) return nested(tonumber(n), fine) end,
      both = function(_, _, n) return nested(100, function() return protected(tonumber(n) - 100, fine) end) end,
      sorts = function(_, _, n)
        local depth, deepest = 0, 0
        local function less(a, b)
          depth = depth + 1
          deepest = math.max(deepest, depth)
          if depth < tonumber(n) then table.sort({ 2, 1 }, less) end
          depth = depth - 1
          return a < b
        end
        table.sort({ 2, 1 }, less)
        return deepest
      end,
      -- one coroutine that holds a hundred protected calls, resumed below n others
      prepared = function(_, _, n)
        local co = coroutine.create(function() return protected(100, function() coroutine.yield() return pcall(fine) end) end)
        coroutine.resume(co)
        return protected(tonumber(n), function() return select(2, coroutine.resume(co)) end)
      end,
      -- deep once in another's depth, and not since
      moved = function(_, _, n)
        local co = coroutine.wrap(function() while true do coroutine.yield(protected(tonumber(n), fine)) end end)
        protected(100, co)
        return co()
      end,
      again = function(_, _, n)
        for _ = 1, 1000 do pcall(protected, tonumber(n), error) pcall(nested, 50, error) end
        return protected(199, fine)
      end,
      waits = function(_, _, n) return protected(tonumber(n), function() wait() return select(2, one_more()) end) end,
      nested_waits = function(_, _, n)
        return nested(tonumber(n), function() wait() return select(2, one_more()) end)
      end,
      fine = fine,
    } ]]
  local function asks(alice, what)
    local heard = alice:asks(what)
    return heard and heard.failed or heard and heard[1]
  end

  it("are at most 200 in all; the next one answers what it would for an error", function()
    local alice = scene.case(CASE):connect "alice"
    for _, kind in ipairs { "pcalls", "xpcalls", "coroutines", "both" } do
      assert.equal("fine", asks(alice, kind .. " 200"))
      assert.matches("too many %a+ %a* ?inside one another", asks(alice, kind .. " 201"))
      assert.equal("fine", asks(alice, "fine"))
    end
    assert.equal(200, asks(alice, "sorts 200"))
    assert.matches("scripts/case.lua:%d+: table.sort: too many inside one another", asks(alice, "sorts 201"))
  end)

  it("count wherever they were begun: a coroutine brings with it what is on its stack", function()
    local alice = scene.case(CASE):connect "alice"
    assert.is_true(asks(alice, "prepared 98")) -- with the coroutine and the call inside it two hundred
    assert.is_false(asks(alice, "prepared 99"))
    assert.equal("too many coroutines inside one another", asks(alice, "prepared 100"))
    assert.equal("fine", asks(alice, "moved 98"))
    assert.matches("too many protected calls", asks(alice, "moved 201"))
  end)

  it("count no longer once they have ended, however they did", function()
    local alice = scene.case(CASE):connect "alice"
    assert.equal("fine", asks(alice, "again 150"))
  end)

  it("count while their handler waits, and for nobody else", function()
    local world = scene.case(CASE)
    local alice, bob = world:connect "alice", world:connect "bob"
    for _, kind in ipairs { "waits", "nested_waits" } do
      for n, answer in pairs { [199] = "fine", [200] = "too many protected calls inside one another" } do
        alice:sends(kind .. " " .. n)
        assert.equal("fine", asks(bob, "pcalls 200"))
        world:advance(1)
        assert.same({ answer }, alice:hears())
      end
    end
  end)
end)
