/* In: the bytes of one connection: a head, a body, whatever follows. Out: an abort when how the bytes were cut changes
 * what is read, or when a request is let through that the rules, written once more and for clarity only, refuse.
 * Why: every stranger's first bytes end up here. The rows of spec/e2e/framing_table.mjs are its seeds. */
#include "body.h"
#include "head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BODY_LIMIT = 1000 };

static void check(bool holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    abort();
  }
}

/* How long the next piece is: a fixed size, or for 0 one that chance, which is the input, decides. */
static size_t piece(size_t step, uint32_t *chance, size_t left) {
  *chance = *chance * 1664525u + 1013904223u;
  size_t n = step ? step : 1 + (*chance >> 24) % 40;
  return n < left ? n : left;
}

/* ---- the head ---- */

static int find(const uint8_t *data, size_t size, size_t step, uint32_t chance, size_t *end) {
  struct head_search s = {0};
  int status = 0;
  for (size_t len = 0; !status && len < size;) {
    len += piece(step, &chance, size - len);
    char *copy = malloc(len); /* of its own, so that a read beyond it is seen */
    memcpy(copy, data, len);
    status = head_find(&s, copy, len, end);
    free(copy);
  }
  return status;
}

struct rules {
  size_t hosts, lengths, codings, lines;
  bool http10;
};

/* Where a line that ends as it should ends, or 0. */
static size_t line_len(const char *at, size_t left) {
  for (size_t i = 0; i < left; i++) {
    check(at[i] != 0, "NUL in a head");
    check(at[i] != '\n', "a bare LF");
    if (at[i] == '\r') {
      check(i + 1 < left && at[i + 1] == '\n', "a bare CR");
      return i;
    }
  }
  check(false, "a line without an end");
  return 0;
}

static void count_field(struct rules *r, const char *line, size_t len) {
  const char *colon = memchr(line, ':', len);
  check(colon && colon > line, "no name");
  size_t name = (size_t)(colon - line);
  for (size_t i = 0; i < name; i++) {
    check(line[i] > ' ' && line[i] < 0x7f && !strchr("()<>@,;\\\"/[]?={}", line[i]), "a name that is no token");
  }
  r->hosts += name == 4 && strncasecmp(line, "host", 4) == 0;
  r->lengths += name == 14 && strncasecmp(line, "content-length", 14) == 0;
  r->codings += name == 17 && strncasecmp(line, "transfer-encoding", 17) == 0;
}

/* A head that was let through. */
static void check_rules(const char *text, size_t len, const struct head *h) {
  struct rules r = {0};
  for (size_t at = 0; at < len;) {
    size_t n = line_len(text + at, len - at);
    if (n && r.lines++) {
      count_field(&r, text + at, n);
    } else if (n) {
      r.http10 = n > 8 && memcmp(text + at + n - 8, "HTTP/1.0", 8) == 0;
    }
    at += n + 2;
  }
  check(r.hosts == 1 || (r.hosts == 0 && r.http10), "not one host");
  check(r.lengths <= 1 && !(r.lengths && r.codings) && !(r.http10 && r.codings), "two framings");
  check(h->chunked == (r.codings > 0) && (r.lengths || !h->length), "another framing than it says");
  check(h->http10 == r.http10 && h->count <= HEAD_FIELDS_MAX, "another head than it says");
  check(*h->path == '/' || strcmp(h->path, "*") == 0, "no path");
}

/* ---- the body ---- */

/* The status; 200 when it is complete, 0 when it is not; *total and *used count. */
static int take(const struct head *h, const uint8_t *data, size_t size, size_t step, uint32_t chance, uint64_t *total,
                size_t *used) {
  struct body b;
  int status = body_init(&b, h->chunked, h->length, BODY_LIMIT);
  *total = *used = 0;
  for (size_t at = 0; !status && !body_complete(&b) && at < size;) {
    size_t given = piece(step, &chance, size - at), len = given;
    char *copy = malloc(given);
    memcpy(copy, data + at, given);
    const char *bytes = copy, *content;
    size_t content_len;
    while (!status && len && !body_complete(&b)) {
      status = body_next(&b, &bytes, &len, &content, &content_len);
      check(status || content_len == 0 || (content >= copy && content + content_len <= copy + given), "not its bytes");
      *total += status ? 0 : content_len;
    }
    at += given - len;
    *used = at;
    free(copy);
  }
  check(*total <= BODY_LIMIT, "more than the limit");
  return status ? status : body_complete(&b) ? 200 : 0;
}

static void check_body(const struct head *h, const uint8_t *data, size_t size, uint32_t chance) {
  uint64_t total, other_total;
  size_t used, other_used;
  int status = take(h, data, size, size ? size : 1, chance, &total, &used);
  for (size_t step = 0; step < 2; step++) {
    int other = take(h, data, size, step, chance, &other_total, &other_used);
    check(status == other, "a cut changes the status");
    check(status != 200 || (total == other_total && used == other_used), "a cut changes the body");
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0 || size > 2 * HEAD_BYTES_MAX) {
    return 0;
  }
  uint32_t chance = (uint32_t)size * 2654435761u ^ data[size - 1];
  size_t end = 0, other_end = 0;
  int status = find(data, size, size, chance, &end);
  for (size_t step = 0; step < 2 && (step == 0 || size < 400); step++) {
    check(find(data, size, step, chance, &other_end) == status && other_end == end, "a cut changes where a head ends");
  }
  if (status != 200) {
    return 0;
  }
  char *copy = malloc(end);
  memcpy(copy, data, end);
  struct head h;
  if (head_parse(&h, copy, end) == 0) {
    check_rules((const char *)data, end, &h);
    check_body(&h, data + end, size - end, chance);
    while (head_query_next(&h.query)) {
    }
  }
  free(copy);
  return 0;
}
