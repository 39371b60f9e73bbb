/* In: keys and small values from every worker's scripts. Out: the same, seen by all at once. Why: see shared.h. */
#include "shared.h"

#include "err.h"
#include "lock.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <uv.h>

#define ENTRY_COST 64

/* One of those who set values. */
struct shared_owner {
  size_t keys, bytes;
  UT_hash_handle hh;
  char name[];
};

struct shared_entry {
  UT_hash_handle hh;
  struct shared_value value;
  uint64_t expires_ms; /* 0: never */
  struct shared_owner *owner;
  size_t key_len;
  char key[];
};

struct shared {
  struct lock lock;
  size_t max_keys, max_bytes, bytes, max_keys_of_one, max_bytes_of_one;
  struct shared_entry *all;
  struct shared_owner *owners; /* those that have a key */
};

struct shared *shared_new(size_t max_keys, size_t max_bytes) {
  struct shared *s = calloc(1, sizeof *s);
  if (s) {
    lock_init(&s->lock);
    s->max_keys = max_keys;
    s->max_bytes = max_bytes;
    s->max_keys_of_one = s->max_bytes_of_one = SIZE_MAX;
  }
  return s;
}

void shared_limit(struct shared *s, size_t keys_of_one, size_t bytes_of_one) {
  s->max_keys_of_one = keys_of_one;
  s->max_bytes_of_one = bytes_of_one;
}

static size_t cost(size_t key_len, const struct shared_value *v) {
  return key_len + ENTRY_COST + (v->type == SHARED_TEXT ? v->len : 0);
}

static void disown(struct shared *s, struct shared_owner *o, size_t bytes) {
  o->keys--;
  o->bytes -= bytes;
  if (o->keys == 0) {
    HASH_DEL(s->owners, o);
    free(o);
  }
}

static void drop(struct shared *s, struct shared_entry *e) {
  s->bytes -= cost(e->key_len, &e->value);
  disown(s, e->owner, cost(e->key_len, &e->value));
  HASH_DELETE(hh, s->all, e);
  free(e->value.text);
  free(e);
}

void shared_free(struct shared *s) {
  struct shared_entry *e, *next;
  HASH_ITER(hh, s->all, e, next) {
    drop(s, e);
  }
  lock_deinit(&s->lock);
  free(s);
}

static bool expired(const struct shared_entry *e, uint64_t now_ms) {
  return e->expires_ms && e->expires_ms <= now_ms;
}

static struct shared_entry *find(struct shared *s, const char *key, size_t key_len, uint64_t now_ms) {
  struct shared_entry *e;
  HASH_FIND(hh, s->all, key, key_len, e);
  if (e && expired(e, now_ms)) {
    drop(s, e);
    e = NULL;
  }
  return e;
}

static void sweep(struct shared *s, uint64_t now_ms) {
  struct shared_entry *e, *next;
  HASH_ITER(hh, s->all, e, next) {
    if (expired(e, now_ms)) {
      drop(s, e);
    }
  }
}

static struct shared_owner *owner_find(struct shared *s, const char *of) {
  struct shared_owner *o;
  HASH_FIND_STR(s->owners, of, o);
  return o;
}

/* What takes the place of old (or NULL) and needs so many bytes. */
static bool fits(struct shared *s, const char *of, const struct shared_entry *old, size_t need) {
  size_t back = old ? cost(old->key_len, &old->value) : 0;
  const struct shared_owner *o = owner_find(s, of);
  bool mine = old && old->owner == o;
  size_t keys = (o ? o->keys : 0) + !mine, bytes = (o ? o->bytes : 0) + need - (mine ? back : 0);
  return HASH_COUNT(s->all) + !old <= s->max_keys && (need <= back || s->bytes + need - back <= s->max_bytes) &&
         keys <= s->max_keys_of_one && bytes <= s->max_bytes_of_one;
}

/* NULL: out of memory. */
static struct shared_owner *owner_get(struct shared *s, const char *of) {
  struct shared_owner *o = owner_find(s, of);
  size_t len = strlen(of);
  if (!o && (o = calloc(1, sizeof *o + len + 1))) {
    memcpy(o->name, of, len);
    HASH_ADD_KEYPTR(hh, s->owners, o->name, len, o);
  }
  return o;
}

