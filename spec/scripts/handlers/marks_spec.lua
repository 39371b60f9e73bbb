-- How far a user has got.
local fake = require "spec.support.fake_chat"

describe("a mark", function()
  local world, anna, tab
  before_each(function()
    world = fake.new()
    anna, tab = world:connect { user = "anna" }, world:connect { user = "anna" }
    anna:send { type = "user_message", content = "one" }
    anna:send { type = "user_message", content = "two" }
    anna:heard()
    tab:heard()
  end)

  local function mark(client, fields)
    fields.type = "mark"
    client:send(fields)
    return client:heard()
  end

  local function state(m)
    return { m.type, m.received, m.read, m.unread }
  end

  it("is told to every device, with what is still unread", function()
    local heard = mark(anna, { read = 3 })
    assert.same({ "mark", 3, 3, 1 }, state(heard[1]))
    assert.same({ "mark", 3, 3, 1 }, state(tab:heard()[1]))
    assert.same({ 3, 3 }, { world.records[anna.session.id].received, world.records[anna.session.id].read })
    assert.same({ "mark", 4, 3, 1 }, state(mark(tab, { received = 4 })[1]))
  end)

  it("never goes back; what changes nothing is told only to who wants an answer", function()
    mark(anna, { received = 4, read = 3 })
    tab:heard()
    assert.same({}, mark(anna, { read = 2 }))
    assert.same({ "mark", 4, 3, 1 }, state(mark(anna, { read = 2, cid = "m1" })[1]))
    assert.same({}, (tab:heard()))
  end)

  it("carries the cid to its sender alone", function()
    assert.equal("m1", mark(anna, { read = 1, cid = "m1" })[1].cid)
    assert.is_nil(tab:heard()[1].cid)
  end)

  it("beyond the last seq, or of nothing, is refused", function()
    for message, fields in pairs {
      ["Message validation failed: read must be at most 4, the last seq"] = { read = 5, cid = "m" },
      ["Message validation failed: received must be at most 4, the last seq"] = { received = 2 ^ 52, cid = "m" },
      ["Message validation failed: received or read is required"] = { cid = "m" },
    } do
      local heard = mark(anna, fields)
      assert.same({ "INVALID_FORMAT", message, "m" }, { heard[1].error.code, heard[1].error.message, heard[1].cid })
    end
    assert.same({}, (tab:heard()))
  end)

  it("may be of another conversation of the user, also an ended one, and the connection stays where it is", function()
    local old = anna.session
    old.end_ms = 5
    local elsewhere = world:connect { user = "anna", session = world:new_session "anna" }
    elsewhere:heard()
    local here = elsewhere.session
    assert.same({ "mark", 2, 2, 2 }, state(mark(elsewhere, { session_id = old.id, read = 2 })[1]))
    assert.equal(here, elsewhere.session)
    assert.same({ "mark", 2, 2, 2 }, state(tab:heard()[1]))
  end)

  it("of somebody else's conversation, or of one nobody knows, is refused", function()
    local eve = world:connect { user = "eve" }
    eve:heard()
    for id, code in pairs { [anna.session.id] = "UNAUTHORIZED", [("ab"):rep(16)] = "NOT_FOUND" } do
      local heard = mark(eve, { session_id = id, read = 1, cid = "m" })
      assert.same({ code, id, "m" }, { heard[1].error.code, heard[1].session_id, heard[1].cid })
    end
    assert.equal(0, anna.session.read)
  end)
end)
