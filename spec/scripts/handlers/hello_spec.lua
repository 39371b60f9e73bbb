-- What a client is told that comes back. That nothing is lost or doubled while it is being told is the server's own
-- doing: spec/unit/chat/catchup_test.c, spec/e2e/recovery_test.mjs.
local fake = require "spec.support.fake_chat"

local function types(documents)
  local list = {}
  for i, document in ipairs(documents) do
    list[i] = document.type
  end
  return list
end

describe("hello", function()
  local world, anna
  before_each(function()
    world = fake.new { config = { REPLAY_LIMIT = 2000 } }
    anna = world:connect { user = "anna" }
    anna:heard()
  end)

  local function says(client, content, cid)
    client:send { type = "user_message", content = content, cid = cid }
    client:heard()
  end

  local function hello(client, place)
    client:send { type = "hello", v = 2, resume = place }
    return client:heard()
  end

  local function place(seq, fields)
    local resume = { session_id = anna.session.id, epoch = "00000000", seq = seq }
    for k, v in pairs(fields or {}) do
      resume[k] = v
    end
    return resume
  end

  it("is answered with where the client is", function()
    says(anna, "one")
    anna:send { type = "hello", v = 2, cid = "h1" }
    local heard = anna:heard()
    assert.is_string(heard[1].connection_id)
    heard[1].connection_id = nil
    assert.same({ {
      type = "welcome", session_id = anna.session.id, v = 2, user_id = "anna", epoch = "00000000", top = 2, recovered = false,
      replayed = 0, received = 0, read = 0, unread = 2, ping_s = 54, now = "2026-03-02T15:00:00.000Z", cid = "h1", sender = "system",
      timestamp = "2026-03-02T15:00:00.000Z",
    } }, heard)
  end)

  it("tells a client that comes back what it missed, in order, as it would have heard it", function()
    anna:send { type = "user_message", content = "one", cid = "c1", metadata = { a = "1" } }
    local other = world:connect { user = "anna" }
    anna:send { type = "file_upload", file_id = "f", file_url = "https://files.example.com/a.png" }
    other:heard()
    local heard = hello(other, place(0))
    assert.same({ true, 3, 3 }, { heard[1].recovered, heard[1].replayed, heard[1].top })
    assert.same({ "welcome", "user_message", "ai_response", "file_upload" }, types(heard))
    assert.same({ 1, "c1", "one", "1" }, { heard[2].seq, heard[2].cid, heard[2].content, heard[2].metadata.a })
    assert.same({ 3, "f", "user" }, { heard[4].seq, heard[4].file_id, heard[4].sender })
  end)

  it("tells only what is behind its place, and nothing when nothing is", function()
    says(anna, "one")
    says(anna, "two")
    local heard = hello(anna, place(3))
    assert.same({ "welcome", "ai_response" }, types(heard))
    assert.same({ 4, "two", anna.session.id }, { heard[2].seq, heard[2].content, heard[2].session_id })
    heard = hello(anna, place(4))
    assert.same({ "welcome" }, types(heard))
    assert.same({ true, 0 }, { heard[1].recovered, heard[1].replayed })
  end)

  for name, wrong in pairs {
    ["a number that was never given"] = { seq = 5 },
    ["another epoch"] = { epoch = "00000001" },
    ["a conversation nobody knows"] = { session_id = ("ab"):rep(16) },
    ["an id that is none of ours"] = { session_id = "0b0e7c9a-4b5f-4c3e-9a54-0f4a7b1c2d3e" },
  } do
    it("recovers nothing from " .. name, function()
      says(anna, "one")
      local heard = hello(anna, place(1, wrong))
      assert.same({ "welcome" }, types(heard))
      assert.same({ false, 0, 2 }, { heard[1].recovered, heard[1].replayed, heard[1].top })
      assert.equal(anna.session.id, heard[1].session_id)
    end)
  end

  it("recovers all or nothing: not what is more than REPLAY_LIMIT, or more than a thousand messages", function()
    says(anna, ("x"):rep(1200))
    assert.same({ false, 0 }, { hello(anna, place(0))[1].recovered, hello(anna, place(0))[1].replayed })
    assert.is_true(hello(anna, place(1))[1].recovered)
    anna.session.top = 1500
    assert.is_false(hello(anna, place(1))[1].recovered)
  end)

  it("takes the client back to the conversation it was in, also to one that has ended", function()
    says(anna, "one")
    local old = anna.session
    world:plain(function() old.handle:finish() end)
    local elsewhere = world:new_session "anna"
    local tab = world:connect { user = "anna", session = elsewhere }
    tab:heard()
    local heard = hello(tab, place(1))
    assert.same({ "welcome", "ai_response" }, types(heard))
    assert.same({ old.id, true, true }, { heard[1].session_id, heard[1].recovered, heard[1].ended })
    assert.equal(old, tab.session)
  end)

  it("learns nothing of somebody else's conversation, and is told so", function()
    says(anna, "secret")
    local eve = world:connect { user = "eve" }
    eve:heard()
    local heard = hello(eve, place(0))
    assert.same({ "error", "welcome" }, types(heard))
    assert.same({ "UNAUTHORIZED", anna.session.id }, { heard[1].error.code, heard[1].session_id })
    assert.same({ eve.session.id, false, 0 }, { heard[2].session_id, heard[2].recovered, heard[2].top })
  end)

  it("is turned away, to come back, while the store does not answer", function()
    says(anna, "one")
    world.store_fails = true
    assert.same({ "error" }, types(hello(anna, place(0))))
    assert.equal(1013, anna.closed.code)
  end)
end)
