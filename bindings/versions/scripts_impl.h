/* In: nothing. Out: the inside of the versions of scripts, for the files of this room only.
 * Why: the main thread decides (scripts.c), each worker has its VMs (scripts_host.c), and both are reported
 * (scripts_report.c); what they share is here. A host belongs to its worker's thread, everything else to the main
 * one; a version is counted and its tallies are atomics. */
#pragma once
#ifndef ROOM_VERSIONS
#error "scripts_impl.h is private to bindings/versions"
#endif

#include "check.h"
#include "scripts.h"

#include <stdatomic.h>

/* One start of one bundle. Outlives its VMs. */
struct version {
  atomic_int refs;
  struct bundle *bundle;
  unsigned number; /* grows with each start */
  size_t workers;
  struct vm_tally tally[];
};

enum role { ROLE_CURRENT, ROLE_CANARY, ROLE_OLD };

struct slot {
  struct vm *vm; /* NULL: empty, and so is the rest */
  struct version *version;
  struct timer *deadline; /* of an old one */
  struct host *host;
};

/* One worker's VMs. */
struct host {
  struct scripts *scripts;
  struct worker *worker;
  struct slot current, canary, old[SCRIPTS_VERSIONS - 1];
  bool staged;                   /* another version has started here and waits for the decision */
  unsigned canary_number, share; /* of the canary */
  size_t asked;                  /* orders given by its scripts and not answered yet */
};

/* What a worker is asked to do, and its answer. */
struct host_start {
  struct post post;
  struct job *job;
  struct host *host;
  struct slot fresh;
  int code;
  char why[512];
};

/* An order that is being carried out. */
struct job {
  struct scripts *scripts;
  struct version *version;
  struct check *check;   /* of what is new; NULL: it has run before, or a trial checks it */
  struct bundle *bundle; /* what is being tried */
  unsigned trials;       /* so often: the folder may change meanwhile */
  enum scripts_verb verb;
  unsigned share, entry;
  char named[BUNDLE_VERSION_LEN + 1]; /* the version it is about; empty until that is known */
  scripts_done *done;
  void *arg;
  size_t waiting;
  struct host_start stages[];
};

struct counts {
  uint64_t calls, errors, kills;
};

struct scripts {
  const struct vm_world *world;
  char *dir;
  struct mailbox *home;
  struct version *current, *canary; /* canary: NULL, there is none */
  unsigned canary_number, share, numbers;
  struct counts before; /* of the current version, when the canary began */
  struct post judge;    /* posted by worker 0 when it is time to judge the canary */
  bool watching;
  void (*canary_fails)(struct scripts *s);
  struct bundle *kept[SCRIPTS_KEPT]; /* to go back to; the last one first */
  size_t kept_count;
  scripts_trial *trial; /* NULL: none */
  void *trial_arg;
  struct job *running;
  char skipped[BUNDLE_SKIPPED_MAX]; /* what the log already says is left out of the folder */
  const char *again;                /* who wanted a reload meanwhile; NULL: nobody */
  struct history history;
  size_t count;
  struct host hosts[];
};

/* chat.scripts: lua_scripts.c. */
extern const struct bind_module bind_scripts;

struct version *version_new(struct bundle *bundle, unsigned number, size_t workers) NODISCARD;
struct version *version_ref(struct version *v);
void version_unref(struct version *v); /* NULL is allowed */
struct counts version_counts(const struct version *v);
/* Changes the gauge of a version and role by n. */
void version_show(const struct version *v, const char *role, int n);
/* Versions to roll back to; main thread. keep drops the oldest beyond SCRIPTS_KEPT; forget drops the newest. */
void version_keep(struct scripts *s, struct bundle *bundle);
void version_forget(struct scripts *s);

/* ---- scripts_host.c, on a worker ---- */

/* Starts the version of the job beside what runs, sets code and why, then posts it back to the main thread. */
void host_stage(void *stage);
enum host_change { HOST_DISCARD, HOST_SWAP, HOST_CANARY, HOST_PROMOTE, HOST_DROP_CANARY };
/* Any thread. Aborts when memory is out: half the workers on another version would be worse than no server. */
void host_change(struct host *h, enum host_change change, const struct slot *fresh, unsigned lane, unsigned share);
/* fn of each VM of the host, the current one first. */
void host_each(struct host *h, void (*fn)(struct slot *slot, enum role role, void *arg), void *arg);

/* ---- scripts_canary.c, on the main thread ---- */

/* A canary has begun: from now on it is looked at every CANARY_INTERVAL_MS. fails: once, when it does worse than the
 * current version; it rolls it back. */
#define CANARY_INTERVAL_MS 100
void canary_watch(struct scripts *s, void (*fails)(struct scripts *s));
/* "4 of 40 failed (10.0 %), of the current version 1 of 400 (0.2 %)" */
void canary_describe(const struct scripts *s, char *out, size_t room);
