local fake = require "spec.support.fake_chat"

describe("the parameters of a URL", function()
  local world = fake.new { app = false }
  local query = world.require "lib.query"

  local function reads(spec, given, name)
    local values, wrong = query.compile { { name or "p", spec, "what it is for" } } { [name or "p"] = given }
    return values and values[name or "p"], wrong
  end

  it("are read as they are declared, and nothing else is", function()
    local read = query.compile { { "a", "integer 1..9", "" }, { "b", "text 5", "" } }
    assert.same({ a = 3, b = "x" }, read { a = "3", b = "x", c = "y" })
    assert.same({}, read {})
    assert.same({}, query.compile(nil) { a = "3" })
  end)

  it("count as absent when they are empty: then it is the default that counts", function()
    for spec, default in pairs {
      ["integer 1..100 = 7"] = 7, ["leading 1..10 = 5"] = 5, ["one of a b = b"] = "b", ["field of a b = a"] = "a", ["offset 10"] = 0,
    } do
      assert.equal(default, (reads(spec, nil)), spec)
      assert.equal(default, (reads(spec, "")), spec)
    end
    for _, spec in ipairs { "integer 1..", "text 5", "flag", "any of a b", "time first", "cursor" } do
      assert.same({}, { reads(spec, "") }, spec)
    end
  end)

  for spec, cases in pairs {
    ["integer 1..100 = 7"] = { ["1"] = 1, ["100"] = 100, ["007"] = 7 },
    ["integer 1.."] = { ["9007199254740992"] = 2 ^ 53 },
    ["leading 1..10 = 5"] = { ["3"] = 3, ["3x"] = 3, ["0"] = 5, ["-3"] = 5, ["11"] = 5, x = 5, [" 4"] = 4, ["1.9"] = 1 },
    ["offset 10"] = { ["10"] = 10, ["-1"] = 0, x = 0, ["9z"] = 9 },
    ["one of a b = b"] = { a = "a", b = "b" },
    ["any of a b"] = { a = "a" },
    flag = { ["true"] = true, ["false"] = false, yes = false, TRUE = false },
    ["time first"] = { ["2026-03-02"] = 1772409600000, ["2026-03-02T15:00:00Z"] = 1772463600000,
      ["2026-03-02T15:00:00 02:00"] = 1772456400000 },
    ["time last"] = { ["2026-03-02"] = 1772409600000 + 86399999, ["2026-03-02T15:00:00Z"] = 1772463600000 },
  } do
    it("are read: " .. spec, function()
      for given, value in pairs(cases) do
        assert.same({ value }, { reads(spec, given) }, given)
      end
    end)
  end

  it("that are one of several words, and are another, may be as if they were absent", function()
    assert.same({}, { reads("any of a b", "c") })
  end)

  for _, case in ipairs {
    { "integer 1..100 = 7", "p must be a whole number from 1 to 100", "0", "101", "x", "1.5", " 5", "1e2", ("9"):rep(400) },
    { "integer 1..", "p must be a whole number from 1", "0", "-1", "9007199254740994" },
    { "offset 10", "p is at most 10; go on with cursor", "11", "99999999999999999999" },
    { "one of a b = b", 'invalid p "A"; allowed: a, b', "A" },
    { "field of a b = b", 'invalid p field "c"; allowed: a, b', "c" },
    { "text 3", "p exceeds maximum length of 3 bytes", "abcd", "\xc3\xa4\xc3\xa4" },
    { "text 3 characters", "p exceeds maximum length of 3 characters", "abcd" },
    { "time first", "Invalid time format, expected RFC3339", "x", "2026-02-30", "2026", "1772463600" },
    { "cursor", "invalid p", ("x"):rep(2049) },
  } do
    it("are refused: " .. case[1], function()
      for i = 3, #case do
        local value, wrong = reads(case[1], case[i])
        assert.same({ nil, case[2] }, { value, wrong }, case[i])
      end
    end)
  end

  it("say what is wrong with the first bad one, in the order of the declaration", function()
    local read = query.compile { { "b", "integer 1..9", "" }, { "a", "one of x = x", "" } }
    assert.same({ nil, "b must be a whole number from 1 to 9" }, { read { a = "y", b = "z" } })
    assert.same({ nil, 'invalid a "y"; allowed: x' }, { read { a = "y", b = "1" } })
  end)

  it("are refused when they are no text: an answer could not repeat them", function()
    for _, spec in ipairs { "one of a b", "field of a b", "text 10", "any of a b", "flag", "cursor", "time first", "leading 1..9 = 1" } do
      for _, bad in ipairs { "\255", "a\195", "\237\160\128" } do
        assert.same({ nil, "p is not UTF-8" }, { reads(spec, bad) }, spec)
      end
    end
  end)

  it("repeat no more of a wrong word than fits a line", function()
    local _, wrong = reads("one of a = a", ("z"):rep(5000))
    assert.is_true(#wrong < 200)
  end)

  it("are described by what they are read with", function()
    assert.same({ type = "integer", minimum = 1, maximum = 100, default = 7 }, query.schema { "p", "integer 1..100 = 7" })
    assert.same({ type = "integer", minimum = 0, maximum = 10000, default = 0 }, query.schema { "p", "offset 10000" })
    assert.same({ type = "string", maxLength = 255 }, query.schema { "p", "text 255 characters" })
    local schema = query.schema { "p", "one of asc desc = desc" }
    assert.same({ "string", "asc", "desc", "desc" }, { schema.type, schema.enum[1], schema.enum[2], schema.default })
  end)

  it("of every endpoint have a spec that is understood, and say what they are for", function()
    local app = fake.new()
    for _, route in ipairs(app.require "api.routes") do
      for _, parameter in ipairs(route.query or {}) do
        assert.is_table(query.schema(parameter), route[2])
        assert.is_true(#parameter[3] > 0, route[2] .. " " .. parameter[1])
      end
    end
  end)

  it("that are declared wrongly end the start of the scripts", function()
    assert.has_error(function() query.compile { { "p", "number 1..2", "" } } end, "parameter p: unknown kind in 'number 1..2'")
  end)
end)
