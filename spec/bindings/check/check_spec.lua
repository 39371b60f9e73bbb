-- check.c and check*.lua: what is wrong with scripts, told without running them.
local scene = require "spec.support.scene"

-- Findings of one script, without its path.
local function findings(text)
  local lines = scene.check { ["x.lua"] = text }
  for i, line in ipairs(lines) do lines[i] = line:gsub("^scripts/x.lua:", "") end
  return lines
end

local function fine(text)
  assert.same({}, findings(text), text)
end

describe("a check finds", function()
  after_each(scene.close)

  it("a syntax error", function()
    assert.same({ "2: unexpected symbol near '='" }, findings "local x\nx = = 1")
    assert.same({ "1: this is not a text" }, findings "\27LJ\2")
  end)

  it("a global that is read, written or defined, in whatever nook", function()
    assert.same({ "1: global 'y' does not exist" }, findings "local x = y")
    assert.same({ "1: globals are read-only: cannot set 'x' (is a 'local' missing?)" }, findings "x = 1")
    assert.same({ "1: globals are read-only: cannot set 'f' (is a 'local' missing?)" }, findings "function f() end")
    assert.same({ "2: global 'b' does not exist" }, findings "local t = { a = 1,\n[b] = 2 }")
    assert.same({ "3: global 'n' does not exist" }, findings "return function()\nlocal f = function(...)\nreturn n + ... end\nend")
    assert.same({ "1: global 'i' does not exist" }, findings "for i = 1, 2 do end return i")
    assert.same({ "1: global 'x' does not exist" }, findings "do local x = 1 end return x")
    assert.same({ "1: global 'x' does not exist" }, findings "local x = x")
    assert.same({ "2: global 'nope' does not exist" }, findings "local s = 'a'\nreturn s:rep(nope)")
    assert.same({ "1: global 'nope' does not exist" }, findings "return -nope.x[1]:y().z")
    assert.same({ "4: global 'z' does not exist" }, findings "--[[ a\ncomment ]] local s = [==[ ]]\n]==] local t = 'a\\'b' -- z\nreturn z")
    for _, name in ipairs { "io", "debug", "jit", "loadstring", "setfenv", "dofile", "_G", "collectgarbage" } do
      assert.same({ "1: global '" .. name .. "' does not exist" }, findings("return " .. name))
    end
  end)

  it("a function the server does not have", function()
    assert.same({ "1: chat.stor does not exist" }, findings "return function() chat.stor.ready() end")
    assert.same({ "1: chat.store.red does not exist" }, findings "return function() return chat.store.red end")
    assert.same({ "2: chat.log.inf does not exist" }, findings "local log = chat.log\nlog.inf 'x'")
    assert.same({ "2: chat.log.inf does not exist" }, findings "local c = chat\nc.log['inf'] 'x'")
    assert.same({ "1: chat.log.info is read-only" }, findings "chat.log.info = nil")
  end)

  it("too few and too many arguments", function()
    assert.same({ "1: chat.limit.take takes 2 arguments, not 1" }, findings "chat.limit.take 'messages'")
    assert.same({ "2: chat.log.info takes 1 to 2 arguments, not 3" }, findings "local info = chat.log.info\ninfo('a', {}, 1)")
    assert.same({ "1: chat.timer.now takes 0 arguments, not 1" }, findings "chat.timer.now(1)")
    assert.same({ "1: session:append takes 1 argument, not 0" }, findings "return function(session) session:append() end")
    assert.same({ "1: session:send takes 1 to 2 arguments, not at least 3" },
      findings "return function(session) session:send(1, 2, 3, chat.timer.now()) end")
  end)

  it("settings and limiters that are none", function()
    assert.same({ "1: there is no setting RATE_LIMITT" }, findings 'return chat.config.get "RATE_LIMITT"')
    assert.same({ "1: JWT_SECRET is secret" }, findings 'return chat.config.get "JWT_SECRET"')
    assert.same({ "1: the limiters are messages, reads, ends, live, admin, admin_reads, public, not message" },
      findings "chat.limit.take('message', 'x')")
    fine "local name = ... return chat.config.get(name), chat.config.get 'RATE_LIMIT', chat.limit.take('public', 'x')"
  end)

  it("a module nobody wrote", function()
    assert.same({ "1: module 'lib.x' not found: there is no scripts/lib/x.lua" }, findings "local x = require 'lib.x'")
  end)

  it("a key that is there twice", function()
    assert.same({ "3: 'a' is there twice, first in line 1: one of them is unreachable" },
      findings "return { a = 1,\nb = 2,\n['a'] = 3 }")
  end)

  it("all of it, in order of file and line", function()
    local lines = scene.check { ["b.lua"] = "return y", ["a.lua"] = "local t = {}\nreturn z, t, x", ["c/d.lua"] = "x =" }
    assert.same({ "scripts/a.lua:2: global 'z' does not exist", "scripts/a.lua:2: global 'x' does not exist",
      "scripts/b.lua:1: global 'y' does not exist", "scripts/c/d.lua:1: unexpected symbol near '<eof>'" }, lines)
  end)
end)