/* Under the lock. Takes value->text on success. */
static int put(struct shared *s, const char *of, const char *key, size_t key_len, const struct shared_value *v,
               uint64_t expires_ms, uint64_t now_ms) {
  size_t need = cost(key_len, v);
  struct shared_entry *old = find(s, key, key_len, now_ms);
  if (!fits(s, of, old, need)) {
    sweep(s, now_ms);
    if (!fits(s, of, old, need)) {
      return E_FULL;
    }
  }
  struct shared_entry *e = calloc(1, sizeof *e + key_len);
  struct shared_owner *o = e ? owner_get(s, of) : NULL;
  if (!o) {
    free(e);
    return UV_ENOMEM;
  }
  o->keys++;
  o->bytes += need;
  if (old) {
    drop(s, old);
  }
  e->owner = o;
  e->value = *v;
  e->expires_ms = expires_ms;
  e->key_len = key_len;
  memcpy(e->key, key, key_len);
  HASH_ADD(hh, s->all, key, key_len, e);
  s->bytes += need;
  return 0;
}

int shared_set(struct shared *s, const char *of, const char *key, size_t key_len, const struct shared_value *v,
               uint64_t ttl_ms, uint64_t now_ms) {
  if (key_len == 0 || key_len > SHARED_KEY_MAX) {
    return E_INVALID;
  }
  struct shared_value copy = *v;
  if (v->type == SHARED_TEXT) {
    copy.text = malloc(v->len + 1);
    if (!copy.text) {
      return UV_ENOMEM;
    }
    memcpy(copy.text, v->text, v->len);
    copy.text[v->len] = 0;
  } else {
    copy.text = NULL;
  }
  int code = 0;
  lock_acquire(&s->lock);
  if (v->type == SHARED_NONE) {
    struct shared_entry *e = find(s, key, key_len, now_ms);
    if (e) {
      drop(s, e);
    } else {
      code = E_NOT_FOUND;
    }
  } else {
    code = put(s, of, key, key_len, &copy, ttl_ms ? now_ms + ttl_ms : 0, now_ms);
  }
  lock_release(&s->lock);
  if (code) {
    free(copy.text);
  }
  return code;
}

int shared_get(struct shared *s, const char *key, size_t key_len, uint64_t now_ms, struct shared_value *out) {
  int code = 0;
  *out = (struct shared_value){.type = SHARED_NONE};
  lock_acquire(&s->lock);
  struct shared_entry *e = find(s, key, key_len, now_ms);
  if (e) {
    *out = e->value;
    if (e->value.type == SHARED_TEXT) {
      out->text = malloc(e->value.len + 1);
      if (out->text) {
        memcpy(out->text, e->value.text, e->value.len + 1);
      } else {
        code = UV_ENOMEM;
      }
    }
  }
  lock_release(&s->lock);
  return code;
}

int shared_add(struct shared *s, const char *of, const char *key, size_t key_len, double n, uint64_t ttl_ms,
               uint64_t now_ms, double *sum) {
  if (key_len == 0 || key_len > SHARED_KEY_MAX) {
    return E_INVALID;
  }
  int code = 0;
  lock_acquire(&s->lock);
  struct shared_entry *e = find(s, key, key_len, now_ms);
  if (!e) {
    struct shared_value v = {.type = SHARED_NUMBER, .number = n};
    code = put(s, of, key, key_len, &v, ttl_ms ? now_ms + ttl_ms : 0, now_ms);
    *sum = n;
  } else if (e->value.type != SHARED_NUMBER) {
    code = E_CONFLICT;
  } else {
    *sum = e->value.number += n;
  }
  lock_release(&s->lock);
  return code;
}

size_t shared_keys(struct shared *s) {
  lock_acquire(&s->lock);
  size_t count = HASH_COUNT(s->all);
  lock_release(&s->lock);
  return count;
}

void shared_sweep(struct shared *s, uint64_t now_ms) {
  lock_acquire(&s->lock);
  sweep(s, now_ms);
  lock_release(&s->lock);
}
