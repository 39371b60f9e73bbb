local fake = require "spec.support.fake_chat"

describe("joining", function()
  local world
  before_each(function()
    world = fake.new()
  end)

  local function status(client)
    local heard = client:heard()
    assert.equal(1, #heard)
    assert.equal("connection_status", heard[1].type)
    return heard[1]
  end

  it("tells a client who it is, where it is and who can answer", function()
    local anna = world:connect { user = "anna" }
    assert.same({
      type = "connection_status", session_id = anna.session.id, user_id = "anna", models = { { id = "echo", name = "echo" } },
      sender = "system", timestamp = "2026-03-02T15:00:00.000Z",
    }, status(anna))
  end)

  it("tells it to one connection, not to all", function()
    local anna = world:connect { user = "anna" }
    anna:heard()
    local tab = world:connect { user = "anna" }
    assert.equal(anna.session.id, status(tab).session_id)
    assert.same({}, (anna:heard()))
  end)

  it("takes a client to the conversation it asks for", function()
    local old = world:new_session("anna", { stored = true })
    local current = world:new_session "anna"
    local anna = world:connect { user = "anna", session = current, wanted = old.id }
    assert.equal(old.id, status(anna).session_id)
    assert.equal(old, anna.session)
  end)

  it("gives a client that made up an id the conversation it is in, without a look-up", function()
    local anna = world:connect { user = "anna", wanted = "0b0e7c9a-4b5f-4c3e-9a54-0f4a7b1c2d3e" }
    assert.equal(anna.session.id, status(anna).session_id)
    assert.equal(0, world.opened)
    local again = world:connect { user = "anna", wanted = ("ab"):rep(16) }
    assert.equal(anna.session.id, status(again).session_id)
  end)

  it("names no conversation to one that asks for somebody else's or an ended one", function()
    local foreign = world:new_session "eve"
    local ended = world:new_session("anna", { end_ms = 5 })
    for _, wanted in ipairs { foreign.id, ended.id } do
      local anna = world:connect { user = "anna", wanted = wanted }
      assert.equal("", status(anna).session_id)
      assert.not_equal(wanted, anna.session.id)
    end
  end)

  it("does not mind one that has left already", function()
    assert.has_no_error(function() world:connect { user = "anna", gone = true } end)
  end)

  it("names none when the store cannot tell", function()
    world.store_fails = true
    assert.equal("", status(world:connect { user = "anna", wanted = ("ab"):rep(16) }).session_id)
  end)
end)

describe("a new token", function()
  local world, anna
  before_each(function()
    world = fake.new()
    anna = world:connect { user = "anna" }
    anna:heard()
  end)

  local function says(token)
    anna:send { type = "refresh", token = token, cid = "r1" }
    local heard = anna:heard()
    assert.equal(1, #heard)
    return heard[1]
  end

  it("is taken, and the client is told until when it holds", function()
    world.tokens.good = { expires_ms = world.now_ms + 60000, admin = true }
    local told = says "good"
    assert.same({ "refreshed", "2026-03-02T15:01:00.000Z" }, { told.type, told.expires_at })
    world.tokens.forever = {}
    told = says "forever"
    assert.same({ "refreshed" }, { told.type, told.expires_at })
  end)

  it("that is not taken is an error that says why", function()
    local codes = { EXPIRED = "EXPIRED_TOKEN", INVALID = "INVALID_TOKEN", FORBIDDEN = "INVALID_TOKEN", TOO_BIG = "INVALID_TOKEN" }
    for code, told in pairs(codes) do
      world.tokens.bad = { code = code }
      local heard = says "bad"
      assert.same({ "error", told, "r1" }, { heard.type, heard.error.code, heard.cid })
    end
    world.tokens.bad = { code = "LIMITED", wait_ms = 700 }
    local heard = says "bad"
    assert.same({ "TOO_MANY_REQUESTS", 700 }, { heard.error.code, heard.error.retry_after })
    world.tokens.bad = { code = "GONE" }
    anna:send { type = "refresh", token = "bad" }
    assert.same({}, (anna:heard()))
  end)

  it("is a text of 1 to 8192 bytes", function()
    for _, token in ipairs { "", ("x"):rep(8193), 7 } do
      assert.equal("INVALID_FORMAT", says(token).error.code)
    end
  end)
end)

describe("typing and ping", function()
  local world, anna, tab
  before_each(function()
    world = fake.new()
    anna, tab = world:connect { user = "anna" }, world:connect { user = "anna" }
    anna:heard()
    tab:heard()
  end)

  it("typing is shown to the others and never stored", function()
    anna:send { type = "typing_indicator", metadata = { state = "on" }, sender = "admin" }
    assert.same({}, (anna:heard()))
    local shown = tab:heard()[1]
    assert.same({ "typing_indicator", "user", { state = "on" } }, { shown.type, shown.sender, shown.metadata })
    assert.same({}, world.messages)
  end)

  it("typing is heard by each client in its own protocol", function()
    tab:send { type = "hello", v = 2 }
    tab:heard()
    anna:send { type = "typing_indicator", content = "..." }
    local shown = tab:heard()[1]
    assert.same({ "typing", "typing", 6000, "anna" }, { shown.type, shown.state, shown.ttl, shown.who.id })
    tab:send { type = "typing", ttl = 2000 }
    assert.equal("typing_indicator", anna:heard()[1].type)
    tab:send { type = "typing", state = "idle" } -- for which protocol 1 has no word
    assert.same({}, (anna:heard()))
    assert.same({}, (tab:heard()))
  end)

  it("ping is answered with pong", function()
    anna:send '{"type":"ping"}'
    assert.equal("pong", anna:heard()[1].type)
    assert.same({}, (tab:heard()))
  end)
end)
