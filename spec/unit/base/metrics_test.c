/* In: counts, durations, labels. Out: the promise of one valid Prometheus document with the names of the contract.
 * Why: dashboards and the autoscaler read these names; one malformed line makes a scraper drop the whole page. */
#include "metrics.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Metrics live as long as the process; each test uses names of its own, or compares with what was before. */

static char *page;

static const char *render(void) {
  size_t len = 0;
  free(page);
  page = metrics_render(&len);
  assert_non_null(page);
  assert_int_equal(strlen(page), len);
  return page;
}

static int page_free(void **state) {
  (void)state;
  free(page);
  page = NULL;
  return 0;
}

/* How often the page has exactly this line. */
static int count_lines(const char *line) {
  int count = 0;
  size_t len = strlen(line);
  for (const char *p = page; p != NULL && *p != 0; p = strchr(p, '\n') + 1)
    count += strncmp(p, line, len) == 0 && p[len] == '\n';
  return count;
}

static int count_of(const char *part) {
  int count = 0;
  for (const char *p = page; (p = strstr(p, part)) != NULL; p++)
    count++;
  return count;
}

#define assert_line(line) assert_int_equal(count_lines(line), 1)

static void what_nobody_touched_is_zero(void **state) {
  (void)state;
  render();
  assert_line("# HELP chatbox_outbox_overflows_total Slow readers closed");
  assert_line("# TYPE chatbox_outbox_overflows_total counter");
  assert_line("chatbox_outbox_overflows_total 0");
  assert_line("chatbox_websocket_connections_total 0");
  assert_line("chatbox_websocket_connection_duration_seconds_count 0");
  assert_line("chatbox_websocket_connection_duration_seconds_sum 0");
}

static void every_metric_has_its_head_once(void **state) {
  (void)state;
  render();
#define HEAD(id, name, kind, help) assert_line("# HELP " name " " help);
  METRICS(HEAD)
#undef HEAD
  assert_int_equal(count_of("# TYPE chatbox_"), METRIC_COUNT);
}

static void kept_gauges_may_end_in_total(void **state) {
  (void)state;
  render();
  assert_line("# TYPE chatbox_websocket_connections_total gauge");
  assert_line("# TYPE chatbox_active_sessions_total gauge");
}

static void counters_count_and_gauges_go_down_too(void **state) {
  (void)state;
  metrics_add(METRIC_MESSAGES_RECEIVED, 2);
  metrics_add(METRIC_MESSAGES_RECEIVED, 1);
  metrics_add(METRIC_CONNECTIONS, 5);
  metrics_add(METRIC_CONNECTIONS, -7);
  assert_int_equal(metrics_value(METRIC_MESSAGES_RECEIVED), 3);
  assert_int_equal(metrics_value(METRIC_CONNECTIONS), -2);
  render();
  assert_line("chatbox_messages_received_total 3");
  assert_line("chatbox_websocket_connections_total -2");
}

static void a_gauge_that_is_set_says_the_last_value(void **state) {
  (void)state;
  metrics_set(METRIC_STORE_READY, 1);
  metrics_set(METRIC_STORE_READY, 1);
  render();
  assert_line("chatbox_store_ready 1");
  metrics_set(METRIC_STORE_READY, 0);
  render();
  assert_line("chatbox_store_ready 0");
}

static void the_page_of_the_manual_has_a_row_for_each(void **state) {
  (void)state;
  size_t len;
  free(page);
  FILE *out = open_memstream(&page, &len);
  assert_non_null(out);
  metrics_print(out);
  assert_int_equal(fclose(out), 0);
#define ROW(id, name, kind, help) assert_int_equal(count_of("\n| `" name "` | "), 1);
  METRICS(ROW)
#undef ROW
  assert_int_equal(count_of("\n| `"), METRIC_COUNT);
  assert_line("| `chatbox_store_ready` | gauge | 1 while the store takes messages; looked at every 5 s |");
  assert_line("| `chatbox_websocket_connection_duration_seconds` | histogram | Life of a connection |");
}

static void a_histogram_is_cumulative(void **state) {
  (void)state;
  metrics_observe(METRIC_CONNECTION_SECONDS, 1); /* a bound belongs to its bucket */
  metrics_observe(METRIC_CONNECTION_SECONDS, 1.5);
  metrics_observe(METRIC_CONNECTION_SECONDS, 90);
  metrics_observe(METRIC_CONNECTION_SECONDS, 4000);
  render();
#define NAME "chatbox_websocket_connection_duration_seconds"
  assert_line("# TYPE " NAME " histogram");
  assert_line(NAME "_bucket{le=\"1\"} 1");
  assert_line(NAME "_bucket{le=\"5\"} 2");
  assert_line(NAME "_bucket{le=\"60\"} 2");
  assert_line(NAME "_bucket{le=\"120\"} 3");
  assert_line(NAME "_bucket{le=\"3600\"} 3");
  assert_line(NAME "_bucket{le=\"+Inf\"} 4");
  assert_line(NAME "_sum 4092.5");
  assert_line(NAME "_count 4");
#undef NAME
  assert_int_equal(metrics_value(METRIC_CONNECTION_SECONDS), 4);
}

