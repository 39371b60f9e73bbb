-- In: a parameter of a URL, a text. Out: its value, or nil. Why: what counts as a number or a time in a URL is the same
-- for every endpoint.
local query = {}

local DAY_MS = 24 * 60 * 60 * 1000
local parse_time = chat.timer.parse_iso

--- A whole number from low to high; default when it is absent or empty; nil when it is none.
---@param text string?
---@param default number
---@param low number
---@param high number
---@return number?
function query.number(text, default, low, high)
  if text == nil or text == "" then
    return default
  end
  local value = text:find "^%d+$" and tonumber(text)
  return value and value >= low and value <= high and value or nil
end

--- As the reference reads numbers: the digits it begins with.
---@param text string?
---@return number?
function query.leading(text)
  return text and tonumber(text:match "^%s*([+-]?%d+)") or nil
end

--- A time (RFC 3339) or a day (2026-03-02) as ms since 1970: of a day its first millisecond, or its last one. nil when
--- it is neither. A + that stands for itself in a URL arrives as a blank.
---@param text string
---@param last boolean?
---@return number?
function query.time(text, last)
  if text:find "^%d%d%d%d%-%d%d%-%d%d$" then
    local day = parse_time(text .. "T00:00:00Z")
    return day and last and day + DAY_MS - 1 or day
  end
  return parse_time((text:gsub(" (%d%d:%d%d)$", "+%1")))
end

return query
