-- Who can answer, and choosing one. The list has a stable order, the default first.
local bot = require "bots"
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local json = require "lib.json"

local models = { list = json.array { { id = bot.name, name = bot.name } } }

local chosen = envelope.new("connection_status", "ai", "content", "model_id")

function models.model_select(session, request)
  local id = request.model_id
  for _, model in ipairs(models.list) do
    if model.id == id then
      session:set { model_id = id }
      session:send(chosen(session, "Model changed to " .. id, id))
      return
    end
  end
  errors.send(session, request.connection, "INVALID_FORMAT", "Invalid model ID: " .. id)
end

return models
