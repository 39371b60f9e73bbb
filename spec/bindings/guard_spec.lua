-- guard.c: whatever a handler does, it ends within its budget and hurts one message.
local scene = require "spec.support.scene"

describe("a handler that never ends", function()
  after_each(scene.close)

  it("is ended", function()
    local world = scene.case([[ return {
      loop = function() while true do end end,
      caught = function() while true do pcall(function() while true do end end) end end,
      fine = function() return "fine" end,
    } ]])
    local alice = world:connect "alice"
    for _, word in ipairs { "loop", "caught" } do
      local heard = alice:asks(word)
      assert.matches("SCRIPT_SLICE_BUDGET", heard.failed)
      print(table.concat(scene.log(), "\n"))
      assert.same({ "fine" }, alice:asks "fine")
    end
  end)
end)
