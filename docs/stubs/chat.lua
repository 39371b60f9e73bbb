---@meta
-- Made from the tables of the bindings by `chatbox docs stubs`; for the editor only.

---@class session
---@field id string
---@field user_id string
---@field name string
---@field model_id string
---@field assisting_admin_id string
---@field assisting_admin_name string
---@field start_ms number
---@field last_activity_ms number
---@field end_ms number
---@field total_tokens number
---@field top number
---@field members number
---@field help_requested boolean
---@field admin_assisted boolean
---@field stored boolean
local session = {}

chat = {}

---@type string
chat.version = ""

--- One conversation.
chat.session = {}

--- Changes name, model_id, help_requested, admin_assisted, assisting_admin_id or assisting_admin_name.
---@param changes table
---@return true
function session:set(changes) end

--- Adds to total_tokens.
---@param n number
---@return true
function session:add_tokens(n) end

--- Adds to the last 100 response times.
---@param ms number
---@return true
function session:add_response_time(ms) end

--- The user's devices have it up to one seq, and the user has read it up to the other: session.received and session.read. What is lower than before changes nothing; neither goes beyond top.
---@param received number
---@param read number
---@return true
function session:mark(received, read) end

--- max, avg (ms) and count of the last 100 response times.
---@return table
function session:times() end

--- Adds a message {sender, type, content, cid?, extra?, open?}; extra is JSON text. The session is stored from then on. One that is open waits for an answer: it is dealt with when this handler has ended; if it cannot end, because the server does, the next one calls unanswered(session, message).
---@param message table
---@return string id
function session:append(message) end

--- Whether this handler has appended anything of sender ai to its own conversation.
---@return boolean
function session:answered() end

--- Of unanswered: stores that its message is about to be dealt with once more; to be followed by session:flush.
---@return true
function session:attempt() end

--- Ends the conversation.
---@return true
function session:close() end

--- Sends one JSON document to every member, or {to = connection}, or {except = connection}. With {event = true} it is the event of the message appended last: it goes out with its id and seq, and not if that was a duplicate. With {to = connection, receipt = true} it is its receipt: it goes out in any case, with its id, seq and duplicate. With {protocol = 1}, or 2, only members hear it whose clients speak that version.
---@param text string
---@param options? table
---@return true
function session:send(text, options) end

--- true: the conversation has no message with this cid; false: it may have one; nil: chat.store.message knows.
---@param cid string
---@return boolean?
function session:fresh(cid) end

--- What this handler of a message has done so far to its conversation is stored and sent even if it fails from now on: in one write with what follows, before it waits for anything and before anything takes effect at once. If that write fails the handler ends there, and its client is told.
---@return true
function session:keep() end

--- What was done so far takes effect now; nobody waits.
---@return true
function session:commit() end

--- Waits until what this handler did is stored: {id, seq, cid, duplicate, open} of each message appended since the last flush (of very many only the last). open: of a duplicate that nobody has dealt with; this handler does from now on. Waits.
---@return table stored
function session:flush() end

--- Waits for the user's next message, at most {within = duration} (5m); other messages run meanwhile. Waits.
---@param options? table
---@return any
function session:ask(options) end

--- Gives a value to the handler that asked, if one did.
---@param value any
---@return boolean
function session:offer(value) end

--- The conversation its user goes on in: the active one, this or another; a new one when all have ended. Waits.
---@return session
function session:current() end

--- A conversation by id, from memory or the store. Checks no owner. Waits.
---@param id string
---@return session
function chat.session.open(id) end

--- Adds a method to all sessions, while loading.
---@param name string
---@param fn function
---@return true
function chat.session.method(name, fn) end

--- One connected client.
chat.connection = {}

--- Who it is: {id, name, roles, admin}.
---@param session any
---@param connection number
---@return table user
function chat.connection.user(session, connection) end

--- The session id of the URL, or an empty text; also once it was moved.
---@param session any
---@param connection number
---@return string id
function chat.connection.wanted(session, connection) end

--- Takes a new token of the same user: its name, roles and expiry count from now on. EXPIRED, INVALID or TOO_BIG when it is no good, FORBIDDEN when it is another user's, LIMITED and in how many ms to try again: the connection keeps the token it has.
---@param session any
---@param connection number
---@param token string
---@return true, number? expires_ms
function chat.connection.refresh(session, connection, token) end

