-- In: an HTTP request. Out: the response of the endpoint that api/routes.lua names, or a refusal.
-- Order of the checks: path and method, network, limit of the address, token, limit of the user.
local response = require "lib.response"

local router = {}

local ASIDE = chat.config.get "SCRIPT_ASIDE_TEXT"
local aside = chat.guard.aside()

local function compile(routes)
  local compiled = {}
  for i, route in ipairs(routes) do
    local escaped = route[2]:gsub("[%-%.]", "%%%0")
    local name = "route:" .. route[1] .. " " .. route[2]
    compiled[i] = {
      method = route[1],
      pattern = "^" .. escaped:gsub(":%w+", "([^/]+)") .. "$",
      route = route,
      name = name,
      handler = chat.guard.watch(name, function(request, id)
        local answer = route[3](request, id) -- no tail call: this function is what the guard looks for
        return answer
      end),
    }
  end
  return compiled
end

-- Counts one request of key; the refusal when that is too many.
local function limited(limiter, key)
  local ok, _, _, retry_after_ms = chat.limit.take(limiter, key)
  return not ok and response.too_many(retry_after_ms) or nil
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
  return route.rate and limited(route.rate, request.user.id) or nil
end

--- The function the server calls for every request.
---@param routes table as api/routes.lua
---@return fun(request: table): table
function router.new(routes)
  local compiled = compile(routes)

  return function(request)
    for i = 1, #compiled do
      local candidate = compiled[i]
      local found = candidate.method == request.method and request.path:match(candidate.pattern)
      if found then
        local route = candidate.route
        local answer = refuse(route, request)
          or aside[candidate.name] and response.error(503, ASIDE, "SERVICE_ERROR")
          or candidate.handler(request, found)
        answer.endpoint = route[2]
        return answer
      end
    end
    return response.text(404, "404 page not found")
  end
end

return router
