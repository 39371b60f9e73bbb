/* In: the parts of an operation. Out: it, and whether a backend may rely on it. Why apart: who makes operations and who
 * carries them out (store.c, the backends) look at the same records. */
#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

void session_record_deinit(struct session_record *r) {
  free(r->user_id);
  free(r->name);
  free(r->model_id);
  free(r->assisting_admin_id);
  free(r->assisting_admin_name);
  free(r->share_token);
  r->user_id = r->name = r->model_id = r->assisting_admin_id = r->assisting_admin_name = r->share_token = NULL;
}

int session_record_copy(struct session_record *to, const struct session_record *from) {
  *to = *from;
  char **strings[] = {&to->user_id,    &to->name, &to->model_id, &to->assisting_admin_id, &to->assisting_admin_name,
                      &to->share_token};
  bool failed = false;
  for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
    if (*strings[i] && !(*strings[i] = strdup(*strings[i]))) {
      failed = true;
    }
  }
  if (failed) {
    session_record_deinit(to);
    return UV_ENOMEM;
  }
  return 0;
}

void message_record_deinit(struct message_record *r) {
  free(r->cid);
  free(r->sender);
  free(r->type);
  free(r->content);
  free(r->extra);
  r->cid = r->sender = r->type = r->content = r->extra = NULL;
}

void audit_record_deinit(struct audit_record *r) {
  free(r->actor);
  free(r->action);
  free(r->subject);
  free(r->detail);
  r->actor = r->action = r->subject = r->detail = NULL;
}

struct store_op *store_op_new(enum store_kind kind) {
  struct store_op *op = calloc(1, sizeof *op);
  if (op)
    op->kind = kind;
  return op;
}

struct store_op *store_op_audit(enum store_kind kind, const char *actor, const char *action, const char *subject,
                                int64_t now_ms) {
  struct store_op *op = store_op_new(kind);
  if (!op)
    return NULL;
  op->audit = (struct audit_record){
    .at_ms = now_ms, .actor = strdup(actor), .action = strdup(action), .subject = strndup(subject, STORE_AUDIT_MAX)};
  if (op->audit.actor && op->audit.action && op->audit.subject)
    return op;
  store_op_free(op);
  return NULL;
}

void store_op_free(struct store_op *op) {
  if (!op)
    return;
  session_record_deinit(&op->session);
  free(op->after_user);
  audit_record_deinit(&op->audit);
  for (size_t i = 0; i < op->session_count; i++)
    session_record_deinit(&op->sessions[i]);
  for (size_t i = 0; i < op->message_count; i++)
    message_record_deinit(&op->messages[i]);
  free(op->sessions);
  free(op->messages);
  free(op);
}

static size_t texts_bytes(const char *const *texts, size_t count) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++)
    bytes += texts[i] ? strlen(texts[i]) + 1 : 0;
  return bytes;
}

static size_t session_bytes(const struct session_record *r) {
  const char *const texts[] = {r->user_id,    r->name, r->model_id, r->assisting_admin_id, r->assisting_admin_name,
                               r->share_token};
  return texts_bytes(texts, sizeof texts / sizeof *texts);
}

static size_t message_bytes(const struct message_record *r) {
  const char *const texts[] = {r->cid, r->sender, r->type, r->extra};
  return sizeof *r + r->content_len + texts_bytes(texts, sizeof texts / sizeof *texts);
}

size_t store_op_bytes(const struct store_op *op) {
  const char *const audit[] = {op->audit.actor, op->audit.action, op->audit.subject, op->audit.detail};
  size_t bytes = sizeof *op + session_bytes(&op->session) + texts_bytes(audit, sizeof audit / sizeof *audit);
  for (size_t i = 0; i < op->session_count; i++)
    bytes += sizeof op->sessions[i] + session_bytes(&op->sessions[i]);
  for (size_t i = 0; i < op->message_count; i++)
    bytes += message_bytes(&op->messages[i]);
  return bytes;
}

int store_op_account(struct store_op *op) {
  char text[STORE_AUDIT_MAX];
  snprintf(text, sizeof text, "%" PRIu64 " conversations, %" PRIu64 " messages", op->erased.sessions,
           op->erased.messages);
  free(op->audit.detail);
  op->audit.detail = strdup(text);
  return op->audit.detail ? 0 : UV_ENOMEM;
}

int64_t store_sort_value(const struct store_filter *f, const struct session_record *r) {
  switch (f->sort) {
  case STORE_BY_END:
    return r->end_ms;
  case STORE_BY_MESSAGES:
    return (int64_t)r->top;
  case STORE_BY_TOKENS:
    return r->total_tokens;
  case STORE_BY_DURATION:
    return (r->end_ms ? r->end_ms : f->now_ms) - r->start_ms;
  case STORE_BY_ACTIVITY:
    return r->last_activity_ms;
  default:
    return r->start_ms;
  }
}

