local fake = require "spec.support.fake_chat"

describe("the HTTP API", function()
  local world
  before_each(function()
    world = fake.new()
  end)

  local SESSION = "/sessions/" .. ("ab"):rep(16)

  it("answers what it does not know with 404, whatever the method", function()
    for _, case in ipairs {
      { "GET", "/" }, { "GET", "/nothing" }, { "POST", "/sessions" }, { "GET", SESSION .. "/end" }, { "PUT", SESSION },
      { "GET", "//" }, { "GET", "/nothing/" }, { "POST", "/sessions/" },
      { "GET", "/sessions/a/b" }, { "GET", "/healthz/x" }, { "GET", "/xhealthz" }, { "BREW", "/healthz" },
    } do
      local response = world:http { method = case[1], path = case[2], user = "anna" }
      assert.same({ 404, "404 page not found", "text/plain; charset=utf-8" }, { response.status, response.body, response.type })
      assert.is_nil(response.endpoint)
    end
  end)

  it("names the endpoint for the metric by its template, never by what a client sent", function()
    assert.equal("/chatbox/sessions/:id", world:http({ method = "GET", path = SESSION, user = "anna" }).endpoint)
    assert.equal("/chatbox/sessions/:id/end", world:http({ method = "POST", path = SESSION .. "/end" }).endpoint)
  end)

  it("leads from a slash too many to the right path, relative to it and with the query", function()
    local response = world:http { method = "GET", path = "/sessions/", query = { q = "a b&c", limit = "3" } }
    assert.same({ 301, "../sessions?limit=3&q=a%20b%26c" }, { response.status, response.headers.Location })
    response = world:http { method = "GET", path = SESSION .. "/", user = "anna" }
    assert.same({ 301, "../" .. ("ab"):rep(16) }, { response.status, response.headers.Location })
    response = world:http { method = "POST", path = SESSION .. "/end/", user = "anna" }
    assert.same({ 307, "../end" }, { response.status, response.headers.Location })
    response = world:http { method = "GET", path = "/shared/a b:\r\nX: y/" }
    assert.same({ 301, "../a%20b%3A%0D%0AX%3A%20y" }, { response.status, response.headers.Location })
  end)

  for _, case in ipairs { { "GET", "/sessions" }, { "GET", SESSION }, { "POST", SESSION .. "/end" } } do
    it(case[1] .. " " .. case[2]:sub(1, 10) .. " wants a token before anything else", function()
      local missing = world:http { method = case[1], path = case[2], auth = "missing" }
      assert.equal(401, missing.status)
      assert.same({ code = "UNAUTHORIZED", error = "Invalid authorization header" }, missing.json)
      local invalid = world:http { method = case[1], path = case[2], auth = "invalid" }
      assert.equal(401, invalid.status)
      assert.same({ code = "INVALID_TOKEN", error = "Invalid or expired authentication token" }, invalid.json)
      assert.equal(0, world.opened)
    end)
  end

  it("limits an address on public endpoints, and other addresses not", function()
    local metrics = { method = "GET", path = "/metrics/prometheus" }
    for _ = 1, 60 do
      assert.equal(200, world:http(metrics).status)
    end
    world:advance "30s"
    local response = world:http(metrics)
    assert.equal(429, response.status)
    assert.same({ error = "rate_limit_exceeded", message = "Too many requests. Please try again later." }, response.json)
    assert.same({ ["Retry-After"] = "30" }, response.headers)
    metrics.address = "192.0.2.2"
    assert.equal(200, world:http(metrics).status)
    world:advance "30s"
    metrics.address = nil
    assert.equal(200, world:http(metrics).status)
  end)

  it("never refuses a probe, however often it is asked", function()
    for _ = 1, 1000 do
      assert.equal(200, world:http({ method = "GET", path = "/healthz" }).status)
      assert.equal(200, world:http({ method = "GET", path = "/readyz" }).status)
    end
  end)

  it("has a rate of the user for what wants a token, one for reading and one for ending", function()
    for _ = 1, 240 do
      assert.not_equal(429, world:http({ method = "GET", path = "/sessions", user = "anna" }).status)
    end
    local response = world:http { method = "GET", path = SESSION, user = "anna" }
    assert.same({ 429, "60" }, { response.status, response.headers["Retry-After"] })
    assert.not_equal(429, world:http({ method = "GET", path = "/sessions", user = "bob" }).status)
    for _ = 1, 30 do
      assert.not_equal(429, world:http({ method = "POST", path = SESSION .. "/end", user = "bob" }).status)
    end
    assert.equal(429, world:http({ method = "POST", path = SESSION .. "/end", user = "bob" }).status)
  end)

  it("has two rates of an administrator, and says when to come back", function()
    local root = { id = "root", name = "root", roles = { "admin" }, admin = true }
    for _ = 1, 20 do
      assert.equal(404, world:http({ method = "POST", path = "/admin/takeover/x", user = root }).status)
    end
    local response = world:http { method = "POST", path = "/admin/takeover/x", user = root }
    assert.same({ 429, "60" }, { response.status, response.headers["Retry-After"] })
    assert.same({
      error = "rate_limit_exceeded", message = "Too many requests. Please try again later.", retry_after_ms = 60000,
    }, response.json)
    assert.equal(400, world:http({ method = "GET", path = "/admin/metrics", query = { start_time = "x" }, user = root }).status)
  end)

  it("keeps metrics to the networks they are for", function()
    world = fake.new { config = { METRICS_ALLOWED_NETWORKS = { "10.0.0.1", ["10.0.0.1"] = true } } }
    local refused = world:http { method = "GET", path = "/metrics/prometheus", address = "192.0.2.1" }
    assert.equal(403, refused.status)
    assert.same({ error = "Insufficient permissions", code = "FORBIDDEN" }, refused.json)
    assert.equal(200, world:http({ method = "GET", path = "/metrics/prometheus", address = "10.0.0.1" }).status)
  end)
end)
