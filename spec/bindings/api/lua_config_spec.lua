-- chat.config: the settings in force.
local scene = require "spec.support.scene"

local function refused(body, why)
  local values, message = scene.run(body)
  assert.is_nil(values, body)
  assert.matches(why, message, 1, true)
end

describe("chat.config", function()
  after_each(scene.close)

  it(".get gives texts, numbers, durations in ms, sizes in bytes, booleans", function()
    assert.same({ "/x", 7, 90000, 2097152, true, false }, scene.run([[ local get = chat.config.get
      return get "CHATBOX_PATH_PREFIX", get "INBOX_LIMIT", get "RATE_WINDOW", get "MAX_BODY_SIZE", get "DEVELOPMENT",
        get "JWT_REQUIRE_EXP" ]],
      { CHATBOX_PATH_PREFIX = "/x", INBOX_LIMIT = "7", RATE_WINDOW = "90s", MAX_BODY_SIZE = "2MiB", DEVELOPMENT = "true",
        JWT_REQUIRE_EXP = "false" }))
  end)

  it(".get works while scripts load", function()
    local world = scene.case [[ local bot = chat.config.get "CHATBOX_BOT" return { bot = function() return bot end } ]]
    assert.same({ "echo" }, world:connect("alice"):asks "bot")
  end)

  it(".get shows no secret and knows no other name", function()
    refused("chat.config.get 'JWT_SECRET'", "chat.config.get: JWT_SECRET is secret")
    refused("chat.config.get 'STORE_URL'", "chat.config.get: STORE_URL is secret")
    refused("chat.config.get 'COLOUR'", "chat.config.get: there is no setting COLOUR")
    refused("chat.config.get()", "bad argument #1 to 'get' (string expected")
  end)

  it(".allows says whether an address is in METRICS_ALLOWED_NETWORKS; an empty list allows all", function()
    local body = [[ local function allows(a) return chat.config.allows("METRICS_ALLOWED_NETWORKS", a) end
      return allows "10.1.2.3", allows "11.1.2.3", allows "nonsense" ]]
    assert.same({ true, false, false }, scene.run(body, { METRICS_ALLOWED_NETWORKS = "10.0.0.0/8" }))
    assert.same({ true, true, true }, scene.run(body, { METRICS_ALLOWED_NETWORKS = "" }))
    body = [[ return chat.config.allows("METRICS_ALLOWED_NETWORKS", "10.1.2.3", true) ]] -- only relayed from there
    assert.same({ false }, scene.run(body, { METRICS_ALLOWED_NETWORKS = "10.0.0.0/8" }))
    assert.same({ true }, scene.run(body, { METRICS_ALLOWED_NETWORKS = "" }))
    refused("chat.config.allows('RATE_LIMIT', '1.2.3.4')", "this is not a list of networks")
    refused("chat.config.allows('METRICS_ALLOWED_NETWORKS')", "bad argument #2 to 'allows' (string expected")
  end)

  it("is read-only, and so is all of chat", function()
    refused("chat.config.get = print", "chat.config is read-only")
    refused("chat.mine = 1", "chat is read-only")
    refused("return chat.colour", "chat.colour does not exist")
    refused("return chat.config.colour", "chat.config.colour does not exist")
  end)
end)

describe("chat.version", function()
  it("is the version of the scripts", function()
    local world = scene.case "return { version = function() return chat.version end }"
    assert.same({ world:version() }, world:connect("alice"):asks "version")
    assert.matches("^" .. ("%x"):rep(12) .. "$", world:version())
    scene.close()
  end)
end)
