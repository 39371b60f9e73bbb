local fake = require "spec.support.fake_chat"

describe("session:reply", function()
  local world, anna
  before_each(function()
    world = fake.new()
    anna = world:connect { user = "anna" }
    anna:heard()
  end)

  local function reply(text)
    world:plain(function() anna.session.handle:reply(text) end)
  end

  it("stores the answer and sends it whole to everybody, in the form old clients know, with its number", function()
    local tab = world:connect { user = "anna" }
    tab:heard()
    reply "hello"
    local expected = { {
      id = world.messages[anna.session.id][1].id, seq = 1,
      type = "ai_response", session_id = anna.session.id, content = "hello", sender = "ai", timestamp = "2026-03-02T15:00:00.000Z",
      metadata = { streaming = "true", done = "true" }, -- against the letter of the reference, for clients that wait for it
    } }
    assert.same(expected, (anna:heard()))
    assert.same(expected, (tab:heard()))
    local stored = world.messages[anna.session.id][1]
    assert.same({ "ai", "ai_response", "hello" }, { stored.sender, stored.type, stored.content })
    assert.equal('{"version":"' .. world.chat.version .. '"}', stored.extra)
  end)

  it("counts tokens, and the time since the message before it", function()
    reply "first: there was nothing before"
    assert.equal(0, anna.session.max_response_ms)
    world:advance(1500)
    reply "12345678"
    assert.same({ 9, 1500 }, { anna.session.total_tokens, anna.session.max_response_ms })
    world:advance "2400h"
    reply "x"
    assert.equal(86400000, anna.session.max_response_ms)
  end)

  it("sends nothing when it cannot be stored", function()
    world.store_fails = true
    reply "hello"
    assert.same({}, (anna:heard()))
  end)

  it("to a conversation that is gone is an ordinary answer, no error", function()
    local result
    anna.session.gone = true
    world:plain(function() result = { anna.session.handle:reply "hello" } end)
    assert.same({ nil, "the conversation is gone", "GONE" }, result)
  end)

  it("into a conversation that has ended is an error: nobody would hear it", function()
    local ok, why
    anna.session.end_ms = world.now_ms
    world:plain(function() ok, why = pcall(function() anna.session.handle:reply "hello" end) end)
    assert.is_false(ok)
    assert.matches("session_spec.lua:%d+: session:reply: the conversation has ended", why)
    assert.same({}, world.messages[anna.session.id] or {})
  end)

  it("needs a text", function()
    assert.is_false(pcall(reply, ""))
    assert.is_false(pcall(reply, nil))
    assert.is_false(pcall(reply, {}))
  end)
end)
