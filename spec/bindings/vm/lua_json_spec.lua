-- lua_json.c: cjson as scripts have it: the same answers, and no for what would take too long.
local scene = require "spec.support.scene"

local function run(body)
  return assert(scene.run("local cjson = require 'cjson' " .. body))
end

describe("cjson in a script", function()
  after_each(scene.close)

  it("brings every text back as it was, short or long, and lets no control character stand", function()
    assert.same({ "well" }, run [[
      for byte = 0, 127 do
        for _, length in ipairs { 0, 1, 7, 1021, 1022, 1023, 1024, 1025, 5000 } do
          for _, text in ipairs { ("x"):rep(length) .. string.char(byte), string.char(byte) .. ("x"):rep(length) } do
            local encoded = cjson.encode(text)
            if encoded:find "%c" or cjson.decode(encoded) ~= text then return "byte " .. byte .. ", length " .. length end
          end
        end
      end
      return "well"]])
    assert.same({ [["schöön \"so\" \\ \/ \n\u0000"]] }, run [[return cjson.encode 'schöön "so" \\ / \n\0']])
    assert.same({ '"schöön"', '""' }, run "return cjson.encode 'schöön', cjson.encode ''")
  end)

  it("finds what has to be escaped, and what may not stand in a string, wherever it is", function()
    assert.same({ "well" }, run [[
      local escaped = { ["\\"] = "\\\\", ['"'] = '\\"', ["/"] = "\\/", ["\127"] = "\\u007f", ["\n"] = "\\n" }
      for length = 1, 40 do
        for at = 1, length do
          for plain, written in pairs(escaped) do
            local before, behind = ("x"):rep(at - 1), ("é"):rep(length - at)
            local text = before .. plain .. behind
            local encoded = '"' .. before .. written .. behind .. '"'
            if cjson.encode(text) ~= encoded or cjson.decode(encoded) ~= text then return plain .. " at " .. at end
          end
          local none, why = cjson.decode('"' .. ("x"):rep(at - 1) .. "\31" .. ("x"):rep(length - at) .. '"')
          if none or why ~= "a control character in a string at byte " .. at + 1 then return "a control character at " .. at end
        end
      end
      return "well"]])
  end)

  it("puts documents of one kind together: what is the same in all, two texts, and the values that are there", function()
    assert.same({ '{"a":"I","x":1,"z":[true],"t":"T"}', '{"a":"","t":""}', '{"a":"I","y":false,"t":"T"}', '{"a":"I","t":"T"}' }, run [[
      local fill = cjson.template('{"a":"', ',"t":"', "x", "y", "z")
      return fill("I", "T", 1, nil, { true }), fill("", ""), fill("I", "T", nil, false), fill("I", "T", nil, nil, nil, "no name")]])
    assert.same({ [[{"a":"I"\t"T"}]], [[{"a":"I","q\"\/":"\"\/"\t"T"}]] }, run [[
      return cjson.template('{"a":"', '\\t"')("I", "T"), cjson.template('{"a":"', '\\t"', 'q"/')("I", "T", '"/')]])
    for _, case in ipairs {
      { "print", "a function has no place in JSON" }, { "{ b = { 1, print } }", "at .b[2]: a function has no place in JSON" },
      { "'\\255'", "not UTF-8 at byte 1" }, { "('x'):rep(1048577)", "more than 1 MiB of text" },
    } do
      assert.same({ nil, case[2] }, run("return cjson.template('', '', 'x', 'y')('', '', 1, " .. case[1] .. ")"))
    end
    -- What is bounded is each value, as if it were encoded alone.
    assert.same({ 2000000 + #'","x":"","y":"""}' }, run
      "local x = ('x'):rep(1000000) return #cjson.template('', '', 'x', 'y')('', '', x, x)")
  end)

  it("makes no template of too much, or of what is no text", function()
    local function refused(call, why)
      local made, message = scene.run("require 'cjson'.template(" .. call .. ")")
      assert.is_nil(made)
      assert.is_truthy(message:find(why, 1, true), message)
    end
    refused("'', '', unpack({}, 1, 33)", "at most 32 names")
    refused("'', ('x'):rep(4097)", "too long")
    refused("'', '', ('x'):rep(5000)", "too long")
    refused("'', '', '\\255'", "not UTF-8")
    refused("'', '', {}", "string expected")
    refused("''", "at most 32 names")
  end)

  it("encodes at most 50000 values, 1 MiB of text, 32 levels", function()
    assert.same({ 100001 }, run "local t = {} for i = 1, 49999 do t[i] = 1 end return #cjson.encode(t) + 2")
    assert.same({ nil, "more than 50000 values" }, run "local t = {} for i = 1, 50000 do t[i] = 1 end return cjson.encode(t)")
    assert.same({ nil, "more than 50000 values" }, run "local t = {} for i = 1, 25 do t = { t, t } end return cjson.encode(t)")
    assert.same({ 1048578 }, run "return #cjson.encode(('x'):rep(1048576))")
    assert.same({ nil, "more than 1 MiB of text" }, run "return cjson.encode(('x'):rep(1048577))")
    assert.same({ nil, "more than 1 MiB of text" }, run "local s = ('x'):rep(600000) return cjson.encode { s, s }")
    assert.same({ nil, "deeper than 32" }, run "local t = {} for _ = 1, 40 do t = { t } end return cjson.encode(t)")
  end)

  it("decodes at most 50000 values, 4 MiB of text; what stands in strings is none", function()
    assert.same({ nil, "more than 50000 values" }, run "return cjson.decode('[' .. ('1,'):rep(50001) .. '1]')")
    assert.same({ 2 }, run "return #cjson.decode('[\"' .. (',[{'):rep(50000) .. '\", 1]')")
    assert.same({ 4194302 }, run "return #cjson.decode('\"' .. ('x'):rep(4194302) .. '\"')")
    assert.same({ nil, "more than 4 MiB of text" }, run "return cjson.decode('\"' .. ('x'):rep(4194303) .. '\"')")
    local none, why = unpack(run "return cjson.decode '[1'", 1, 2)
    assert.is_nil(none)
    assert.is_string(why)
  end)
end)
