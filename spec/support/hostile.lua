-- Handlers that do what nobody should, one of each kind: kind -> { how it has to end, function(n, session, connection) }.
-- How: "time" and "memory" are ended by the guard, "any" by whichever comes first, "wait" by the deadline; "error" is
-- refused with an ordinary error; "hoard" is memory that stays.
-- n makes each call a little different. Runs in the sandbox, like any script.
local hostile = {}

local cjson = require "cjson"
local hoard = {} -- what outlives a message

local function forever(n)
  local x = n
  while true do x = (x * 7 + 1) % 1000003 end
end

local function burn(rounds)
  local x = 0
  for i = 1, rounds do x = x + i % 7 end
  return x
end

-- Loops ----------------------------------------------------------------------------------------------------------------

hostile.empty_loop = { "time", function() while true do end end }
hostile.counting = { "time", forever }
hostile.huge_for = { "time", function(n) for i = 1, 1e15 do n = n + i end end }
hostile.tail_calls = { "time", function(n)
  local function again(i) return again(i + 1) end
  return again(n)
end }
hostile.repeat_until = { "time", function() local i = 0 repeat i = i + 1 until i < 0 end }
hostile.caught = { "time", function(n) while true do pcall(forever, n) end end }
hostile.caught_deep = { "time", function(n)
  local function down(i) return pcall(i > 0 and down or forever, i - 1) end
  while true do down(n % 100) end
end }
hostile.caught_errors = { "time", function() while true do pcall(error, "x") end end }
hostile.caught_by_xpcall = { "time", function(n) while true do xpcall(forever, function() return n end, n) end end }
hostile.xpcall_handler = { "time", function(n) xpcall(error, function() forever(n) end, "x") end }
hostile.recursion_caught = { "time", function()
  local function f() pcall(f) return f() end
  while true do pcall(f) end
end }
hostile.recursion_caught_last = { "time", function(n)
  local function f() pcall(f) forever(n) end
  f()
end }
hostile.recursion_xpcall = { "time", function(n)
  local function f() xpcall(f, f) forever(n) end
  f()
end }
hostile.recursion_overflows = { "time", function()
  local function f() return 1 + f() end
  while true do pcall(f) end
end }
hostile.recursion_ended_deep = { "time", function(n)
  local function f(i) return i == 0 and forever(n) or 1 + f(i - 1) end
  f(15000)
end }
hostile.recursion_of_metamethods = { "time", function()
  local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end })
  while true do pcall(function() return t[1] end) end
end }
hostile.error_of_error = { "time", function()
  local function f(why) return error(setmetatable({ why }, { __tostring = f })) end
  while true do xpcall(f, f) end
end }
hostile.error_object = { "error", function(n)
  error(setmetatable({}, { __tostring = function() forever(n) end }))
end }
hostile.coroutine = { "time", function(n) coroutine.wrap(forever)(n) end }
hostile.coroutine_caught = { "time", function(n)
  while true do coroutine.resume(coroutine.create(forever), n) end
end }
hostile.coroutines_in_turn = { "time", function()
  local co = coroutine.wrap(function() while true do coroutine.yield() end end)
  while true do co() end
end }
hostile.coroutines_nested = { "time", function(n)
  local function down(i)
    if i == 0 then return forever(n) end
    return coroutine.wrap(down)(i - 1)
  end
  down(n % 50)
end }
hostile.coroutines_caught = { "time", function(n)
  local function f(i)
    if i > 0 then
      pcall(f, i - 1)
      coroutine.resume(coroutine.create(f), i - 1)
    end
    forever(n)
  end
  f(300)
end }
-- Each has gone deep by itself before they run inside one another.
hostile.coroutines_prepared = { "time", function(n)
  local all = {}
  local function down(i, k)
    if k > 0 then pcall(down, i, k - 1) else coroutine.yield() coroutine.resume(all[i + 1]) end
    forever(n)
  end
  for i = 1, 150 do
    all[i] = coroutine.create(down)
    coroutine.resume(all[i], i, 150)
  end
  coroutine.resume(all[1])
  forever(n)
end }
hostile.index = { "time", function(n)
  return setmetatable({}, { __index = function() forever(n) end }).x
end }
hostile.newindex = { "time", function(n) setmetatable({}, { __newindex = function() forever(n) end }).x = 1 end }
hostile.call = { "time", function(n) setmetatable({}, { __call = function() forever(n) end })() end }
hostile.concat_meta = { "time", function(n) return setmetatable({}, { __concat = function() forever(n) end }) .. "x" end }
hostile.equal = { "time", function(n)
  local m = { __eq = function() forever(n) end }
  return setmetatable({}, m) == setmetatable({}, m)
end }
hostile.less = { "time", function(n)
  local m = { __lt = function() forever(n) end }
  return setmetatable({}, m) < setmetatable({}, m)
end }
hostile.unary = { "time", function(n) return -setmetatable({}, { __unm = function() forever(n) end }) end }
hostile.tostring = { "time", function(n) return tostring(setmetatable({}, { __tostring = function() forever(n) end })) end }
hostile.iterator = { "time", function() for _ in function() return 1 end do end end }
hostile.pairs_endless = { "time", function()
  local t = { 1 }
  while true do for k in pairs(t) do t[k] = k end end
end }
hostile.sort_comparator = { "time", function(n) table.sort({ 3, 1, 2 }, function() forever(n) end) end }
hostile.sort_many = { "time", function(n)
  local t, x = {}, n
  for i = 1, 1000000 do x = (x * 16807) % 2147483647 t[i] = x end
  while true do table.sort(t) for i = 1, #t, 2 do t[i], t[i + 1] = t[i + 1], t[i] end end
end }
hostile.sort_inside_sort = { "time", function()
  local function less(a, b) table.sort({ 3, 1, 2 }, less) return a < b end
  while true do pcall(less, 1, 2) end
end }
hostile.sort_caught = { "time", function(n)
  local function less() pcall(table.sort, { 3, 1, 2 }, less) forever(n) end
  less()
end }
hostile.print_endless = { "time", function() while true do local _ = tostring({}) .. "x" end end }

