local fake = require "spec.support.fake_chat"

describe("check", function()
  local check = fake.new({ app = false }).require "lib.check"

  -- The clean value of one field, or nil and what is wrong.
  local function try(spec, value)
    local request = {}
    local wrong = check.compile { field = spec }({ field = value }, request)
    return request.field, wrong
  end

  local RULE, SHAPE = "Message validation failed: field ", "Invalid message format: field "

  for _, case in ipairs {
    -- spec, value, clean value, what is wrong
    { "string 1..3", " a ", "a" },
    { "string 1..3", "a\0b", "ab" },
    { "string 1..3", "éa", "éa" },
    { "string 1..3", "éé", nil, RULE .. "must be 1 to 3 bytes" },
    { "string 1..3", " ", nil, RULE .. "must be 1 to 3 bytes" },
    { "string 1..3", nil, nil, RULE .. "is required" },
    { "string 1..3", 1, nil, SHAPE .. "must be a string" },
    { "string 1..3", true, nil, SHAPE .. "must be a string" },
    { "string 1..3", {}, nil, SHAPE .. "must be a string" },
    { "string? 0..3", nil, nil },
    { "string? 0..3", "", nil },
    { "string? 0..3", "abcd", nil, RULE .. "must be at most 3 bytes" },
    { "string?", ("x"):rep(10000), ("x"):rep(10000) },
    { "string?", ("x"):rep(10001), nil, RULE .. "must be at most 10000 bytes" },
    { "token? 1..4", " a ", " a " },
    { "token? 1..4", "", nil, RULE .. "must be 1 to 4 bytes" },
    { "token? 1..4", "abcde", nil, RULE .. "must be 1 to 4 bytes" },
    { "token? 1..4", "a\0b", nil, RULE .. "must not contain control characters" },
    { "token? 1..4", 1, nil, SHAPE .. "must be a string" },
    { "url 1..40", " https://a.example/b ", "https://a.example/b" },
    { "url 1..40", "http://a.example/b", nil, "Invalid file URL: field not https" },
    { "url 1..40", "https://a.example/" .. ("b"):rep(40), nil, RULE .. "must be 1 to 40 bytes" },
    { "url 1..40", {}, nil, SHAPE .. "must be a string" },
    { "integer? 1..10", 10, 10 },
    { "integer? 1..10", 0, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", 1.5, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", math.huge, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", 0 / 0, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", "5", nil, SHAPE .. "must be a number" },
    { "one? of user ai", "ai", "ai" },
    { "one? of user ai", "", nil },
    { "one? of user ai", "of", nil, RULE .. "must be one of: user ai" },
    { "one? of user ai", 1, nil, SHAPE .. "must be a string" },
    { "time?", "2026-03-02T15:00:01Z", "2026-03-02T15:00:01Z" },
    { "time?", "2026-03-02T15:00:01.123456+01:00", "2026-03-02T15:00:01.123456+01:00" },
    { "time?", "2026-03-02T15:01:00Z", "2026-03-02T15:01:00Z" },
    { "time?", "", nil },
    { "time?", "yesterday", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", "2026-02-30T15:00:01Z", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", "2026-03-02T15:00:01", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", 1772463600000, nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "map? 2", { a = " b ", c = 12345678901 }, { a = "b", c = "12345678901" } },
    { "map? 2", { a = true, b = 1.5 }, { a = "true", b = "1.5" } },
    { "map? 2", {}, nil },
    { "map? 2", { a = "", b = "", c = "" }, nil, RULE .. "must have at most 2 keys" },
    { "map? 2", { a = {} }, nil, SHAPE .. "must hold strings, numbers and booleans" },
    { "map? 2", { a = math.huge }, nil, SHAPE .. "must hold strings, numbers and booleans" },
    { "map? 2", { "a" }, nil, SHAPE .. "must be an object" },
    { "map? 2", "a", nil, SHAPE .. "must be an object" },
    { "map? 2", { a = ("x"):rep(1001) }, nil, RULE .. "must have keys of at most 255 and values of at most 1000 bytes" },
    { "map? 2", { [("x"):rep(256)] = "" }, nil, RULE .. "must have keys of at most 255 and values of at most 1000 bytes" },
  } do
    local spec, value, clean, wrong = case[1], case[2], case[3], case[4]
    it(("%-15s %s -> %s"):format(spec, tostring(value):sub(1, 30), tostring(wrong or clean):sub(1, 50)), function()
      local got, message = try(spec, value)
      assert.same(clean, got)
      assert.equal(wrong, message)
    end)
  end

  it("copies nothing that is not declared", function()
    local request = {}
    check.compile { a = "string" }({ a = "x", user = "root", session = 1, connection = 2 }, request)
    assert.same({ a = "x" }, request)
  end)

  it("does not change the message", function()
    local message = { a = " x ", m = { k = 1 } }
    check.compile { a = "string", m = "map" }(message, {})
    assert.same({ a = " x ", m = { k = 1 } }, message)
  end)

  it("refuses a spec it does not know while the scripts load", function()
    assert.has_error(function() check.compile { a = "strnig 1..2" } end, "field a: unknown kind in 'strnig 1..2'")
    assert.has_error(function() check.compile { a = "string 1-2" } end, "bounds such as 1..100 expected, got '1-2'")
  end)
end)
