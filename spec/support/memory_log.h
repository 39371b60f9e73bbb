/* In: log lines of the server. Out: the same, kept for a spec to read, and nothing on the terminal.
 * Why: what an operator is told when a script fails is a promise too. Takes the place of core/base/log.c
 * (spec/unit/base/log_test.c has that one). Any thread. Bound: the last 512 lines of at most 4 KiB. */
#pragma once
#include "err.h"
#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LOG_LINES 512
#define LOG_LINE_MAX 4096

static struct {
  pthread_mutex_t lock;
  char lines[LOG_LINES][LOG_LINE_MAX];
  size_t first, count;
} memory_log = {.lock = PTHREAD_MUTEX_INITIALIZER};

void log_setup(enum log_level lowest, bool json) {
  (void)lowest;
  (void)json;
}

int log_level_parse(const char *text, enum log_level *out) {
  static const char *const names[] = {"debug", "info", "warn", "error"};
  for (int i = 0; i < 4; i++) {
    if (strcmp(text, names[i]) == 0) {
      *out = (enum log_level)i;
      return 0;
    }
  }
  return E_INVALID;
}

bool log_enabled(enum log_level level) {
  (void)level;
  return true;
}

void log_write(enum log_level level, const char *component, const char *message, const struct log_field *fields,
               size_t count) {
  static const char *const names[] = {"debug", "info", "warn", "error"};
  pthread_mutex_lock(&memory_log.lock);
  char *line = memory_log.lines[(memory_log.first + memory_log.count) % LOG_LINES];
  if (memory_log.count == LOG_LINES) {
    memory_log.first = (memory_log.first + 1) % LOG_LINES;
  } else {
    memory_log.count++;
  }
  size_t used = (size_t)snprintf(line, LOG_LINE_MAX, "%s %s %.1000s", names[level], component, message);
  for (size_t i = 0; i < count && used < LOG_LINE_MAX; i++) {
    const struct log_field *f = &fields[i];
    used += (size_t)(f->text ? snprintf(line + used, LOG_LINE_MAX - used, " %s=%s", f->key, f->text)
                             : snprintf(line + used, LOG_LINE_MAX - used, " %s=%lld", f->key, (long long)f->number));
  }
  pthread_mutex_unlock(&memory_log.lock);
}

/* The oldest line, moved into out. false: none. */
static bool memory_log_take(char out[LOG_LINE_MAX]) {
  pthread_mutex_lock(&memory_log.lock);
  bool found = memory_log.count > 0;
  if (found) {
    memcpy(out, memory_log.lines[memory_log.first], LOG_LINE_MAX);
    memory_log.first = (memory_log.first + 1) % LOG_LINES;
    memory_log.count--;
  }
  pthread_mutex_unlock(&memory_log.lock);
  return found;
}
