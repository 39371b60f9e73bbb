/* In: orders for the scripts, and their outcomes. Out: the last of them, newest first. Why: see history.h. */
#include "history.h"

#include "utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A text that is too long loses its end, at a whole character; a control character is a space. */
static void text_put(char *out, size_t room, const char *text) {
  size_t used = 0;
  for (const char *p = text ? text : ""; *p;) {
    size_t n = utf8_sequence(p, strnlen(p, 4));
    bool plain = n > 0 && (unsigned char)*p >= ' ' && *p != 127;
    if (used + (n ? n : 1) >= room) {
      break;
    }
    memcpy(out + used, plain ? p : " ", plain ? n : 1);
    used += plain ? n : 1;
    p += n ? n : 1;
  }
  out[used] = 0;
}

static struct history_entry *entry_find(struct history *h, unsigned number) {
  struct history_entry *e = &h->ring[number % HISTORY_MAX];
  return number && e->number == number ? e : NULL;
}

unsigned history_add(struct history *h, const char *verb, const char *who, const char *why, uint64_t at_ms) {
  struct history_entry *e = &h->ring[++h->count % HISTORY_MAX];
  *e = (struct history_entry){.number = h->count, .at_ms = at_ms, .verb = verb};
  text_put(e->who, sizeof e->who, who);
  text_put(e->why, sizeof e->why, why);
  return e->number;
}

void history_version(struct history *h, unsigned number, const char *version) {
  struct history_entry *e = entry_find(h, number);
  if (e) {
    snprintf(e->version, sizeof e->version, "%s", version);
  }
}

void history_drop(struct history *h, unsigned number) {
  struct history_entry *e = entry_find(h, number);
  if (e && number == h->count) {
    *e = (struct history_entry){0};
    h->count--;
  }
}

void history_settle(struct history *h, unsigned number, enum outcome outcome, const char *detail) {
  struct history_entry *e = entry_find(h, number);
  if (e) {
    e->outcome = outcome;
    if (detail) {
      text_put(e->detail, sizeof e->detail, detail);
    }
  }
}

void history_turn(struct history *h, enum outcome before, enum outcome after) {
  for (size_t i = 0; i < HISTORY_MAX; i++) {
    if (h->ring[i].number && h->ring[i].outcome == before) {
      h->ring[i].outcome = after;
    }
  }
}

const struct history_entry *history_at(const struct history *h, unsigned back) {
  return back < h->count && back < HISTORY_MAX ? &h->ring[(h->count - back) % HISTORY_MAX] : NULL;
}

const char *history_outcome(enum outcome outcome) {
  static const char *const names[] = {
    [OUTCOME_BEGUN] = "begun",       [OUTCOME_RUNNING] = "running",   [OUTCOME_CANARY] = "canary",
    [OUTCOME_PROMOTED] = "promoted", [OUTCOME_REPLACED] = "replaced", [OUTCOME_ROLLED_BACK] = "rolled back",
    [OUTCOME_DONE] = "done",         [OUTCOME_FAILED] = "failed"};
  return names[outcome];
}
