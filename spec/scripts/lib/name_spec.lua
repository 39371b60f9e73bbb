local fake = require "spec.support.fake_chat"

describe("the name of a conversation", function()
  local name = fake.new({ app = false }).require "lib.name"

  for said, expected in pairs {
    ["Hello world. How are you?"] = "Hello world.",
    ["v1.2 is out"] = "v1.",
    ["http://example.com"] = "http://example.",
    ["Really?! Yes"] = "Really?",
    ["Help!"] = "Help!",
    ["first line \nsecond line."] = "first line",
    ["first\rsecond"] = "first",
    ["no end"] = "no end",
    [""] = "New Chat",
    [" \n x"] = "New Chat",
    [("a"):rep(50)] = ("a"):rep(50),
    [("a"):rep(51)] = ("a"):rep(47) .. "...",
    [("é"):rep(26)] = ("é"):rep(23) .. "...",
    ["This is a rather long message without any punctuation that goes on and on until the end"] =
      "This is a rather long message without any...",
  } do
    it(("of %q is %q"):format(said:sub(1, 30), expected), function()
      assert.equal(expected, name(said))
      assert.is_true(#expected <= 50)
    end)
  end

  it("is cut inside a word only when its first word is too long", function()
    assert.equal(("a"):rep(46) .. "...", name(("a"):rep(46) .. " " .. ("b"):rep(46)))
    assert.equal(("a"):rep(47) .. "...", name(("a"):rep(48) .. " b" .. ("b"):rep(46)))
  end)
end)
