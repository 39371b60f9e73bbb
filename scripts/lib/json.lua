-- In: JSON text, or Lua values. Out: the other.
-- Why: the only file that uses cjson, which writes an empty array as {} and cuts whole numbers to 14 digits. Here an
-- array is an array: json.array marks one, so that [] stays []. null is absent, in both directions. Both ways are
-- bounded in depth and in the number of values visited, because C code that runs cannot be interrupted.
local cjson = require "cjson"

local json = {}

local DEPTH_MAX = 32
local VALUES_MAX = 50000
local SMALL = 64 * 1024 -- bytes; a text of this size cannot hold more than 32768 values

local decode, quote, null = cjson.decode, cjson.encode, cjson.null
local concat, floor, format = table.concat, math.floor, string.format
local find, gsub = string.find, string.gsub
local getmetatable, next, setmetatable, type = getmetatable, next, setmetatable, type

local ARRAY, RAW = {}, {} -- metatables of what is marked

--- Marks t as an array: it is written as [] even when it is empty.
---@generic T : table
---@param t T
---@return T
function json.array(t)
  return setmetatable(t, ARRAY)
end

--- Marks a text that is JSON already: it is written as it is.
---@param text string
---@return table
function json.raw(text)
  return setmetatable({ text }, RAW)
end

local function drop_nulls(t)
  for key, value in next, t do
    if value == null then
      t[key] = nil
    elseif type(value) == "table" then
      drop_nulls(value)
    end
  end
end

-- An upper bound of the values in a text: what opens and what separates, outside strings.
local function count_values(text)
  local outside = gsub(gsub(text, "\\.", ""), '"[^"]*"', "")
  return 1 + #gsub(outside, "[^%[{,]+", "")
end

--- The value of a JSON text; nil and the reason when it is none. A field that is null is absent.
---@param text string
---@return any value
---@return string? why
function json.decode(text)
  if #text > SMALL and count_values(text) > VALUES_MAX then
    return nil, "more than " .. VALUES_MAX .. " values"
  end
  local value, why = decode(text)
  if value == nil then
    return nil, why
  elseif value == null then
    return nil, "null"
  end
  if type(value) == "table" and find(text, "null", 1, true) then
    drop_nulls(value)
  end
  return value
end

local function encode_number(value)
  if value == floor(value) and value > -2 ^ 53 and value < 2 ^ 53 then
    return format("%.0f", value)
  end
  local text, why = quote(value)
  return text or error(why, 0)
end

local put -- forward

local function put_array(value, out, depth)
  out[#out + 1] = "["
  for i = 1, #value do
    if i > 1 then
      out[#out + 1] = ","
    end
    put(value[i], out, depth)
  end
  out[#out + 1] = "]"
end

local function put_object(value, out, depth)
  out[#out + 1] = "{"
  local first = true
  for key, field in next, value do
    if type(key) ~= "string" then
      error("the keys of a JSON object are strings, not " .. type(key), 0)
    end
    out[#out + 1] = (first and "" or ",") .. quote(key) .. ":"
    put(field, out, depth)
    first = false
  end
  out[#out + 1] = "}"
end

function put(value, out, depth)
  out.values = out.values + 1
  if out.values > VALUES_MAX then
    error("more than " .. VALUES_MAX .. " values", 0)
  elseif depth > DEPTH_MAX then
    error("deeper than " .. DEPTH_MAX, 0)
  end
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = quote(value)
  elseif kind == "number" then
    out[#out + 1] = encode_number(value)
  elseif kind == "boolean" then
    out[#out + 1] = value and "true" or "false"
  elseif kind ~= "table" then
    error("a " .. kind .. " has no place in JSON", 0)
  elseif getmetatable(value) == RAW then
    out[#out + 1] = value[1]
  elseif getmetatable(value) == ARRAY or value[1] ~= nil then
    put_array(value, out, depth + 1)
  else
    put_object(value, out, depth + 1)
  end
end

--- The JSON text of a value. Raises for what JSON cannot say: functions, NaN, cycles, too much of it.
---@param value any
---@return string
function json.encode(value)
  if type(value) == "string" then
    return quote(value)
  end
  local out = { values = 0 }
  put(value, out, 0)
  return concat(out)
end

return json
