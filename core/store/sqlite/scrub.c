/* In: an open database. Out: the same, and what was deleted from it is in none of its files any more. Why:
 * secure_delete overwrites a row where it is; but when a page is split, copies of its rows stay behind in the part of
 * the page that nothing refers to, and no statement reaches them. A VACUUM would, and would hold up every writer.
 * So this walks over all pages of all trees and overwrites the gap between the pointers and the cells of each.
 *
 *   checkpoint: the file is whole, the log is empty, and until the end nothing but the log is written to
 *   first pass: all pages, some in each step; writers go on meanwhile
 *   last pass, in one go: the log tells which pages were written meanwhile; checkpoint; those pages
 *
 * A gap means nothing to any reader, so it does not matter who reads the page meanwhile, or whether the program ends in
 * the middle. The cache of the writer is given up before each pass, or old gaps would come back from there. The file is
 * reached through SQLite's own handle: closing another one would let go of its locks. */
#include "sqlite_impl.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define STEP_PAGES 512
#define WAL_HEADER 32
#define FRAME_HEADER 24

struct scrub {
  sqlite3_file *file;
  size_t page_size, usable;
  uint32_t pages; /* in the file */
  unsigned char *page, *zeros;
  unsigned char *written; /* bits: pages that were written since the first pass began */
  uint32_t *stack;        /* pages to be looked at */
  size_t depth, room;
  bool last, odd; /* odd: some page was not as it should be, and is left alone */
};

static uint32_t be16(const unsigned char *p) {
  return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const unsigned char *p) {
  return be16(p) << 16 | be16(p + 2);
}

static bool bit_get(const unsigned char *bits, uint32_t at) {
  return bits[at / 8] >> (at % 8) & 1;
}

static int page_push(struct scrub *s, uint32_t page) {
  if (page == 0 || page > s->pages) {
    s->odd = true;
    return 0;
  }
  if (s->depth == s->room) {
    size_t room = s->room ? 2 * s->room : 256;
    uint32_t *stack = realloc(s->stack, room * sizeof *stack);
    if (!stack)
      return UV_ENOMEM;
    s->stack = stack;
    s->room = room;
  }
  s->stack[s->depth++] = page;
  return 0;
}

static int page_read(struct scrub *s, uint32_t page, unsigned char *out, size_t len) {
  sqlite3_int64 at = (sqlite3_int64)(page - 1) * (sqlite3_int64)s->page_size;
  return s->file->pMethods->xRead(s->file, out, (int)len, at) == SQLITE_OK ? 0 : E_STORE;
}

/* ---- one page ---- */

static int range_clear(struct scrub *s, uint32_t page, size_t from, size_t to) {
  if (from >= to || memcmp(s->page + from, s->zeros, to - from) == 0)
    return 0;
  sqlite3_int64 at = (sqlite3_int64)(page - 1) * (sqlite3_int64)s->page_size + (sqlite3_int64)from;
  return s->file->pMethods->xWrite(s->file, s->zeros, (int)(to - from), at) == SQLITE_OK ? 0 : E_STORE;
}

static bool is_leaf(unsigned char flags) {
  return flags == 10 || flags == 13;
}

/* Of an inner page: what lies below it. In the last pass a leaf is only of interest when it was written; all pages
 * below one page are leaves, or none is. */
static int children_push(struct scrub *s, size_t header, size_t cells, size_t content) {
  const unsigned char *page = s->page;
  uint32_t right = be32(page + header + 8);
  unsigned char flags = 0;
  if (s->last && (right == 0 || right > s->pages || page_read(s, right, &flags, 1) != 0))
    return E_STORE;
  bool leaves = s->last && is_leaf(flags);
  for (size_t i = 0; i <= cells; i++) {
    size_t at = i < cells ? be16(page + header + 12 + 2 * i) : 0;
    if (i < cells && (at < content || at + 4 > s->usable)) {
      s->odd = true;
      continue;
    }
    uint32_t child = i < cells ? be32(page + at) : right;
    if (leaves && (child > s->pages || !bit_get(s->written, child)))
      continue;
    int code = page_push(s, child);
    if (code)
      return code;
  }
  return 0;
}

/* What it frees within the page; each block keeps its first four bytes. */
static int freeblocks_clear(struct scrub *s, uint32_t page, size_t first, size_t content) {
  int code = 0;
  for (size_t at = first, low = content; at != 0 && code == 0;) {
    size_t size = at >= low && at + 4 <= s->usable ? be16(s->page + at + 2) : 0;
    if (size < 4 || at + size > s->usable) {
      s->odd = true;
      return 0;
    }
    code = range_clear(s, page, at + 4, at + size);
    low = at + size;
    at = be16(s->page + at);
  }
  return code;
}

static int page_scrub(struct scrub *s, uint32_t page) {
  size_t header = page == 1 ? 100 : 0;
  int code = page_read(s, page, s->page, s->page_size);
  if (code)
    return code;
  unsigned char flags = s->page[header];
  bool inner = flags == 2 || flags == 5;
  size_t cells = be16(s->page + header + 3), content = be16(s->page + header + 5);
  size_t from = header + (inner ? 12 : 8) + 2 * cells;
  content = content != 0 ? content : 65536;
  if ((!inner && !is_leaf(flags)) || from > content || content > s->usable) {
    s->odd = true;
    return 0;
  }
  code = range_clear(s, page, from, content);
  code = code ? code : freeblocks_clear(s, page, be16(s->page + header + 1), content);
  return code || !inner ? code : children_push(s, header, cells, content);
}

/* ---- a pass ---- */

