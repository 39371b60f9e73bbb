-- In: rules of the form "when I hear this, I do that". Out: who answers in a conversation.
--     local bot = require "bot" "refunds"
--     bot:hears("refund", function(session, message) session:reply "Which order?" end)
--     bot:otherwise(function(session, message) session:reply "I only do refunds." end)
--     return bot
-- A handler reads as if waiting blocked: session:ask { within = "5m" } gives the next message of the user.
require "lib.session"

local ASIDE = chat.config.get "SCRIPT_ASIDE_TEXT"
local aside = chat.guard.aside()

---@class Bot
---@field name string
local Bot = {}
Bot.__index = Bot

--- Calls fn(session, message, ...) when a message contains `text`, whatever its case. A text with pattern characters is
--- tried as a Lua pattern, too; what it captures follows the message. The first rule that fits wins.
---     bot:hears("^order (%d+)$", function(session, message, number) … end)
---@param text string
---@param fn fun(session: table, message: table, ...: string)
---@return Bot
function Bot:hears(text, fn)
  if type(text) ~= "string" or text == "" or type(fn) ~= "function" then
    error("bot:hears needs a text and a function", 2)
  end
  local is_pattern = text:find "[%^%$%(%)%%%.%[%]%*%+%-%?]" and pcall(string.find, "", text)
  table.insert(self.rules, { plain = text:lower(), pattern = is_pattern and text, fn = fn })
  return self
end

--- Calls fn(session, message) for every message no rule fits.
---@param fn fun(session: table, message: table)
---@return Bot
function Bot:otherwise(fn)
  if type(fn) ~= "function" then
    error("bot:otherwise needs a function", 2)
  end
  self.fallback = fn
  return self
end

--- Calls fn(session, message) in place of a rule when the server ended while a dialogue that this message began was
--- under way and a part of it had been stored. Without it the message is answered anew.
---     bot:interrupted(function(session, message) session:reply "We were interrupted. Where were we?" end)
---@param fn fun(session: table, message: table)
---@return Bot
function Bot:interrupted(fn)
  if type(fn) ~= "function" then
    error("bot:interrupted needs a function", 2)
  end
  self.resume = fn
  return self
end

-- Where rule fits: its captures, or the whole match when it has none. nil when it does not fit.
local function fits(rule, content, lower)
  local from, to = lower:find(rule.plain, 1, true)
  if from then
    return content:sub(from, to)
  end
  if rule.pattern then
    return content:match(rule.pattern)
  end
end

local function call(bot, fn, session, message, first, ...)
  if first == nil then
    return false
  end
  bot.run(fn, session, message, first, ...)
  return true
end

--- Answers a message. Called by handlers/say.
---@param session table
---@param message table
function Bot:answer(session, message)
  if aside[self.label] then -- it had to be ended too often
    return session:reply(ASIDE)
  end
  if message.begun and self.resume then
    return self.run(self.resume, session, message)
  end
  local rules = self.rules
  if rules[1] then
    local content, lower = message.content, message.content:lower()
    for i = 1, #rules do
      local rule = rules[i]
      if call(self, rule.fn, session, message, fits(rule, content, lower)) then
        return
      end
    end
  end
  self.run(self.fallback, session, message)
end

--- A new bot of this name.
---@param name string
---@return Bot
return function(name)
  local label = "bot:" .. name
  local run = chat.guard.watch(label, function(fn, ...)
    fn(...)
  end)
  return setmetatable({ name = name, label = label, run = run, rules = {} }, Bot)
end
