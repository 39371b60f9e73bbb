local fake = require "spec.support.fake_chat"

describe("saying something", function()
  local calls, say
  local function session(taken)
    return {
      id = "S",
      offer = function() calls[#calls + 1] = "offer" return taken end,
      send = function(_, text) calls[#calls + 1] = text:match '"type":"(.-)"' end,
      reply = function(_, text) calls[#calls + 1] = text end,
    }
  end

  before_each(function()
    calls, say = {}, fake.new().require "handlers.say"
  end)

  it("shows that an answer is coming, then asks the bot", function()
    say.user_message(session(false), { content = "hi" })
    assert.same({ "offer", "loading", "hi" }, calls)
  end)

  it("answers the question of a handler first, if there is one", function()
    say.user_message(session(true), { content = "hi" })
    assert.same({ "offer" }, calls)
  end)
end)
