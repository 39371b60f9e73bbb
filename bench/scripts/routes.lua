-- In: the routes of the chat, which bench/run puts aside as chat_routes.lua. Out: the same and one more.
-- Why: the benchmark runs the scripts as they are; a message that is measured goes through every check that a
-- user_message goes through, but is not stored.
local measure = require "handlers.measure"
local routes = require "chat_routes"

routes.measure = { measure.measure, fields = { content = "string 1..10000" }, rate = "messages", active = true }

routes.noise = { measure.noise, active = true }

routes.spin = { measure.spin, active = true }

return routes
