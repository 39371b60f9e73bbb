local cjson = require "cjson"
local scene = require "spec.support.scene"

local BOT = [[
local bot = require "bot" "echo"
bot:hears("number", function(session)
  session:reply "which?"
  local answer = session:ask()
  session:reply("old: " .. (answer and answer.content or "none"))
end)
bot:otherwise(function(session) session:reply "%s" end)
return bot
]]

describe("/admin/scripts", function()
  local world
  before_each(function() world = scene.shipped { files = { ["bots/echo.lua"] = BOT:format "one" } } end)
  after_each(scene.close)

  local function ask(method, path, body, who)
    who = who or { user = "boss", roles = { "admin" } }
    return world:http { method = method, path = "/admin/scripts" .. path, body = body and cjson.encode(body) or "",
      user = who.user, roles = who.roles, auth = who.auth }
  end

  local function change(text) world:write { ["bots/echo.lua"] = text } end

  local function answer(client)
    client:sends { type = "user_message", content = "hello" }
    return client:hears("ai_response").content
  end

  for _, endpoint in ipairs { { "GET", "" }, { "POST", "/reload" }, { "POST", "/promote" }, { "POST", "/rollback" } } do
    it(endpoint[1] .. " /admin/scripts" .. endpoint[2] .. " is for administrators: 401 without a token, 403 with another's", function()
      change(BOT:format "two")
      assert.equal(401, ask(endpoint[1], endpoint[2], nil, {}).status)
      assert.equal("INVALID_TOKEN", ask(endpoint[1], endpoint[2], nil, { auth = "invalid" }).json.code)
      local refused = ask(endpoint[1], endpoint[2], nil, { user = "alice", roles = { "agent" } })
      assert.same({ 403, "FORBIDDEN" }, { refused.status, refused.json.code })
      assert.equal("one", answer(world:connect "alice"))
    end)
  end

  it("GET shows versions, VMs, what waits for what, the history and the routes in order", function()
    local alice = world:connect "alice"
    alice:sends { type = "user_message", content = "a number" }
    change(BOT:format "two")
    world:order("reload", 0, "new text")
    local seen = ask("GET", "")
    assert.equal(200, seen.status)
    local shown = seen.json
    assert.equal(world:version(), shown.version)
    assert.same({ "current", "old" }, { shown.versions[1].role, shown.versions[2].role })
    assert.same({ 0, 0, 0 }, { shown.versions[2].errors, shown.versions[2].error_rate, shown.versions[2].kill_rate })
    assert.same({ ["session:ask"] = 1 }, shown.vms[2].waits)
    assert.is_number(shown.vms[1].memory_bytes)
    local last = shown.history[1]
    assert.same({ "reload", "running", "spec", "new text", world:version() },
      { last.order, last.outcome, last.who, last.why, last.version })
    assert.matches("^2026%-03%-02T15:00:0%d%.%d%d%dZ$", last.at)
    assert.same({ "GET", "/healthz" }, { shown.routes.http[1].method, shown.routes.http[1].path })
    assert.same({ name = "echo", hears = { "number" } }, shown.routes.bot)
    assert.equal("file_upload", shown.routes.messages[1].type)
    assert.same({ 0, 1 }, { shown.canary_percent, shown.kept })
  end)

  it("reload answers what came of it, and why is kept", function()
    change(BOT:format "two")
    local done = ask("POST", "/reload", { why = "Friday" })
    assert.same({ 200, "version " .. world:version() }, { done.status, done.json.outcome })
    assert.equal("two", answer(world:connect "alice"))
    assert.equal("nothing has changed", ask("POST", "/reload").json.outcome)
    local last = ask("GET", "").json.history[1]
    assert.same({ "admin boss", "Friday" }, { last.who, last.why })
  end)

  it("reload of what does not load is 409 with file and line, and changes nothing", function()
    change "return nil +"
    local refused = ask("POST", "/reload")
    assert.same({ 409, "SCRIPT" }, { refused.status, refused.json.code })
    assert.matches("^scripts/bots/echo.lua:1: ", refused.json.error)
    assert.equal("one", answer(world:connect "alice"))
    assert.matches("^scripts/bots/echo.lua:1: ", ask("GET", "").json.history[1].detail)
  end)

  it("a canary, promoted and taken back", function()
    change(BOT:format "two")
    assert.matches("has 10 %%", ask("POST", "/reload", { canary_percent = 10 }).json.outcome)
    assert.equal(10, ask("GET", "").json.canary_percent)
    assert.equal(409, ask("POST", "/reload").status)
    assert.equal(200, ask("POST", "/promote", { why = "looks good" }).status)
    assert.equal("two", answer(world:connect "alice"))
    assert.equal(200, ask("POST", "/rollback").status)
    assert.equal("one", answer(world:connect "bob"))
    assert.equal(409, ask("POST", "/rollback").status)
  end)

  it("says what is wrong with a body", function()
    for _, body in ipairs { { why = 3 }, { why = ("x"):rep(256) }, { why = "two\nlines" }, { canary_percent = 0 },
                            { canary_percent = 100 }, { canary_percent = "10" } } do
      assert.equal(400, ask("POST", "/reload", body).status)
    end
    for _, path in ipairs { "/promote", "/rollback" } do
      local refused = ask("POST", path, { canary_percent = 10 })
      assert.same({ 400, "canary_percent is for a reload" }, { refused.status, refused.json.error })
    end
    assert.equal(400, world:http({ method = "POST", path = "/admin/scripts/reload", body = "{", user = "boss",
      roles = { "admin" } }).status)
    assert.equal(1, #ask("GET", "").json.history)
  end)
end)
