local fake = require "spec.support.fake_chat"

describe("choosing a model", function()
  local world, anna
  before_each(function()
    world = fake.new()
    anna = world:connect { user = "anna" }
    anna:heard()
  end)

  it("keeps the choice and tells everybody", function()
    anna:send { type = "model_select", model_id = "echo" }
    local heard = anna:heard()[1]
    assert.same({ "connection_status", "Model changed to echo", "2026-03-02T15:00:00.000Z" },
      { heard.type, heard.content, heard.timestamp })
    assert.equal("echo", anna.session.model_id)
  end)

  it("refuses one that does not exist", function()
    anna:send { type = "model_select", model_id = "gpt-4" }
    assert.same({ code = "INVALID_FORMAT", message = "Invalid model ID: gpt-4", recoverable = true }, anna:heard()[1].error)
    assert.equal("", anna.session.model_id)
  end)
end)
