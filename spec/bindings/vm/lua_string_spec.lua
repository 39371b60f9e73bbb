-- lua_string.c and pattern.c: the pattern functions of a script answer what LuaJIT's own answer, and can be ended.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"
local ours = chatbox.strings

-- ThreadSanitizer keeps a stack of its own, from which nothing is taken when an error leaves C.
local ROUNDS = chatbox.sanitizer == "thread" and 1000 or os.getenv "SPEC_LONG" and 2000000 or 40000

-- A result or an error as one text, without the place of the error.
local function outcome(fn, ...)
  local results = { pcall(fn, ...) }
  if not results[1] then return "error: " .. results[2]:gsub("^[^ ]+:%d+: ", "") end
  for i = 1, #results do results[i] = type(results[i]) .. " " .. tostring(results[i]) end
  return table.concat(results, ", ")
end

local function all_matches(gmatch, text, pattern)
  local found = {}
  for a, b, c in gmatch(text, pattern) do
    found[#found + 1] = tostring(a) .. "|" .. tostring(b) .. "|" .. tostring(c)
    if #found > 50 then break end
  end
  return table.concat(found, ";")
end

local PIECES = { "a", "b", "c", ".", "%a", "%D", "%s", "%w", "%.", "%%", "[ab]", "[^a]", "[a-c]", "[%w_]", "[]]", "[^]-]",
  "[a-]", "[%a-z]", "(", ")", "()", "%1", "%2", "%b()", "%b", "%f[%w]", "%f", "^", "$", "*", "+", "-", "?", "%", "[", "]", " ",
  "(a*)", "(.-)", "%g", "%z", "%x", "%p", "%L" }
local LETTERS = { "a", "b", "c", "A", " ", "1", "_", ".", "(", ")", "]", "-", "%", "\0", "\200", "\n" }

local function draw(from, most)
  local drawn = {}
  for i = 1, math.random(0, most) do drawn[i] = from[math.random(#from)] end
  return table.concat(drawn)
end

describe("the pattern functions", function()
  after_each(scene.close)

  local function same(text, pattern)
    local replacement = ({ "<%0>", "%1", "%2%%", "x%", { a = "1", ab = false }, function(_, b) return b end })[math.random(6)]
    local init, most = math.random(-4, 12), math.random(0, 5)
    local what = ("%q in %q, %d"):format(pattern, text, init)
    assert.equal(outcome(string.find, text, pattern, init), outcome(ours.find, text, pattern, init), "find " .. what)
    assert.equal(outcome(string.match, text, pattern, init), outcome(ours.match, text, pattern, init), "match " .. what)
    assert.equal(outcome(string.find, text, pattern, init, true), outcome(ours.find, text, pattern, init, true), what)
    assert.equal(outcome(string.gsub, text, pattern, replacement), outcome(ours.gsub, text, pattern, replacement),
      "gsub " .. what)
    assert.equal(outcome(string.gsub, text, pattern, replacement, most),
      outcome(ours.gsub, text, pattern, replacement, most), "gsub " .. what)
    assert.equal(outcome(all_matches, string.gmatch, text, pattern), outcome(all_matches, ours.gmatch, text, pattern),
      "gmatch " .. what)
  end

  it("answer as LuaJIT's own do, for whatever pattern and text", function()
    math.randomseed(tonumber(os.getenv "SPEC_SEED") or 20260302)
    for _ = 1, ROUNDS do same(draw(LETTERS, 12), draw(PIECES, 6)) end
  end)

  it("answer the same for what is long, numbers included", function()
    for _, pattern in ipairs { "(a+)(b*)", ".-b", "a*$", ("a?"):rep(20) .. ("a"):rep(20), ("(a)"):rep(33), ("(a)"):rep(32) } do
      same(("a"):rep(1000) .. "b", pattern)
    end
    for _, name in ipairs { "find", "match", "gsub" } do
      assert.equal(outcome(string[name], 1213, 1, 5), outcome(ours[name], 1213, 1, 5))
      assert.equal(outcome(string[name], 12), outcome(ours[name], 12))
      assert.equal(outcome(string[name], {}, "a", "b"), outcome(ours[name], {}, "a", "b"))
    end
    assert.equal(outcome(string.gsub, "a", "a"), outcome(ours.gsub, "a", "a"))
    assert.equal(outcome(string.gsub, "a", "a", function() return {} end), outcome(ours.gsub, "a", "a", function() return {} end))
    assert.equal(outcome(all_matches, string.gmatch, 1213, 1), outcome(all_matches, ours.gmatch, 1213, 1))
  end)
end)

describe("what makes a text of a text, or of numbers", function()
  local function same(name, theirs, mine, ...)
    assert.equal(outcome(theirs, ...), outcome(mine, ...), name)
  end

  it("answers as LuaJIT's own does", function()
    math.randomseed(tonumber(os.getenv "SPEC_SEED") or 20260302)
    for _ = 1, 2000 do
      local text, separator = draw(LETTERS, 40), draw(LETTERS, 3)
      for _, name in ipairs { "reverse", "upper", "lower" } do same(name, string[name], ours[name], text) end
      local times = ({ -1, 0, 0.9, 1, 2.7, 3, 17, "5", 0 / 0, -1 / 0 })[math.random(10)]
      same("rep", string.rep, ours.rep, text, times)
      same("rep", string.rep, ours.rep, text, times, separator)
    end
    local long = ("a Bc1\0\200Z"):rep(20011)
    for _, name in ipairs { "reverse", "upper", "lower" } do
      same(name, string[name], ours[name], long)
      same(name, string[name], ours[name], 12)
      same(name, string[name], ours[name], {})
      same(name, string[name], ours[name])
    end
    for length = 1, 40000, 3331 do
      local part = long:sub(1, length)
      same("rep", string.rep, ours.rep, part, 11)
      same("rep", string.rep, ours.rep, part, 7, "--")
    end
    same("rep", string.rep, ours.rep, "abc", 99991)
    same("rep", string.rep, ours.rep, "", 70001, "xy")
    same("rep", string.rep, ours.rep, 12, 3, 4)
    same("rep", string.rep, ours.rep, "x")
    same("rep", string.rep, ours.rep, {}, 2)
    same("rep", string.rep, ours.rep, "x", 2, {})
  end)

  it("refuses a text that would be too long", function()
    assert.matches("over 16777216 bytes", outcome(ours.rep, "ab", 8388609))
    assert.matches("over 16777216 bytes", outcome(ours.rep, "", 1e12))
    assert.matches("over 16777216 bytes", outcome(ours.rep, "x", math.huge))
    assert.equal(16777216, #ours.rep("ab", 8388608))
  end)

  it("counts as LuaJIT's own does", function()
    local numbers = chatbox.numbers
    local values = { 0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, 255, 256, 65, 2^31, -2^31, 2^32 + 5, 2^53, 1e300, -1e300, 1 / 0, -1 / 0,
      0 / 0, "12", "0x10", " 7 ", "x", "", {}, true }
    local all = { { math.max, numbers.math.max }, { math.min, numbers.math.min }, { bit.band, numbers.bit.band },
      { bit.bor, numbers.bit.bor }, { bit.bxor, numbers.bit.bxor }, { string.char, numbers.string.char } }
    for which, pair in ipairs(all) do
      same(which, pair[1], pair[2])
      for _, a in ipairs(values) do
        same(which, pair[1], pair[2], a)
        for _, b in ipairs(values) do
          same(which, pair[1], pair[2], a, b)
          same(which, pair[1], pair[2], 66, a, b)
        end
      end
    end
  end)
end)
