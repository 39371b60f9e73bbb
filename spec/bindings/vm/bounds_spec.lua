-- docs/bounds.md: everything a script can call is called with what nobody should give it, and each call keeps to its
-- budget. The functions are found by walking the sandbox itself, so that a new one cannot be forgotten.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

if chatbox.sanitizer == "thread" then
  describe("every function", function() pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one" end)
  return
end

-- values[i]() makes a fresh one; calls[i] is a list of them. A message calls from where the one before was ended.
local CASE = [[
local cjson = require "cjson"
local long, words = ("x"):rep(15000000), ("%c%s(a*)b-"):rep(100)
local function loop() while true do end end
local made = {} -- the large ones: once a message
local function once(name, make)
  return function() made[name] = made[name] or make() return made[name] end
end
local shared = once("shared", function() local t = {} for i = 1, 8000 do t[i] = long end return t end)
local numbers = once("numbers", function() local t = {} for i = 1, 20000 do t[i] = i * 7919 % 20011 end return t end)
local function holes() return { 1, nil, 3, [7] = 1, [1e6] = 2, [2^31] = 3, [-5] = 4, [0.5] = 5 } end
local function itself() local t = {} t[1], t.t, t[t] = t, t, t return t end
local function nested() local t = { 1 } for _ = 1, 40 do t = { t, t } end return t end
local function hostile()
  return setmetatable({ 3, 1, 2 }, { __index = loop, __newindex = loop, __call = loop, __tostring = loop, __lt = loop,
    __le = loop, __eq = loop, __concat = loop, __len = loop, __unm = loop, __add = loop })
end
local function chain()
  local t = {}
  for _ = 1, 200 do t = setmetatable({}, { __index = t, __newindex = t }) end
  return t
end
local function is(value) return function() return value end end
local function none() return nil end

local SMALL = { none, is(true), is(0), is(-1), is(3), is(0 / 0), is(1 / 0), is(-1 / 0), is(2 ^ 31), is(-2 ^ 31), is(-2e9),
  is(2 ^ 53), is(1e308), is(0.5), is "", is "a", is "%", is "-1", is(words), is(long), function() return {} end, numbers,
  holes, itself, nested, shared, hostile, chain, is(loop), is(rawequal), is(string.rep), is(print), is(cjson.null),
  function() return coroutine.create(loop) end, is(cjson) }
local THIRD = { is(-2e9), is(2 ^ 31), is(1e15), is(long), is(loop), hostile, is(string.find) }

local calls = {}
for i, a in ipairs(SMALL) do
  calls[#calls + 1] = { a }
  for j, b in ipairs(SMALL) do
    if (i + j) % STRIDE == 0 then calls[#calls + 1] = { a, b } end
  end
end
for i, a in ipairs(SMALL) do
  for j, c in ipairs(THIRD) do
    if (i + j) % STRIDE == 0 then
      calls[#calls + 1] = { a, SMALL[(i * 7 + j * 5) % #SMALL + 1], c }
      calls[#calls + 1] = { a, THIRD[(i + j) % #THIRD + 1], c, THIRD[j % #THIRD + 1] }
    end
  end
end
calls[#calls + 1] = {} -- nothing at all

local function found(path, session)
  local method = path:match "^session:(.*)$"
  if method then return session[method], session end
  local value = nil
  for name in path:gmatch "[^.]+" do
    if value == nil then
      value = name == "string" and string or name == "table" and table or name == "math" and math or name == "bit" and bit
        or name == "os" and os or name == "coroutine" and coroutine or name == "chat" and chat or name == "cjson" and cjson
        or plain[name]
    else
      value = value[name]
    end
  end
  return value
end

local at
return {
  at = function() return at end,
  go = function(session, _, rest)
    local path, from = rest:match "^(%S+) (%d+)$"
    local fn, own = found(path, session)
    made = {}
    for i = tonumber(from), #calls do
      at = i
      local arguments, count = {}, #calls[i]
      for k = 1, count do arguments[k] = calls[i][k]() end
      if own then pcall(fn, own, unpack(arguments, 1, count)) else pcall(fn, unpack(arguments, 1, count)) end
    end
    at = #calls + 1
    return #calls
  end,
} ]]

-- All pairs of arguments take a minute; some of them are drawn otherwise.
local SLOW = os.getenv "SPEC_GC" or chatbox.sanitizer
local STRIDE = os.getenv "SPEC_LONG" and 1 or SLOW and 17 or 5

local BUDGET_MS, LATE_MS = 50, 50 -- of processor time

-- The globals that are functions themselves, by name: a script cannot index its environment.
local function case(names)
  local plain = {}
  for _, name in ipairs(names) do
    if not name:find "[.:]" then plain[#plain + 1] = name .. " = " .. name end
  end
  return "local STRIDE, plain = " .. STRIDE .. ", { " .. table.concat(plain, ", ") .. " }\n" .. CASE
end

local function reachable()
  local names = {}
  for name in scene.case("return {}"):reachable():gmatch "[^\n]+" do names[#names + 1] = name end
  scene.close()
  return names
end

local function rows()
  local file = assert(io.open "docs/bounds.md")
  local text = file:read "*a"
  file:close()
  local found = {}
  for line in text:gmatch "\n|([^\n]*)" do
    for name in (line:match "^([^|]*)" or ""):gmatch "`([^`]+)`" do found[name] = true end
  end
  return found
end

local names = reachable()

describe("docs/bounds.md", function()
  it("has a row for everything a script can call, and for nothing else", function()
    local listed, used = rows(), {}
    for _, name in ipairs(names) do
      local family = name:gsub("[^.:]+$", "*")
      local row = listed[name] and name or listed[family] and family
      assert.is_truthy(row, "docs/bounds.md says nothing of " .. name)
      used[row] = true
    end
    for row in pairs(listed) do assert.is_truthy(used[row], "docs/bounds.md tells of " .. row .. ", which nobody can call") end
  end)
end)

describe("every function", function()
  local world, limit
  setup(function()
    limit = BUDGET_MS + LATE_MS * scene.slowness
    world = scene.case(case(names), { SCRIPT_SLICE_BUDGET = BUDGET_MS .. "ms", SCRIPT_WAIT_DEADLINE = "100ms",
      SCRIPT_ALLOCATION_LIMIT = "16MiB" }) -- harder to keep to than the default
  end)
  teardown(scene.close)

  -- What came of the calls from that one on, up to the first that is ended: its number, its processor time, what was said.
  local function go(name, from)
    local alice = world:connect "alice"
    local began = chatbox.cpu_ms()
    alice:sends("go " .. name .. " " .. from)
    local used = chatbox.cpu_ms() - began
    world:advance "1s"
    local heard = alice:hears_all()
    alice:sends "at"
    local at = alice:hears()
    if name == "session:ask" then world:cancel() end -- it waits for the user as long as he likes
    assert.equal(0, world:tasks())
    alice:leave()
    return type(at) == "table" and at[1] or from, used, heard[#heard]
  end

  for _, name in ipairs(names) do
    it("keeps to its budget, whatever it is given: " .. name, function()
      local from, count = 1, nil
      while not count do
        local where, used, last = go(name, from)
        for _ = 1, SLOW and 0 or 4 do -- what takes too long takes too long again; what another process did to it does not
          if used <= limit then break end
          used = select(2, go(name, where))
        end
        if not SLOW then
          assert.is_true(used <= limit, ("%s: call %d took %d ms of %d"):format(name, where, used, limit))
        end
        if type(last) == "table" and not last.failed and type(last[1]) == "number" then count = last[1] end
        from = where + 1
      end
      assert.is_true(count > 1000 / STRIDE)
    end)
  end
end)
