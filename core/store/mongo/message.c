/* In: a message. Out: a document of its own, or one embedded in its conversation as the reference has them; and back.
 * Why one file for both: they have the same fields, and what differs is small: an embedded one has its place for a seq,
 * and the reference keeps what came with a message (file, metadata) in fields of other names. Sealing and opening
 * happen here, on a store thread. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "json_walk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DOCUMENT_MAX (16 * 1024 * 1024 - 1024) /* bytes: the server's limit, and room for the command around it */

/* What is not UTF-8 is no text to MongoDB. */
static bool content_append(bson_t *doc, const char *bytes, size_t len) {
  if (len > DOCUMENT_MAX)
    return false;
  return bson_utf8_validate(bytes, len, true)
           ? bson_append_utf8(doc, MONGO_CONTENT, -1, bytes, (int)len)
           : bson_append_binary(doc, MONGO_CONTENT, -1, BSON_SUBTYPE_BINARY, (const uint8_t *)bytes, (uint32_t)len);
}

/* Takes sealed. */
static bson_t *finish(bson_t *doc, char *sealed, size_t len, int *code) {
  if (*code == 0 && (!content_append(doc, sealed, len) || doc->len > DOCUMENT_MAX))
    *code = E_TOO_BIG;
  if (*code == 0 && !bson_validate(doc, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, NULL))
    *code = E_UTF8;
  free(sealed);
  if (*code == 0)
    return doc;
  bson_destroy(doc);
  return NULL;
}

/* Bound to what will be read back, which is not always what was given: see mongo_append_text. */
bson_t *mongo_message_new(const struct mongo *h, const char *session_id, const char *user_id, uint64_t seq,
                          const struct message_record *m, int *code) {
  struct message_record as_read;
  char *sealed = NULL;
  size_t len = 0;
  bson_t *doc = bson_new();
  bson_append_utf8(doc, "_id", -1, m->id, -1);
  bson_append_utf8(doc, MONGO_SID, -1, session_id, -1);
  bson_append_int64(doc, MONGO_SEQ, -1, (int64_t)seq);
  mongo_append_text(doc, MONGO_CID, m->cid);
  mongo_append_text(doc, MONGO_SENDER, m->sender);
  mongo_append_text(doc, MONGO_TYPE, m->type);
  bson_append_date_time(doc, MONGO_TS, -1, m->at_ms);
  mongo_append_text(doc, MONGO_EXTRA, m->extra);
  *code = mongo_message_fields(session_id, seq, doc, &as_read);
  as_read.content = m->content; /* borrowed */
  as_read.content_len = m->content_len;
  *code = *code ? *code : sealed_message(h->keys, session_id, user_id, &as_read, &sealed, &len);
  as_read.content = NULL;
  message_record_deinit(&as_read);
  return finish(doc, sealed, len, code);
}

/* ---- what came with it ---- */

/* A field of text; `value` in UTF-8 where it is a string that can be said in it, else as it stands in the JSON: a
 * number with all its digits, half of a surrogate pair with its backslash. */
static int value_append(bson_t *doc, const char *name, size_t name_len, struct json_span value) {
  char *text = malloc(value.len);
  size_t len = value.len;
  if (!text)
    return UV_ENOMEM;
  if (json_walk_text(value, text, &len)) {
    memcpy(text, value.text, value.len);
    len = value.len;
  }
  bool fits = bson_append_utf8(doc, name, (int)name_len, text, (int)len);
  free(text);
  return fits ? 0 : E_TOO_BIG;
}

/* bson_has_field would look into documents at a dot. */
static void without(bson_t *doc, const char *name) {
  bson_t rest;
  bson_iter_t at;
  if (bson_iter_init_find(&at, doc, name)) {
    bson_init(&rest);
    bson_copy_to_excluding_noinit(doc, &rest, name, NULL);
    bson_destroy(doc);
    bson_steal(doc, &rest);
  }
}

/* A name with a NUL or half of a surrogate pair is none in BSON: it stays in our own field alone. Of a name that stands
 * twice the last one counts. */
static int metadata_append(bson_t *doc, struct json_span metadata) {
  struct json_walk w;
  struct json_span key, value;
  bson_t into = BSON_INITIALIZER;
  int code = 0;
  bool more = json_walk_open(&w, metadata);
  while (!code && more && json_walk_next(&w, &key, &value)) {
    size_t len;
    char *name = malloc(key.len + 1);
    code = name ? 0 : UV_ENOMEM;
    if (!code && json_walk_text(key, name, &len) == 0 && !memchr(name, 0, len)) {
      name[len] = 0;
      without(&into, name);
      code = value_append(&into, name, len, value);
    }
    free(name);
  }
  if (!code && !bson_empty(&into))
    bson_append_document(doc, MONGO_METADATA, -1, &into);
  bson_destroy(&into);
  return code;
}

/* The reference's fields, from ours. */
static int extra_append(bson_t *doc, const char *extra) {
  static const char *const names[][2] = {{MONGO_FILE_ID, "file_id"}, {MONGO_FILE_URL, "file_url"}};
  struct json_span all = {extra, extra ? strlen(extra) : 0}, value;
  int code = 0;
  for (size_t i = 0; extra && !code && i < 2; i++)
    if (json_walk_find(all, names[i][1], &value) && *value.text == '"')
      code = value_append(doc, names[i][0], strlen(names[i][0]), value);
  if (extra && !code && json_walk_find(all, "metadata", &value))
    code = metadata_append(doc, value);
  return code;
}

