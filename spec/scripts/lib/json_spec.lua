local fake = require "spec.support.fake_chat"

describe("json", function()
  local json
  before_each(function()
    json = fake.new({ app = false }).require "lib.json"
  end)

  describe("decode", function()
    it("gives values; null is absent", function()
      assert.same({ a = 1, b = { d = true } }, json.decode '{"a":1,"x":null,"b":{"c":null,"d":true}}')
      assert.same({ content = "null and void" }, json.decode '{"content":"null and void"}')
      assert.equal("x", json.decode '"x"')
    end)

    it("takes the last of duplicate keys", function()
      assert.same({ a = 2 }, json.decode '{"a":1,"a":2}')
    end)

    for _, text in ipairs {
      "", "null", " null ", "{", '{"a":1}x', '{"a":1,}', "[1,2", "'a'", "{a:1}", "NaN", "Infinity", "-Infinity", "0x10", "nul",
      '{"a":NaN}', '"\\ud800"', '"\\x41"', '{"a" 1}', "\0", "{} {}",
    } do
      it("refuses " .. ("%q"):format(text), function()
        local value, why = json.decode(text)
        assert.is_nil(value)
        assert.is_string(why)
      end)
    end

    it("refuses what is nested deeper than 32", function()
      assert.is_table(json.decode(("["):rep(32) .. ("]"):rep(32)))
      assert.is_nil((json.decode(("["):rep(33) .. ("]"):rep(33))))
      assert.is_nil((json.decode(('{"a":'):rep(100000) .. "1" .. ("}"):rep(100000))))
    end)

    it("refuses more than 50000 values, and does not count what stands in strings", function()
      assert.is_nil((json.decode("[" .. ("{},"):rep(50000) .. "1]")))
      local many = ('[{,"\\'):rep(60000):gsub('["\\]', "\\%0")
      assert.same({ content = ('[{,"\\'):rep(60000) }, json.decode('{"content":"' .. many .. '"}'))
    end)
  end)

  describe("encode", function()
    it("keeps an empty array an array and an empty object an object", function()
      assert.equal('{"list":[]}', json.encode { list = json.array {} })
      assert.equal("[[],{}]", json.encode(json.array { json.array {}, {} }))
      assert.equal("[]", json.encode(json.array {}))
      assert.equal("{}", json.encode {})
    end)

    it("writes scalars, nested values and ready text", function()
      assert.equal('"a\\"\\u0000é"', json.encode 'a"\0é')
      assert.equal("[true,false,1,-2.5]", json.encode { true, false, 1, -2.5 })
      assert.equal('{"a":{"b":[{"c":1}]}}', json.encode { a = { b = { { c = 1 } } } })
      assert.equal('{"a":[1,2]}', json.encode { a = json.raw "[1,2]" })
    end)

    it("keeps every digit of a whole number", function()
      assert.equal("9007199254740991", json.encode(2 ^ 53 - 1))
      assert.equal("1772463600123", json.encode(1772463600123))
    end)

    it("comes back the same", function()
      local value = { s = "a\n\\/\"", n = { 1, 2, { x = "y" } }, b = false }
      assert.same(value, json.decode(json.encode(value)))
    end)

    it("raises for what JSON cannot say", function()
      local cycle = {}
      cycle.self = cycle
      for _, value in ipairs { print, 0 / 0, math.huge, { print }, { [1.5] = 1 }, { [true] = 1 }, cycle } do
        assert.is_false(pcall(json.encode, value))
      end
    end)

    it("stops at 50000 values: nested {t,t} cannot blow up", function()
      local t = {}
      for _ = 1, 25 do
        t = { t, t }
      end
      local ok, why = pcall(json.encode, t)
      assert.is_false(ok)
      assert.matches("more than 50000 values", why)
    end)
  end)
end)
