-- The conversations of a user (reference, 3.5): list them, read one, rename, end, share or delete it. Somebody else's
-- is as unknown as one that does not exist; only administrators read any.
local access = require "lib.access"
local cursor = require "lib.cursor"
local history = require "lib.history"
local json = require "lib.json"
local response = require "lib.response"
local summary = require "lib.summary"
local text = require "lib.text"

local sessions = {}

local SEARCH_PAGE, SEARCH_MAX = 200, 1000 -- conversations looked at for one page of a search
local PAGE_BYTES = 4 * 1024 * 1024
local NAME_MAX = 255 -- bytes
local EXPIRES_MAX_S = 10 * 366 * 24 * 60 * 60
local ORDER = "own"

local iso = chat.timer.iso

-- Those of a page of the list that have it in their name, and the place behind the last one that was looked at; nil
-- when there is nothing behind. Names are encrypted in the store, so it is not the store that searches.
local function search(user_id, wanted, limit, after)
  local found, looked = {}, 0
  wanted = wanted:lower()
  while true do
    local records = chat.store.sessions { user_id = user_id, limit = SEARCH_PAGE, after = after }
    if not records then
      return nil
    end
    for i, record in ipairs(records) do
      after = record
      if record.name:lower():find(wanted, 1, true) then
        found[#found + 1] = record
        if #found == limit then
          return found, (i < #records or #records == SEARCH_PAGE) and after or nil
        end
      end
    end
    looked = looked + #records
    if #records < SEARCH_PAGE then
      return found, nil
    elseif looked >= SEARCH_MAX then
      return found, after
    end
  end
end

local function page(user_id, limit, after)
  local records = chat.store.sessions { user_id = user_id, limit = limit + 1, after = after }
  if not records then
    return nil
  end
  local more = records[limit + 1] ~= nil
  records[limit + 1] = nil
  return records, more and records[limit] or nil
end

--- The newest; ?q= only those with this in their name; next_cursor in the answer is there when there is more.
function sessions.list(request)
  local user_id, asked = request.user.id, request.asked
  local limit, after = asked.limit, asked.cursor and cursor.read(ORDER, asked.cursor)
  if asked.cursor and not after then
    return response.error(400, "invalid cursor")
  end
  local records, last
  if asked.q then
    records, last = search(user_id, asked.q, limit, after)
  else
    records, last = page(user_id, limit, after)
  end
  if not records then
    return response.unavailable()
  end
  local now, list = chat.timer.now(), json.array {}
  for i, record in ipairs(records) do
    list[i] = summary(record, now)
  end
  return response.json(200, {
    user_id = user_id,
    sessions = list,
    count = #list,
    limit = limit,
    truncated = #list == limit or last ~= nil,
    next_cursor = last and cursor.write(ORDER, { id = last.id, start_ms = last.start_ms }) or nil,
  })
end

-- The conversation, or the response that says why not.
local function find(request, id, any)
  local session, code = access.read(id, request.user.id, any)
  if session then
    return session
  end
  return nil, code == "DATABASE_ERROR" and response.unavailable() or response.error(404)
end

-- A page of messages by ?limit= and ?before_seq=, or the response that says why not.
local function messages(request, id)
  local found = history.page(id, request.asked.before_seq, request.asked.limit, PAGE_BYTES)
  return found, not found and response.unavailable() or nil
end

--- The last messages; ?before_seq= and ?limit= page back. before_seq in the answer is there when there is more.
function sessions.show(request, id)
  local session, refusal = find(request, id, request.user.admin)
  if not session then
    return refusal
  end
  local answer = {
    session_id = id,
    name = session.name,
    name_damaged = session.name_damaged or nil,
    model_id = session.model_id,
    help_requested = session.help_requested,
  }
  local found, why_not = messages(request, id)
  if not found then
    return why_not
  end
  answer.messages, answer.before_seq = found.messages, found.before_seq
  return response.json(200, answer)
end

--- Ends the conversation. Doing it again changes nothing: the first end counts. That it has ended is said when the
--- store has it, also to the second who asks while the first still waits.
function sessions.finish(request, id)
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  session:finish()
  if not session:flush() then
    return response.unavailable()
  end
  return response.json(200, { status = "ended" })
end

-- The body of a request, an object; nil when it is none.
local function body_of(request)
  local body = request.body == "" and {} or json.decode(request.body)
  return type(body) == "table" and body[1] == nil and body or nil
end

--- {name}: from then on that is its name.
function sessions.rename(request, id)
  local body = body_of(request)
  local given = body and body.name
  local name = type(given) == "string" and text.clean(given) or ""
  if name == "" or #name > NAME_MAX or name:find "%c" then
    return response.error(400, "name must be one line of 1 to " .. NAME_MAX .. " bytes")
  end
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  session:set { name = name }
  if not session:flush() then
    return response.unavailable()
  end
  return response.json(200, { session_id = id, name = name })
end

--- It is gone, with all its messages and for everybody.
function sessions.delete(request, id)
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  local user_id = request.user.id
  local done, _, code = chat.store.erase { session_id = id, user_id = user_id, actor = "user " .. user_id }
  if not done and code ~= "NOT_FOUND" then -- one in which nothing was said was never stored
    return response.unavailable()
  end
  return response.json(200, { status = "deleted" })
end

--- Gives the token with which anybody can read the conversation: the one it has, if that holds. {expires_in?} seconds
--- from now; without it a new one holds for ever, and one that is there as long as it did.
function sessions.share(request, id)
  local body = body_of(request)
  local expires_in = body and body.expires_in
  local is_time = type(expires_in) == "number" and expires_in >= 1 and expires_in <= EXPIRES_MAX_S
  if not body or (expires_in ~= nil and not (is_time and expires_in == math.floor(expires_in))) then
    return response.error(400, "expires_in must be a whole number of seconds from 1 to " .. EXPIRES_MAX_S)
  end
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  local share, _, code = chat.store.share {
    session_id = id,
    user_id = request.user.id,
    expires_ms = expires_in and chat.timer.now() + expires_in * 1000 or nil,
  }
  if not share then
    return code == "NOT_FOUND" and response.error(404) or response.unavailable()
  end
  return response.json(200, {
    share_token = share.token,
    expires_at = share.expires_ms > 0 and iso(share.expires_ms) or nil,
  })
end

--- Nobody reads it by its token any more.
function sessions.unshare(request, id)
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  local done, _, code = chat.store.unshare { session_id = id, user_id = request.user.id }
  if not done and code ~= "NOT_FOUND" then
    return response.unavailable()
  end
  return response.json(200, { status = "revoked" })
end

--- What a token shows: what was said, and nothing of who said it.
function sessions.shared(request, token)
  local record, _, code = chat.store.shared(token)
  if not record and code ~= "NOT_FOUND" then
    return response.unavailable()
  end
  local expires = record and record.share_expires_ms or 0
  if not record or (expires ~= 0 and expires <= chat.timer.now()) then
    return response.error(404, "Shared session not found")
  end
  local found, why_not = messages(request, record.id)
  if not found then
    return why_not
  end
  return response.json(200, {
    session_id = record.id,
    name = record.name,
    messages = found.messages,
    before_seq = found.before_seq,
  })
end

return sessions
