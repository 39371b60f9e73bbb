-- In: what an endpoint declares about the parameters of its URL. Out: a function that reads them, and their schema.
-- Why: what counts as a number or a time, what is wrong with one, and what the description says of it, is the same for
-- every endpoint. A parameter is { name, spec, what it is for }; an empty one counts as absent, one that is not UTF-8
-- is refused. A spec is
--     text 255          at most so many bytes ("text 255 characters": the contract's word for them in the error)
--     integer 1..100 = 100   a whole number; = what is taken when it is absent. 1.. has no end
--     leading 1..1000 = 100  as the reference reads numbers: the digits it begins with, and what does not fit counts as
--                            absent
--     offset 10000      likewise, from 0; further than that a list goes on with a cursor
--     one of a b = a    one of these words; "field of" says "field" in the error, which is the contract
--     any of a b        one of these words, or as if it were absent
--     flag              true, or anything else for false
--     time first        RFC 3339, or a day such as 2026-03-02: its first millisecond ("last": its last one); in ms
--     cursor            the next_cursor of an earlier answer; lib/cursor reads it
-- What is wrong is said of the first one in the order of the declaration.
local json = require "lib.json"
local text = require "lib.text"

local query = {}

local DAY_MS = 24 * 60 * 60 * 1000
local EXACT_MAX = 2 ^ 53
local CURSOR_MAX = 2048 -- bytes
local SHOWN = 100 -- bytes of a wrong word in the error
local parse_time = chat.timer.parse_iso

-- Each kind makes, of the words behind it: a function(text) -> value, or nil and what is wrong; its schema; what is
-- taken when it is absent. nil alone is as if it were absent.
local kinds = {}

local function whole(words)
  local low, high, default = words:match "^(%d+)%.%.(%d*)%s*=?%s*(%d*)$"
  low, high, default = tonumber(low), tonumber(high), tonumber(default)
  return low, high, default, { type = "integer", minimum = low, maximum = high, default = default }
end

local function choices(words)
  local list, known = json.array {}, {}
  local named, default = words:match "^of (.-)%s*=%s*(%S+)$"
  for word in (named or words:gsub("^of ", "")):gmatch "%S+" do
    list[#list + 1], known[word] = word, true
  end
  return known, list, default
end

-- The digits it begins with.
local function leading(given)
  return tonumber(given:match "^%s*([+-]?%d+)")
end

function kinds.text(_, words)
  local most, unit = words:match "^(%d+)%s*(%a*)$"
  most = tonumber(most)
  local wrong = ("exceeds maximum length of %d %s"):format(most, unit ~= "" and unit or "bytes")
  return function(given, name)
    if #given > most then
      return nil, name .. " " .. wrong
    end
    return given
  end, { type = "string", maxLength = most }
end

function kinds.integer(_, words)
  local low, high, default, schema = whole(words)
  local wrong = (" must be a whole number from %d"):format(low) .. (high and (" to %d"):format(high) or "")
  return function(given, name)
    local value = given:find "^%d+$" and tonumber(given)
    if not (value and value >= low and value <= (high or EXACT_MAX)) then
      return nil, name .. wrong
    end
    return value
  end, schema, default
end

function kinds.leading(_, words)
  local low, high, default, schema = whole(words)
  return function(given)
    local value = leading(given)
    return value and value >= low and value <= high and value or default
  end, schema, default
end

function kinds.offset(_, words)
  local most = tonumber(words)
  local wrong = (" is at most %d; go on with cursor"):format(most)
  return function(given, name)
    local value = math.max(0, leading(given) or 0)
    if value > most then
      return nil, name .. wrong
    end
    return value
  end, { type = "integer", minimum = 0, maximum = most, default = 0 }, 0
end

function kinds.one(kind, words)
  local known, list, default = choices(words)
  local allowed = table.concat(list, ", ")
  return function(given, name)
    if not known[given] then
      local which = kind == "field" and name .. " field" or name
      return nil, ('invalid %s "%s"; allowed: %s'):format(which, text.cut(given, SHOWN), allowed)
    end
    return given
  end, { type = "string", enum = list, default = default }, default
end
kinds.field = kinds.one

function kinds.any(_, words)
  local known, list = choices(words)
  return function(given)
    return known[given] and given or nil
  end, { type = "string", examples = list }
end

function kinds.flag()
  return function(given)
    return given == "true"
  end, { type = "string", examples = json.array { "true", "false" } }
end

function kinds.time(_, words)
  local last = words == "last"
  return function(given)
    local value = query.time(given, last)
    if not value then
      return nil, "Invalid time format, expected RFC3339"
    end
    return value
  end, { type = "string", examples = json.array { "2026-03-02T15:00:01Z", "2026-03-02" } }
end

function kinds.cursor()
  return function(given, name)
    if #given > CURSOR_MAX then
      return nil, "invalid " .. name
    end
    return given
  end, { type = "string", maxLength = CURSOR_MAX }
end

local function compile_one(parameter)
  local name, spec = parameter[1], parameter[2]
  local kind, words = spec:match "^(%a+)%s*(.*)$"
  local make = kinds[kind] or error("parameter " .. name .. ": unknown kind in '" .. spec .. "'", 0)
  local read, schema, default = make(kind, words)
  return { name = name, read = read, schema = schema, default = default }
end

--- A reader of these parameters: their values by name, or nil and what is wrong with the first bad one.
---@param parameters table[]? { name, spec, what it is for }
---@return fun(given: table<string, string>): table?, string?
function query.compile(parameters)
  local list = {}
  for i, parameter in ipairs(parameters or {}) do
    list[i] = compile_one(parameter)
  end

  return function(given)
    local values = {}
    for i = 1, #list do
      local one = list[i]
      local word = given[one.name]
      if word and word ~= "" then
        if not pcall(json.encode, word) then -- %ff; an answer could not repeat it
          return nil, one.name .. " is not UTF-8"
        end
        local value, wrong = one.read(word, one.name)
        if wrong then
          return nil, wrong
        end
        values[one.name] = value
      else
        values[one.name] = one.default
      end
    end
    return values
  end
end

--- What a parameter may be, for the description.
---@param parameter table
---@return table
function query.schema(parameter)
  return compile_one(parameter).schema
end

--- A time (RFC 3339) or a day (2026-03-02) as ms since 1970: of a day its first millisecond, or its last one. nil when
--- it is neither. A + that stands for itself in a URL arrives as a blank.
---@param given string
---@param last boolean?
---@return number?
function query.time(given, last)
  if given:find "^%d%d%d%d%-%d%d%-%d%d$" then
    local day = parse_time(given .. "T00:00:00Z")
    return day and last and day + DAY_MS - 1 or day
  end
  return parse_time((given:gsub(" (%d%d:%d%d)$", "+%1")))
end

return query
