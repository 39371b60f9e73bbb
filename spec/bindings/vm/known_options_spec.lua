-- known_options.c, suggest.c: what a function does not know it does not ignore, and it says what was probably meant.
local scene = require "spec.support.scene"

describe("an option that a function does not know", function()
  after_each(scene.close)

  local function why(body)
    local _, message = scene.run(body)
    return message
  end

  it("is an error with its line, of every function that takes options, and the nearest that it knows", function()
    for call, text in pairs {
      ["session:ask{ withn = '5m' }"] = "session:ask: there is no option withn: did you mean within?",
      ["session:ask{ '5m' }"] = "session:ask: options have names, and a number is none",
      ["session:ask{ [session] = 1 }"] = "session:ask: options have names, and a userdata is none",
      ["session:send('x', { expect = connection })"] = "session:send: there is no option expect: did you mean except?",
      ["session:append{ sender = 'ai', type = 't', contnet = '' }"] =
        "session:append: there is no option contnet: did you mean content?",
      ["session:set{ nmae = 'x' }"] = "session:set cannot set nmae: did you mean name?",
      ["chat.store.sessions{ user = 'x' }"] = "chat.store.sessions: there is no option user",
      ["chat.store.list{ limits = 5 }"] = "chat.store.list: there is no option limits: did you mean limit?",
      ["chat.store.totals{ from = 5 }"] = "chat.store.totals: there is no option from",
      ["chat.store.history{ sesion_id = 'x' }"] =
        "chat.store.history: there is no option sesion_id: did you mean session_id?",
      ["chat.store.message{ session_id = 'x', id = 'y' }"] =
        "chat.store.message: there is no option id",
      ["chat.store.share{ expires = 5 }"] = "chat.store.share: there is no option expires",
      ["chat.store.unshare{ expires_ms = 5 }"] = "chat.store.unshare: there is no option expires_ms",
      ["chat.store.erase{ userid = 'x' }"] = "chat.store.erase: there is no option userid: did you mean user_id?",
      ["chat.scripts.promote{ canary = 5 }"] = "chat.scripts.promote: there is no option canary",
    } do
      assert.equal("scripts/case.lua:1: " .. text, why(call))
    end
  end)

  it("of any length has an error of its own", function()
    assert.equal("scripts/case.lua:1: session:ask: there is no option " .. ("within"):rep(30),
      why("session:ask{ [('within'):rep(30)] = 1 }"))
    assert.equal("scripts/case.lua:1: session:ask: there is no option ", why("session:ask{ [''] = 1 }"))
  end)

  it("is compared by what one slip makes of a name, of a long one two; of equally near ones always the first", function()
    local function near(given)
      return scene.run("return chat.guard.suggest('" .. given .. "', { name = 1, content = 1, cat = 1, car = 1 })")[1]
    end
    for given, meant in pairs { nmae = "name", nam = "name", names = "name", Name = "name", cotnetn = "content",
      caz = "car" } do
      assert.equal(": did you mean " .. meant .. "?", near(given))
    end
    for _, far in ipairs { "", "n", "ct", "ames_", "contxyzt", ("content"):rep(10) } do assert.equal("", near(far)) end
  end)

  it("is looked for among 256 names, not among more: no budget is looked at meanwhile", function()
    local function among(count)
      return scene.run("local t = { name = 1 } for i = 2, " .. count
        .. " do t['x' .. i .. 'yz'] = 1 end return chat.guard.suggest('nmae', t)")[1]
    end
    assert.equal(": did you mean name?", among(256))
    assert.equal("", among(257))
  end)

  it("is not told from what is far from all of them", function()
    assert.equal("scripts/case.lua:1: chat.log.in does not exist", why("chat.log['in'] 'x'"))
    assert.equal("scripts/case.lua:1: chat.log.inof does not exist: did you mean info?", why("local n = 'inof' chat.log[n] 'x'"))
  end)
end)

describe("a message", function()
  after_each(scene.close)

  local function says(body)
    local world = scene.shipped { files = { ["bots/echo.lua"] =
      'local bot = require "bot" "echo"\nbot:otherwise(function(session, message)\n' .. body .. "\nend)\nreturn bot" } }
    local alice = world:connect "alice"
    alice:hears_all()
    scene.log()
    alice:says("hello", { metadata = { a = "b" } })
    local heard
    for document in function() return alice:hears() end do heard = document end
    return heard, table.concat(scene.log(), "\n")
  end

  it("has its fields, and those that a client may leave out", function()
    local heard = says [[ local list = {}
      for _, name in ipairs { "cid", "file_id", "begun", "place", "raw" } do list[#list + 1] = tostring(message[name]) end
      session:reply(message.type .. message.content .. message.user.name .. message.metadata.a .. table.concat(list, ",")) ]]
    assert.equal("user_messagehelloaliceb" .. "nil,nil,nil,nil,nil", heard.content)
  end)

  it("has no others: a misspelt one is an error with its line, in the log", function()
    local heard, log = says "local user = message.usr\nsession:reply(tostring(user))"
    assert.equal("INTERNAL", heard.error.code)
    assert.matches("scripts/bots/echo.lua:3: a message has no field usr: did you mean user?", log, 1, true)
    heard, log = says "session:reply(message.user.nmae)"
    assert.equal("INTERNAL", heard.error.code)
    assert.matches("scripts/bots/echo.lua:3: message.user has no field nmae: did you mean name?", log, 1, true)
  end)

  it("into a conversation that its handler has ended is an error", function()
    local heard, log = says 'session:finish()\nsession:reply "bye"'
    assert.equal("INTERNAL", heard.error.code)
    assert.matches("scripts/bots/echo.lua:4: session:reply: the conversation has ended", log, 1, true)
  end)
end)
