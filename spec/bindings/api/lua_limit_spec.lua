-- chat.limit: rate limits.
local scene = require "spec.support.scene"

local TAKE = [[ return { take = function(s, c, words)
  local limiter, key = words:match "(%S+) ?(.*)"
  return chat.limit.take(limiter, key)
end,
blocked = function() return chat.metrics.render():match 'chatbox_ratelimit_blocked_total{limiter="message"} (%d+)' end } ]]

describe("chat.limit.take", function()
  after_each(scene.close)

  it("lets RATE_LIMIT events of a key through in RATE_WINDOW, and says when the next may come", function()
    local world = scene.case(TAKE, { RATE_LIMIT = "2", RATE_WINDOW = "10s" })
    local alice = world:connect "alice"
    assert.same({ true }, alice:asks "take messages a")
    world:advance "1s"
    assert.same({ true }, alice:asks "take messages a")
    assert.same({ nil, "rate limit reached", "LIMITED", 9000 }, alice:asks "take messages a")
    local blocked = alice:asks("blocked")[1]
    assert.same({ true }, alice:asks "take messages b")
    world:advance(8999)
    assert.same({ nil, "rate limit reached", "LIMITED", 1 }, alice:asks "take messages a")
    assert.equal(blocked + 1, tonumber(alice:asks("blocked")[1]))
    world:advance(1)
    assert.same({ true }, alice:asks "take messages a")
  end)

  it("counts addresses apart from users", function()
    local world = scene.case(TAKE, { RATE_LIMIT = "1", PUBLIC_RATE_LIMIT = "1" })
    local alice = world:connect "alice"
    assert.same({ true }, alice:asks "take messages a")
    assert.same({ true }, alice:asks "take public a")
    assert.same({ nil, "rate limit reached", "LIMITED", 60000 }, alice:asks "take public a")
  end)

  it("refuses a limiter that does not exist", function()
    local _, message = scene.run "chat.limit.take('mine', 'a')"
    assert.matches("the limiters are messages, reads, ends, live, admin, admin_reads, public", message)
    _, message = scene.run "chat.limit.take 'public'"
    assert.matches("bad argument #2 to 'take' (string expected", message, 1, true)
  end)
end)