describe("a check has nothing against", function()
  it("names in their scope", function()
    fine "local function f(a, ...) local b = a return b, ... end return f"
    fine "local f function f() return f end"
    fine "local t = {} function t.a.b(x) return x end function t:m() return self end return t"
    fine "local x repeat local done = true until done return x"
    fine "for i, v in ipairs {} do local _ = i, v end for i = 1, 2, 3 do local _ = i end while false do break end"
    fine "if true then local a = 1 return a elseif nil then return else local b return b end"
    fine "goto done do local x = 1 return x end ::done:: return"
    fine "local goto = 1 return goto"
    fine "return #'x' .. -1 ^ 2 .. (not nil and 0x1F or 1e-3 + .5) .. 3ULL"
    fine "local s = 'a;b'; return ('x'):rep(2), s:len(), \"it's\", [[\n]]"
    fine "local t = { 1, 2; x = 1, ['y z'] = 2, [1 + 1] = 3, { }, f = function() end, } return t { } { } 'x' [[y]]"
    fine "#!/usr/bin/lua\nreturn 1"
  end)

  it("what a script is given", function()
    fine "return string, table, math, bit, os, coroutine, print, pcall, xpcall, error, type, next, select, unpack, chat.version"
    fine "local cjson = require 'cjson' return cjson.encode {}"
    fine "local chat = {} chat.x.y() local require = nil return require"
  end)

  it("calls it cannot count", function()
    fine "return function(...) return chat.limit.take(...) end"
    fine "return function(f) return chat.limit.take(f()) end"
    fine "return function(f) return chat.limit.take('public', (f())) end"
    fine "for _, session in pairs {} do session:append(1, 2) end local session = {} session:append()"
    fine "return function(session, other) other:append() session:reply() session:mine(1, 2, 3) end"
    fine "local info = chat.log.info info = print return function() info(1, 2, 3, 4) end"
  end)

  it("the scripts of this repository", function()
    local files, list = {}, assert(io.popen "find scripts -name '*.lua'")
    for path in list:lines() do
      local file = assert(io.open(path))
      files[path:gsub("^scripts/", "")] = file:read "*a"
      file:close()
    end
    list:close()
    assert.same({}, (scene.check(files)))
  end)
end)

describe("a check of routes", function()
  local function routes(text) return (scene.check { ["routes.lua"] = text, ["say.lua"] = "return {}" }) end
  local function endpoints(text) return (scene.check { ["api/routes.lua"] = text, ["say.lua"] = "return {}" }) end

  it("of messages finds those without a handler", function()
    assert.same({ "scripts/routes.lua:2: route b has no handler", "scripts/routes.lua:4: route c: its handler is a string" },
      routes 'return { a = { print }, common = { x = "y" },\nb = { rate = "messages" },\nd = { stored = true },\nc = { "x" } }')
  end)

  it("finds limiters and settings that are none", function()
    assert.same({ "scripts/routes.lua:2: the limiters are messages, reads, ends, live, admin, admin_reads, public, not mesages" },
      routes 'return {\na = { print, rate = "mesages" }, b = { print, rate = "messages" } }')
    assert.same({ "scripts/api/routes.lua:1: the limiters are messages, reads, ends, live, admin, admin_reads, public, not x",
      "scripts/api/routes.lua:2: there is no setting y" },
      endpoints 'return { { "GET", "/a", print, limit = "x" },\n{ "GET", "/b", print, networks = "y" } }')
  end)

  it("of HTTP requests finds those that another one takes, and those that cannot be", function()
    assert.same({
      "scripts/api/routes.lua:2: route GET /a/b is unreachable: /a/:id in line 1 takes it",
      "scripts/api/routes.lua:5: route GET c is unreachable: a path begins with /",
      "scripts/api/routes.lua:6: route get /d: a method is in capitals",
      'scripts/api/routes.lua:7: route GET /e: auth is "user" or "admin"',
      "scripts/api/routes.lua:8: route GET /f has no handler",
    }, endpoints [[return { { "GET", "/a/:id", print },
      { "GET", "/a/b", print },
      { "POST", "/a/b", print }, { "GET", "/a", print }, { "GET", "/a/:id/x", print },
      { "GET", "/b/x", print }, { "GET", "/b/:id", print },
      { "GET", "c", print },
      { "get", "/d", print },
      { "GET", "/e", print, auth = "amdin" },
      { "GET", "/f" } }]])
  end)

  it("asks for handlers that are another module's, and for what is called there", function()
    local _, needs = scene.check {
      ["say.lua"] = "return {}",
      ["routes.lua"] = "local say = require 'say'\nreturn { a = { say.hello } }",
      ["x.lua"] = "local say = require 'say'\nsay.this()\nif say.that then say.that() end\nreturn say.other",
      ["y.lua"] = "local hook = require('say').hook\nif hook then hook() end",
    }
    assert.same({ "scripts/routes.lua:2 route a: say.hello", "scripts/x.lua:2 call: say.this" }, needs)
  end)
end)

describe("a reload", function()
  after_each(scene.close)

  local BAD = 'return {\n  version = function() return "2" end,\n  later = function() return undeclared end }'

  it("is refused for what a check finds, before any VM is started", function()
    local world = scene.case 'return { version = function() return "1" end }'
    assert.same({ false, "scripts/case.lua:3: global 'undeclared' does not exist" }, { world:reload { ["case.lua"] = BAD } })
    assert.same({ false, "scripts/a.lua:1: global 'b' does not exist (and 1 more: chatbox check)" },
      { world:reload { ["a.lua"] = "return function() return b end" } })
    assert.same({ "1" }, world:connect("alice"):asks "version")
  end)

  it("is refused for a handler that is not there, which only the new VM knows", function()
    local world = scene.shipped()
    local ok, text = world:reload { ["routes.lua"] = 'local say = require "handlers.say"\nreturn {\n'
      .. '  user_message = { say.user_mesage, fields = { content = "string" }, stored = true },\n  common = {} }' }
    assert.same({ false, "scripts/routes.lua:3: route user_message has no handler: handlers.say has no user_mesage" },
      { ok, text })
    local alice = world:connect "alice"
    alice:sends { type = "user_message", content = "hello" }
    assert.equal("hello", alice:hears("ai_response").content)
  end)
end)
