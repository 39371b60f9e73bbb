/* In: which conversations an operator asks for. Out: a page of them, or sums over all. Why like this: a database in
 * memory is small, so everything that fits is sorted for each page. Under the lock. */
#include "memory_impl.h"

#include "err.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool filter_has(const struct store_op *op, const struct session_record *r) {
  const struct store_filter *f = &op->filter;
  bool timed = f->from_ms != 0 || f->to_ms != 0;
  return (!op->session.user_id || strcmp(r->user_id, op->session.user_id) == 0) &&
         (f->active < 0 || (f->active != 0) == (r->end_ms == 0)) &&
         (f->assisted < 0 || (f->assisted != 0) == r->admin_assisted) &&
         (!timed || (r->start_ms >= f->from_ms && r->start_ms <= f->to_ms));
}

struct row {
  const struct store_filter *filter;
  const struct kept *kept;
  const char *user, *id;
  int64_t value;
};

static struct row row_of(const struct store_filter *f, const struct kept *k) {
  struct session_record r = k->record; /* borrowed */
  r.top = k->count;
  return (struct row){f, k, r.user_id, k->record.id, store_sort_value(f, &r)};
}

static int row_order(const void *a, const void *b) {
  const struct row *x = a, *y = b;
  int order = x->filter->sort == STORE_BY_USER ? strcmp(x->user, y->user) : 0;
  order = order ? order : (x->value > y->value) - (x->value < y->value);
  order = order ? order : strcmp(x->id, y->id);
  return x->filter->ascending ? order : -order;
}

int memory_list(struct memory *m, struct store_op *op, int (*copy)(struct session_record *to, const struct kept *k)) {
  size_t count = 0;
  struct row *rows = calloc(HASH_COUNT(m->sessions) + 1, sizeof *rows);
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!rows || !op->sessions)
    abort();
  bool by_user = op->filter.sort == STORE_BY_USER;
  struct row after = {&op->filter, NULL, op->after_user, op->after.id,
                      by_user ? op->after.start_ms : op->filter.after_value};
  for (const struct kept *k = m->sessions; k; k = k->hh.next) {
    struct row row = row_of(&op->filter, k);
    if (filter_has(op, &k->record) && (op->after.id[0] == '\0' || row_order(&row, &after) > 0))
      rows[count++] = row;
  }
  qsort(rows, count, sizeof *rows, row_order);
  int code = 0;
  for (size_t i = op->filter.offset; i < count && op->session_count < op->limit && code == 0; i++) {
    code = copy(&op->sessions[op->session_count], rows[i].kept);
    op->session_count += code == 0;
  }
  free(rows);
  return code || store_list_end(op) ? E_STORE : 0;
}

int memory_totals(struct memory *m, struct store_op *op) {
  struct store_totals t = {0};
  double response_ms = 0;
  for (const struct kept *k = m->sessions; k; k = k->hh.next) {
    const struct session_record *r = &k->record;
    if (r->start_ms < op->filter.from_ms || r->start_ms > op->filter.to_ms)
      continue;
    int64_t end = r->end_ms ? r->end_ms : r->last_activity_ms;
    end = end < op->filter.to_ms ? end : op->filter.to_ms;
    t.sessions++;
    t.active += r->end_ms == 0;
    t.assisted += r->admin_assisted;
    t.tokens += r->total_tokens;
    t.max_response_ms = r->max_response_ms > t.max_response_ms ? r->max_response_ms : t.max_response_ms;
    response_ms += (double)r->avg_response_ms;
    t.lasted_ms += end > r->start_ms ? (double)(end - r->start_ms) : 0;
  }
  t.avg_response_ms = t.sessions > 0 ? (int64_t)(response_ms / (double)t.sessions) : 0;
  op->totals = t;
  return 0;
}