bson_t *mongo_message_embedded(const struct mongo *h, const struct message_record *m, int *code) {
  char *sealed = NULL;
  size_t len = 0;
  bson_t *doc = bson_new();
  bson_append_date_time(doc, MONGO_TS, -1, m->at_ms);
  mongo_append_text(doc, MONGO_SENDER, m->sender ? m->sender : "");
  *code = extra_append(doc, m->extra);
  bson_append_utf8(doc, MONGO_EMBEDDED_ID, -1, m->id, -1);
  mongo_append_text(doc, MONGO_CID, m->cid);
  mongo_append_text(doc, MONGO_TYPE, m->type);
  mongo_append_text(doc, MONGO_EXTRA, m->extra);
  if (*code == 0)
    *code = cipher_seal_reference(h->keys, m->content_len > 0 ? m->content : "", m->content_len, &sealed, &len);
  return finish(doc, sealed, len, code);
}

/* Ours, from the reference's fields. */
static bool extra_read(const bson_t *doc, struct message_record *m) {
  static const char *const names[][2] = {{MONGO_FILE_ID, "file_id"}, {MONGO_FILE_URL, "file_url"}};
  bson_iter_t at, in;
  json_t *all = json_object();
  for (size_t i = 0; i < 2; i++)
    if (bson_iter_init_find(&at, doc, names[i][0]) && BSON_ITER_HOLDS_UTF8(&at))
      json_object_set_new(all, names[i][1], json_string(bson_iter_utf8(&at, NULL)));
  if (bson_iter_init_find(&at, doc, MONGO_METADATA) && BSON_ITER_HOLDS_DOCUMENT(&at) && bson_iter_recurse(&at, &in)) {
    json_t *metadata = json_object();
    while (bson_iter_next(&in))
      if (BSON_ITER_HOLDS_UTF8(&in))
        json_object_set_new(metadata, bson_iter_key(&in), json_string(bson_iter_utf8(&in, NULL)));
    json_object_set_new(all, "metadata", metadata);
  }
  bool any = json_object_size(all) > 0;
  m->extra = any ? json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
  json_decref(all);
  return !any || m->extra;
}

/* ---- reading ---- */

/* Always the same for the same place, and no other message's. */
static void id_derive(const char *session_id, uint64_t seq, char out[STORE_ID_LEN + 1]) {
  snprintf(out, STORE_ID_LEN + 1, "%.24s%08llx", session_id, (unsigned long long)(seq - 1));
}

/* The kind of message it came as, by what the reference keeps of it. */
static const char *type_of(const struct message_record *m, bool file) {
  const char *sender = m->sender ? m->sender : "";
  return strcmp(sender, "ai") == 0       ? "ai_response"
         : strcmp(sender, "system") == 0 ? "notification"
         : file                          ? "file_upload"
                                         : "user_message";
}

void mongo_content(const bson_iter_t *at, const char **bytes, size_t *len) {
  uint32_t n = 0;
  *bytes = "";
  if (BSON_ITER_HOLDS_UTF8(at))
    *bytes = bson_iter_utf8(at, &n);
  else if (BSON_ITER_HOLDS_BINARY(at))
    bson_iter_binary(at, NULL, &n, (const uint8_t **)bytes);
  *len = n;
}

static bool field_read(const bson_iter_t *at, struct message_record *m) {
  const char *name = bson_iter_key(at);
  if ((strcmp(name, "_id") == 0 || strcmp(name, MONGO_EMBEDDED_ID) == 0) && BSON_ITER_HOLDS_UTF8(at))
    snprintf(m->id, sizeof m->id, "%s", bson_iter_utf8(at, NULL));
  else if (strcmp(name, MONGO_TS) == 0 && BSON_ITER_HOLDS_DATE_TIME(at))
    m->at_ms = bson_iter_date_time(at);
  else if (strcmp(name, MONGO_CID) == 0)
    return mongo_copy(at, &m->cid);
  else if (strcmp(name, MONGO_SENDER) == 0)
    return mongo_copy(at, &m->sender);
  else if (strcmp(name, MONGO_TYPE) == 0)
    return mongo_copy(at, &m->type);
  else if (strcmp(name, MONGO_EXTRA) == 0)
    return mongo_copy(at, &m->extra);
  return true;
}

int mongo_message_fields(const char *session_id, uint64_t seq, const bson_t *doc, struct message_record *out) {
  bson_iter_t at;
  bool whole = bson_iter_init(&at, doc);
  *out = (struct message_record){.seq = seq};
  while (whole && bson_iter_next(&at))
    whole = field_read(&at, out);
  if (out->id[0] == '\0')
    id_derive(session_id, seq, out->id);
  if (whole && !out->type)
    whole = !!(out->type = strdup(type_of(out, bson_has_field(doc, MONGO_FILE_ID))));
  if (whole && !out->extra)
    whole = extra_read(doc, out);
  return whole ? 0 : mongo_no_memory();
}

int mongo_message_read(struct unsealing *u, const char *session_id, const char *user_id, uint64_t seq, bool embedded,
                       const bson_t *doc, struct message_record *out) {
  bson_iter_t at;
  const char *stored = "";
  size_t len = 0;
  int code = mongo_message_fields(session_id, seq, doc, out);
  if (bson_iter_init_find(&at, doc, MONGO_CONTENT))
    mongo_content(&at, &stored, &len);
  if (code == 0 && unsealing_message(u, session_id, user_id, out, embedded, stored, len) != 0)
    code = mongo_no_memory();
  return code;
}
