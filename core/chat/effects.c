/* In: what one slice of a handler wants of one session, call by call. Out: one struct effects, within its bounds.
 * Why: see effects.h. The way of a slice, and the file of each step:
 *
 *   effects.c          GATHERING: effects_new, then fields, messages, sends
 *                          | the slice has ended well: effects_commit    (it has not: effects_free)
 *                          v
 *   effects_commit.c   COMMITTED; on another worker it goes through the session's inbox to the owner first
 *                          | stores something                            | stores nothing
 *                          v                                             v
 *                      ON ITS WAY: fields changed in memory,         QUEUED behind what is on its way
 *                      a write in the store's queue                      |
 *                          | stored: seq and ids are known               |
 *                          | not stored: memory takes it back            |
 *                          v                                             v
 *   effects_out.c      SETTLED, at the head of the out queue: its sends go out if it succeeded; its handler is told */
#include "effects_impl.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct effects *effects_new(struct session *s, struct conn *c, uint64_t wall_ms) {
  struct effects *e = malloc(sizeof *e); /* calloc would go past the allocator's cache of this thread */
  if (e) {
    *e = (struct effects){.send_room = EFFECTS_FEW};
    e->sends = e->few;
    e->session = session_ref(s);
    e->conn = c ? conn_ref(c) : NULL;
    e->now_ms = wall_ms;
    memset(e->flags, -1, sizeof e->flags);
  }
  return e;
}

static void keep_free(struct effects_kept *k) {
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    free(k->texts[i]);
    k->texts[i] = NULL;
  }
}

void effects_free(struct effects *e) {
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    free(e->texts[i]);
  }
  for (size_t i = 0; i < e->message_count; i++) {
    message_record_deinit(&e->messages[i]);
  }
  for (size_t i = 0; i < e->send_count; i++) {
    message_unref(e->sends[i].message);
  }
  keep_free(&e->keep);
  free(e->messages);
  if (e->sends != e->few) {
    free(e->sends);
  }
  free(e->responses);
  conn_unref(e->conn);
  session_unref(e->session);
  free(e);
}

/* ---- what is kept ---- */

int effects_keep(struct effects *e) {
  struct effects_kept now = {.close = e->close,
                             .tokens = e->tokens,
                             .responses = e->response_count,
                             .messages = e->message_count,
                             .sends = e->send_count,
                             .bytes = e->bytes};
  memcpy(now.flags, e->flags, sizeof now.flags);
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    now.texts[i] = e->texts[i] ? strdup(e->texts[i]) : NULL;
    if (e->texts[i] && !now.texts[i]) {
      keep_free(&now);
      return UV_ENOMEM;
    }
  }
  keep_free(&e->keep);
  e->keep = now;
  e->kept = true;
  return 0;
}

void effects_cut(struct effects *e) {
  struct effects_kept *k = &e->keep;
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    free(e->texts[i]);
    e->texts[i] = k->texts[i];
    k->texts[i] = NULL;
  }
  while (e->message_count > k->messages) {
    message_record_deinit(&e->messages[--e->message_count]);
  }
  while (e->send_count > k->sends) {
    message_unref(e->sends[--e->send_count].message);
  }
  memcpy(e->flags, k->flags, sizeof e->flags);
  e->close = k->close;
  e->tokens = k->tokens;
  e->response_count = k->responses;
  e->bytes = k->bytes;
}

bool effects_grown(const struct effects *e) {
  const struct effects_kept *k = &e->keep;
  bool grown = e->message_count > k->messages || e->response_count > k->responses || e->tokens != k->tokens ||
               e->close != k->close || memcmp(e->flags, k->flags, sizeof e->flags) != 0;
  for (size_t i = 0; i < EFFECTS_TEXTS && !grown; i++) {
    grown = e->texts[i] && (!k->texts[i] || strcmp(e->texts[i], k->texts[i]) != 0);
  }
  return grown;
}

/* ---- what it is ---- */

bool effects_change_fields(const struct effects *e) {
  bool changed = e->close || e->tokens || e->response_count || e->received || e->read;
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    changed |= !!e->texts[i];
  }
  for (size_t i = 0; i < EFFECTS_FLAGS; i++) {
    changed |= e->flags[i] >= 0;
  }
  return changed;
}

