-- In: the first thing a user says. Out: the name of the conversation, one line of at most 50 bytes.
-- The rule is the reference's (section 5.4): the first sentence of the first line, cut at a word.
local text = require "lib.text"

local MAX, CUT = 50, 47 -- bytes; the difference is the dots

---@param said string
---@return string
local function name(said)
  local line = said:match "^[^\r\n]*"
  local words = text.clean(line:match "^.-[.?!]" or line)
  if words == "" then
    return "New Chat"
  end
  if #words <= MAX then
    return words
  end
  local short = text.cut(words, CUT)
  local space = short:match "^.+() "
  return text.clean(space and short:sub(1, space - 1) or short) .. "..."
end

return name
