local fake = require "spec.support.fake_chat"

describe("the probes", function()
  local world
  before_each(function()
    world = fake.new()
  end)

  it("healthz is healthy, whatever the store says", function()
    world.store_fails = true
    local response = world:http { method = "GET", path = "/healthz" }
    assert.equal(200, response.status)
    assert.same({ status = "healthy", timestamp = "2026-03-02T15:00:00.000Z" }, response.json)
  end)

  it("readyz is ready when the store is", function()
    local response = world:http { method = "GET", path = "/readyz" }
    assert.equal(200, response.status)
    local checks = { mongodb = { status = "ready" }, llm = { status = "ready", providers_count = 1 } }
    assert.same({ status = "ready", checks = checks, timestamp = "2026-03-02T15:00:00.000Z" }, response.json)
  end)

  it("readyz says what is not", function()
    world.store_fails = true
    local response = world:http { method = "GET", path = "/readyz" }
    assert.equal(503, response.status)
    assert.equal("not ready", response.json.status)
    local reason = "Database connectivity check failed: no room is left"
    assert.same({ status = "not ready", reason = reason }, response.json.checks.mongodb)
  end)

  it("metrics are text of the format Prometheus reads", function()
    local response = world:http { method = "GET", path = "/metrics/prometheus" }
    assert.same({ 200, "text/plain; version=0.0.4; charset=utf-8" }, { response.status, response.type })
    assert.matches("chatbox_messages_received_total", response.body)
  end)
end)