static void labels_make_series_of_their_own(void **state) {
  (void)state;
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"message\"", 2);
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"connection\"", 1);
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"message\"", 1);
  metrics_observe_labelled(METRIC_HTTP_SECONDS, "endpoint=\"/a\",method=\"GET\"", 0.02);
  render();
  assert_line("chatbox_ratelimit_blocked_total{limiter=\"message\"} 3");
  assert_line("chatbox_ratelimit_blocked_total{limiter=\"connection\"} 1");
  assert_int_equal(count_lines("chatbox_ratelimit_blocked_total 0"), 0);
  assert_int_equal(metrics_value(METRIC_RATELIMIT_BLOCKED), 4);
#define NAME "chatbox_http_request_duration_seconds"
  assert_line(NAME "_bucket{endpoint=\"/a\",method=\"GET\",le=\"0.01\"} 0");
  assert_line(NAME "_bucket{endpoint=\"/a\",method=\"GET\",le=\"0.025\"} 1");
  assert_line(NAME "_bucket{endpoint=\"/a\",method=\"GET\",le=\"+Inf\"} 1");
  assert_line(NAME "_sum{endpoint=\"/a\",method=\"GET\"} 0.02");
  assert_line(NAME "_count{endpoint=\"/a\",method=\"GET\"} 1");
#undef NAME
}

static void labels_that_would_break_the_page_are_not_counted(void **state) {
  (void)state;
  metrics_add_labelled(METRIC_STORE_ERRORS, "operation=\"a\"b\"", 1);
  metrics_observe_labelled(METRIC_HTTP_SECONDS, "endpoint=\"\n\"", 1);
  render();
  assert_line("chatbox_store_errors_total 0");
  assert_int_equal(count_of("chatbox_store_errors_total{"), 0);
  assert_null(strstr(page, "endpoint=\"\n"));
}

static void beyond_the_bound_series_count_as_other(void **state) {
  (void)state;
  for (int i = 0; i < METRIC_SERIES_MAX + 50; i++) {
    char labels[64];
    snprintf(labels, sizeof labels, "script=\"v%d\",why=\"a\\\"b\"", i);
    metrics_add_labelled(METRIC_SCRIPT_ERRORS, labels, 1);
  }
  render();
  assert_line("chatbox_script_errors_total{script=\"v0\",why=\"a\\\"b\"} 1");
  assert_line("chatbox_script_errors_total{script=\"v199\",why=\"a\\\"b\"} 1");
  assert_line("chatbox_script_errors_total{script=\"other\",why=\"other\"} 50");
  assert_int_equal(count_of("chatbox_script_errors_total{"), METRIC_SERIES_MAX + 1);
  metrics_add_labelled(METRIC_SCRIPT_ERRORS, "script=\"v7\",why=\"a\\\"b\"", 1); /* known ones go on */
  render();
  assert_line("chatbox_script_errors_total{script=\"v7\",why=\"a\\\"b\"} 2");
}

static void a_duration_that_makes_no_sense_counts_as_zero(void **state) {
  (void)state;
  metrics_observe(METRIC_STORE_SECONDS, -1);
  metrics_observe(METRIC_STORE_SECONDS, NAN);
  metrics_observe(METRIC_STORE_SECONDS, INFINITY);
  render();
  assert_line("chatbox_store_operation_seconds_bucket{le=\"0.005\"} 3");
  assert_line("chatbox_store_operation_seconds_sum 0");
  assert_line("chatbox_store_operation_seconds_count 3");
}

static void a_script_has_counters_of_its_own(void **state) {
  (void)state;
  assert_int_equal(metrics_script_add("orders_total", NULL, 1), 0);
  assert_int_equal(metrics_script_add("orders_total", NULL, 0.5), 0);
  assert_int_equal(metrics_script_add("orders_total", "shop=\"\xc3\xa4\\n\\\\\"", 4), 0);
  assert_int_equal(metrics_script_add("pizzas_total", NULL, 3), 0);
  render();
  assert_line("# TYPE chatbox_script_orders_total counter");
  assert_line("chatbox_script_orders_total 1.5");
  assert_line("chatbox_script_orders_total{shop=\"\xc3\xa4\\n\\\\\"} 4");
  assert_line("chatbox_script_pizzas_total 3");
}

