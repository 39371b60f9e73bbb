-- The ways out of a Lua 5.1 or LuaJIT sandbox that are publicly known, tried in a real VM: by what they need (bytecode,
-- environments, shared metatables, the debug, package and ffi libraries, native call-backs, other people's coroutines).
-- Each has to raise, or to come to nothing.
local scene = require "spec.support.scene"

local ESCAPES = {
  -- libraries that are not there, by whatever name
  "io.open '/etc/passwd'", "os.execute 'id'", "os.exit(1)", "os.getenv 'PATH'", "os.remove 'x'", "os.rename('x', 'y')",
  "os.tmpname()", "os.setlocale 'C'", "debug.getregistry()", "debug.getinfo(1)", "debug.getmetatable ''", "debug.sethook()",
  "debug.setmetatable(0, {})", "debug.getupvalue(print, 1)", "debug.setupvalue(print, 1, 2)", "debug.getlocal(1, 1)",
  "debug.setfenv(print, {})", "debug.upvaluejoin(print, 1, print, 1)", "debug.debug()", "package.loaded.io",
  "package.loadlib('libc.so.6', 'system')", "package.preload.x", "package.loaders[1]", "package.cpath", "jit.off()",
  "jit.util.funcinfo(print)", "jit.attach(print)", "ffi.C.system 'id'", "module 'x'", "collectgarbage 'stop'", "gcinfo()",
  "newproxy(true)", "dofile '/etc/passwd'", "loadfile '/etc/passwd'", "load 'return 1'", "loadstring 'return 1'", "_G.io",
  "_G", "_ENV", "arg", "shared", "getfenv(0)", "getfenv(1)", "getfenv(print)", "setfenv(1, {})",
  "setfenv(print, {})", "lua_assert", "table.getn {}", "table.foreach({}, print)", "table.setn({}, 1)", "string.gfind",
  "string.dump(print)", "('x').dump(print)", "math.mod", "coroutine.isyieldable", "coroutine.close", "table.clear", "table.new",
  -- … or by require
  "require 'ffi'", "require 'io'", "require 'os'", "require 'debug'", "require 'jit'", "require 'package'", "require 'bit'",
  "require 'string'", "require '_G'", "require 'jit.util'", "require 'jit.opt'", "require 'string.buffer'", "require 'table.new'",
  "require 'cjson.safe'", "require '../case'", "require '/etc/passwd'", "require 'case.lua'", "require 'x/y'", "require ''",
  "require '.'", "require '..'", "require 'a..b'", "require 'case\\0.x'", "require(nil)", "require {}",
  "require 'cjson'.new()", "require 'cjson'.encode_keep_buffer(true)", "require 'cjson'.decode_max_depth(1e9)",
  -- bytecode: refused wherever text could be
  "load('\\27LJ\\2')", "loadstring('\\27LJ')", "string.dump(function() end)",
  -- metatables that others share
  "getmetatable ''.__index", "getmetatable('').__index.rep", "setmetatable('', {})", "rawset(getmetatable '', '__index', {})",
  "getmetatable(string)", "getmetatable(chat)", "getmetatable(chat.session)", "getmetatable(session)",
  "getmetatable(session).__index", "setmetatable(session, {})", "setmetatable(string, {})", "setmetatable(chat, nil)",
  "getmetatable(print)", "getmetatable(0)", "getmetatable(nil)", "getmetatable(coroutine.running())",
  "getmetatable(require 'cjson')", "getmetatable(require 'cjson'.null)", "setmetatable(require 'cjson'.null, {})",
  "(function() local e = setmetatable({}, getmetatable(string)) return getmetatable(e) end)()",
  -- libraries that could be changed for everybody
  "(function() string.rep = print end)()", "(function() string.x = print end)()", "rawset(string, 'rep', print)",
  "rawget(string, 'rep')", "table.insert(string, 1)", "table.remove(table)", "table.sort(math)", "next(string)",
  "rawequal(next(chat.session))", "(function() for k in pairs(string) do return k end end)()",
  "(function() for k in next, chat do return k end end)()", "(function() print = nil end)()", "(function() x = 1 end)()",
  "(function() chat.timer.now = nil end)()", "(function() chat.x = 1 end)()", "#string", "string()", "string .. ''", "-string",
  "(function() require 'cjson'.encode = print end)()", "(function() session.send = print end)()", "(function() session.x = 1 end)()",
  "rawset(session, 'x', 1)", "rawget(session, 'id')", "unpack(string)", "select(-1)", "chat.session.method('send', print)",
  "chat.session.method('evil', print)", "chat.session.methods", "chat.session.__index", "chat.nothing", "session.nothing",
  "chat.config.get 'JWT_SECRET'", "chat.config.get 'STORE_URL'", "chat.config.get 'ENCRYPTION_KEY'", "chat.config.get 'PATH'",
  -- environments and stacks of others
  "coroutine.running()", "coroutine.status(coroutine.running())", "coroutine.resume(coroutine.running())", "coroutine.yield()",
  "coroutine.resume(session)", "coroutine.wrap(1)", "coroutine.status(nil)", "coroutine.create(print, 1).x",
  "(function() return coroutine.wrap(function() return coroutine.yield(nil) end)() end)()",
  "(function() local _, e = pcall(error) return e end)()",
  "(function() return select(2, xpcall(error, function(...) return (...) end)) end)()",
  "(function() local ok = pcall(string.rep) return ok end)()", "tostring(nil):rep(-1)()",
  -- native functions with arguments nobody meant
  "string.rep('x', 1e10)", "string.rep('', 1e12)", "string.rep(('x'):rep(1e7), 3, ('y'):rep(1e7))", "('%99999d'):format(1)",
  "string.format('%n', 1)", "string.format('%1000000s', 'x')", "string.format('%s')", "string.char(256)", "string.char(-1)",
  "unpack({}, 1, 1e8)", "unpack({}, -1e9, 1e9)", "select(1e10, 1)", "table.concat({}, '', 1, 1e9)", "table.concat { {} }",
  "os.date(('%c'):rep(1e5))", "os.date('%Ez', -1e18)", "os.time { year = 1e18 }", "tonumber('z', 99)", "tonumber('1', 1)",
  "setmetatable({}, { __metatable = 1, __index = error }).x", "setmetatable({}, 1)",
  "('x'):gsub('x', '%2')", "('x'):find('[a')", "('x'):find('%')", "('x'):find('%f')", "('x'):match('%1')", "('x'):match('(')",
  "('x'):find(('('):rep(40))", "('x'):rep(100):match(('x-'):rep(300))", "require 'cjson'.decode '[1e999]' and nil",
  "require 'cjson'.decode('[' .. ('['):rep(100))", "require 'cjson'.encode(print)", "require 'cjson'.encode { [1e9] = 1 }",
  "require 'cjson'.encode(0/0)", "chat.timer.iso(1e300)", "chat.timer.sleep(-1)", "chat.timer.sleep '1y'", "chat.shared.get ''",
  "chat.shared.set('k', {})", "chat.metrics.add 'Not allowed'", "chat.log.info {}", "chat.session.open '../../etc/passwd'",
  "chat.connection.user(session, -1)", "chat.connection.user(session, 2^60)", "session.id(session)", "session.send({}, 'x')",
  "session.send(io, 'x')", "session:send('x', { nobody = 1 })", "chat.store.sessions { user_id = {} }", "chat.guard.watch('x', print)",
}

describe("the sandbox holds against", function()
  after_each(scene.close)

  -- All in one VM, one function each; what comes back is how it ended.
  local case = { "local chat_connection = 1\nreturn {" }
  for i, escape in ipairs(ESCAPES) do
    case[#case + 1] = ("e%d = function(session) return (function() return %s end)() end,"):format(i, escape)
  end
  case[#case + 1] = [[
    intact = function() return ("x"):rep(2), string.rep("x", 2), type(chat.timer.now()), tostring(1) end }]]

  it(#ESCAPES .. " known ways out", function()
    local world = scene.case(table.concat(case, "\n"), { DEVELOPMENT = "false" })
    local alice = world:connect "alice"
    local open = {}
    for i, escape in ipairs(ESCAPES) do
      local heard = alice:asks("e" .. i)
      if not heard or not heard.failed and heard[1] then
        open[#open + 1] = escape .. " gives " .. tostring(heard and heard[1])
      end
    end
    assert.same({}, open)
    assert.same({ "xx", "xx", "number", "1" }, alice:asks "intact")
  end)
end)
