-- chat.shared: small values all workers see at once.
local scene = require "spec.support.scene"

describe("chat.shared", function()
  after_each(scene.close)

  it("keeps texts, numbers and booleans", function()
    assert.same({ true, "a\0b", -1.5, true, false, "nil", "" }, scene.run [[
      local set, get = chat.shared.set, chat.shared.get
      local ok = set("text", "a\0b") and set("number", -1.5) and set("yes", true) and set("no", false) and set("empty", "")
      return ok, get "text", get "number", get "yes", get "no", tostring(get "nothing"), get "empty" ]])
  end)

  it("is seen by other conversations, survives a reload, and stays when the handler fails", function()
    local CASE = [[ return { set = function() chat.shared.set("k", "kept") error "oh" end,
      get = function() return chat.shared.get "k" end } ]]
    local world = scene.case(CASE)
    world:connect("alice"):sends "set"
    assert.is_true((world:reload { ["case.lua"] = CASE .. " " }))
    assert.same({ "kept" }, world:connect("bob"):asks "get")
  end)

  it(".add sums up from nothing, and says when it is no number", function()
    assert.same({ 2, 1.5, true, "CONFLICT" }, scene.run [[
      local add = chat.shared.add
      chat.shared.set("t", "text")
      local sum, why, code = add("t", 1)
      return add("n", 2), add("n", -0.5), sum == nil and #why > 0, code ]])
  end)

  it(".delete forgets, and says whether there was something", function()
    assert.same({ true, false, "nil" }, scene.run [[
      chat.shared.set("k", 1)
      return chat.shared.delete "k", chat.shared.delete "k", tostring(chat.shared.get "k") ]])
  end)

  it("forgets when the time is over; .add keeps the first time", function()
    local world = scene.case [[ return {
      set = function() chat.shared.set("a", 1, "10s") chat.shared.set("b", 1) chat.shared.add("c", 1, "10s") end,
      add = function() return chat.shared.add("c", 1, "1h") end,
      look = function() return tostring(chat.shared.get "a"), tostring(chat.shared.get "b"), tostring(chat.shared.get "c") end } ]]
    local alice = world:connect "alice"
    alice:sends "set"
    world:advance(9999)
    assert.same({ 2 }, alice:asks "add")
    assert.same({ "1", "1", "2" }, alice:asks "look")
    world:advance(1)
    assert.same({ "nil", "1", "nil" }, alice:asks "look")
  end)

  it("has bounds: FULL, and what has expired makes room", function()
    local world = scene.case([[ return {
      set = function(s, c, words) local k, ttl = words:match "(%S+) ?(.*)" return chat.shared.set(k, "x", ttl ~= "" and ttl or nil) end,
      add = function(s, c, k) return chat.shared.add(k, 1) end,
      big = function() return chat.shared.set("a", ("x"):rep(2000)) end } ]], { SHARED_KEYS = "2", SHARED_BYTES = "1024" })
    local alice = world:connect "alice"
    local full = { nil, "the queue is full", "FULL" }
    assert.same({ true }, alice:asks "set a")
    assert.same({ true }, alice:asks "set b 5s")
    assert.same(full, alice:asks "set c")
    assert.same(full, alice:asks "add c")
    assert.same({ true }, alice:asks "set a")
    assert.same(full, alice:asks "big")
    world:advance "5s"
    assert.same({ true }, alice:asks "set c")
  end)

  it("refuses bad keys, values and times", function()
    local function refused(body, why)
      local values, message = scene.run(body)
      assert.is_nil(values, body)
      assert.matches(why, message, 1, true)
    end
    for _, name in ipairs { "get", "set", "add", "delete" } do
      refused("chat.shared." .. name .. "('', 1)", "a key is 1 to 255 bytes")
      refused("chat.shared." .. name .. "(('x'):rep(256), 1)", "a key is 1 to 255 bytes")
      refused("chat.shared." .. name .. "({}, 1)", "bad argument #1 to '" .. name .. "' (string expected")
    end
    refused("chat.shared.set('k')", "bad argument #2 to 'set' (boolean expected")
    refused("chat.shared.set('k', {})", "bad argument #2 to 'set' (boolean expected")
    refused("chat.shared.set('k', 1, 'soon')", "a duration is")
    refused("chat.shared.add('k', 'x')", "bad argument #2 to 'add' (number expected")
  end)
end)
