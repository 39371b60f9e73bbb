-- bindings/vm/sandbox.lua: what a script may do, and that nothing else is in reach.
local chatbox = require "chatbox_spec"
local cjson = require "spec.support.fake_chat".cjson

local TAG = newproxy()

-- A sandbox over these modules. C functions that wait are the ones that yield the tag.
local function sandbox(modules, chat)
  local said = {}
  chat = chat or {}
  chat.log = { info = function(text) said[#said + 1] = text end }
  chat.timer = { sleep = function(ms) return coroutine.yield(TAG, ms) end }
  local world = assert(loadfile "bindings/vm/sandbox.lua") {
    chat = chat,
    cjson = cjson(),
    yield_tag = TAG,
    strings = chatbox.strings,
    tables = chatbox.tables,
    numbers = chatbox.numbers,
    text_max = 16 * 1024 * 1024,
    nesting = { protect = function() return 0 end, release = function() end, resume = function() return 0 end,
      back = function() return 0 end },
    source = function(name) return modules[name] end,
  }
  world.said = said
  return world
end

-- What a script that consists of this text returns.
local function run(text, modules)
  modules = modules or {}
  modules.init = text
  return sandbox(modules).require "init"
end

local function refused(text, why)
  local ok, message = pcall(run, text)
  assert.is_false(ok, "this must not work: " .. text)
  if why then
    assert.matches(why, message)
  end
end

describe("the sandbox", function()
  local string_metatable = debug.getmetatable ""
  after_each(function()
    debug.setmetatable("", string_metatable)
  end)

  describe("gives a script", function()
    it("the safe libraries", function()
      assert.equal("3 AB 4 5 1", run [[
        local t = {}
        table.insert(t, 3)
        local co = coroutine.wrap(function() coroutine.yield(4) end)
        return t[1] .. " " .. ("ab"):upper() .. " " .. co() .. " " .. math.max(5, 2) .. " " .. bit.band(3, 1)
      ]])
      assert.is_number(run "return os.time() + os.clock() + os.difftime(2, 1) + #os.date()")
    end)

    it("print, which goes to the log", function()
      local world = sandbox { init = "print('a', 1, nil, true)" }
      world.require "init"
      assert.same({ "a\t1\tnil\ttrue" }, world.said)
    end)

    it("cjson, of which only decode, encode and null are left", function()
      assert.equal('{"a":1}', run "return require 'cjson'.encode { a = 1 }")
      assert.is_true(run "return require 'cjson'.decode_max_depth == nil")
    end)

    it("its own metatables", function()
      assert.equal("x!", run [[
        local t = setmetatable({}, { __index = function(_, k) return k .. "!" end })
        return rawget(t, "x") == nil and getmetatable(t) and t.x
      ]])
    end)
  end)

  describe("keeps globals as they are:", function()
    it("reading one that does not exist raises with its name and place", function()
      refused("return contnt", "scripts/init.lua:1: global 'contnt' does not exist")
    end)

    it("writing a new or an old one raises", function()
      refused("leaked = 1", "globals are read%-only: cannot set 'leaked'")
      refused("print = nil", "cannot set 'print'")
      refused("function helper() end", "cannot set 'helper'")
    end)

    it("a field of chat that does not exist raises", function()
      refused("return chat.sesion", "chat.sesion does not exist")
      refused("return chat.timer.slep", "chat.timer.slep does not exist")
    end)
  end)

  describe("has no way out:", function()
    for _, name in ipairs {
      "_G", "collectgarbage", "debug", "dofile", "ffi", "gcinfo", "getfenv", "io", "jit", "load", "loadfile", "loadstring",
      "module", "newproxy", "package", "setfenv",
    } do
      it(name .. " does not exist", function()
        refused("return " .. name, "global '" .. name .. "' does not exist")
      end)
    end

    for _, name in ipairs {
      "os.execute", "os.exit", "os.getenv", "os.remove", "os.rename", "os.setlocale", "os.tmpname", "string.dump",
      "table.foreach", "table.foreachi",
    } do
      it(name .. " is not there", function()
        assert.is_true(run("return " .. name .. " == nil"))
      end)
    end

    for _, name in ipairs { "debug", "ffi", "jit", "io", "os", "package", "string", "_G", "jit.opt", "table.new", "bit" } do
      it("require '" .. name .. "' finds nothing", function()
        refused("return require '" .. name .. "'", "not found")
      end)
    end

    for _, attempt in ipairs {
      -- libraries
      "string.rep = nil",
      "rawset(string, 'rep', nil)",
      "table.insert(string, 'x')",
      "table.insert(chat, 'x')",
      "table.sort(string)",
      "next(string)",
      "for k in pairs(string) do end",
      "for k in pairs(chat) do end",
      "setmetatable(string, {})",
      "setmetatable(chat, {})",
      "setmetatable(require 'cjson', {})",
      "chat.timer.sleep = print",
      "chat.log = nil",
      "rawset(chat.log, 'info', print)",
      "rawget(os, 'execute')()",
      "getmetatable(string).__index.rep = nil",
      "getmetatable(chat).__index = {}",
      "require 'cjson'.decode = nil",
      -- the string metatable
      "getmetatable('').__index = {}",
      "getmetatable('').__index.dump(print)",
      "(''):dump()",
      "setmetatable('', {})",
      -- environments
      "getfenv(0).x = 1",
      "setfenv(1, {})",
      "local f = print; return getfenv(f)",
      -- coroutines
      "coroutine.yield()",
      "coroutine.resume(coroutine.running() or 1)",
      "coroutine.create(1)",
      "coroutine.resume('x')",
      -- modules
      "require 'package.loaded'",
      "require('..init')",
      "require '/etc/passwd'",
      "require ''",
      "require(nil)",
      "require {}",
      "package.loaded.x = 1",
    } do
      it(attempt, function()
        refused(attempt)
      end)
    end

    it("bytecode is no module", function()
      local ok, message = pcall(run, string.dump(function() return 1 end))
      assert.is_false(ok)
      assert.matches("wrong mode", message)
    end)

    it("metatables of protected things are hidden", function()
      assert.same({ false, false, false, false }, run [[
        return { getmetatable(string), getmetatable(chat), getmetatable(chat.log), getmetatable("") }
      ]])
    end)

    it("not even the environment itself would be one, should a script get hold of it", function()
      local env = sandbox({}).env
      assert.is_false(getmetatable(env))
      assert.is_false(pcall(setmetatable, env, {}))
      assert.is_nil(next(env))
    end)

    it("an error object carries no way to the environment", function()
      assert.equal("string", run [[
        local ok, e = pcall(function() return contnt.x end)
        return type(e)
      ]])
    end)
  end)

  describe("bounds what C code makes in one go:", function()
    it("string.rep", function()
      refused("local s = ('x'):rep(1e9)", "init.lua:1: string.rep: the result would be over 16777216 bytes")
      refused("return string.rep('x', '99999999')", "over")
      refused("return string.rep('', 1e9, 'ab')", "over")
      refused("return string.rep('x', math.huge)", "over")
      assert.equal(16 * 1024 * 1024, run "return #('x'):rep(16 * 1024 * 1024)")
      assert.equal("a-a-a", run "return ('a'):rep(3, '-')")
      assert.equal("", run "return ('a'):rep(-1) .. ('a'):rep(0/0)")
    end)

    it("string.format", function()
      refused("local s = ('x'):rep(4e6) return ('%s%s'):format(s, s)", "string.format: the result would be over")
      refused("return ('%999d'):format(1)")
      assert.equal("  1 x \"y\"", run [[return ("%3d %s %q"):format(1, "x", "y")]])
    end)
  end)

  describe("loads modules", function()
    it("of the bundle, once", function()
      assert.is_true(run("return require 'a.b' == require 'a.b'", { ["a.b"] = "return {}" }))
    end)

    it("with the name of the file in errors", function()
      local ok, message = pcall(run, "require 'bots.x'", { ["bots.x"] = "local a\nerror 'oh'" })
      assert.is_false(ok)
      assert.equal("scripts/bots/x.lua:2: oh", message)
    end)

    it("and says where a syntax error is", function()
      local ok, message = pcall(run, "require 'bots.x'", { ["bots.x"] = "local local" })
      assert.is_false(ok)
      assert.matches("^scripts/bots/x.lua:1:", message)
    end)

    it("and names the one that is missing", function()
      refused("require 'bots.y'", "init.lua:1: module 'bots.y' not found: there is no scripts/bots/y.lua")
    end)

    it("and names a cycle", function()
      local ok, message = pcall(run, "require 'a'", { a = "require 'b'", b = "require 'a'" })
      assert.is_false(ok)
      assert.matches("^scripts/b.lua:1: module cycle: a %-> b %-> a", message)
    end)

    it("again after one failed", function()
      local modules = { init = "return require 'a'", a = "error 'first'" }
      local world = sandbox(modules)
      assert.is_false(pcall(world.require, "init"))
      modules.a = "return 7"
      assert.equal(7, world.require "init")
    end)

    it("before the first message, not in the middle of a conversation", function()
      local world = sandbox { init = "return { late = function(n) return require(n) end, b = require 'b' }", a = "", b = "" }
      local app = world.require "init"
      assert.is_true(app.late "b")
      local ok, message = pcall(app.late, "a")
      assert.is_false(ok)
      assert.matches("module 'a' is not loaded: require it at the top of a file", message)
    end)
  end)

  describe("lets a script wait", function()
    -- Runs a script's function as the server does: a coroutine that is resumed with the answer to each wait.
    local function serve(text, answers)
      local co = coroutine.create(sandbox({ init = "return function() " .. text .. " end" }).require "init")
      local asked = {}
      local result = { coroutine.resume(co) }
      while coroutine.status(co) == "suspended" do
        assert.equal(TAG, result[2])
        asked[#asked + 1] = result[3]
        result = { coroutine.resume(co, unpack(answers[#asked] or {})) }
      end
      return asked, result
    end

    it("inside coroutines of its own, however deep", function()
      local asked, result = serve([[
        local inner = coroutine.wrap(function(a)
          local b = coroutine.yield(a + 1)
          local c = chat.timer.sleep(b)
          return coroutine.wrap(function() return c + chat.timer.sleep(20) end)()
        end)
        local first = inner(1)
        return first, inner(10)
      ]], { { 100 }, { 1000 } })
      assert.same({ 10, 20 }, asked)
      assert.same({ true, 2, 1100 }, result)
    end)

    it("inside pcall and xpcall", function()
      local asked, result = serve([[
        local a, b = pcall(function() return chat.timer.sleep(1) end)
        local c, d = xpcall(function(x) chat.timer.sleep(x) error("e", 0) end, function(e) return e .. "!" end, 2)
        return a, b, c, d
      ]], { { "x" } })
      assert.same({ 1, 2 }, asked)
      assert.same({ true, true, "x", false, "e!" }, result)
    end)

    it("and nobody else can resume a coroutine that waits for the server", function()
      local app = sandbox { init = [[
        local co = coroutine.create(function() return chat.timer.sleep(1) end)
        return {
          first = function() return coroutine.resume(co) end,
          second = function() return coroutine.resume(co, "forged") end,
        }
      ]] }.require "init"
      local first = coroutine.create(app.first)
      assert.same({ true, TAG, 1 }, { coroutine.resume(first) })
      assert.same({ false, "cannot resume a coroutine that waits for the server" }, { app.second() })
      assert.same({ true, true, "true answer" }, { coroutine.resume(first, "true answer") })
    end)

    it("but not with a yield of its own to the server", function()
      local _, result = serve("coroutine.yield(1)", {})
      assert.is_false(result[1])
      assert.matches("cannot yield outside a coroutine of this script", result[2])
    end)

    it("and it never sees the coroutine of the server", function()
      local _, result = serve("return coroutine.running(), coroutine.wrap(coroutine.running)()", {})
      assert.is_nil(result[2])
      assert.equal("thread", type(result[3]))
    end)
  end)

  it("passes errors out of coroutine.wrap unchanged", function()
    assert.equal("e", run [[
      local _, e = pcall(coroutine.wrap(function() error({ "e" }) end))
      return e[1]
    ]])
  end)

  it("runs the handler of xpcall after the stack is unwound", function()
    assert.same({ false, "second" }, run [[
      return { xpcall(error, function(e) error("second", 0) end, "first") }
    ]])
    assert.same({ true, 1, 2 }, run "return { xpcall(function(...) return ... end, print, 1, 2) }")
  end)
end)
