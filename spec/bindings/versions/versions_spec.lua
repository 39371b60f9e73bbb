-- scripts.c, scripts_host.c, scripts_canary.c, history.c: versions beside each other, and the way back.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

local function case(version, broken)
  return { ["case.lua"] = [[ return {
    version = function() ]] .. (broken and "error 'worse'" or "") .. [[ return "]] .. version .. [[" end,
    slow = function(s) chat.timer.sleep "10s" return "slow ]] .. version .. [[" end,
    ask = function(s) local heard = s:ask() return "]] .. version .. [[ heard", heard end,
    offer = function(s, c, word) return "]] .. version .. [[ offers", s:offer(word) end,
    fail = function(s) error "no" end,
    http = function(request) return { body = "]] .. version .. [[" } end,
  } ]] }
end

local function start(settings)
  return scene.case(case("1")["case.lua"], settings)
end

-- Lines of the history, newest first, without number and time.
local function history(world)
  local lines = {}
  for line in world:report():gmatch "\n *%d+  %d[%d%-T:.]+Z  ([^\n]+)" do
    lines[#lines + 1] = line:gsub("%s+", " ")
  end
  return lines
end

-- A share of many people as the canary sees it: how many of them it has.
local function share_of(people, version)
  local count = 0
  for _, person in ipairs(people) do
    if person:asks("version")[1] == version then count = count + 1 end
  end
  return count
end

local function crowd(world, n)
  local people = {}
  for i = 1, n do people[i] = world:connect("user" .. i) end
  return people
end

describe("a rollback", function()
  after_each(scene.close)

  it("brings the version before back, from memory: the folder may be gone", function()
    local world = start()
    local alice = world:connect "alice"
    local first = world:version()
    assert.is_true((world:reload(case "2")))
    world:write { ["case.lua"] = "this is no Lua" }
    local ok, text = world:order "rollback"
    assert.same({ true, "version " .. first }, { ok, text })
    assert.equal("1", alice:asks("version")[1])
    assert.equal(first, world:version())
  end)

  it("goes further back each time, at most four versions, and then says that there is none", function()
    local world = start()
    local alice = world:connect "alice"
    for i = 2, 7 do assert.is_true((world:reload(case(tostring(i))))) end
    for i = 6, 3, -1 do
      assert.is_true((world:order "rollback"))
      assert.equal(tostring(i), alice:asks("version")[1])
    end
    assert.same({ false, "there is no earlier version to go back to" }, { world:order "rollback" })
    assert.equal("3", alice:asks("version")[1])
  end)

  it("is refused at first: there is nothing to go back to", function()
    local world = start()
    assert.same({ false, "there is no earlier version to go back to" }, { world:order "rollback" })
    assert.same({ false, "there is no canary" }, { world:order "promote" })
  end)

  it("does not bring a version back that never ran", function()
    local world = start()
    assert.is_true((world:reload(case "2")))
    assert.is_false((world:reload { ["case.lua"] = "return nil + 1" }))
    assert.is_true((world:order "rollback"))
    assert.equal("1", world:connect("alice"):asks("version")[1])
  end)

  it("lets handlers finish on the version they began on", function()
    local world = start()
    world:reload(case "2")
    local alice = world:connect "alice"
    alice:sends "slow"
    world:order "rollback"
    world:advance "10s"
    assert.same({ "slow 2" }, alice:hears())
    assert.equal("1", alice:asks("version")[1])
  end)
end)

describe("an old version", function()
  after_each(scene.close)

  it("with a 64 bit number in its text is freed like any other", function() -- it opens a library nobody asked for
    for _ = 1, 5 do
      local world = scene.case [[local big, kept = 1LL, {} return { fill = function()
        for i = 1, 20000 do kept[i] = { i .. " kept", x = "table" .. i } end
        return tostring(big + 1)
      end }]]
      world:memory() -- what nobody holds is gone, and its place is taken
      assert.same({ "2LL" }, world:connect("alice"):asks "fill")
      world:memory()
      scene.close()
    end
  end)
end)

describe("the history", function()
  after_each(scene.close)

  it("says what was done, by whom, why, and what came of it; the newest first", function()
    local world = start()
    local first = world:version()
    world:write(case "2")
    world:order("reload", 0, "new greeting")
    local second = world:version()
    world:reload { ["case.lua"] = "return {\n  x = = 1 }" }
    assert.same({
      "reload " .. history(world)[1]:match "%x%x%x%x%x%x%x%x%x%x%x%x"
        .. " failed: scripts/case.lua:2: unexpected symbol near '=', by spec",
      "reload " .. second .. " running, by spec, because: new greeting",
      "start " .. first .. " replaced",
    }, history(world))
    world:order "rollback"
    local after = history(world)
    assert.equal("rollback " .. first .. " running, by spec", after[1])
    assert.equal("reload " .. second .. " rolled back, by spec, because: new greeting", after[3])
  end)

  it("does not fill with reloads that changed nothing", function()
    local world = start()
    for _ = 1, 3 do world:reload() end
    assert.equal(1, #history(world))
  end)

  it("keeps the last twenty", function()
    local world = start()
    for i = 2, 30 do world:reload(case(tostring(i))) end
    local lines = history(world)
    assert.equal(20, #lines)
    assert.matches("running", lines[1])
    assert.matches("replaced", lines[20])
  end)

  it("shows the versions that answer as a metric", function()
    local world = start()
    local function shown() return world:report():match "\n(%x+)  current" end
    world:reload(case "2")
    assert.equal(world:version(), shown())
    local page = world:http { path = "/" }
    assert.equal("2", page.body)
  end)
end)

describe("a reload nobody waits for", function()
  after_each(scene.close)

  it("is remembered while another one is under way, once", function()
    local world = start()
    world:write(case "2")
    world:hang_up()
    assert.equal("2", world:connect("alice"):asks("version")[1])
    assert.matches("reload %x+ running, by SIGHUP", history(world)[1])
    world:write(case "3")
    world:hang_up(case "4")
    assert.equal("4", world:connect("bob"):asks("version")[1])
    local lines = history(world)
    assert.equal(4, #lines) -- twice while one was under way is once
    assert.matches("reload %x+ running, by file change", lines[1])
    assert.matches("reload %x+ replaced, by SIGHUP", lines[2])
  end)
end)

describe("a canary", function()
  after_each(scene.close)

  local function begin(settings, percent, broken)
    local world = start(settings)
    world:write(case("2", broken))
    local ok, text = world:order("canary", percent or 50)
    assert.is_true(ok, text)
    return world
  end

  it("has its share of the conversations, always the same ones", function()
    local world = begin(nil, 25)
    local people = crowd(world, 80)
    local count = share_of(people, "2")
    assert.is_true(count > 5 and count < 40, count .. " of 80")
    for _, person in ipairs(people) do
      assert.equal(person:asks("version")[1], person:asks("version")[1])
    end
    assert.equal(count, share_of(people, "2"))
    assert.matches("25 %% of the conversations", world:report())
  end)

  it("does not have the HTTP requests: those are the current version's", function()
    local world = begin(nil, 99)
    assert.equal("1", world:http({ path = "/" }).body)
  end)

  it("has all of them once it is promoted; then a rollback goes back", function()
    local world = begin()
    local people = crowd(world, 10)
    assert.is_true((world:order "promote"))
    assert.equal(10, share_of(people, "2"))
    assert.is_true((world:order "rollback"))
    assert.equal(10, share_of(people, "1"))
    assert.same({ "rollback", "promote", "canary", "start" }, (function()
      local verbs = {}
      for i, line in ipairs(history(world)) do verbs[i] = line:match "^%a+" end
      return verbs
    end)())
  end)

  it("has none once it is rolled back; its handlers finish", function()
    local world = begin(nil, 99)
    local people = crowd(world, 10)
    local alice = people[1]:asks("version")[1] == "2" and people[1] or people[2] -- one per cent is not in it
    alice:sends "slow"
    local ok, text = world:order "rollback"
    assert.is_true(ok)
    assert.matches("0 of %d+ calls failed", text)
    assert.equal(0, share_of({ unpack(people, 3) }, "2"))
    world:advance "10s"
    assert.same({ "slow 2" }, alice:hears())
    assert.equal("1", alice:asks("version")[1])
    assert.is_true((world:reload(case "3")))
  end)

  it("leaves a conversation where it is while anything of it is parked", function()
    local world = start()
    local people = crowd(world, 20)
    for _, person in ipairs(people) do person:sends "ask" end
    world:write(case "2")
    world:order("canary", 99)
    for _, person in ipairs(people) do
      person:sends "offer yes"
      assert.equal("1 offers", person:hears()[1])
      assert.same({ "1 heard", "yes" }, person:hears())
    end
    assert.is_true(share_of(people, "2") >= 15)
    for _, person in ipairs(people) do
      person:hears_all()
      person:sends "ask"
    end
    world:order "rollback"
    world:order("canary", 1)
    for _, person in ipairs(people) do -- what waits in the version that goes is answered by the one that stays
      person:sends "offer again"
      assert.equal("1 offers", person:hears()[1])
      assert.equal("again", person:hears()[2])
    end
  end)

  it("goes by itself when it fails more often than the margin allows", function()
    local world = begin({ SCRIPT_CANARY_MIN = "10", SCRIPT_CANARY_MARGIN = "20" }, 50, true)
    local people = crowd(world, 60)
    scene.log()
    for _, person in ipairs(people) do person:sends "version" end
    world:advance "100ms"
    assert.equal(60, share_of(people, "1"))
    assert.matches("the canary was rolled back", table.concat(scene.log(), "\n"))
    local lines = history(world)
    assert.matches("^rollback %x+ done: %d+ of %d+ calls failed %(%d+%.%d %%%).*by canary watch, because: it fails more often$",
      lines[1])
    assert.matches("^canary %x+ rolled back", lines[2])
    assert.is_true((world:reload(case "3")))
  end)

  it("whose bot has to be ended again and again does not put the current version's aside", function()
    if chatbox.sanitizer == "thread" then
      return pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
    end
    local world = scene.shipped { settings = { SCRIPT_KILLS_MAX = "1", SCRIPT_CANARY_MIN = "100000",
      SCRIPT_SLICE_BUDGET = scene.budget(100) } }
    world:write { ["bots/echo.lua"] = 'local bot = require "bot" "echo"\n'
      .. "bot:otherwise(function() while true do end end)\nreturn bot" }
    assert.is_true((world:order("canary", 50)))
    local answers = { ai_response = 0, error = 0 }
    for _, person in ipairs(crowd(world, 16)) do
      person:sends { type = "user_message", content = "hello" }
      for _, heard in ipairs(person:hears_all()) do
        if answers[heard.type] then answers[heard.type] = answers[heard.type] + 1 end
        assert.is_true(heard.type ~= "ai_response" or heard.content == "hello", heard.content)
      end
    end
    assert.is_true(answers.error > 0 and answers.ai_response > 0)
    assert.equal(16, answers.error + answers.ai_response)
    assert.matches("canary +%d+ +" .. answers.error .. " +" .. answers.error .. " ", world:report())
  end)

  it("is not judged before it has had SCRIPT_CANARY_MIN calls", function()
    local world = begin({ SCRIPT_CANARY_MIN = "100000", SCRIPT_CANARY_MARGIN = "0" }, 50, true)
    for _, person in ipairs(crowd(world, 30)) do person:sends "version" end
    world:advance "10s"
    assert.matches("\n%x+  canary  ", world:report())
  end)

  it("stays when the current version fails as often", function()
    local world = begin({ SCRIPT_CANARY_MIN = "10", SCRIPT_CANARY_MARGIN = "20" })
    for _, person in ipairs(crowd(world, 60)) do person:sends "fail" end
    world:advance "10s"
    assert.matches("\n%x+  canary  ", world:report())
  end)

  it("shows calls and failures of both side by side", function()
    local world = begin { SCRIPT_CANARY_MIN = "100000" }
    local people = crowd(world, 20)
    local count = share_of(people, "2")
    for _, person in ipairs(people) do person:sends "fail" end
    local report = world:report()
    -- each connected, asked and failed
    assert.matches(("current +%d +%d +0 "):format(3 * (20 - count), 20 - count), report)
    assert.matches(("canary +%d +%d +0 "):format(3 * count, count), report)
  end)

  it("that does not load changes nothing", function()
    local world = start()
    world:write { ["case.lua"] = "return nil .. 1" }
    local ok, text = world:order("canary", 10)
    assert.is_false(ok)
    assert.matches("^scripts/case.lua:1: ", text)
    assert.is_nil(world:report():find "  canary  %d")
  end)

  it("stands in the way of a reload, and a reload says so", function()
    local world = begin()
    local why = "a canary is running: promote it or roll it back first"
    assert.same({ false, why }, { world:order "reload" })
    assert.same({ false, why }, { world:order("canary", 5) })
  end)

  it("is one of at most three versions: what drains longest gives way", function()
    local world = start { SCRIPT_DRAIN_TIMEOUT = "1h" }
    local alice, bob = world:connect "alice", world:connect "bob"
    alice:sends "slow"
    world:reload(case "2")
    bob:sends "slow"
    world:reload(case "3")
    world:write(case "4")
    assert.is_true((world:order("canary", 50)))
    assert.same({ refused = "CANCELLED" }, alice:hears())
    local _, lines = world:report():gsub("\n%x+  %a+ +%d+ +%d+ ", "")
    assert.equal(3, lines)
    world:advance "10s"
    assert.same({ "slow 2" }, bob:hears())
  end)
end)
