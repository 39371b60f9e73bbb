-- The bot that answers here: the file of bots/ that CHATBOX_BOT names.
local name = chat.config.get "CHATBOX_BOT"
local bot = require("bots." .. name)
local file = "bots/" .. name:gsub("%.", "/") .. ".lua"
local place = "scripts/" .. file .. ":1: " .. file

if type(bot) ~= "table" or type(bot.answer) ~= "function" then
  error(place .. " does not return a bot", 0)
elseif not bot.fallback then
  error(place .. " has no bot:otherwise: some messages would never get an answer", 0)
end

return bot
