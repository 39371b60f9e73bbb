-- The bot that answers here: the file of bots/ that CHATBOX_BOT names.
local name = chat.config.get "CHATBOX_BOT"
local bot = require("bots." .. name)
local file = "scripts/bots/" .. name:gsub("%.", "/") .. ".lua:1: "

if type(bot) ~= "table" or type(bot.answer) ~= "function" then
  error(file .. "it does not return a bot", 0)
elseif not bot.fallback then
  error(file .. "it has no bot:otherwise: some messages would never get an answer", 0)
end

return bot
