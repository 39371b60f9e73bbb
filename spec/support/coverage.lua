-- In: the files that lua_lines.c wrote (their folder is the argument), and the scripts. Out: how often each line of them
-- that has code in it ran in a program, in the format of lcov's tracefiles. Why: the same tools then count and draw C and Lua.
-- build/coverage/lua_host spec/support/coverage.lua FOLDER >lua.info, in the root of the tree.
local bit, ffi, util = require "bit", require "ffi", require "jit.util"
local folder = arg[1]

local function lines_of(command)
  local out, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do out[#out + 1] = line end
  pipe:close()
  return out
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

local function hash(text)
  local h = 0xcbf29ce484222325ULL
  for i = 1, #text do h = bit.bxor(h, ffi.cast("uint64_t", text:byte(i))) * 0x100000001b3ULL end
  return bit.tohex(h)
end

-- What has code in it but is no statement: where a block ends.
local function only_ends(text)
  return not text:gsub("%-%-.*", ""):gsub("%f[%w_]end%f[^%w_]", ""):gsub("%f[%w_]else%f[^%w_]", ""):find "[%w_\"'%[]"
end

-- { [line] = true } of the lines with code in them.
local function code_lines(path, text)
  local all, wanted = {}, {}
  for line in (text .. "\n"):gmatch "(.-)\n" do all[#all + 1] = line end
  local function walk(f)
    local info = util.funcinfo(f)
    for pc = 1, info.bytecodes - 1 do
      local line = util.funcinfo(f, pc).currentline
      if line and all[line] and not only_ends(all[line]) then wanted[line] = true end
    end
    for i = -1, -info.gcconsts, -1 do
      local k = util.funck(f, i)
      if type(k) == "proto" then walk(k) end
    end
  end
  walk(assert(loadstring(text, "@" .. path)))
  return wanted
end

local embedded = {}
for _, path in ipairs(lines_of "find bindings -name '*.lua' | sort") do
  embedded[path:match "([^/]+)%.lua$"] = path
end

local files, order = {}, {}
for _, path in ipairs(lines_of "find scripts bindings -name '*.lua' | sort") do
  local text = read(path)
  files[path] = { hash = hash(text), wanted = code_lines(path, text), ran = {} }
  order[#order + 1] = path
end

-- The file a chunk of this name is; nil: none of ours.
local function file_of(name)
  local path = name:gsub("^%./", ""):gsub("^.*/(scripts/)", "%1")
  return files[path] or files["scripts/" .. path] or files[embedded[path] or embedded[path:match "([^/]+)%.lua$"]]
end

for _, name in ipairs(lines_of("find '" .. folder .. "' -type f")) do
  for line in io.lines(name) do
    local chunk, text_hash, rest = line:match "^(.-)\t(%x+)(.*)$"
    local file = file_of(chunk)
    -- A text of the tests under the name of one of ours is not ours.
    if file and (text_hash == file.hash or text_hash == ("0"):rep(16)) then
      for number in rest:gmatch "%d+" do
        number = tonumber(number)
        file.ran[number] = (file.ran[number] or 0) + 1
      end
    end
  end
end

for _, path in ipairs(order) do
  local file, found, hit, numbers = files[path], 0, 0, {}
  for number in pairs(file.wanted) do numbers[#numbers + 1] = number end
  table.sort(numbers)
  io.write("TN:\nSF:", lines_of("realpath " .. path)[1], "\n")
  for _, number in ipairs(numbers) do
    local times = file.ran[number] or 0
    found, hit = found + 1, hit + (times > 0 and 1 or 0)
    io.write("DA:", number, ",", times, "\n")
  end
  io.write("LF:", found, "\nLH:", hit, "\nend_of_record\n")
end
