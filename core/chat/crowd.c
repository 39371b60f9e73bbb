/* In: connections, and the address each came from. Out: the one that has to go so that a newcomer can stay.
 * Why: see crowd.h. */
#include "crowd.h"

#include "lock.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <uv.h>

struct crowd_member {
  uint64_t id; /* of conn */
  struct conn *conn;
  struct crowd_address *place;
  struct crowd_member *before, *next; /* of the same address */
  UT_hash_handle hh;
};

struct crowd_address {
  struct crowd_member *members;
  size_t count;
  UT_hash_handle hh;
  char address[];
};

struct crowd {
  struct lock lock; /* guards the rest */
  size_t per_address;
  struct crowd_member *members;
  struct crowd_address *places;
};

struct crowd *crowd_new(size_t per_address) {
  struct crowd *w = calloc(1, sizeof *w);
  if (w) {
    lock_init(&w->lock);
    w->per_address = per_address;
  }
  return w;
}

void crowd_free(struct crowd *w) {
  if (w) {
    lock_deinit(&w->lock);
    free(w);
  }
}

static struct crowd_address *address_find(struct crowd *w, const char *address) {
  struct crowd_address *p;
  HASH_FIND_STR(w->places, address, p);
  return p;
}

static struct crowd_address *address_of(struct crowd *w, const char *address) {
  struct crowd_address *p = address_find(w, address);
  size_t len = strlen(address);
  if (!p && (p = calloc(1, sizeof *p + len + 1))) {
    memcpy(p->address, address, len);
    HASH_ADD_STR(w->places, address, p);
  }
  return p;
}

/* Its reference to the conn stays with the caller. */
static struct conn *take_out(struct crowd *w, struct crowd_member *m) {
  struct crowd_address *p = m->place;
  struct conn *c = m->conn;
  *(m->before ? &m->before->next : &p->members) = m->next;
  if (m->next) {
    m->next->before = m->before;
  }
  if (--p->count == 0) {
    HASH_DEL(w->places, p);
    free(p);
  }
  HASH_DEL(w->members, m);
  free(m);
  return c;
}

static struct crowd_member *idlest_of(const struct crowd_address *p) {
  struct crowd_member *idlest = p->members;
  for (struct crowd_member *m = p->members; m; m = m->next) {
    idlest = conn_active_ms(m->conn) < conn_active_ms(idlest->conn) ? m : idlest;
  }
  return idlest;
}

/* fresh is the caller's until it hangs in the table. */
static int join_locked(struct crowd *w, const char *address, struct crowd_member *fresh, struct conn **gone)
  REQUIRES(w->lock) {
  struct crowd_address *p = address_of(w, address);
  if (!p) {
    return UV_ENOMEM;
  }
  struct crowd_member *idlest = p->count >= w->per_address ? idlest_of(p) : NULL;
  fresh->place = p;
  fresh->next = p->members;
  if (fresh->next) {
    fresh->next->before = fresh;
  }
  p->members = fresh;
  p->count++;
  HASH_ADD(hh, w->members, id, sizeof fresh->id, fresh);
  *gone = idlest ? take_out(w, idlest) : NULL;
  return 0;
}

int crowd_join(struct crowd *w, const char *address, struct conn *c, struct conn **gone) {
  struct crowd_member *m = calloc(1, sizeof *m);
  *gone = NULL;
  if (!m) {
    return UV_ENOMEM;
  }
  m->id = conn_id(c);
  m->conn = conn_ref(c);
  lock_acquire(&w->lock);
  int code = join_locked(w, address, m, gone);
  lock_release(&w->lock);
  if (code) {
    conn_unref(c);
    free(m);
  }
  return code;
}

void crowd_leave(struct crowd *w, struct conn *c) {
  struct crowd_member *m;
  uint64_t id = conn_id(c);
  lock_acquire(&w->lock);
  HASH_FIND(hh, w->members, &id, sizeof id, m);
  struct conn *left = m ? take_out(w, m) : NULL;
  lock_release(&w->lock);
  conn_unref(left);
}

/* Its reference is the caller's then. */
struct conn *crowd_take_oldest(struct crowd *w, const char *address) {
  lock_acquire(&w->lock);
  struct crowd_address *p = address_find(w, address);
  struct crowd_member *oldest = NULL;
  for (struct crowd_member *m = p ? p->members : NULL; m; m = m->next) {
    oldest = conn_replaceable(m->conn) && (!oldest || m->id < oldest->id) ? m : oldest;
  }
  struct conn *gone = oldest ? take_out(w, oldest) : NULL;
  lock_release(&w->lock);
  return gone;
}

size_t crowd_count(struct crowd *w, const char *address) {
  lock_acquire(&w->lock);
  struct crowd_address *p = address_find(w, address);
  size_t count = p ? p->count : 0;
  lock_release(&w->lock);
  return count;
}
