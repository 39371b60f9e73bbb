-- In: a message. Out: an answer. Why: the first bot of a deployment; edit it, `kubectl apply -k` again, and the running
-- server answers with the new version within a minute or two, which is what the kubelet takes to pass a ConfigMap on.
local bot = require "bot" "hello"

bot:hears("help", function(session)
  session:reply "I repeat what you say. Whoever runs this server has not taught me more yet."
end)

bot:otherwise(function(session, message)
  session:reply("You said: " .. message.content)
end)

return bot
