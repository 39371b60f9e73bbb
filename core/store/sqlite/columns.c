/* In: a row that S_SESSION, S_OF_USER or a list has found. Out: the record of a conversation. Why apart: whoever reads
 * conversations, one or a page, alone or in an order of its own, reads the same columns. */
#include "sqlite_impl.h"

#include "sealed.h"

bool session_columns(struct unsealing *u, sqlite3_stmt *s, struct session_record *r) {
  *r = (struct session_record){
    .start_ms = sqlite3_column_int64(s, 6),
    .end_ms = sqlite3_column_int64(s, 7),
    .last_activity_ms = sqlite3_column_int64(s, 8),
    .help_requested = sqlite3_column_int(s, 9) != 0,
    .admin_assisted = sqlite3_column_int(s, 10) != 0,
    .total_tokens = sqlite3_column_int64(s, 11),
    .max_response_ms = sqlite3_column_int64(s, 12),
    .avg_response_ms = sqlite3_column_int64(s, 13),
    .received = sqlite3_column_int64(s, 15),
    .read = sqlite3_column_int64(s, 16),
    .top = (uint64_t)sqlite3_column_int64(s, 17),
    .share_expires_ms = sqlite3_column_int64(s, 19),
  };
  column_id(s, 0, r->id);
  const uint8_t *bytes = sqlite3_column_blob(s, 14);
  size_t len = (size_t)sqlite3_column_bytes(s, 14);
  for (size_t at = 0; at + 4 <= len && r->response_count < sizeof r->responses / 4; at += 4)
    r->responses[r->response_count++] =
      bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 | (uint32_t)bytes[at + 3] << 24;
  const void *name = sqlite3_column_blob(s, 2);
  size_t name_len = (size_t)sqlite3_column_bytes(s, 2);
  return column_copy(s, 1, &r->user_id, NULL) && unsealing_name(u, r, false, name, name_len) == 0 &&
         column_copy(s, 3, &r->model_id, NULL) && column_copy(s, 4, &r->assisting_admin_id, NULL) &&
         column_copy(s, 5, &r->assisting_admin_name, NULL) &&
         unsealing_share(u, r, sqlite3_column_blob(s, 18), (size_t)sqlite3_column_bytes(s, 18)) == 0;
}
