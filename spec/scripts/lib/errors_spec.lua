local fake = require "spec.support.fake_chat"

describe("an error", function()
  local sent, world, errors
  local session = { id = "S", send = function(_, text, options) sent = { text = text, options = options } end }

  before_each(function()
    world = fake.new { app = false }
    errors = world.require "lib.errors"
  end)

  local function body()
    return require "cjson.safe".decode(sent.text).error
  end

  for code, expected in pairs {
    INVALID_FORMAT = { "Invalid message format", true },
    MISSING_FIELD = { "Required field missing", true },
    NOT_FOUND = { "Session not found", true },
    UNAUTHORIZED = { "You do not have permission to access this session", true },
    SERVICE_ERROR = { "An unexpected error occurred", true },
    LLM_UNAVAILABLE = { "AI service is temporarily unavailable", true },
    LLM_TIMEOUT = { "AI service request timed out", true },
    DATABASE_ERROR = { "Database operation failed", true },
    TOO_MANY_REQUESTS = { "Too many requests, please slow down", true },
    CONNECTION_LIMIT_EXCEEDED = { "Connection limit exceeded, please try again later", true },
    INVALID_TOKEN = { "Invalid authentication token", false },
    EXPIRED_TOKEN = { "Authentication token has expired", false },
    INSUFFICIENT_PERMISSIONS = { "Insufficient permissions for this operation", false },
    INVALID_FILE_TYPE = { "Invalid file type", true },
    INVALID_FILE_SIZE = { "File size exceeds maximum", true },
    STORAGE_ERROR = { "File storage operation failed", true },
    INTERNAL = { "An unexpected error occurred", true },
  } do
    it(code .. " says what it is", function()
      errors.send(session, "c1", code)
      assert.same({ code = code, message = expected[1], recoverable = expected[2] }, body())
    end)
  end

  it("goes to the one connection, carries what is special, and is counted", function()
    errors.send(session, "c1", "TOO_MANY_REQUESTS", "Slow!", { retry_after = 12 })
    assert.same({ to = "c1" }, sent.options)
    assert.same({ code = "TOO_MANY_REQUESTS", message = "Slow!", recoverable = true, retry_after = 12 }, body())
    assert.equal(1, world.counts.message_errors)
  end)

  it("of an unknown code is a mistake of the script", function()
    assert.is_false(pcall(errors.send, session, "c1", "NO_SUCH_CODE"))
  end)
end)
