/* In: finished lines, from any thread. Out: the same bytes on standard error, in order. Why: see log_writer.h.
 *
 *   DIRECT --start--> FLOWING --the ring is full--> DROPPING
 *     |                  ^  \                          |
 *     |                  |   stop                 all is written: a note says how many lines were lost
 *   (fork)               |     v                       |
 *                        |   ENDED: written or dropped |
 *                        +-----------------------------+
 */
#include "log_writer.h"

#include "journal.h"
#include "lock.h"
#include "metrics.h"
#include "thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define POLL_MS 50 /* how soon a writer that waits for its reader sees that it is to give up */

enum mode { DIRECT, RUNNING, ENDED };

static struct {
  atomic_int mode;
  atomic_bool give_up; /* the writer must not wait for its reader any longer */
  atomic_bool dying;   /* a signal handler writes the rest */
  struct lock lock;    /* guards the rest, but for note and thread */
  pthread_cond_t ready, written;
  char *ring;
  size_t room, first, used;
  uint64_t put, done; /* bytes since the start, for flush */
  uint64_t dropped;   /* since the last note; not 0: DROPPING */
  bool closing, over;
  size_t (*note)(char line[LOG_RECORD_MAX], uint64_t dropped);
  pthread_t thread;
  int journal; /* a socket; -1: standard error takes lines. Written before there is another thread */
} w = {.journal = -1};

/* ---- writing ---- */

/* Waits at most POLL_MS, or not at all. */
static bool writable(int timeout_ms) {
  struct pollfd p = {.fd = w.journal >= 0 ? w.journal : STDERR_FILENO, .events = POLLOUT};
  return poll(&p, 1, timeout_ms) > 0;
}

/* The journal is gone: its message, which is the first field of a record, is what standard error gets. */
static void message_write(const char *record, size_t len) {
  const char *text = memchr(record, '=', len), *end = memchr(record, '\n', len);
  if (text && end && text < end) {
    (void)!write(STDERR_FILENO, text + 1, (size_t)(end - text));
  }
}

/* One line, some lines, or one record. Negative: try again when writable() says so. Any failure but that: the bytes are
 * as good as written, for there is nobody to tell. */
static ssize_t emit(const char *bytes, size_t len) {
  if (w.journal >= 0) {
    int code = journal_send(w.journal, bytes, len);
    if (code == UV_EAGAIN)
      return -1;
    if (code)
      message_write(bytes, len);
    return (ssize_t)len;
  }
  ssize_t n = write(STDERR_FILENO, bytes, len);
  return n >= 0 ? n : errno == EINTR || errno == EAGAIN ? -1 : (ssize_t)len;
}

/* A pipe that is writable takes PIPE_BUF bytes without waiting. */
static void write_patiently(const char *bytes, size_t len) {
  while (len > 0) {
    bool give_up = atomic_load(&w.give_up);
    if (!writable(give_up ? 0 : POLL_MS)) {
      if (give_up)
        return;
      continue;
    }
    ssize_t n = emit(bytes, len);
    if (n > 0) {
      bytes += n;
      len -= (size_t)n;
    }
  }
}

/* Waits at most wait_ms for a reader who does not read; -1: as long as it takes. */
static void write_waiting(const char *bytes, size_t len, int wait_ms) {
  while (emit(bytes, len) < 0 && (errno == EINTR || writable(wait_ms))) {
  }
}

/* ---- the ring; the lock is held ---- */

static void ring_put(const char *bytes, size_t len) {
  size_t at = (w.first + w.used) % w.room, upper = w.room - at < len ? w.room - at : len;
  memcpy(w.ring + at, bytes, upper);
  memcpy(w.ring, bytes + upper, len - upper);
  w.used += len;
}

/* The bytes of the first record, which ends in an empty line. */
static size_t record_length(const char *bytes, size_t len) {
  const char *end = memmem(bytes, len, "\n\n", 2);
  return end ? (size_t)(end + 2 - bytes) : 0;
}

/* One record; or as many whole lines as fit, but no more than a pipe takes at once. Their bytes. */
static size_t ring_take(char out[LOG_RECORD_MAX]) {
  size_t most = w.journal >= 0 ? LOG_RECORD_MAX : LOG_LINE_MAX;
  size_t len = w.used < most ? w.used : most;
  size_t upper = w.room - w.first < len ? w.room - w.first : len;
  memcpy(out, w.ring + w.first, upper);
  memcpy(out + upper, w.ring, len - upper);
  if (w.journal >= 0)
    len = record_length(out, len);
  while (len > 0 && out[len - 1] != '\n')
    len--;
  w.first = (w.first + len) % w.room;
  w.used -= len;
  return len;
}

/* ---- the thread ---- */

/* What is to be written next; 0: it is closing and all is written. */
static size_t take_or_wait(char out[LOG_RECORD_MAX], uint64_t *dropped) {
  *dropped = 0;
  lock_acquire(&w.lock);
  while (w.used == 0 && w.dropped == 0 && !w.closing)
    pthread_cond_wait(&w.ready, &w.lock.mutex);
  while (atomic_load(&w.dying))
    pause();
  size_t len = ring_take(out);
  if (len == 0) {
    *dropped = w.dropped;
    w.dropped = 0;
  }
  lock_release(&w.lock);
  return len;
}

