-- What was stored and not answered, because the server ended or the store failed: it is answered once, whoever comes.
local scene = require "spec.support.scene"

local function contents(user)
  local said = {}
  for _, document in ipairs(user:hears_all()) do
    if document.type == "ai_response" then said[#said + 1] = document.content end
  end
  return said
end

local SLOW = [[
local bot = require "bot" "echo"
bot:hears("part", function(session, message)
  session:reply "a part"
  chat.timer.sleep "5s"
  session:reply("the rest of " .. message.content)
end)
bot:hears("oh no", function() error "oh no" end)
bot:otherwise(function(session, message)
  chat.timer.sleep "5s"
  session:reply("answer to " .. message.content)
end)
return bot ]]

describe("a message that nobody has dealt with", function()
  after_each(scene.close)

  local function talk(bot)
    local world = scene.shipped { files = { ["bots/echo.lua"] = bot or SLOW } }
    return world, world:connect "alice"
  end

  -- The server ends without a word, and another one starts on its store.
  local function crash(world)
    world:crash()
    return world:connect "alice"
  end

  it("is answered when its conversation is loaded again, once", function()
    local world, alice = talk()
    alice:says("one", { cid = "c1" })
    assert.is_false(alice:hears("ack").duplicate)
    alice = crash(world)
    world:advance "5s"
    assert.same({ "answer to one" }, contents(alice))
    alice:says("one", { cid = "c1" })
    assert.is_true(alice:hears("ack").duplicate)
    world:advance "1m"
    assert.same({}, contents(alice))
    alice = crash(world)
    world:advance "1m"
    assert.same({}, contents(alice))
  end)

  it("is answered before what is said next", function()
    local world, alice = talk()
    alice:says "one"
    alice = crash(world)
    alice:says "two"
    world:advance "5s"
    world:advance "5s"
    assert.same({ "answer to one", "answer to two" }, contents(alice))
  end)

  it("has one answer also when it is sent again while that is on its way", function()
    local world, alice = talk()
    alice:says("one", { cid = "c1" })
    alice = crash(world)
    alice:says("one", { cid = "c1" })
    world:advance "5s"
    world:advance "5s"
    assert.is_true(alice:hears("ack").duplicate)
    world:advance "5s"
    local history = world:http { method = "GET", path = "/sessions", user = "alice" }.json.sessions[1]
    assert.equal(2, history.message_count)
  end)

  it("has failed when the server ends a second time under it, and its sender is told", function()
    local world, alice = talk()
    alice:says("one", { cid = "c1" })
    crash(world)
    alice = crash(world)
    local refusal = alice:hears "error"
    assert.same({ "INTERNAL", "c1" }, { refusal.error.code, refusal.cid })
    assert.matches("could not be answered", contents(alice)[1])
    world:advance "1m"
    assert.same({}, contents(alice))
    alice = crash(world)
    world:advance "1m"
    assert.same({}, contents(alice))
  end)

  it("is answered anew when a part of the answer was stored, if the bot does not say otherwise", function()
    local world, alice = talk()
    alice:says "part one"
    assert.same({ "a part" }, contents(alice))
    alice = crash(world)
    world:advance "5s"
    assert.same({ "a part", "the rest of part one" }, contents(alice))
  end)

  it("is the bot's to judge when a part of the answer was stored", function()
    local world, alice = talk(SLOW:gsub("return bot", [[
      bot:interrupted(function(session, message) session:reply("where were we? " .. message.content) end)
      return bot]]))
    alice:says "one"
    alice = crash(world)
    world:advance "5s"
    assert.same({ "answer to one" }, contents(alice)) -- nothing of it was stored
    alice:says "part one"
    alice = crash(world)
    assert.same({ "where were we? part one" }, contents(alice))
    alice = crash(world)
    world:advance "5s"
    assert.same({}, contents(alice))
  end)

  it("is none when its handler failed: its sender has been told", function()
    local world, alice = talk()
    alice:says("oh no", { cid = "c1" })
    assert.equal("INTERNAL", alice:hears("error").error.code)
    alice = crash(world)
    world:advance "5s"
    assert.same({}, contents(alice))
    alice:says("oh no", { cid = "c1" })
    assert.is_true(alice:hears("ack").duplicate)
    assert.is_nil(alice:hears "error")
  end)

  it("is not answered any more when it is older than ANSWER_LATE_MAX", function()
    local world = scene.shipped { files = { ["bots/echo.lua"] = SLOW }, settings = { ANSWER_LATE_MAX = "1m" } }
    local alice = world:connect "alice"
    alice:says("one", { cid = "c1" })
    world:crash()
    world:advance "2m"
    alice = world:connect "alice"
    world:advance "5s"
    assert.same({}, contents(alice))
    alice:says("one", { cid = "c1" })
    assert.is_true(alice:hears("ack").duplicate)
    world:advance "5s"
    assert.same({}, contents(alice))
  end)

  it("is answered when it comes again after the store refused its answer, once", function()
    local world, alice = talk()
    alice:says("one", { cid = "c1" })
    alice:hears "ack"
    world:fault("writes fail", true)
    world:advance "5s"
    assert.equal("DATABASE_ERROR", alice:hears("error").error.code)
    world:fault("writes fail", false)
    for i = 1, 3 do
      alice:says("one", { cid = "c1" })
      assert.is_true(alice:hears("ack").duplicate)
      world:advance "5s"
      assert.same(i == 1 and { "answer to one" } or {}, contents(alice))
    end
  end)

  it("is answered when it was refused, and was stored all the same", function()
    local world, alice = talk()
    alice:says("zero", { cid = "c0" })
    world:advance "5s"
    alice:hears_all()
    world:fault("writes lie", true)
    alice:says("one", { cid = "c1" })
    assert.same({ "DATABASE_ERROR", "c1" }, (function(e) return { e.error.code, e.cid } end)(alice:hears "error"))
    world:fault("writes lie", false)
    alice:says("one", { cid = "c1" })
    assert.is_true(alice:hears("ack").duplicate)
    world:advance "5s"
    assert.same({ "answer to one" }, contents(alice))
  end)
end)

describe("a message whose handler is cut off by a reload", function()
  after_each(scene.close)

  local VERSION = [[
local bot = require "bot" "echo"
bot:otherwise(function(session, message)
  chat.timer.sleep "1m"
  session:reply("%d: " .. message.content)
end)
return bot ]]

  local function start()
    local world = scene.shipped {
      files = { ["bots/echo.lua"] = VERSION:format(1) },
      settings = { SCRIPT_DRAIN_TIMEOUT = "3s", SCRIPT_WAIT_DEADLINE = "10m" },
    }
    return world, world:connect "alice"
  end

  local function reload(world, number)
    assert.is_true((world:reload { ["bots/echo.lua"] = VERSION:format(number) }))
  end

  local function refusals(user)
    local said = {}
    for _, document in ipairs(user:hears_all()) do
      if document.type == "error" then said[#said + 1] = document.error.code .. " " .. (document.cid or "-") end
      if document.type == "ai_response" then said[#said + 1] = document.content end
    end
    return said
  end

  it("is answered by the new version, once, and before what was said behind it", function()
    for _, cid in ipairs { "c1", false } do
      local world, alice = start()
      alice:says("one", { cid = cid or nil })
      alice:says "two"
      reload(world, 2)
      world:advance "3s"
      assert.same({}, refusals(alice))
      world:advance "1m"
      assert.same({ "2: one" }, refusals(alice))
      world:advance "1m"
      assert.same({ "2: two" }, refusals(alice))
      world:crash()
      alice = world:connect "alice"
      world:advance "2m"
      assert.same({}, refusals(alice))
    end
  end)

  it("has one answer also when its sender sends it again", function()
    local world, alice = start()
    alice:says("one", { cid = "c1" })
    reload(world, 2)
    world:advance "3s"
    alice:says("one", { cid = "c1" })
    world:advance "1m"
    world:advance "1m"
    assert.same({ "2: one" }, refusals(alice))
  end)

  it("has failed when that happens a second time, and its sender is told", function()
    local world, alice = start()
    alice:says("one", { cid = "c1" })
    reload(world, 2)
    world:advance "3s"
    reload(world, 3)
    world:advance "3s"
    local said = refusals(alice)
    assert.equal("INTERNAL c1", said[1])
    assert.matches("could not be answered", said[2])
    world:crash()
    alice = world:connect "alice"
    world:advance "2m"
    assert.same({}, refusals(alice))
  end)

  it("is to be sent again when it had not been acknowledged, and then it is answered", function()
    local world, alice = start()
    world:fault("writes wait", true)
    alice:says("one", { cid = "c1" })
    reload(world, 2)
    world:advance "3s"
    world:fault("writes wait", false)
    assert.same({ "SERVICE_ERROR c1" }, refusals(alice)) -- behind what waited for the store
    alice:says("one", { cid = "c1" })
    world:advance "1m"
    assert.same({ "2: one" }, refusals(alice))
  end)

  it("is answered when its commit comes after the cut", function()
    local world, alice = start()
    world:fault("writes wait", true)
    alice:says "one"
    reload(world, 2)
    world:advance "3s"
    world:fault("writes wait", false)
    world:advance "1m"
    assert.same({ "2: one" }, refusals(alice))
  end)

  it("is to be sent again when the store cannot say what it was", function()
    local world, alice = start()
    alice:says "one"
    world:fault("reads fail", true)
    reload(world, 2)
    world:advance "3s"
    assert.same({ "SERVICE_ERROR -" }, refusals(alice))
    alice:says "two"
    world:advance "1m"
    assert.same({ "2: two" }, refusals(alice))
  end)
end)

describe("after a refusal", function()
  after_each(scene.close)

  it("what follows on the connection is refused with the same code, until the refused one comes again", function()
    local world = scene.shipped()
    local alice, desk = world:connect "alice", world:connect "alice"
    world:fault("writes fail", true)
    alice:says("one", { cid = "c1" })
    world:fault("writes fail", false)
    alice:says("two", { cid = "c2" })
    alice:says "without a number"
    for _, cid in ipairs { "c1", "c2", false } do
      local refusal = alice:hears "error"
      assert.same({ "DATABASE_ERROR", cid or nil }, { refusal.error.code, refusal.cid })
    end
    desk:says "from elsewhere"
    assert.equal("from elsewhere", desk:hears("ai_response").content)
    alice:hears_all()
    alice:says("one", { cid = "c1" })
    alice:says("two", { cid = "c2" })
    assert.same({ "one", "two" }, contents(alice))
  end)

  it("a connection of its own starts afresh", function()
    local world = scene.shipped()
    local alice = world:connect "alice"
    world:fault("writes fail", true)
    alice:says("one", { cid = "c1" })
    world:fault("writes fail", false)
    alice:leave()
    alice = world:connect "alice"
    alice:says("two", { cid = "c2" })
    assert.same({ "two" }, contents(alice))
  end)

  -- code, cid, … of everything that was refused, in order.
  local function refused(user)
    local said = {}
    for _, document in ipairs(user:hears_all()) do
      if document.type == "error" then said[#said + 1] = document.error.code .. " " .. (document.cid or "-") end
    end
    return said
  end

  local function history(world)
    local list = {}
    local id = world:http { method = "GET", path = "/sessions", user = "alice" }.json.sessions[1].id
    local answer = world:http { method = "GET", path = "/sessions/" .. id, user = "alice" }.json
    for _, message in ipairs((answer.session or answer).messages) do
      if message.sender == "user" then list[#list + 1] = message.content end
    end
    return list
  end

  local function says_many(user, from, to)
    for i = from, to do
      user:sends(('{"type":"user_message","content":"%d","cid":"c%d"}'):format(i, i), i < to)
    end
  end

  it("for its rate the order is kept, too: what was sent behind it waits", function()
    local world = scene.shipped { settings = { RATE_LIMIT = "3", RATE_WINDOW = "5s" } }
    local alice = world:connect "alice"
    says_many(alice, 1, 5)
    assert.same({ "TOO_MANY_REQUESTS c4", "TOO_MANY_REQUESTS c5" }, refused(alice))
    world:advance "5s"
    says_many(alice, 5, 6)
    assert.same({ "TOO_MANY_REQUESTS c5", "TOO_MANY_REQUESTS c6" }, refused(alice))
    says_many(alice, 4, 6)
    assert.same({}, refused(alice))
    assert.same({ "1", "2", "3", "4", "5", "6" }, history(world))
  end)

  it("what waits costs nothing of the rate, and is told how long", function()
    local world = scene.shipped { settings = { RATE_LIMIT = "3", RATE_WINDOW = "5s" } }
    local alice = world:connect "alice"
    says_many(alice, 1, 4)
    refused(alice)
    world:advance "4s"
    says_many(alice, 5, 9)
    local refusal = alice:hears "error"
    assert.same({ "c5", 1000 }, { refusal.cid, refusal.error.retry_after })
    refused(alice)
    world:advance "1s"
    says_many(alice, 4, 6)
    assert.same({}, refused(alice))
  end)

  it("who gives the refused one up is not kept out for ever", function()
    local world = scene.shipped { settings = { RATE_LIMIT = "1", RATE_WINDOW = "5s" } }
    local alice = world:connect "alice"
    says_many(alice, 1, 2)
    assert.same({ "TOO_MANY_REQUESTS c2" }, refused(alice))
    world:advance "14s"
    says_many(alice, 3, 3)
    assert.same({ "TOO_MANY_REQUESTS c3" }, refused(alice))
    world:advance "2s"
    says_many(alice, 3, 3)
    assert.same({}, refused(alice))
  end)

  it("for a full inbox the order is kept, too, and each is told its cid", function()
    local world = scene.shipped { files = { ["bots/echo.lua"] = SLOW }, settings = { INBOX_LIMIT = "2" } }
    local alice = world:connect "alice"
    says_many(alice, 1, 5)
    assert.same({ "SERVICE_ERROR c3", "SERVICE_ERROR c4", "SERVICE_ERROR c5" }, refused(alice))
    world:advance "5s"
    world:advance "5s"
    says_many(alice, 4, 4)
    assert.same({ "SERVICE_ERROR c4" }, refused(alice))
    says_many(alice, 3, 4)
    world:advance "5s"
    says_many(alice, 5, 5)
    world:advance "5s"
    assert.same({}, refused(alice))
    assert.same({ "1", "2", "3", "4", "5" }, history(world))
  end)

  it("nobody without a cid is kept waiting by others without one", function()
    local world = scene.shipped { settings = { RATE_LIMIT = "2", RATE_WINDOW = "10s" } }
    local alice = world:connect "alice"
    for i = 1, 3 do alice:says(tostring(i)) end
    assert.same({ "TOO_MANY_REQUESTS -" }, refused(alice))
    world:advance "10s"
    alice:says "4"
    assert.same({}, refused(alice))
  end)

  it("for good, nothing waits: it will not come again", function()
    local world = scene.shipped { settings = { RATE_LIMIT = "2", RATE_WINDOW = "10s" } }
    local alice = world:connect "alice"
    alice:says("", { cid = "c0" })
    alice:says("1", { cid = "c1" })
    alice:says("2", { cid = "c2" })
    alice:says("3", { cid = "c3" })
    assert.same({ "INVALID_FORMAT c0", "TOO_MANY_REQUESTS c3" }, refused(alice))
    world:advance "10s"
    alice:says("", { cid = "c3" })
    alice:says("4", { cid = "c4" })
    assert.same({ "INVALID_FORMAT c3" }, refused(alice))
  end)

  it("of what is not stored, nothing waits", function()
    local world = scene.shipped { files = { ["bots/echo.lua"] = SLOW }, settings = { INBOX_LIMIT = "2" } }
    local alice = world:connect "alice"
    says_many(alice, 1, 1)
    says_many(alice, 2, 3)
    alice:sends { type = "history", cid = "h1" }
    assert.same({ "SERVICE_ERROR h1" }, refused(alice))
    world:advance "5s"
    says_many(alice, 4, 4)
    assert.same({}, refused(alice))
  end)
end)
