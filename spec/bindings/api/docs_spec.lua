-- docs.c, and what keeps it honest: everything a script may call is described, and has a spec here.
local scene = require "spec.support.scene"

local function specs()
  local texts, list = {}, assert(io.popen "find spec/bindings -name '*_spec.lua'")
  for path in list:lines() do
    local file = assert(io.open(path))
    texts[#texts + 1] = path:find "docs_spec" and "" or file:read "*a"
    file:close()
  end
  list:close()
  return table.concat(texts, "\n")
end

describe("the reference", function()
  local page, stubs = scene.docs(), scene.docs(true)

  it("names every function, and each one is called in a spec of spec/bindings", function()
    local all, missing, count = specs(), {}, 0
    for full in page:gmatch "\n%* `([%w_.:]+)%(" do
      count = count + 1
      local method = full:match "^session(:[%w_]+)$"
      local called = method and (all:find(method .. "[^%w_]") or all:find("session%." .. method:sub(2) .. "[^%w_]"))
        or all:find(full:gsub("%.", "%%.") .. "[^%w_]")
      if not called then missing[#missing + 1] = full end
    end
    assert.is_true(count > 40)
    assert.same({}, missing)
  end)

  it("is complete: what a VM has under chat is in it, and nothing else", function()
    local world = scene.case [[
      return { there = function(s, c, name)
        local module, key = name:match "^chat%.(%w+)%.([%w_]+)$"
        if module then return type(chat[module][key]) end
        return type(s[name:match ":(.*)"])
      end } ]]
    local alice = world:connect "alice"
    for full in page:gmatch "\n%* `([%w_.:]+)%(" do
      assert.same({ "function" }, alice:asks("there " .. full), full)
    end
    scene.close()
  end)

  it("says of every function that waits that it waits", function()
    for _, name in ipairs { "session:flush(", "session:ask(", "chat.session.open(", "chat.store.session(",
                            "chat.store.sessions(", "chat.store.history(", "chat.store.ready(", "chat.timer.sleep(" } do
      assert.matches("%* `" .. name:gsub("%p", "%%%0") .. "[^\n]*%*waits%*", page)
    end
  end)

  it("as stubs for the editor is Lua that loads", function()
    local chunk = assert(loadstring(stubs, "=stubs"))
    local env = {}
    setfenv(chunk, env)
    chunk()
    assert.is_function(env.chat.store.history)
    assert.is_function(env.chat.session.open)
    assert.equal("", env.chat.version)
  end)

  local function read(path)
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("docs/limits.md names every setting that is a bound", function()
    local limits, bounds = read "docs/limits.md", 0
    for name in read("docs/settings.md"):gmatch "\n| `([%u_]+)`" do
      if ("_" .. name .. "_"):find "_MAX_" or name:find "_LIMIT$" or name:find "_QUEUE$" or name:find "_RATE$" or name:find "_PER_" then
        bounds = bounds + 1
        assert.is_truthy(limits:find(name, 1, true) or name == "SCRIPT_KILLS_MAX", name)
      end
    end
    assert.is_true(bounds > 20)
  end)

  it("as it lies in docs/ is the one of these bindings", function()
    assert.equal(page, read "docs/lua.md", "run ./dev docs")
    assert.equal(stubs, read "docs/stubs/chat.lua", "run ./dev docs")
  end)
end)