--- Makes it a member of the other conversation; its later messages go there. Immediate.
---@param session any
---@param connection number
---@param other session
---@return true
function chat.connection.move(session, connection, other) end

--- Moves those connections of its user here that are in one of the user's conversations that has ended, and did not come to read it. Immediate; at most 256 at once.
---@param session any
---@return table connections
function chat.connection.gather(session) end

--- Puts a text into the other conversation's inbox, as if it had come there. Immediate.
---@param session any
---@param connection number
---@param other session
---@param text string
---@return true
function chat.connection.forward(session, connection, other, text) end

--- From now on what is for everybody waits for the sender of this message, until it has been told what it missed. BUSY: it is being told already. Immediate; over at the latest when the handler ends.
---@param session any
---@param connection number
---@return true
function chat.connection.catch_up(session, connection) end

--- Behind what is sent so far: it has been told the events up to seq, and hears the rest of what has waited.
---@param session any
---@param connection number
---@param seq number
---@return true
function chat.connection.caught_up(session, connection, seq) end

--- Its client knows close code 4409: at MAX_CONNECTIONS_PER_USER the oldest of those goes for a newcomer, who is refused where there is none.
---@param session any
---@param connection number
---@return true
function chat.connection.replaceable(session, connection) end

--- Closes it with a WebSocket code, behind what was sent before.
---@param session any
---@param connection number
---@param code number
---@param reason string
---@return true
function chat.connection.close(session, connection, code, reason) end

--- Of the message this handler is for: false, or why one that came before it was refused and has to be sent again first (LIMITED, FULL, STORE), and how long it still has to wait.
---@param cid? string
---@return string|boolean code, number? wait_ms
function chat.connection.held(cid) end

--- The message this handler is for is refused and can be sent again: what came behind it on its connection is held until it is, or until 10 s after it could have been.
---@param cid string
---@param code string
---@param wait_ms? number
---@return true
function chat.connection.hold(cid, code, wait_ms) end

--- The message this handler is for will not come again, or need not: nothing waits for it any more.
---@param cid string
---@return true
function chat.connection.release(cid) end

--- What is stored.
chat.store = {}

--- A stored conversation, without its messages. Waits.
---@param id string
---@return table record
function chat.store.session(id) end

--- Conversations of {user_id, limit? = 100, after?}, newest first; after: the last record of the page before. Waits.
---@param query table
---@return table records
function chat.store.sessions(query) end

--- Conversations of everybody, or of {user_id?}: {active?, assisted?} booleans, that began {from_ms?} to {to_ms?}, by {sort? = start_time, end_time, message_count, total_tokens, user_id, duration, last_activity}, {ascending?}, {limit? = 100}, {offset?}, behind {after?}: what the page before gave as last. No last: there is nothing behind. Waits.
---@param query table
---@return table records, table? last
function chat.store.list(query) end

--- Of all conversations that began {from_ms} to {to_ms}: sessions, active, assisted, tokens, max_response_ms, avg_response_ms, lasted_ms. Waits.
---@param query table
---@return table totals
function chat.store.totals(query) end

--- Lets whoever has the token read {session_id} of {user_id} until {expires_ms?} (0: for ever): {token, expires_ms}. One that is there and holds stays, and has that expiry if one was given. Waits.
---@param query table
---@return table share
function chat.store.share(query) end

--- Nobody reads {session_id} of {user_id} by a token any more. Waits.
---@param query table
---@return true
function chat.store.unshare(query) end

--- The conversation with that token; it may have expired. Waits.
---@param token string
---@return table record
function chat.store.shared(token) end

--- Erases {session_id} of {user_id}: in memory, and in the store. {actor} is written down. Waits.
---@param query table
---@return true
function chat.store.erase(query) end

--- The last {limit? = 100} messages of {session_id} before {before_seq?}, oldest first; fewer when their content is more than {bytes? = 16 MiB}. One that cannot be read, or is not genuine, has damaged = true and no content, whatever else it says. Waits.
---@param query table
---@return table messages
function chat.store.history(query) end

--- {id, seq, at_ms} of the message with {cid} in the conversation {session_id}. Waits.
---@param query table
---@return table message
function chat.store.message(query) end

--- Another one when the database has become an older one (a backup was put in its place), whose seqs are given anew. Waits only once. Waits.
---@return string epoch
function chat.store.epoch() end

--- Whether the store answers within 1.5 s, no write waits for it, its files are whole and where they were, the disk has room, and the server is not stopping; and if not, what it is. Waits.
---@return boolean, string? reason
function chat.store.ready() end