static void *writer_run(void *arg) {
  (void)arg;
  char bytes[LOG_RECORD_MAX];
  uint64_t dropped;
  for (size_t len; (len = take_or_wait(bytes, &dropped)) > 0 || dropped > 0;) {
    if (len > 0)
      write_patiently(bytes, len);
    else
      write_patiently(bytes, w.note(bytes, dropped));
    lock_acquire(&w.lock);
    w.done += len;
    pthread_cond_broadcast(&w.written);
    lock_release(&w.lock);
  }
  lock_acquire(&w.lock);
  w.over = true;
  pthread_cond_broadcast(&w.written);
  lock_release(&w.lock);
  return NULL;
}

/* ---- the end of the process ---- */

/* A dying thread may hold the lock, so none is taken: a line that is being put may come out broken, the others whole.
 */
static void on_fatal(int signum) {
  if (atomic_load(&w.mode) == RUNNING && w.used <= w.room) {
    static char bytes[LOG_RECORD_MAX]; /* the stack may be what has failed */
    atomic_store(&w.dying, true);
    for (size_t len; (len = ring_take(bytes)) > 0 && writable(POLL_MS);)
      write_waiting(bytes, len, POLL_MS);
  }
  raise(signum); /* SA_RESETHAND: now it ends the program */
}

static void catch_fatal(void) {
  const int signums[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  for (size_t i = 0; i < sizeof signums / sizeof *signums; i++) {
    struct sigaction now, ours = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND};
    if (sigaction(signums[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
      sigaction(signums[i], &ours, NULL);
  }
}

/* A child has no writer thread, and its copy of the lock may be held by a thread it does not have. */
static void in_child(void) {
  atomic_store(&w.mode, DIRECT);
}

/* ---- life ---- */

static void monotonic(pthread_cond_t *c) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(c, &attr);
  pthread_condattr_destroy(&attr);
}

int log_writer_start(size_t room, size_t (*note)(char line[LOG_RECORD_MAX], uint64_t dropped)) {
  static bool once;
  if (!once) {
    once = true;
    lock_init(&w.lock);
    monotonic(&w.ready);
    monotonic(&w.written);
    pthread_atfork(NULL, NULL, in_child);
  }
  w.ring = malloc(room);
  if (!w.ring)
    return UV_ENOMEM;
  w.room = room;
  w.first = w.used = 0;
  w.put = w.done = w.dropped = 0;
  w.closing = w.over = false;
  w.note = note;
  atomic_store(&w.give_up, false);
  int code = thread_start(&w.thread, writer_run, NULL);
  if (code) {
    free(w.ring);
    return code;
  }
  atomic_store(&w.mode, RUNNING);
  catch_fatal();
  return 0;
}

void log_writer_journal(int journal) {
  w.journal = journal;
}

void log_writer_put(const char *line, size_t len) {
  int mode = atomic_load(&w.mode);
  if (mode != RUNNING) {
    if (mode == DIRECT || writable(0))
      write_waiting(line, len, mode == DIRECT ? -1 : 0);
    return;
  }
  lock_acquire(&w.lock);
  bool fits = w.dropped == 0 && w.used + len <= w.room;
  if (fits) {
    ring_put(line, len);
    w.put += len;
  } else {
    w.dropped++;
  }
  pthread_cond_signal(&w.ready);
  lock_release(&w.lock);
  if (!fits)
    metrics_add(METRIC_LOG_DROPPED, 1);
}

static void deadline_in(uint64_t ms, struct timespec *t) {
  clock_gettime(CLOCK_MONOTONIC, t);
  t->tv_sec += (time_t)(ms / 1000);
  t->tv_nsec += (long)(ms % 1000) * 1000000;
  if (t->tv_nsec >= 1000000000) {
    t->tv_sec++;
    t->tv_nsec -= 1000000000;
  }
}

bool log_writer_flush(uint64_t timeout_ms) {
  if (atomic_load(&w.mode) != RUNNING)
    return true;
  struct timespec until;
  deadline_in(timeout_ms, &until);
  lock_acquire(&w.lock);
  uint64_t wanted = w.put;
  int late = 0;
  while (w.done < wanted && !late)
    late = pthread_cond_timedwait(&w.written, &w.lock.mutex, &until);
  bool all = w.done >= wanted;
  lock_release(&w.lock);
  return all;
}

static bool wait_for_end(uint64_t timeout_ms) {
  struct timespec until;
  deadline_in(timeout_ms, &until);
  lock_acquire(&w.lock);
  int late = 0;
  while (!w.over && !late)
    late = pthread_cond_timedwait(&w.written, &w.lock.mutex, &until);
  bool over = w.over;
  lock_release(&w.lock);
  return over;
}

void log_writer_stop(uint64_t timeout_ms) {
  if (atomic_load(&w.mode) != RUNNING)
    return;
  lock_acquire(&w.lock);
  w.closing = true;
  pthread_cond_signal(&w.ready);
  lock_release(&w.lock);
  bool over = wait_for_end(timeout_ms);
  atomic_store(&w.give_up, true);
  over = over || wait_for_end(10 * POLL_MS);
  atomic_store(&w.mode, ENDED);
  if (over) {
    pthread_join(w.thread, NULL);
    free(w.ring);
    w.ring = NULL;
    w.room = w.used = 0;
  } else {
    pthread_detach(w.thread); /* it sits in a write nobody can end; the process is about to */
  }
}
