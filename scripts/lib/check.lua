-- In: what a route says about its fields ("string 1..10000"). Out: a function that checks a decoded message and copies
-- what was declared, clean, into the request. Nothing undeclared gets through.
-- Why: specs are compiled once, while the scripts load; per message there is a loop over ready functions. Lengths are
-- bytes of UTF-8 (reference, 1.3). A spec is a kind, a ? when the field may be absent, and bounds:
--     string 1..10000   cleaned: no NUL, no white space at the ends; "" counts as absent where the bounds allow it
--     token 1..128      a client's own mark, taken exactly as it is; no control characters
--     url 1..2048       https, not a private address (lib/url)
--     integer 1..1000   a whole number
--     one of user ai    one of these words
--     time              RFC 3339, at most a minute ahead of our clock
--     object a=string 1..9, b=integer?   object with these fields; others in it are not looked at
--     map 64            object of strings; at most 64 keys; other scalars become strings
local text = require "lib.text"
local url = require "lib.url"

local check = {}

local SHAPE, RULE = "Invalid message format", "Message validation failed"
local KEY_MAX, VALUE_MAX = 255, 1000 -- bytes in a map

local DOT = string.byte "."

local AHEAD_MS = 60000 -- clocks differ

local clean, parse_time, now = text.clean, chat.timer.parse_iso, chat.timer.now
local find, floor, format = string.find, math.floor, string.format
local next, tostring, type = next, tostring, type

-- Each kind is a maker: (words of the spec after the kind) -> function(value) -> clean value, or nil, message.
-- A clean value of false means: as if it were absent. What json.reader can check by itself is said behind it.
local kinds = {}

local function bounds(words, low, high)
  local from, to = words:match "^(%d+)%.%.(%d+)$"
  if not from and words ~= "" then
    error("bounds such as 1..100 expected, got '" .. words .. "'", 0)
  end
  return tonumber(from) or low, tonumber(to) or high
end

local function length_text(low, high)
  return low == 0 and "must be at most " .. high .. " bytes" or "must be " .. low .. " to " .. high .. " bytes"
end

function kinds.string(words)
  local low, high = bounds(words, 0, 10000)
  local wrong = length_text(low, high)
  return function(value)
    if type(value) ~= "string" then
      return nil, "must be a string", SHAPE
    end
    value = clean(value)
    if #value < low or #value > high then
      return nil, wrong
    end
    return value ~= "" and value
  end, "string", low, high
end

function kinds.token(words)
  local low, high = bounds(words, 1, 128)
  local wrong = length_text(low, high)
  return function(value)
    if type(value) ~= "string" then
      return nil, "must be a string", SHAPE
    elseif #value < low or #value > high then
      return nil, wrong
    elseif find(value, "%c") then
      return nil, "must not contain control characters"
    end
    return value
  end, "token", low, high
end

function kinds.url(words)
  local string = kinds.string(words)
  return function(value)
    local cleaned, why, family = string(value)
    if not cleaned then
      return cleaned, why, family
    end
    local ok, reason = url.check(cleaned)
    if not ok then
      return nil, reason, "Invalid file URL"
    end
    return cleaned
  end
end

function kinds.integer(words)
  local low, high = bounds(words, 0, 2 ^ 53)
  local wrong = format("must be a whole number from %.0f to %.0f", low, high)
  return function(value)
    if type(value) ~= "number" then
      return nil, "must be a number", SHAPE
    elseif not (value >= low and value <= high) or value ~= floor(value) then
      return nil, wrong
    end
    return value
  end
end

function kinds.one(words)
  local choices = {}
  for word in words:gsub("^of ", ""):gmatch "%S+" do
    choices[word] = true
  end
  local wrong = "must be one of: " .. words:gsub("^of ", "")
  return function(value)
    if type(value) ~= "string" then
      return nil, "must be a string", SHAPE
    end
    value = clean(value)
    if value == "" then
      return false
    end
    if not choices[value] then
      return nil, wrong
    end
    return value
  end
end

