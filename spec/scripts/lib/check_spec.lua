local fake = require "spec.support.fake_chat"

describe("check", function()
  local check = fake.new({ app = false }).require "lib.check"

  -- The clean value of one field, or nil and what is wrong.
  local function try(spec, value)
    local request = {}
    local wrong = check.compile { field = spec }({ field = value }, request)
    return request.field, wrong
  end

  local RULE, SHAPE = "Message validation failed: field ", "Invalid message format: field "

  for _, case in ipairs {
    -- spec, value, clean value, what is wrong
    { "string 1..3", " a ", "a" },
    { "string 1..3", "a\0b", "ab" },
    { "string 1..3", "éa", "éa" },
    { "string 1..3", "éé", nil, RULE .. "must be 1 to 3 bytes" },
    { "string 1..3", " ", nil, RULE .. "must be 1 to 3 bytes" },
    { "string 1..3", nil, nil, RULE .. "is required" },
    { "string 1..3", 1, nil, SHAPE .. "must be a string" },
    { "string 1..3", true, nil, SHAPE .. "must be a string" },
    { "string 1..3", {}, nil, SHAPE .. "must be a string" },
    { "string? 0..3", nil, nil },
    { "string? 0..3", "", nil },
    { "string? 0..3", "abcd", nil, RULE .. "must be at most 3 bytes" },
    { "string?", ("x"):rep(10000), ("x"):rep(10000) },
    { "string?", ("x"):rep(10001), nil, RULE .. "must be at most 10000 bytes" },
    { "token? 1..4", " a ", " a " },
    { "token? 1..4", "", nil, RULE .. "must be 1 to 4 bytes" },
    { "token? 1..4", "abcde", nil, RULE .. "must be 1 to 4 bytes" },
    { "token? 1..4", "a\0b", nil, RULE .. "must not contain control characters" },
    { "token? 1..4", 1, nil, SHAPE .. "must be a string" },
    { "url 1..40", " https://a.example/b ", "https://a.example/b" },
    { "url 1..40", "http://a.example/b", nil, "Invalid file URL: field not https" },
    { "url 1..40", "https://a.example/" .. ("b"):rep(40), nil, RULE .. "must be 1 to 40 bytes" },
    { "url 1..40", {}, nil, SHAPE .. "must be a string" },
    { "integer? 1..10", 10, 10 },
    { "integer? 1..10", 0, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", 1.5, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", math.huge, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", 0 / 0, nil, RULE .. "must be a whole number from 1 to 10" },
    { "integer? 1..10", "5", nil, SHAPE .. "must be a number" },
    { "one? of user ai", "ai", "ai" },
    { "one? of user ai", "", nil },
    { "one? of user ai", "of", nil, RULE .. "must be one of: user ai" },
    { "one? of user ai", 1, nil, SHAPE .. "must be a string" },
    { "time?", "2026-03-02T15:00:01Z", "2026-03-02T15:00:01Z" },
    { "time?", "2026-03-02T15:00:01.123456+01:00", "2026-03-02T15:00:01.123456+01:00" },
    { "time?", "2026-03-02T15:01:00Z", "2026-03-02T15:01:00Z" },
    { "time?", "", nil },
    { "time?", "yesterday", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", "2026-02-30T15:00:01Z", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", "2026-03-02T15:00:01", nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "time?", 1772463600000, nil, SHAPE .. "must be a time such as 2026-03-02T15:00:01Z" },
    { "map? 2", { a = " b ", c = 12345678901 }, { a = "b", c = "12345678901" } },
    { "map? 2", { a = true, b = 1.5 }, { a = "true", b = "1.5" } },
    { "map? 2", {}, nil },
    { "map? 2", { a = "", b = "", c = "" }, nil, RULE .. "must have at most 2 keys" },
    { "map? 2", { a = {} }, nil, SHAPE .. "must hold strings, numbers and booleans" },
    { "map? 2", { a = math.huge }, nil, SHAPE .. "must hold strings, numbers and booleans" },
    { "map? 2", { "a" }, nil, SHAPE .. "must be an object" },
    { "map? 2", "a", nil, SHAPE .. "must be an object" },
    { "map? 2", { a = ("x"):rep(1001) }, nil, RULE .. "must have keys of at most 255 and values of at most 1000 bytes" },
    { "map? 2", { [("x"):rep(256)] = "" }, nil, RULE .. "must have keys of at most 255 and values of at most 1000 bytes" },
  } do
    local spec, value, clean, wrong = case[1], case[2], case[3], case[4]
    it(("%-15s %s -> %s"):format(spec, tostring(value):sub(1, 30), tostring(wrong or clean):sub(1, 50)), function()
      local got, message = try(spec, value)
      assert.same(clean, got)
      assert.equal(wrong, message)
    end)
  end

  it("copies nothing that is not declared", function()
    local request = {}
    check.compile { a = "string" }({ a = "x", user = "root", session = 1, connection = 2 }, request)
    assert.same({ a = "x" }, request)
  end)

  it("does not change the message", function()
    local message = { a = " x ", m = { k = 1 } }
    check.compile { a = "string", m = "map" }(message, {})
    assert.same({ a = " x ", m = { k = 1 } }, message)
  end)

  it("refuses a spec it does not know while the scripts load", function()
    assert.has_error(function() check.compile { a = "strnig 1..2" } end, "field a: unknown kind in 'strnig 1..2'")
    assert.has_error(function() check.compile { a = "string 1-2" } end, "bounds such as 1..100 expected, got '1-2'")
  end)
end)

-- What most messages are is read in one go (json.reader). Whatever it takes, the long way takes, too, and makes the same
-- request of it; so nothing can get in there that would be refused here.
describe("a message that is read in one go", function()
  local world = fake.new { app = false }
  local check, json = world.require "lib.check", world.require "lib.json"
  local routes = world.require "routes"
  local COLUMNS = { "session_id", "content", "cid" }
  local judges, fields = {}, {}
  for kind, route in pairs(routes) do
    local specs = {}
    for name, spec in pairs(routes.common) do specs[name] = spec end
    for name, spec in pairs(route.fields or {}) do specs[name] = spec end
    if kind ~= "common" then judges[kind], fields[kind] = check.compile(specs) end
  end
  local read = json.reader(COLUMNS, fields)

  -- The request; nil: it is for the long way.
  local function quick(text)
    local kind, session_id, content, cid, others = read(text)
    local request = { type = kind, session_id = session_id, content = content, cid = cid }
    if kind and (not others or check.others(fields[request.type], others, request)) then return request end
  end

  -- The request; nil and why.
  local function long(text)
    local document, metadata, halved = json.decode(text, "metadata")
    local judge = type(document) == "table" and type(document.type) == "string" and judges[document.type]
    if not judge then return nil, "no message" end
    local request = { type = document.type }
    local wrong = judge(document, request) or halved or metadata and metadata:find "^{" and "metadata"
    if wrong then return nil, wrong end
    return request
  end

  it("is what clients send, with fields nobody has declared between those that are", function()
    for _, text in ipairs {
      '{"type":"user_message","session_id":"S","content":"Hello","cid":"c-1"}',
      ' {\t"content" : "Hello" ,\r\n"type":"user_message"} ',
      '{"type":"user_message","content":"a\\"\\\\\\/\\n\\u00e9\\ud83d\\ude00b","sender":"user","timestamp":"2026-03-02T15:00:00Z"}',
      '{"type":"user_message","content":"é","x":1,"y":true,"z":"\\u0000","w":null,"metadata":null,"cid":null}',
      '{"type":"typing","state":"typing","ttl":1000}', '{"type":"ping","session_id":""}',
      '{"type":"model_select","model_id":"m"}', '{"type":"mark","received":0,"read":9007199254740}',
    } do
      assert.same(assert(long(text)), quick(text), text)
    end
  end)

  it("is none when there is anything to judge, to clean or to say", function()
    for _, text in ipairs {
      "", "{", "{}", "[]", "null", '"type"', '{"type":"user_message"}', '{"type":"nobody","content":"x"}', '{"content":"x"}',
      '{"type":"user_message","content":" x"}', '{"type":"user_message","content":"x\\n"}', '{"type":"user_message","content":""}',
      '{"type":"user_message","content":"a\\u0000b"}', '{"type":"user_message","content":"x\\ud800"}',
      '{"type":"user_message","content":"x","y":"\\udc00"}', '{"type":"user_message","content":"x","y":"\\q"}',
      '{"type":"user_message","content":"x","y":"\\u12"}', '{"type":"user_message","content":"x","y":"\1"}',
      '{"type":"user_message","content":"x\255"}', '{"type":"user_message","content":"x","\255":1}',
      '{"type":"user_message","content":"x","content":"y"}', '{"type":"user_message","type":"ping","content":"x"}',
      '{"type":"user_message","content":null,"content":"x"}', '{"type":"user_message","content":1}',
      '{"type":"user_message","content":"x","cid":""}', '{"type":"user_message","content":"x","cid":"a\127"}',
      '{"type":"user_message","content":"x","cid":"' .. ("c"):rep(129) .. '"}', '{"type":"user_message","content":"x","cid":1}',
      '{"type":"user_message","content":"' .. ("x"):rep(10001) .. '"}', '{"type":"user_message","content":"x","metadata":{"a":"b"}}',
      '{"type":"user_message","content":"x","y":[]}', '{"type":"user_message","content":"x","y":01}',
      '{"type":"user_message","content":"x","y":-}',
      '{"type":"user_message","content":"x","y":1.5}', '{"type":"user_message","content":"x","y":tru}',
      '{"type":"user_message","content":"x",}',
      '{"type":"user_message","content":"x"}x', '{"type":"user_message","content":"x"}\0', '{"type":"user_message","content":"x" "y":1}',
      '{"type":"user_message","content":"x","sender":"nobody"}', '{"type":"user_message","content":"x","timestamp":"soon"}',
      '{"type":"hello","v":1}', '{"type":"hello","v":2,"resume":{}}', '{"type":"typing","ttl":1}', '{"type":"mark","read":-1}',
      '{"type":"user_message","content":"x","\\u0063id":"c"}',
    } do
      assert.is_nil(quick(text), text)
    end
  end)

  it("has at most 16 members, and a text with escapes in it at most 1,024 bytes", function()
    local function members(count)
      return '{"type":"user_message","content":"x"' .. (',"y":1'):rep(count - 2) .. "}"
    end
    assert.same(assert(long(members(16))), quick(members(16)))
    for _, count in ipairs { 17, 18, 1000 } do
      assert.is_nil(quick(members(count)))
      assert.is_truthy(long(members(count)))
    end
    local function escaped(len)
      return '{"type":"user_message","content":"x","y":"\\n' .. ("z"):rep(len - 2) .. '"}'
    end
    assert.same(assert(long(escaped(1024))), quick(escaped(1024)))
    assert.is_nil(quick(escaped(1025)))
  end)

  it("is never one that the long way refuses, or understands otherwise", function()
    local seed = 1
    local function random(n) -- the same texts every time
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % n + 1
    end
    local names = { "type", "session_id", "content", "cid", "sender", "timestamp", "metadata", "v", "ttl", "state", "read",
      "received", "limit", "before_seq", "model_id", "token", "file_id", "file_url", "resume", "x" }
    local kinds = {}
    for kind in pairs(fields) do kinds[#kinds + 1] = kind end
    table.sort(kinds)
    local values = { '"x"', '""', '" x"', '"a\\nb"', '"\\u0041"', '"\\ud800"', '"\\u0000"', '"é"', '"user"',
      '"typing"', "1", "2", "0", "-0", "-1",
      "1000", "123456789012345", "1234567890123456", "1e3", "01", "true", "false", "null", "{}", "[]", '{"a":"b"}',
      '"2026-03-02T15:00:00Z"', '"https://a.example/b"', '"\127"', '"a\127"', '"\\/"', '"' .. ("y"):rep(130) .. '"' }
    local bytes = { '"', "\\", "{", "}", ":", ",", " ", "0", "u", "\0", "\255", "n" }
    local taken, all = 0, 20000
    for _ = 1, all do
      local parts = {}
      for i = 1, random(5) do
        parts[i] = '"' .. names[random(random(2) == 1 and 4 or #names)] .. '":' .. values[random(#values)]
      end
      table.insert(parts, random(#parts + 1), '"type":"' .. kinds[random(#kinds)] .. '"')
      local text = "{" .. table.concat(parts, ",") .. "}"
      if random(4) == 1 then -- and a byte of it changed
        local at = random(#text)
        text = text:sub(1, at - 1) .. bytes[random(#bytes)] .. text:sub(at + random(2))
      end
      local request = quick(text)
      if request then
        taken = taken + 1
        assert.same(request, (long(text)), text)
      end
    end
    assert.is_true(taken > all / 50, taken .. " were taken")
  end)
end)
