/* In: the settings. Out: a process that checks the scripts, and its verdict. Why: see trial.h. It is over when the
 * process has ended and all it said has been read; then the handles are closed, and only then the verdict is given, for
 * it may lead to the next trial. */
#include "trial.h"

#include "err.h"
#include "stall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define GRACE_MS 3000 /* it refuses by itself, in time: this is for when it cannot */
#define STOPPING "the server is stopping"
#define TEXT_MAX 4096 /* of what it says; the rest is counted in lines */

extern char **environ;

struct trial {
  uv_loop_t *loop;
  const struct config *config;
  struct scripts *scripts; /* NULL: nobody waits for a verdict */
  uv_process_t process;
  uv_pipe_t out;
  uv_timer_t deadline;
  bool running, late, stopped;
  int open; /* handles of this trial, without the timer */
  bool exited, read;
  int64_t code;
  int by_signal;
  char text[TEXT_MAX + 1];
  size_t len, lines;
  char part[TEXT_MAX]; /* what libuv reads into */
};

/* ---- the verdict ---- */

/* The first thing it found, with the name of the file as everybody else calls it. */
static void say_finding(const struct trial *t, char why[512]) {
  const char *dir = config_string(t->config, SETTING_SCRIPTS_DIR), *line = t->text;
  size_t len = strcspn(line, "\n"), root = strlen(dir);
  bool below = strncmp(line, dir, root) == 0 && line[root] == '/';
  line += below ? root + 1 : 0;
  len -= below ? root + 1 : 0;
  char more[64] = "";
  if (t->lines > 1) {
    snprintf(more, sizeof more, " (and %zu more: chatbox check)", t->lines - 1);
  }
  snprintf(why, 512, "%s%.*s%s", below ? "scripts/" : "", (int)(len < 400 ? len : 400), line, more);
}

static void give_verdict(struct trial *t) {
  struct scripts *s = t->scripts;
  char why[512], version[BUNDLE_VERSION_LEN + 1] = "";
  t->scripts = NULL;
  t->running = false;
  if (!s) {
    return;
  }
  if (t->code == 0 && sscanf(t->text, "ok: version %12[0-9a-f]", version) == 1) {
    scripts_tried(s, version, NULL);
    return;
  }
  if (t->code == 1 && t->len) {
    say_finding(t, why);
  } else if (t->late) {
    snprintf(why, sizeof why, "scripts: the check has not come to an end (SCRIPT_CHECK_TIMEOUT)");
  } else if (t->code < 0) {
    snprintf(why, sizeof why, "scripts: no process to try them in: %s", err_text((int)t->code));
  } else if (t->by_signal) {
    snprintf(why, sizeof why, "scripts: they bring down the process that loads them (signal %d)", t->by_signal);
  } else {
    snprintf(why, sizeof why, "scripts: the check ended with exit code %d", (int)t->code);
  }
  scripts_tried(s, "", why);
}

static void on_closed(uv_handle_t *handle) {
  struct trial *t = handle->data;
  if (--t->open == 0) {
    give_verdict(t);
  }
}

static void end_when_over(struct trial *t) {
  if (t->exited && t->read) {
    uv_timer_stop(&t->deadline);
    uv_close((uv_handle_t *)&t->process, on_closed);
    uv_close((uv_handle_t *)&t->out, on_closed);
  }
}

/* ---- the process ---- */

static void on_exit_of(uv_process_t *process, int64_t code, int by_signal) {
  struct trial *t = process->data;
  t->exited = true;
  t->code = code;
  t->by_signal = by_signal;
  end_when_over(t);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  struct trial *t = handle->data;
  (void)suggested;
  *buf = uv_buf_init(t->part, sizeof t->part);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct trial *t = stream->data;
  if (n < 0) {
    t->read = true;
    end_when_over(t);
    return;
  }
  for (ssize_t i = 0; i < n; i++) {
    t->lines += buf->base[i] == '\n';
  }
  size_t room = TEXT_MAX - t->len, taken = (size_t)n < room ? (size_t)n : room;
  memcpy(t->text + t->len, buf->base, taken);
  t->len += taken;
  t->text[t->len] = 0;
}

