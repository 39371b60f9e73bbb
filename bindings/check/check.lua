-- In: the scripts of a folder, what the server gives them, the names that are global. Out: what is wrong with them, as
-- "path:line: text", and what can only be told once they are loaded.
-- Why: a misspelt name in a handler shows when somebody says the word that leads there. Everything reported here is
-- certain: it would raise, or never be reached. Embedded, trusted:
--     check { syntax, files = { { name, path, text } }, functions = { ["chat.log.info"] = "message string" }, globals,
--       settings = { JWT_SECRET = "secret", RATE_LIMIT = "" } }
--     -> { "scripts/x.lua:3: …" }, { { module, field, place } }
local input = ...
local find, format = string.find, string.format

local findings, needs = {}, {}
local path -- of the script that is being read

local function report(line, text, ...)
  local last, said = findings[#findings], format(text, ...)
  if not last or last.path ~= path or last.line ~= line or last.text ~= said then
    findings[#findings + 1] = { path = path, line = line, text = said, order = #findings }
  end
end

-- What the server gives ----------------------------------------------------------------------------------------------

-- "name string, n? number" -> 1, 2
local function bounds(arguments)
  local least, most = 0, 0
  for argument in arguments:gmatch "[^,]+" do
    local name = argument:match "^%s*(%S+)"
    most = name == "..." and math.huge or most + 1
    if name ~= "..." and not find(name, "%?$") then
      least = most
    end
  end
  return least, most
end

local functions, methods, modules = {}, {}, { version = true }
for name, arguments in pairs(input.functions) do
  local least, most = bounds(arguments)
  local found = { name = name, least = least, most = most }
  local method = name:match ":(.*)$"
  if method then
    methods[method] = found
  else
    functions[name] = found
    modules[name:match "^chat%.([^.]+)"] = true
  end
end

local function counted(n)
  return n == 1 and "1 argument" or n .. " arguments"
end

-- open: the last one may be any number of values.
local function check_count(fn, count, open, line)
  local least_given = open and count - 1 or count
  if least_given > fn.most or (not open and count < fn.least) then
    local wanted = fn.least == fn.most and counted(fn.least) or fn.least .. " to " .. counted(fn.most)
    report(line, "%s takes %s, not %s%d", fn.name, wanted, open and "at least " or "", least_given)
  end
end

-- What a script mentions ---------------------------------------------------------------------------------------------

local on = {}

function on.global(name, line)
  if rawget(input.globals, name) == nil then
    report(line, "global '%s' does not exist", name)
  end
end

function on.write(name, line)
  report(line, "globals are read-only: cannot set '%s' (is a 'local' missing?)", name)
end

function on.chat(name, line)
  local module, key = name:match "^chat%.([^.]+)%.?([^.]*)$"
  if module and (not modules[module] or (key ~= "" and module ~= "version" and not functions[name])) then
    report(line, "%s does not exist", modules[module] and name or "chat." .. module)
  end
end

function on.set_chat(name, line)
  report(line, "%s is read-only", name)
end

function on.duplicate(key, line, first)
  report(line, "'%s' is there twice, first in line %d: one of them is unreachable", key, first)
end

local function need(value, what)
  needs[#needs + 1] = { module = value.module, field = value.field, place = path .. ":" .. value.line, what = what }
end

local known = { cjson = true }
local calls, mentions -- of "module field" in this script

function on.require(name, line)
  if not known[name] then
    report(line, "module '%s' not found: there is no scripts/%s.lua", name, (name:gsub("%.", "/")))
  end
end

local function check_setting(name, line)
  local known_as = input.settings[name]
  if not known_as then
    report(line, "there is no setting %s", name)
  elseif known_as == "secret" then
    report(line, "%s is secret", name)
  end
end

local function check_limiter(name, line)
  if not (", " .. input.limiters .. ","):find(", " .. name .. ",", 1, true) then
    report(line, "the limiters are %s, not %s", input.limiters, name)
  end
end

local first_argument = { ["chat.config.get"] = check_setting, ["chat.limit.take"] = check_limiter }

function on.call(value, count, open, line, values)
  local fn = value and value.kind == "chat" and functions[value.path]
  if fn then
    check_count(fn, count, open, line)
    local first = values[1]
    if first_argument[fn.name] and first and first.kind == "string" and first.text then
      first_argument[fn.name](first.text, line)
    end
  elseif value and value.kind == "field" and known[value.module] and not value.alias then
    local key = value.module .. " " .. value.field
    calls[key] = calls[key] or {}
    table.insert(calls[key], value)
  end
end

-- Of a module's field: `if m.f then m.f() end` mentions it once more than it calls it, and is no mistake.
function on.field(value)
  local key = value.module .. " " .. value.field
  mentions[key] = (mentions[key] or 0) + 1
end

function on.method(value, name, count, open, line)
  local fn = value and value.kind == "session" and methods[name]
  if fn then
    check_count(fn, count, open, line)
  end
end

-- Routes -------------------------------------------------------------------------------------------------------------

local function text_of(item)
  return item and item.value and item.value.kind == "string" and item.value.text or nil
end

local function flag(route, name)
  return route.named[name] ~= nil
end

-- A handler is there, as far as one can see; otherwise it is asked for when the scripts are loaded.
local function check_handler(item, route, what)
  local value = item and item.value
  if not item or (value and value.kind == "nil") then
    report(item and item.line or route.line, "%s has no handler", what)
  elseif value and value.kind == "field" and known[value.module] then
    need(value, what)
  elseif value and (value.kind == "string" or value.kind == "table") then
    report(item.line, "%s: its handler is a %s", what, value.kind)
  end
end

local function check_messages(routes)
  for kind, item in pairs(routes.named) do
    local route = item.value
    if kind ~= "common" and route and route.kind == "table" then
      if text_of(route.named.rate) then
        check_limiter(text_of(route.named.rate), route.named.rate.line)
      end
      if route.items[1] or not flag(route, "stored") then
        check_handler(route.items[1], route, "route " .. kind)
      end
    end
  end
end

-- Whether every request of the second path is one of the first, too.
local function covers(first, second)
  local a, b = first:gmatch "[^/]+", second:gmatch "[^/]+"
  while true do
    local x, y = a(), b()
    if not x or not y then
      return x == y
    elseif x ~= y and not find(x, "^:") then
      return false
    end
  end
end

local AUTH = { user = true, admin = true }

local function check_endpoints(routes)
  local earlier = {}
  for _, item in ipairs(routes.items) do
    local route = item.value
    if route and route.kind == "table" then
      local method, where = text_of(route.items[1]), text_of(route.items[2])
      local what = (method or "?") .. " " .. (where or "?")
      if method and not find(method, "^[A-Z]+$") then
        report(item.line, "route %s: a method is in capitals", what)
      end
      if where and not find(where, "^/") then
        report(item.line, "route %s is unreachable: a path begins with /", what)
      end
      local auth = text_of(route.named.auth)
      if auth and not AUTH[auth] then
        report(item.line, "route %s: auth is \"user\" or \"admin\"", what)
      end
      if text_of(route.named.limit) then
        check_limiter(text_of(route.named.limit), route.named.limit.line)
      end
      if text_of(route.named.networks) then
        check_setting(text_of(route.named.networks), route.named.networks.line)
      end
      check_handler(route.items[3], route, "route " .. what)
      for _, other in ipairs(method and where and earlier or {}) do
        if other.method == method and covers(other.where, where) then
          report(item.line, "route %s is unreachable: %s in line %d takes it", what, other.where, other.line)
          break
        end
      end
      earlier[#earlier + 1] = { method = method or "", where = where or "", line = item.line }
    end
  end
end

local routes = { routes = check_messages, ["api.routes"] = check_endpoints }

-- All of it ----------------------------------------------------------------------------------------------------------

local function check_file(file)
  path = file.path
  local chunk, why = loadstring(file.text, "@" .. file.path)
  if not chunk or find(file.text, "^\27") then
    local line, text = tostring(why):match "^.-:(%d+): (.*)$"
    return report(tonumber(line) or 1, "%s", text or "this is not a text")
  end
  calls, mentions = {}, {}
  local read, returned = pcall(input.syntax, file.text, on)
  if not read then
    return -- it compiles: what cannot be read here is no mistake of its author
  end
  for key, values in pairs(calls) do
    for _, value in ipairs(mentions[key] == #values and values or {}) do
      need(value, "call")
    end
  end
  if routes[file.name] and returned and returned.kind == "table" then
    routes[file.name](returned)
  end
end

for _, file in ipairs(input.files) do
  known[file.name] = true
end
for _, file in ipairs(input.files) do
  check_file(file)
end
table.sort(findings, function(a, b)
  if a.path ~= b.path then
    return a.path < b.path
  elseif a.line ~= b.line then
    return a.line < b.line
  end
  return a.order < b.order
end)
local lines = {}
for i, finding in ipairs(findings) do
  lines[i] = finding.path .. ":" .. finding.line .. ": " .. finding.text
end
return lines, needs
