-- chat.log: a script's lines in the server's log.
local scene = require "spec.support.scene"

local function lines(body)
  scene.log()
  assert(scene.run(body .. " return 1"))
  return table.concat(scene.log(), "\n")
end

describe("chat.log", function()
  after_each(scene.close)

  it("writes a line of each level, with fields and the version of the scripts", function()
    for _, level in ipairs { "debug", "info", "warn", "error" } do
      local text = lines("chat.log." .. level .. "('it is ' .. 'so', { text = 'a b', number = 1.5, whole = 3, yes = true })")
      assert.matches(level .. " script it is so ", text, 1, true)
      for _, field in ipairs { "text=a b", "number=1.5", "whole=3", "yes=true" } do
        assert.matches(" " .. field, text, 1, true)
      end
      assert.matches(" version=%x%x%x%x%x%x%x%x%x%x%x%x", text)
    end
    assert.matches("info script plain version=", lines "chat.log.info 'plain'", 1, true)
    assert.matches("info script plain version=", lines "chat.log.info('plain', nil)", 1, true)
  end)

  it("takes what print says", function()
    assert.matches("info script a\t1\ttrue version=", lines "print('a', 1, true)", 1, true)
  end)

  it("refuses what is no field", function()
    local function refused(body, why)
      local values, message = scene.run(body)
      assert.is_nil(values, body)
      assert.matches(why, message, 1, true)
    end
    refused("chat.log.info()", "bad argument #1 to 'info' (string expected")
    refused("chat.log.info('x', 5)", "bad argument #2 to 'info' (table expected")
    refused("chat.log.warn('x', { 'y' })", "chat.log: field names are texts")
    refused("chat.log.error('x', { y = {} })", "chat.log: field y is a text, a number or a boolean")
    refused("local t = {} for i = 1, 17 do t['f' .. i] = i end chat.log.debug('x', t)", "chat.log: at most 16 fields")
    refused([[chat.log.info "x\xff"]], "chat.log: not UTF-8 at byte 2")
    refused([[chat.log.info("x", { y = "\xe2\x82" })]], "y: not UTF-8 at byte 1")
    refused([[chat.log.info("x", { ["\xe2"] = "y" })]], "chat.log: the name of a field: not UTF-8 at byte 1")
    assert.is_string(lines "local t = {} for i = 1, 16 do t['f' .. i] = i end chat.log.debug('x', t)")
  end)
end)
