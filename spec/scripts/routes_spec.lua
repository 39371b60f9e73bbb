-- Every route with real JSON texts, in and out, hostile ones included. What each handler means is in handlers/.
local fake = require "spec.support.fake_chat"
local cjson = require "cjson.safe"

local FILE = { file_id = "f1", file_url = "https://files.example.com/a.png" }

-- One valid message per route, and what the sender and another tab of the same user hear.
local VALID = {
  user_message = {
    fields = { content = "hello" },
    sender = { "loading", "ai_response" },
    other = { "user_message", "loading", "ai_response" },
  },
  file_upload = { fields = FILE, sender = {}, other = { "file_upload" } },
  voice_message = { fields = FILE, sender = {}, other = { "voice_message" } },
  model_select = { fields = { model_id = "echo" }, sender = { "connection_status" }, other = { "connection_status" } },
  help_request = { fields = {}, sender = { "connection_status" }, other = { "connection_status" } },
  history = { fields = {}, sender = { "history" }, other = {} },
  typing_indicator = { fields = {}, sender = {}, other = { "typing_indicator" } },
  hello = { fields = { v = 2 }, sender = { "welcome" }, other = {} },
  mark = { fields = { read = 0 }, sender = {}, other = {} }, -- nothing is new
  typing = { fields = { state = "typing", ttl = 5000 }, sender = {}, other = { "typing_indicator" } },
  ping = { fields = {}, sender = { "pong" }, other = {} },
  refresh = { fields = { token = "new" }, sender = { "refreshed" }, other = {} },
}

-- What is wrong with one field of a route, and the beginning of the message the sender gets.
local RULE, SHAPE = "Message validation failed: ", "Invalid message format: "
local BAD = {
  user_message = {
    { "content", nil, RULE .. "content is required" },
    { "content", "", RULE .. "content must be" },
    { "content", "  \n ", RULE .. "content must be" },
    { "content", ("x"):rep(10001), RULE .. "content must be 1 to 10000 bytes" },
    { "content", ("日"):rep(3334), RULE .. "content must be 1 to 10000 bytes" },
    { "content", 1e300, SHAPE .. "content must be a string" },
    { "content", { a = 1 }, SHAPE .. "content must be a string" },
  },
  file_upload = {
    { "file_id", nil, RULE .. "file_id is required" },
    { "file_id", ("x"):rep(256), RULE .. "file_id must be" },
    { "file_id", 5, SHAPE .. "file_id" },
    { "file_url", nil, RULE .. "file_url is required" },
    { "file_url", "http://files.example.com/a", "Invalid file URL" },
    { "file_url", "https://169.254.169.254/", "Invalid file URL" },
    { "file_url", "/files/a.png", "Invalid file URL" },
    { "file_url", "https://a.example/" .. ("x"):rep(2048), RULE .. "file_url must be" },
    { "content", ("x"):rep(10001), RULE .. "content" },
    { "content", false, SHAPE .. "content" },
  },
  model_select = {
    { "model_id", nil, RULE .. "model_id is required" },
    { "model_id", " ", RULE .. "model_id must be" },
    { "model_id", ("x"):rep(101), RULE .. "model_id must be" },
    { "model_id", {}, SHAPE .. "model_id" },
    { "model_id", "gpt-9", "Invalid model ID: gpt-9" },
  },
  help_request = { { "sender", "admin", RULE .. "sender must be one of: user" } },
  history = {
    { "limit", 0, RULE .. "limit" },
    { "limit", 1001, RULE .. "limit" },
    { "limit", 1.5, RULE .. "limit" },
    { "limit", "10", SHAPE .. "limit" },
    { "before_seq", 0, RULE .. "before_seq" },
    { "before_seq", 1e300, RULE .. "before_seq" },
    { "before_seq", {}, SHAPE .. "before_seq" },
  },
  typing_indicator = { { "content", ("x"):rep(101), RULE .. "content" } },
  hello = {
    { "v", 1, RULE .. "v must be a whole number from 2" },
    { "v", "2", SHAPE .. "v must be a number" },
    { "v", 2.5, RULE .. "v must be a whole number" },
    { "resume", "x", SHAPE .. "resume must be an object" },
    { "resume", { 1 }, RULE .. "resume.session_id is required" },
    { "resume", { session_id = "s", epoch = "e" }, RULE .. "resume.seq is required" },
    { "resume", { session_id = "s", seq = 1 }, RULE .. "resume.epoch is required" },
    { "resume", { session_id = "", epoch = "e", seq = 1 }, RULE .. "resume.session_id must be" },
    { "resume", { session_id = 5, epoch = "e", seq = 1 }, SHAPE .. "resume.session_id must be a string" },
    { "resume", { session_id = ("x"):rep(129), epoch = "e", seq = 1 }, RULE .. "resume.session_id must be" },
    { "resume", { session_id = "s", epoch = 7, seq = 1 }, SHAPE .. "resume.epoch must be a string" },
    { "resume", { session_id = "s", epoch = ("x"):rep(65), seq = 1 }, RULE .. "resume.epoch must be" },
    { "resume", { session_id = "s", epoch = "e", seq = "1" }, SHAPE .. "resume.seq must be a number" },
    { "resume", { session_id = "s", epoch = "e", seq = -1 }, RULE .. "resume.seq must be" },
    { "resume", { session_id = "s", epoch = "e", seq = 1.5 }, RULE .. "resume.seq must be" },
    { "resume", { session_id = "s", epoch = "e", seq = 1e300 }, RULE .. "resume.seq must be" },
  },
  mark = {
    { "read", 1, RULE .. "read must be at most 0, the last seq" },
    { "received", 2 ^ 40, RULE .. "received must be at most 0, the last seq" },
    { "received", -1, RULE .. "received must be" },
    { "read", 0.5, RULE .. "read must be" },
    { "read", "1", SHAPE .. "read must be a number" },
    { "received", { 1 }, SHAPE .. "received must be a number" },
  },
  typing = {
    { "state", "dancing", RULE .. "state must be one of: typing idle" },
    { "state", 5, SHAPE .. "state must be a string" },
    { "ttl", 999, RULE .. "ttl must be a whole number from 1000 to 60000" },
    { "ttl", 60001, RULE .. "ttl must be" },
    { "ttl", "5000", SHAPE .. "ttl must be a number" },
  },
  ping = {},
  refresh = {
    { "token", nil, RULE .. "token is required" },
    { "token", "", RULE .. "token must be" },
    { "token", ("x"):rep(8193), RULE .. "token must be 1 to 8192 bytes" },
    { "token", 7, SHAPE .. "token must be a string" },
    { "token", { "x" }, SHAPE .. "token must be a string" },
  },
}
BAD.voice_message = BAD.file_upload

