/* In: records of conversations. Out: documents as the reference writes them, with our few fields more; and back.
 * Why a table: what a field is called, what type it has and when it is absent is said once, in store_mongo_names.h, and
 * holds for inserting, replacing and reading. Messages: store_mongo_message.c. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

enum kind { TEXT, DATE, FLAG, INT, LONG };

static const struct field {
  const char *name;
  enum kind kind;
  size_t at; /* in struct session_record */
  bool optional;
} fields[] = {
#define FIELD_ROW(name, kind, member, optional) {name, kind, offsetof(struct session_record, member), optional},
  MONGO_SESSION_FIELDS(FIELD_ROW)
#undef FIELD_ROW
};
#define FIELDS (sizeof fields / sizeof *fields)

/* ---- writing ---- */

/* false: the field is absent now. */
static bool field_append(bson_t *doc, const struct field *f, const struct session_record *r) {
  const char *at = (const char *)r + f->at;
  const char *text = f->kind == TEXT ? *(char *const *)(const void *)at : NULL;
  int64_t number = f->kind == TEXT ? 0 : f->kind == FLAG ? *(const bool *)at : *(const int64_t *)(const void *)at;
  if (f->optional && number == 0 && (!text || *text == '\0'))
    return false;
  if (f->kind == TEXT)
    mongo_append_text(doc, f->name, text ? text : "");
  else if (f->kind == DATE)
    bson_append_date_time(doc, f->name, -1, number);
  else if (f->kind == FLAG)
    bson_append_bool(doc, f->name, -1, number != 0);
  else if (f->kind == INT && number == (int32_t)number)
    bson_append_int32(doc, f->name, -1, (int32_t)number);
  else
    bson_append_int64(doc, f->name, -1, number);
  return true;
}

static void responses_append(bson_t *doc, const struct session_record *r) {
  uint8_t bytes[sizeof r->responses];
  for (uint32_t i = 0; i < r->response_count; i++)
    for (int byte = 0; byte < 4; byte++)
      bytes[4 * i + (uint32_t)byte] = (uint8_t)(r->responses[i] >> (8 * byte));
  bson_append_binary(doc, MONGO_RESPONSES, -1, BSON_SUBTYPE_BINARY, bytes, 4 * r->response_count);
}

/* What changes; the names of what is absent go to gone, when it is not NULL. A name that could not be read stays. */
static void fields_append(bson_t *doc, const struct session_record *r, bson_t *gone) {
  for (size_t i = 0; i < FIELDS; i++) {
    bool kept = fields[i].at == offsetof(struct session_record, name) && r->name_damaged && !r->name;
    if (!kept && !field_append(doc, &fields[i], r) && gone)
      bson_append_utf8(gone, fields[i].name, -1, "", 0);
  }
  bson_append_int64(doc, MONGO_DURATION, -1, r->end_ms > r->start_ms ? (r->end_ms - r->start_ms) / 1000 : 0);
  bson_append_date_time(doc, MONGO_MODIFIED, -1, r->last_activity_ms);
  responses_append(doc, r);
}

/* Borrows all of r but its name, which is as it is stored: *name, for the caller to free. */
static int record_sealed(const struct mongo *h, const struct session_record *r, const char *user_id,
                         struct session_record *out, char **name) {
  size_t len;
  int code = sealed_name(h->keys, r->id, user_id, r->name, name, &len);
  *out = *r;
  out->name = *name;
  return code;
}

bson_t *mongo_session_new(const struct mongo *h, const struct session_record *r, int *code) {
  struct session_record sealed;
  const char *user_id = r->user_id ? r->user_id : "";
  char *name;
  *code = record_sealed(h, r, user_id, &sealed, &name);
  if (*code)
    return NULL;
  bson_t *doc = bson_new(), none;
  bson_append_utf8(doc, "_id", -1, r->id, -1);
  bson_append_utf8(doc, MONGO_UID, -1, user_id, -1);
  bson_append_array_begin(doc, MONGO_EMBEDDED, -1, &none);
  bson_append_array_end(doc, &none);
  bson_append_date_time(doc, MONGO_CREATED, -1, r->start_ms);
  sealed.name_damaged = false;
  fields_append(doc, &sealed, NULL);
  free(name);
  return doc;
}

