/* In: names and times. Out: yes, or one more line left out. Why: see log_share.h. */
#include "log_share.h"

#include "lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct log_share {
  char name[LOG_SHARE_NAME_MAX + 1];
  struct bucket lines;
  uint64_t left_out;
  UT_hash_handle hh;
};

struct log_shares {
  struct lock lock;
  struct bucket_rate rate;
  size_t max;
  struct log_share *all, others;
};

struct log_shares *log_shares_new(const struct bucket_rate *rate, size_t max) {
  struct log_shares *l = calloc(1, sizeof *l);
  if (l) {
    lock_init(&l->lock);
    l->rate = *rate;
    l->max = max;
    snprintf(l->others.name, sizeof l->others.name, "(others)");
  }
  return l;
}

void log_shares_free(struct log_shares *l) {
  if (!l) {
    return;
  }
  struct log_share *s, *next;
  HASH_ITER(hh, l->all, s, next) {
    HASH_DEL(l->all, s);
    free(s);
  }
  lock_deinit(&l->lock);
  free(l);
}

static struct log_share *share_of(struct log_shares *l, const char *name) {
  char cut[LOG_SHARE_NAME_MAX + 1];
  struct log_share *s;
  snprintf(cut, sizeof cut, "%s", name);
  HASH_FIND_STR(l->all, cut, s);
  if (!s && HASH_COUNT(l->all) < l->max && (s = calloc(1, sizeof *s))) {
    memcpy(s->name, cut, sizeof cut);
    HASH_ADD_STR(l->all, name, s);
  }
  return s ? s : &l->others;
}

bool log_shares_take(struct log_shares *l, const char *name, uint64_t now_ms) {
  lock_acquire(&l->lock);
  struct log_share *s = share_of(l, name);
  bool free_now = bucket_wait(&s->lines, &l->rate, 1, now_ms) == 0;
  if (free_now) {
    bucket_take(&s->lines, &l->rate, 1, now_ms);
  } else {
    s->left_out++;
  }
  lock_release(&l->lock);
  return free_now;
}

/* Said without the lock: a copy of one at a time, the first that has something. */
static bool next_to_say(struct log_shares *l, char name[LOG_SHARE_NAME_MAX + 1], uint64_t *left_out) {
  struct log_share *found = NULL;
  lock_acquire(&l->lock);
  for (struct log_share *s = l->all; s && !found; s = s->hh.next) {
    found = s->left_out ? s : NULL;
  }
  found = !found && l->others.left_out ? &l->others : found;
  if (found) {
    memcpy(name, found->name, LOG_SHARE_NAME_MAX + 1);
    *left_out = found->left_out;
    found->left_out = 0;
  }
  lock_release(&l->lock);
  return found;
}

void log_shares_tell(struct log_shares *l, void (*say)(void *arg, const char *name, uint64_t left_out), void *arg) {
  char name[LOG_SHARE_NAME_MAX + 1];
  uint64_t left_out;
  for (size_t i = 0; i <= l->max && next_to_say(l, name, &left_out); i++) {
    say(arg, name, left_out);
  }
}
