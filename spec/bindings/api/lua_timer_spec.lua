-- chat.timer: the time, which specs can turn.
local scene = require "spec.support.scene"

local function refused(body, why)
  local values, message = scene.run(body)
  assert.is_nil(values, body)
  assert.matches(why, message, 1, true)
end

describe("chat.timer", function()
  after_each(scene.close)

  it(".now is the time in ms since 1970, as a whole number", function()
    local world = scene.case "return { now = function() return chat.timer.now() end }"
    local alice = world:connect "alice"
    assert.same({ 1772463602000 }, alice:asks "now")
    world:advance "1h"
    assert.same({ 1772467202000 }, alice:asks "now")
  end)

  it(".sleep waits exactly so long", function()
    local world = scene.case([[ return { sleep = function(s, c, d) return chat.timer.sleep(tonumber(d) or d), chat.timer.now() end } ]],
      { SCRIPT_WAIT_DEADLINE = "2h" })
    local alice = world:connect "alice"
    alice:sends "sleep 5s"
    world:advance(4999)
    assert.is_nil(alice:hears())
    world:advance(1)
    assert.same({ true, 1772463607000 }, alice:hears())
    alice:sends "sleep 0"
    world:advance(0)
    assert.same({ true, 1772463607000 }, alice:hears())
    alice:sends "sleep 1h30m"
    world:advance "90m"
    assert.equal(1772463607000 + 90 * 60000, alice:hears()[2])
  end)

  it("wakes sleepers in the order of their times, not of their coming", function()
    local world = scene.case [[ local woken = "" return {
      sleep = function(s, c, d) chat.timer.sleep(d) woken = woken .. d return woken end } ]]
    local clients = {}
    for i, d in ipairs { "3s", "1s", "2s" } do
      clients[i] = world:connect("user" .. i)
      clients[i]:sends("sleep " .. d)
    end
    world:advance "1m"
    assert.same({ "1s2s3s" }, clients[1]:hears())
  end)

  it(".duration reads numbers and texts", function()
    assert.same({ 0, 250, 5000, 600000, 5400000, 7, 1, 3661001 }, scene.run [[
      local d = chat.timer.duration
      return d(0), d "250ms", d "5s", d "10m", d "1h30m", d(7.9), d "1ms", d "1h1m1s1ms" ]])
  end)

  it(".duration refuses everything else", function()
    for _, text in ipairs { "", "5", "s", "5 s", "-5s", "5d", "1.5s", "5ss", "5sm", "123456789012ms", "x5s" } do
      refused("chat.timer.duration '" .. text .. "'", "a duration is")
    end
    refused("chat.timer.duration '99999999999h'", "a duration is at most 1e12 ms")
    refused("chat.timer.duration(-1)", "a duration in ms is 0 or more")
    refused("chat.timer.duration(0/0)", "a duration in ms is 0 or more")
    refused("chat.timer.duration(1/0)", "a duration in ms is 0 or more")
    refused("chat.timer.duration {}", "string expected")
    refused("chat.timer.sleep 'soon'", "a duration is")
  end)

  it(".iso and .parse_iso are each other's reverse", function()
    assert.same({ "2026-03-02T15:00:01.000Z", "1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2024-02-29T00:00:00.007Z" },
      scene.run [[ local iso = chat.timer.iso
        return iso(1772463601000), iso(0), iso(253402300799999), iso(1709164800007) ]])
    assert.same({ 0 }, scene.run [[
      local wrong = 0
      for ms = 0, 4e12, 86399999 * 7 do
        if chat.timer.parse_iso(chat.timer.iso(ms)) ~= ms then wrong = wrong + 1 end
      end
      for ms = 4e12, 253402300799999, 86399999 * 401 do
        if chat.timer.parse_iso(chat.timer.iso(ms)) ~= ms then wrong = wrong + 1 end
      end
      return wrong ]])
    assert.same({ "2100-02-28T23:59:59.999Z", "2100-03-01T00:00:00.000Z", "2000-02-29T12:00:00.000Z", "1970-01-01T00:00:00.001Z" },
      scene.run [[ local iso = chat.timer.iso
        return iso(4107542399999), iso(4107542400000), iso(951825600000), iso(1.9) ]])
  end)

  it(".parse_iso reads zones and fractions", function()
    assert.same({ 1772463601000, 1772463601000, 1772463601500, 1772463601123, 1772463601000 }, scene.run [[
      local parse = chat.timer.parse_iso
      return parse "2026-03-02T15:00:01Z", parse "2026-03-02T16:30:01+01:30", parse "2026-03-02T10:00:01.5-05:00",
        parse "2026-03-02t15:00:01.123999z", parse "2026-03-02T15:00:01.Z" or parse "2026-03-02T15:00:01z" ]])
  end)

  it(".parse_iso gives nil for what is none", function()
    for _, text in ipairs { "", "2026", "2026-03-02", "2026-03-02T15:00:01", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
                            "2026-00-01T00:00:00Z", "2026-01-32T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
                            "2026-01-01T00:00:61Z", "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+24:00",
                            "2026-01-01T00:00:00.Z", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00+0100" } do
      assert.same({ "nil" }, scene.run("return tostring(chat.timer.parse_iso '" .. text .. "')"), text)
    end
    assert.same({ "nil" }, scene.run "return tostring(chat.timer.parse_iso '2026-03-02T15:00:01Z\\0')")
  end)

  it(".iso refuses what is no time", function()
    refused("chat.timer.iso(-1)", "ms since 1970")
    refused("chat.timer.iso(253402300800000)", "ms since 1970")
    refused("chat.timer.iso(0/0)", "ms since 1970")
    refused("chat.timer.iso 'now'", "number expected")
    refused("chat.timer.parse_iso()", "string expected")
  end)
end)
