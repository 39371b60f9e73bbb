-- The bot that answers here: the file of bots/ that CHATBOX_BOT names.
local name = chat.config.get "CHATBOX_BOT"
local bot = require("bots." .. name)

if type(bot) ~= "table" or type(bot.answer) ~= "function" then
  error("bots/" .. name .. ".lua does not return a bot", 0)
elseif not bot.fallback then
  error("bots/" .. name .. ".lua has no bot:otherwise: some messages would never get an answer", 0)
end

return bot
