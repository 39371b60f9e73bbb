local fake = require "spec.support.fake_chat"

describe("asking for history", function()
  local world, anna
  before_each(function()
    world = fake.new()
    anna = world:connect { user = "anna" }
    for i = 1, 30 do
      anna:send { type = "user_message", content = "m" .. i }
    end
    anna:heard()
  end)

  it("gives the last fifty, to the one who asked", function()
    local tab = world:connect { user = "anna" }
    tab:heard()
    anna:send { type = "history" }
    local heard = anna:heard()[1]
    assert.same({ 50, 11, 60, 11 }, { #heard.messages, heard.messages[1].seq, heard.messages[50].seq, heard.before_seq })
    assert.same({}, (tab:heard()))
  end)

  it("pages back to the beginning", function()
    anna:send { type = "history", before_seq = 11, limit = 10 }
    local heard = anna:heard()[1]
    assert.same({ 10, "m1" }, { #heard.messages, heard.messages[1].content })
    assert.is_nil(heard.before_seq)
  end)

  it("is an empty array when there is nothing", function()
    local eve = world:connect { user = "eve" }
    eve:heard()
    eve:send { type = "history" }
    local _, raw = eve:heard()
    assert.matches('"messages":%[%]', raw[1])
  end)

  it("says so when the store fails", function()
    world.store_fails = true
    anna:send { type = "history" }
    assert.equal("DATABASE_ERROR", anna:heard()[1].error.code)
  end)
end)
