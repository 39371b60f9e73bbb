-- In: the C modules, cjson and string functions of ours, the bundle of scripts, the tag of our own yields.
-- Out: the world a script lives in.
-- Why: a script is written by somebody who knows the conversation, not the server. It gets what it needs and nothing to
-- hurt a neighbour with: no files, no processes, no debug, no bytecode, no environment but this one. Libraries are
-- userdata whose metatable is hidden, so that neither rawset nor table.insert nor next can reach what lies behind them.
-- This chunk is trusted, sees the whole of LuaJIT and runs once per VM: sandbox(internal) -> { require, env }.
local internal = ...

local PIECE = 8192 -- values that C goes through in one go
local DATE_MAX = 256 -- bytes of a format of os.date

local cocreate, coresume, coyield = coroutine.create, coroutine.resume, coroutine.yield
local costatus, corunning = coroutine.status, coroutine.running
local concat, insert, remove = table.concat, table.insert, table.remove
local math_min = math.min
local error, getmetatable, load, pcall, select, setmetatable = error, getmetatable, load, pcall, select, setmetatable
local newproxy, next, pairs, tonumber, tostring, type = newproxy, next, pairs, tonumber, tostring, type
local find, format, sub = string.find, string.format, string.sub
local date, seconds = os.date, os.time
local describe, inside = internal.describe or tostring, internal.inside or function() end
local suggest = internal.suggest or function() return "" end
local unpack = unpack
local getinfo, rawget, xpcall = debug.getinfo, rawget, xpcall

-- A `for` loop over LuaJIT's own next is an instruction of its own, which the compiler of 2.1.0-beta3 gets wrong now
-- and then: such a loop may never end. One over any other function is compiled right. Interpreted, both are.
if internal.compiles and jit.version == "LuaJIT 2.1.0-beta3" then
  local own = next
  next = function(table, key)
    return own(table, key)
  end
  pairs = function(table)
    if type(table) ~= "table" then
      error("bad argument #1 to 'pairs' (table expected, got " .. type(table) .. ")", 2)
    end
    return next, table
  end
end

-- Copies the named fields of a library. A name that is missing in this LuaJIT stays away.
local function pick(library, names)
  local picked = {}
  for name in names:gmatch "%S+" do
    picked[name] = library[name]
  end
  return picked
end

-- By those of ours.
local function replace(library, functions)
  for name, fn in pairs(functions) do
    library[name] = fn
  end
  return library
end

-- What a script sees of a table: it can read it, and that is all.
local function sealed(table, name)
  local proxy = newproxy(true)
  local meta = getmetatable(proxy)
  meta.__index = table
  meta.__newindex = function(_, key)
    error(name .. " is read-only: cannot set " .. tostring(key), 2)
  end
  meta.__tostring = function()
    return name
  end
  meta.__metatable = false
  return proxy
end

-- Protected calls ----------------------------------------------------------------------------------------------------
-- A handler that is ended meets the error again behind each protected call it is in, so there are not too many of them
-- inside one another. The handler of xpcall runs after the stack is unwound, as ordinary code: one that loops can be
-- stopped like any other loop.

local nesting = internal.nesting
local protect, release = nesting.protect, nesting.release

local function released(before, ...)
  release(before)
  return ...
end

local function protected(fn, ...)
  local before = protect()
  if not before then
    return false, "too many protected calls inside one another"
  end
  return released(before, pcall(fn, ...))
end

local function handled(handler, ok, ...)
  if ok then
    return true, ...
  end
  local _, message = protected(handler, (...))
  return false, message
end

local function xpcall_after(fn, handler, ...)
  return handled(handler, protected(fn, ...))
end

-- Strings ------------------------------------------------------------------------------------------------------------
-- C code cannot be interrupted, so what it makes in one go is bounded.

local strings = pick(string, "byte len sub")
replace(replace(strings, internal.strings), internal.numbers.string)
local text_max = internal.text_max -- bytes

-- A __tostring may take long; string.format would call all of them in one go.
function strings.format(pattern, ...)
  local bytes = type(pattern) == "string" and #pattern or 0
  local count, made = select("#", ...), nil
  for i = 1, count do
    local value = select(i, ...)
    local kind = type(value)
    if kind == "table" or kind == "userdata" then
      made = made or { ... }
      value = tostring(value)
      made[i] = value
    end
    if type(value) == "string" then
      bytes = bytes + #value
    end
  end
  if bytes * 4 > text_max then -- %q makes up to four bytes of one
    error("string.format: the result would be over " .. text_max .. " bytes (SCRIPT_ALLOCATION_LIMIT)", 2)
  end
  if made then
    return format(pattern, unpack(made, 1, count))
  end
  return format(pattern, ...)
end

-- ("x"):rep(n) must find the bounded one as well.
debug.setmetatable("", { __index = strings, __metatable = false })

-- Tables and dates ---------------------------------------------------------------------------------------------------