local COMMON_BAD = {
  { "session_id", 5, SHAPE .. "session_id" },
  { "session_id", {}, SHAPE .. "session_id" },
  { "session_id", ("x"):rep(129), RULE .. "session_id" },
  { "timestamp", 1772463600, SHAPE .. "timestamp" },
  { "timestamp", "02.03.2026", SHAPE .. "timestamp" },
  { "timestamp", "2026-13-02T15:00:00Z", SHAPE .. "timestamp" },
  { "timestamp", {}, SHAPE .. "timestamp" },
  { "timestamp", "2026-03-02T15:01:00.001Z", RULE .. "timestamp must not be more than a minute ahead" },
  { "timestamp", "2999-01-01T00:00:00+02:00", RULE .. "timestamp must not be more than a minute ahead" },
  { "sender", "root", RULE .. "sender" },
  { "sender", 1, SHAPE .. "sender" },
  { "metadata", "x", SHAPE .. "metadata" },
  { "metadata", { a = { b = 1 } }, SHAPE .. "metadata" },
  { "metadata", { "x" }, SHAPE .. "metadata" },
  { "metadata", { a = ("x"):rep(1001) }, RULE .. "metadata" },
  { "cid", "", RULE .. "cid" },
  { "cid", ("x"):rep(129), RULE .. "cid" },
  { "cid", "a\0b", RULE .. "cid" },
  { "cid", 7, SHAPE .. "cid" },
}

local function message_of(kind, field, value)
  local message = { type = kind }
  for k, v in pairs(VALID[kind].fields) do
    message[k] = v
  end
  if field then
    message[field] = value
  end
  return message
end

local function types(documents)
  local list = {}
  for i, document in ipairs(documents) do
    list[i] = document.type
  end
  return list
end

