-- The scripts themselves, for administrators: which versions answer and how well, what was done with them and by whom;
-- take what is in the folder, try it on a share of the conversations, keep it, or go back.
-- The answer to an order comes from the version that took it, also when that is the one it replaced.
local json = require "lib.json"
local response = require "lib.response"
local routes = require "routes"

local admin_scripts = {}

local WHY_MAX = 255

local iso = chat.timer.iso

local function rates(counted)
  local calls = math.max(1, counted.calls)
  counted.error_rate, counted.kill_rate = counted.errors / calls, counted.kills / calls
  return counted
end

local function list(items, change)
  local out = json.array {}
  for i, item in ipairs(items) do
    out[i] = change(item)
  end
  return out
end

local function vm(found)
  found.tasks = list(found.tasks, function(task)
    task.session_id = task.session_id ~= "" and task.session_id or nil
    return task
  end)
  return rates(found)
end

local function entry(found)
  found.at, found.at_ms = iso(found.at_ms), nil
  return found
end

-- What a message can be, by name; HTTP endpoints and what the bot listens for, in the order they are tried.
local function described()
  local messages, names = json.array {}, {}
  for name in pairs(routes) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local route = routes[name]
    messages[#messages + 1] = name ~= "common"
        and { type = name, rate = route.rate, immediate = route.immediate, admin = route.admin, stored = route.stored }
      or nil
  end
  local bot, hears = require "bots", json.array {}
  for i, rule in ipairs(bot.rules or {}) do
    hears[i] = rule.pattern or rule.plain
  end
  return {
    messages = messages,
    http = list(require "api.routes", function(route)
      return { method = route[1], path = route[2], auth = route.auth }
    end),
    bot = { name = chat.config.get "CHATBOX_BOT", hears = hears },
  }
end

function admin_scripts.show()
  local report = chat.scripts.report()
  if not report then
    return response.error(500)
  end
  return response.json(200, {
    version = report.versions[1] and report.versions[1].version,
    canary_percent = report.canary_share,
    kept = report.kept,
    versions = list(report.versions, rates),
    vms = list(report.vms, vm),
    history = list(report.history, entry),
    routes = described(),
  })
end

-- The body of an order, or nil and the refusal. shares: it may be for a share of the conversations.
local function read(request, shares)
  local body = request.body == "" and {} or json.decode(request.body)
  if type(body) ~= "table" then
    return nil, response.error(400, "The body is a JSON object, or empty")
  elseif body.why ~= nil and (type(body.why) ~= "string" or #body.why > WHY_MAX or body.why:find "%c") then
    return nil, response.error(400, "why is one line of at most " .. WHY_MAX .. " bytes")
  end
  local percent = body.canary_percent
  if percent ~= nil and not shares then
    return nil, response.error(400, "canary_percent is for a reload")
  elseif percent ~= nil and not (type(percent) == "number" and percent >= 0.01 and percent <= 99.99) then
    return nil, response.error(400, "canary_percent is more than 0 and less than 100")
  end
  return { why = body.why, canary = percent }
end

local function order(request, give, shares)
  local wanted, refusal = read(request, shares)
  if not wanted then
    return refusal
  end
  local outcome, why, code = give(wanted)
  if not outcome then
    return response.error(409, why, code)
  end
  return response.json(200, { outcome = outcome })
end

--- {why?, canary_percent?}: all conversations, or a share of them, get the scripts of the folder.
function admin_scripts.reload(request)
  return order(request, chat.scripts.reload, true)
end

--- {why?}: the canary gets all conversations.
function admin_scripts.promote(request)
  return order(request, chat.scripts.promote)
end

--- {why?}: the canary goes; without one the version before comes back.
function admin_scripts.rollback(request)
  return order(request, chat.scripts.rollback)
end

return admin_scripts