-- C that could not be interrupted ------------------------------------------------------------------------------------------

hostile.pattern_stars = { "time", function(n) return (("a"):rep(30 + n % 9)):find(("a*"):rep(20) .. "b") end }
hostile.pattern_lazy = { "time", function(n) return (("a"):rep(300 + n % 99)):match((".-"):rep(25) .. "b") end }
hostile.pattern_optional = { "time", function() return (("a"):rep(5000)):match("^" .. ("a?"):rep(60) .. (".*"):rep(20) .. "b") end }
hostile.pattern_again = { "time", function(n) return (("a"):rep(500000 + n % 99)):find "(.*)%1b" end }
hostile.pattern_balanced = { "time", function() return (("("):rep(1000000)):find "%b()" end }
hostile.pattern_gmatch = { "time", function()
  for _ in (("a"):rep(200)):gmatch((".-"):rep(20) .. "b") do end
end }
hostile.pattern_gsub = { "time", function() return (("a"):rep(200)):gsub((".-"):rep(20) .. "b", "") end }
hostile.gsub_function = { "time", function(n) return (("a"):rep(9)):gsub("a", function() forever(n) end) end }
hostile.gsub_table = { "time", function(n)
  return (("a"):rep(9)):gsub("a", setmetatable({}, { __index = function() forever(n) end }))
end }
hostile.gsub_inside_gsub = { "time", function()
  local function sub() return (("a"):gsub("a", sub)) end
  while true do pcall(sub) end
end }
-- C that compares, finds or describes, called again and again by other C.
local function slow_table(event, fn)
  local t = {}
  for i = 1, 20000 do t[i] = i / 3 end
  return setmetatable({ t }, { [event] = fn })
