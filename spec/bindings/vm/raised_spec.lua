-- raised.c: whatever a script raises, its author is told what it was and where.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

-- Of what never ends by itself.
local QUICK = { SCRIPT_SLICE_BUDGET = scene.budget(100), SCRIPT_MESSAGE_BUDGET = scene.budget(1000) }

local function said(body, settings)
  local result, message = scene.run(body, settings)
  assert.is_nil(result)
  return message
end

local function refused(files)
  files["init.lua"] = files["init.lua"] or 'require "bots.x" return {}'
  local none, why = scene.new { files = files, settings = QUICK }
  assert.is_nil(none)
  return why
end

describe("an error", function()
  after_each(scene.close)

  it("that is a table shows its message, what its __tostring makes of it, or its fields", function()
    assert.equal("scripts/case.lua:1: no such order", said 'error { message = "no such order", code = 4 }')
    assert.equal("scripts/case.lua:1: order 7",
      said 'error(setmetatable({ n = 7 }, { __tostring = function(t) return "order " .. t.n end }))')
    assert.equal("scripts/case.lua:1: { code = 4, detail = a table, ok = false }",
      said 'error { code = 4, detail = {}, ok = false }')
    assert.equal("scripts/case.lua:1: {}", said "error {}")
    assert.equal("scripts/case.lua:1: an error that is a nil", said "error()")
    assert.equal("scripts/case.lua:1: an error that is a boolean", said "error(false)")
    assert.equal("scripts/case.lua:1: an error that is a function", said "error(print)")
    assert.equal("scripts/case.lua:1: 42", said "error(42, 0)")
  end)

  it("has its place also when it does not say it itself", function()
    assert.equal("scripts/case.lua:2: gone", said '\nerror("gone", 0)')
    assert.equal("scripts/case.lua:3: nobody", said '\n\nassert(nil, "nobody")')
  end)

  it("whose __tostring raises or answers nonsense is shown all the same", function()
    local function by(body) return "error(setmetatable({ code = 4 }, { __tostring = function() " .. body .. " end }))" end
    assert.equal("scripts/case.lua:1: { code = 4 }", said(by 'error "no"'))
    assert.equal("scripts/case.lua:1: { code = 4 }", said(by "return 4"))
    assert.equal("scripts/case.lua:1: { code = 4 }", said(by "chat.timer.sleep(1)"))
    assert.equal(511 + #"scripts/case.lua:1: ", #said(by 'return ("x"):rep(1000000)'))
  end)

  it("while scripts load says where, whatever it is", function()
    assert.matches("^scripts/bots/x%.lua:2: no such order", refused { ["bots/x.lua"] = '\nerror { message = "no such order" }' })
    assert.matches("^scripts/bots/x%.lua:1: { code = 4 }", refused { ["bots/x.lua"] = "error { code = 4 }" })
    assert.matches("^scripts/bots/x%.lua:3: nobody", refused { ["bots/x.lua"] = '\n\nassert(nil, "nobody")' })
    assert.matches("^scripts/lib/y%.lua:1: deeper", refused {
      ["bots/x.lua"] = 'require "lib.y"', ["lib/y.lua"] = 'error("deeper", 0)' })
    assert.matches("^scripts/bots/x%.lua:2: .*self_test of bots.x", refused {
      ["bots/x.lua"] = "return { self_test = function()\nerror {} end }" })
  end)

  it("whose maker or __tostring has to be ended says where, too", function()
    if chatbox.sanitizer == "thread" then
      pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
      return
    end
    assert.matches("^scripts/case%.lua:2: ended: .*SCRIPT_SLICE_BUDGET", said("\nwhile true do end", QUICK))
    assert.equal("scripts/case.lua:1: an error whose __tostring has to be ended",
      said("error(setmetatable({ code = 4 }, { __tostring = function() while true do end end }))", QUICK))
    assert.matches("^scripts/bots/x%.lua:1: ended: ", refused {
      ["bots/x.lua"] = "error(setmetatable({}, { __tostring = function() while true do end end }))" })
  end)

  it("of a file that returns no bot names the file", function()
    for _, text in ipairs { "", "return 4", "return { answer = 4 }" } do
      local ok, why = pcall(scene.shipped, { settings = { CHATBOX_BOT = "evil" }, files = { ["bots/evil.lua"] = text } })
      assert.is_false(ok)
      assert.matches("scripts/bots/evil.lua:1: bots/evil.lua does not return a bot", why, 1, true)
    end
  end)
end)

describe("waiting where nobody can", function()
  after_each(scene.close)

  it("says inside what, and where that was called", function()
    for what, body in pairs {
      ["table.sort"] = "\ntable.sort({ 2, 1 }, function()\nchat.timer.sleep(1) end)",
      ["string.gsub"] = '\nstring.gsub("a", "a", function()\nchat.timer.sleep(1) end)',
    } do
      assert.equal("scripts/case.lua:3: cannot wait inside " .. what .. " (scripts/case.lua:2)", said(body))
    end
    assert.equal("scripts/case.lua:3: cannot wait inside table.sort (scripts/case.lua:2)",
      said "\ntable.sort({ 2, 1 }, function()\nassert(pcall(chat.timer.sleep, 1)) end)")
  end)

  it("says it also when a coroutine of the script is in between", function()
    assert.matches("cannot wait inside table.sort (scripts/case.lua:2)", said [[

table.sort({ 2, 1 }, function()
  coroutine.wrap(function() chat.timer.sleep(1) end)() end)]], 1, true)
    assert.matches("cannot yield inside table.sort (scripts/case.lua:2)", said [[
coroutine.wrap(function()
table.sort({ 2, 1 }, function() coroutine.yield() end) end)()]], 1, true)
  end)

  it("is no matter where everybody can", function()
    local world = scene.case "return { go = function() return pcall(function() chat.timer.sleep(5) return 3 end) end }"
    local alice = world:connect "alice"
    alice:sends "go"
    world:advance(5)
    assert.same({ true, 3 }, alice:hears())
  end)
end)
