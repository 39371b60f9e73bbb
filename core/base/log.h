/* In: an event with typed fields. Out: one line on standard error, key=value or JSON.
 * Why: one line per event, never conversation content, never a token; values are escaped here so that no caller can
 * break a line in two. Any thread; one write(2) per line, so lines never mix. */
#pragma once

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

/* Before any other thread starts. */
void log_setup(enum log_level lowest, bool json);
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
