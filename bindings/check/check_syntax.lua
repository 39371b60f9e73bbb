-- In: the text of a script that compiles. Out: what its names stand for, told to a listener as they are read.
-- Why: a server that is running cannot try every line of a script. This reads the text once, keeps the scopes, and
-- follows what is plain to see: chat.x.y, the module behind a `require`, a conversation that comes as `session`. What
-- it does not see it says nothing about, so that what it does say is so. The text compiles, so nothing here looks for
-- syntax errors. Embedded, trusted; gets check_words.lua: syntax(text, on) -> the value the script returns.
--     on.global(name, line)              a name that is no local is read     on.write(name, line)   … or written
--     on.chat(path, line)                chat.store.history is mentioned     on.set_chat(path, line)
--     on.require(name, line)             a module is asked for
--     on.field(value)                    m.f of such a module is mentioned
--     on.call(value, count, open, line, values)  it is called; open: the last argument may be more than one
--     on.method(value, name, count, open, line)
--     on.duplicate(key, line, first)     a key that this table already has
-- A value is nil (anything) or { kind = "string" | "chat" | "module" | "field" | "table" | "session" | "require", … }.
local words = ...
local find = string.find

local BINARY = {}
for op in ("+ - * / % ^ .. == ~= < <= > >= and or"):gmatch "%S+" do
  BINARY[op] = true
end
local UNARY = { ["not"] = true, ["-"] = true, ["#"] = true }

-- What a literal says, when that is plain: escapes are of no interest here.
local function literal(text)
  local inner = text:match "^['\"](.*)['\"]$" or text:match "^%[=*%[\n?(.*)%]=*%]$"
  return inner and not find(inner, "\\", 1, true) and inner or nil
end

