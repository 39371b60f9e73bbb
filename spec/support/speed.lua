-- In: nothing. Out: how many times as long this processor takes for what scripts do as the one the specs' budgets were
-- written on, at least 1. Why: a budget in milliseconds of processor time says something about the program only where
-- it is known how far a millisecond goes. Measured in processor time, and the best of many rounds counts, so that what
-- else runs on the machine matters little. `./dev test` asks once and hands it to every ring as SPEC_SLOWNESS.
local REFERENCE = 0.0175 -- seconds that one round took there
local ROUNDS = 15

jit.off() -- most LuaJITs run scripts interpreted (guard.h)

local function round()
  local x, kept = 0, {}
  for i = 1, 400000 do x = (x * 7 + i) % 1000003 end
  for i = 1, 3000 do pcall(error, i) end
  for i = 1, 20000 do kept[i % 100 + 1] = { i, "text " .. i } end
  return x, kept
end

local best = math.huge
for _ = 1, ROUNDS do
  local began = os.clock()
  round()
  best = math.min(best, os.clock() - began)
end
print(("%.2f"):format(math.max(1, best / REFERENCE)))
