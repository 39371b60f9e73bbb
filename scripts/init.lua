-- What the server calls. Everything else is reached from here.
local api = require "api.router"
local described = require "api.described"
local errors = require "lib.errors"
local live = require "handlers.live"
local router = require "router"
local routes = require "routes"

local development = chat.config.get "DEVELOPMENT"

-- A handler raised an error. The sender learns that it was us, and the number under which the log has the details.
-- While scripts are being developed administrators see the error itself.
local function failed(session, connection, incident, message, cid)
  local more = { incident = incident }
  if development then
    local user = connection and chat.connection.user(session, connection)
    more.detail = user and user.admin and message or nil
  end
  errors.send(session, connection, "INTERNAL", nil, more, cid)
end

-- The server could not take a message, or could not store what its handler wanted.
local function refused(session, connection, code, retry_after_ms, cid)
  errors.refused(session, connection, code, tonumber(retry_after_ms), cid)
end

return {
  message = router.new(routes),
  connect = live.connect,
  http = api.new(require "api.routes"),
  failed = failed,
  refused = refused,
  unanswered = router.unanswered(routes),
  stored = router.stored(routes),
  describe = function(which)
    if which == "openapi" or which == "asyncapi" then
      return described[which]().body
    end
    return described.page(function()
      return router.describe(routes)
    end)
  end,
}
