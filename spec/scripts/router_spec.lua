-- The router: what all messages have in common. Routes of its own where the shipped ones have none of the kind.
local fake = require "spec.support.fake_chat"

local SLOW = [[
  local bot = require "bot" "slow"
  bot:hears("ask", function(session)
    session:reply "Which number?"
    local answer, why = session:ask { within = "5m" }
    session:reply(answer and "number " .. answer.content or why)
  end)
  bot:hears("fail", function(session)
    session:reply "never seen"
    error "oh"
  end)
  bot:otherwise(function(session, message)
    chat.timer.sleep(1000)
    session:reply("slow " .. message.content)
  end)
  return bot
]]

local function types(documents)
  local list = {}
  for i, document in ipairs(documents) do
    list[i] = document.type
  end
  return list
end

describe("the router", function()
  local world, anna
  local function start(options)
    world = fake.new(options)
    anna = world:connect { user = "anna" }
    anna:heard()
  end

  local function say(content, more)
    local message = { type = "user_message", content = content }
    for k, v in pairs(more or {}) do
      message[k] = v
    end
    return anna:send(message)
  end

  local function slow()
    start { config = { CHATBOX_BOT = "slow" }, sources = { ["bots.slow"] = SLOW } }
  end

  before_each(function()
    start()
  end)

  describe("records a message", function()
    it("as one of the user, at the time of the server, whatever the client says", function()
      say(" hi ", { sender = "admin", timestamp = "2001-01-01T00:00:00Z", metadata = { size = 5, ok = true } })
      local stored = world.messages[anna.session.id][1]
      assert.same({ "user", "user_message", "hi", world.now_ms },
        { stored.sender, stored.type, stored.content, stored.at_ms })
      assert.same({ metadata = { size = 5, ok = true } }, require "cjson.safe".decode(stored.extra))
    end)

    it("and its metadata byte for byte, to be stored and to be shown", function()
      local bob = world:connect { user = "anna" }
      bob:heard()
      for _, metadata in ipairs {
        '{"id":1234567890123456789}', '{ "a" : 1.10,\t"b":"\\ud800 \\u00e9/\\/" }', "{}", '{"z":null,"a":"\\u0000"}', '{"n":-0.0e+10}',
      } do
        anna:send('{"type":"user_message","content":"x","metadata":' .. metadata .. ',"cid":"' .. #metadata .. '"}')
        local log = world.messages[anna.session.id]
        assert.equal('{"metadata":' .. metadata .. "}", log[#log - 1].extra)
        local shown = select(2, bob:heard())
        assert.matches(',"metadata":' .. metadata .. ',"sender"', shown[1], 1, true)
      end
    end)

    it("but not half a character in its content, which is refused under its cid", function()
      anna:heard()
      anna:send '{"type":"user_message","content":"a\\udc00","cid":"c-1"}'
      local told = anna:heard()[1]
      assert.same({ "error", "INVALID_FORMAT", "Invalid message format: content contains half of a surrogate pair", "c-1" },
        { told.type, told.error.code, told.error.message, told.cid })
      assert.is_nil(world.messages[anna.session.id])    end)

    it("and does not name a conversation anew whose name cannot be read", function()
      anna.session.name, anna.session.name_damaged = "", true
      anna:send { type = "user_message", content = "Where is my order?" }
      assert.equal("", world.records[anna.session.id].name)
    end)

    it("and names the conversation after the first one", function()
      say "Where is my order? It is late"
      say "Second. One"
      assert.equal("Where is my order?", world.records[anna.session.id].name)
    end)

    it("before the bot runs: a handler that fails loses the answer, not the message", function()
      slow()
      say "fail"
      assert.equal(1, #world.messages[anna.session.id])
      local heard = anna:heard()
      assert.same({ "error" }, types(heard))
      assert.equal("INTERNAL", heard[1].error.code)
    end)

    it("and tells the sender when the store failed", function()
      world.store_fails = true
      say "hi"
      assert.equal("DATABASE_ERROR", anna:heard()[1].error.code)
      assert.is_nil(world.messages[anna.session.id])
    end)

    it("and shows it to the other tabs without an echo to the sender", function()
      local tab = world:connect { user = "anna" }
      tab:heard()
      say("hi", { metadata = { a = 1 }, sender = "ai" })
      assert.same({ "loading", "ai_response" }, types(anna:heard()))
      local shown = tab:heard()[1]
      assert.same({ "user_message", "hi", "user", { a = 1 } }, { shown.type, shown.content, shown.sender, shown.metadata })
    end)
  end)

  describe("with a cid", function()
    it("acknowledges once the store has it, then answers", function()
      say("hi", { cid = "c-1" })
      local heard = anna:heard()
      assert.same({ "ack", "loading", "ai_response" }, types(heard))
      local stored = world.messages[anna.session.id][1]
      assert.same({ "c-1", stored.id, 1, false }, { heard[1].cid, heard[1].id, heard[1].seq, heard[1].duplicate })
    end)

    it("says in an error which message it is about, also when that is what was wrong", function()
      local cases = {
        { "", { cid = "c-1" }, "c-1" },
        { "hi", { cid = "c\n1" }, "c\n1" },
        { "hi", { cid = ("c"):rep(129) } },
        { "", {} },
      }
      for _, case in ipairs(cases) do
        say(case[1], case[2])
        local heard = anna:heard()
        assert.same({ "error" }, types(heard))
        assert.equal(case[3], heard[1].cid)
      end
      world.store_fails = true
      say("hi", { cid = "c-2" })
      assert.equal("c-2", anna:heard()[1].cid)
    end)

    it("shows the message to the other devices under the same id and seq", function()
      local tab = world:connect { user = "anna" }
      tab:heard()
      say("hi", { cid = "c-1" })
      local ack, shown = anna:heard()[1], tab:heard()[1]
      assert.same({ "user_message", "hi", ack.id, ack.seq }, { shown.type, shown.content, shown.id, shown.seq })
    end)

    it("gives no ack before the commit", function()
      world.store_held = true
      say("hi", { cid = "c-1" })
      assert.same({}, anna:heard())
      world.store_held = false
      world:advance(0)
      assert.equal("ack", anna:heard()[1].type)
    end)

    it("never runs the bot twice: a duplicate gets the first id and seq, and nobody else hears of it", function()
      say("hi", { cid = "c-1" })
      local first = anna:heard()[1]
      local tab = world:connect { user = "anna" }
      tab:heard()
      say("something else", { cid = "c-1" })
      local heard = anna:heard()
      assert.same({ "ack" }, types(heard))
      assert.same({ first.id, first.seq, true }, { heard[1].id, heard[1].seq, heard[1].duplicate })
      assert.same({}, tab:heard())
      assert.equal(2, #world.messages[anna.session.id])
    end)

    it("and a store that fails gives an error instead of an ack, and no answer", function()
      world.store_fails = true
      say("hi", { cid = "c-1" })
      local heard = anna:heard()
      assert.same({ "error" }, types(heard))
      assert.equal("DATABASE_ERROR", heard[1].error.code)
    end)

    it("files are acknowledged, too", function()
      anna:send { type = "file_upload", file_id = "f", file_url = "https://a.example/x", cid = "c-2" }
      assert.same({ "ack" }, types(anna:heard()))
    end)
  end)

  describe("limits a user", function()
    it("to 100 messages a minute, and says exactly when to come back", function()
      for _ = 1, 100 do
        say "x"
        world:advance(100)
      end
      anna:heard()
      say "one too many"
      local heard = anna:heard()
      assert.same({ "error" }, types(heard))
      assert.same({ code = "TOO_MANY_REQUESTS", message = "Too many requests, please slow down", recoverable = true, retry_after = 50000 },
        heard[1].error)
      world:advance(50000)
      say "again"
      assert.equal("again", anna:heard()[2].content)
    end)

    it("over all connections, and leaves others alone", function()
      local tab, eve = world:connect { user = "anna" }, world:connect { user = "eve" }
      for _ = 1, 50 do
        say "x"
        tab:send { type = "user_message", content = "y" }
      end
      tab:heard()
      tab:send { type = "file_upload", file_id = "f", file_url = "https://a.example/x" }
      assert.equal("TOO_MANY_REQUESTS", tab:heard()[1].error.code)
      eve:heard()
      eve:send { type = "user_message", content = "x" }
      assert.same({ "loading", "ai_response" }, types(eve:heard()))
    end)

    it("but not for what costs nothing, nor for what is refused", function()
      for _ = 1, 150 do
        anna:send { type = "ping" }
        anna:send { type = "user_message" }
      end
      anna:heard()
      say "x"
      assert.same({ "loading", "ai_response" }, types(anna:heard()))
    end)
  end)

  describe("finds the conversation a message names:", function()
    it("its own, none, or one a client made up is the one of the connection, and costs no look-up", function()
      for _, id in ipairs { anna.session.id, "", "0b0e7c9a-4b5f-4c3e-9a54-0f4a7b1c2d3e", ("G"):rep(32), ("ABCDEF01"):rep(4), "x" } do
        say("x", { session_id = id })
        local heard = anna:heard()
        assert.same({ "loading", "ai_response" }, types(heard))
        assert.equal(anna.session.id, heard[2].session_id)
      end
      assert.equal(0, world.opened)
    end)

    it("one of our ids that nobody knows is the one of the connection", function()
      say("x", { session_id = ("ab"):rep(16) })
      assert.equal(anna.session.id, anna:heard()[2].session_id)
    end)

    it("somebody else's is refused, to the sender only, and nothing changes", function()
      local eve = world:connect { user = "eve" }
      eve:heard()
      local before = anna.session
      for _, kind in ipairs { "user_message", "model_select", "help_request", "history", "typing_indicator" } do
        anna:send { type = kind, content = "x", model_id = "echo", session_id = eve.session.id }
        local heard = anna:heard()
        assert.same({ "error" }, types(heard))
        assert.equal("UNAUTHORIZED", heard[1].error.code)
        assert.equal("You do not have permission to access this session", heard[1].error.message)
        assert.equal(eve.session.id, heard[1].session_id) -- the one that was asked for: the client adopts no other
      end
      assert.same({}, eve:heard())
      assert.same({}, world.messages)
      assert.is_false(eve.session.help_requested)
      assert.equal(before, anna.session)
      say "still here"
      assert.equal("still here", anna:heard()[2].content)
    end)

    it("another one of the same user takes the connection and the message over", function()
      local other = world:new_session("anna", { stored = true })
      say("x", { session_id = other.id })
      local heard = anna:heard()
      assert.same({ "loading", "ai_response" }, types(heard))
      assert.equal(other.id, heard[2].session_id)
      assert.equal(other, anna.session)
      assert.equal(2, #world.messages[other.id])
    end)

    it("and says so when too much waits there already", function()
      local other = world:new_session("anna", { stored = true })
      world.forward_fails = true
      say("x", { session_id = other.id })
      local refusal = anna:heard()[1].error
      assert.same({ "SERVICE_ERROR", true }, { refusal.code, refusal.recoverable })
    end)

    it("one that has ended goes on in the user's active one", function()
      local other = world:new_session("anna", { stored = true, end_ms = 5 })
      say("x", { session_id = other.id })
      assert.equal(anna.session.id, anna:heard()[2].session_id)
      assert.is_nil(world.messages[other.id])
      anna:send { type = "model_select", model_id = "echo", session_id = other.id }
      local heard = anna:heard()
      assert.same({ "NOT_FOUND", "Session not found: it has ended", other.id },
        { heard[1].error.code, heard[1].error.message, heard[1].session_id })
    end)

    it("one that has ended answers for a message that it has", function()
      say("x", { cid = "c1" })
      local first, old = anna:heard()[1], anna.session
      old.end_ms = 5
      say("x", { cid = "c1", session_id = old.id })
      local again = anna:heard()
      assert.same({ "ack" }, types(again))
      assert.same({ first.id, first.seq, true, old.id },
        { again[1].id, again[1].seq, again[1].duplicate, again[1].session_id })
      assert.equal(2, #world.messages[old.id])
    end)

    it("one that has ended can be read", function()
      say "x"
      local old = anna.session
      old.end_ms = 5
      local tab = world:connect { user = "anna" }
      tab:heard()
      assert.not_equal(old, tab.session)
      tab:send { type = "history", session_id = old.id }
      local page = tab:heard()[1]
      assert.same({ "history", old.id, 2 }, { page.type, page.session_id, #page.messages })
    end)

    it("none, on a connection that asked for somebody else's, is that one, however often it is tried", function()
      local eve = world:connect { user = "eve" }
      local bob = world:connect { user = "bob", wanted = eve.session.id }
      bob:heard()
      for _ = 1, 2 do
        bob:send { type = "user_message", content = "x" }
        local heard = bob:heard()
        assert.same({ "UNAUTHORIZED", eve.session.id }, { heard[1].error.code, heard[1].session_id })
      end
      assert.is_nil(world.messages[bob.session.id])
    end)

    it("says so when the store cannot tell", function()
      world.store_fails = true
      say("x", { session_id = ("ab"):rep(16) })
      assert.equal("DATABASE_ERROR", anna:heard()[1].error.code)
    end)

    it("and counts look-ups of messages that are not limited by themselves", function()
      for _ = 1, 241 do
        anna:send { type = "ping", session_id = ("ab"):rep(16) }
      end
      local heard = anna:heard()
      assert.same({ "pong", "error" }, { heard[240].type, heard[241].type })
      assert.equal("TOO_MANY_REQUESTS", heard[241].error.code)
      assert.equal(240, world.opened)
    end)
  end)

  it("refuses to change a conversation that has ended, and still answers the rest", function()
    anna.session.end_ms = 5
    for _, kind in ipairs { "model_select", "help_request" } do
      anna:send { type = kind, content = "x", model_id = "echo" }
      assert.equal("NOT_FOUND", anna:heard()[1].error.code)
    end
    anna:send({ type = "ping" }):send { type = "history" }
    assert.same({ "pong", "history" }, types(anna:heard()))
    assert.same({}, world.messages)
  end)

  describe("keeps order:", function()
    before_each(slow)

    it("a message waits for the handler of the one before, and so do its errors", function()
      say "one"
      say "two"
      anna:send "nonsense"
      assert.same({ "loading" }, types(anna:heard()))
      world:advance(1000)
      local heard = anna:heard()
      assert.same({ "slow one", "loading" }, { heard[1].content, heard[2].type })
      world:advance(1000)
      heard = anna:heard()
      assert.same({ "slow two", "error" }, { heard[1].content, heard[2].type })
    end)

    it("what is immediate does not wait", function()
      say "one"
      anna:heard()
      anna:send({ type = "ping" }):send { type = "help_request" }
      assert.same({ "pong", "connection_status" }, types(anna:heard()))
    end)

    it("waiting messages have no effect before their turn", function()
      say "one"
      say "two"
      assert.equal(1, #world.messages[anna.session.id])
      assert.equal(1, world.counts.messages_received)
    end)

    it("a question takes the next message, which is stored and acknowledged like any other", function()
      say "ask"
      anna:heard()
      say("17", { cid = "c-1" })
      local heard = anna:heard()
      assert.same({ "ack", "ai_response" }, types(heard))
      assert.equal("number 17", heard[2].content)
      assert.equal("17", world.messages[anna.session.id][3].content)
    end)

    it("a question nobody answers ends in time", function()
      say "ask"
      anna:heard()
      world:advance "5m"
      assert.equal("nobody answered in time", anna:heard()[1].content)
    end)
  end)

  describe("with routes of somebody's own", function()
    local seen
    before_each(function()
      seen = {}
      local router = world.require "router"
      world.app.message = router.new {
        look = { function(session, request) seen = { session, request } return "later" end, fields = { a = "string?" } },
        rule = { function() seen = "ruled" end, admin = true },
        common = {},
      }
    end)

    it("hands over what was declared and nothing a client made up", function()
      anna:send '{"type":"look","a":" x ","b":1,"user":{"admin":true},"session":"s","connection":"c"}'
      local session, request = seen[1], seen[2]
      assert.equal(session, request.session)
      assert.equal(anna, request.connection)
      assert.same({ "look", "x" }, { request.type, request.a })
      assert.is_nil(rawget(request, "b"))
      assert.is_false(pcall(function() return request.b end))
      assert.same({ id = "anna", name = "anna", roles = {}, admin = false }, request.user)
    end)

    it("never takes the result of a handler for an answer to the server", function()
      anna:send '{"type":"look"}'
      assert.same({}, anna.session.queue)
    end)

    it("keeps a route for administrators to them", function()
      anna:send '{"type":"rule"}'
      assert.equal("INSUFFICIENT_PERMISSIONS", anna:heard()[1].error.code)
      assert.same({}, seen)
      local root = world:connect { user = "root", admin = true }
      root:send '{"type":"rule"}'
      assert.equal("ruled", seen)
    end)
  end)

  it("describes the protocol, one line per kind of message", function()
    local text = world.require("router").describe(world.require "routes")
    assert.matches("user_message +content=string 1..10000  %[rate messages%]  %[stored%]", text)
    assert.matches("\nping +%[rate live%]  %[immediate%]\n", text)
    for kind, words in text:gmatch "(%S+)([^\n]*)" do
      assert.is_true(kind == "common" or words:find "%[rate %a+%]" ~= nil, kind .. " has no rate")
    end
  end)
end)
