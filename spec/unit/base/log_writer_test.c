/* In: lines, and readers of standard error that read, do not read, or are gone. Out: the promise that whoever logs
 * never waits, that what was lost is said, and that the last lines of a process come out. Why: a log shipper that hangs
 * must not stop a chat. The pipe is the test's own: who does not read it is known. */
#include "log_writer.h"

#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 64 << 10, PATIENCE_MS = 60000 };

static int terminal, reader;
static char text[8 << 20];

/* Standard error is a pipe while a test runs. */
static int open_pipe(void **state) {
  (void)state;
  int ends[2];
  if (pipe(ends) || (terminal = dup(STDERR_FILENO)) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
    return -1;
  close(ends[1]);
  reader = ends[0];
  return 0;
}

static int close_pipe(void **state) {
  (void)state;
  dup2(terminal, STDERR_FILENO);
  close(terminal);
  return reader >= 0 ? close(reader) : 0;
}

static size_t note(char line[LOG_LINE_MAX], uint64_t dropped) {
  return (size_t)snprintf(line, LOG_LINE_MAX, "dropped %d\n", (int)dropped);
}

static void put(int i) {
  char line[256];
  int len = snprintf(line, sizeof line, "line %d %0200d\n", i, 0);
  log_writer_put(line, (size_t)len);
}

/* Reads until `end` has been seen. */
static const char *read_until(const char *end) {
  size_t len = 0;
  text[0] = 0;
  while (strstr(text, end) == NULL) {
    ssize_t n = read(reader, text + len, sizeof text - 1 - len);
    assert_true(n > 0);
    len += (size_t)n;
    text[len] = 0;
  }
  return text;
}

/* Lines from..: numbered without a gap; how far they go. *rest: behind them. */
static int count_lines(const char *lines, int from, const char **rest) {
  int number, used = 0;
  while (sscanf(lines, "line %d %*d%n", &number, &used) == 1 && number == from) {
    lines += used + 1;
    from++;
  }
  *rest = lines;
  return from;
}

static void lines_arrive_whole_and_in_order(void **state) {
  (void)state;
  assert_int_equal(log_writer_start(ROOM, note), 0);
  for (int i = 0; i < 100; i++)
    put(i);
  log_writer_put("end\n", 4);
  const char *rest;
  assert_int_equal(count_lines(read_until("end\n"), 0, &rest), 100);
  assert_string_equal(rest, "end\n");
  assert_true(log_writer_flush(PATIENCE_MS));
  log_writer_stop(PATIENCE_MS);
}

static void a_reader_that_does_not_read_stops_nobody_and_hears_how_much_it_missed(void **state) {
  (void)state;
  enum { LINES = 5000 }; /* 1 MB into a ring of 64 KiB and a pipe of as much */
  int64_t before = metrics_value(METRIC_LOG_DROPPED);
  assert_int_equal(log_writer_start(ROOM, note), 0);
  for (int i = 0; i < LINES; i++)
    put(i);
  int dropped = (int)(metrics_value(METRIC_LOG_DROPPED) - before), told = 0, used = 0;
  assert_in_range(dropped, LINES / 2, LINES - ROOM / 256);
  const char *rest, *all = read_until("dropped");
  read(reader, text + strlen(text), 0);
  assert_int_equal(count_lines(all, 0, &rest), LINES - dropped); /* the first ones: none is lost in between */
  assert_int_equal(sscanf(rest, "dropped %d%n", &told, &used), 1);
  assert_int_equal(told, dropped);
  put(LINES);
  log_writer_put("end\n", 4);
  assert_int_equal(count_lines(read_until("end\n"), LINES, &rest), LINES + 1);
  log_writer_stop(PATIENCE_MS);
}

static void a_reader_that_does_not_read_holds_no_stop_up(void **state) {
  (void)state;
  assert_int_equal(log_writer_start(1 << 20, note), 0);
  for (int i = 0; i < 5000; i++)
    put(i);
  assert_false(log_writer_flush(1));
  log_writer_stop(1);
  put(0); /* and whoever speaks after it neither waits */
}

static void a_stop_writes_what_is_left(void **state) {
  (void)state;
  assert_int_equal(log_writer_start(ROOM, note), 0);
  for (int i = 0; i < 50; i++)
    put(i);
  log_writer_stop(PATIENCE_MS);
  put(50);
  log_writer_put("end\n", 4);
  const char *rest;
  assert_int_equal(count_lines(read_until("end\n"), 0, &rest), 51);
}

static void a_reader_that_is_gone_does_no_harm(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  close(reader);
  reader = -1;
  assert_int_equal(log_writer_start(ROOM, note), 0);
  for (int i = 0; i < 1000; i++)
    put(i);
  log_writer_stop(PATIENCE_MS);
}

/* A child fills the ring faster than a file is written, and ends. */
static void end_of_a_child(void (*end)(void)) {
  enum { LINES = 4000 };
  FILE *file = tmpfile();
  assert_non_null(file);
  pid_t child = fork();
  if (child == 0) {
    dup2(fileno(file), STDERR_FILENO);
    if (log_writer_start(1 << 20, note))
      _exit(1);
    for (int i = 0; i < LINES; i++)
      put(i);
    end();
    _exit(2);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  ssize_t len = pread(fileno(file), text, sizeof text - 1, 0);
  assert_true(len > 0);
  text[len] = 0;
  int seen = 0;
  for (const char *line = text; (line = strstr(line, "line ")); line++)
    seen++;
  assert_int_equal(seen, LINES);
  fclose(file);
}

static void the_last_lines_of_a_process_that_aborts_come_out(void **state) {
  (void)state;
  end_of_a_child(abort);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pipe, close_pipe)
  const struct CMUnitTest tests[] = {
    TEST(lines_arrive_whole_and_in_order),
    TEST(a_reader_that_does_not_read_stops_nobody_and_hears_how_much_it_missed),
    TEST(a_reader_that_does_not_read_holds_no_stop_up),
    TEST(a_stop_writes_what_is_left),
    TEST(a_reader_that_is_gone_does_no_harm),
    TEST(the_last_lines_of_a_process_that_aborts_come_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
