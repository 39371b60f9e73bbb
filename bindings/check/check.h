/* In: a bundle of scripts. Out: what is wrong with it, as "scripts/x.lua:3: …", without running any of it.
 * Why: a mistake in a handler shows only when a message leads there; most can be read off the text (check.lua). Some
 * need the scripts loaded: whether a module has the function somebody calls. Those are kept as needs and asked of a VM.
 * Thread: any, no lock. Bound: CHECK_FINDINGS lines; how many there are in all is counted. */
#pragma once
#include "attr.h"
#include "bundle.h"
#include "vm.h"

#define CHECK_FINDINGS 1000

struct check_need {
  char *module, *field; /* "handlers.say", "user_message" */
  char *place, *what;   /* "scripts/routes.lua:21", "route user_message", or "call" */
};

struct check {
  size_t total, count, need_count;
  char **findings; /* count of them; total - count are not listed */
  struct check_need *needs;
};

/* modules: what the scripts can call, as in vm_world. 0; UV_ENOMEM; E_SCRIPT: the checker itself failed, why in why[].
 */
int check_read(const struct bundle *b, const struct bind_module *const *modules, struct check **out,
               char why[512]) NODISCARD;
void check_free(struct check *c); /* NULL is allowed */
/* The first need from *at on that the VM does not fulfil: E_SCRIPT, "path:line: …" in why[], *at behind it. Else 0. */
int check_next(const struct check *c, struct vm *vm, size_t *at, char why[512]) NODISCARD;
/* Loads what nothing requires, too: a bot that CHATBOX_BOT does not name. As check_next, over the files. */
int check_load_next(const struct bundle *b, struct vm *vm, size_t *at, char why[512]) NODISCARD;
