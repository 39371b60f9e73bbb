-- In: the id of a conversation as somebody sent it. Out: the conversation, if it is theirs and still open.
-- Why: the rule who may use which conversation stands here and nowhere else. An id that is not one of ours (a client's
-- own UUID) is told apart by its shape and costs nothing.
local access = {}

local find, match_id = string.find, "^" .. ("[0-9a-f]"):rep(32) .. "$"

---@param id string
---@return boolean
function access.is_id(id)
  return #id == 32 and find(id, match_id) ~= nil
end

--- The conversation of this user. Waits. nil and why: "UNKNOWN" no such conversation, "UNAUTHORIZED" somebody else's,
--- "NOT_FOUND" it has ended, "DATABASE_ERROR".
---@param id string
---@param user_id string
---@return table? session
---@return string? code
function access.find(id, user_id)
  local session, code = access.read(id, user_id)
  if session and session.end_ms > 0 then
    return nil, "NOT_FOUND"
  end
  return session, code
end

--- The same, for reading: one that has ended counts, too.
---@param id string
---@param user_id string
---@param any boolean? an administrator reads those of others, too
---@return table? session
---@return string? code
function access.read(id, user_id, any)
  if not access.is_id(id) then
    return nil, "UNKNOWN"
  end
  local session, _, code = chat.session.open(id)
  if not session then
    return nil, code == "NOT_FOUND" and "UNKNOWN" or "DATABASE_ERROR"
  elseif any and session.user_id then
    return session
  elseif session.user_id ~= user_id then
    return nil, session.user_id and "UNAUTHORIZED" or "UNKNOWN"
  end
  return session
end

return access
