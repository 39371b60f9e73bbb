-- chat.metrics: counters.
local scene = require "spec.support.scene"

local function refused(body, why)
  local values, message = scene.run(body)
  assert.is_nil(values, body)
  assert.matches(why, message, 1, true)
end

-- The value of a series, by its exact name.
local function value(series)
  local text = scene.run("return chat.metrics.render()")[1]
  return tonumber(("\n" .. text):match("\n" .. series:gsub("%p", "%%%0") .. " (%S+)")) or 0
end

describe("chat.metrics", function()
  after_each(scene.close)

  it(".add counts under a name of the script's own, with labels in one order", function()
    assert.same({ true, true, true }, scene.run [[
      return chat.metrics.add "a1", chat.metrics.add("a1", 2.5), chat.metrics.add("a2", 1, { b = 'x"y\\z\n', a = "1" }) ]])
    assert.equal(3.5, value "chatbox_script_a1")
    assert.equal(1, value [[chatbox_script_a2{a="1",b="x\"y\\z "}]])
  end)

  it(".add refuses a label that is not UTF-8", function()
    refused([[chat.metrics.add("a3", 1, { b = "x\xc3" })]], "b: not UTF-8 at byte 2")
  end)

  it(".count counts for the server", function()
    for _, name in ipairs { "messages_received", "message_errors", "messages_sent", "sessions_created", "sessions_ended" } do
      local series = "chatbox_" .. name .. "_total"
      local before = value(series)
      assert.same({ true, true }, scene.run("return chat.metrics.count '" .. name .. "', chat.metrics.count('" .. name .. "', 2)"))
      assert.equal(before + 3, value(series), name)
    end
  end)

  it("counts a refused message once", function()
    local world = scene.shipped { settings = { INBOX_LIMIT = "1", CHATBOX_BOT = "slow" }, files = { ["bots/slow.lua"] = [[
      local bot = require "bot" "slow" bot:otherwise(function() chat.timer.sleep "1s" end) return bot ]] } }
    local alice = world:connect "alice"
    local before = value "chatbox_message_errors_total"
    for _ = 1, 3 do alice:says "x" end
    assert.equal("SERVICE_ERROR", alice:hears("error").error.code)
    assert.is_nil(alice:hears "error")
    assert.equal(before + 1, value "chatbox_message_errors_total")
  end)

  it(".render gives all of them as Prometheus reads them", function()
    local text = scene.run("return chat.metrics.render()")[1]
    assert.matches("# TYPE chatbox_script_coroutines gauge", text, 1, true)
  end)

  it("counts the handlers that wait", function()
    local world = scene.case [[ return { immediate = { look = true }, slow = function() chat.timer.sleep "1s" end,
      look = function() return chat.metrics.render():match "\nchatbox_script_coroutines (%d+)" end } ]]
    local alice = world:connect "alice"
    local before = alice:asks("look")[1]
    alice:sends "slow"
    assert.equal(before + 1, tonumber(alice:asks("look")[1]))
    world:advance "1s"
    assert.equal(before, alice:asks("look")[1])
  end)

  it("refuses bad names, amounts and labels", function()
    refused("chat.metrics.add()", "bad argument #1 to 'add' (string expected")
    for _, name in ipairs { "", "1a", "A", "a-b", "a b", ("x"):rep(101) } do
      refused("chat.metrics.add '" .. name .. "'", "a name is [a-z_][a-z0-9_]*, at most 100 bytes")
    end
    refused("chat.metrics.add('a', -1)", "a counter only grows")
    refused("chat.metrics.add('a', 0/0)", "a counter only grows")
    refused("chat.metrics.add('a', 1/0)", "a counter only grows")
    refused("chat.metrics.add('a', 1, 'x')", "bad argument #3 to 'add' (table expected")
    refused("chat.metrics.add('a', 1, { A = 'x' })", "labels are texts under names")
    refused("chat.metrics.add('a', 1, { a = 1 })", "labels are texts under names")
    refused("chat.metrics.add('a', 1, { 'x' })", "labels are texts under names")
    refused("local l = {} for i = 1, 9 do l['l' .. i] = 'x' end chat.metrics.add('a', 1, l)", "at most 8 labels")
    refused("chat.metrics.count 'colour'", "the server has no counter colour")
    refused("chat.metrics.count('messages_sent', -1)", "a counter only grows")
  end)

  it("has a bound for one slice", function()
    assert.same({ true, "the queue is full", "FULL" }, scene.run [[
      for _ = 1, 1024 do assert(chat.metrics.add "many") end
      local ok, why, code = chat.metrics.add "many"
      return ok == nil, why, code ]])
  end)
end)
