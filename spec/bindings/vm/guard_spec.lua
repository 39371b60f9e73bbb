-- guard.c, failure.c, deadline.c: whatever a handler does, it ends within its budget and hurts one message.
-- The handlers are those of spec/support/hostile.lua.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local CASE = "local hostile = (function() " .. read "spec/support/hostile.lua" .. [[ end)()
  local handlers = { fine = function() return "fine" end }
  for kind, entry in pairs(hostile) do
    handlers[kind] = function(session, connection, n)
      if not kind:find "^sleeps" and kind ~= "commits" then session:send '"a part of the slice"' end
      entry[2](tonumber(n), session, connection)
    end
  end
  return handlers]]

-- kind -> how it has to end
local function kinds()
  local list = {}
  for kind, how in CASE:gmatch '\nhostile%.([%w_]+) = { "(%a+)"' do list[#list + 1] = { kind = kind, how = how } end
  return list
end

local function field(line, name) return line:match(" " .. name .. '="([^"]*)"') or line:match(" " .. name .. "=(%S+)") end

-- The line of the log about the handler that was ended, or nil.
local function ended()
  for _, line in ipairs(scene.log()) do
    if line:find("a handler was ended", 1, true) then return line end
  end
end

-- A collection at every step, or a sanitizer at every call, may take longer than some ticks of the clock.
local SLOW = os.getenv "SPEC_GC" or chatbox.sanitizer

local ROOMY = scene.budget(5000) -- memory is gone long before; were it not looked at, it would still end
local BUDGET_MS, LATE_MS = 100, 50 -- promised: whatever it does, it has ended LATE_MS after its budget is gone
local BUDGET = { SCRIPT_SLICE_BUDGET = scene.budget(BUDGET_MS), SCRIPT_MESSAGE_BUDGET = scene.budget(10 * BUDGET_MS) }

if chatbox.sanitizer == "thread" then
  describe("a hostile handler", function()
    pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
  end)
  return
end

describe("a hostile handler", function()
  local hurried, patient
  local function begin(settings)
    settings.SCRIPT_WAIT_DEADLINE = "10s"
    settings.SCRIPT_ALLOCATION_LIMIT = "16MiB" -- harder to keep to than the default
    local world = scene.case(CASE, settings)
    return { world = world, alice = world:connect "alice" }
  end
  setup(function()
    hurried = begin { SCRIPT_SLICE_BUDGET = BUDGET_MS .. "ms", SCRIPT_MESSAGE_BUDGET = 10 * BUDGET_MS .. "ms" }
    patient = begin {} -- what ends for another reason ends for that one however slow the processor is
  end)
  teardown(scene.close)

  -- The error is an ordinary one; what describes it never ends by itself.
  local hasty = { error_object = true }

  for i, entry in ipairs(kinds()) do if entry.how ~= "hoard" then
    it("of the kind " .. entry.kind .. " is ended", function()
      local place = (entry.how == "time" or entry.how == "any" or hasty[entry.kind]) and hurried or patient
      local world, alice = place.world, place.alice
      scene.log()
      alice:hears_all()
      alice:sends(entry.kind .. " " .. i)
      world:advance "11s"
      local heard = alice:hears()
      assert.is_truthy(heard and heard.failed, "no answer, or a part of the slice came through: " .. tostring(heard))
      assert.matches("^%x+$", heard.incident)
      local line = ended() or entry.how ~= "error" and error(heard.failed) or nil
      if entry.how == "error" then
        assert.is_nil(line)
      else
        if entry.how ~= "any" then assert.equal(entry.how, field(line, "kind")) end
        assert.equal(heard.incident, field(line, "incident"))
        assert.equal(world:version(), field(line, "version"))
        if entry.how == "time" and not SLOW then
          assert.is_true(tonumber(field(line, "cpu_ms")) <= BUDGET_MS + LATE_MS * scene.slowness, line)
        end
        assert.matches("scripts/case.lua:%d+", line)
      end
      assert.equal(0, world:tasks())
      assert.same({ "fine" }, alice:asks "fine")
    end)
  end end
end)

describe("the guard", function()
  after_each(scene.close)

  local function shipped(bot, settings)
    settings = settings or {}
    settings.CHATBOX_BOT, settings.SCRIPT_SLICE_BUDGET = "evil", BUDGET.SCRIPT_SLICE_BUDGET
    return scene.shipped { settings = settings, files = { ["bots/evil.lua"] =
      'local bot = require "bot" "evil"\nbot:otherwise(function(session, message)\n' .. bot .. "\nend)\nreturn bot" } }
  end

  it("lets nothing of a slice that was ended take effect; the user's own message is stored all the same", function()
    local world = shipped [[
      session:reply "half"
      session:set { name = "half" }
      chat.metrics.add "evil_half"
      while true do end ]]
    local alice = world:connect "alice"
    alice:hears_all()
    alice:says("hello", { cid = "c1" })
    assert.equal("ack", alice:hears().type)
    local heard = alice:hears_all()
    assert.equal(1, #heard)
    assert.equal("INTERNAL", heard[1].error.code)
    local history = alice:asks { type = "history" }
    assert.equal(1, #history.messages)
    assert.equal("hello", history.messages[1].content)
    assert.is_nil(world:http({ path = "/metrics/prometheus" }).body:find("evil_half", 1, true))
    local session = world:http({ path = "/sessions", user = "alice" }).json.sessions[1]
    assert.not_equal("half", session.name)
  end)

  it("lets take effect what a handler did before it waited", function()
    local world = scene.case([[ return { go = function(session)
      session:send '"before"'
      chat.timer.sleep(1)
      session:send '"after"'
      while true do end
    end } ]], BUDGET)
    local alice = world:connect "alice"
    alice:sends "go"
    world:advance(1)
    assert.equal("before", alice:hears())
    assert.matches("SCRIPT_SLICE_BUDGET", alice:hears().failed)
    assert.is_nil(alice:hears())
  end)

  it("counts the time of all slices of a message together, and that of no other", function()
    local world = scene.case([[
      local function burn() local x = 0 for i = 1, 300000 do x = x + i % 7 end end
      return {
        often = function() while true do burn() chat.timer.sleep(0) end end,
        little = function() burn() chat.timer.sleep(0) burn() return "done" end,
      } ]], { SCRIPT_SLICE_BUDGET = scene.budget(100), SCRIPT_MESSAGE_BUDGET = scene.budget(150) })
    local alice = world:connect "alice"
    alice:sends "often"
    world:advance(100)
    assert.matches("SCRIPT_MESSAGE_BUDGET", alice:hears().failed)
    for _ = 1, 20 do
      alice:sends "little"
      world:advance(1)
      assert.same({ "done" }, alice:hears())
    end
  end)

  it("ends who waits longer than SCRIPT_WAIT_DEADLINE, and the conversation goes on", function()
    local world = scene.case([[ return {
      long = function() chat.timer.sleep "1h" end,
      steps = function() for _ = 1, 100 do chat.timer.sleep "1m" end end,
      just = function() chat.timer.sleep "299s" return "just" end,
      asks = function(session) return session:ask { within = "20m" } or "nobody" end,
      asks_then = function(session) session:ask { within = "20m" } chat.timer.sleep "1h" end,
      fine = function() return "fine" end } ]], { SCRIPT_WAIT_DEADLINE = "5m" })
    for _, word in ipairs { "long", "steps" } do
      local alice = world:connect(word)
      alice:sends(word)
      alice:sends "fine"
      world:advance(299999)
      assert.is_nil(alice:hears())
      world:advance(60000)
      assert.matches("SCRIPT_WAIT_DEADLINE", alice:hears().failed)
      assert.same({ "fine" }, alice:hears())
    end
    local bob = world:connect "bob"
    bob:sends "just"
    world:advance "299s"
    assert.same({ "just" }, bob:hears())
    bob:sends "asks"
    world:advance "20m"
    assert.same({ "nobody" }, bob:hears())
    bob:sends "asks_then"
    world:advance "20m"
    assert.is_nil(bob:hears())
    world:advance "5m"
    assert.matches("SCRIPT_WAIT_DEADLINE", bob:hears().failed)
    assert.equal(0, world:tasks())
  end)

  it("holds for every entry of the scripts, and for their loading", function()
    local ENTRIES = "message = function() end, connect = function() end, http = function() end, "
      .. "failed = function() end, refused = function() end"
    local function init(entry) return { ["init.lua"] = "return {" .. ENTRIES .. ", " .. entry .. " }" } end
    local settings = { SCRIPT_SLICE_BUDGET = scene.budget(100), SCRIPT_MESSAGE_BUDGET = scene.budget(200) }
    for _, name in ipairs { "connect", "message", "failed" } do
      local world = assert(scene.new { settings = settings,
        files = init(name .. " = function() while true do end end" .. (name == "failed" and ", message = error" or "")) })
      local alice = world:connect "alice"
      scene.log()
      alice:sends "x"
      if name ~= "connect" then assert.matches("kind=time", table.concat(scene.log(), "\n"), 1, true) end
    end
    local world = assert(scene.new { settings = settings, files = init "http = function() while true do end end" })
    assert.equal(500, world:http({}).status)
    world = assert(scene.new { settings = settings, files = init "describe = function() while true do end end" })
    assert.is_nil(world:describe())
    local none, why = scene.new { settings = settings, files = { ["init.lua"] = "while true do end" } }
    assert.is_nil(none)
    assert.matches("SCRIPT_MESSAGE_BUDGET", why)
    none, why = scene.new { settings = settings, files = { ["init.lua"] = "local t = {} for i = 1, 1e9 do t[i] = i end" } }
    assert.is_nil(none)
    assert.matches("SCRIPT_", why)
  end)

  it("gives memory back that a message took, whatever became of the message", function()
    local world = scene.case([[ return {
      garbage = function() local t = {} for i = 1, 200000 do t[i] = { i } end return "fine" end,
      much = function() local t = {} while true do t[#t + 1] = ("x"):rep(1000000) .. #t end end,
      at_once = function() local s = "x" while true do s = s .. s end end,
      fine = function() return "fine" end } ]], { SCRIPT_MEMORY_LIMIT = "32MiB", SCRIPT_ALLOCATION_LIMIT = "4MiB",
      SCRIPT_SLICE_BUDGET = ROOMY })
    local alice = world:connect "alice"
    alice:asks "fine"
    local before = world:memory()
    for _ = 1, 5 do
      assert.matches("SCRIPT_MEMORY_LIMIT", alice:asks("much").failed)
      assert.matches("SCRIPT_ALLOCATION_LIMIT", alice:asks("at_once").failed)
      assert.same({ "fine" }, alice:asks "garbage")
    end
    assert.is_true(world:memory() < before + 256, "more than 256 KiB stayed")
  end)

  it("bounds one text or table by itself, and all of them together", function()
    local sizes = [[ return {
      text = function() return #("x"):rep(3000000) end,
      texts = function() local t = {} for i = 1, 40 do t[i] = ("x"):rep(500000) .. i end return #t end,
      fine = function() return "fine" end } ]]
    local small = scene.case(sizes, { SCRIPT_ALLOCATION_LIMIT = "2MiB" }):connect "alice"
    assert.matches("SCRIPT_ALLOCATION_LIMIT", small:asks("text").failed)
    assert.same({ 40 }, small:asks "texts")
    local few = scene.case(sizes, { SCRIPT_MEMORY_LIMIT = "16MiB" }):connect "alice"
    assert.same({ 3000000 }, few:asks "text")
    assert.matches("SCRIPT_MEMORY_LIMIT", few:asks("texts").failed)
    assert.same({ "fine" }, few:asks "fine")
  end)

  it("does not take the table by which all texts are found for one of a script", function()
    local world = scene.case([[ return { many = function()
      local lists = {}
      for k = 1, 64 do lists[k] = {} end
      for i = 1, 300000 do local list = lists[i % 64 + 1] list[#list + 1] = "text " .. i end
      return #lists
    end } ]], { SCRIPT_ALLOCATION_LIMIT = "1MiB" })
    assert.same({ 64 }, world:connect("alice"):asks "many")
  end)

  it("collects early when memory is half used, so that garbage alone ends nobody", function()
    local world = scene.case([[
      local kept = {}
      return {
        keep = function() for i = 1, 14 do kept[i] = ("x"):rep(1000000) .. i end return "kept" end,
        churn = function() for i = 1, 100 do local _ = ("y"):rep(900000) .. i end return "churned" end,
      } ]], { SCRIPT_MEMORY_LIMIT = "32MiB", SCRIPT_SLICE_BUDGET = ROOMY })
    local alice = world:connect "alice"
    assert.same({ "kept" }, alice:asks "keep")
    for _ = 1, 5 do assert.same({ "churned" }, alice:asks "churn") end
  end)

  it("can be switched off, for who trusts the scripts", function()
    local world = scene.case([[ return { long = function()
      local x = 0 for i = 1, 50000000 do x = x + i end return "done" end } ]], { SCRIPT_SLICE_BUDGET = "0" })
    assert.same({ "done" }, world:connect("alice"):asks "long")
  end)
end)

describe("a VM whose scripts keep too much", function()
  after_each(scene.close)

  it("starts anew, and the next message finds it good; who waits in the old one ends there", function()
    local world = scene.case([[
      local hoard = {}
      return {
        hoard = function() while true do hoard[#hoard + 1] = ("x"):rep(100000) .. #hoard end end,
        kept = function() return #hoard > 0 end,
        wait = function() chat.timer.sleep(5) return #hoard > 0 end,
        much = function() local t = {} for i = 1, 100 do t[i] = ("y"):rep(100000) .. i end return #t end,
      } ]], { SCRIPT_MEMORY_LIMIT = "16MiB", SCRIPT_ALLOCATION_LIMIT = "1MiB",
              SCRIPT_SLICE_BUDGET = ROOMY })
    local alice, bob = world:connect "alice", world:connect "bob"
    for _ = 1, 3 do
      assert.same({ false }, alice:asks "kept")
      bob:sends "wait"
      assert.matches("SCRIPT_MEMORY_LIMIT", alice:asks("hoard").failed)
      assert.matches("starts anew", table.concat(scene.log(), "\n"), 1, true)
      assert.same({ false }, alice:asks "kept")
      assert.same({ 100 }, alice:asks "much")
      world:advance(5)
      assert.same({ true }, bob:hears())
    end
    assert.equal(0, world:tasks())
  end)
end)
