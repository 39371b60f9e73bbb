/* In: what a fuzzer makes up. Out: a world (world.h) on the scripts of this repository that takes it, and the promises
 * that hold whatever it was: no handler failed, none is left behind, the memory of the scripts stays flat.
 * Why: the envelope and HTTP fuzzers run the real path behind the transport; this is what they share.
 * SCRIPTS_DIR in the environment names other scripts. Bound: a world serves FUZZ_WORLD_INPUTS inputs, then its database
 * goes and the next one begins. */
#pragma once
#include "metrics.h"
#include "utf8.h"
#include "world.h"

#define FUZZ_WORLD_INPUTS 8192
#define FUZZ_WARM 2048       /* inputs until all caches are full */
#define FUZZ_MEASURE 1024    /* inputs between two looks at the memory */
#define FUZZ_GROWTH_KB 96    /* that is noise */
#define FUZZ_INPUT_MAX 65536 /* bytes of an input that are used */
#define FUZZ_WIDE 60000      /* values in $wide: more than lib/json takes */

static struct {
  struct world world;
  bool open;
  unsigned inputs;
  int warm_kb;
  int64_t script_errors;
} fuzz;

/* What is wrong is said first: the input alone may not show it. */
#define check(holds, ...)                                                                                              \
  do {                                                                                                                 \
    if (!(holds)) {                                                                                                    \
      fprintf(stderr, __VA_ARGS__);                                                                                    \
      fputc('\n', stderr);                                                                                             \
      fuzz_log();                                                                                                      \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

static void fuzz_log(void) {
  char line[LOG_LINE_MAX];
  while (memory_log_take(line)) {
    fprintf(stderr, "log: %s\n", line);
  }
}

/* The buffers of lua-cjson hang on memory of LuaJIT's, where they are not looked for before the VM is closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:strbuf_init\nleak:strbuf_resize\n";
}

const char *__lsan_default_options(void);
const char *__lsan_default_options(void) {
  return "print_suppressions=0";
}

static void fuzz_close(void) {
  if (fuzz.open) {
    world_close(&fuzz.world);
    world_forget(&fuzz.world);
    fuzz.open = false;
  }
}

/* The present one, or a new one. */
static struct world *fuzz_world(char **settings) {
  static bool closes;
  char why[512] = "out of memory";
  struct world *w = &fuzz.world;
  if (!closes) {
    closes = atexit(fuzz_close) == 0;
  }
  if (fuzz.inputs == FUZZ_WORLD_INPUTS) {
    fuzz_close();
  }
  if (!fuzz.open) {
    char scripts[64], *others = getenv("SCRIPTS_DIR");
    /* Memory if there is any: the disk is not what is tested. */
    *w = (struct world){.folder = "/dev/shm/chatbox-fuzz-XXXXXX"};
    if (!mkdtemp(w->folder)) {
      *w = (struct world){.folder = "/tmp/chatbox-fuzz-XXXXXX"};
      check(mkdtemp(w->folder), "no folder for the database");
    }
    snprintf(scripts, sizeof scripts, "%s/scripts", w->folder);
    check(symlink(others ? others : SCRIPTS_DIR, scripts) == 0 && world_open(w, settings, why) == 0, "no world: %s",
          why);
    fuzz.open = true;
    fuzz.inputs = 0;
    fuzz.script_errors = metrics_value(METRIC_SCRIPT_ERRORS);
  }
  fuzz.inputs++;
  return w;
}

static int fuzz_memory_kb(struct world *w) {
  lua_State *L = scripts_vm(w->scripts, 0)->L;
  lua_gc(L, LUA_GCCOLLECT, 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  return lua_gc(L, LUA_GCCOUNT, 0);
}

/* The end of an input: everybody leaves, and nothing may be left of it but what the store has. */
static void fuzz_world_check(struct world *w) {
  for (struct client *c = w->clients; c; c = c->next) {
    client_leave(c);
  }
  world_settle(w);
  world_forget(w);
  sessions_sweep(w->sessions, worker_now_ms(w->worker), 0);
  worker_advance(w->worker, 60000);
  limiters_sweep(w->vm.limiters, worker_now_ms(w->worker));
  check(metrics_value(METRIC_SCRIPT_ERRORS) == fuzz.script_errors, "a handler failed: %s", w->script_error);
  check(scripts_tasks(w->scripts, 0) == 0, "a handler still waits");
  check(sessions_count(w->sessions) == 0, "a conversation stayed in memory");
  if (fuzz.inputs == FUZZ_WARM) {
    fuzz.warm_kb = fuzz_memory_kb(w);
  } else if (fuzz.inputs > FUZZ_WARM && fuzz.inputs % FUZZ_MEASURE == 0) {
    int now_kb = fuzz_memory_kb(w);
    check(now_kb < fuzz.warm_kb + FUZZ_GROWTH_KB, "the scripts' memory grew from %d to %d KiB in %u inputs",
          fuzz.warm_kb, now_kb, fuzz.inputs - FUZZ_WARM);
  }
}

/* ---- texts ---- */

struct fuzz_word {
  const char *word;
  const char *text;
};

/* What frame.c would not have let pass becomes a question mark. */
static inline void fuzz_utf8(char *text, size_t len) {
  for (size_t i = 0, n; i < len; i += n) {
    n = utf8_sequence(text + i, len - i);
    if (!n) {
      text[i] = '?';
      n = 1;
    }
  }
}

static const char *wide(void) {
  static char text[2 * FUZZ_WIDE + 1];
  for (size_t i = 0; !*text && i < FUZZ_WIDE; i++) {
    memcpy(text + 2 * i, "1,", 3);
  }
  return text;
}

static const struct fuzz_word *word_at(const char *bytes, size_t len, const struct fuzz_word *words) {
  for (; words->text; words++) {
    if (len >= strlen(words->word) && memcmp(bytes, words->word, strlen(words->word)) == 0) {
      return words;
    }
  }
  return NULL;
}

/* A heap block: the bytes with the words (the last one's text is NULL) replaced; $wide, the first time, is one more. */
static inline char *fuzz_text(const char *bytes, size_t len, const struct fuzz_word *words, size_t *out_len) {
  const struct fuzz_word more[] = {{"$wide", wide()}, {"", NULL}}, *rest = more;
  char *text = NULL;
  FILE *out = open_memstream(&text, out_len);
  for (size_t i = 0; i < len;) {
    const struct fuzz_word *w = word_at(bytes + i, len - i, words);
    if (!w && (w = word_at(bytes + i, len - i, rest))) {
      rest = more + 1;
    }
    fwrite(w ? w->text : bytes + i, 1, w ? strlen(w->text) : 1, out);
    i += w ? strlen(w->word) : 1;
  }
  fclose(out);
  return text;
}
