-- lua_table.c: insert and sort leave behind what LuaJIT's own would, and can be ended.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"
local ours = chatbox.tables

local function outcome(fn, ...)
  local results = { pcall(fn, ...) }
  if not results[1] then return "error: " .. tostring(results[2]):gsub("^[^ ]+:%d+: ", "") end
  return "fine"
end

local function drawn(most, kinds)
  local list = {}
  for i = 1, math.random(0, most) do
    list[i] = kinds == 1 and math.random(1, 9) or kinds == 2 and math.random() or ("k"):rep(math.random(0, 3)) .. math.random(99)
  end
  return list
end

local function copy(list)
  local other = {}
  for k, v in pairs(list) do other[k] = v end
  return other
end

describe("table.insert and table.sort", function()
  after_each(scene.close)

  it("leave what LuaJIT's own leave", function()
    math.randomseed(tonumber(os.getenv "SPEC_SEED") or 20260302)
    for round = 1, 3000 do
      local list = drawn(round % 40, round % 3)
      local other = copy(list)
      local arguments = ({ {}, { "x" }, { math.random(-5, 50), "x" }, { "2", "x" }, { 1.5, "x" }, { 1, nil }, { 1, 2, 3 },
        { {}, "x" } })[math.random(8)]
      local count = math.random(#arguments, 3)
      assert.equal(outcome(table.insert, list, unpack(arguments, 1, count)),
        outcome(ours.insert, other, unpack(arguments, 1, count)))
      assert.same(list, other)
    end
    for round = 1, 3000 do
      local list = drawn(round % 60, round % 3)
      local other = copy(list)
      local less = ({ nil, function(a, b) return a > b end })[math.random(2)]
      table.sort(list, less)
      ours.sort(other, less)
      assert.same(list, other)
    end
    for _, arguments in ipairs { { 1 }, { {}, 1 }, { { 1, "x" } }, { { {}, {} } }, { {}, nil }, {} } do
      assert.equal(outcome(table.sort, unpack(arguments)), outcome(ours.sort, unpack(arguments)))
    end
    assert.equal(outcome(table.insert, 1, 1), outcome(ours.insert, 1, 1))
  end)

  it("sorts what comes sorted, turned round or all the same as quickly as anything", function()
    local SHAPES = {
      function(i) return i end, function(i) return -i end, function() return 7 end, function(i) return i % 2 end,
      function(i) return i < 5000 and i or 10000 - i end,
    }
    for _, shape in ipairs(SHAPES) do
      local list, compared = {}, 0
      for i = 1, 10000 do list[i] = shape(i) end
      ours.sort(list, function(a, b) compared = compared + 1 return a < b end)
      for i = 2, #list do assert.is_true(list[i - 1] <= list[i]) end
      assert.is_true(compared < 600000, compared .. " comparisons")
    end
  end)

  it("loses no element when the comparison raises, or makes no sense", function()
    for _, less in ipairs { function() error "no" end, function() return true end, function() return math.random(2) == 1 end,
        rawequal } do
      local list = {}
      for i = 1, 100 do list[i] = i end
      pcall(ours.sort, list, less)
      table.sort(list)
      for i = 1, 100 do assert.equal(i, list[i]) end
    end
  end)

  it("refuses to go deeper than the stack of the server allows", function()
    local heard = scene.run [[
      local function deeper() table.sort({ 1, 2 }, deeper) return false end
      local ok, why = pcall(deeper)
      return ok, why:match "[^:]*$" ]]
    assert.is_false(heard[1])
  end)
end)