describe("the protocol", function()
  local world, anna, tab, stranger
  before_each(function()
    world = fake.new()
    world.tokens.new = {}
    anna, tab, stranger = world:connect { user = "anna" }, world:connect { user = "anna" }, world:connect { user = "eve" }
    anna:heard()
    tab:heard()
    stranger:heard()
  end)

  it("is tested here for every route there is", function()
    for kind in pairs(world.require "routes") do
      assert.is_true(kind == "common" or VALID[kind] ~= nil, kind .. " has no case in this spec")
    end
  end)

  for kind, case in pairs(VALID) do
    describe(kind, function()
      it("is answered, and shown to the other tab, and to nobody else", function()
        anna:send(message_of(kind))
        local heard = anna:heard()
        assert.same(case.sender, types(heard))
        assert.same(case.other, types(tab:heard()))
        assert.same({}, stranger:heard())
        for _, document in ipairs(heard) do
          assert.equal(anna.session.id, document.session_id)
          assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", document.timestamp)
          assert.is_string(document.sender)
        end
        assert.equal(1, world.counts.messages_received)
      end)

      it("may carry the fields every message may have", function()
        local message = message_of(kind)
        message.session_id, message.timestamp, message.sender = anna.session.id, "2026-03-02T17:01:00.0+02:00", "user"
        message.metadata, message.unknown = { size = 5 }, { { {} } }
        anna:send(message)
        assert.same(case.sender, types(anna:heard()))
      end)

      it("takes null for an absent field", function()
        local text = cjson.encode(message_of(kind)):gsub("}$", ',"session_id":null,"timestamp":null,"metadata":null,"cid":null}')
        anna:send(text)
        assert.same(case.sender, types(anna:heard()))
      end)

      local bad = {}
      for _, list in ipairs { BAD[kind], COMMON_BAD } do
        for _, item in ipairs(list) do
          bad[#bad + 1] = item
        end
      end
      for _, item in ipairs(bad) do
        local field, value, expected = item[1], item[2], item[3]
        it(("with %s = %s is refused"):format(field, tostring(cjson.encode(value)):sub(1, 40)), function()
          local text = assert(cjson.encode(message_of(kind, field, value)))
          if value == nil then
            text = text:gsub('"' .. field .. '":"[^"]*",?', ""):gsub(",}", "}")
          end
          anna:send(text)
          local heard = anna:heard()
          assert.same({ "error" }, types(heard))
          assert.same({ "ai", anna.session.id }, { heard[1].sender, heard[1].session_id })
          assert.equal("INVALID_FORMAT", heard[1].error.code)
          assert.is_true(heard[1].error.recoverable)
          assert.equal(expected, heard[1].error.message:sub(1, #expected))
          assert.same({}, tab:heard())
          assert.same({}, stranger:heard())
          assert.is_nil(world.messages[anna.session.id])
          assert.equal(1, world.counts.message_errors)
        end)
      end
    end)
  end

  describe("answers what is no message of it with INVALID_FORMAT:", function()
    for _, text in ipairs {
      "", " ", "null", "true", "5", '"x"', "[]", "[1]", "{}", "{", '{"type":"ping"', '{"type":"ping"}}', "ping", "NaN", "\0",
      '{"type":null}', '{"type":5}', '{"type":{}}', '{"type":["ping"]}', '{"type":true}', '{"type":"pi', '{"TYPE":"ping"}',
      ("["):rep(50000), ('{"type":'):rep(50000), '{"type":"ping","x":' .. ("["):rep(40) .. ("]"):rep(40) .. "}",
      '{"type":"\\ud80"}', '{"type":"user_message","content":"a' .. "\n",
    } do
      it(("%q"):format(text:sub(1, 50)), function()
        anna:send(text)
        local heard = anna:heard()
        assert.same({ "error" }, types(heard))
        assert.same({ code = "INVALID_FORMAT", message = "Invalid message format", recoverable = true }, heard[1].error)
        anna:send { type = "ping" }
        assert.same({ "pong" }, types(anna:heard()))
      end)
    end
  end)

  describe("names the type it does not know:", function()
    for _, kind in ipairs {
      "ai_response", "error", "connection_status", "loading", "notification", "admin_join", "admin_leave", "no_such_type", "",
      "common", "__index", "PING",
    } do
      it(kind, function()
        anna:send { type = kind, content = "x" }
        local heard = anna:heard()
        assert.equal("INVALID_FORMAT", heard[1].error.code)
        assert.equal("Invalid message format: unknown message type " .. kind, heard[1].error.message)
      end)
    end

    it("but does not repeat a long one", function()
      anna:send { type = ("é"):rep(5000) }
      assert.equal("Invalid message format: unknown message type " .. ("é"):rep(32), anna:heard()[1].error.message)
    end)
  end)

  it("takes the last of duplicate keys", function()
    anna:send '{"type":"nonsense","type":"user_message","content":"first","content":"second"}'
    assert.equal("second", anna:heard()[2].content)
  end)

  it("takes content of 10000 bytes, whatever is in it", function()
    for _, content in ipairs { ("x"):rep(10000), ("日"):rep(3333), ("\1"):rep(10000), ('"\\'):rep(5000) } do
      anna:send { type = "user_message", content = content }
      local heard = anna:heard()
      assert.equal(content, heard[2].content)
    end
  end)

  it("survives huge numbers everywhere", function()
    anna:send '{"type":"ping","x":1e999,"y":-1e999,"z":123456789012345678901234567890}'
    assert.same({ "pong" }, types(anna:heard()))
    anna:send '{"type":"user_message","content":"x","metadata":{"a":1e999}}'
    assert.equal("INVALID_FORMAT", anna:heard()[1].error.code)
    anna:send '{"type":"history","before_seq":1e999}'
    assert.equal("INVALID_FORMAT", anna:heard()[1].error.code)
  end)
end)
