-- vm.c: what the server gives to scripts/init.lua and takes from it, and that no script can hurt it.
local scene = require "spec.support.scene"

local ENTRIES = "message = function() end, connect = function() end, http = function() end, failed = function() end, "
  .. "refused = function() end"

local function why_not(files)
  if type(files) == "string" then files = { ["init.lua"] = files } end
  local world, why = scene.new { files = files }
  assert.is_nil(world)
  return why
end

describe("a VM", function()
  after_each(scene.close)

  describe("starts only with scripts that work, and says file and line when they do not:", function()
    it("a syntax error, also in a file that nobody requires", function()
      assert.matches("^scripts/init.lua:2: ", why_not "local x =\n = 1")
      assert.matches("^scripts/bots/new.lua:1: ",
        why_not { ["init.lua"] = "return {" .. ENTRIES .. "}", ["bots/new.lua"] = "retrun 1" })
    end)

    it("an error while loading, also deep inside", function()
      assert.matches("^scripts/init.lua:2: attempt to", why_not "local t = nil\nreturn t.x")
      assert.matches("^scripts/b.lua:1: oh",
        why_not { ["init.lua"] = "require 'a'", ["a.lua"] = "require 'b'", ["b.lua"] = "error 'oh'" })
      assert.equal("scripts/init.lua:1: {}", why_not "error {}")
    end)

    it("a missing init.lua", function()
      assert.matches("init", why_not { ["x.lua"] = "return 1" })
    end)

    it("something else than a table, or a table without an entry", function()
      assert.equal("scripts/init.lua:1: it has to return a table", why_not "return 5")
      assert.equal("scripts/init.lua:1: its table needs a function refused",
        why_not("return {" .. ENTRIES:gsub("refused", "refuse") .. "}"))
      assert.equal("scripts/init.lua:1: its table needs a function describe",
        why_not("return {" .. ENTRIES .. ", describe = 1 }"))
    end)

    it("a table whose metatable raises", function()
      assert.equal("scripts/init.lua:1: its table needs a function message",
        why_not "return setmetatable({}, { __index = function() error 'no' end })")
    end)

    it("bytecode", function()
      assert.equal("scripts/evil.lua:1: this is not a text",
        why_not { ["init.lua"] = "return {" .. ENTRIES .. "}", ["evil.lua"] = string.dump(function() end) })
    end)

    it("waiting, changing or counting while loading", function()
      assert.matches("scripts/init.lua:1: this cannot be called while a script is loading",
        why_not "chat.timer.sleep(1)", 1, true)
      assert.matches("while a script is loading", why_not "chat.store.ready()")
      assert.matches("while a script is loading", why_not "chat.metrics.add 'x'")
    end)
  end)

  it("gives handlers the text as it came, the conversation and the connection", function()
    local world = scene.new { files = { ["init.lua"] = [[
      return { message = function(session, text, connection, busy)
          session:send(text .. type(session) .. type(connection) .. tostring(busy)) end,
        connect = function(session, connection) session:send("joined " .. session.members .. type(connection)) end,
        http = function() end, failed = function() end, refused = function() end }
    ]] } }
    local alice = world:connect "alice"
    assert.equal("joined 1number", alice:hears())
    assert.equal("h\0iuserdatanumberfalse", alice:asks "h\0i")
  end)

  it("describes its protocol when it can, and survives when it cannot", function()
    assert.equal("two words", scene.case("return { describe = function() return 'two words' end }"):describe())
    assert.is_nil(scene.case("return {}"):describe())
    assert.is_nil(scene.case("return { describe = function() error 'no' end }"):describe())
    assert.is_nil(scene.case("return { describe = function() return chat.timer.sleep(1) end }"):describe())
  end)

  describe("answers HTTP", function()
    local function http(body, request)
      return scene.case("return { http = function(request) " .. body .. " end }"):http(request or {})
    end

    it("with the whole request in the handler's hands", function()
      local answer = http([[ local r = request
        return { status = 201, body = table.concat({ r.method, r.path, r.query.a, r.query.b, r.headers.host, r.body,
          r.address, r.auth, r.user.id, r.user.name, r.user.roles[1], tostring(r.user.admin) }, " ") } ]],
        { method = "HEAD", path = "/x", query = { a = "1", b = "" }, headers = { host = "h" }, body = "body",
          address = "10.0.0.1", user = "u", name = "U", roles = { "admin" } })
      assert.equal(201, answer.status)
      assert.equal("GET /x 1  h body 10.0.0.1 ok u U admin true", answer.body)
    end)

    it("and says when nobody, or somebody with a bad token, asks", function()
      local body = "return { body = request.auth .. tostring(request.user) }"
      assert.equal("missingnil", http(body).body)
      assert.equal("invalidnil", http(body, { auth = "invalid" }).body)
    end)

    it("with status, type, endpoint and headers of the response, or what is usual", function()
      assert.same({ status = 404, body = "b", type = "text/x", endpoint = "/e", headers = { A = "1" } },
        http "return { status = 404, body = 'b', type = 'text/x', endpoint = '/e', headers = { A = '1', B = 2, [3] = 'c' } }")
      assert.same({ status = 200, body = "", headers = {} }, http "return {}")
      assert.equal(500, http("return { status = 99 }").status)
      assert.equal(500, http("return { status = 0/0 }").status)
    end)

    it("with at most sixteen headers", function()
      local answer = http "local h = {} for i = 1, 20 do h['H' .. i] = 'x' end return { headers = h }"
      local count = 0
      for _ in pairs(answer.headers) do count = count + 1 end
      assert.equal(16, count)
    end)

    it("later, when the handler waits", function()
      local world = scene.case "return { http = function() chat.timer.sleep '1s' return { body = 'late' } end }"
      local request = world.raw:request {}
      assert.is_nil(scene.answer(request))
      assert.equal(1, world:tasks())
      world:advance "1s"
      assert.equal("late", scene.answer(request).body)
      assert.equal(0, world:tasks())
    end)

    it("500 when the handler raises or returns no response", function()
      for _, body in ipairs { "error 'oh'", "return", "return 5", "return nil, {}" } do
        local answer = http(body)
        assert.equal(500, answer.status, body)
        assert.equal("INTERNAL_ERROR", answer.json.code)
      end
    end)

    it("and is not hurt by a response that bites", function()
      assert.equal(200, http("return setmetatable({}, { __index = function() error 'no' end })").status)
      assert.equal("", http("return { body = 42, type = 43, endpoint = {}, headers = 'x' }").body)
    end)

    it("503 when it is cancelled", function()
      local world = scene.case "return { http = function() chat.timer.sleep '1s' return {} end }"
      local request = world.raw:request {}
      world:cancel()
      assert.equal(503, scene.answer(request).status)
    end)
  end)

  describe("takes a handler that raises", function()
    local FAILS = [[
      local function deep(n) return 1 + deep(n + 1) end
      local function through() local ok = coroutine.wrap(function() error "inside" end)() return ok end
      return {
        text = function() error "oh" end,
        no_text = function() error { code = 5 } end,
        nothing = function() error() end,
        stack = function() return deep(0) end,
        wrapped = through,
        in_pcall = function() return (pcall(deep, 0)) end,
        waited = function() chat.timer.sleep(5) error "after" end,
        bad_tostring = function() error(setmetatable({}, { __tostring = function() error "no" end })) end,
        big = function() error(("x"):rep(100000)) end,
        coroutines = function() local function co() return coroutine.wrap(co)() end return co() end,
        gsubs = function() local function sub() return (("a"):gsub("a", sub)) end return sub() end,
        overflow_twice = function() local function f() pcall(f) error "x" end f() end,
        fine = function() return "fine" end,
      }
    ]]

    it("as one failed message: the sender learns the incident, the log the place, the VM goes on", function()
      local world = scene.case(FAILS)
      local alice = world:connect "alice"
      scene.log()
      local heard = alice:asks "text"
      assert.matches("^scripts/case.lua:%d+: oh$", heard.failed)
      assert.matches("^%x+$", heard.incident)
      assert.equal(12, #heard.incident)
      local log = table.concat(scene.log(), "\n")
      assert.matches("error script a handler failed incident=" .. heard.incident, log, 1, true)
      assert.matches("version=" .. world:version(), log, 1, true)
      assert.matches("stack traceback", log, 1, true)
      assert.matches("scripts/case.lua:%d+: oh", world:script_error())
      assert.same({ "fine" }, alice:asks "fine")
    end)

    it("whatever it raises, and however deep it is", function()
      local world = scene.case(FAILS)
      local alice = world:connect "alice"
      for _ = 1, 3 do
        assert.matches("^scripts/case.lua:%d+: { code = 5 }$", alice:asks("no_text").failed)
        assert.matches("^scripts/case.lua:%d+: an error that is a nil$", alice:asks("nothing").failed)
        assert.matches("^scripts/case.lua:%d+: {}$", alice:asks("bad_tostring").failed)
        assert.matches("stack overflow", alice:asks("stack").failed)
        assert.matches("inside", alice:asks("wrapped").failed)
        assert.same({ false }, alice:asks "in_pcall")
        assert.matches("too many coroutines inside one another", alice:asks("coroutines").failed)
        assert.matches("string.gsub: too many inside one another", alice:asks("gsubs").failed)
        assert.matches("x", alice:asks("overflow_twice").failed)
        assert.equal(100000, #alice:asks("big").failed:match "x+$")
        assert.same({ "fine" }, alice:asks "fine")
      end
      alice:sends "waited"
      world:advance(5)
      assert.matches("after", alice:hears().failed)
      assert.equal(0, world:tasks())
    end)

    it("also when the script's own failed() fails", function()
      local world = scene.new { files = { ["init.lua"] = [[
        local bad = true
        return { message = function(s, text) if text == "ok" then s:send '"ok"' else error "first" end end,
          connect = function() error "in connect" end, http = function() end, refused = function() end,
          failed = function(s) if bad then bad = false; error "second" end s:send '"told"' end }
      ]] } }
      local alice = world:connect "alice"
      assert.is_nil(alice:hears())
      assert.equal("told", alice:asks "x")
      assert.equal("ok", alice:asks "ok")
    end)

    it("and failed() may not wait", function()
      local world = scene.new { files = { ["init.lua"] = [[
        return { message = function(s, text) if text == "ok" then s:send '"ok"' else error "first" end end,
          connect = function() end, http = function() end, refused = function() end,
          failed = function(s) local ok, why = pcall(chat.timer.sleep, 1) s:send(why) end }
      ]] } }
      local alice = world:connect "alice"
      assert.matches("cannot wait here", alice:asks "x")
      assert.equal("ok", alice:asks "ok")
    end)
  end)

  it("tells refused() when a conversation's inbox is full", function()
    local world = scene.case([[ return {
      slow = function() chat.timer.sleep "1s" return "done" end, quick = function(_, _, n) return n end } ]],
      { INBOX_LIMIT = "2" })
    local alice = world:connect "alice"
    alice:sends "slow"
    for i = 1, 3 do alice:sends("quick " .. i) end
    assert.same({ { refused = "FULL" } }, alice:hears_all())
    world:advance "1s"
    assert.same({ { "done" }, { "1" }, { "2" } }, alice:hears_all())
  end)

  it("keeps no memory of what has passed", function()
    local world = scene.case [[ return {
      work = function(s)
        local t = {}
        for i = 1, 100 do t[i] = { i } end
        s:append { sender = "user", type = "x", content = ("x"):rep(1000) }
        s:flush()
        coroutine.wrap(function() chat.timer.sleep(0) end)()
        return "done"
      end,
      fail = function() chat.timer.sleep(0) error "x" end } ]]
    local alice = world:connect "alice"
    local function round()
      for _ = 1, 50 do
        alice:sends "work"
        alice:sends "fail"
        world:advance(1)
      end
      alice:hears_all()
    end
    round()
    local before = world:memory()
    for _ = 1, 4 do round() end
    assert.is_true(world:memory() < before + 64, "more than 64 KiB grew in 400 messages")
    assert.equal(0, world:tasks())
  end)
end)
