-- In: text of strangers. Out: the same, clean and short enough, never cut inside a character.
local text = {}

local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub

--- Without NUL bytes and without white space at both ends. What is clean already is not copied.
---@param value string
---@return string
function text.clean(value)
  if find(value, "\0", 1, true) then
    value = gsub(value, "%z", "")
  end
  local first, last = byte(value, 1), byte(value, -1)
  if first and (first <= 32 or last <= 32) then
    local from = find(value, "%S")
    if not from then
      return ""
    end
    local to = #value
    while find(value, "^%s", to) do -- backwards by hand: a pattern for it is quadratic in runs of blanks
      to = to - 1
    end
    return sub(value, from, to)
  end
  return value
end

--- The longest beginning of at most `bytes` bytes that ends between two characters of UTF-8.
---@param value string
---@param bytes integer
---@return string
function text.cut(value, bytes)
  if #value <= bytes then
    return value
  end
  while bytes > 0 do
    local following = byte(value, bytes + 1)
    if following < 0x80 or following >= 0xC0 then
      break
    end
    bytes = bytes - 1
  end
  return sub(value, 1, bytes)
end

return text