bool effects_only_close(const struct effects *e) {
  struct effects without = *e;
  without.close = false;
  return e->close && !effects_stores(&without);
}

bool effects_stores(const struct effects *e) {
  return e->message_count || e->mark.id[0] || effects_change_fields(e);
}

bool effects_empty(const struct effects *e) {
  return e->send_count == 0 && !effects_stores(e);
}

int effects_set_text(struct effects *e, enum effects_text which, const char *text) {
  char *copy = strdup(text);
  if (!copy) {
    return UV_ENOMEM;
  }
  free(e->texts[which]);
  e->texts[which] = copy;
  return 0;
}

void effects_mark(struct effects *e, const char *id, enum store_marking what) {
  memcpy(e->mark.id, id, sizeof e->mark.id);
  e->mark.what = what;
}

static int bounded(struct effects *e, size_t bytes) {
  if (e->message_count + e->send_count >= EFFECTS_MAX || e->bytes + bytes > EFFECTS_BYTES) {
    return E_FULL;
  }
  e->bytes += bytes;
  return 0;
}

/* Room for one more element of `size` bytes. */
static void *grown(void *array, size_t count, size_t *room, size_t size) {
  if (count < *room) {
    return array;
  }
  size_t more = *room ? *room * 2 : 2;
  void *bigger = realloc(array, more * size);
  if (bigger) {
    *room = more;
  }
  return bigger;
}

int effects_append(struct effects *e, struct message_record *record) {
  int code = bounded(e, record->content_len + (record->extra ? strlen(record->extra) : 0));
  struct message_record *all = code ? NULL : grown(e->messages, e->message_count, &e->message_room, sizeof *all);
  if (!all) {
    message_record_deinit(record);
    return code ? code : UV_ENOMEM;
  }
  e->messages = all;
  e->messages[e->message_count++] = *record;
  if (record->open) {
    e->opens = (uint32_t)e->message_count;
  }
  return 0;
}

/* Room for one more send. */
static int send_room(struct effects *e) {
  if (e->send_count == e->send_room) {
    bool first = e->sends == e->few;
    struct effects_send *all = realloc(first ? NULL : e->sends, e->send_room * 2 * sizeof *all);
    if (!all) {
      return UV_ENOMEM;
    }
    if (first) {
      memcpy(all, e->few, sizeof e->few);
    }
    e->sends = all;
    e->send_room *= 2;
  }
  return 0;
}

int effects_send(struct effects *e, struct message *m, uint64_t to, uint64_t except, int close_code) {
  int code = bounded(e, m->len);
  code = code ? code : send_room(e);
  if (code) {
    return code;
  }
  e->sends[e->send_count++] =
    (struct effects_send){.message = message_ref(m), .to = to, .except = except, .close_code = close_code};
  return 0;
}

int effects_send_protocol(struct effects *e, struct message *m, int protocol, uint64_t except) {
  int code = effects_send(e, m, 0, except, 0);
  if (!code) {
    e->sends[e->send_count - 1].protocol = protocol;
  }
  return code;
}

int effects_send_event(struct effects *e, struct message *m, uint64_t to, uint64_t except) {
  if (e->message_count == 0) {
    return E_NOT_FOUND;
  }
  int code = effects_send(e, m, to, except, 0);
  if (!code) {
    e->sends[e->send_count - 1].event = (uint32_t)e->message_count;
  }
  return code;
}

int effects_catchup_end(struct effects *e, uint64_t conn, uint64_t told) {
  int code = send_room(e); /* no bound of a slice stands against it: what has begun has to end */
  if (!code) {
    e->sends[e->send_count++] = (struct effects_send){.to = conn, .told = told};
  }
  return code;
}

int effects_response(struct effects *e, uint32_t ms) {
  if (e->response_count >= EFFECTS_MAX) {
    return E_FULL;
  }
  uint32_t *all = realloc(e->responses, (e->response_count + 1) * sizeof *all);
  if (!all) {
    return UV_ENOMEM;
  }
  e->responses = all;
  e->responses[e->response_count++] = ms;
  return 0;
}