return function(text, on)
  local kinds, texts, lines = words(text)
  local at, scope = 1, {}
  local expression, block, body -- forward

  local function is(op)
    return texts[at] == op and kinds[at] == "op"
  end

  local function accept(op)
    if is(op) then
      at = at + 1
      return true
    end
    return false
  end

  local function take()
    at = at + 1
    return texts[at - 1], lines[at - 1]
  end

  -- Scopes: name -> { value } of a local; what is not found is a global.
  local function open()
    scope = setmetatable({}, { __index = scope, outer = scope })
  end
  local function close()
    scope = getmetatable(scope).outer
  end
  local function declare(name, value)
    scope[name] = { value = value }
  end

  local function read_name(name, line)
    local known = scope[name]
    if known then
      local value = known.value
      if value and value.kind == "field" then -- it may have been looked at before it is called
        return { kind = "field", module = value.module, field = value.field, line = line, alias = true }
      end
      return value
    end
    on.global(name, line)
    if name == "chat" then
      return { kind = "chat", path = "chat" }
    elseif name == "require" then
      return { kind = "require" }
    end
  end

  local function write_name(name, line)
    local known = scope[name]
    if known then
      known.value = nil
    else
      on.write(name, line)
    end
  end

  local function member(value, key, line)
    if value and value.kind == "chat" then
      local path = value.path .. "." .. key
      on.chat(path, line)
      return { kind = "chat", path = path }
    elseif value and value.kind == "module" then
      local field = { kind = "field", module = value.name, field = key, line = line }
      on.field(field)
      return field
    end
  end

  -- How many, whether the last may be several, and their values.
  local function expressions()
    local values, count = {}, 0
    while true do
      local value, many = expression()
      count = count + 1
      values[count] = value
      if not accept "," then
        return count, many, values
      end
    end
  end

  local function arguments()
    if accept "(" then
      if accept ")" then
        return 0, false, {}
      end
      local count, many, values = expressions()
      at = at + 1 -- )
      return count, many, values
    end
    return 1, false, { (expression(true)) }
  end

  local function add_item(t, key, value, line)
    if key == nil then
      t.items[#t.items + 1] = { value = value, line = line }
    elseif t.named[key] then
      on.duplicate(key, line, t.named[key].line)
    else
      t.named[key] = { value = value, line = line }
    end
  end

  local function constructor(line)
    local t = { kind = "table", line = line, items = {}, named = {} }
    while not accept "}" do
      local here = lines[at]
      if accept "[" then
        local key = expression()
        at = at + 2 -- ] =
        local value = expression()
        if key and key.kind == "string" then
          add_item(t, key.text, value, here)
        end
      elseif kinds[at] == "name" and texts[at + 1] == "=" and kinds[at + 1] == "op" then
        local key = take()
        at = at + 1
        add_item(t, key, (expression()), here)
      else
        add_item(t, nil, (expression()), here)
      end
      local _ = accept "," or accept ";"
    end
    return t
  end

  -- A name or (…), without what follows it.
  local function primary()
    if accept "(" then
      local value = expression()
      at = at + 1
      return value
    end
    return read_name(take())
  end

  local function called(value, line)
    local count, many, values = arguments()
    on.call(value, count, many, line, values)
    local first = values[1]
    if value and value.kind == "require" and first and first.kind == "string" and first.text then
      on.require(first.text, line)
      return { kind = "module", name = first.text, line = line }
    end
  end

  -- What follows a primary. The second result: it may be several values.
  local function suffixes(value)
    local many = false
    while true do
      local line = lines[at]
      if accept "." then
        value, many = member(value, take(), line), false
      elseif accept "[" then
        local key = expression()
        at = at + 1
        value, many = key and key.kind == "string" and member(value, key.text, line) or nil, false
      elseif accept ":" then
        local name = take()
        local count, open_end = arguments()
        on.method(value, name, count, open_end, line)
        value, many = nil, true
      elseif is "(" or is "{" or kinds[at] == "string" then
        value, many = called(value, line), true
      else
        return value, many
      end
    end
  end

  local function simple()
    local line = lines[at]
    if kinds[at] == "string" then
      return { kind = "string", text = literal(take()), line = line }
    elseif kinds[at] == "number" or is "nil" or is "true" or is "false" then
      local word = take()
      return word == "nil" and { kind = "nil", line = line } or nil
    elseif accept "..." then
      return nil, true
    elseif accept "{" then
      return constructor(line)
    elseif accept "function" then
      body()
      return { kind = "function", line = line }
    end
    return suffixes(primary())
  end

  -- alone: an argument without parentheses, which is a string or a table and nothing more.
  function expression(alone)
    if alone then
      return simple()
    end
    local value, many
    local plain = true
    repeat
      while kinds[at] == "op" and UNARY[texts[at]] do
        at, plain = at + 1, false
      end
      value, many = simple()
      local more = kinds[at] == "op" and BINARY[texts[at]]
      if more then
        at, plain = at + 1, false
      end
    until not more
    if plain then
      return value, many
    end
  end

  function body(self)
    open()
    if self then
      declare "self"
    end
    at = at + 1 -- (
    while not accept ")" do
      if not accept "..." then
        local name = take()
        declare(name, name == "session" and { kind = "session" } or nil)
      end
      accept ","
    end
    block()
    at = at + 1 -- end
    close()
  end

  local function names()
    local list = {}
    repeat
      list[#list + 1] = take()
    until not accept ","
    return list
  end

  local function local_statement()
    if accept "function" then
      declare(texts[at], { kind = "function" })
      at = at + 1
      return body()
    end
    local list, values = names(), {}
    if accept "=" then
      local _
      _, _, values = expressions()
    end
    for i, name in ipairs(list) do
      declare(name, values[i])
    end
  end

  local function function_statement()
    local name, line = take()
    if not is "." and not is ":" then
      write_name(name, line)
      return body()
    end
    local value = read_name(name, line)
    if value and value.kind == "chat" then
      on.set_chat("chat", line)
    end
    local method = false
    while is "." or is ":" do
      method = is ":"
      at = at + 2
    end
    body(method)
  end

  local function for_statement()
    local list = names()
    at = at + 1 -- = or in
    expressions()
    at = at + 1 -- do
    open()
    for _, name in ipairs(list) do
      declare(name)
    end
    block()
    close()
    at = at + 1
  end

  local function if_statement()
    repeat
      expression()
      at = at + 1 -- then
      open()
      block()
      close()
    until not accept "elseif"
    if accept "else" then
      open()
      block()
      close()
    end
    at = at + 1
  end

  local function while_statement()
    expression()
    at = at + 1
    open()
    block()
    close()
    at = at + 1
  end

  local function repeat_statement()
    open()
    block()
    at = at + 1 -- until: sees the locals of the block
    expression()
    close()
  end

  local function do_statement()
    open()
    block()
    close()
    at = at + 1
  end

  -- A call, or an assignment: then the first name is written, not read.
  local function target()
    if kinds[at] == "name" and kinds[at + 1] == "op" and (texts[at + 1] == "=" or texts[at + 1] == ",") then
      return write_name(take())
    end
    local line = lines[at]
    local value = suffixes(primary())
    if value and value.kind == "chat" and (is "=" or is ",") then
      on.set_chat(value.path, line)
    end
  end

  local function assignment()
    repeat
      target()
    until not accept ","
    if accept "=" then
      expressions()
    end
  end

  local statements = {
    ["local"] = local_statement,
    ["function"] = function_statement,
    ["for"] = for_statement,
    ["if"] = if_statement,
    ["while"] = while_statement,
    ["repeat"] = repeat_statement,
    ["do"] = do_statement,
    ["break"] = function() end,
    [";"] = function() end,
  }

  -- Up to what ends it. The values of its return, if it has one.
  function block()
    while kinds[at] ~= "end" and not (is "end" or is "else" or is "elseif" or is "until") do
      local known = kinds[at] == "op" and statements[texts[at]]
      if known then
        at = at + 1
        known()
      elseif accept "return" then
        local values = {}
        if not (kinds[at] == "end" or is "end" or is "else" or is "elseif" or is "until" or is ";") then
          local _
          _, _, values = expressions()
        end
        accept ";"
        return values[1]
      elseif accept "::" then
        at = at + 2
      elseif texts[at] == "goto" and kinds[at + 1] == "name" then
        at = at + 2
      else
        assignment()
      end
    end
  end

  return block()
end