bson_t *mongo_session_update(const struct mongo *h, const struct session_record *r, const char *user_id, int *code) {
  struct session_record sealed;
  char *name;
  *code = record_sealed(h, r, user_id, &sealed, &name);
  if (*code)
    return NULL;
  bson_t *update = bson_new(), set, unset = BSON_INITIALIZER;
  bson_append_document_begin(update, "$set", -1, &set);
  fields_append(&set, &sealed, &unset);
  bson_append_document_end(update, &set);
  if (bson_count_keys(&unset) > 0)
    bson_append_document(update, "$unset", -1, &unset);
  bson_destroy(&unset);
  free(name);
  return update;
}

/* ---- reading ---- */

static bool field_read(const struct field *f, const bson_iter_t *at, struct session_record *r) {
  char *into = (char *)r + f->at;
  if (f->kind == TEXT)
    return mongo_copy(at, (char **)(void *)into);
  if (f->kind == FLAG)
    *(bool *)into = bson_iter_as_bool(at);
  else if (f->kind == DATE)
    *(int64_t *)(void *)into = BSON_ITER_HOLDS_DATE_TIME(at) ? bson_iter_date_time(at) : 0;
  else
    *(int64_t *)(void *)into = bson_iter_as_int64(at);
  return true;
}

static void responses_read(const bson_iter_t *at, struct session_record *r) {
  const uint8_t *bytes;
  uint32_t len;
  if (!BSON_ITER_HOLDS_BINARY(at))
    return;
  bson_iter_binary(at, NULL, &len, &bytes);
  for (uint32_t i = 0; i + 4 <= len && r->response_count < sizeof r->responses / 4; i += 4)
    r->responses[r->response_count++] =
      bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 | (uint32_t)bytes[i + 3] << 24;
}

uint64_t mongo_embedded(const bson_t *doc) {
  bson_iter_t at;
  return bson_iter_init_find(&at, doc, "embedded") ? (uint64_t)bson_iter_as_int64(&at) : 0;
}

uint64_t mongo_top(const bson_t *doc) {
  bson_iter_t at, last;
  uint64_t top = mongo_embedded(doc);
  if (bson_iter_init(&at, doc) && bson_iter_find_descendant(&at, "last.0." MONGO_SEQ, &last) &&
      (uint64_t)bson_iter_as_int64(&last) > top)
    top = (uint64_t)bson_iter_as_int64(&last);
  return top;
}

/* Ours, or one of the reference's. */
static int share_read(struct unsealing *u, const bson_t *doc, struct session_record *out) {
  bson_iter_t at;
  uint32_t len;
  if (bson_iter_init_find(&at, doc, MONGO_SHARE_EXPIRES) && BSON_ITER_HOLDS_DATE_TIME(&at))
    out->share_expires_ms = bson_iter_date_time(&at);
  if (bson_iter_init_find(&at, doc, MONGO_SHARE_SEALED) && BSON_ITER_HOLDS_UTF8(&at)) {
    const char *sealed = bson_iter_utf8(&at, &len);
    return unsealing_share(u, out, sealed, len);
  }
  return !bson_iter_init_find(&at, doc, MONGO_SHARE_TOKEN) || mongo_copy(&at, &out->share_token) ? 0 : E_STORE;
}

/* The reference leaves lastActivity out until something is said. It knows no marks: what nobody has marked, nobody has
 * to read again. */
int mongo_session_read(struct unsealing *u, const bson_t *doc, struct session_record *out) {
  bson_iter_t at;
  bool whole = bson_iter_init(&at, doc);
  int64_t top = (int64_t)mongo_top(doc);
  *out = (struct session_record){.top = (uint64_t)top, .received = top, .read = top};
  if (!mongo_id(doc, "_id", out->id))
    return E_NOT_FOUND; /* of no form this program can ask for */
  while (whole && bson_iter_next(&at)) {
    const char *name = bson_iter_key(&at);
    if (strcmp(name, MONGO_UID) == 0)
      whole = mongo_copy(&at, &out->user_id);
    else if (strcmp(name, MONGO_RESPONSES) == 0)
      responses_read(&at, out);
    for (size_t i = 0; i < FIELDS && whole; i++)
      if (strcmp(name, fields[i].name) == 0)
        whole = field_read(&fields[i], &at, out);
  }
  if (out->last_activity_ms == 0)
    out->last_activity_ms = out->start_ms;
  char *stored = out->name;
  out->name = NULL;
  whole = whole && unsealing_name(u, out, true, stored, stored ? strlen(stored) : 0) == 0;
  free(stored);
  whole = whole && share_read(u, doc, out) == 0;
  return whole ? 0 : mongo_no_memory();
}
