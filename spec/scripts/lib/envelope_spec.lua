local fake = require "spec.support.fake_chat"
local cjson = require "cjson.safe"

describe("an envelope", function()
  local world = fake.new { app = false }
  local envelope = world.require "lib.envelope"
  local session = { id = "S" }

  it("has type, session_id, sender, timestamp and the fields that are there", function()
    local make = envelope.new("t", "ai", "content", "metadata", "n")
    assert.same({
      type = "t", session_id = "S", sender = "ai", timestamp = "2026-03-02T15:00:00.000Z", content = 'a"b\n', metadata = { k = "v" },
    }, cjson.decode(make(session, 'a"b\n', { k = "v" })))
    assert.same({ type = "t", session_id = "S", sender = "ai", timestamp = "2026-03-02T15:00:00.000Z", n = 5 },
      cjson.decode(make(session, nil, nil, 5)))
  end)

  it("may have no field, one field, and as many as a document needs", function()
    assert.is_nil(cjson.decode(envelope.new("t", "ai")(session)).content)
    assert.equal("x", cjson.decode(envelope.new("t", "ai", "content")(session, "x")).content)
    local five = cjson.decode(envelope.new("t", "ai", "a", "b", "c", "d", "e")(session, 1, 2, 3, 4, 5))
    assert.same({ 1, 5 }, { five.a, five.e })
    local eight = envelope.new("t", "ai", "a", "b", "c", "d", "e", "f", "g", "h")(session, 1, false, nil, nil, nil, 6, nil, 8)
    assert.same({ type = "t", session_id = "S", sender = "ai", timestamp = "2026-03-02T15:00:00.000Z", a = 1, b = false, f = 6, h = 8 },
      cjson.decode(eight))
  end)

  it("tells the time of the server as it passes", function()
    assert.equal("2026-03-02T15:00:00.000Z", envelope.timestamp())
    world:advance(1)
    assert.equal("2026-03-02T15:00:00.001Z", envelope.timestamp())
  end)
end)
