local fake = require "spec.support.fake_chat"
local scene = require "spec.support.scene"

describe("a user's conversations", function()
  after_each(scene.close)

  local world, anna
  before_each(function()
    world = fake.new()
    anna = world:connect { user = "anna" }
  end)

  local function get(path, query, user)
    return world:http { method = "GET", path = path, query = query, user = user or "anna" }
  end

  local function finish(id, user)
    return world:http { method = "POST", path = "/sessions/" .. id .. "/end", user = user or "anna" }
  end

  describe("listed", function()
    it("are an empty array when there is none", function()
      local response = get "/sessions"
      assert.equal(200, response.status)
      assert.matches('"sessions":%[%]', response.body)
      assert.same({ count = 0, limit = 100, sessions = {}, truncated = false, user_id = "anna" }, response.json)
    end)

    it("have the fields clients read", function()
      anna:send { type = "user_message", content = "Hello world. How are you?" }
      world:advance(90500)
      assert.same({ {
        id = anna.session.id, session_id = anna.session.id, help_requested = false,
        user_id = "anna", name = "Hello world.", last_activity = "2026-03-02T15:00:00.000Z", message_count = 2,
        unread = 2,
        admin_assisted = false, start_time = "2026-03-02T15:00:00.000Z", is_active = true, duration = 90, total_tokens = 6,
        max_response_time = 0, avg_response_time = 0,
      } }, get("/sessions").json.sessions)
    end)

    it("say when they ended and who helped", function()
      world:new_session("anna", {
        stored = true, start_ms = 1000, last_activity_ms = 0, end_ms = 62500, admin_assisted = true, assisting_admin_name = "Jane",
      })
      local item = get("/sessions").json.sessions[1]
      assert.same({ "1970-01-01T00:01:02.500Z", false, 61, "Jane", "1970-01-01T00:00:01.000Z" },
        { item.end_time, item.is_active, item.duration, item.assisting_admin_name, item.last_activity })
    end)

    it("come newest first, at most a hundred, and say when there may be more", function()
      for i = 1, 99 do
        world:new_session("anna", { stored = true, start_ms = i })
      end
      world:new_session("eve", { stored = true })
      local list = get("/sessions").json
      assert.same({ 99, false, "1970-01-01T00:00:00.099Z" }, { list.count, list.truncated, list.sessions[1].start_time })
      world:new_session("anna", { stored = true })
      world:new_session("anna", { stored = true })
      list = get("/sessions").json
      assert.same({ 100, true }, { list.count, list.truncated })
    end)

    it("are an error when the store fails, not an empty list", function()
      world.store_fails = true
      local response = get "/sessions"
      assert.same({ 503, "DATABASE_ERROR", "Database operation failed" }, { response.status, response.json.code, response.json.error })
      assert.equal("2", response.headers["Retry-After"])
    end)
  end)

  describe("read", function()
    it("have messages, oldest first", function()
      anna:send { type = "user_message", content = "Hello.", metadata = { a = "b" } }
      local response = get("/sessions/" .. anna.session.id)
      assert.equal(200, response.status)
      local body = response.json
      assert.same({ anna.session.id, "Hello.", "" }, { body.session_id, body.name, body.model_id })
      assert.same({ "user", "Hello.", "2026-03-02T15:00:00.000Z", { a = "b" } },
        { body.messages[1].sender, body.messages[1].content, body.messages[1].timestamp, body.messages[1].metadata })
      assert.same({ 2, "ai" }, { #body.messages, body.messages[2].sender })
      assert.is_nil(body.before_seq)
    end)

    it("may be empty", function()
      assert.matches('"messages":%[%]', get("/sessions/" .. anna.session.id).body)
    end)

    it("say which message, and whether the name, cannot be read", function()
      anna:send { type = "user_message", content = "Hello." }
      local stored = world.messages[anna.session.id][1]
      stored.content, stored.damaged, stored.extra = "", true, nil
      anna.session.name, anna.session.name_damaged = "", true
      local body = get("/sessions/" .. anna.session.id).json
      assert.same({ "", true }, { body.name, body.name_damaged })
      assert.same({ "", true, nil }, { body.messages[1].content, body.messages[1].damaged, body.messages[2].damaged })
    end)

    it("page back with before_seq and limit", function()
      for i = 1, 5 do
        anna:send { type = "user_message", content = "m" .. i }
      end
      local body = get("/sessions/" .. anna.session.id, { limit = "3" }).json
      assert.same({ 8, 10, 8 }, { body.messages[1].seq, body.messages[3].seq, body.before_seq })
      body = get("/sessions/" .. anna.session.id, { limit = "1000", before_seq = "8" }).json
      assert.same({ 1, 7 }, { body.messages[1].seq, body.messages[7].seq })
      assert.is_nil(body.before_seq)
    end)

    for key, values in pairs {
      limit = { "0", "1001", "-1", "1.5", "x", "1e3", " 5", ("9"):rep(400) },
      before_seq = { "0", "-1", "1.5", "x", ("9"):rep(400) },
    } do
      for _, value in ipairs(values) do
        it(("refuse %s=%s"):format(key, value:sub(1, 10)), function()
          local response = get("/sessions/" .. anna.session.id, { [key] = value })
          assert.same({ 400, "BAD_REQUEST" }, { response.status, response.json.code })
          assert.matches("^" .. key .. " must be", response.json.error)
        end)
      end
    end

    it("are not there for others, nor when they do not exist", function()
      for id, user in pairs { [anna.session.id] = "eve", [("ab"):rep(16)] = "anna", x = "anna" } do
        local response = get("/sessions/" .. id, nil, user)
        assert.same({ 404, "NOT_FOUND", "Session not found" }, { response.status, response.json.code, response.json.error })
      end
    end)

    it("are an error when the store fails, not unknown", function()
      world.store_fails = true
      assert.equal(503, get("/sessions/" .. anna.session.id).status)
    end)
  end)

  describe("ended", function()
    it("say so to everybody in them, and keep their first end; the next message begins a new one", function()
      anna:send { type = "user_message", content = "hi" }
      anna:heard()
      local response = finish(anna.session.id)
      assert.equal(200, response.status)
      assert.same({ status = "ended" }, response.json)
      local ended_ms = world.records[anna.session.id].end_ms
      assert.equal(world.now_ms, ended_ms)
      world:advance "1m"
      assert.equal(200, finish(anna.session.id).status)
      assert.equal(ended_ms, world.records[anna.session.id].end_ms)
      local told = anna:heard()
      assert.equal(1, #told)
      assert.same({ "connection_status", anna.session.id, true }, { told[1].type, told[1].session_id, told[1].ended })
      local old = anna.session.id
      anna:send { type = "user_message", content = "still there?", session_id = old }
      local heard = anna:heard()
      assert.same({ "connection_status", "loading", "ai_response" }, { heard[1].type, heard[2].type, heard[3].type })
      assert.equal(anna.session.id, heard[1].session_id)
      assert.not_equal(old, anna.session.id)
      assert.equal(2, #world.messages[old])
    end)

    it("are the user's own", function()
      assert.equal(404, finish(anna.session.id, "eve").status)
      assert.equal(0, anna.session.end_ms)
    end)

    it("are not ended when the store fails", function()
      anna:send { type = "user_message", content = "hi" }
      local open = world.chat.session.open
      world.chat.session.open = function(id) -- the store breaks between the look-up and the write
        local session = open(id)
        world.store_fails = true
        return session
      end
      assert.equal(503, finish(anna.session.id).status)
      assert.equal(0, world.records[anna.session.id].end_ms)
    end)

    it("are not said to have ended while nobody has stored it", function()
      local real = scene.shipped()
      local bob = real:connect "bob"
      bob:says "hi"
      local id = bob:hears("ai_response").session_id
      local function ask()
        return real:request { method = "POST", path = "/sessions/" .. id .. "/end", user = "bob" }
      end
      real:fault("writes fail", true)
      assert.equal(503, scene.answer(ask()).status)
      assert.equal(503, scene.answer(ask()).status)
      real:fault("writes fail", false)
      bob:says "still here"
      assert.equal("still here", bob:hears("ai_response").content)
      real:fault("writes wait", true)
      local first, second = ask(), ask()
      assert.same({}, { scene.answer(first), scene.answer(second) })
      real:fault("writes wait", false)
      real:settle()
      assert.same({ 200, 200 }, { scene.answer(first).status, scene.answer(second).status })
    end)
  end)
end)
