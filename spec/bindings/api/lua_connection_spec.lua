-- chat.connection: who speaks, and where a connection belongs.
local scene = require "spec.support.scene"

local GONE = { nil, "it is gone", "GONE" }

describe("chat.connection", function()
  after_each(scene.close)

  it(".user says who it is, with roles", function()
    local world = scene.case [[ return { who = function(s, c) return chat.connection.user(s, c) end } ]]
    local alice = world:connect { user = "a1", name = "Alice", roles = { "x", "chat_admin" } }
    assert.same({ { id = "a1", name = "Alice", roles = { "x", "chat_admin" }, admin = true } }, alice:asks "who")
    assert.same({ { id = "bob", name = "bob", roles = {}, admin = false } }, world:connect("bob"):asks "who")
  end)

  local REFRESH = [[ return {
    refresh = function(s, c, token) return chat.connection.refresh(s, c, token) end,
    who = function(s, c) return chat.connection.user(s, c) end } ]]

  it(".refresh takes a new token of the same user: its name and roles count from then on", function()
    local world = scene.case(REFRESH)
    local alice = world:connect { user = "a1", name = "Alice" }
    local token = world:token { user = "a1", name = "Alice B.", roles = { "admin" }, ttl = 60 }
    assert.same({ true, (1772463602 + 60) * 1000 }, alice:asks("refresh " .. token))
    assert.same({ { id = "a1", name = "Alice B.", roles = { "admin" }, admin = true } }, alice:asks "who")
    assert.same({ true }, alice:asks("refresh " .. world:token { user = "a1", ttl = -1772463602 })) -- it never ends
    assert.same({ true }, alice:asks("refresh " .. world:token { user = "a1", ttl = 253402300800 - 1772463602 }))
    assert.same({ true }, alice:asks("refresh " .. world:token { user = "a1", ttl = 2 ^ 62 })) -- nor do these
    assert.same({ { id = "a1", name = "a1", roles = {}, admin = false } }, alice:asks "who")
  end)

  it(".refresh refuses what is no good or another user's, and the connection keeps what it has", function()
    local world = scene.case(REFRESH)
    local alice = world:connect { user = "alice", roles = { "x" } }
    local function refused(code, token)
      assert.equal(code, alice:asks("refresh " .. token)[3])
    end
    refused("FORBIDDEN", world:token { user = "bob", roles = { "admin" }, ttl = 60 })
    refused("FORBIDDEN", world:token { user = "ALICE", ttl = 60 })
    refused("EXPIRED", world:token { user = "alice", ttl = -1 })
    refused("INVALID", world:token { user = "alice", ttl = 60 } .. "x")
    refused("INVALID", "x")
    refused("TOO_BIG", ("x"):rep(8193))
    assert.same({ { id = "alice", name = "alice", roles = { "x" }, admin = false } }, alice:asks "who")
  end)

  it(".refresh looks at ten tokens at once and then at one a second", function()
    local world = scene.case(REFRESH)
    local alice, tab = world:connect "alice", world:connect "alice"
    for _ = 1, 10 do assert.equal("INVALID", alice:asks("refresh x")[3]) end
    local answer = alice:asks "refresh x"
    assert.same({ "LIMITED", 1000 }, { answer[3], answer[4] })
    assert.equal("INVALID", tab:asks("refresh x")[3])
    world:advance(1000)
    assert.equal("INVALID", alice:asks("refresh x")[3])
    assert.equal("LIMITED", alice:asks("refresh x")[3])
  end)

  it(".wanted gives the id the client asked for, or an empty text", function()
    local world = scene.case [[ return { what = function(s, c) return chat.connection.wanted(s, c) end } ]]
    assert.same({ "abc" }, world:connect({ user = "alice", wanted = "abc" }):asks "what")
    assert.same({ "" }, world:connect("bob"):asks "what")
  end)

  it("is gone for a conversation it is no member of, and for a client that has left", function()
    local world = scene.case [[
      local left
      return {
        mine = function(s, c) left = c end,
        user = function(s, c, id) return chat.connection.user(s, tonumber(id) or left) end,
        move = function(s, c) return chat.connection.move(s, left, s) end,
        forward = function(s, c) return chat.connection.forward(s, left, s, "x") end,
      } ]]
    local alice, desk, bob = world:connect "alice", world:connect "alice", world:connect "bob"
    assert.same(GONE, bob:asks("user " .. alice:id()))
    assert.equal("alice", desk:asks("user " .. alice:id())[1].id)
    alice:sends "mine"
    alice:leave()
    assert.same(GONE, desk:asks "user")
    assert.same(GONE, desk:asks "move")
    assert.same(GONE, desk:asks "forward")
  end)

  it(".move makes it a member of the other conversation, to which its later messages go", function()
    local world = scene.case [[ local other return {
      connect = function(s) other = other or s end,
      where = function(s) return s.user_id, s.members end,
      go = function(s, c) return chat.connection.move(s, c, other) end,
      all = function(s) s:send '"all"' end } ]]
    local alice, bob = world:connect "alice", world:connect "bob"
    assert.same({ "bob", 1 }, bob:asks "where")
    assert.same({ true }, bob:asks "go")
    assert.same({ "alice", 2 }, bob:asks "where")
    alice:sends "all"
    assert.same({ "all" }, bob:hears_all())
    assert.same({ true }, bob:asks "go") -- there already
    bob:leave()
    assert.same({ "alice", 1 }, alice:asks "where")
    assert.equal(1, world:conversations()) -- the one bob left is gone: nothing was said in it
  end)

  it(".move twice, by messages of one queue, leaves it in the last conversation alone", function()
    local world = scene.case [[ local by_user = {} return {
      connect = function(s) by_user[s.user_id] = by_user[s.user_id] or s end,
      where = function(s) return s.user_id, s.members end,
      go = function(s, c, user) return chat.connection.move(s, c, by_user[user]) end } ]]
    local alice, bob, carol = world:connect "alice", world:connect "bob", world:connect "carol"
    carol:sends("go alice", true)
    carol:sends("go bob", true)
    carol:sends("go alice", true)
    carol:sends "go bob"
    assert.same({ "bob", 2 }, carol:asks "where")
    assert.same({ "alice", 1 }, alice:asks "where")
    carol:leave()
    assert.same({ "bob", 1 }, bob:asks "where")
  end)

  it(".move of one that dies on the way leaves no ghost", function()
    local world = scene.case [[ local other return {
      connect = function(s) other = other or s end,
      where = function(s) return s.members end,
      go = function(s, c) chat.timer.sleep "1s" return chat.connection.move(s, c, other) end } ]]
    local alice, bob = world:connect "alice", world:connect "bob"
    bob:sends "go"
    bob:leave()
    world:advance "1s"
    assert.same({ 1 }, alice:asks "where")
  end)

  it(".gather brings those of a user along who were left in what has ended, not who came to read it or is elsewhere", function()
    local world = scene.case [[ return {
      where = function(s) return s.id, s.members end,
      finish = function(s) return s:close() end,
      say = function(s) s:append { sender = "user", type = "x", content = "" } end,
      gather = function(s) return #chat.connection.gather(s) end } ]]
    local phone, tab, bob = world:connect "alice", world:connect "alice", world:connect "bob"
    phone:sends "say"
    local old = phone:asks("where")[1]
    local named = world:connect { user = "alice", wanted = old }
    phone:sends "finish"
    local reader = world:connect { user = "alice", wanted = old }
    assert.same({ old, 4 }, reader:asks "where")
    local desk = world:connect "alice"
    assert.same({ 3 }, desk:asks "gather")
    local new = desk:asks("where")[1]
    assert.not_equal(old, new)
    for _, client in ipairs { phone, tab, named } do assert.same({ new, 4 }, client:asks "where") end
    assert.same({ old, 1 }, reader:asks "where")
    assert.equal(1, bob:asks("where")[2])
    assert.same({ 0 }, desk:asks "gather")
  end)

  it(".gather moves at most 256 at once", function()
    local world = scene.case([[ return {
      say = function(s) s:append { sender = "user", type = "x", content = "" } end,
      finish = function(s) return s:close() end,
      gather = function(s) return #chat.connection.gather(s) end } ]], { MAX_CONNECTIONS_PER_USER = "1000" })
    local first = world:connect "alice"
    for _ = 1, 259 do world:connect "alice" end
    first:sends "say"
    first:sends "finish"
    local desk = world:connect "alice"
    assert.same({ 256 }, desk:asks "gather")
    assert.same({ 4 }, desk:asks "gather")
  end)

  it(".forward puts a text into the other conversation's inbox", function()
    local world = scene.case([[ local other return {
      connect = function(s) other = other or s end,
      where = function(s) return s.user_id end,
      slow = function(s) chat.timer.sleep "1s" end,
      give = function(s, c, text) return chat.connection.forward(s, c, other, text) end } ]], { INBOX_LIMIT = "1" })
    local alice, bob = world:connect "alice", world:connect "bob"
    bob:sends "give where"
    assert.same({ { true }, { "alice" } }, bob:hears_all())
    assert.same({}, alice:hears_all())
    alice:sends "slow"
    alice:sends "where"
    assert.same({ nil, "the queue is full", "FULL" }, bob:asks "give where")
  end)

  it(".close ends it behind what was sent, with code and reason; not when the handler fails", function()
    local world = scene.case [[ return {
      fail = function(s, c) chat.connection.close(s, c, 1008, "no") error "oh" end,
      bye = function(s, c) s:send '"bye"' return chat.connection.close(s, c, 4001, "enough") end } ]]
    local alice, desk = world:connect "alice", world:connect "alice"
    alice:asks "fail"
    assert.is_nil(alice:closed())
    alice:sends "bye"
    assert.equal("bye", alice:hears())
    assert.same({ 4001, "enough" }, { alice:closed() })
    assert.is_nil(desk:closed())
  end)

  local CATCH_UP = [[ return {
    immediate = { say = true, live = true },
    say = function(s, c, text)
      s:append { sender = "user", type = "t", content = text }
      s:send('{"said":"' .. text .. '"}', { event = true })
    end,
    live = function(s, c, text) s:send('"' .. text .. '"') end,
    miss = function(s, c, seq)
      assert(chat.connection.catch_up(s, c))
      local again = { chat.connection.catch_up(s, c) }
      local top = s.top
      chat.timer.sleep "1s"
      s:send('"told up to ' .. top .. ' ' .. again[3] .. '"', { to = c })
      chat.connection.caught_up(s, c, tonumber(seq) or top)
    end,
    fail = function(s, c) chat.connection.catch_up(s, c) chat.timer.sleep "1s" error "oh" end,
    forget = function(s, c) chat.connection.catch_up(s, c) chat.timer.sleep "1s" end,
    replace = function(s, c) return chat.connection.replaceable(s, c) end,
    replace_other = function(s, c, id) return chat.connection.replaceable(s, tonumber(id)) end,
    other = function(s, c, id) return chat.connection.catch_up(s, tonumber(id)) end } ]]

  local function said(client)
    local list = {}
    for _, document in ipairs(client:hears_all()) do
      list[#list + 1] = type(document) == "table" and document.said and document.said .. document.seq or document
    end
    return list
  end

  it(".catch_up lets what is for everybody wait until .caught_up, and nothing is told twice", function()
    local world = scene.case(CATCH_UP)
    local alice, tab = world:connect "alice", world:connect "alice"
    alice:sends "say a"
    assert.same({ "a1" }, said(tab))
    said(alice)
    tab:sends "miss 2" -- as if the second were read, too
    for _, word in ipairs { "say b", "live now", "say c", "say d" } do alice:sends(word) end
    assert.same({}, said(tab))
    assert.same({ "b2", "now", "c3", "d4" }, said(alice))
    world:advance "1s"
    assert.same({ "told up to 1 BUSY", "now", "c3", "d4" }, said(tab))
    alice:sends "live on"
    assert.same({ "on" }, said(tab))
  end)

  it(".catch_up is over when its handler is, however it ends", function()
    local world = scene.case(CATCH_UP)
    local alice, tab = world:connect "alice", world:connect "alice"
    for _, how in ipairs { "fail", "forget" } do
      tab:sends(how)
      alice:sends "live meanwhile"
      assert.same({}, said(tab))
      world:advance "1s"
      assert.equal("meanwhile", said(tab)[1], how)
      alice:sends "live on"
      assert.same({ "on" }, said(tab), how)
    end
  end)

  it(".catch_up and .replaceable are for the sender of the message that is handled", function()
    local world = scene.case(CATCH_UP)
    local alice, tab = world:connect "alice", world:connect "alice"
    local id = tab:id()
    for _, word in ipairs { "other ", "replace_other " } do
      assert.matches("is for the sender of the message", alice:asks(word .. id).failed, 1, true)
    end
    assert.same({ true }, tab:asks "replace")
  end)

  it("refuses what is no connection, no code, no reason", function()
    local function refused(body, why)
      local values, message = scene.run(body)
      assert.is_nil(values, body)
      assert.matches(why, message, 1, true)
    end
    refused("chat.connection.user(session)", "bad argument #2 to 'user' (number expected")
    refused("chat.connection.user(session, -1)", "a connection is expected")
    refused("chat.connection.user(session, 0/0)", "a connection is expected")
    refused("chat.connection.user({}, connection)", "bad argument #1 to 'user' (session expected")
    refused("chat.connection.close(session, 0, 1000, '')", "a connection is expected")
    for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1999, 2999, 5000, -1000, 65536 + 1000 } do
      refused(("chat.connection.close(session, connection, %d, '')"):format(code), "a close code is 1000 to 1014 without 1004 to 1006")
    end
    refused("chat.connection.close(session, connection, 1000, ('x'):rep(65))", "the text is too long")
    refused("chat.connection.close(session, connection, 1000, 'a\\0b')", "the text contains a NUL")
    refused("chat.connection.move(session, connection)", "bad argument #3 to 'move' (session expected")
    refused("chat.connection.forward(session, connection, session)", "bad argument #4 to 'forward' (string expected")
  end)
end)

describe("chat.connection, of what was put off", function()
  after_each(scene.close)

  local CASE = [[ return {
    off = function(s, c, rest) return chat.connection.hold(rest:match "^(%S+) (%S+)", rest:match " (%S+)", 250) end,
    held = function(s, c, cid) return chat.connection.held(cid ~= "" and cid or nil) end,
    free = function(s, c, cid) return chat.connection.release(cid) end,
    wrong = function() return chat.connection.hold("a", "NO_SUCH") end,
  } ]]

  it("holds what came behind it, until it is let go", function()
    local alice = scene.case(CASE):connect "alice"
    assert.same({ false }, alice:asks "held b")
    assert.same({ true }, alice:asks "off a LIMITED")
    assert.same({ "LIMITED", 250 }, alice:asks "held b")
    assert.same({ "LIMITED", 250 }, alice:asks "held ")
    assert.same({ false }, alice:asks "held a")
    alice:asks "free b"
    assert.same("LIMITED", alice:asks("held b")[1])
    alice:asks "free a"
    assert.same({ false }, alice:asks "held b")
    alice:asks "off a STORE"
    alice:asks "off b FULL" -- of two the first
    assert.same({ "STORE", 250 }, alice:asks "held b")
  end)

  it("is another connection's own affair", function()
    local world = scene.case(CASE)
    local alice, desk = world:connect "alice", world:connect "alice"
    alice:asks "off a FULL"
    assert.same({ false }, desk:asks "held b")
  end)

  it("has a reason that is known", function()
    local alice = scene.case(CASE):connect "alice"
    assert.matches("a refusal is LIMITED, FULL or STORE", alice:asks("wrong").failed)
  end)
end)
