-- A user asks for a person. The conversation is marked, so that those who look after it can see it.
local envelope = require "lib.envelope"

local help = {}

local sent = envelope.new("connection_status", "ai", "content")

function help.help_request(session)
  session:set { help_requested = true }
  session:send(sent(session, "Help request sent. An administrator will join your session shortly."))
end

return help
