local fake = require "spec.support.fake_chat"

describe("a bot", function()
  local bot, said
  before_each(function()
    bot = fake.new().require "bot" "test"
    said = nil
    bot:otherwise(function() said = { "otherwise" } end)
  end)

  local function hears(text)
    bot:hears(text, function(_, message, ...) said = { message.content, ... } end)
  end

  local function on(content)
    bot:answer({}, { content = content })
    return said
  end

  it("has a name", function()
    assert.equal("test", bot.name)
  end)

  it("hears a plain text wherever it stands, whatever its case", function()
    hears "Refund"
    assert.same({ "my refund!", "refund" }, on "my refund!")
    assert.same({ "REFUND", "REFUND" }, on "REFUND")
    assert.same({ "otherwise" }, on "re fund")
  end)

  it("hears a pattern and passes on what it captures", function()
    hears "^order (%d+)/(%a)$"
    assert.same({ "order 17/x", "17", "x" }, on "order 17/x")
    assert.same({ "otherwise" }, on "my order 17/x")
  end)

  it("takes a text with special characters for what it says, too", function()
    hears "follow-up (50%"
    assert.same({ "a follow-up (50%)", "follow-up (50%" }, on "a follow-up (50%)")
    hears "what?"
    assert.same({ "What?", "What?" }, on "What?")
  end)

  it("tries rules in order", function()
    hears "aa"
    bot:hears("a", function() said = { "second" } end)
    assert.same({ "aa", "aa" }, on "aa")
    assert.same({ "second" }, on "a")
  end)

  it("has no other method: a misspelt one says where it was called", function()
    local ok, why = pcall(function() bot:hear("x", print) end)
    assert.is_false(ok)
    assert.matches("bot_spec.lua:%d+: a bot has no field or method hear", why)
    ok, why = pcall(function() return bot.nmae end)
    assert.is_false(ok)
    assert.matches("bot_spec.lua:%d+: a bot has no field or method nmae", why)
  end)

  it("rests one rule that is put aside, and no other", function()
    local world = fake.new()
    bot = world.require "bot" "test"
    hears "loop"
    bot:otherwise(function() said = { "otherwise" } end)
    world.aside["bot:test hears loop"] = true
    local replied
    bot:answer({ reply = function(_, text) replied = text end }, { content = "a loop" })
    assert.equal(world.chat.config.get "SCRIPT_ASIDE_TEXT", replied)
    assert.same({ "otherwise" }, on "hello")
  end)

  it("says at once what is wrong with a rule", function()
    assert.is_false(pcall(bot.hears, bot, "", print))
    assert.is_false(pcall(bot.hears, bot, "x"))
    assert.is_false(pcall(bot.hears, bot, nil, print))
    assert.is_false(pcall(bot.otherwise, bot))
  end)
end)
