-- In: an HTTP request. Out: the response of the endpoint that api/routes.lua names, or a refusal.
-- Order of the checks: path and method, network, limit of the address, token, limit of the user, parameters of the URL.
-- A path with a slash too many at its end is sent to the right one.
local query = require "lib.query"
local response = require "lib.response"

local router = {}

local PREFIX = chat.config.get "CHATBOX_PATH_PREFIX"
local ASIDE = chat.config.get "SCRIPT_ASIDE_TEXT"
local aside = chat.guard.aside()

-- The handler behind a reader of the parameters that the route declares: they are in request.asked.
local function asking(route)
  local read, handler = query.compile(route.query), route[3]
  return function(request, id)
    local asked, wrong = read(request.query)
    if not asked then
      return response.error(400, wrong)
    end
    request.asked = asked
    local answer = handler(request, id) -- no tail call: this function is what the guard looks for
    return answer
  end
end

local function compile(routes)
  local compiled = {}
  for i, route in ipairs(routes) do
    local escaped = route[2]:gsub("[%-%.]", "%%%0")
    local name = "route:" .. route[1] .. " " .. route[2]
    compiled[i] = {
      method = route[1],
      pattern = "^" .. escaped:gsub(":%w+", "([^/]+)") .. "$",
      route = route,
      endpoint = PREFIX .. route[2],
      name = name,
      handler = chat.guard.watch(name, asking(route)),
    }
  end
  return compiled
end

-- Counts one request of key; the refusal when that is too many.
local function limited(limiter, key, told)
  local ok, _, _, retry_after_ms = chat.limit.take(limiter, key)
  return not ok and response.too_many(retry_after_ms, told) or nil
end

-- nil when the request may pass.
local function refuse(route, request)
  if route.networks and not chat.config.allows(route.networks, request.address, request.relayed) then
    return response.error(403)
  end
  if route.limit then
    local refusal = limited(route.limit, request.address)
    if refusal then
      return refusal
    end
  end
  if route.auth and not request.user then
    if request.auth == "missing" then
      return response.error(401, "Invalid authorization header", "UNAUTHORIZED")
    end
    return response.error(401, "Invalid or expired authentication token", "INVALID_TOKEN")
  elseif route.auth == "admin" and not request.user.admin then
    return response.error(403)
  end
  return route.rate and limited(route.rate, request.user.id, route.auth == "admin") or nil
end

local function escape(text)
  return (text:gsub("[^%w%-._]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- The same path without the slash at its end, relative to the one with it, and with the query.
local function without_slash(path, given)
  local words = {}
  for name, value in pairs(given) do
    words[#words + 1] = escape(name) .. "=" .. escape(value)
  end
  table.sort(words)
  return "../" .. escape(path:match "([^/]*)/$") .. (#words > 0 and "?" .. table.concat(words, "&") or "")
end

--- The function the server calls for every request.
---@param routes table as api/routes.lua
---@return fun(request: table): table
function router.new(routes)
  local compiled = compile(routes)

  local function find(method, path)
    for i = 1, #compiled do
      local candidate = compiled[i]
      local found = candidate.method == method and path:match(candidate.pattern)
      if found then
        return candidate, found
      end
    end
  end

  return function(request)
    local path = request.path
    local candidate, found = find(request.method, path)
    if candidate then
      local answer = refuse(candidate.route, request)
        or aside[candidate.name] and response.error(503, ASIDE, "SERVICE_ERROR")
        or candidate.handler(request, found)
      answer.endpoint = candidate.endpoint
      return answer
    elseif path:find "[^/]/$" and find(request.method, path:sub(1, -2)) then
      return response.redirect(request.method == "GET" and 301 or 307, without_slash(path, request.query))
    end
    return response.text(404, "404 page not found")
  end
end

return router