static void on_deadline(uv_timer_t *timer) {
  struct trial *t = timer->data;
  t->late = true;
  uv_process_kill(&t->process, SIGKILL);
}

/* The settings in force, wherever they came from, and what else is in the environment. Secrets stay where they are: a
 * check needs none. */
static char **environment(const struct config *c) {
  size_t count = 0, at = 0;
  while (environ[count]) {
    count++;
  }
  char **env = calloc(count + SETTING_COUNT + 1, sizeof *env);
  for (int i = 0; env && i < SETTING_COUNT; i++) {
    const char *source;
    enum setting s = (enum setting)i;
    if (!config_secret(s) && asprintf(&env[at], "%s=%s", config_name(s), config_text(c, s, &source)) >= 0) {
      at++;
    }
  }
  for (size_t i = 0; env && i < count; i++) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(environ[i], "="), environ[i]);
    int s = config_find(name);
    if ((s < 0 || config_secret((enum setting)s)) && (env[at] = strdup(environ[i]))) {
      at++;
    }
  }
  return env;
}

static int start_process(struct trial *t) {
  char program[] = "/proc/self/exe", word[] = "check";
  char *args[] = {program, word, NULL};
  uv_stdio_container_t stdio[] = {
    {.flags = UV_IGNORE},
    {.flags = (uv_stdio_flags)(UV_CREATE_PIPE | UV_WRITABLE_PIPE), .data.stream = (uv_stream_t *)&t->out},
    {.flags = UV_IGNORE}, /* what scripts log while they load is logged when they are started */
  };
  uv_process_options_t o = {.exit_cb = on_exit_of,
                            .file = program,
                            .args = args,
                            .stdio = stdio,
                            .stdio_count = 3,
                            .env = environment(t->config)};
  int code = o.env ? uv_spawn(t->loop, &t->process, &o) : UV_ENOMEM;
  for (size_t i = 0; o.env && o.env[i]; i++) {
    free(o.env[i]);
  }
  free(o.env);
  return code;
}

void trial_begin(void *arg, struct scripts *s) {
  struct trial *t = arg;
  if (t->stopped) {
    scripts_tried(s, "", STOPPING);
    return;
  }
  t->scripts = s;
  t->running = true;
  t->late = t->exited = t->read = false;
  t->code = t->by_signal = 0;
  t->len = t->lines = 0;
  t->text[0] = 0;
  t->process.data = t->out.data = t->deadline.data = t;
  t->open = 2;
  (void)uv_pipe_init(t->loop, &t->out, 0); /* cannot fail on Unix */
  int code = start_process(t);
  if (code) {
    t->code = code;
    t->exited = t->read = true;
    end_when_over(t);
    return;
  }
  code = uv_read_start((uv_stream_t *)&t->out, on_alloc, on_read);
  t->read = code != 0;
  uv_timer_start(&t->deadline, on_deadline, stall_loading_ms(t->config) + GRACE_MS, 0);
}

void trial_stop(struct trial *t) {
  struct scripts *s = t->scripts;
  t->scripts = NULL;
  t->stopped = true;
  if (t->running && !t->exited) {
    uv_process_kill(&t->process, SIGKILL);
  }
  if (s) {
    scripts_tried(s, "", STOPPING);
  }
}

struct trial *trial_new(struct uv_loop_s *loop, const struct config *c) {
  struct trial *t = calloc(1, sizeof *t);
  if (t) {
    t->loop = loop;
    t->config = c;
    (void)uv_timer_init(loop, &t->deadline); /* cannot fail on Unix */
  }
  return t;
}

void trial_free(struct trial *t) {
  free(t);
}
