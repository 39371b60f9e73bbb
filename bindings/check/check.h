/* In: a bundle of scripts. Out: the mistakes in it, as "scripts/x.lua:3: …", without running any of it.
 * Why: a mistake in a handler shows only when a message gets there; most can be found by reading (check.lua). Some can
 * be found only with the scripts loaded: whether a module has a function that another calls. Those are kept as needs
 * and checked against a VM.
 * Thread: any, no lock. Bound: CHECK_FINDINGS lines; the total is counted. */
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

/* modules: what scripts can call, as in vm_world. 0; UV_ENOMEM; E_SCRIPT when the checker itself failed, with the
 * reason in why[]. */
int check_read(const struct bundle *b, const struct bind_module *const *modules, struct check **out,
               char why[512]) NODISCARD;
void check_free(struct check *c); /* NULL is allowed */
/* Finds the first need, from *at on, that the VM does not meet: E_SCRIPT, "path:line: …" in why[], *at after it.
 * Else 0. */
int check_next(const struct check *c, struct vm *vm, size_t *at, char why[512]) NODISCARD;
/* Loads every script, also those that nothing requires (a bot that CHATBOX_BOT does not name). Returns as check_next
 * does, over the files. */
int check_load_next(const struct bundle *b, struct vm *vm, size_t *at, char why[512]) NODISCARD;
