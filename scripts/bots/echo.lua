-- Says back what it hears. A bot of your own: copy this file to bots/NAME.lua, change it, start with CHATBOX_BOT=NAME.
--     bot:hears("refund", function(session, message) … end)   answers what contains a word, before `otherwise` is asked
local bot = require "bot" "echo"

bot:otherwise(function(session, message)
  session:reply(message.content)
end)

return bot