end
hostile.sort_by_c = { "time", function(n)
  local t = {}
  for i = 1, 200000 do t[i] = i * 7919 % 1000003 + n end
  while true do table.sort(t, rawequal) end
end }
hostile.sort_by_c_metamethod = { "time", function()
  local t, slow = {}, slow_table("__lt", cjson.encode)
  for i = 1, 2000 do t[i] = slow end
  table.sort(t)
end }
hostile.sort_long_texts = { "time", function(n)
  local t, alike = {}, ("x"):rep(6000)
  for i = 1, 8000 do t[i] = alike .. (i * 7919 + n) % 8009 end
  while true do table.sort(t) for i = 1, #t, 2 do t[i], t[i + 1] = t[i + 1], t[i] end end
end }
hostile.gsub_by_c = { "time", function() return (("a"):rep(10000)):gsub("a", slow_table("__index", cjson.encode)) end }
hostile.format_by_c = { "time", function()
  local t, slow = {}, slow_table("__tostring", cjson.encode)
  for i = 1, 50 do t[i] = slow end
  while true do local _ = ("%.1s"):rep(50):format(unpack(t)) end
end }
hostile.rep_again = { "time", function(n) while true do local _ = ("x"):rep(n % 1000) end end }
hostile.rep_nothing = { "error", function() return (""):rep(1e12) end }
hostile.rep_giant = { "error", function() return ("x"):rep(1e10) end }
hostile.format_again = { "time", function(n) while true do local _ = ("%99.99f %q"):format(n, "x") end end }
hostile.concat_numbers = { "time", function(n)
  local t = {}
  for i = 1, 400000 do t[i] = i + n / 3 end
  while true do local _ = #table.concat(t, ",") end
end }
hostile.insert_front = { "time", function(n)
  local t = {}
  while true do table.insert(t, 1, n) end
end }
hostile.insert_far = { "any", function(n) table.insert({}, -2e9 + n, 1) end }
hostile.insert_far_caught = { "any", function() while true do pcall(table.insert, { 1, 2, 3 }, -2147483648, 1) end end }
hostile.sort_shared = { "time", function(n)
  local t, text = {}, ("x"):rep(15000000 + n)
  for i = 1, 8000 do t[i] = text end
  table.sort(t)
end }
hostile.sort_rawequal = { "time", function()
  local t = {}
  for i = 1, 1000000 do t[i] = i end
  while true do pcall(table.sort, t, rawequal) end
end }
hostile.sort_by_c = { "time", function(n)
  local t = {}
  for i = 1, 8000 do t[i] = ("x"):rep(1000) .. (i * n) % 8191 end
  while true do pcall(table.sort, t, string.find) pcall(table.sort, t, string.rep) end
end }
hostile.find_plain = { "time", function(n)
  local half = ("a"):rep(127)
  local text = (("a"):rep(255) .. "b"):rep(58000 + n)
  while true do text:find(half .. "b" .. half .. "c", 1, true) end
end }
hostile.move = { "time", function() table.move({}, 1, 1e15, 2) end }
hostile.date = { "error", function() return os.date(("%c"):rep(1000000)) end }
hostile.unpack = { "error", function() return unpack({}, 1, 1e7) end }
hostile.char_endless = { "time", function() while true do local _ = string.char(unpack({ 1, 2, 3 }, 1, 3)):upper():reverse() end end }
-- As long as one text may be; each of these calls goes through it once, some many times.
local function numeral(n) return ("1"):rep(15000000 + n % 1000) end
hostile.numerals_compared = { "time", function(n)
  local all, text = {}, numeral(n)
  for i = 1, 7000 do all[i] = text end
  while true do math.max(unpack(all)) end
end }
hostile.numerals_joined = { "time", function(n)
  local all, text = {}, numeral(n)
  for i = 1, 7000 do all[i] = text end
  while true do bit.bor(unpack(all)) end
end }
hostile.numerals_as_bytes = { "time", function(n)
  local all, text = {}, ("0"):rep(15000000 + n % 1000)
  for i = 1, 7000 do all[i] = text end
  while true do string.char(unpack(all)) end
end }
hostile.numerals_as_date = { "time", function(n)
  local text = numeral(n)
  while true do pcall(os.time, { year = text, month = text, day = text, hour = text, min = text, sec = text }) end
end }
hostile.rep_separated = { "time", function(n) while true do local _ = ("x"):rep(7000000 + n % 1000, "y") end end }
hostile.rep_pairs = { "time", function(n) while true do local _ = ("xy"):rep(7000000 + n % 1000) end end }
hostile.turned_texts = { "time", function(n)
  local text = ("aB"):rep(3500000 + n % 1000)
  while true do local _ = text:reverse() _ = text:upper() _ = text:lower() end
end }
-- Many values, each of which takes long to write or to read.
hostile.json_fractions = { "time", function(n)
  local t = {}
  for i = 1, 49000 do t[i] = 1.7e308 / (i + n % 1000) end
  while true do cjson.encode(t) end
end }
hostile.json_control = { "time", function(n)
  local text = ("\1"):rep(1000000 + n % 1000)
  while true do cjson.encode(text) end
end }
hostile.json_digits = { "time", function(n)
  local t = {}
  for i = 1, 40000 do t[i] = ("%.17g"):format(1e-300 / (i + n % 1000)) end
  local text = "[" .. table.concat(t, ",") .. "]"
  while true do cjson.decode(text) end
end }
hostile.json_branches = { "error", function(n)
  local t = { n }
  for _ = 1, 25 do t = { t, t } end
  local text, why = cjson.encode(t)
  error(text and "encoded" or why)
end }
hostile.json_deep = { "error", function()
  local t = {}
  for _ = 1, 1000 do t = { t } end
  local text, why = cjson.encode(t)
  error(text and "encoded" or why)
end }
hostile.json_cycle = { "error", function()
  local t = {}
  t.t = t
  local text, why = cjson.encode(t)
  error(text and "encoded" or why)
end }
hostile.json_giant = { "error", function()
  local text, why = cjson.encode(("\1"):rep(2000000))
  error(text and "encoded" or why)
end }
hostile.json_decode = { "error", function()
  local value, why = cjson.decode("[" .. ("[],"):rep(1000000) .. "1]")
  error(value and "decoded" or why)
end }
hostile.json_decode_giant = { "error", function()
  local value, why = cjson.decode('"' .. ("x"):rep(5000000) .. '"')
  error(value and "decoded" or why)
end }
hostile.json_caught = { "time", function()
  local text = ("["):rep(30) .. ("]"):rep(30)
  local function f() pcall(f) return pcall(cjson.encode, (pcall(cjson.decode, text))) end
  while true do f() end
end }
hostile.json_endless = { "time", function(n) while true do cjson.decode(cjson.encode { n, { n } }) end end }

