/* In: protected calls and coroutines that begin and end. Out: whether one more may begin.
 * Why: a slice that has to end is ended by an error, and whoever catches it meets it again at the next instruction.
 * Every place that catches costs a few microseconds then, and LuaJIT has room for 16,000 on one stack and for as many
 * stacks inside one another as there is C stack. As in Lua's own interpreter there are at most 200 of them inside one
 * another, so that ending all takes a millisecond. A coroutine brings with it what is on its stack. Thread: the VM's
 * own. */
#pragma once
#include <stdbool.h>

#define NESTING_MAX 200

struct nesting {
  unsigned inside;  /* protected calls on the stack of the running coroutine */
  unsigned outside; /* those on the stacks outside it, and the coroutines */
};

/* A protected call begins. false: there would be too many. *before is for nesting_release, once it has ended, however
 * it did. */
bool nesting_protect(struct nesting *n, unsigned *before);
void nesting_release(struct nesting *n, unsigned before);
/* A coroutine with `inside` protected calls on its stack goes on. false: there would be too many. *before is for
 * nesting_back, once it has yielded or ended, which returns its `inside` by then. */
bool nesting_resume(struct nesting *n, unsigned inside, unsigned *before);
unsigned nesting_back(struct nesting *n, unsigned before);
/* The same for a slice of the server's, which is no coroutine of a script and never one too many. */
unsigned nesting_enter(struct nesting *n, unsigned inside);
