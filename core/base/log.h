/* In: an event with typed fields. Out: one line on standard error, key=value or JSON; or, where that is systemd's
 * journal, an entry with a field CHATBOX_KEY for each. Why: one line per event, never conversation content, never a
 * token; values are escaped here so that no caller can break a line in two. Any thread; lines never mix. While the
 * server runs nobody who logs ever waits for whoever reads: see log_start. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
  const char *key;
  const char *text; /* borrowed, NULL = use number */
  int64_t number;
};

#define LSTR(k, v) ((struct log_field){.key = (k), .text = (v)})
#define LINT(k, v) ((struct log_field){.key = (k), .number = (int64_t)(v)})

/* Before any other thread starts. Where standard error is systemd's journal, entries go to it from now on, and their
 * message is the line without time and level, or the JSON. */
void log_setup(enum log_level lowest, bool json);
/* Entries go to the journal at that socket, whatever standard error is; NULL: lines again. For tests; as log_setup. */
void log_journal(const char *path);
/* From now on a thread of its own writes, out of a ring of `room` bytes (at least 64 KiB); when that is full, lines are
 * dropped, counted in chatbox_log_dropped_total, and one line says how many. 0 or a negative code. Main thread. */
int log_start(size_t room) NODISCARD;
/* Waits until all lines so far are written; false: timeout_ms were not enough. Before _exit(): a plain exit or a signal
 * that ends the program writes them by itself. Any thread. */
bool log_flush(uint64_t timeout_ms);
/* The end of log_start: waits as log_flush does. Main thread. */
void log_stop(uint64_t timeout_ms);
/* 0 or E_INVALID. */
int log_level_parse(const char *text, enum log_level *out);
bool log_enabled(enum log_level level);

/* A line is at most 4 KiB; what is longer is cut and marked. */
void log_write(enum log_level level, const char *component, const char *message, const struct log_field *fields,
               size_t count);

#define LOG(level, component, message, ...)                                                                            \
  do {                                                                                                                 \
    if (log_enabled(level)) {                                                                                          \
      const struct log_field log_fields_[] = {LSTR(NULL, NULL), ##__VA_ARGS__};                                        \
      log_write((level), (component), (message), log_fields_ + 1, sizeof log_fields_ / sizeof *log_fields_ - 1);       \
    }                                                                                                                  \
  } while (0)
