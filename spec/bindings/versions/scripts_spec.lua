-- scripts.c: a reload is all or nothing, and nobody who is in the middle of something notices.
local chatbox = require "chatbox_spec"
local scene = require "spec.support.scene"

local function case(version, more)
  return { ["case.lua"] = [[ return {
    version = function() return "]] .. version .. [[", chat.version end,
    slow = function(s) chat.timer.sleep "10s" return "slow ]] .. version .. [[" end,
    ask = function(s) local heard = s:ask() return "]] .. version .. [[ heard", heard end,
    offer = function(s, c, word) return "]] .. version .. [[ offers", s:offer { word = word, deep = { { 1 } }, no = print } end,
    store = function(s) s:append { sender = "user", type = "x", content = "1" } s:flush() return "stored ]] .. version .. [[" end,
    ]] .. (more or "") .. [[ } ]] }
end

local function start(settings)
  return scene.case(case("1")["case.lua"], settings)
end

describe("a reload", function()
  after_each(scene.close)

  it("brings the new version to the next message, on the same connection", function()
    local world = start()
    local alice = world:connect "alice"
    local before = alice:asks "version"
    local ok, text = world:reload(case "2")
    assert.is_true(ok)
    assert.equal("version " .. world:version(), text)
    local after = alice:asks "version"
    assert.same({ "1", "2" }, { before[1], after[1] })
    assert.equal(world:version(), after[2])
    assert.not_equal(before[2], after[2])
    assert.is_nil(alice:closed())
  end)

  it("does nothing when nothing has changed", function()
    local world = start()
    assert.same({ true, "nothing has changed" }, { world:reload() })
    local version = world:version()
    world:reload(case "2")
    world:reload(case "1")
    assert.equal(version, world:version())
  end)

  describe("that fails leaves the old version answering, and says file and line:", function()
    local function fails(files, why, settings)
      local world = start(settings)
      files["extra.lua"] = files["extra.lua"] or ""
      local alice = world:connect "alice"
      local version = world:version()
      local ok, text = world:reload(files)
      assert.is_false(ok)
      assert.matches(why, text)
      assert.equal(version, world:version())
      assert.equal("1", alice:asks("version")[1])
      assert.is_true((world:reload { ["init.lua"] = nil, ["case.lua"] = case("3")["case.lua"], ["extra.lua"] = false }))
      assert.equal("3", alice:asks("version")[1])
    end

    it("a syntax error", function()
      fails({ ["extra.lua"] = "x =\n= 1" }, "^scripts/extra.lua:2: ")
    end)

    it("an error while it loads", function()
      fails({ ["case.lua"] = "local t\nreturn t.x", ["extra.lua"] = "" }, "^scripts/case.lua:2: ")
    end)

    it("a missing entry", function()
      local world = start()
      local ok, text = world:reload { ["init.lua"] = "return { message = function() end }" }
      assert.is_false(ok)
      assert.equal("scripts/init.lua:1: its table needs a function connect", text)
    end)

    it("a self_test that raises", function()
      fails({ ["case.lua"] = "local m = {}\nfunction m.self_test()\n  assert(1 + 1 == 3, 'sums are wrong')\nend\nreturn m" },
        "^scripts/case.lua:3: sums are wrong %(self_test of case%)$")
      fails({ ["case.lua"] = "local m = {}\nfunction m.self_test()\n  error { 'a table' }\nend\nreturn m" },
        "^scripts/case.lua:3: { 1 = a table } %(self_test of case%)$")
      fails({ ["case.lua"] = "return {\n self_test = function() return chat.shared.nope end }" },
        "^scripts/case.lua:2: .*chat.shared.nope does not exist")
    end)

    it("a self_test that returns false, or nil and why, with the line it begins in", function()
      fails({ ["case.lua"] = "local m = {}\nfunction m.self_test()\n  return 1 + 1 == 3\nend\nreturn m" },
        "^scripts/case.lua:2: it returned false %(self_test of case%)$")
      fails({ ["case.lua"] = "return {\n self_test = function() return false, 'sums are wrong' end }" },
        "^scripts/case.lua:2: it returned false: sums are wrong %(self_test of case%)$")
      fails({ ["case.lua"] = "return {\n self_test = function() return nil, 'no sums', 'NONE' end }" },
        "^scripts/case.lua:2: it returned nil: no sums %(self_test of case%)$")
      local world = start()
      for _, good in ipairs { "", "return nil", "return true", "return 0, 'nothing'" } do
        assert.is_true((world:reload { ["extra.lua"] = "return { self_test = function() " .. good .. " end }",
          ["case.lua"] = "local extra = require 'extra' return { version = function() return extra end }" }), good)
      end
    end)

    it("a self_test that wants to wait or to answer", function()
      fails({ ["case.lua"] = "return {\n self_test = function() chat.timer.sleep '1s' end }" },
        "^scripts/case.lua:2: .*while a script is loading")
    end)

    it("a script that does not come to an end while it loads, or in its self_test", function()
      if chatbox.sanitizer == "thread" then
        return pending "SKIPPED: ThreadSanitizer delays signals, and the guard is one"
      end
      local settings = { SCRIPT_MESSAGE_BUDGET = scene.budget(300) }
      fails({ ["case.lua"] = "local x = 1\nwhile true do x = x + 1 end\nreturn {}" }, "^scripts/case.lua:2: ended: ", settings)
      fails({ ["case.lua"] = "return {\n self_test = function() while true do end end }" }, "^scripts/case.lua:2: ended: ",
        settings)
    end)

    it("and no worker that serves has run a line of it: it is tried on one that nobody waits for", function()
      local world = start()
      world:advance "1h" -- there the clock stands elsewhere
      scene.log()
      world:reload { ["case.lua"] = "chat.log.info('it is ' .. chat.timer.now())\nreturn nil .. 1" }
      local times = {}
      for _, line in ipairs(scene.log()) do times[#times + 1] = line:match "it is (%d+)" end
      assert.same({ "1772463602000" }, times)
      world:reload { ["case.lua"] = "chat.log.info('it is ' .. chat.timer.now())\nreturn {}" }
      for _, line in ipairs(scene.log()) do times[#times + 1] = line:match "it is (%d+)" end
      assert.same({ "1772463602000", "1772463602000", "1772467202000" }, times)
    end)

    it("one that starts where it is tried, and not on the worker", function()
      local world = start()
      world:advance "1h"
      local ok, text = world:reload { ["case.lua"] = "if chat.timer.now() > 1772463602000 then error 'not here' end\nreturn {}" }
      assert.same({ false, "scripts/case.lua:1: not here" }, { ok, text })
      assert.equal("1", world:connect("alice"):asks("version")[1])
      assert.matches("failed: scripts/case.lua:1: not here", world:report())
    end)

    it("no init.lua at all", function()
      local world = start()
      assert.is_false((world:reload { ["init.lua"] = false }))
      assert.equal("1", world:connect("alice"):asks("version")[1])
    end)
  end)

  it("does not disturb handlers of the old version: they finish on it", function()
    local world = start()
    local alice = world:connect "alice"
    alice:sends "slow"
    world:reload(case "2")
    assert.equal(1, world:tasks())
    alice:sends "version" -- waits for its turn, and is then answered by the new version
    assert.is_nil(alice:hears())
    world:advance "10s"
    assert.same({ "slow 1" }, alice:hears())
    assert.equal("2", alice:hears()[1])
    assert.equal(0, world:tasks())
    assert.matches("an old version has drained", table.concat(scene.log(), "\n"))
  end)

  it("gives old handlers SCRIPT_DRAIN_TIMEOUT, then cancels them and tells their users", function()
    local world = start { SCRIPT_DRAIN_TIMEOUT = "3s" }
    local alice = world:connect "alice"
    alice:sends "slow"
    world:reload(case "2")
    scene.log()
    world:advance "2s"
    assert.is_nil(alice:hears())
    world:advance "1s"
    assert.same({ refused = "CANCELLED" }, alice:hears())
    local log = table.concat(scene.log(), "\n")
    assert.matches("handlers of an old version are cancelled", log)
    assert.matches("an old version has drained", log)
    world:advance "1h"
    assert.is_nil(alice:hears())
    assert.equal("2", alice:asks("version")[1])
  end)

  it("lets the new version answer a question of the old one; plain values cross over", function()
    local world = start()
    local alice = world:connect "alice"
    alice:sends "ask"
    world:reload(case "2")
    alice:sends "offer yes"
    assert.same({ "2 offers", true }, alice:hears())
    assert.same({ "1 heard", { word = "yes", deep = { { 1 } } } }, alice:hears())
    assert.equal(0, world:tasks())
  end)

  it("bounds what crosses over", function()
    local world = start()
    local alice = world:connect "alice"
    alice:sends "ask"
    world:reload(case("2", [[ wide = function(s)
      local t = {}
      for i = 1, 20 do t = { t, t } end
      t.me = t
      return s:offer(t)
    end, ]]))
    alice:sends "wide"
    local heard = alice:hears_all()
    assert.same({ true }, heard[1])
    assert.is_table(heard[2])
  end)

  it("after a reload works as well, also while older versions still drain", function()
    local world = start { SCRIPT_DRAIN_TIMEOUT = "1h" }
    local alice, bob, carol = world:connect "alice", world:connect "bob", world:connect "carol"
    alice:sends "slow"
    assert.is_true((world:reload(case "2")))
    bob:sends "slow"
    assert.is_true((world:reload(case "3")))
    carol:sends "slow"
    assert.equal(3, world:tasks())
    world:advance "10s"
    assert.same({ "slow 1" }, alice:hears())
    assert.same({ "slow 2" }, bob:hears())
    assert.same({ "slow 3" }, carol:hears())
  end)

  it("keeps at most two old versions: the oldest gives way", function()
    local world = start { SCRIPT_DRAIN_TIMEOUT = "1h" }
    local clients = {}
    for i, name in ipairs { "alice", "bob", "carol" } do
      clients[i] = world:connect(name)
      clients[i]:sends "slow"
      assert.is_true((world:reload(case(tostring(i + 1)))))
    end
    assert.same({ refused = "CANCELLED" }, clients[1]:hears())
    world:advance "10s"
    assert.same({ "slow 2" }, clients[2]:hears())
    assert.same({ "slow 3" }, clients[3]:hears())
    for i = 5, 12 do assert.is_true((world:reload(case(tostring(i))))) end
  end)

  it("frees an old version whose last commit is still on its way only when that has come back", function()
    local world = start { SCRIPT_DRAIN_TIMEOUT = "0" }
    local alice = world:connect "alice"
    scene.log()
    world:fault("writes wait", true)
    alice:sends "store"
    assert.is_true((world:reload(case "2")))
    world:advance "1s"
    assert.not_matches("has drained", table.concat(scene.log(), "\n"))
    world:fault("writes wait", false)
    assert.matches("has drained", table.concat(scene.log(), "\n"))
    assert.equal("2", alice:asks("version")[1])
  end)

  it("one at a time: a second request meanwhile is refused", function()
    local world = start()
    local ok, text, second = world:reload(case "2", true)
    assert.is_true(ok)
    assert.equal("version " .. world:version(), text)
    assert.equal("another reload is running", second)
  end)
end)
