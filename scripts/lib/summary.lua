-- In: the record of a conversation as the store has it. Out: what lists say of it (reference, 3.5).
local iso = chat.timer.iso

---@param record table
---@param now number ms
---@return table
return function(record, now)
  local ended = record.end_ms > 0
  local last = record.last_activity_ms > 0 and record.last_activity_ms or record.start_ms
  local admin = record.assisting_admin_name
  local expires = record.share_expires_ms or 0
  local shared = record.share_token and (expires == 0 or expires > now)
  return {
    id = record.id,
    session_id = record.id,
    user_id = record.user_id,
    name = record.name,
    name_damaged = record.name_damaged,
    last_activity = iso(last),
    message_count = record.top,
    unread = record.top - record.read,
    admin_assisted = record.admin_assisted,
    help_requested = record.help_requested,
    start_time = iso(record.start_ms),
    end_time = ended and iso(record.end_ms) or nil,
    is_active = not ended,
    duration = math.max(0, math.floor(((ended and record.end_ms or now) - record.start_ms) / 1000)),
    total_tokens = record.total_tokens,
    max_response_time = record.max_response_ms,
    avg_response_time = record.avg_response_ms,
    assisting_admin_name = admin ~= "" and admin or nil,
    share_token = shared and record.share_token or nil,
    share_expires_at = shared and expires > 0 and iso(expires) or nil,
  }
end
