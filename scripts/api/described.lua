-- In: the two routes.lua, api/schemas, the envelopes and the errors. Out: what a machine or a person reads about them:
-- OpenAPI 3.1, AsyncAPI 3, docs/protocol.md. Why: the tables are what runs, so what is said of them is true. Made when
-- somebody asks for the first time, for the tables are complete only when all scripts are loaded.
local envelope = require "lib.envelope"
local json = require "lib.json"
local query = require "lib.query"
local schemas = require "api.schemas"

local described = {}

local PREFIX = chat.config.get "CHATBOX_PATH_PREFIX"
local VERSION = "1"
local TITLE = "Chatbox"

-- HTTP ---------------------------------------------------------------------------------------------------------------

local TEXT = { type = "string" }

local function body(schema)
  return { ["application/json"] = { schema = schema } }
end

local function ref(name)
  return { ["$ref"] = "#/components/schemas/" .. name }
end

local function failure(text)
  return { description = text, content = body(ref "Error") }
end

local function success(route)
  local answer = { description = route.does }
  if route.gives == "text" then
    answer.content = { ["text/plain"] = { schema = TEXT } }
  else
    answer.content = body(route.gives and ref(route.gives) or { type = "object" })
  end
  return answer
end

local function responses(route)
  local all = {
    ["200"] = success(route),
    ["400"] = failure "The request is not what this endpoint reads",
    ["403"] = failure "Not for this user, this address, or a page of that origin",
    ["429"] = failure "Too often; Retry-After says when to ask again",
    ["500"] = failure "A fault of the server",
    ["503"] = failure "The server stops, or its store does not answer; Retry-After says when to ask again",
  }
  if route.gives == "Ready" then
    all["503"] = { description = "It may not", content = body(ref "Ready") }
  end
  if route.auth then
    all["401"] = failure "No token, or none that is good"
  end
  if route[2]:find(":", 1, true) then
    all["404"] = failure "There is none, or it is somebody else's"
  end
  if route.asks == "ScriptOrder" then
    all["409"] = failure "The order cannot be carried out now"
  end
  return all
end