-- Memory -------------------------------------------------------------------------------------------------------------------

hostile.garbage = { "time", function() while true do local _ = {} end end }
hostile.garbage_closures = { "time", function(n) while true do local _ = function() return n end end end }
hostile.garbage_texts = { "time", function() local i = 0 while true do i = i + 1 local _ = "x" .. i end end }
hostile.table_grows = { "any", function(n) local t = {} for i = 1, 1e9 do t[i] = { n } end return t end }
hostile.array_grows = { "any", function() local t = {} for i = 1, 1e9 do t[i] = i end return t end }
hostile.keys_grow = { "any", function() local t = {} for i = 1, 1e9 do t[i + 0.5] = ("x"):rep(100) .. i end return t end }
hostile.text_doubles = { "memory", function() local s = "x" while true do s = s .. s end end }
hostile.texts_kept = { "any", function(n) local t = {} while true do t[#t + 1] = ("x"):rep(1000000) .. #t .. n end end }
hostile.gsub_grows = { "any", function() return (("x"):rep(100000)):gsub("x", ("y"):rep(10000)) end }
hostile.coroutines_kept = { "any", function()
  local t = {}
  while true do
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    t[#t + 1] = { co, ("x"):rep(2000) .. #t }
  end
end }
hostile.memory_caught = { "any", function()
  local t = {}
  while true do pcall(function() while true do t[#t + 1] = ("x"):rep(100000) .. #t end end) end
end }
hostile.chain = { "any", function() local t = {} while true do t = { t, ("x"):rep(500) .. tostring(t) } end end }
hostile.hoard = { "hoard", function() while true do hoard[#hoard + 1] = ("x"):rep(100000) .. #hoard end end }

-- Waits and effects --------------------------------------------------------------------------------------------------------

hostile.sleeps_and_burns = { "time", function() while true do burn(200000) chat.timer.sleep(0) end end }
hostile.sleeps = { "wait", function() while true do chat.timer.sleep "10m" end end }
hostile.sleeps_often = { "wait", function() while true do chat.timer.sleep(50) end end }
hostile.sends = { "time", function(n, session) while true do session:send('{"type":"evil","n":' .. n .. "}") end end }
hostile.appends = { "time", function(n, session)
  while true do session:append { sender = "ai", type = "ai_response", content = "evil " .. n } end
end }
hostile.counts = { "time", function() while true do chat.metrics.add "evil" end end }
hostile.shares = { "time", function(n) local i = 0 while true do i = i + 1 chat.shared.set("evil" .. i % 100, n, 1000) end end }
hostile.renames = { "time", function(n, session) while true do session:set { name = "evil " .. n } end end }
hostile.commits = { "time", function(n, session)
  while true do
    session:append { sender = "ai", type = "ai_response", content = ("evil"):rep(1000) .. n }
    session:commit()
  end
end }

return hostile
