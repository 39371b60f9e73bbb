/* In: an event with typed fields. Out: one line on standard error, key=value or JSON; or a record of systemd's journal.
 * Why: a line is built on the stack and handed over whole (log_writer.h), so lines of many threads never mix. What
 * comes from outside is escaped: a value cannot end its line, forge a field, drive a terminal or make the JSON invalid.
 */
#include "log.h"

#include "err.h"
#include "journal.h"
#include "lock.h"
#include "log_writer.h"
#include "utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_TAIL 24 /* room kept for a closing quote, the mark of a cut line, brace and newline */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Written once before other threads start. */
static enum log_level lowest_level = LOG_INFO;
static bool as_json;
static int journal = -1; /* a socket to it; -1: lines on standard error */

struct line {
  size_t len, room;
  bool cut;
  char bytes[LOG_RECORD_MAX];
};

void log_setup(enum log_level lowest, bool json) {
  lowest_level = lowest;
  as_json = json;
  log_journal(journal_is(STDERR_FILENO) ? JOURNAL_SOCKET : NULL);
}

void log_journal(const char *path) {
  if (journal >= 0)
    close(journal);
  journal = path ? journal_open(path) : -1;
  journal = journal >= 0 ? journal : -1; /* else standard error takes lines, as before */
  log_writer_journal(journal);
}

int log_level_parse(const char *text, enum log_level *out) {
  for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
    if (strcmp(text, level_names[i]) == 0) {
      *out = (enum log_level)i;
      return 0;
    }
  return E_INVALID;
}

bool log_enabled(enum log_level level) {
  return level >= lowest_level;
}

/* All of the bytes or none of them: a line is cut between characters, never inside an escape. */
static void line_put(struct line *l, const char *bytes, size_t len) {
  if (l->cut || l->len + len > l->room - LINE_TAIL) {
    l->cut = true;
    return;
  }
  memcpy(l->bytes + l->len, bytes, len);
  l->len += len;
}

/* For what closes a thing that was opened: LINE_TAIL has the room. */
static void line_close(struct line *l, const char *text) {
  size_t len = strlen(text);
  memcpy(l->bytes + l->len, text, len);
  l->len += len;
}

/* C1 controls drive terminals, U+2028 and U+2029 end lines in some viewers. 0 when the sequence is harmless. */
static unsigned sequence_control(const uint8_t *p, size_t n) {
  if (n == 1)
    return p[0] < 0x20 || p[0] == 0x7f ? 0x10000u | p[0] : 0;
  if (n == 2)
    return p[0] == 0xc2 && p[1] < 0xa0 ? p[1] : 0;
  return n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9) ? 0x2000u | (p[2] - 0x80u) : 0;
}

/* The escape of what stands at text, or nothing when it can stand as it is. n: its bytes, 0 for an invalid one. */
static bool escape(const char *text, size_t n, char out[8]) {
  const uint8_t *p = (const uint8_t *)text;
  if (n == 0) {
    snprintf(out, 8, as_json ? "\\ufffd" : "\\x%02x", p[0]);
    return true;
  }
  unsigned control = sequence_control(p, n);
  if (control != 0) {
    const char *known = memchr("\nn\rr\tt", p[0], 6);
    if (n == 1 && known)
      snprintf(out, 8, "\\%c", known[1]);
    else
      snprintf(out, 8, "\\u%04x", control & 0xffff);
    return true;
  }
  if (*text == '"' || *text == '\\') {
    snprintf(out, 8, "\\%c", *text);
    return true;
  }
  return false;
}

static void line_put_escaped(struct line *l, const char *text) {
  size_t left = strlen(text);
  while (left > 0 && !l->cut) {
    size_t n = utf8_sequence(text, left);
    char escaped[8];
    if (escape(text, n, escaped))
      line_put(l, escaped, strlen(escaped));
    else
      line_put(l, text, n);
    n = n > 0 ? n : 1;
    text += n;
    left -= n;
  }
}

static bool can_stand_bare(const char *text) {
  if (*text == 0)
    return false;
  for (size_t left = strnlen(text, LOG_LINE_MAX), n; left > 0; left -= n, text += n) {
    char escaped[8];
    n = utf8_sequence(text, left);
    if (n == 0 || *text == ' ' || *text == '=' || escape(text, n, escaped))
      return false;
  }
  return true;
}

static void line_put_quoted(struct line *l, const char *text) {
  line_put_escaped(l, text);
  line_close(l, "\"");
}

/* Opens key=" or ,"key":" and says whether there was room for it. */
static bool line_open(struct line *l, const char *key, const char *between) {
  size_t before = l->len;
  if (as_json) {
    line_put(l, l->len == 0 ? "{\"" : ",\"", 2);
    line_put_escaped(l, key);
    line_put(l, "\":", 2);
  } else {
    if (l->len > 0)
      line_put(l, " ", 1);
    for (; *key != 0; key++) /* a key that could be taken for two, or for none, is made harmless */
      line_put(l, *key <= ' ' || *key > '~' || strchr("=\"\\", *key) ? "_" : key, 1);
    line_put(l, "=", 1);
  }
  line_put(l, between, strlen(between));
  if (l->cut)
    l->len = before;
  return !l->cut;
}