int store_list_end(struct store_op *op) {
  const struct session_record *last = op->session_count > 0 ? &op->sessions[op->session_count - 1] : NULL;
  if (!last)
    return 0;
  op->after.start_ms = last->start_ms;
  memcpy(op->after.id, last->id, sizeof op->after.id);
  op->filter.after_value = store_sort_value(&op->filter, last);
  free(op->after_user);
  op->after_user = strdup(last->user_id ? last->user_id : "");
  return op->after_user ? 0 : UV_ENOMEM;
}

static bool id_ok(const char id[STORE_ID_LEN + 1]) {
  return strnlen(id, STORE_ID_LEN + 1) == STORE_ID_LEN;
}

static bool message_ok(const struct message_record *m) {
  size_t cid_len = !m->cid ? 1 : strnlen(m->cid, STORE_CID_MAX + 1);
  return id_ok(m->id) && cid_len >= 1 && cid_len <= STORE_CID_MAX && (m->content || m->content_len == 0);
}

static bool audit_ok(const struct audit_record *a) {
  const char *const texts[] = {a->actor, a->action, a->subject, a->detail};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (texts[i] && strnlen(texts[i], STORE_AUDIT_MAX + 1) > STORE_AUDIT_MAX)
      return false;
  }
  return a->actor && a->action;
}

static bool after_ok(const struct store_op *op) {
  return op->after.id[0] == '\0' || id_ok(op->after.id);
}

static bool filter_ok(const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  return f->sort < STORE_SORTS && f->offset <= STORE_OFFSET_MAX && after_ok(op) &&
         (f->sort != STORE_BY_USER || op->after.id[0] == '\0' || op->after_user);
}

static bool token_ok(const struct store_op *op) {
  return op->session.share_token && id_ok(op->session.share_token);
}

static bool limit_ok(const struct store_op *op) {
  return op->limit >= 1 && op->limit <= STORE_LIMIT_MAX;
}

/* What a backend may rely on, checked where the mistake was made. */
bool store_op_ok(const struct store_op *op) {
  switch (op->kind) {
  case STORE_WRITE:
    if (!store_op_empty(op)) {
      if ((op->mark.id[0] != '\0' && !id_ok(op->mark.id)) || !id_ok(op->session.id) ||
          op->session.response_count > sizeof op->session.responses / sizeof(uint32_t))
        return false;
    }
    for (size_t i = 0; i < op->message_count; i++) {
      if (!message_ok(&op->messages[i]))
        return false;
    }
    return true;
  case STORE_SESSION:
    return id_ok(op->session.id);
  case STORE_ACTIVE:
    return op->session.user_id;
  case STORE_SESSIONS:
    return op->session.user_id && limit_ok(op) && after_ok(op);
  case STORE_LIST:
    return limit_ok(op) && filter_ok(op);
  case STORE_TOTALS:
    return true;
  case STORE_SHARED:
    return token_ok(op);
  case STORE_HISTORY:
    return id_ok(op->session.id) && limit_ok(op);
  case STORE_CID:
    return id_ok(op->session.id) && op->message_count == 1 && op->messages[0].cid;
  case STORE_OPEN:
    return limit_ok(op) && after_ok(op);
  case STORE_EPOCH:
  case STORE_PING:
    return true;
  case STORE_SHARE:
    return id_ok(op->session.id) && op->session.user_id && (op->sharing.revoke || token_ok(op));
  case STORE_ERASE:
    return op->session.user_id && (op->session.id[0] == '\0' || id_ok(op->session.id)) && audit_ok(&op->audit);
  case STORE_EXPIRE:
    return limit_ok(op) && audit_ok(&op->audit);
  case STORE_AUDIT:
    return audit_ok(&op->audit);
  }
  return false;
}

size_t store_op_page_bytes(const struct store_op *op) {
  return op->bytes > 0 && op->bytes < STORE_HISTORY_BYTES ? op->bytes : STORE_HISTORY_BYTES;
}

bool store_op_empty(const struct store_op *op) {
  return op->kind == STORE_WRITE && !op->has_session && op->message_count == 0 && op->mark.id[0] == '\0';
}

bool store_op_writes(const struct store_op *op) {
  switch (op->kind) {
  case STORE_WRITE:
  case STORE_SHARE:
  case STORE_ERASE:
  case STORE_EXPIRE:
  case STORE_AUDIT:
    return true;
  default:
    return false;
  }
}
