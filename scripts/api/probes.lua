-- Is the server alive, may it get work, what does it count (reference, 3.6).
local models = require "handlers.models"
local response = require "lib.response"

local probes = {}

-- How long an answer of the store is good for: nobody limits who asks, so the store is not asked more often.
local FRESH_MS = 250

local asked_ms, ready, why

-- Whoever comes while somebody else asks gets the answer before; if asking takes long, the next one asks, too.
local function store_ready()
  local now = chat.timer.now()
  if ready == nil or now < asked_ms or now - asked_ms >= FRESH_MS then
    asked_ms = now
    ready, why = chat.store.ready()
  end
  return ready, why
end

local function timestamp()
  return chat.timer.iso(chat.timer.now())
end

--- Alive, whatever the state of anything else: restarting this process would not mend the database.
function probes.healthz()
  return response.json(200, { status = "healthy", timestamp = timestamp() })
end

--- Monitors of the reference look for the store under the name `mongodb`, whichever store it is, and count as
--- providers who can answer: those that clients are offered as models.
function probes.readyz()
  local is_ready, reason = store_ready()
  local failed = "Database connectivity check failed" -- the reference's words come first
  local store = is_ready and { status = "ready" }
    or { status = "not ready", reason = reason and failed .. ": " .. reason or failed }
  local answering = #models.list > 0 and { status = "ready", providers_count = #models.list }
    or { status = "not ready", reason = "No LLM providers configured" }
  local all = is_ready and answering.status == "ready"
  return response.json(all and 200 or 503, {
    status = all and "ready" or "not ready",
    checks = { mongodb = store, llm = answering },
    timestamp = timestamp(),
  })
end

function probes.metrics()
  return response.text(200, chat.metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
end

return probes
