/* In: writes of one conversation, and what became of them. Out: fields in memory that are what the store says, or,
 * while writes are on their way, what it will say when they succeed. Why: a write that fails takes its changes back
 * without those of others. While anything is on its way there are two records: `confirmed`, what the store has said,
 * and `record`, that and what is on its way. Nothing on its way: one record, and no cost.
 *
 *                 write begins            write succeeds                   write fails
 *   confirmed     copied from record      it is applied here, too          stays
 *   record        it is applied           stays                            confirmed, and the other writes once more
 *
 * A write that failed may have been stored all the same (nobody confirmed it in time), and one behind it may have
 * carried its fields along: the session is in doubt then, until a whole record that was submitted later is stored. */
#include "session_impl.h"

#include "err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Strings and numbers of `from` take the place of those in `to`; id and user_id stay, for they are read without a lock.
 */
static void record_assign(struct session_record *to, struct session_record *from) {
  char **old[] = {&to->name, &to->model_id, &to->assisting_admin_id, &to->assisting_admin_name};
  char **new[] = {&from->name, &from->model_id, &from->assisting_admin_id, &from->assisting_admin_name};
  for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
    char *swap = *old[i];
    *old[i] = *new[i];
    *new[i] = swap;
  }
  to->name_damaged = from->name_damaged;
  to->start_ms = from->start_ms;
  to->last_activity_ms = from->last_activity_ms;
  to->end_ms = from->end_ms;
  to->help_requested = from->help_requested;
  to->admin_assisted = from->admin_assisted;
  to->total_tokens = from->total_tokens;
  to->max_response_ms = from->max_response_ms;
  to->avg_response_ms = from->avg_response_ms;
  to->top = from->top;
  to->received = from->received;
  to->read = from->read;
  memcpy(to->responses, from->responses, sizeof to->responses);
  to->response_count = from->response_count;
}

int session_write_begin(struct session *s, struct session_write *w) {
  *w = (struct session_write){.inserts = !s->stored, .failures = s->failures};
  if (!s->confirmed) {
    struct session_record *copy = malloc(sizeof *copy);
    if (!copy || session_record_copy(copy, &s->record)) {
      free(copy);
      return UV_ENOMEM;
    }
    s->confirmed = copy;
  }
  s->writes++;
  s->stored = true;
  return 0;
}

struct session_record *session_confirmed(struct session *s) {
  return s->confirmed;
}

unsigned session_writes(const struct session *s) {
  return s->writes;
}

static void restore(struct session *s) REQUIRES(*s) {
  struct session_record copy;
  if (session_record_copy(&copy, s->confirmed)) {
    abort(); /* what failed would be told as if it were stored */
  }
  record_assign(&s->record, &copy);
  session_record_deinit(&copy);
}

static void doubt(struct session *s) REQUIRES(*s) {
  s->failures++;
  s->doubtful = true;
}

void session_take_back(struct session *s) {
  if (s->writes > 1) {
    doubt(s);
  }
  restore(s);
}

static void write_over(struct session *s) REQUIRES(*s) {
  assert(s->writes > 0);
  if (--s->writes == 0) {
    session_record_deinit(s->confirmed);
    free(s->confirmed);
    s->confirmed = NULL;
  }
}

void session_write_succeeded(struct session *s, const struct session_write *w, uint64_t top) {
  s->stored = true; /* also when an earlier one that should have inserted it failed */
  s->record.top = top > s->record.top ? top : s->record.top;
  s->confirmed->top = s->record.top;
  if (w->whole && w->failures == s->failures) {
    s->doubtful = false;
  }
  write_over(s);
}

void session_write_failed(struct session *s, const struct session_write *w, enum session_doubt left) {
  if (w->inserts || left == SESSION_ABSENT) {
    s->stored = false;
  }
  if (left == SESSION_IN_DOUBT) {
    doubt(s);
  }
  restore(s);
  write_over(s);
}

bool session_doubtful(const struct session *s) {
  return s->doubtful && s->stored && !s->erased;
}

bool session_settled(const struct session *s) {
  return s->writes == 0 && !s->doubtful;
}

bool session_wants_repair(struct session *s) {
  session_lock_write(s);
  bool yes = session_doubtful(s) && s->writes == 0 && !s->repairing;
  s->repairing |= yes;
  session_unlock_write(s);
  return yes;
}

void session_repair_begins(struct session *s) {
  session_lock_write(s);
  s->repairing = false;
  session_unlock_write(s);
}

/* ---- changing a record ---- */

int record_set_text(char **field, const char *text) {
  char *copy = strdup(text);
  if (!copy) {
    return UV_ENOMEM;
  }
  free(*field);
  *field = copy;
  return 0;
}

void record_add_response(struct session_record *r, uint32_t ms) {
  const uint32_t most = sizeof r->responses / sizeof *r->responses;
  if (r->response_count == most) {
    memmove(r->responses, r->responses + 1, (most - 1) * sizeof *r->responses);
    r->response_count--;
  }
  r->responses[r->response_count++] = ms;
  assert(r->response_count > 0 && r->response_count <= most);
  uint64_t sum = 0;
  r->max_response_ms = 0;
  for (uint32_t i = 0; i < r->response_count; i++) {
    sum += r->responses[i];
    if (r->responses[i] > r->max_response_ms) {
      r->max_response_ms = r->responses[i];
    }
  }
  r->avg_response_ms = (int64_t)(sum / r->response_count);
}

int session_set_text(struct session *s, char **field, const char *text) {
  (void)s;
  return record_set_text(field, text);
}

void session_add_response(struct session *s, uint32_t ms) {
  record_add_response(&s->record, ms);
}
