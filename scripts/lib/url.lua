-- In: the URL of a file as a client sent it. Out: may it be shown to others, and why not.
-- The rules are the reference's (section 9.4): https only, and no literal address of a private network, however it is
-- written. Names are not resolved: nothing here opens the URL, and a name may resolve differently a second later.
local url = {}

local PRIVATE_V4 = { -- first address, number of leading bits
  { 0x00000000, 8 }, -- 0.0.0.0/8 "this host"
  { 0x0A000000, 8 }, -- 10.0.0.0/8
  { 0x7F000000, 8 }, -- 127.0.0.0/8
  { 0xA9FE0000, 16 }, -- 169.254.0.0/16
  { 0xAC100000, 12 }, -- 172.16.0.0/12
  { 0xC0A80000, 16 }, -- 192.168.0.0/16
}

local function private_v4(address)
  for _, network in ipairs(PRIVATE_V4) do
    local size = 2 ^ (32 - network[2])
    if math.floor(address / size) == network[1] / size then
      return true
    end
  end
  return false
end

-- As inet_aton and browsers read it: 127.1, 0x7f000001 and 017700000001 are all 127.0.0.1. nil when it is a name.
local function parse_v4(host)
  local parts = {}
  for part in (host:gsub("%.$", "") .. "."):gmatch "([^.]*)%." do
    local hex = part:match "^0[xX](%x*)$"
    local number = hex and (tonumber(hex, 16) or 0)
      or part:match "^0[0-7]+$" and tonumber(part, 8)
      or part:match "^%d+$" and tonumber(part, 10)
    if not number then
      return nil
    end
    parts[#parts + 1] = number
  end
  if #parts > 4 then
    return nil, "not an address"
  end
  local address = parts[#parts]
  if address >= 256 ^ (5 - #parts) then
    return nil, "not an address"
  end
  for i = 1, #parts - 1 do
    if parts[i] > 255 then
      return nil, "not an address"
    end
    address = address + parts[i] * 256 ^ (4 - i)
  end
  return address
end

-- Eight groups of 16 bits, or nil when it is no IPv6 address.
local function parse_v6(host)
  local tail = host:match ":([^:]*%.[^:]*)$"
  if tail then
    local v4 = tail:match "^%d+%.%d+%.%d+%.%d+$" and parse_v4(tail)
    if not v4 then
      return nil
    end
    host = host:sub(1, -#tail - 1) .. ("%x:%x"):format(math.floor(v4 / 65536), v4 % 65536)
  end
  local function groups(text)
    local list = {}
    if text ~= "" then
      for group in (text .. ":"):gmatch "([^:]*):" do
        if not group:find "^%x%x?%x?%x?$" then
          return nil
        end
        list[#list + 1] = tonumber(group, 16)
      end
    end
    return list
  end
  local left, right = host:match "^(.-)::(.*)$"
  local first, last = groups(left or host), groups(right or "")
  if not first or not last or #first + #last > 8 or (not left and #first ~= 8) then
    return nil
  end
  for _ = 1, 8 - #first - #last do
    first[#first + 1] = 0
  end
  for _, group in ipairs(last) do
    first[#first + 1] = group
  end
  return first
end

local function private_v6(g)
  local zeros = 0
  while zeros < 8 and g[zeros + 1] == 0 do
    zeros = zeros + 1
  end
  local v4 = g[7] * 65536 + g[8]
  return zeros == 8 -- ::
    or (zeros == 7 and g[8] == 1) -- ::1
    or (g[1] >= 0xFC00 and g[1] < 0xFE00) -- fc00::/7
    or (g[1] >= 0xFE80 and g[1] < 0xFEC0) -- fe80::/10
    or (zeros == 5 and g[6] == 0xFFFF and private_v4(v4)) -- ::ffff:a.b.c.d
    or (zeros >= 6 and private_v4(v4)) -- ::a.b.c.d
end

local function check_host(host)
  local v6 = host:match "^%[(.*)%]$"
  if v6 then
    local groups = parse_v6((v6:gsub("%%.*$", "")))
    if not groups then
      return "not an address"
    end
    return private_v6(groups) and "a private address" or nil
  end
  if not host:find "^[%w%-._]*%w[%w%-._]*$" then -- ASCII only: fullwidth digits are an address to a browser
    return "not a host"
  end
  local address, why = parse_v4(host)
  if why or (address and private_v4(address)) then
    return why or "a private address"
  end
  local name = host:lower():gsub("%.$", "")
  if name == "localhost" or name:find "%.localhost$" then
    return "a private address"
  end
end

--- true when others may be given this URL; nil and the reason when not.
---@param text string
---@return true?
---@return string? why
function url.check(text)
  if text:find "[%z\1-\32\127\\\"<>^`{|}]" then
    return nil, "a character that has no place in a URL"
  end
  local authority = text:match "^[hH][tT][tT][pP][sS]://([^/?#]+)"
  if not authority then
    return nil, "not https"
  end
  local host, port = authority:match "^(.-):(%d*)$"
  if not host or (host:find("[", 1, true) and not host:find("]", 1, true)) then
    host, port = authority, ""
  end
  if port ~= "" and (#port > 5 or tonumber(port) > 65535) then
    return nil, "not a port"
  end
  local why = check_host(host)
  if why then
    return nil, why
  end
  return true
end

return url
