local fake = require "spec.support.fake_chat"

describe("init", function()
  local world, anna
  local function start(options)
    world = fake.new(options)
    anna = world:connect { user = "anna", admin = options.admin }
    anna:heard()
  end

  local function call(name, ...)
    world:plain(world.app[name], anna.session.handle, anna, ...)
    return anna:heard()[1].error
  end

  it("tells the sender that a handler failed, under which number, and nothing more", function()
    start {}
    assert.same({ code = "INTERNAL", message = "An unexpected error occurred", recoverable = true, incident = "7f" },
      call("failed", "7f", "scripts/bots/x.lua:3: oh"))
  end)

  it("shows the error itself to an administrator while scripts are developed", function()
    start { config = { DEVELOPMENT = true }, admin = true }
    assert.equal("scripts/bots/x.lua:3: oh", call("failed", "7f", "scripts/bots/x.lua:3: oh").detail)
    start { config = { DEVELOPMENT = true } }
    assert.is_nil(call("failed", "7f", "oh").detail)
    start { config = { DEVELOPMENT = false }, admin = true }
    assert.is_nil(call("failed", "7f", "oh").detail)
  end)

  for code, expected in pairs {
    FULL = { "SERVICE_ERROR", "Server busy — please retry" },
    STORE = { "DATABASE_ERROR", "Database operation failed" },
    LIMITED = { "TOO_MANY_REQUESTS", "Too many requests, please slow down" },
    CANCELLED = { "SERVICE_ERROR", "The server was updated — please send that again" },
  } do
    it("says what became of a message the server refused: " .. code, function()
      start {}
      local refusal = call("refused", code, 0)
      assert.same({ expected[1], expected[2] }, { refusal.code, refusal.message })
      assert.is_nil(refusal.retry_after)
      assert.equal(1500, call("refused", code, 1500).retry_after)
    end)
  end

  it("does not start with a bot that is missing, is none, or leaves messages unanswered", function()
    local function why(name, text)
      local ok, message = pcall(fake.new, { config = { CHATBOX_BOT = name }, sources = { ["bots." .. name] = text } })
      assert.is_false(ok)
      return message
    end
    assert.matches("module 'bots.nobody' not found: there is no scripts/bots/nobody.lua", why "nobody")
    assert.matches("bots/x.lua does not return a bot", why("x", "return 1"))
    assert.matches("bots/x.lua has no bot:otherwise", why("x", "return require 'bot' 'x'"))
    assert.matches("scripts/bots/x.lua:2:", why("x", "local bot = 1\nbot:otherwise()"))
  end)
end)