static void line_text(struct line *l, const char *key, const char *text, bool quoted) {
  quoted = quoted || as_json || !can_stand_bare(text);
  if (!line_open(l, key, quoted ? "\"" : ""))
    return;
  if (quoted)
    line_put_quoted(l, text);
  else
    line_put_escaped(l, text);
}

static void line_number(struct line *l, const char *key, int64_t number) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRId64, number);
  line_open(l, key, digits);
}

/* The one clock outside the worker: a line says when it was written, and nothing is decided by it. */
static void line_time(struct line *l) {
  struct timespec now;
  struct tm utc;
  char text[40], date[24];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text, sizeof text, "%s.%03ldZ", date, now.tv_nsec / 1000000);
  line_text(l, "time", text, false);
}

static void line_build(struct line *l, enum log_level level, const char *component, const char *message,
                       const struct log_field *fields, size_t count) {
  l->len = 0;
  l->room = LOG_LINE_MAX;
  l->cut = false;
  line_time(l);
  line_text(l, "level", level_names[level], false);
  line_text(l, "component", component, false);
  line_text(l, "msg", message, true);
  for (size_t i = 0; i < count && !l->cut; i++) {
    if (fields[i].text)
      line_text(l, fields[i].key, fields[i].text, false);
    else
      line_number(l, fields[i].key, fields[i].number);
  }
  if (l->cut)
    line_close(l, as_json ? ",\"truncated\":true" : " truncated=true");
  line_close(l, as_json ? "}\n" : "\n");
}

/* ---- a record of the journal ---- */

/* Quotes and backslashes stand as they are; what could end the line, or drive the terminal of who reads it, does not.
 */
static void record_put(struct line *l, const char *text) {
  for (size_t left = strlen(text), n; left > 0 && !l->cut; left -= n, text += n) {
    char escaped[8];
    n = utf8_sequence(text, left);
    if (*text != '"' && *text != '\\' && escape(text, n, escaped))
      line_put(l, escaped, strlen(escaped));
    else
      line_put(l, text, n);
    n = n > 0 ? n : 1;
  }
}

static void record_field(struct line *l, const char *name, const char *text) {
  size_t before = l->len;
  line_put(l, name, strlen(name));
  line_put(l, "=", 1);
  if (l->cut) {
    l->len = before;
    return;
  }
  record_put(l, text);
  line_close(l, "\n");
}

/* What people read: the line without time and level, which the journal has; or all of the JSON. Without a newline. */
static void record_message(struct line *l, enum log_level level, const char *component, const char *message,
                           const struct log_field *fields, size_t count) {
  struct line text;
  line_build(&text, level, component, message, fields, count);
  const char *from = as_json ? NULL : memmem(text.bytes, text.len, "component=", strlen("component="));
  from = from ? from : text.bytes;
  line_put(l, "MESSAGE=", strlen("MESSAGE="));
  line_put(l, from, (size_t)(text.bytes + text.len - from));
}

static void record_build(struct line *l, enum log_level level, const char *component, const char *message,
                         const struct log_field *fields, size_t count) {
  static const char *const priorities[] = {"PRIORITY=7\n", "PRIORITY=6\n", "PRIORITY=4\n", "PRIORITY=3\n"};
  static const char known[] = "SYSLOG_IDENTIFIER=chatbox\n";
  char name[JOURNAL_FIELD_MAX + 1], digits[24];
  l->len = 0;
  l->room = LOG_RECORD_MAX;
  l->cut = false;
  record_message(l, level, component, message, fields, count);
  line_put(l, priorities[level], strlen(priorities[level]));
  line_put(l, known, strlen(known));
  record_field(l, "CHATBOX_COMPONENT", component);
  record_field(l, "CHATBOX_MSG", message);
  for (size_t i = 0; i < count && !l->cut; i++) {
    snprintf(digits, sizeof digits, "%" PRId64, fields[i].number);
    journal_field("CHATBOX_", fields[i].key, name);
    record_field(l, name, fields[i].text ? fields[i].text : digits);
  }
  line_close(l, l->cut ? "CHATBOX_TRUNCATED=1\n\n" : "\n");
}

static void entry_build(struct line *l, enum log_level level, const char *component, const char *message,
                        const struct log_field *fields, size_t count) {
  if (journal >= 0)
    record_build(l, level, component, message, fields, count);
  else
    line_build(l, level, component, message, fields, count);
}

void log_write(enum log_level level, const char *component, const char *message, const struct log_field *fields,
               size_t count) {
  assert(!lock_held()); /* the writer has a lock of its own */
  struct line l;        /* not cleared: eight kilobytes per line */
  entry_build(&l, level, component, message, fields, count);
  log_writer_put(l.bytes, l.len);
}

static size_t dropped_note(char out[LOG_RECORD_MAX], uint64_t dropped) {
  struct line l;
  const struct log_field fields[] = {LINT("count", dropped)};
  entry_build(&l, LOG_WARN, "log", "nobody read the log fast enough: lines were dropped", fields, 1);
  memcpy(out, l.bytes, l.len);
  return l.len;
}

int log_start(size_t room) {
  return log_writer_start(room, dropped_note);
}

bool log_flush(uint64_t timeout_ms) {
  return log_writer_flush(timeout_ms);
}

void log_stop(uint64_t timeout_ms) {
  log_writer_stop(timeout_ms);
}
