-- In: rules of the form "when I hear this, I do that". Out: who answers in a conversation.
--     local bot = require "bot" "refunds"
--     bot:hears("refund", function(session, message) session:reply "Which order?" end)
--     bot:otherwise(function(session, message) session:reply "I only do refunds." end)
--     return bot
-- A handler reads as if waiting blocked: session:ask { within = "5m" } gives the next message of the user.
-- A rule whose handler had to be ended too often rests, under the name "bot:refunds hears refund"; the others go on.
require "lib.session"
local json = require "lib.json"
local text = require "lib.text"

local ASIDE = chat.config.get "SCRIPT_ASIDE_TEXT"
local LABEL_MAX = 63 -- bytes of a name that can be put aside
local aside, suggest, watch = chat.guard.aside(), chat.guard.suggest, chat.guard.watch

---@class Bot
---@field name string
local Bot = {}
Bot.__index = Bot
setmetatable(Bot, {
  __index = function(_, key)
    error("a bot has no field or method " .. tostring(key) .. suggest(key, Bot), 2)
  end,
})

-- A rule: fn, under the name it is put aside by.
local function rule_of(bot, what, fn)
  local label = (bot.label .. " " .. what):gsub("%c", "?")
  bot.count = bot.count + 1
  if not pcall(json.encode, label) then -- a pattern may be bytes that are no text
    label = label:gsub("[\128-\255]", "?")
  end
  if #label > LABEL_MAX then
    local number = " #" .. bot.count -- what is left of two long ones may be the same
    label = text.cut(label, LABEL_MAX - #number) .. number
  end
  return {
    label = label,
    run = watch(label, function(...)
      fn(...)
    end),
  }
end

--- Calls fn(session, message, ...) when a message contains the text, whatever its case. A text with pattern characters
--- is tried as a Lua pattern, too; what it captures follows the message. The first rule that fits wins.
---     bot:hears("^order (%d+)$", function(session, message, number) … end)
---@param what string
---@param fn fun(session: table, message: table, ...: string)
---@return Bot
function Bot:hears(what, fn)
  if type(what) ~= "string" or what == "" or type(fn) ~= "function" then
    error("bot:hears needs a text and a function", 2)
  end
  local is_pattern = what:find "[%^%$%(%)%%%.%[%]%*%+%-%?]" and pcall(string.find, "", what)
  local rule = rule_of(self, "hears " .. what, fn)
  rule.plain, rule.pattern = what:lower(), is_pattern and what
  table.insert(self.rules, rule)
  return self
end

--- Calls fn(session, message) for every message no rule fits.
---@param fn fun(session: table, message: table)
---@return Bot
function Bot:otherwise(fn)
  if type(fn) ~= "function" then
    error("bot:otherwise needs a function", 2)
  end
  self.fallback = rule_of(self, "otherwise", fn)
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
  self.resume = rule_of(self, "interrupted", fn)
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

local function run(rule, session, ...)
  if aside[rule.label] then -- it had to be ended too often
    session:reply(ASIDE)
  else
    rule.run(session, ...)
  end
end

local function call(rule, session, message, first, ...)
  if first == nil then
    return false
  end
  run(rule, session, message, first, ...)
  return true
end

--- Answers a message. Called by handlers/say.
---@param session table
---@param message table
function Bot:answer(session, message)
  if message.begun and self.resume then
    return run(self.resume, session, message)
  end
  local rules = self.rules
  if rules[1] then
    local content, lower = message.content, message.content:lower()
    for i = 1, #rules do
      local rule = rules[i]
      if call(rule, session, message, fits(rule, content, lower)) then
        return
      end
    end
  end
  run(self.fallback, session, message)
end

--- A new bot of this name.
---@param name string
---@return Bot
return function(name)
  if type(name) ~= "string" or name == "" then
    error('a bot needs a name: require "bot" "refunds"', 2)
  end
  return setmetatable({
    name = name,
    label = "bot:" .. name,
    rules = {},
    count = 0, -- of rules, whatever their kind
    fallback = false,
    resume = false,
  }, Bot)
end