local tables = pick(table, "maxn move remove")
replace(tables, internal.tables)

function tables.concat(list, separator, from, to)
  if type(list) ~= "table" or #list <= PIECE then
    return concat(list, separator, from, to)
  end
  local first, last = tonumber(from) or 1, tonumber(to) or #list
  local pieces = {}
  for at = first, last, PIECE do
    insert(pieces, concat(list, separator, at, math_min(at + PIECE - 1, last)))
  end
  return concat(pieces, separator)
end

local dates = pick(os, "clock difftime")

function dates.time(fields)
  if type(fields) ~= "table" then
    return seconds(fields)
  end
  local read = {}
  for name in ("year month day hour min sec isdst"):gmatch "%a+" do
    local value = fields[name]
    read[name] = type(value) == "string" and tonumber(value) or value -- each in a step of its own
  end
  return seconds(read)
end

function dates.date(pattern, time)
  if type(pattern) == "string" and #pattern > DATE_MAX then
    error("os.date: the format is longer than " .. DATE_MAX .. " bytes", 2)
  end
  return date(pattern, time)
end

-- Coroutines ---------------------------------------------------------------------------------------------------------
-- A script may have coroutines of its own. When a function of ours waits inside one, the yield belongs to the server:
-- resume passes it outward and brings the answer back in. Coroutines of the server are out of reach.

local TAG = internal.yield_tag
local WAITING = -1
local own = setmetatable({}, { __mode = "k" }) -- WAITING, or how many protected calls are on its stack
local coroutines = {}
local enter, back = nesting.resume, nesting.back
local run

local function relay(co, before, ok, first, ...)
  local nested = back(before)
  if ok and first == TAG then
    local where = inside()
    if where then
      error("cannot wait inside " .. where, 0)
    end
    own[co] = WAITING
    return run(co, nested, coyield(first, ...))
  end
  own[co] = nested
  return ok, first, ...
end

function run(co, nested, ...)
  local before = enter(nested)
  if not before then
    return false, "too many coroutines inside one another"
  end
  return relay(co, before, coresume(co, ...))
end

function coroutines.create(fn)
  local co = cocreate(fn)
  own[co] = 0
  return co
end

function coroutines.resume(co, ...)
  local state = own[co]
  if state == nil then
    error("bad argument #1 to 'resume' (coroutine of this script expected)", 2)
  elseif state == WAITING then
    return false, "cannot resume a coroutine that waits for the server"
  end
  return run(co, state, ...)
end

local function unwrap(ok, first, ...)
  if not ok then
    error(first, 0)
  end
  return first, ...
end

function coroutines.wrap(fn)
  local co = coroutines.create(fn)
  return function(...)
    return unwrap(coroutines.resume(co, ...))
  end
end

function coroutines.yield(...)
  local co = corunning()
  if not co or not own[co] then
    error("cannot yield outside a coroutine of this script", 2)
  end
  local where = inside()
  if where then
    error("cannot yield inside " .. where, 2)
  end
  return coyield(...)
end

function coroutines.status(co)
  if own[co] == nil then
    error("bad argument #1 to 'status' (coroutine of this script expected)", 2)
  end
  return costatus(co)
end

function coroutines.running()
  local co = corunning()
  return co and own[co] and co or nil
end

-- Globals ------------------------------------------------------------------------------------------------------------

local globals = pick(
  _G,
  "assert error getmetatable ipairs rawequal rawget rawset select setmetatable tonumber tostring type "
    .. "unpack _VERSION"
)
globals.next, globals.pairs, globals.pcall, globals.xpcall = next, pairs, protected, xpcall_after
globals.string = sealed(strings, "string")
globals.table = sealed(tables, "table")
local maths = pick(
  math,
  "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad "
    .. "random randomseed sin sinh sqrt tan tanh"
)
globals.math = sealed(replace(maths, internal.numbers.math), "math")
local bits = pick(require "bit", "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex")
globals.bit = sealed(replace(bits, internal.numbers.bit), "bit")
globals.os = sealed(dates, "os")
globals.coroutine = sealed(coroutines, "coroutine")

local function strict(table, name)
  return setmetatable(table, {
    __index = function(_, key)
      error(name .. "." .. tostring(key) .. " does not exist" .. suggest(key, table), 2)
    end,
  })
end

-- What takes effect at once does so behind what the slice keeps (session:keep).
local settle = internal.settle or function() end
local function settled(module, ...)
  for _, name in pairs { ... } do
    local fn = module and module[name]
    if fn then
      module[name] = function(...)
        settle()
        return fn(...)
      end
    end
  end
end
settled(internal.chat.shared, "set", "add", "delete")
settled(internal.chat.connection, "move", "forward")

local chat = {}
for name, value in pairs(internal.chat) do
  local full = "chat." .. name
  chat[name] = type(value) == "table" and sealed(strict(value, full), full) or value
