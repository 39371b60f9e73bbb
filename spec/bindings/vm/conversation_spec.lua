-- The scripts of this repository on the real bindings, store and clock: a chat, as its users see it.
local scene = require "spec.support.scene"

-- A conversation read from top to bottom: user:says …, bot:says …
local function talk(options)
  local world = scene.shipped(options)
  local user = world:connect { user = "alice", name = "Alice" }
  user:hears "connection_status"
  local bot = {}
  function bot.says(_, text)
    assert.equal(text, (user:hears "ai_response" or {}).content)
  end
  function bot.says_nothing()
    assert.is_nil(user:hears "ai_response")
  end
  return user, bot, world
end

local function errors(client)
  local codes = {}
  for _, document in ipairs(client:hears_all()) do
    if document.type == "error" then codes[#codes + 1] = document.error.code end
  end
  return codes
end

local REFUNDS = { ["bots/refunds.lua"] = [[
  local bot = require "bot" "refunds"
  bot:hears("refund", function(session)
    session:reply "Which order?"
    local answer = session:ask { within = "5m" }
    if not answer then return session:reply "Then another time." end
    chat.timer.sleep "2s"
    session:reply("Refunded " .. answer.content)
  end)
  bot:hears("^slow (%d+)", function(session, _, n) chat.timer.sleep "3s" session:reply("slow " .. n) end)
  bot:hears("break", function(session) session:reply "lost" error "the shop is down" end)
  bot:hears("bye", function(session) session:reply "Goodbye" session:close() end)
  bot:otherwise(function(session, message) session:reply("Only refunds, " .. message.user.name) end)
  return bot
]] }

local function refunds(settings)
  settings = settings or {}
  settings.CHATBOX_BOT = "refunds"
  return talk { files = REFUNDS, settings = settings }
end

describe("a conversation", function()
  after_each(scene.close)

  it("begins with its id and ends in an answer that every device of the user hears", function()
    local world = scene.shipped()
    local phone = world:connect "alice"
    local hello = phone:hears()
    assert.equal("connection_status", hello.type)
    assert.equal("alice", hello.user_id)
    assert.equal("echo", hello.models[1].id)
    local desk = world:connect "alice"
    assert.equal(hello.session_id, desk:hears().session_id)
    phone:says "hi there"
    local heard = phone:hears_all()
    assert.same({ "loading", "ai_response" }, { heard[1].type, heard[2].type })
    assert.equal("hi there", heard[2].content)
    assert.equal(hello.session_id, heard[2].session_id)
    heard = desk:hears_all()
    assert.same({ "user_message", "loading", "ai_response" }, { heard[1].type, heard[2].type, heard[3].type })
  end)

  it("asks back, and takes the next message for the answer", function()
    local user, bot, world = refunds()
    user:says "I want a refund"
    bot:says "Which order?"
    user:says "A-17"
    bot:says_nothing()
    world:advance "2s"
    bot:says "Refunded A-17"
    user:says "thanks"
    bot:says "Only refunds, Alice"
  end)

  it("goes on when nobody answers", function()
    local user, bot, world = refunds()
    user:says "refund"
    bot:says "Which order?"
    world:advance "5m"
    bot:says "Then another time."
    user:says "A-17"
    bot:says "Only refunds, Alice"
  end)

  it("keeps the order of messages behind a slow answer", function()
    local user, bot, world = refunds()
    user:says "slow 1"
    user:says "slow 2"
    user:sends { type = "ping" }
    assert.is_table(user:hears "pong")
    world:advance "3s"
    bot:says "slow 1"
    bot:says_nothing()
    world:advance "3s"
    bot:says "slow 2"
  end)

  it("acknowledges a message with a cid once it is stored, and knows it again", function()
    local user, bot, world = talk()
    world:fault("writes wait", true)
    user:says("hello", { cid = "c1" })
    assert.is_nil(user:hears())
    world:fault("writes wait", false)
    local ack = user:hears()
    assert.same({ "ack", "c1", 1, false }, { ack.type, ack.cid, ack.seq, ack.duplicate })
    bot:says "hello"
    user:says("hello", { cid = "c1" })
    local again = user:hears "ack"
    assert.same({ ack.id, 1, true }, { again.id, again.seq, again.duplicate })
    bot:says_nothing()
  end)

  it("loses no message of the user when its handler fails, and hurts one message only", function()
    local user, bot = refunds()
    user:says "break it"
    local failure = user:hears "error"
    assert.equal("INTERNAL", failure.error.code)
    assert.is_true(failure.error.recoverable)
    assert.equal(12, #failure.error.incident)
    assert.is_nil(failure.error.detail)
    bot:says_nothing()
    user:sends { type = "history" }
    local page = user:hears "history"
    assert.equal(1, #page.messages)
    assert.equal("break it", page.messages[1].content)
    user:says "and now?"
    bot:says "Only refunds, Alice"
  end)

  it("shows the error itself to administrators in development", function()
    local _, _, world = refunds { DEVELOPMENT = "true" }
    local root = world:connect { user = "root", roles = { "admin" } }
    root:says "break it"
    assert.matches("bots/refunds.lua:%d+: the shop is down", root:hears("error").error.detail)
  end)

  it("that has ended takes no more messages: what is said next begins another", function()
    local user, _, world = refunds()
    user:says "bye"
    local goodbye = user:hears "ai_response"
    assert.equal("Goodbye", goodbye.content)
    user:says "still there?"
    local answer = user:hears "ai_response"
    assert.equal("Only refunds, Alice", answer.content)
    assert.not_equal(goodbye.session_id, answer.session_id)
    local again = world:connect "alice"
    assert.equal(answer.session_id, again:hears().session_id)
    again:says "hello"
    assert.equal("Only refunds, alice", again:hears("ai_response").content)
  end)

  it("of somebody else is out of reach, by message, by URL and over HTTP", function()
    local _, _, world = talk()
    local bob = world:connect "bob"
    local id = bob:hears().session_id
    bob:says "secret"
    local mallory = world:connect { user = "mallory", wanted = id }
    assert.not_equal(id, mallory:hears().session_id)
    mallory:says("hello", { session_id = id })
    assert.same({ "UNAUTHORIZED" }, errors(mallory))
    assert.equal(200, world:http({ path = "/sessions/" .. id, user = "bob" }).status)
    local answer = world:http { path = "/sessions/" .. id, user = "mallory" }
    assert.is_true(answer.status == 403 or answer.status == 404)
    assert.not_matches("secret", answer.body)
    assert.equal(401, world:http({ path = "/sessions/" .. id }).status)
  end)

  it("that is named in a message becomes the connection's own", function()
    local user, bot, world = refunds()
    user:says "hello"
    local id = user:hears("ai_response").session_id
    user:sends { type = "ping", session_id = ("0"):rep(32) }
    assert.is_table(user:hears "pong")
    user:says "bye"
    bot:says "Goodbye"
    local other = world:connect "alice"
    local fresh = other:hears().session_id
    assert.not_equal(id, fresh)
    other:says "hello again"
    user:says("over here", { session_id = fresh })
    assert.equal(fresh, user:hears("ai_response").session_id)
    assert.equal("over here", other:hears("user_message").content)
  end)

  it("is limited to RATE_LIMIT messages, says when to come back, and lets nothing be stored", function()
    local user, bot, world = talk { settings = { RATE_LIMIT = "2", RATE_WINDOW = "10s" } }
    user:says "1"
    bot:says "1"
    user:says "2"
    bot:says "2"
    user:says "3"
    local refusal = user:hears "error"
    assert.equal("TOO_MANY_REQUESTS", refusal.error.code)
    assert.equal(10000, refusal.error.retry_after)
    bot:says_nothing()
    world:advance "10s"
    user:says "4"
    bot:says "4"
    user:sends { type = "history" }
    assert.equal(6, #user:hears("history").messages)
  end)

  it("is read page by page, also after it left memory", function()
    local user, bot, world = talk()
    for i = 1, 5 do
      user:says("m" .. i)
      bot:says("m" .. i)
    end
    user:leave()
    assert.equal(1, world:sweep(0))
    user = world:connect "alice"
    local before, seen = nil, {}
    repeat
      user:sends { type = "history", limit = 3, before_seq = before }
      local page = user:hears "history"
      for i = #page.messages, 1, -1 do seen[#seen + 1] = page.messages[i].seq end
      before = page.before_seq
    until not before
    assert.same({ 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 }, seen)
  end)

  it("says DATABASE_ERROR once when a message cannot be stored, and answers nothing", function()
    local user, bot, world = talk()
    world:fault("writes fail", true)
    user:says("hello", { cid = "c1" })
    assert.same({ "DATABASE_ERROR" }, errors(user))
    world:fault("writes fail", false)
    user:says("hello", { cid = "c1" })
    assert.is_false(user:hears("ack").duplicate)
    bot:says "hello"
  end)

  it("survives anything a client may send", function()
    local user, bot = talk()
    for _, text in ipairs { "", "null", "[]", "5", '"x"', "{", "{}", '{"type":5}', '{"type":null}', '{"type":"nonsense"}',
                            '{"type":"user_message"}', '{"type":"user_message","content":5}',
                            '{"type":"user_message","content":""}', '{"type":"common"}', '{"type":"__index"}',
                            ('['):rep(1000), '{"type":"user_message","content":"x","metadata":' .. ('{"a":'):rep(40) .. "1"
                              .. ("}"):rep(40) .. "}", '{"type":"history","limit":1e308}' } do
      user:sends(text)
      assert.same({ "INVALID_FORMAT" }, errors(user), text)
    end
    user:says "fine"
    bot:says "fine"
  end)

  it("goes on through a reload: the next answer is the new one", function()
    local user, bot, world = talk()
    user:says "one"
    bot:says "one"
    assert.is_true((world:reload { ["bots/echo.lua"] = [[
      local bot = require "bot" "echo"
      bot:otherwise(function(session, message) session:reply("new " .. message.content) end)
      return bot ]] }))
    user:says "two"
    bot:says "new two"
    local ok, why = world:reload { ["bots/echo.lua"] = "local bot = require 'bot' 'echo'\nbot:otherwise(functoin() end)" }
    assert.is_false(ok)
    assert.matches("^scripts/bots/echo.lua:2: ", why)
    user:says "three"
    bot:says "new three"
  end)

  it("a question asked before a reload is answered after it", function()
    local user, bot, world = refunds()
    user:says "refund"
    bot:says "Which order?"
    assert.is_true((world:reload { ["extra.lua"] = "return 1" }))
    user:says "A-17"
    world:advance "2s"
    bot:says "Refunded A-17"
  end)
end)
