/* In: what a conversation has to match. Out: its record, or a cursor over several. Why apart: reading, sharing and
 * erasing all begin with it; the transcript stays where it is, on the server. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdio.h>

mongoc_cursor_t *mongo_sessions_find(struct mongo *h, bson_t *match, uint32_t limit) {
  char stages[768];
  snprintf(stages, sizeof stages, "{'$sort': {'ts': -1, '_id': -1}}, {'$limit': %u}, %s", limit, MONGO_PLACE_STAGES);
  return mongo_aggregate(h->sessions, mongo_stages(match, stages), h, false);
}

int mongo_session_matching(struct mongo *h, bson_t *match, struct session_record *out) {
  mongoc_cursor_t *cursor = mongo_sessions_find(h, match, 1);
  struct session_record found = {0};
  struct unsealing u = {.keys = h->keys};
  const bson_t *doc;
  bool any = mongoc_cursor_next(cursor, &doc);
  int code = any ? mongo_session_read(&u, doc, &found) : 0;
  int ended = mongo_cursor_end(h, "read a conversation", cursor);
  code = ended ? ended : any ? code : E_NOT_FOUND;
  if (code) {
    session_record_deinit(&found);
    return code;
  }
  session_record_deinit(out); /* what was asked with */
  *out = found;
  return 0;
}

int mongo_session_find(struct mongo *h, const char *id, struct session_record *out) {
  return mongo_session_matching(h, BCON_NEW("_id", BCON_UTF8(id)), out);
}