function kinds.time()
  return function(value)
    if value == "" then
      return false
    end
    local ms = type(value) == "string" and parse_time(value)
    if not ms then
      return nil, "must be a time such as 2026-03-02T15:00:01Z", SHAPE
    elseif ms > now() + AHEAD_MS then
      return nil, "must not be more than a minute ahead"
    end
    return value
  end
end

local function scalar(value)
  local kind = type(value)
  if kind == "string" then
    return clean(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "number" and value - value == 0 then -- not an infinity
    return value == floor(value) and format("%.0f", value) or format("%.14g", value)
  end
end

function kinds.map(words)
  local most = tonumber(words) or 64
  local wrong = "must have at most " .. most .. " keys"
  return function(value)
    if type(value) ~= "table" then
      return nil, "must be an object", SHAPE
    end
    local copy, count = {}, 0
    for key, item in next, value do
      local plain = scalar(item)
      if type(key) ~= "string" then
        return nil, "must be an object", SHAPE
      elseif plain == nil then
        return nil, "must hold strings, numbers and booleans", SHAPE
      end
      count, key = count + 1, clean(key)
      if count > most then
        return nil, wrong
      elseif #key > KEY_MAX or #plain > VALUE_MAX then
        return nil, "must have keys of at most " .. KEY_MAX .. " and values of at most " .. VALUE_MAX .. " bytes"
      end
      copy[key] = plain
    end
    return count > 0 and copy
  end
end

local compile_one

function kinds.object(words)
  local fields = {}
  for part in (words .. ","):gmatch "%s*(.-)%s*," do
    local name, spec = part:match "^([%a_]+)=(.+)$"
    fields[#fields + 1] = compile_one(name or error("field=spec expected, got '" .. part .. "'", 0), spec)
  end
  return function(value)
    if type(value) ~= "table" then
      return nil, "must be an object", SHAPE
    end
    local copy = {}
    for _, field in ipairs(fields) do
      local item = value[field.name]
      local cleaned, why, family = nil, nil, nil
      if item ~= nil then
        cleaned, why, family = field.check(item)
      end
      if why then
        return nil, "." .. field.name .. " " .. why, family
      elseif cleaned then
        copy[field.name] = cleaned
      elseif not field.optional then
        return nil, "." .. field.name .. " is required"
      end
    end
    return copy
  end
end

function compile_one(name, spec)
  local kind, optional, words = spec:match "^(%a+)(%??)%s*(.-)%s*$"
  local make = kinds[kind] or error("field " .. name .. ": unknown kind in '" .. spec .. "'", 0)
  local fn, plain, low, high = make(words)
  return { name = name, optional = optional == "?", check = fn, plain = plain, low = low, high = high }
end

--- A checker for these fields. It copies them from `message` into `request` and returns nothing, or the text of what is
--- wrong with the first bad one. Behind it: the fields, for json.reader and check.others.
---@param fields table<string, string> name -> spec
---@return fun(message: table, request: table): string?
---@return table[] list
function check.compile(fields)
  local list = {}
  for name, spec in next, fields do
    list[#list + 1] = compile_one(name, spec)
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  local count = #list

  return function(message, request)
    for i = 1, count do
      local field = list[i]
      local value = message[field.name]
      if value ~= nil then
        local cleaned, why, family = field.check(value)
        if cleaned then
          request[field.name] = cleaned
        elseif why then
          local where = why:byte() == DOT and field.name .. why or field.name .. " " .. why
          return (family or RULE) .. ": " .. where
        elseif not field.optional then
          return RULE .. ": " .. field.name .. " is required"
        end
      elseif not field.optional then
        return RULE .. ": " .. field.name .. " is required"
      end
    end
  end,
    list
end

--- Copies what json.reader has not checked into the request. false: something is wrong, and check.compile says what.
---@param list table[]
---@param others table<string, any> name -> value
---@param request table
---@return boolean
function check.others(list, others, request)
  for i = 1, #list do
    local field = list[i]
    local value = others[field.name]
    if value ~= nil then
      local cleaned, why = field.check(value)
      if cleaned then
        request[field.name] = cleaned
      elseif why or not field.optional then
        return false
      end
    end
  end
  return true
end

return check
