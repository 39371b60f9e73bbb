-- In: a text whose bytes are calls: which function, how many arguments, which values. Out: "intact", when after all of them
-- the world is still the one it was. Why: a sandbox is only as good as what can be reached from it in any order; here
-- everything that can be is called with everything else, results included (sandbox_fuzz.c looks at it from outside).
local NAMES = {
  string = "byte char find format gmatch gsub len lower match rep reverse sub upper",
  table = "concat insert maxn move remove sort",
  math = "abs ceil floor fmod frexp huge ldexp log max min modf pow random randomseed sqrt",
  bit = "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
  os = "clock date difftime time",
  coroutine = "create resume running status wrap yield",
}
local CHAT = {
  connection = "close forward move user wanted",
  config = "allows get",
  guard = "aside suggest watch",
  limit = "take",
  log = "debug",
  metrics = "add count render",
  scripts = "report",
  session = "method open",
  shared = "add delete get set",
  store = "history ready session sessions",
  timer = "duration iso now parse_iso sleep",
}
local METHODS = "add_response_time add_tokens append close commit flush offer send set times"
local cjson = require "cjson"

local functions = {
  assert, error, getmetatable, ipairs, next, pairs, pcall, rawequal, rawget, rawset, select, setmetatable, tonumber,
  tostring, type, unpack, xpcall, require, cjson.encode, cjson.decode,
  function(t, k) return t[k] end,
  function(t, k, v) t[k] = v end,
  function(a, b) return a .. b end,
  function(a, b) return a + b, a < b, #a end,
  function(f, ...) return f(...) end,
}
local libraries = { string, table, math, bit, os, coroutine, chat, cjson }

local function add(library, names)
  for name in names:gmatch "%S+" do
    functions[#functions + 1] = library[name]
  end
end
for name, names in pairs(NAMES) do
  add(({ string = string, table = table, math = math, bit = bit, os = os, coroutine = coroutine })[name], names)
end
for name, names in pairs(CHAT) do
  libraries[#libraries + 1] = chat[name]
  add(chat[name], names)
end

local before = { string.find, string.rep, table.sort, pcall, require, coroutine.resume, chat.timer.now, cjson.encode }

local function intact()
  local now = { string.find, string.rep, table.sort, pcall, require, coroutine.resume, chat.timer.now, cjson.encode }
  for i = 1, #before do
    if before[i] ~= now[i] then return "a library has changed: " .. i end
  end
  if ("x").rep ~= string.rep or ("ab"):find "b" ~= 2 or getmetatable "" ~= false then return "texts have changed" end
  for _, name in ipairs { "io", "debug", "jit", "ffi", "package", "load", "loadstring", "getfenv", "newproxy", "_G" } do
    if pcall(function() return require(name) end) then return name .. " can be loaded" end
  end
  if pcall(function() undeclared = 1 end) or pcall(function() return undeclared end) then return "globals are open" end
  if pcall(rawset, string, "x", 1) or pcall(setmetatable, string, {}) then return "libraries are open" end
  return "intact"
end

local function pool(session, connection)
  local evil = setmetatable({}, { __index = function() error "index" end, __tostring = function() return {} end,
    __lt = function() return true end, __concat = function() return "c" end, __call = function(_, ...) return ... end })
  local values = {
    session, connection, nil, true, false, 0, 1, -1, 2, 3.5, 1e15, 2 ^ 53, -1e300, 0 / 0, 1 / 0, "", "a", "x y", "\0",
    "%a+", "(", "%", "[", "%b()", "(.-)%1", ("x"):rep(1000), ("ab"):rep(70000), "name", "id", "sender", "user", "*t", "n", "k",
    '{"a":[1,null]}', "5ms", "1h", "init", "cjson", {}, { 1, 2, 3 }, { 3, 1, 2, n = 3 }, { sender = "ai", type = "t", content = "c" },
    { name = "n" }, { to = connection }, { limit = 3, session_id = session.id, user_id = "u" }, evil, cjson.null,
    function(...) return ... end, function() error "no" end, function() error {} end, function(a, b) return a, b end,
    function() return chat.timer.sleep(1) end, coroutine.create(function(...) coroutine.yield(...) return 1 end),
    coroutine.wrap(function() chat.timer.sleep(1) end),
  }
  local count = 55
  for _, library in ipairs(libraries) do count = count + 1 values[count] = library end
  for _, fn in ipairs(functions) do count = count + 1 values[count] = fn end
  for name in METHODS:gmatch "%S+" do count = count + 1 values[count] = session[name] end
  return values, count
end

local function run(session, connection, text)
  local values, count = pool(session, connection)
  local at, made = 1, 0
  local function take()
    at = at + 1
    return (text:byte(at - 1) or 0) + (text:byte(at) or 0) % 2 * 128
  end
  while at < #text and made < 200 do
    local fn = values[take() % count + 1]
    local arguments, n = {}, take() % 5
    for i = 1, n do arguments[i] = values[take() % count + 1] end
    local ok, first, second = pcall(fn, unpack(arguments, 1, n))
    values[made % 50 + 3] = first
    values[(made + 1) % 50 + 3] = ok and second or nil
    made = made + 1
  end
end

return {
  message = function(session, text, connection)
    if text == "intact?" then
      session:send('"' .. intact() .. '"')
    else
      run(session, connection, text)
    end
  end,
  connect = function() end,
  http = function() return {} end,
  failed = function() end,
  refused = function() end,
}