static void a_script_cannot_break_the_page(void **state) {
  (void)state;
  static const char *const names[] = {"", "A", "9a", "a-b", "a b", "a\n", "\xc3\xa4"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_int_equal(metrics_script_add(names[i], NULL, 1), E_INVALID);
  static const char *const labels[] = {
    "",         "a",         "a=",     "a=b",      "a=\"b",      "a=\"b\"c", "a=\"b\",", "=\"b\"",   "1=\"b\"",
    "a=\"\n\"", "a=\"\\x\"", "a=\"\\", "a=\"b\"}", "a=\"\xff\"", "a=\"\"\"", "a=\"b\" ", "a =\"b\"", "__name__=\"b\"",
  };
  for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
    assert_int_equal(metrics_script_add("good", labels[i], 1), E_INVALID);
  static const double numbers[] = {-1, -0.001, NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    assert_int_equal(metrics_script_add("good", NULL, numbers[i]), E_INVALID);
  render();
  assert_null(strstr(page, "good"));
}

static void a_script_cannot_take_a_name_of_the_server(void **state) {
  (void)state;
  static const char *const names[] = {"errors_total", "reloads_total", "coroutines", "memory_bytes"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_int_equal(metrics_script_add(names[i], NULL, 1), E_INVALID);
}

static void names_and_labels_have_a_longest(void **state) {
  (void)state;
  char name[102], labels[METRIC_LABELS_MAX + 2];
  memset(name, 'n', sizeof name);
  name[101] = 0;
  assert_int_equal(metrics_script_add(name, NULL, 1), E_INVALID);
  name[100] = 0;
  assert_int_equal(metrics_script_add(name, NULL, 1), 0);
  memset(labels, 'v', sizeof labels);
  memcpy(labels, "a=\"", 3);
  memcpy(labels + METRIC_LABELS_MAX, "\"", 2);
  assert_int_equal(metrics_script_add("long", labels, 1), E_INVALID);
  memcpy(labels + METRIC_LABELS_MAX - 1, "\"", 2);
  assert_int_equal(metrics_script_add("long", labels, 1), 0);
}

static void *count_together(void *arg) {
  (void)arg;
  for (int i = 0; i < 2000; i++) {
    char labels[32];
    snprintf(labels, sizeof labels, "outcome=\"%d\"", i % 20);
    metrics_add(METRIC_SESSIONS_CREATED, 1);
    metrics_observe(METRIC_HTTP_SECONDS, 0.5);
    metrics_add_labelled(METRIC_SCRIPT_RELOADS, labels, 1);
    if (metrics_script_add("together", labels, 1) != 0)
      return (void *)1;
  }
  return NULL;
}

static void threads_count_together_while_the_page_is_read(void **state) {
  (void)state;
  pthread_t threads[4];
  int64_t before = metrics_value(METRIC_HTTP_SECONDS);
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, count_together, NULL), 0);
  for (int i = 0; i < 20; i++)
    render();
  for (int i = 0; i < 4; i++) {
    void *failed = threads;
    assert_int_equal(pthread_join(threads[i], &failed), 0);
    assert_null(failed);
  }
  render();
  assert_int_equal(metrics_value(METRIC_SESSIONS_CREATED), 8000);
  assert_int_equal(metrics_value(METRIC_HTTP_SECONDS) - before, 8000);
  assert_line("chatbox_http_request_duration_seconds_sum 4000");
  assert_line("chatbox_script_reloads_total{outcome=\"19\"} 400");
  assert_line("chatbox_script_together{outcome=\"19\"} 400");
}

/* Whether a line of the page is a metric of core's own table. */
static bool of_the_server(const char *line) {
  static const char *const names[] = {
#define NAME(id, name, kind, help) name,
    METRICS(NAME)
#undef NAME
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    size_t len = strlen(names[i]);
    if (strncmp(line, names[i], len) == 0 && strchr(" {_", line[len]))
      return true;
  }
  return false;
}

/* The last one: it uses up what there is. */
static void scripts_have_a_bounded_number_of_series(void **state) {
  (void)state;
  int made = 0, code = 0;
  for (; made <= METRIC_SCRIPT_MAX && code == 0; made += code == 0) {
    char name[32];
    snprintf(name, sizeof name, "many_%d", made);
    code = metrics_script_add(name, NULL, 1);
  }
  assert_int_equal(code, E_FULL);
  assert_int_equal(metrics_script_add("many_0", "a=\"b\"", 1), E_FULL);
  assert_int_equal(metrics_script_add("many_0", NULL, 1), 0); /* known ones go on */
  render();
  assert_line("chatbox_script_many_0 2");
  int series = 0;
  for (const char *p = page; (p = strstr(p, "\nchatbox_script_")) != NULL; p++)
    series += !of_the_server(p + 1);
  assert_int_equal(series, METRIC_SCRIPT_MAX);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, page_free)
  const struct CMUnitTest tests[] = {
    TEST(what_nobody_touched_is_zero),
    TEST(every_metric_has_its_head_once),
    TEST(kept_gauges_may_end_in_total),
    TEST(counters_count_and_gauges_go_down_too),
    TEST(a_gauge_that_is_set_says_the_last_value),
    TEST(the_page_of_the_manual_has_a_row_for_each),
    TEST(a_histogram_is_cumulative),
    TEST(labels_make_series_of_their_own),
    TEST(labels_that_would_break_the_page_are_not_counted),
    TEST(beyond_the_bound_series_count_as_other),
    TEST(a_duration_that_makes_no_sense_counts_as_zero),
    TEST(a_script_has_counters_of_its_own),
    TEST(a_script_cannot_break_the_page),
    TEST(a_script_cannot_take_a_name_of_the_server),
    TEST(names_and_labels_have_a_longest),
    TEST(threads_count_together_while_the_page_is_read),
    TEST(scripts_have_a_bounded_number_of_series),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
