/* In: the tables of bound functions. Out: the reference page and the editor's stubs. Why: see docs.h. */
#include "docs.h"

#include "bind.h"

#include <string.h>

static bool is_method(const struct bind_function *f) {
  return strchr(f->name, ':');
}

static void full_name(FILE *out, const struct bind_module *m, const struct bind_function *f) {
  if (is_method(f)) {
    fputs(f->name, out);
  } else {
    fprintf(out, "chat.%s.%s", m->name, f->name);
  }
}

void docs_lua(const struct bind_module *const *modules, FILE *out) {
  fputs(
    "# What a script may call\n\nMade from the tables of the bindings by `chatbox docs lua`.\n\n"
    "What can happen returns `nil, message, code`; misuse raises. *Waits*: the handler is parked and goes on when the\n"
    "answer is there; what it did before takes effect first. A duration is a number of milliseconds or like `250ms`,\n"
    "`5s`, `10m`, `1h30m`. `chat.version` is the version of the running scripts.\n",
    out);
  for (const struct bind_module *const *m = modules; *m; m++) {
    fprintf(out, "\n## chat.%s\n\n%s\n\n", (*m)->name, (*m)->doc);
    for (const struct bind_function *f = (*m)->functions; f->name; f++) {
      fputs("* `", out);
      full_name(out, *m, f);
      fprintf(out, "(%s)`%s%s%s%s — %s\n", f->arguments, *f->returns ? " → `" : "", f->returns, *f->returns ? "`" : "",
              f->waits ? " *waits*" : "", f->doc);
    }
  }
}

/* "name type, more? type" -> one @param a piece and the names alone. */
static void stub_arguments(FILE *out, const char *arguments, char *names, size_t room) {
  names[0] = 0;
  for (const char *p = arguments; *p;) {
    size_t n = strcspn(p, ",");
    size_t name = strcspn(p, " ,");
    const char *type = p + name < p + n ? p + name + 1 : "any";
    int type_len = p + name < p + n ? (int)(n - name - 1) : 3;
    fprintf(out, "---@param %.*s %.*s\n", (int)name, p, type_len, type);
    size_t bare = name && p[name - 1] == '?' ? name - 1 : name;
    size_t used = strlen(names);
    snprintf(names + used, room - used, "%s%.*s", used ? ", " : "", (int)bare, p);
    p += n;
    p += strspn(p, ", ");
  }
}

void docs_stubs(const struct bind_module *const *modules, FILE *out) {
  fputs("---@meta\n-- Made from the tables of the bindings by `chatbox docs stubs`; for the editor only.\n\n"
        "---@class session\n---@field id string\n---@field user_id string\n---@field name string\n"
        "---@field model_id string\n---@field assisting_admin_id string\n---@field assisting_admin_name string\n"
        "---@field start_ms number\n---@field last_activity_ms number\n---@field end_ms number\n"
        "---@field total_tokens number\n---@field top number\n---@field members number\n"
        "---@field help_requested boolean\n---@field admin_assisted boolean\n---@field stored boolean\n"
        "local session = {}\n\nchat = {}\n\n---@type string\nchat.version = \"\"\n",
        out);
  for (const struct bind_module *const *m = modules; *m; m++) {
    fprintf(out, "\n--- %s\nchat.%s = {}\n", (*m)->doc, (*m)->name);
    for (const struct bind_function *f = (*m)->functions; f->name; f++) {
      char names[256];
      fprintf(out, "\n--- %s%s\n", f->doc, f->waits ? " Waits." : "");
      stub_arguments(out, f->arguments, names, sizeof names);
      if (*f->returns) {
        fprintf(out, "---@return %s\n", f->returns);
      }
      fputs("function ", out);
      full_name(out, *m, f);
      fprintf(out, "(%s) end\n", names);
    }
  }
}
