local fake = require "spec.support.fake_chat"

describe("asking for help", function()
  it("marks the conversation, even one in which nothing was said, and confirms", function()
    local world = fake.new()
    local anna = world:connect { user = "anna" }
    anna:heard()
    anna:send { type = "help_request", session_id = "0b0e7c9a-4b5f-4c3e-9a54-0f4a7b1c2d3e" }
    assert.equal("Help request sent. An administrator will join your session shortly.", anna:heard()[1].content)
    assert.is_true(anna.session.help_requested)
  end)
end)
