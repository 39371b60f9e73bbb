-- api/admin, and what of api/sessions needs a real store: lists of everybody's conversations, sums, taking over,
-- sharing, searching, renaming, deleting.
local scene = require "spec.support.scene"

describe("conversations over HTTP", function()
  after_each(scene.close)

  local world
  before_each(function()
    world = scene.shipped()
  end)

  local function ask(method, path, who, query, body)
    local user, roles = (who or "root"):match "^(%a+)(!?)$"
    return world:http {
      method = method, path = path, user = user, roles = (roles == "!" or not who) and { "admin" } or {},
      query = query, body = body,
    }
  end

  local function talk(user, text)
    local client = world:connect(user)
    client:says(text or "Hello.")
    return client:hears("ai_response").session_id, client
  end

  local function ids(items)
    local list = {}
    for i, item in ipairs(items) do
      list[i] = item.id
    end
    return list
  end

  describe("of everybody", function()
    it("are an array for the reference's page, and an object for who names a limit", function()
      assert.equal("[]", ask("GET", "/admin/sessions").body)
      local id = talk "anna"
      local item = ask("GET", "/admin/sessions").json[1]
      assert.same({ id, id, "anna", true, 2, 0, false }, {
        item.id, item.session_id, item.user_id, item.is_active, item.message_count, item.duration, item.admin_assisted,
      })
      local object = ask("GET", "/admin/sessions", nil, { limit = "10" }).json
      assert.same({ 1, 10, 0, id }, { object.count, object.limit, object.offset, object.sessions[1].id })
      assert.is_nil(object.next_cursor)
    end)

    it("are for administrators only", function()
      for _, path in ipairs { "/admin/sessions", "/admin/metrics", "/admin/users/anna/sessions" } do
        local response = ask("GET", path, "anna")
        assert.same({ 403, "FORBIDDEN", "Insufficient permissions" },
          { response.status, response.json.code, response.json.error })
      end
      assert.equal(403, ask("POST", "/admin/takeover/x", "anna").status)
    end)

    it("come in pages, each once, in every order", function()
      local all = {}
      for i, user in ipairs { "anna", "bob", "carl", "dora", "eve" } do
        all[i] = talk(user, ("x"):rep(i % 2 + 1) .. ".")
        world:advance(i % 2 * 1000)
        if i % 2 == 0 then
          assert.equal(200, ask("POST", "/sessions/" .. all[i] .. "/end", user).status)
        end
      end
      table.sort(all)
      for _, sort in ipairs {
        "start_time", "end_time", "message_count", "total_tokens", "user_id", "duration", "last_activity",
      } do
        for _, order in ipairs { "asc", "desc" } do
          local seen, cursor = {}, nil
          repeat
            local page = ask("GET", "/admin/sessions", nil,
              { limit = "2", sort_by = sort, sort_order = order, cursor = cursor }).json
            for _, item in ipairs(page.sessions) do
              seen[#seen + 1] = item.id
            end
            cursor = page.next_cursor
          until not cursor
          table.sort(seen)
          assert.same(all, seen, sort .. " " .. order)
        end
      end
    end)

    it("lead on with a Link beside an array", function()
      for _ = 1, 101 do
        talk("u" .. ("a"):rep(_))
      end
      local first = ask("GET", "/admin/sessions", nil, { status = "active" })
      assert.equal(100, #first.json)
      local cursor = first.headers.Link:match '^<%?status=active&cursor=([%w%-._~]+)>; rel="next"$'
      local second = ask("GET", "/admin/sessions", nil, { status = "active", cursor = cursor })
      assert.equal(1, #second.json)
      assert.is_nil(second.headers.Link)
    end)

    it("are filtered", function()
      local anna, bob = talk "anna", talk "bob"
      ask("POST", "/sessions/" .. bob .. "/end", "bob")
      ask("POST", "/admin/takeover/" .. anna)
      local function found(query)
        return ids(ask("GET", "/admin/sessions", nil, query).json)
      end
      assert.same({ anna }, found { user_id = "anna" })
      assert.same({ anna }, found { status = "active" })
      assert.same({ bob }, found { status = "ended" })
      assert.equal(2, #found { status = "whatever" })
      assert.same({ anna }, found { admin_assisted = "true" })
      assert.same({ bob }, found { admin_assisted = "no" })
      local day = scene.answer(world:request { path = "/healthz" }).json.timestamp:sub(1, 10)
      assert.equal(2, #found { start_time = day, end_time = day })
      assert.same({}, found { start_time = "2001-01-01", end_time = "2001-01-02" })
      assert.same({}, found { start_time_from = "2999-01-01T00:00:00Z" })
      assert.same({ bob }, ids(ask("GET", "/admin/users/bob/sessions").json))
    end)

    it("say what is wrong with a question, in the contract's words and order", function()
      local wrong = {
        { { user_id = ("x"):rep(256), sort_by = "x" }, "user_id exceeds maximum length of 255 characters" },
        { { sort_by = "x", sort_order = "y" }, 'invalid sort_by field "x"; allowed: start_time, end_time, message_count, '
          .. "total_tokens, user_id, duration, last_activity" },
        { { sort_order = "y", start_time = "z" }, 'invalid sort_order "y"; allowed: asc, desc' },
        { { start_time = "yesterday" }, "Invalid time format, expected RFC3339" },
        { { start_time_to = "2026-02-30" }, "Invalid time format, expected RFC3339" },
        { { offset = "10001" }, "offset is at most 10000; go on with cursor" },
        { { cursor = "x" }, "invalid cursor" },
      }
      for _, case in ipairs(wrong) do
        local response = ask("GET", "/admin/sessions", nil, case[1])
        assert.same({ 400, "BAD_REQUEST", case[2] }, { response.status, response.json.code, response.json.error })
      end
      for _, limit in ipairs { "0", "-1", "1001", "x", "" } do
        assert.equal(100, ask("GET", "/admin/sessions", nil, { limit = limit }).json.limit, limit)
      end
      assert.equal(12, ask("GET", "/admin/sessions", nil, { limit = "12abc", offset = "-3" }).json.limit)
    end)

    it("take no cursor of another order, nor one somebody made up", function()
      talk "anna"
      local cursor = ask("GET", "/admin/sessions", nil, { limit = "1" }).json.next_cursor
      assert.equal(400, ask("GET", "/admin/sessions", nil, { limit = "1", cursor = cursor, sort_by = "user_id" }).status)
      for _, made_up in ipairs {
        cursor .. "0", cursor:gsub("~.*", ""), cursor:gsub("%x$", "'"), cursor:gsub("~", "~-", 1) .. ("f"):rep(3000),
        cursor:gsub("^(%a+_%a+_%a+~)%d+", "%1" .. ("9"):rep(30)),
      } do
        local status = ask("GET", "/admin/sessions", nil, { limit = "1", cursor = made_up }).status
        assert.is_true(status == 400 or status == 200, made_up)
      end
    end)

    it("are added up, in both shapes", function()
      talk "anna"
      talk "bob"
      local sums = ask("GET", "/admin/metrics").json
      assert.same({ 2, 2 }, { sums.total_sessions, sums.active_sessions })
      assert.same({ 2, 2, sums.total_tokens }, {
        sums.metrics.TotalSessions, sums.metrics.ActiveSessions, sums.metrics.TotalTokens,
      })
      assert.equal("number", type(sums.avg_concurrent))
      sums = ask("GET", "/admin/metrics", nil, { start_time = "2001-01-01", end_time = "2001-01-01" }).json
      assert.same({ 0, 0, "2001-01-01T00:00:00.000Z", "2001-01-01T23:59:59.999Z" },
        { sums.total_sessions, sums.avg_concurrent, sums.time_range.start, sums.time_range["end"] })
      assert.equal(400, ask("GET", "/admin/metrics", nil, { start_time = "x" }).status)
      assert.equal(400, ask("GET", "/admin/metrics", nil, { start_time = "2026-01-02", end_time = "2026-01-01" }).status)
    end)

    it("are an error when the store fails", function()
      world:fault("reads fail", true)
      assert.equal(503, ask("GET", "/admin/sessions").status)
      assert.equal(503, ask("GET", "/admin/metrics").status)
    end)
  end)

  describe("taken over", function()
    it("are marked, and everybody in them is told", function()
      local id, anna = talk "anna"
      local response = ask("POST", "/admin/takeover/" .. id)
      assert.same({ 200, "root", id, "Takeover initiated successfully" },
        { response.status, response.json.admin_id, response.json.session_id, response.json.message })
      local told = anna:hears "admin_join"
      assert.same({ id, "admin", "Administrator root has joined the session", "root", "root" },
        { told.session_id, told.sender, told.content, told.metadata.admin_id, told.metadata.admin_name })
      local item = ask("GET", "/admin/sessions").json[1]
      assert.same({ true, "root" }, { item.admin_assisted, item.assisting_admin_name })
      assert.equal(200, ask("POST", "/admin/takeover/" .. id).status)
      assert.is_nil(anna:hears "admin_join")
    end)

    it("are the first one's, until they end", function()
      local id = talk "anna"
      ask("POST", "/admin/takeover/" .. id)
      local response = ask("POST", "/admin/takeover/" .. id, "jane!")
      local why = "session already assisted by another admin: root (root)"
      assert.same({ 400, why, why }, { response.status, response.json.error, response.json.message })
      ask("POST", "/sessions/" .. id .. "/end", "anna")
      assert.equal(404, ask("POST", "/admin/takeover/" .. id).status)
      assert.equal(404, ask("POST", "/admin/takeover/" .. ("ab"):rep(16)).status)
    end)

    it("are left by who took them, and are nobody's then", function()
      local id, anna = talk "anna"
      local place = "/admin/takeover/" .. id
      ask("POST", place)
      assert.same({ 400, "session already assisted by another admin: root (root)" }, {
        ask("DELETE", place, "jane!").status, ask("DELETE", place, "jane!").json.message,
      })
      local response = ask("DELETE", place)
      assert.same({ 200, { status = "left" } }, { response.status, response.json })
      local told = anna:hears "admin_leave"
      assert.same({ "Administrator root has left the session", "admin", { admin_id = "root", admin_name = "root" } },
        { told.content, told.sender, told.metadata })
      assert.same({ status = "left" }, ask("DELETE", place).json)
      assert.equal(200, ask("POST", place, "jane!").status)
      assert.equal(404, ask("DELETE", "/admin/takeover/" .. ("ab"):rep(16)).status)
      assert.equal(403, ask("DELETE", place, "anna").status)
    end)
  end)

  describe("shared", function()
    it("are read by whoever has the token, until it is revoked", function()
      local id = talk("anna", "A secret.")
      local token = ask("POST", "/sessions/" .. id .. "/share", "anna").json.share_token
      assert.matches("^%x+$", token)
      assert.equal(token, ask("POST", "/sessions/" .. id .. "/share", "anna").json.share_token)
      assert.equal(token, ask("GET", "/sessions", "anna").json.sessions[1].share_token)
      local shown = world:http { method = "GET", path = "/shared/" .. token }
      assert.same({ 200, id, "A secret.", "A secret." },
        { shown.status, shown.json.session_id, shown.json.name, shown.json.messages[1].content })
      assert.is_nil(shown.json.user_id)
      assert.equal(200, ask("DELETE", "/sessions/" .. id .. "/share", "anna").status)
      assert.equal(200, ask("DELETE", "/sessions/" .. id .. "/share", "anna").status)
      local gone = world:http { method = "GET", path = "/shared/" .. token }
      assert.same({ 404, "NOT_FOUND", "Shared session not found" }, { gone.status, gone.json.code, gone.json.error })
      assert.is_nil(ask("GET", "/sessions", "anna").json.sessions[1].share_token)
    end)

    it("expire when they are told to", function()
      local id = talk "anna"
      local share = ask("POST", "/sessions/" .. id .. "/share", "anna", nil, '{"expires_in":60}').json
      assert.is_string(share.expires_at)
      local function status()
        return world:http({ method = "GET", path = "/shared/" .. share.share_token }).status
      end
      world:advance "59s"
      assert.equal(200, status())
      world:advance "2s"
      assert.equal(404, status())
      assert.is_nil(ask("GET", "/sessions", "anna").json.sessions[1].share_token)
      assert.not_equal(share.share_token, ask("POST", "/sessions/" .. id .. "/share", "anna").json.share_token)
      for _, body in ipairs { '{"expires_in":0}', '{"expires_in":"1"}', '{"expires_in":1.5}', '{"expires_in":1e300}', "[1]", "x" } do
        assert.equal(400, ask("POST", "/sessions/" .. id .. "/share", "anna", nil, body).status, body)
      end
    end)
  end)

  it("are renamed by their user, with a line that can be shown", function()
    local id = talk "anna"
    local response = ask("PATCH", "/sessions/" .. id, "anna", nil, '{"name":"  Größer  "}')
    assert.same({ 200, id, "Größer" }, { response.status, response.json.session_id, response.json.name })
    assert.equal("Größer", ask("GET", "/sessions", "anna").json.sessions[1].name)
    for _, body in ipairs { "", "{}", '{"name":""}', '{"name":" "}', '{"name":7}', '{"name":"a\\nb"}', "x", "[]",
      '{"name":"' .. ("x"):rep(256) .. '"}' } do
      assert.equal(400, ask("PATCH", "/sessions/" .. id, "anna", nil, body).status, body:sub(1, 20))
    end
  end)

  it("are deleted for good, and whoever is in them is sent away", function()
    local id, anna = talk "anna"
    local token = ask("POST", "/sessions/" .. id .. "/share", "anna").json.share_token
    assert.same({ status = "deleted" }, ask("DELETE", "/sessions/" .. id, "anna").json)
    assert.same({}, ask("GET", "/sessions", "anna").json.sessions)
    assert.equal(404, ask("GET", "/sessions/" .. id, "anna").status)
    assert.equal(404, ask("DELETE", "/sessions/" .. id, "anna").status)
    assert.equal(404, world:http({ method = "GET", path = "/shared/" .. token }).status)
    assert.truthy(anna:closed())
  end)

  it("are found by what is in their names", function()
    local kept = {}
    for _, text in ipairs { "Where is my parcel?", "A refund, please.", "My PARCEL is broken." } do
      local id = talk("anna", text)
      kept[#kept + 1] = id
      world:advance "1s"
      ask("POST", "/sessions/" .. id .. "/end", "anna")
    end
    local function found(query)
      return ids(ask("GET", "/sessions", "anna", query).json.sessions)
    end
    assert.same({ kept[3], kept[1] }, found { q = "parcel" })
    assert.same({}, found { q = "%" })
    local page = ask("GET", "/sessions", "anna", { q = "p", limit = "1" }).json
    assert.same({ kept[3] }, ids(page.sessions))
    page = ask("GET", "/sessions", "anna", { q = "p", limit = "1", cursor = page.next_cursor }).json
    assert.same({ kept[2] }, ids(page.sessions))
    page = ask("GET", "/sessions", "anna", { limit = "2" }).json
    assert.same({ kept[3], kept[2] }, ids(page.sessions))
    assert.same({ kept[1] }, found { limit = "2", cursor = page.next_cursor })
    for _, query in ipairs { { cursor = "x" }, { limit = "0" }, { limit = "101" }, { q = ("x"):rep(256) } } do
      assert.equal(400, ask("GET", "/sessions", "anna", query).status)
    end
  end)

  it("are read by administrators, and by nobody else who knows their ids", function()
    local id = talk "anna"
    assert.equal(200, ask("GET", "/sessions/" .. id).status)
    assert.equal(404, ask("GET", "/sessions/" .. id, "eve").status)
    for _, who in ipairs { "eve", "root!" } do
      assert.equal(404, ask("POST", "/sessions/" .. id .. "/end", who).status)
      assert.equal(404, ask("POST", "/sessions/" .. id .. "/share", who).status)
      assert.equal(404, ask("DELETE", "/sessions/" .. id .. "/share", who).status)
      assert.equal(404, ask("DELETE", "/sessions/" .. id, who).status)
      assert.equal(404, ask("PATCH", "/sessions/" .. id, who, nil, '{"name":"mine"}').status)
    end
    assert.equal("Hello.", ask("GET", "/sessions", "anna").json.sessions[1].name)
  end)
end)
