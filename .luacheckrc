-- Scripts see what the sandbox gives them and nothing else; bindings/sandbox.lua and the specs see all of LuaJIT.
std = "luajit"
max_line_length = 140
cache = false
exclude_files = { "docs/stubs", "node_modules", "build*" } -- generated, or not ours

stds.sandbox = {
  read_globals = {
    "assert", "bit", "chat", "coroutine", "error", "getmetatable", "ipairs", "math", "next", "os", "pairs", "pcall",
    "print", "rawequal", "rawget", "rawset", "require", "select", "setmetatable", "string", "table", "tonumber",
    "tostring", "type", "unpack", "xpcall",
  },
}

files["scripts"] = { std = "sandbox", max_line_length = 120 }
files["bindings"] = { max_line_length = 120 }
files["spec"] = { std = "luajit+busted" }
files["spec/support/hostile.lua"] = { std = "sandbox" }
files["spec/fuzz/sandbox"] = { std = "sandbox", globals = { "undeclared" } } -- to see that it cannot be set
