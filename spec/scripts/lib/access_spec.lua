local fake = require "spec.support.fake_chat"

describe("access", function()
  local world, access
  before_each(function()
    world = fake.new()
    access = world.require "lib.access"
  end)

  local function call(name, ...)
    local result
    local arguments = { ... }
    world:plain(function() result = { access[name](unpack(arguments)) } end)
    world:settle()
    return result[1], result[2]
  end

  it("knows our ids by their shape", function()
    assert.is_true(access.is_id(("0f"):rep(16)))
    for _, id in ipairs { "", ("0f"):rep(15), ("0F"):rep(16), ("0f"):rep(17), ("0g"):rep(16), "0b0e7c9a-4b5f-4c3e-9a54-0f4a7b1c2d3e" } do
      assert.is_false(access.is_id(id))
    end
  end)

  it("gives a user their own conversation, to read even when it has ended", function()
    local s = world:new_session "anna"
    assert.equal(s.handle, (call("find", s.id, "anna")))
    s.end_ms = 5
    assert.equal(s.handle, (call("read", s.id, "anna")))
    assert.same({ nil, "NOT_FOUND" }, { call("find", s.id, "anna") })
  end)

  it("says why not", function()
    local s = world:new_session "anna"
    assert.same({ nil, "UNAUTHORIZED" }, { call("find", s.id, "eve") })
    assert.same({ nil, "UNKNOWN" }, { call("find", ("ab"):rep(16), "eve") })
    assert.same({ nil, "UNKNOWN" }, { call("read", "x", "eve") })
    world.store_fails = true
    assert.same({ nil, "DATABASE_ERROR" }, { call("read", s.id, "anna") })
  end)
end)
