/* In: the versions of the scripts on all workers, and their history. Out: one report.
 * Why: an operator sees at a glance which version serves whom, how well, and what its handlers wait for. The report is
 * a copy: it holds no lock and outlives what it describes.
 * Thread: requested and delivered on the main thread; read by any. Bound: REPORT_WAITS kinds of waiting and
 * REPORT_TASKS handlers listed for each VM; the totals are counted. */
#pragma once
#include "scripts.h"

#include <stdio.h>

#define REPORT_WAITS 8
#define REPORT_TASKS 20
#define REPORT_VERSIONS 8

struct report_task {
  char session[STORE_ID_LEN + 1]; /* empty: an HTTP request */
  const char *waits_for;
  uint64_t since_ms;
};

struct report_vm {
  char version[BUNDLE_VERSION_LEN + 1];
  const char *role; /* "current", "canary", "old" */
  unsigned number, worker;
  size_t waiting, memory_bytes;
  uint64_t calls, errors, kills;
  size_t wait_count, task_count;
  struct {
    const char *what;
    size_t count;
  } waits[REPORT_WAITS];
  struct report_task tasks[REPORT_TASKS]; /* those that wait longest */
};

/* The same version on all workers. */
struct report_version {
  char version[BUNDLE_VERSION_LEN + 1];
  const char *role;
  unsigned number, vms;
  size_t waiting, memory_bytes;
  uint64_t calls, errors, kills;
};

struct scripts_report {
  struct history history;
  unsigned canary_share;    /* of SCRIPTS_WHOLE; 0: there is no canary */
  size_t kept;              /* versions to go back to */
  size_t quarantined_count; /* routes and rules in quarantine */
  char quarantined[QUARANTINE_NAMES][QUARANTINE_NAME_MAX + 1];
  size_t version_count;
  struct report_version versions[REPORT_VERSIONS];
  size_t vm_count;
  struct report_vm vms[];
};

/* done: once, on the main thread; takes the report (free); NULL when memory was out. */
void scripts_report(struct scripts *s, void (*done)(void *arg, struct scripts_report *report), void *arg);
/* For people. */
void report_print(const struct scripts_report *r, FILE *out);
/* Milliseconds since 1970 as RFC 3339 in UTC. */
void report_time(uint64_t ms, char out[32]);
