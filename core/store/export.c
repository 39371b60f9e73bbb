/* In: a user or a conversation. Out: JSON lines of all that is stored of it. Why in pages from the front: history is
 * read from the end, but seqs have no gaps, so the page that ends where the last one plus so many would is the next
 * one. One that was cut short because its texts are long is asked for again, smaller. */
#include "store_direct.h"

#include "base64url.h"
#include "err.h"
#include "json_walk.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LIST_PAGE 100

/* more: "": the members of the line that follow, from ours: text that no tree can hold goes out as it came. */
static int line_write_with(FILE *out, json_t *line, const char *more) {
  char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
  json_decref(line);
  if (!text)
    return UV_ENOMEM;
  text[strlen(text) - 1] = 0; /* its brace */
  int code = fputs(text, out) < 0 || fputs(more, out) < 0 || fputs("}\n", out) < 0 ? UV_EIO : 0;
  free(text);
  return code;
}

static int line_write(FILE *out, json_t *line) {
  return line_write_with(out, line, "");
}

static const char *text_of(const char *text) {
  return text ? text : "";
}

static int session_write(FILE *out, const struct session_record *r) {
  json_t *line, *responses = json_array();
  for (uint32_t i = 0; i < r->response_count; i++)
    json_array_append_new(responses, json_integer(r->responses[i]));
  line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:s, s:s, s:I, s:I, s:I, s:o, s:I, s:I, s:I}",
                   "line", "session", "id", r->id, "user_id", text_of(r->user_id), "name", text_of(r->name), "model_id",
                   text_of(r->model_id), "start_ms", (json_int_t)r->start_ms, "last_activity_ms",
                   (json_int_t)r->last_activity_ms, "end_ms", (json_int_t)r->end_ms, "help_requested",
                   r->help_requested, "admin_assisted", r->admin_assisted, "assisting_admin_id",
                   text_of(r->assisting_admin_id), "assisting_admin_name", text_of(r->assisting_admin_name),
                   "total_tokens", (json_int_t)r->total_tokens, "max_response_ms", (json_int_t)r->max_response_ms,
                   "avg_response_ms", (json_int_t)r->avg_response_ms, "responses_ms", responses, "messages",
                   (json_int_t)r->top, "received", (json_int_t)r->received, "read", (json_int_t)r->read);
  if (line && r->name_damaged && json_object_set_new(line, "name_damaged", json_true())) {
    json_decref(line);
    line = NULL;
  }
  if (line && r->share_token) {
    json_object_set_new(line, "share_token", json_string(r->share_token));
    json_object_set_new(line, "share_expires_ms", json_integer((json_int_t)r->share_expires_ms));
  }
  return line_write(out, line);
}

/* Content is text as a rule; what is not is written in base64url under another name. */
static int content_add(json_t *line, const struct message_record *m) {
  json_t *text = json_stringn(m->content ? m->content : "", m->content_len);
  if (text)
    return json_object_set_new(line, "content", text);
  char *encoded = malloc(BASE64URL_LEN(m->content_len) + 1);
  if (!encoded)
    return UV_ENOMEM;
  base64url_encode(m->content, m->content_len, encoded);
  int code = json_object_set_new(line, "content_base64url", json_string(encoded));
  free(encoded);
  return code;
}

static bool is_object(const char *text) {
  struct json_walk w;
  struct json_span key, value;
  if (!json_walk_open(&w, (struct json_span){text, strlen(text)}))
    return false;
  while (json_walk_next(&w, &key, &value)) {
  }
  return json_walk_ended(&w);
}

/* What came with it, as it came, on the same line: between its members a client may have written new ones. What
 * somebody else has put into the database, and is no object, is a text. Heap. */
static char *extra_member(const char *extra) {
  char *member = NULL;
  json_t *text = extra && !is_object(extra) ? json_string(extra) : NULL;
  char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
  json_decref(text);
  int len = asprintf(&member, ",\"extra\":%s", quoted ? quoted : extra && is_object(extra) ? extra : "null");
  free(quoted);
  if (len < 0)
    return NULL;
  for (char *c = member; *c; c++)
    *c = *c == '\n' || *c == '\r' ? ' ' : *c;
  return member;
}

