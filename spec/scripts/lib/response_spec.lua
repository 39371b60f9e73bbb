local fake = require "spec.support.fake_chat"
local cjson = require "cjson.safe"

describe("a response", function()
  local response = fake.new({ app = false }).require "lib.response"

  it("of an error has text and code", function()
    for status, code in pairs { [400] = "BAD_REQUEST", [403] = "FORBIDDEN", [404] = "NOT_FOUND", [500] = "INTERNAL_ERROR" } do
      local answer = response.error(status)
      assert.equal(status, answer.status)
      assert.equal(code, cjson.decode(answer.body).code)
      assert.is_string(cjson.decode(answer.body).error)
    end
    assert.same({ error = "x", code = "Y" }, cjson.decode(response.error(401, "x", "Y").body))
  end)

  it("to too many requests says when to come back, in whole seconds, at least one", function()
    for ms, seconds in pairs { [1] = "1", [1000] = "1", [1001] = "2", [59999] = "60" } do
      local answer = response.too_many(ms)
      assert.equal(429, answer.status)
      assert.same({ ["Retry-After"] = seconds }, answer.headers)
      assert.same({ error = "rate_limit_exceeded", message = "Too many requests. Please try again later." }, cjson.decode(answer.body))
    end
  end)
end)
