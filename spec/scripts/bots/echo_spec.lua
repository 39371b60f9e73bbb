local fake = require "spec.support.fake_chat"

describe("echo", function()
  it("says back what it hears", function()
    local replies = {}
    local session = { reply = function(_, text) replies[#replies + 1] = text end }
    local echo = fake.new().require "bots.echo"
    echo:answer(session, { content = "Hello\n<b>world</b>" })
    assert.same({ "Hello\n<b>world</b>" }, replies)
  end)
end)
