/* In: events, friendly and hostile. Out: the promise that each becomes exactly one line that says only what was meant.
 * Why: logs are read by people, shippers and alarms; who can forge a line can hide in it. */
#include "log.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20, THREADS = 4, LINES = 200 };

static FILE *captured;
static int terminal;
static char text[ROOM];

/* Standard error goes into a file while a test runs. */
static int capture(void **state) {
  (void)state;
  log_setup(LOG_INFO, false);
  captured = tmpfile();
  terminal = dup(STDERR_FILENO);
  return captured == NULL || terminal < 0 || dup2(fileno(captured), STDERR_FILENO) < 0;
}

static int release(void **state) {
  (void)state;
  dup2(terminal, STDERR_FILENO);
  close(terminal);
  return fclose(captured);
}

static const char *output(void) {
  ssize_t len = pread(fileno(captured), text, ROOM - 1, 0);
  assert_true(len >= 0);
  text[len] = 0;
  return text;
}

/* The line without its time. */
static const char *written(void) {
  const char *line = output();
  assert_memory_equal(line, "time=", 5);
  return strchr(line, ' ') + 1;
}

static json_t *written_json(void) {
  json_t *object = json_loads(output(), JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(object);
  return object;
}

static const char *json_text(json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static void an_event_is_one_line_of_key_and_value(void **state) {
  (void)state;
  LOG(LOG_INFO, "net", "listening on a port", LSTR("address", "127.0.0.1"), LINT("port", 8080), LINT("delta", -5));
  assert_string_equal(written(),
                      "level=info component=net msg=\"listening on a port\" address=127.0.0.1 port=8080 delta=-5\n");
}

static void an_event_needs_no_fields(void **state) {
  (void)state;
  LOG(LOG_ERROR, "main", "done");
  assert_string_equal(written(), "level=error component=main msg=\"done\"\n");
}

static void json_has_the_same_keys(void **state) {
  (void)state;
  log_setup(LOG_INFO, true);
  LOG(LOG_WARN, "net", "slow", LSTR("user_id", "ann"), LINT("bytes", INT64_MIN));
  json_t *line = written_json();
  assert_string_equal(json_text(line, "level"), "warn");
  assert_string_equal(json_text(line, "component"), "net");
  assert_string_equal(json_text(line, "msg"), "slow");
  assert_string_equal(json_text(line, "user_id"), "ann");
  assert_true(json_integer_value(json_object_get(line, "bytes")) == INT64_MIN);
  assert_non_null(json_text(line, "time"));
  assert_int_equal(json_object_size(line), 6);
  json_decref(line);
}

static void the_time_is_now_in_utc_with_milliseconds(void **state) {
  (void)state;
  struct timespec before, after;
  clock_gettime(CLOCK_REALTIME, &before);
  LOG(LOG_INFO, "main", "now");
  clock_gettime(CLOCK_REALTIME, &after);
  struct tm utc = {0};
  int ms = 0, used = 0;
  assert_int_equal(sscanf(output(), "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
                          &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &ms, &used),
                   7);
  assert_int_equal(used, strlen("time=2000-01-01T00:00:00.000Z "));
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  int64_t at = (int64_t)timegm(&utc) * 1000 + ms;
  assert_true(at >= (int64_t)before.tv_sec * 1000 + before.tv_nsec / 1000000);
  assert_true(at <= (int64_t)after.tv_sec * 1000 + after.tv_nsec / 1000000);
}

static void what_is_below_the_level_is_not_written(void **state) {
  (void)state;
  log_setup(LOG_WARN, false);
  LOG(LOG_INFO, "main", "quiet");
  assert_string_equal(output(), "");
  assert_false(log_enabled(LOG_INFO));
  assert_true(log_enabled(LOG_WARN));
  LOG(LOG_WARN, "main", "loud");
  assert_string_equal(written(), "level=warn component=main msg=\"loud\"\n");
}

static void levels_are_known_by_name(void **state) {
  (void)state;
  enum log_level level = LOG_DEBUG;
  assert_int_equal(log_level_parse("error", &level), 0);
  assert_int_equal(level, LOG_ERROR);
  assert_int_equal(log_level_parse("debug", &level), 0);
  assert_int_equal(level, LOG_DEBUG);
  assert_int_equal(log_level_parse("loud", &level), E_INVALID);
  assert_int_equal(log_level_parse("", &level), E_INVALID);
}

static void a_value_is_quoted_where_it_has_to_be(void **state) {
  (void)state;
  LOG(LOG_INFO, "c", "m", LSTR("a", "two words"), LSTR("b", ""), LSTR("c", "x=y"), LSTR("d", "\"\\"),
      LSTR("e", "\xc3\xa4"));
  assert_string_equal(written(), "level=info component=c msg=\"m\" a=\"two words\" b=\"\" c=\"x=y\" d=\"\\\"\\\\\" "
                                 "e=\xc3\xa4\n");
}

static void a_value_cannot_end_its_line_or_drive_a_terminal(void **state) {
  (void)state;
  LOG(LOG_INFO, "c", "a\nb", LSTR("k", "\r\n\ttime=x \x1b[31m \x7f \xc2\x9b \xe2\x80\xa8 \xe2\x80\xa9"));
  assert_string_equal(written(), "level=info component=c msg=\"a\\nb\" "
                                 "k=\"\\r\\n\\ttime=x \\u001b[31m \\u007f \\u009b \\u2028 \\u2029\"\n");
}

static void invalid_utf8_is_escaped(void **state) {
  (void)state;
  LOG(LOG_INFO, "c", "m", LSTR("k", "a\xff\xed\xa0\x80z\xc3"));
  assert_string_equal(written(), "level=info component=c msg=\"m\" k=\"a\\xff\\xed\\xa0\\x80z\\xc3\"\n");
}

static void a_key_cannot_forge_a_field(void **state) {
  (void)state;
  LOG(LOG_INFO, "c", "m", LSTR("a b=\"c\"\n", "v"));
  assert_string_equal(written(), "level=info component=c msg=\"m\" a_b__c__=v\n");
}

static void json_survives_every_byte(void **state) {
  (void)state;
  log_setup(LOG_INFO, true);
  char all[256];
  for (int i = 0; i < 255; i++)
    all[i] = (char)(i + 1);
  all[255] = 0;
  LOG(LOG_INFO, "c", all, LSTR("k", all), LSTR("q\"\\\n", "v"));
  const char *end = strchr(output(), '\n');
  assert_string_equal(end, "\n");
  json_t *line = written_json();
  assert_memory_equal(json_text(line, "k"), all, 127); /* every ASCII character came back as it was */
  assert_string_equal(json_text(line, "q\"\\\n"), "v");
  json_decref(line);
}

static void a_long_line_is_cut_and_says_so(void **state) {
  (void)state;
  static char longer[10000];
  memset(longer, 'x', sizeof longer - 1);
  LOG(LOG_INFO, "c", "m", LSTR("k", longer), LSTR("after", "lost"));
  const char *line = output();
  assert_in_range(strlen(line), 4000, 4096);
  assert_string_equal(line + strlen(line) - 17, "x truncated=true\n");
  assert_null(strstr(line, "after"));
}

/* At every length around the cut: inside an escape, a character, a key, a quote. */
static void json_is_valid_wherever_it_is_cut(void **state) {
  (void)state;
  static char longer[4200];
  log_setup(LOG_INFO, true);
  int cut = 0;
  for (size_t len = 3880; len < 4030; len++) {
    memset(longer, 'x', len);
    memcpy(longer + len, "\"\n\xe2\x82\xac\xff", 7);
    assert_int_equal(ftruncate(fileno(captured), 0), 0);
    assert_int_equal(lseek(fileno(captured), 0, SEEK_SET), 0);
    LOG(LOG_INFO, "c", "m", LSTR("k", longer), LINT("number", 12345), LSTR("text", "\"quoted\""));
    assert_in_range(strlen(output()), 1, 4096);
    json_t *line = written_json();
    bool marked = json_is_true(json_object_get(line, "truncated"));
    assert_int_equal(marked,
                     json_object_get(line, "text") == NULL || strcmp(json_text(line, "text"), "\"quoted\"") != 0);
    cut += marked;
    json_decref(line);
  }
  assert_in_range(cut, 10, 140); /* some were cut and some were not */
}

static void a_closed_standard_error_does_no_harm(void **state) {
  (void)state;
  close(STDERR_FILENO);
  LOG(LOG_INFO, "c", "nobody hears this");
  assert_int_equal(dup2(fileno(captured), STDERR_FILENO), STDERR_FILENO);
  assert_string_equal(output(), "");
}

static void *write_lines(void *arg) {
  for (int i = 0; i < LINES; i++)
    LOG(LOG_INFO, "c", "m", LINT("thread", (intptr_t)arg), LINT("line", i));
  return NULL;
}

static void lines_of_many_threads_do_not_mix(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  for (intptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_lines, (void *)i), 0);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  int next[THREADS] = {0}, count = 0;
  output();
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), count++) {
    int thread = -1, number = -1, used = 0;
    sscanf(strchr(line, ' '), " level=info component=c msg=\"m\" thread=%d line=%d%n", &thread, &number, &used);
    assert_int_equal(strchr(line, ' ')[used], 0);
    assert_in_range(thread, 0, THREADS - 1);
    assert_int_equal(number, next[thread]++);
  }
  assert_int_equal(count, THREADS * LINES);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, capture, release)
  const struct CMUnitTest tests[] = {
    TEST(an_event_is_one_line_of_key_and_value),
    TEST(an_event_needs_no_fields),
    TEST(json_has_the_same_keys),
    TEST(the_time_is_now_in_utc_with_milliseconds),
    TEST(what_is_below_the_level_is_not_written),
    TEST(levels_are_known_by_name),
    TEST(a_value_is_quoted_where_it_has_to_be),
    TEST(a_value_cannot_end_its_line_or_drive_a_terminal),
    TEST(invalid_utf8_is_escaped),
    TEST(a_key_cannot_forge_a_field),
    TEST(json_survives_every_byte),
    TEST(a_long_line_is_cut_and_says_so),
    TEST(json_is_valid_wherever_it_is_cut),
    TEST(a_closed_standard_error_does_no_harm),
    TEST(lines_of_many_threads_do_not_mix),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
