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

  local function read(path)
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("describes every close as the server says it: its number, its words, whether to come back", function()
    local numbers, said, described = {}, {}, {}
    for name, number in read("core/chat/conn.h"):gmatch "(CLOSE_[%u_]+) = (%d+)" do
      numbers[name] = number
    end
    for name, word, again in read("core/chat/bye.h"):gmatch 'X%((CLOSE_[%u_]+), "([%w_]+)", (%a+)%)' do
      said[#said + 1] = { assert(numbers[name], name), word, again }
    end
    for i, row in ipairs(envelope.closes) do
      described[i] = { tostring(row[1]), row[2][1], tostring(row[3]:find "^yes" ~= nil) }
    end
    assert.is_true(#said >= 10)
    assert.same(said, described)
  end)

  it("describes every word that is said in place of that of a number", function()
    local words = {}
    for _, row in ipairs(envelope.closes) do
      for _, word in ipairs(row[2]) do
        words[word] = true
      end
    end
    local sources = io.popen "cat core/*/*.c"
    local found = 0
    for call in sources:read("*a"):gmatch "bye_say(%b())" do
      local code = call:match "^%([^,]+,[^,]+,([^,]+)," or ""
      for word in code:gmatch '"([%w_]+)"' do
        assert.is_true(words[word], word .. " is not described")
        found = found + 1
      end
    end
    sources:close()
    assert.is_true(found >= 3)
  end)

  it("tells the time of the server as it passes", function()
    assert.equal("2026-03-02T15:00:00.000Z", envelope.timestamp())
    world:advance(1)
    assert.equal("2026-03-02T15:00:00.001Z", envelope.timestamp())
  end)
end)
