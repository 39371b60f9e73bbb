-- THE PROTOCOL ON ONE SCREEN: what a client may send. One line per kind of message: who handles it, which fields it has
-- (lib/check says what a spec means), and
--     immediate  does not wait for a handler of the same conversation that is still busy
--     rate       counts against this limiter of the user (chat.limit); every kind has one
--     stored     becomes part of the conversation: recorded, acknowledged (cid), shown to the other members
--     active     refused when the conversation has ended (stored implies it)
--     admin      for administrators only
--     places     finds its conversation itself, whichever the client names
-- What comes back: welcome, connection_status, loading, ai_response, user_message, file_upload, voice_message, mark,
-- typing, typing_indicator, history, pong, ack, refreshed, error; and bye from the server itself, before it closes.
-- What is stored carries its id and seq, and an error the cid of the message it is about.
local hello = require "handlers.hello"
local help = require "handlers.help"
local history = require "handlers.history"
local live = require "handlers.live"
local marks = require "handlers.marks"
local models = require "handlers.models"
local say = require "handlers.say"

local file = { content = "string? 0..10000", file_id = "string 1..255", file_url = "url 1..2048" }

return {
  user_message = { say.user_message, fields = { content = "string 1..10000" }, rate = "messages", stored = true },
  file_upload = { fields = file, rate = "messages", stored = true }, -- to be shown; nobody answers a file
  voice_message = { fields = file, rate = "messages", stored = true },
  model_select = { models.model_select, fields = { model_id = "string 1..100" }, rate = "messages", active = true },
  help_request = {
    help.help_request,
    fields = { sender = "one? of user" },
    rate = "messages",
    active = true,
    immediate = true,
  },
  history = {
    history.history,
    fields = { before_seq = "integer? 1..9007199254740992", limit = "integer? 1..1000" },
    rate = "reads",
  },
  typing_indicator = {
    live.typing_indicator,
    fields = { content = "string? 0..100" },
    rate = "live",
    immediate = true,
  },
  hello = {
    hello.hello,
    fields = {
      v = "integer 2..1000",
      resume = "object? session_id=string 1..128, epoch=token 1..64, seq=integer 0..9007199254740992",
    },
    rate = "reads",
    places = true,
  },
  mark = {
    marks.mark,
    fields = { received = "integer? 0..9007199254740992", read = "integer? 0..9007199254740992" },
    rate = "live",
    immediate = true,
    places = true,
  },
  typing = {
    live.typing,
    fields = { state = "one? of typing idle", ttl = "integer? 1000..60000" },
    rate = "live",
    immediate = true,
  },
  ping = { live.ping, rate = "live", immediate = true },
  refresh = { live.refresh, fields = { token = "string 1..8192" }, rate = "live", immediate = true },

  -- Fields every kind of message may have. sender and timestamp are checked and then not used: who speaks is known from
  -- the token, when it was said from the server's clock.
  common = {
    session_id = "string? 0..128",
    timestamp = "time?",
    sender = "one? of user ai admin system",
    metadata = "map? 64",
    cid = "token? 1..128",
  },
}
