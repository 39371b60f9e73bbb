-- In: the text of a script that compiles. Out: its words: kinds, texts and lines; comments and space are gone.
-- Why: the first half of reading a script without running it (check_syntax.lua). Embedded, trusted.
-- Kinds: "name", "number", "string", "op" (operators and keywords), "end" after the last one.
local find, sub, byte = string.find, string.sub, string.byte

local KEYWORDS = {}
for word in
  ("and break do else elseif end false for function if in local nil not or repeat return then true until while"):gmatch
    "%a+"
do
  KEYWORDS[word] = true
end

-- The end of the [[…]] or [=[…]=] that begins at `at`, or nil when none begins there.
local function long_bracket(text, at)
  local _, open, level = find(text, "^%[(=*)%[", at)
  if open then
    local _, close = find(text, "]" .. level .. "]", open + 1, true)
    return close
  end
end

local function quoted(text, at)
  local quote = sub(text, at, at)
  local i = at + 1
  while true do
    i = find(text, "[\\" .. quote .. "]", i)
    if sub(text, i, i) == quote then
      return i
    end
    i = i + 2
  end
end

local function number(text, at)
  local _, to = find(text, "^0[xX][%x%.]+[pP][+-]?%d+[uUlLiI]*", at)
  if not to then
    _, to = find(text, "^0[xX][%x%.]+[uUlLiI]*", at)
  end
  if not to then
    _, to = find(text, "^%d*%.?%d*[eE][+-]?%d+[uUlLiI]*", at)
  end
  if not to then
    _, to = find(text, "^%d*%.?%d*[uUlLiI]*", at)
  end
  return to
end

-- kind, from, to of the word at `at`, which is no space.
local function word_at(text, at)
  local c = sub(text, at, at)
  local _, to = find(text, "^[%a_\128-\255][%w_\128-\255]*", at)
  if to then
    return "name", to
  elseif find(text, "^%.?%d", at) then
    return "number", number(text, at)
  elseif c == '"' or c == "'" then
    return "string", quoted(text, at)
  elseif sub(text, at, at + 1) == "--" then
    return "comment", long_bracket(text, at + 2) or (find(text, "\n", at, true) or #text + 1) - 1
  end
  local close = c == "[" and long_bracket(text, at)
  if close then
    return "string", close
  elseif sub(text, at, at + 2) == "..." then
    return "op", at + 2
  elseif find(text, "^%.%.", at) or find(text, "^[=~<>]=", at) or find(text, "^::", at) then
    return "op", at + 1
  end
  return "op", at
end

return function(text)
  local kinds, texts, lines, count = {}, {}, {}, 0
  local at, line, counted = 1, 1, 1
  if byte(text) == 35 then -- a first line for the shell
    at = find(text, "\n", 1, true) or #text + 1
  end
  while true do
    at = find(text, "%S", at)
    if not at then
      break
    end
    local kind, to = word_at(text, at)
    if kind ~= "comment" then
      while true do -- lines up to here
        local newline = find(text, "\n", counted, true)
        if not newline or newline >= at then
          break
        end
        line, counted = line + 1, newline + 1
      end
      count = count + 1
      kinds[count], texts[count], lines[count] = kind, sub(text, at, to), line
      if kind == "name" and KEYWORDS[texts[count]] then
        kinds[count] = "op"
      end
    end
    at = to + 1
  end
  kinds[count + 1], texts[count + 1], lines[count + 1] = "end", "", line
  return kinds, texts, lines
end
