-- In: the place where a page of a list ended. Out: a word for it that a client gives back to get the next page; and the
-- place again. Why: a list goes on from a place and never counts from its beginning. Who changes the word only asks for
-- another place in a list that is his to see anyway; one that is none is refused.
local cursor = {}

local BYTES_MAX = 2048

local function hex(text)
  return (text:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local function plain(digits)
  return (digits:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

--- order: what the list is sorted by; a cursor is good for that order only.
---@param order string
---@param place { id: string, start_ms: number, value?: number, now_ms?: number, user_id?: string }
---@return string
function cursor.write(order, place)
  return ("%s~%.0f~%.0f~%.0f~%s~%s"):format(
    order,
    place.value or 0,
    place.start_ms,
    place.now_ms or 0,
    place.id,
    hex(place.user_id or "")
  )
end

--- nil when it is no cursor, or one of another order.
---@param order string
---@param text string
---@return table? place
function cursor.read(order, text)
  if #text > BYTES_MAX then
    return nil
  end
  local of, value, start_ms, now_ms, id, user =
    text:match "^([%w_]+)~(%-?%d+)~(%-?%d+)~(%d+)~([0-9a-f]+)~([0-9a-f]*)$"
  if of ~= order or #id ~= 32 or #user % 2 ~= 0 or #value > 16 or #start_ms > 16 or #now_ms > 15 then
    return nil
  end
  local place = { id = id, value = tonumber(value), start_ms = tonumber(start_ms), now_ms = tonumber(now_ms) }
  if math.abs(place.value) > 8e15 or math.abs(place.start_ms) > 8e15 then
    return nil
  end
  place.user_id = plain(user)
  return not place.user_id:find("%z") and place or nil
end

return cursor
