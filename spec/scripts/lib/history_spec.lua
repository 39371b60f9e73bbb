local fake = require "spec.support.fake_chat"
local cjson = require "cjson.safe"

describe("a page of history", function()
  local world, history, id
  before_each(function()
    world = fake.new()
    history = world.require "lib.history"
    id = world:new_session("anna").id
    world.messages[id] = {}
  end)

  local function fill(count, content, extra)
    for i = 1, count do
      world.messages[id][i] =
        { seq = i, id = "m" .. i, sender = "user", type = "user_message", content = content or "", extra = extra, at_ms = 1000 * i }
    end
  end

  local function page(before_seq, limit, bytes)
    local result
    world:plain(function() result = { history.page(id, before_seq, limit or 1000, bytes or 1e6) } end)
    world:settle()
    if not result[1] then return unpack(result, 1, 3) end
    return cjson.decode(result[1].messages[1]), result[1].before_seq, result[1].messages[1]
  end

  it("is an empty array when nothing was said", function()
    local _, before_seq, text = page()
    assert.equal("[]", text)
    assert.is_nil(before_seq)
  end)

  it("names one of the senders there are, whatever somebody has put into the database", function()
    fill(1)
    world.messages[id][1].sender, world.messages[id][1].damaged = "user_message", true
    local found = page()
    assert.equal("system", found[1].sender)
    assert.is_true(found[1].damaged)
  end)

  it("holds everything about a message", function()
    fill(1, "hi", '{"metadata":{"a":"1"},"file_id":"f","file_url":"https://a.example/"}')
    assert.same({ {
      seq = 1, id = "m1", sender = "user", type = "user_message", content = "hi", timestamp = "1970-01-01T00:00:01.000Z",
      metadata = { a = "1" }, file_id = "f", file_url = "https://a.example/",
    } }, (page()))
  end)

  it("ends with the newest and says where the older ones are", function()
    fill(10)
    local messages, before_seq = page(nil, 4)
    assert.same({ 7, 10, 4 }, { messages[1].seq, messages[4].seq, #messages })
    assert.equal(7, before_seq)
    messages, before_seq = page(before_seq, 6)
    assert.same({ 1, 6 }, { messages[1].seq, #messages })
    assert.is_nil(before_seq)
  end)

  it("holds what fits into its bytes, however much is asked for", function()
    fill(100, ("x"):rep(10000))
    local messages, before_seq, text = page(nil, 1000, 256 * 1024)
    assert.is_true(#text <= 256 * 1024 + 1)
    assert.same({ 25, 100, 76 }, { #messages, messages[25].seq, before_seq })
  end)

  it("holds one message even when that is too big", function()
    fill(3, ("x"):rep(5000))
    local messages, before_seq = page(nil, 10, 100)
    assert.same({ 1, 3, 3 }, { #messages, messages[1].seq, before_seq })
  end)

  it("says when the store failed", function()
    world.store_fails = true
    assert.same({ nil, "database operation failed", "STORE" }, { page() })
  end)
end)