--- Time.
chat.timer = {}

--- Milliseconds since 1970.
---@return number ms
function chat.timer.now() end

--- RFC 3339 with milliseconds, in UTC.
---@param ms number
---@return string
function chat.timer.iso(ms) end

--- Of an RFC 3339 time; nil when it is none.
---@param text string
---@return number? ms
function chat.timer.parse_iso(text) end

--- Of 250ms, 5s, 10m, 1h30m, or a number.
---@param duration string|number
---@return number ms
function chat.timer.duration(duration) end

--- Waits so long (SCRIPT_WAIT_DEADLINE ends who waits too long). Waits.
---@param duration string|number
---@return true
function chat.timer.sleep(duration) end

--- The server's log. Never the content of a conversation.
chat.log = {}

--- A line for whoever looks closely.
---@param message string
---@param fields? table
function chat.log.debug(message, fields) end

--- A line.
---@param message string
---@param fields? table
function chat.log.info(message, fields) end

--- Something is odd.
---@param message string
---@param fields? table
function chat.log.warn(message, fields) end

--- Something failed.
---@param message string
---@param fields? table
function chat.log.error(message, fields) end

--- Counters.
chat.metrics = {}

--- Adds to a counter of your own, shown as chatbox_script_NAME.
---@param name string
---@param n? number
---@param labels? table
---@return true
function chat.metrics.add(name, n, labels) end

--- Adds to a counter of the server.
---@param name string
---@param n? number
---@return true
function chat.metrics.count(name, n) end

--- All metrics in Prometheus' text format.
---@return string
function chat.metrics.render() end

--- The settings in force.
chat.config = {}

--- A setting: durations in ms, sizes in bytes.
---@param name string
---@return string|number|boolean
function chat.config.get(name) end

--- Whether an address is in METRICS_ALLOWED_NETWORKS. One that is only a relay's is not (request.relayed).
---@param name string
---@param address string
---@param relayed? boolean
---@return boolean
function chat.config.allows(name, address, relayed) end

--- Rate limits.
chat.limit = {}

--- Counts one event of key, a user or for public an address, for the limiter messages, reads, ends, live, admin, admin_reads or public; refused: nil, message, LIMITED, ms to wait.
---@param limiter string
---@param key string
---@return true
function chat.limit.take(limiter, key) end

--- Small values all workers see at once. Immediate.
chat.shared = {}

--- What is kept under key.
---@param key string
---@return string|number|boolean|nil
function chat.shared.get(key) end

--- Keeps a value, for ever or for a duration. FULL when there is no room.
---@param key string
---@param value string|number|boolean
---@param ttl? string|number
---@return true
function chat.shared.set(key, value, ttl) end

--- Adds to a number and returns the sum; the duration is set when it is new.
---@param key string
---@param n number
---@param ttl? string|number
---@return number
function chat.shared.add(key, n, ttl) end

--- Forgets it; whether it was there.
---@param key string
---@return boolean
function chat.shared.delete(key) end

--- Handlers that had to be ended, and who is put aside for it.
chat.guard = {}

--- While loading: when what fn calls (not as a tail call) has to be ended too often, name is put aside. Returns fn.
---@param name string
---@param fn function
---@return function fn
function chat.guard.watch(name, fn) end

--- name -> true of what is put aside. Always the same table, kept up to date; to be read only.
---@return table names
function chat.guard.aside() end

--- For the text of an error: ': did you mean x?' with the key of names that is nearest to a name that does not exist, or ''.
---@param name string
---@param names table
---@return string
function chat.guard.suggest(name, names) end

--- The scripts themselves. Only in the HTTP request of an administrator; everywhere else it raises.
chat.scripts = {}

--- Reads the scripts anew: {why? = text, canary? = per cent of the conversations that get the new version}. Waits.
---@param order? table
---@return string outcome
function chat.scripts.reload(order) end

--- Gives all conversations to the canary: {why?}. Waits.
---@param order? table
---@return string outcome
function chat.scripts.promote(order) end

--- Ends the canary; without one, goes back to the version before: {why?}. Waits.
---@param order? table
---@return string outcome
function chat.scripts.rollback(order) end

--- {versions, vms, history, canary_share, kept}: what runs, how well, what waits for what, and what was done. Waits.
---@return table report
function chat.scripts.report() end
