-- In: JSON text, or Lua values. Out: the other.
-- Why: scripts/ has one place that knows JSON. The codec is the server's own (bindings/vm/json.h): it is bounded in
-- depth, in the number of values and in bytes, because C code that runs cannot be interrupted; what JSON cannot say
-- raises, with the place in the value.
local codec = require "cjson"

local json = {}

local decode, encode = codec.decode, codec.encode

--- null inside an array. In an object null is absence: such a field is not there.
json.null = codec.null

--- Marks t as an array: it is written as [] even when it is empty. One that was decoded is marked already.
---@generic T : table
---@param t T
---@return T
json.array = codec.array

--- Marks a text that is JSON already: it is written as it is.
---@param text string
---@return table
json.raw = codec.raw

--- What makes documents that differ in a few values: a function(first, second, ...) -> text, or nil and why. The text
--- is head .. first .. '"', then `,"name":value` for each of the names whose value is not nil, then
--- tail .. second .. '"}'. head, tail, first and second stand there as they are.
---@param head string
---@param tail string
---@param ... string names of fields, at most 32
---@return fun(first: string, second: string, ...: any): string?, string?
json.template = codec.template

--- What reads messages of declared kinds, without a table of all of it: a function(text) -> type, the value of each
--- of three columns (or nil), and a table of the other declared fields that are there, unchecked (or nil). nil when the
--- text is in any way out of the ordinary; then json.decode has to look at it.
---@param columns string[] three names of fields
---@param kinds table<string, table> type -> what check.compile says of its fields
---@return fun(text: string): string?, string?, string?, string?, table?
json.reader = codec.reader

--- The value of a JSON text; nil and the reason when it is none. A field that is null is absent.
---
--- With the name of a member: also the bytes of that member of the outermost object, as they stand in the text, and the
--- name of another member in which half of a surrogate pair stands ("\\ud800"). Such a half is U+FFFD in the value;
--- without a name it is an error.
---@param text string
---@param member? string
---@return any value
---@return string? why or the bytes of the member
---@return string? halved
function json.decode(text, member)
  local value, why, halved = decode(text, member)
  if value == json.null then
    return nil, "null"
  end
  return value, why, halved
end

--- The JSON text of a value. Raises for what JSON cannot say, with its place: functions, NaN, bytes that are no text,
--- lists with holes, tables with both a list and named fields, cycles; and for too much of it.
---@param value any
---@return string
function json.encode(value)
  local text, why = encode(value)
  return text or error("json.encode: " .. why, 2)
end

--- The same, but nil and the reason in place of raising.
---@param value any
---@return string? text
---@return string? why
json.try = encode

return json
