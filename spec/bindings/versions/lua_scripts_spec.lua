-- lua_scripts.c: the scripts seen and changed by an administrator's request.
local scene = require "spec.support.scene"

local ADMIN = { user = "boss", roles = { "admin" } }

local function case(version)
  return { ["case.lua"] = [[
    local cjson = require "cjson"
    return {
      version = function() return "]] .. version .. [[" end,
      ask = function(s) return "heard", s:ask() end,
      reload = function() return chat.scripts.reload() end,
      report = function() return chat.scripts.report() end,
      http = function(request)
        local word, why = request.path:match "^/(%w+)/?(.*)$"
        if word == "report" then return { body = cjson.encode(chat.scripts.report()) } end
        local order = { why = why ~= "" and why or nil, canary = tonumber(request.query.canary) }
        local orders = { reload = chat.scripts.reload, promote = chat.scripts.promote, rollback = chat.scripts.rollback }
        local text, message, code = orders[word](order)
        return { status = text and 200 or 409, body = cjson.encode { text = text, message = message, code = code,
          by = "]] .. version .. [[" } }
      end,
    } ]] }
end

local function start(settings)
  return scene.case(case("1")["case.lua"], settings)
end

local function admin(path, query)
  return { path = path, query = query, user = ADMIN.user, roles = ADMIN.roles }
end

describe("chat.scripts", function()
  after_each(scene.close)

  it("reload: the answer arrives, from the version that was replaced; who and why are written down", function()
    for _, drain in ipairs { "30s", "0" } do
      local world = start { SCRIPT_DRAIN_TIMEOUT = drain }
      world:write(case "2")
      local answer = world:http(admin "/reload/Friday's text")
      assert.equal(200, answer.status)
      assert.same({ text = "version " .. world:version(), by = "1" }, answer.json)
      assert.equal("2", world:connect("alice"):asks("version")[1])
      assert.matches("running, by admin boss, because: Friday's text", world:report())
      world:advance "1s"
      assert.is_nil(world:report():find "  old ")
      scene.close()
    end
  end)

  it("reload of something broken: nil, file and line, SCRIPT", function()
    local world = start()
    world:write { ["case.lua"] = "return {\n}}" }
    local answer = world:http(admin "/reload")
    assert.equal(409, answer.status)
    assert.matches("^scripts/case.lua:2: ", answer.json.message)
    assert.equal("SCRIPT", answer.json.code)
    assert.equal("1", world:connect("alice"):asks("version")[1])
  end)

  it("reload with a canary, promote and rollback", function()
    local world = start()
    world:write(case "2")
    assert.matches("has 12.5 %% of the conversations", world:http(admin("/reload", { canary = "12.5" })).json.text)
    assert.matches("has all conversations", world:http(admin "/promote").json.text)
    assert.equal("2", world:connect("alice"):asks("version")[1])
    assert.matches("^version ", world:http(admin "/rollback").json.text)
    assert.equal("there is no earlier version to go back to", world:http(admin "/rollback").json.message)
  end)

  it("report: versions, VMs, what waits for what, and the history", function()
    local world = start()
    local alice = world:connect "alice"
    alice:sends "ask"
    world:advance "1500ms"
    world:reload(case "2")
    local report = world:http(admin "/report").json
    local current, old = report.versions[1], report.versions[2]
    assert.same({ world:version(), "current", 1, 1 }, { current.version, current.role, current.vms, current.waiting })
    assert.same({ "old", 1, 1, 0, 0 }, { old.role, old.waiting, old.calls, old.errors, old.kills })
    assert.is_true(current.memory_bytes > 10000)
    local vm = report.vms[2]
    assert.same({ ["session:ask"] = 1 }, vm.waits)
    assert.equal("session:ask", vm.tasks[1].waits_for)
    assert.equal(1500, vm.tasks[1].waited_ms)
    assert.matches("^%x+$", vm.tasks[1].session_id)
    assert.same({ "reload", "running", "spec" }, { report.history[1].order, report.history[1].outcome, report.history[1].who })
    assert.same({ "start", "replaced" }, { report.history[2].order, report.history[2].outcome })
    assert.equal(1772463602000, report.history[2].at_ms)
    assert.same({ 0, 1 }, { report.canary_share, report.kept })
  end)

  it("report names twenty of many that wait, and counts all", function()
    local world = start()
    for i = 1, 30 do world:connect("user" .. i):sends "ask" end
    local vm = world:http(admin "/report").json.vms[1]
    assert.equal(31, vm.waiting) -- and this request
    assert.equal(30, vm.waits["session:ask"])
    assert.equal(20, #vm.tasks)
  end)

  it("is for administrators' requests only: anybody else's raises, and so does a message, theirs too", function()
    local world = start()
    local answer = world:http { path = "/reload", user = "alice" }
    assert.equal(500, answer.status)
    assert.equal(500, world:http({ path = "/report" }).status)
    local boss = world:connect(ADMIN)
    assert.matches("only for the HTTP request of an administrator", boss:asks("reload").failed)
    assert.matches("only for the HTTP request of an administrator", boss:asks("report").failed)
  end)

  it("a request that is cancelled meanwhile is answered once, and its answer dropped", function()
    local world = start { SCRIPT_COROUTINES = "1" }
    world:connect("alice"):sends "ask"
    assert.equal(500, world:http(admin "/report").status) -- no room to wait; and nothing leaks
  end)
end)