local function parameters(route)
  local list = json.array {}
  for name in route[2]:gmatch ":(%w+)" do
    list[#list + 1] = { name = name, ["in"] = "path", required = true, schema = TEXT, description = "Which one" }
  end
  for _, one in ipairs(route.query or {}) do
    list[#list + 1] = { name = one[1], ["in"] = "query", schema = query.schema(one), description = one[3] }
  end
  return list
end

local function operation(route)
  local name = route[2]:gsub(":", ""):gsub("%.json", ""):gsub("[^%w]+(%w)", string.upper):gsub("[^%w]", "")
  return {
    operationId = route[1]:lower() .. name,
    summary = route.does,
    description = route.does .. ".",
    tags = json.array { route[2]:match "^/(%w+)" },
    security = route.auth and json.array { { token = json.array {} } } or json.array {},
    parameters = parameters(route),
    requestBody = route.asks and { content = body(ref(route.asks)) } or nil,
    responses = responses(route),
  }
end

local function openapi()
  local paths, tags, known = {}, json.array {}, {}
  for _, route in ipairs(require "api.routes") do
    local path = route[2]:gsub(":(%w+)", "{%1}")
    local tag = route[2]:match "^/(%w+)"
    paths[path] = paths[path] or {}
    paths[path][route[1]:lower()] = operation(route)
    if not known[tag] then
      known[tag] = true
      tags[#tags + 1] = { name = tag, description = "Below " .. PREFIX .. "/" .. tag }
    end
  end
  table.sort(tags, function(a, b)
    return a.name < b.name
  end)
  return {
    openapi = "3.1.0",
    info = {
      title = TITLE,
      version = VERSION,
      description = "Conversations over HTTP. What is said live goes over the WebSocket at " .. PREFIX .. "/ws.",
      contact = { name = "Whoever runs this server" },
      license = { name = "MIT", identifier = "MIT" },
    },
    servers = json.array { { url = PREFIX, description = "This server" } },
    tags = tags,
    paths = paths,
    components = {
      schemas = schemas,
      securitySchemes = { token = { type = "http", scheme = "bearer", bearerFormat = "JWT" } },
    },
  }
end

-- WebSocket ----------------------------------------------------------------------------------------------------------

-- Each kind of lib/check as JSON Schema; lengths there are bytes, here they can only be characters.
local spec_schema

local kinds = {}
function kinds.string(words)
  local low, high = words:match "(%d+)%.%.(%d+)"
  return { type = "string", minLength = low and tonumber(low) > 0 and tonumber(low) or nil, maxLength = tonumber(high) }
end
kinds.token = kinds.string
function kinds.url(words)
  local schema = kinds.string(words)
  schema.format = "uri"
  return schema
end
function kinds.integer(words)
  local low, high = words:match "(%d+)%.%.(%d+)"
  return { type = "integer", minimum = tonumber(low), maximum = tonumber(high) }
end
function kinds.one(words)
  local choices = json.array {}
  for choice in words:gsub("^of ", ""):gmatch "%S+" do
    choices[#choices + 1] = choice
  end
  return { type = "string", enum = choices }
end
function kinds.time()
  return { type = "string", format = "date-time" }
end
function kinds.map(words)
  return {
    type = "object",
    maxProperties = tonumber(words) or 64,
    additionalProperties = { type = json.array { "string", "number", "boolean" } },
  }
end
function kinds.object(words)
  local properties = {}
  for name, spec in words:gmatch "([%w_]+)=([^,]+)" do
    properties[name] = spec_schema(spec)
  end
  return { type = "object", properties = properties }
end

function spec_schema(spec)
  local kind, optional, words = spec:match "^(%a+)(%??)%s*(.-)%s*$"
  return kinds[kind] and kinds[kind](words) or {}, optional == ""
end

-- What a client may send: type -> schema of the document.
local function inbound()
  local routes, all = require "routes", {}
  for kind, route in pairs(routes) do
    if kind ~= "common" then
      local properties, required = { type = { const = kind } }, json.array { "type" }
      for _, fields in ipairs { routes.common, route.fields or {} } do
        for name, spec in pairs(fields) do
          local schema, needed = spec_schema(spec)
          properties[name] = schema
          if needed then
            required[#required + 1] = name
          end
        end
      end
      table.sort(required)
      all[kind] = { type = "object", required = required, properties = properties, additionalProperties = true }
    end
  end
  return all
end

-- What the server sends: the same; of one type there may be several makers, so only what all have is required.
local function outbound()
  local all = {}
  for _, made in ipairs(envelope.made) do
    local known = all[made.kind]
    if not known then
      known = {
        type = "object",
        required = json.array { "type", "sender", "timestamp" },
        properties = {
          type = { const = made.kind },
          session_id = { type = "string" },
          sender = { type = "string", enum = json.array { "user", "ai", "admin", "system" } },
          timestamp = { type = "string", format = "date-time" },
          id = { type = "string" },
          seq = { type = "integer", minimum = 0 },
          cid = { type = "string" },
        },
        additionalProperties = false,
      }
      all[made.kind] = known
    end
    for _, name in ipairs(made.fields) do
      known.properties[name] = envelope.fields[name] or {}
    end
  end
  return all
end

local function messages(all, names)
  local list, out = {}, {}
  for kind, schema in pairs(all) do
    local name = names:format(kind)
    list[#list + 1] = name
    out[name] = {
      name = kind,
      title = kind,
      summary = envelope.kinds[kind] or kind,
      contentType = "application/json",
      payload = schema,
    }
  end
  table.sort(list)
  return list, out
end

local function refs(list, where)
  local out = json.array {}
  for i, name in ipairs(list) do
    out[i] = { ["$ref"] = where .. name }
  end
  return out
end

local function asyncapi()
  local to_server, ins = messages(inbound(), "client.%s")
  local to_client, outs = messages(outbound(), "server.%s")
  local components, of_channel = {}, {}
  for _, some in ipairs { ins, outs } do
    for name, message in pairs(some) do
      components[name] = message
      of_channel[name] = { ["$ref"] = "#/components/messages/" .. name }
    end
  end
  return {
    asyncapi = "3.0.0",
    info = {
      title = TITLE,
      version = VERSION,
      description = "One JSON document in each text frame, in both directions.",
      contact = { name = "Whoever runs this server" },
      license = { name = "MIT", url = "https://opensource.org/license/mit" },
    },
    defaultContentType = "application/json",
    servers = {
      here = { host = "localhost:8080", protocol = "ws", pathname = PREFIX, description = "This server" },
    },
    channels = {
      socket = {
        address = "/ws",
        description = "The token comes in Authorization: Bearer, or as ?token=; ?session_id= names a conversation.",
        messages = of_channel,
        bindings = {
          ws = {
            query = { type = "object", properties = { token = { type = "string" }, session_id = { type = "string" } } },
          },
        },
      },
    },
    operations = {
      hear = {
        action = "receive",
        summary = "What a client may send",
        channel = { ["$ref"] = "#/channels/socket" },
        messages = refs(to_server, "#/channels/socket/messages/"),
      },
      say = {
        action = "send",
        summary = "What the server sends",
        channel = { ["$ref"] = "#/channels/socket" },
        messages = refs(to_client, "#/channels/socket/messages/"),
      },
    },
    components = { messages = components },
  }
end

-- The page -----------------------------------------------------------------------------------------------------------

local function sorted(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function type_of(schema)
  return schema.enum and table.concat(schema.enum, ", ")
    or schema.format
    or type(schema.type) == "table" and table.concat(schema.type, ", ")
    or schema.type
    or "any"
end

local function add(out, format, ...)
  out[#out + 1] = format:format(...)
end

local function add_messages(out, all, skipped)
  for _, kind in ipairs(sorted(all)) do
    local schema, words = all[kind], {}
    local needed = {}
    for _, name in ipairs(schema.required) do
      needed[name] = true
    end
    for _, name in ipairs(sorted(schema.properties)) do
      if not skipped[name] then
        words[#words + 1] = ("`%s`%s %s"):format(name, needed[name] and "" or "?", type_of(schema.properties[name]))
      end
    end
    add(out, "| `%s` | %s | %s |", kind, envelope.kinds[kind] or "", table.concat(words, "; "))
  end
end

local function add_errors(out)
  local errors = require "lib.errors"
  add(out, "\n## Errors\n")
  add(out, "`{type: error, error: {code, message, recoverable, retry_after?}, cid?}`; `retry_after` in ms.\n")
  add(out, "| code | text | |\n|---|---|---|")
  for _, code in ipairs(sorted(errors.codes)) do
    local row = errors.codes[code]
    add(out, "| `%s` | %s | %s |", code, row[1], row.recoverable and "recoverable" or "final")
  end
  add(out, "\nOver HTTP: `{error, code}` with the status; 429 has `Retry-After`.\n")
  add(out, "## The end of a connection\n\nA message `bye` goes before each close frame.\n")
  add(out, "| close | `bye.code` | come back? |\n|---|---|---|")
  for _, row in ipairs(envelope.closes) do
    add(out, "| %d | `%s` | %s |", row[1], table.concat(row[2], "`, `"), row[3])
  end
end

-- What may stand behind the ? of a URL.
local function add_parameters(out)
  add(out, "\n### Parameters of URLs\n")
  add(out, "An empty one counts as absent; `scripts/lib/query.lua` says what each word means.\n")
  add(out, "| | parameter | what it may be | |\n|---|---|---|---|")
  for _, route in ipairs(require "api.routes") do
    for _, one in ipairs(route.query or {}) do
      add(out, "| %s `%s` | `%s` | %s | %s |", route[1], route[2], one[1], one[2], one[3])
    end
  end
end

--- docs/protocol.md. lines: of router.describe.
---@param lines fun(): string
---@return string
function described.page(lines)
  local out, routes = {}, require "routes"
  local common = {}
  for name in pairs(routes.common) do
    common[name] = true
  end
  add(out, "# The protocol\n\nMade from `scripts/routes.lua`, `scripts/api/routes.lua` and the tables they use by")
  add(out, "`./dev docs`. For machines: `GET %s/openapi.json` and `GET %s/asyncapi.json`.\n", PREFIX, PREFIX)
  add(out, "## WebSocket\n\n`GET %s/ws?token=JWT&session_id=ID`, or the token in `Authorization: Bearer`.", PREFIX)
  add(out, "One JSON document in each text frame. A `?` stands behind what may be left out.\n\n### From the client\n")
  add(out, "Every message may have `session_id`, `cid` (the client's own mark, which the acknowledgement repeats),")
  add(out, "`timestamp`, `sender` and `metadata`.\n\n| type | | fields |\n|---|---|---|")
  common.type = true
  add_messages(out, inbound(), common)
  add(out, "\nFields with their bounds, in bytes, and what a route is:\n\n```\n%s\n```", lines())
  add(out, "\n### From the server\n\nEvery message has `sender` and `timestamp`; what is stored has `id` and `seq`.\n")
  add(out, "| type | | fields |\n|---|---|---|")
  local always = { type = true, session_id = true, sender = true, timestamp = true, id = true, seq = true }
  add_messages(out, outbound(), always)
  add_errors(out)
  add(out, "\n## HTTP\n\n| | | for | asks | gives |\n|---|---|---|---|---|")
  for _, route in ipairs(require "api.routes") do
    local names = {}
    for i, one in ipairs(route.query or {}) do
      names[i] = one[1]
    end
    local asks = (route.asks or "") .. (#names > 0 and " `?" .. table.concat(names, "&") .. "`" or "")
    local where, does, auth, gives = PREFIX .. route[2], route.does or "", route.auth or "all", route.gives or ""
    add(out, "| %s `%s` | %s | %s | %s | %s |", route[1], where, does, auth, asks, gives)
  end
  add_parameters(out)
  return table.concat(out, "\n")
end

-- Served -------------------------------------------------------------------------------------------------------------

local texts = {}

local function serve(name, make)
  texts[name] = texts[name] or json.encode(make())
  return { status = 200, body = texts[name], headers = { ["Cache-Control"] = "no-cache" } }
end

function described.openapi()
  return serve("openapi", openapi)
end

function described.asyncapi()
  return serve("asyncapi", asyncapi)
end

return described