static int roots_push(struct sqlite_handle *h, struct scrub *s) {
  sqlite3_stmt *roots = NULL;
  int code = page_push(s, 1);
  if (sqlite3_prepare_v2(h->db, "SELECT rootpage FROM sqlite_schema WHERE rootpage > 1", -1, &roots, NULL) != SQLITE_OK)
    code = E_STORE;
  while (code == 0 && sqlite3_step(roots) == SQLITE_ROW)
    code = page_push(s, (uint32_t)sqlite3_column_int64(roots, 0));
  sqlite3_finalize(roots);
  return code;
}

/* Everything into the file, and an empty log. E_AWAY: somebody still reads what was before. */
static int file_complete(struct sqlite_handle *h, struct scrub *s) {
  sqlite3_int64 size;
  int code = sqlite3_wal_checkpoint_v2(h->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED)
    return E_AWAY;
  if (code != SQLITE_OK)
    return statement_failed(h, code);
  if (s->file->pMethods->xFileSize(s->file, &size) != SQLITE_OK)
    return E_STORE;
  s->pages = (uint32_t)((size_t)size / s->page_size);
  sqlite3_db_release_memory(h->db);
  return roots_push(h, s);
}

static int written_note(struct scrub *s, uint32_t page) {
  if (page < s->pages + 1) {
    s->written[page / 8] |= (unsigned char)(1u << page % 8);
    return 0;
  }
  unsigned char *written = realloc(s->written, page / 8 + 1);
  if (!written)
    return UV_ENOMEM;
  memset(written + s->pages / 8 + 1, 0, page / 8 - s->pages / 8);
  s->written = written;
  s->pages = page;
  s->written[page / 8] |= (unsigned char)(1u << page % 8);
  return 0;
}

/* The numbers of the pages in the log, which has all that were written since it was empty, and perhaps older ones. */
static int written_read(struct sqlite_handle *h, struct scrub *s) {
  sqlite3_file *log = NULL;
  sqlite3_int64 size;
  unsigned char number[4];
  if (sqlite3_file_control(h->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK || !log)
    return E_STORE;
  if (!log->pMethods || log->pMethods->xFileSize(log, &size) != SQLITE_OK)
    return 0; /* there is no log */
  int code = 0;
  for (sqlite3_int64 at = WAL_HEADER; code == 0 && at + FRAME_HEADER + (sqlite3_int64)s->page_size <= size;
       at += FRAME_HEADER + (sqlite3_int64)s->page_size) {
    code = log->pMethods->xRead(log, number, 4, at) == SQLITE_OK ? 0 : E_STORE;
    code = code ? code : written_note(s, be32(number));
  }
  return code;
}

/* Without anybody in between. A page that is new since is below the number of pages only after the checkpoint. */
static int pass_last(struct sqlite_handle *h, struct scrub *s) {
  int code = written_read(h, s);
  uint32_t noted = s->pages;
  code = code ? code : file_complete(h, s);
  if (code)
    return code;
  s->pages = s->pages < noted ? s->pages : noted; /* bits there are */
  s->last = true;
  while (code == 0 && s->depth > 0)
    code = page_scrub(s, s->stack[--s->depth]);
  if (code == 0 && s->file->pMethods->xSync(s->file, SQLITE_SYNC_NORMAL) != SQLITE_OK)
    code = E_STORE;
  return code;
}

/* ---- from outside ---- */

static int scrub_open(struct sqlite_handle *h, struct scrub *s) {
  unsigned char header[100];
  if (sqlite3_file_control(h->db, "main", SQLITE_FCNTL_FILE_POINTER, &s->file) != SQLITE_OK || !s->file)
    return E_STORE;
  if (s->file->pMethods->xRead(s->file, header, sizeof header, 0) != SQLITE_OK)
    return E_STORE;
  s->page_size = be16(header + 16) == 1 ? 65536 : be16(header + 16);
  s->usable = s->page_size - header[20];
  s->page = malloc(s->page_size);
  s->zeros = calloc(1, s->page_size);
  if (!s->page || !s->zeros || s->page_size < 512)
    return UV_ENOMEM;
  int code = file_complete(h, s);
  s->written = code == 0 ? calloc(1, s->pages / 8 + 1) : NULL;
  return code || s->written ? code : UV_ENOMEM;
}

int scrub_begin(struct sqlite_handle *h) {
  h->scrub = calloc(1, sizeof *h->scrub);
  if (!h->scrub)
    return UV_ENOMEM;
  sqlite3_wal_autocheckpoint(h->db, 0);
  int code = scrub_open(h, h->scrub);
  if (code)
    scrub_end(h);
  return code ? code : E_MORE;
}

int scrub_step(struct sqlite_handle *h) {
  struct scrub *s = h->scrub;
  int code = 0;
  h->broken = false;
  for (int i = 0; i < STEP_PAGES && s->depth > 0 && code == 0; i++)
    code = page_scrub(s, s->stack[--s->depth]);
  if (code == 0 && s->depth > 0)
    return E_MORE;
  code = code ? code : pass_last(h, s);
  if (code == E_AWAY)
    return code; /* the last pass is begun again */
  if (s->odd)
    LOG(LOG_ERROR, "store",
        "the database has pages that are not as they should be; what was erased may be left in them");
  scrub_end(h);
  return code;
}

void scrub_end(struct sqlite_handle *h) {
  struct scrub *s = h->scrub;
  if (!s)
    return;
  sqlite3_wal_autocheckpoint(h->db, 1000); /* SQLite's own default */
  free(s->page);
  free(s->zeros);
  free(s->written);
  free(s->stack);
  free(s);
  h->scrub = NULL;
}