static int message_write(FILE *out, const char *session_id, const struct message_record *m) {
  char *extra = extra_member(m->extra);
  json_t *line = json_pack("{s:s, s:s, s:I, s:s, s:s?, s:s, s:s, s:I}", "line", "message", "session_id", session_id,
                           "seq", (json_int_t)m->seq, "id", m->id, "cid", m->cid, "sender", text_of(m->sender), "type",
                           text_of(m->type), "at_ms", (json_int_t)m->at_ms);
  if (!extra || !line || content_add(line, m) || (m->damaged && json_object_set_new(line, "damaged", json_true()))) {
    json_decref(line);
    free(extra);
    return UV_ENOMEM;
  }
  int code = line_write_with(out, line, extra);
  free(extra);
  return code;
}

/* Those of a page from `from` on. *next: behind the last one. */
static int page_write(FILE *out, const struct store_op *op, uint64_t from, struct store_exported *count,
                      uint64_t *next) {
  int code = 0;
  for (size_t i = 0; i < op->message_count && code == 0; i++) {
    if (op->messages[i].seq < from)
      continue;
    code = message_write(out, op->session.id, &op->messages[i]);
    count->messages += code == 0;
    count->damaged += code == 0 && op->messages[i].damaged;
    *next = op->messages[i].seq + 1;
  }
  return code;
}

static int messages_export(struct store_direct *d, const struct session_record *r, FILE *out,
                           struct store_exported *count) {
  uint32_t limit = STORE_LIMIT_MAX;
  int code = 0;
  for (uint64_t from = 1; from <= r->top && code == 0;) {
    struct store_op *op = store_op_new(STORE_HISTORY);
    if (!op)
      return UV_ENOMEM;
    memcpy(op->session.id, r->id, sizeof r->id);
    op->limit = limit;
    op->before_seq = from + limit;
    code = store_direct_run(d, op);
    bool cut = code == 0 && limit > 1 && op->message_count > 0 && op->messages[0].seq > from;
    uint64_t next = from + limit;
    if (cut)
      limit = limit / 4 > 0 ? limit / 4 : 1;
    else if (code == 0)
      code = page_write(out, op, from, count, &next);
    from = cut ? from : next;
    store_op_free(op);
  }
  return code;
}

static int session_export(struct store_direct *d, const struct session_record *r, FILE *out,
                          struct store_exported *count) {
  int code = session_write(out, r);
  count->sessions += code == 0;
  count->damaged += code == 0 && r->name_damaged;
  return code ? code : messages_export(d, r, out, count);
}

static int export_one(struct store_direct *d, const char *id, FILE *out, struct store_exported *count) {
  struct store_op *op = store_op_new(STORE_SESSION);
  if (!op)
    return UV_ENOMEM;
  snprintf(op->session.id, sizeof op->session.id, "%s", id);
  int code = strlen(id) == STORE_ID_LEN ? store_direct_run(d, op) : E_NOT_FOUND;
  code = code ? code : session_export(d, &op->session, out, count);
  store_op_free(op);
  return code;
}

static int export_all(struct store_direct *d, const char *user, FILE *out, struct store_exported *count) {
  struct store_place after = {0};
  bool more = true;
  int code = 0;
  while (more && code == 0) {
    struct store_op *op = store_op_new(STORE_SESSIONS);
    if (!op || !(op->session.user_id = strdup(user))) {
      store_op_free(op);
      return UV_ENOMEM;
    }
    op->limit = LIST_PAGE;
    op->after = after;
    code = store_direct_run(d, op);
    more = op->session_count == LIST_PAGE;
    for (size_t i = 0; i < op->session_count && code == 0; i++) {
      after.start_ms = op->sessions[i].start_ms;
      memcpy(after.id, op->sessions[i].id, sizeof after.id);
      code = session_export(d, &op->sessions[i], out, count);
    }
    store_op_free(op);
  }
  return code;
}

int store_export(struct store_direct *d, const char *user, const char *id, FILE *out, struct store_exported *count) {
  *count = (struct store_exported){0};
  int code = id ? export_one(d, id, out, count) : export_all(d, user, out, count);
  return code == 0 && fflush(out) != 0 ? UV_EIO : code;
}
