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

    it("keeps an empty array an array, and null in its place in one", function()
      for _, text in ipairs { "[]", '{"a":[]}', "[[],{}]", "[null,1,null]", '[{"a":[null]}]' } do
        assert.equal(text, json.encode(json.decode(text)))
      end
      assert.equal(json.null, json.decode("[1,null]")[2])
      assert.equal("{}", json.encode(json.decode '{"a":null}'))
    end)

    it("says where the fault is", function()
      local function why(text) return select(2, json.decode(text)) end
      assert.equal("neither , nor } at byte 9", why '{"a":1  x}')
      assert.equal("half of a surrogate pair at byte 3", why '"a\\ud800"')
      assert.equal("not UTF-8 at byte 3", why '"a\xc3"')
      assert.equal("a control character in a string at byte 3", why '"a\nb"')
      for _, text in ipairs { "01", "1.", ".5", "1e", "+1", "-", "1.e5", '"\\u12g4"', '"\\', "[1,]", '{"a":}', "tru",
        "\xef\xbb\xbf1", "1 2" } do
        assert.matches(" at byte %d+$", why(text))
      end
    end)

    it("gives a member's bytes as they stand in the text, and names where half a character stands", function()
      local value, raw, halved = json.decode('{"b":1, "metadata" : { "id":1234567890123456789,"x":"\\ud800" } ,"c":2}', "metadata")
      assert.same({ "\xef\xbf\xbd", 2, nil }, { value.metadata.x, value.c, halved })
      assert.equal('{ "id":1234567890123456789,"x":"\\ud800" }', raw)
      assert.equal("content", select(3, json.decode('{"content":"\\udc00x","metadata":{}}', "metadata")))
      assert.same({ n = 2 }, { n = select("#", json.decode('{"a":{"metadata":1}}', "metadata")) - 1 })
      assert.is_nil((select(2, json.decode('{"a":{"metadata":1}}', "metadata"))))
      assert.is_nil((select(2, json.decode('{"metadata":1,"metadata":null}', "metadata"))))
      assert.equal("2", (select(2, json.decode('{"metadata":1,"metadata":2}', "metadata"))))
    end)

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
      assert.equal("9007199254740992", json.encode(2 ^ 53))
      assert.equal("-9007199254740992", json.encode(-2 ^ 53))
      assert.equal("[0,-0,2147483647,2147483648,-2147483648,-2147483649]",
        json.encode { 0, -1 / math.huge, 2147483647, 2147483648, -2147483648, -2147483649 })
    end)

    it("writes as many digits as bring a number back", function()
      assert.equal("[0.1,0.30000000000000004,1e+300,4.94065645841247e-324,1.5]", json.encode { 0.1, 0.1 + 0.2, 1e300, 5e-324, 1.5 })
      for i = 1, 2000 do
        local n = math.sin(i) * 10 ^ (i % 600 - 300)
        assert.equal(n, json.decode(json.encode(n)))
      end
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

    it("says what it cannot say, and where", function()
      local long = ("x"):rep(2000000)
      for why, value in pairs {
        ["at .items[3].name: a function has no place in JSON"] = { items = { 1, 2, { name = print } } },
        ['at .a["b c"]: not UTF-8 at byte 2'] = { a = { ["b c"] = "x\xff" } },
        ["at .a: not UTF-8 at byte 1"] = { a = { ["\xff"] = 1 } },
        ["at .list: a list with holes has no place in JSON (json.null fills one)"] = { list = { 1, nil, 3 } },
        ["a list with holes has no place in JSON (json.null fills one)"] = { [5] = 1 },
        ["at [1]: a table with both a list and named fields has no place in JSON"] = { { 1, 2, x = 3 } },
        ["at .a: NaN has no place in JSON"] = { a = 0 / 0 },
        ["at .a: an infinity has no place in JSON"] = { a = -math.huge },
        ["the keys of a JSON object are strings, not boolean"] = { [true] = 1 },
        ["more than 1 MiB of text"] = { a = long },
        ["a list with holes has no place in JSON (json.null fills one) "] = json.array { 1, nil, 3, nil, nil, 6 },
        ["a table with both a list and named fields has no place in JSON "] = json.array { x = 1 },
      } do
        local ok, said = pcall(json.encode, value)
        assert.is_false(ok)
        assert.matches("json.encode: " .. why:gsub(" $", ""), said, 1, true)
      end
      assert.equal("[1,null,3]", json.encode { 1, json.null, 3 })
      assert.equal("{}", json.encode { a = json.null })
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
