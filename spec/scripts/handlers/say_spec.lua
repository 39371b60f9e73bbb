local fake = require "spec.support.fake_chat"

describe("saying something", function()
  local calls, say, answered
  local function session(taken)
    return {
      id = "S",
      offer = function() calls[#calls + 1] = "offer" return taken end,
      send = function(_, text) calls[#calls + 1] = text:match '"type":"(.-)"' end,
      reply = function(_, text) calls[#calls + 1] = text end,
      answered = function() return answered end,
    }
  end

  before_each(function()
    calls, say, answered = {}, fake.new().require "handlers.say", true
  end)

  it("shows that an answer is coming, then asks the bot", function()
    say.user_message(session(false), { content = "hi" })
    assert.same({ "offer", "loading", "hi" }, calls)
  end)

  it("ends what it began when the bot says nothing", function()
    answered = false
    local anna = fake.new({
      sources = { ["bots.mute"] = 'local bot = require "bot" "mute" bot:otherwise(function() end) return bot' },
      config = { CHATBOX_BOT = "mute" },
    }):connect { user = "anna" }
    anna:heard()
    anna:send { type = "user_message", content = "hi" }
    local heard = anna:heard()
    assert.same({ "loading", "ai_response" }, { heard[1].type, heard[2].type })
    assert.same({ streaming = "true", done = "true" }, heard[2].metadata)
    assert.is_nil(heard[2].content)
    assert.is_nil(heard[3])
  end)

  it("answers the question of a handler first, if there is one", function()
    say.user_message(session(true), { content = "hi" })
    assert.same({ "offer" }, calls)
  end)
end)
