/* In: orders for the scripts, and their outcomes. Out: the last of them, newest first.
 * Why: when the bot behaves differently, people ask which version runs, since when, and who brought it and why. Each
 * order (reload, canary, promote, rollback) is an entry; its outcome changes with the version.
 * Thread: the main one. Bound: HISTORY_MAX entries, the oldest is dropped; longer texts are cut. */
#pragma once
#include "bundle.h"

#include <stddef.h>
#include <stdint.h>

#define HISTORY_MAX 20
#define HISTORY_WHO_MAX 127
#define HISTORY_WHY_MAX 255
#define HISTORY_DETAIL_MAX 511

enum outcome {
  OUTCOME_BEGUN,
  OUTCOME_RUNNING,
  OUTCOME_CANARY,
  OUTCOME_PROMOTED,
  OUTCOME_REPLACED,
  OUTCOME_ROLLED_BACK,
  OUTCOME_DONE,
  OUTCOME_FAILED
};

struct history_entry {
  unsigned number; /* from 1; an order that changed nothing gives its number back */
  uint64_t at_ms;  /* since 1970 */
  const char *verb;
  enum outcome outcome;
  char version[BUNDLE_VERSION_LEN + 1]; /* empty: it was not even read */
  char who[HISTORY_WHO_MAX + 1], why[HISTORY_WHY_MAX + 1];
  char detail[HISTORY_DETAIL_MAX + 1]; /* "scripts/bots/echo.lua:3: …", or empty */
};

struct history {
  unsigned count; /* ever */
  struct history_entry ring[HISTORY_MAX];
};

/* verb: a static string. who, why: copied; NULL is "". The number of the new entry. */
unsigned history_add(struct history *h, const char *verb, const char *who, const char *why, uint64_t at_ms);
void history_version(struct history *h, unsigned number, const char *version);
/* Drops the newest entry: nothing had changed. */
void history_drop(struct history *h, unsigned number);
/* detail: NULL leaves it. Nothing happens when the entry is gone. */
void history_settle(struct history *h, unsigned number, enum outcome outcome, const char *detail);
/* Whatever is RUNNING or CANARY as `before` is `after` from now on. */
void history_turn(struct history *h, enum outcome before, enum outcome after);
/* 0 is the newest; NULL: there is none, or it is forgotten. */
const struct history_entry *history_at(const struct history *h, unsigned back);
/* "running", "failed", … */
const char *history_outcome(enum outcome outcome);
