local fake = require "spec.support.fake_chat"
local slowness = tonumber(os.getenv "SPEC_SLOWNESS") or 1 -- see spec/support/speed.lua

describe("text", function()
  local text = fake.new({ app = false }).require "lib.text"

  it("cleans: no NUL, no white space at the ends, the middle stays", function()
    assert.equal("a b", text.clean " \t\r\n a b\v\f ")
    assert.equal("ab", text.clean "\0a\0b\0")
    assert.equal("a", text.clean " \0 a \0 ")
    assert.equal("", text.clean "")
    assert.equal("", text.clean " \0\n")
    assert.equal("日本", text.clean "日本 ")
  end)

  it("cleans a megabyte of blanks in no time", function()
    local started = os.clock()
    assert.equal("x" .. (" "):rep(1000000) .. "y", text.clean("x" .. (" "):rep(1000000) .. "y"))
    assert.equal("x", text.clean("x" .. (" "):rep(1000000)))
    assert.is_true(os.clock() - started < slowness)
  end)

  it("cuts between characters, never inside one", function()
    assert.equal("abc", text.cut("abc", 3))
    assert.equal("ab", text.cut("abc", 2))
    assert.equal("é", text.cut("éé", 3))
    assert.equal("a", text.cut("a😀", 4))
    assert.equal("a😀", text.cut("a😀b", 5))
    assert.equal("", text.cut("😀", 3))
  end)
end)