end
globals.chat = sealed(strict(chat, "chat"), "chat")

function globals.print(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  internal.chat.log.info(concat(words, "\t"))
end

-- Nobody can wait inside a function of C: whoever tries is told which one.
local names = {}
for library, functions in pairs { string = strings, table = tables, os = dates } do
  for name, fn in pairs(functions) do
    names[fn] = library .. "." .. name
  end
end
for name, fn in pairs(globals) do
  if type(fn) == "function" then
    names[fn] = name
  end
end

setmetatable(globals, {
  __index = function(_, name)
    error("global '" .. tostring(name) .. "' does not exist", 2)
  end,
})

-- Empty on purpose: every write to a global comes to __newindex, also a write to one that exists.
local env = setmetatable({}, {
  __index = globals,
  __newindex = function(_, name)
    error("globals are read-only: cannot set '" .. tostring(name) .. "' (is a 'local' missing?)", 2)
  end,
  __metatable = false,
})

-- Modules ------------------------------------------------------------------------------------------------------------
-- Everything is loaded before the first message, so that an error in any module shows when the scripts are checked and
-- not in the middle of a conversation.

local loaded = { cjson = sealed(pick(internal.cjson, "decode encode null array raw reader template"), "cjson") }
local loading = {} -- names, outermost first
local order = {} -- modules in the order they were loaded

local function path_of(name)
  return "scripts/" .. name:gsub("%.", "/") .. ".lua"
end

-- What was raised, and where a script was then: assert does not say it, nor does an error that is a table. This runs
-- on top of the error, where nothing can be ended, so it calls nobody.
local function raised(value)
  if type(value) == "string" and find(value, "^scripts/[^:]+:%d+: ") then
    return value
  end
  for level = 2, 50 do
    local info = getinfo(level, "Sl")
    if not info then
      break
    elseif info.currentline > 0 and find(info.source, "@scripts/", 1, true) == 1 then
      return { value = value, place = sub(info.source, 2) .. ":" .. info.currentline .. ": " }
    end
  end
  return { value = value, place = "" }
end

-- The same as a text.
local function told(what)
  if type(what) ~= "table" then
    return what
  end
  return what.place .. describe(what.value)
end

local function load_module(name)
  if loaded[name] ~= nil then
    return loaded[name]
  end
  for i = 1, #loading do
    if loading[i] == name then
      return nil, "module cycle: " .. concat(loading, " -> ", i) .. " -> " .. name
    end
  end
  local text = internal.source(name)
  if not text then
    local legal = name:find "^[%w_%-%.]+$" and not ("." .. name .. "."):find("..", 1, true)
    return nil, "module '" .. name .. "' not found: there is no " .. (legal and path_of(name) or "file of that name")
  end
  local chunk, syntax = load(text, "@" .. path_of(name), "t", env)
  if not chunk then
    error(syntax, 0)
  end
  insert(loading, name)
  local before = protect()
  local ok, result = before, "too many modules inside one another"
  if before then
    ok, result = released(before, xpcall(chunk, raised, name))
  end
  remove(loading)
  if not ok then
    error(told(result), 0)
  end
  if result == nil then
    result = true
  end
  loaded[name] = result
  insert(order, { name = name, module = result })
  return result
end

function globals.require(name)
  if type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
  end
  if loaded[name] == nil and #loading == 0 then
    error("module '" .. name .. "' is not loaded: require it at the top of a file, not inside a handler", 2)
  end
  local module, why = load_module(name)
  if why then
    error(why, 2)
  end
  return module
end

-- For C, which may load at any time.
local function require_first(name)
  local module, why = load_module(name)
  if why then
    error(why, 0)
  end
  return module
end

-- Self tests ---------------------------------------------------------------------------------------------------------
-- A module that has a function self_test is asked before it answers anybody. It raises what is wrong, or returns false,
-- or nil and why; nothing can be sent or stored from it, for there is nobody to answer yet.

local tested = 0 -- of those in `order`

-- What it returned when that says that it has failed, else nil.
local function failure(test, count, first, why)
  if first == false or (first == nil and count > 1 and why ~= nil) then
    local info = getinfo(test, "S")
    local reason = why ~= nil and ": " .. describe(why) or ""
    return sub(info.source, 2) .. ":" .. info.linedefined .. ": it returned " .. tostring(first) .. reason
  end
end

local function verdict(test, ok, ...)
  if not ok then
    return told((...))
  end
  return failure(test, select("#", ...), ...)
end

local function self_test()
  while tested < #order do
    tested = tested + 1
    local entry = order[tested]
    local test = type(entry.module) == "table" and rawget(entry.module, "self_test")
    if type(test) == "function" then
      local why = verdict(test, xpcall(test, raised))
      if why then
        error(why .. " (self_test of " .. entry.name .. ")", 0)
      end
    end
  end
end

return { require = require_first, env = env, globals = globals, names = names, self_test = self_test }
