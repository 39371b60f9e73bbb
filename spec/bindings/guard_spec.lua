-- guard.c, failure.c, deadline.c: whatever a handler does, it ends within its budget and hurts one message.
-- The handlers are those of spec/support/hostile.lua.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local CASE = "local hostile = (function() " .. read "spec/support/hostile.lua" .. [[ end)()
  local handlers = { fine = function() return "fine" end }
  for kind, entry in pairs(hostile) do
    handlers[kind] = function(session, connection, n)
      if not kind:find "^sleeps" and kind ~= "commits" then session:send '"a part of the slice"' end
      entry[2](tonumber(n), session, connection)
    end
  end
  return handlers]]

-- kind -> how it has to end
local function kinds()
  local list = {}
  for kind, how in CASE:gmatch '\nhostile%.([%w_]+) = { "(%a+)"' do list[#list + 1] = { kind = kind, how = how } end
  return list
end

local function field(line, name) return line:match(" " .. name .. '="([^"]*)"') or line:match(" " .. name .. "=(%S+)") end

-- The line of the log about the handler that was ended, or nil.
local function ended()
  for _, line in ipairs(scene.log()) do
    if line:find("a handler was ended", 1, true) then return line end
  end
end

if chatbox.tsan then
  describe("a hostile handler", function()
    pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
  end)
  return
end

describe("a hostile handler", function()
  local world, alice
  setup(function()
    world = scene.case(CASE, { SCRIPT_WAIT_DEADLINE = "10s" })
    alice = world:connect "alice"
  end)
  teardown(scene.close)

  for i, entry in ipairs(kinds()) do if entry.how ~= "hoard" then
    it("of the kind " .. entry.kind .. " is ended", function()
      scene.log()
      alice:hears_all()
      alice:sends(entry.kind .. " " .. i)
      world:advance "11s"
      local heard = alice:hears()
      assert.is_truthy(heard and heard.failed, "no answer, or a part of the slice came through: " .. tostring(heard))
      assert.matches("^%x+$", heard.incident)
      local line = ended() or entry.how ~= "error" and error(heard.failed) or nil
      if entry.how == "error" then
        assert.is_nil(line)
      else
        if entry.how ~= "any" then assert.equal(entry.how, field(line, "kind")) end
        assert.equal(heard.incident, field(line, "incident"))
        assert.equal(world:version(), field(line, "version"))
        if entry.how == "time" then assert.is_true(tonumber(field(line, "cpu_ms")) <= 150, line) end
        assert.matches("scripts/case.lua:%d+", line)
      end
      assert.equal(0, world:tasks())
      assert.same({ "fine" }, alice:asks "fine")
    end)
  end end
end)
