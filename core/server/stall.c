/* In: what the watchdog has seen (watchdog.h). Out: a line that says where, what can still be stored, exit code 70.
 * Why: see stall.h. All of it runs on the watchdog's thread while others may hang, holding what they hold: so every
 * step has a limit, and behind them all is an alarm that ends the process. */
#include "stall.h"

#include "err.h"
#include "log.h"
#include "place.h"
#include "server_impl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define SAVE_MS 2000 /* for the store to settle what the other workers have submitted */
#define LINES_MS 500 /* for the last lines of the log */
#define GIVE_UP_S 5  /* whatever hangs as well */
#define LAST_LINES_MS 1000
#define RESERVE_MS 3000 /* of SHUTDOWN_TIMEOUT, at most, for taking down */

static uint64_t most(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static uint64_t duration(const struct config *c, enum setting s) {
  return (uint64_t)config_int(c, s);
}

uint64_t stall_stop_ms(const struct config *c) {
  uint64_t limit = duration(c, SETTING_SHUTDOWN_TIMEOUT), reserve = limit / 4;
  return limit - (reserve < RESERVE_MS ? reserve : RESERVE_MS);
}

uint64_t stall_last_lines_ms(const struct config *c) {
  uint64_t half = (duration(c, SETTING_SHUTDOWN_TIMEOUT) - stall_stop_ms(c)) / 2;
  return half < LAST_LINES_MS ? half : LAST_LINES_MS;
}

/* A budget is processor time: beside other work it takes longer. */
uint64_t stall_loading_ms(const struct config *c) {
  return most(duration(c, SETTING_SCRIPT_CHECK_TIMEOUT), 2 * duration(c, SETTING_SCRIPT_MESSAGE_BUDGET));
}

static uint64_t stall_ms(const struct config *c) {
  uint64_t budget = most(duration(c, SETTING_SCRIPT_SLICE_BUDGET), duration(c, SETTING_SCRIPT_MESSAGE_BUDGET));
  return most(duration(c, SETTING_WORKER_STALL_TIMEOUT), 2 * budget);
}

void stall_loading_text(const struct config *c, int tid, char out[512]) {
  char place[PLACE_MAX];
  bool found = place_of_thread(tid, place);
  snprintf(out, 512, "%s: the scripts have not loaded within %llu ms (SCRIPT_CHECK_TIMEOUT)", found ? place : "scripts",
           (unsigned long long)stall_loading_ms(c));
}

/* ---- the end ---- */

static void on_alarm(int number) {
  (void)number;
  _exit(EXIT_STALLED);
}

static void end_soon(void) {
  struct sigaction action = {.sa_handler = on_alarm};
  struct itimerval in = {.it_value.tv_sec = GIVE_UP_S};
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &in, NULL);
}

static void on_stalled(void *arg, size_t index, uint64_t silent_ms) {
  struct server *s = arg;
  char place[PLACE_MAX];
  end_soon();
  if (index == s->started) {
    LOG(LOG_ERROR, "server",
        "the main thread has stalled (WORKER_STALL_TIMEOUT): the process ends, to be started again",
        LINT("silent_ms", silent_ms));
  } else {
    bool found = place_of_thread(s->tids[index], place);
    LOG(LOG_ERROR, "server", "a worker has stalled (WORKER_STALL_TIMEOUT): the process ends, to be started again",
        LINT("worker", index), LINT("silent_ms", silent_ms), LSTR("script", found ? place : "(none)"));
  }
  if (store_drain(s->store, SAVE_MS)) {
    LOG(LOG_ERROR, "store", "not everything that was submitted has been stored");
  }
  log_flush(LINES_MS);
  _exit(EXIT_STALLED);
}

static void on_overdue(void *arg) {
  struct server *s = arg;
  char place[PLACE_MAX] = "";
  end_soon();
  for (size_t i = 0; i < s->started && !*place; i++) {
    (void)place_of_thread(s->tids[i], place);
  }
  LOG(LOG_ERROR, "server", "the stop has taken longer than SHUTDOWN_TIMEOUT: the process ends",
      LSTR("script", *place ? place : "(none)"));
  log_flush(LINES_MS);
  _exit(EXIT_STALLED);
}

static void on_not_loaded(void *arg) {
  struct site *site = arg;
  char text[512];
  end_soon();
  stall_loading_text(site->server->config, worker_tid(site->worker), text);
  log_flush(LINES_MS);
  fprintf(stderr, "chatbox: %s\n", text);
  _exit(EXIT_FAILURE);
}

/* ---- what is watched ---- */

int stall_open(struct server *s, char why[512]) {
  struct watchdog_options o = {.stall_ms = stall_ms(s->config), .stalled = on_stalled, .arg = s};
  s->watchdog = watchdog_new(&o);
  int code = s->watchdog ? watchdog_start(s->watchdog) : UV_ENOMEM;
  if (code) {
    snprintf(why, 512, "no thread for the watchdog: %s", err_text(code));
  }
  return code;
}

void stall_close(struct server *s) {
  watchdog_free(s->watchdog);
  s->watchdog = NULL;
}

void stall_loading(struct server *s, size_t i) {
  watchdog_deadline(s->watchdog, stall_loading_ms(s->config), on_not_loaded, &s->sites[i]);
}

void stall_running(struct server *s) {
  watchdog_deadline(s->watchdog, 0, NULL, NULL);
  for (size_t i = 0; i < s->started; i++) {
    s->tids[i] = worker_tid(s->sites[i].worker);
    watchdog_add(s->watchdog, worker_mailbox(s->sites[i].worker));
  }
  watchdog_add(s->watchdog, s->home); /* the main thread: signals, orders, the stop itself would hang with it */
}

void stall_stopping(struct server *s) {
  watchdog_deadline(s->watchdog, duration(s->config, SETTING_SHUTDOWN_TIMEOUT), on_overdue, s);
}

void stall_ending(struct server *s) {
  if (s->watchdog && s->phase == STOP_NOT) { /* the start has failed */
    watchdog_deadline(s->watchdog, 0, NULL, NULL);
  }
  if (s->watchdog) {
    watchdog_release(s->watchdog);
  }
}
