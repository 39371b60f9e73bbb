/* What core/net/gate.c promises: every check of a handshake in the order of the reference (section 1.2), each refusal
 * to the letter, and a place that is given back whatever becomes of the upgrade. */
#include "err.h"
#include "gate.h"
#include "memory_log.h"
#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET "V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!"
#define NOW 1700000000
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

struct door {
  struct config *config;
  struct gate *gate;
  char bearer[1024], *token;
};

static struct door *door_new(const char *const *settings) {
  struct door *d = calloc(1, sizeof *d);
  char why[512] = "";
  d->config = config_new();
  for (; settings[0]; settings += 2)
    if (config_set(d->config, (enum setting)config_find(settings[0]), settings[1], why) != 0)
      fail_msg("%s", why);
  if (gate_new(d->config, &d->gate, why) != 0)
    fail_msg("%s", why);
  d->token = token_mint(SECRET, "ann", "Ann", NULL, 0, NOW, 60);
  snprintf(d->bearer, sizeof d->bearer, "Bearer %s", d->token);
  return d;
}

static void door_free(struct door *d) {
  gate_free(d->gate);
  config_free(d->config);
  free(d->token);
  free(d);
}

#define DOOR(...) door_new((const char *const[]){"JWT_SECRET", SECRET, "JWT_LEEWAY", "0s", ##__VA_ARGS__, NULL})

/* What an ordinary browser sends; a test changes one thing. */
static struct gate_request good(const struct door *d) {
  return (struct gate_request){.method = "GET",
                               .host = "chat.example",
                               .authorization = d->bearer,
                               .upgrade = "websocket",
                               .connection = "keep-alive, Upgrade",
                               .version = "13",
                               .key = KEY};
}

static void assert_refused(struct door *d, const struct gate_request *r, int status, const char *body, bool version) {
  struct identity *who = NULL;
  struct gate_refusal no = gate_admit(d->gate, r, NOW, &who);
  assert_int_equal(no.status, status);
  assert_string_equal(no.body, body);
  assert_int_equal(no.version_header, version);
  assert_false(no.user_limit);
  assert_null(who);
}

static struct identity *let_in(struct door *d, const struct gate_request *r) {
  struct identity *who = NULL;
  struct gate_refusal no = gate_admit(d->gate, r, NOW, &who);
  if (no.status != 0)
    fail_msg("%d %s", no.status, no.body);
  assert_non_null(who);
  return who;
}

static void leave(struct door *d, struct identity *who) {
  gate_leave(d->gate, who);
  identity_unref(who);
}

static void let_in_and_out(struct door *d, const struct gate_request *r) {
  leave(d, let_in(d, r));
}

/* ---- rows 1 and 2: the token ---- */

static void without_a_token_it_is_missing(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct gate_request r = good(d);
  const char *const none[] = {NULL, "", "Bearer ", "Bearer", "Bearerabc", "Basic abc", " Bearer abc"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    r.authorization = none[i];
    assert_refused(d, &r, 401, "Missing authentication token\n", false);
  }
  r = (struct gate_request){.method = "GET"}; /* a plain GET /ws */
  assert_refused(d, &r, 401, "Missing authentication token\n", false);
  r.token = ""; /* ?token= */
  assert_refused(d, &r, 401, "Missing authentication token\n", false);
  door_free(d);
}

static void a_token_that_is_no_good_is_refused(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct gate_request r = good(d);
  char bad[1100];
  snprintf(bad, sizeof bad, "%sx", d->bearer);
  r.authorization = bad;
  assert_refused(d, &r, 401, "Authentication failed\n", false);
  r.authorization = "Bearer  two blanks";
  assert_refused(d, &r, 401, "Authentication failed\n", false);
  r = good(d);
  struct identity *who = NULL;
  struct gate_refusal no = gate_admit(d->gate, &r, NOW + 60, &who); /* expired */
  assert_int_equal(no.status, 401);
  assert_string_equal(no.body, "Authentication failed\n");
  assert_null(who);
  door_free(d);
}

static void a_token_in_the_query_counts_when_there_is_no_header(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct gate_request r = good(d);
  r.authorization = NULL;
  r.token = d->token;
  struct identity *who = let_in(d, &r);
  assert_string_equal(who->user_id, "ann");
  leave(d, who);
  r.token = "nonsense";
  assert_refused(d, &r, 401, "Authentication failed\n", false);
  r.token = d->token;
  r.authorization = "Basic abc"; /* any header hides the query */
  assert_refused(d, &r, 401, "Missing authentication token\n", false);
  r.authorization = "Bearer nonsense";
  assert_refused(d, &r, 401, "Authentication failed\n", false);
  door_free(d);
}

/* ---- row 3: places ---- */

static void a_user_with_too_many_is_told_and_named(void **state) {
  (void)state;
  struct door *d = DOOR("MAX_CONNECTIONS_PER_USER", "2");
  struct gate_request r = good(d);
  int64_t blocked = metrics_value(METRIC_RATELIMIT_BLOCKED);
  struct identity *a = let_in(d, &r), *b = let_in(d, &r), *who = NULL;
  r.key = NULL; /* the limit is looked at before the upgrade */
  struct gate_refusal no = gate_admit(d->gate, &r, NOW, &who);
  assert_int_equal(no.status, 429);
  assert_string_equal(no.body, "Connection limit exceeded, please try again later\n");
  assert_true(no.user_limit);
  assert_false(no.version_header);
  assert_string_equal(who->user_id, "ann"); /* whose other connections are told */
  assert_int_equal(metrics_value(METRIC_RATELIMIT_BLOCKED), blocked + 1);
  identity_unref(who);
  leave(d, a);
  r = good(d);
  a = let_in(d, &r);
  leave(d, a);
  leave(d, b);
  door_free(d);
}

static void a_full_server_refuses_everybody(void **state) {
  (void)state;
  struct door *d = DOOR("MAX_CONNECTIONS", "1");
  struct gate_request r = good(d);
  struct identity *a = let_in(d, &r), *who = NULL;
  struct gate_refusal no = gate_admit(d->gate, &r, NOW, &who);
  assert_int_equal(no.status, 503);
  assert_string_equal(no.body, "Connection limit exceeded, please try again later\n");
  assert_false(no.user_limit); /* nothing the user could close */
  identity_unref(who);
  leave(d, a);
  let_in_and_out(d, &r);
  door_free(d);
}

/* ---- row 4: the upgrade ---- */

static void what_is_no_upgrade_is_a_bad_request(void **state) {
  (void)state;
  struct door *d = DOOR("MAX_CONNECTIONS_PER_USER", "1");
  static const char bad[] = "Bad Request\n";
  const struct gate_request fine = good(d);
  struct gate_request r = fine;
  const char *const connections[] = {NULL, "", "keep-alive", "upgraded", "close"};
  for (size_t i = 0; i < sizeof connections / sizeof *connections; i++) {
    r.connection = connections[i];
    assert_refused(d, &r, 400, bad, true);
  }
  r = fine;
  const char *const upgrades[] = {NULL, "h2c", "websockets", "web socket"};
  for (size_t i = 0; i < sizeof upgrades / sizeof *upgrades; i++) {
    r.upgrade = upgrades[i];
    assert_refused(d, &r, 400, bad, true);
  }
  r = fine;
  const char *const versions[] = {NULL, "", "8", "14", "130", "1"};
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
    r.version = versions[i];
    assert_refused(d, &r, 400, bad, true);
  }
  r = fine;
  const char *const keys[] = {NULL,
                              "",
                              "short",
                              "dGhlIHNhbXBsZSBub25jZQ=",
                              "dGhlIHNhbXBsZSBub25jZQ===",
                              "dGhlIHNhbXBsZSBub25jZ$==",
                              "dGhlIHNhbXBsZSBub25jZQAA"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    r.key = keys[i];
    assert_refused(d, &r, 400, bad, true);
  }
  r = fine;
  r.method = "POST";
  assert_refused(d, &r, 400, bad, true);
  let_in_and_out(d, &fine); /* the one place was given back each time */
  door_free(d);
}

static void header_tokens_are_found_in_any_case_and_place(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct gate_request r = good(d);
  const char *const connections[] = {"Upgrade", "upgrade", "keep-alive,UPGRADE", "a ,\tupgrade , b"};
  for (size_t i = 0; i < sizeof connections / sizeof *connections; i++) {
    r.connection = connections[i];
    let_in_and_out(d, &r);
  }
  r.upgrade = "h2c, WebSocket";
  let_in_and_out(d, &r);
  door_free(d);
}

/* ---- row 5: the origin ---- */

static void only_listed_origins_come_in_when_there_is_a_list(void **state) {
  (void)state;
  struct door *d =
    DOOR("WS_ALLOWED_ORIGINS", "https://a.example , https://b.example,", "MAX_CONNECTIONS_PER_USER", "1");
  struct gate_request r = good(d);
  const char *const others[] = {NULL,
                                "",
                                "null",
                                "https://c.example",
                                "https://a.example.evil",
                                "https://a.exampl",
                                "http://a.example",
                                "https://A.example",
                                "https://a.example/",
                                "*",
                                "https://a.example , https://b.example",
                                " https://a.example"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    r.origin = others[i];
    assert_refused(d, &r, 403, "Forbidden\n", true);
  }
  r.origin = "https://a.example";
  let_in_and_out(d, &r); /* the one place was given back each time */
  r.origin = "https://b.example";
  let_in_and_out(d, &r);
  r.key = "x";
  r.origin = "https://c.example";
  assert_refused(d, &r, 400, "Bad Request\n", true); /* the upgrade comes first */
  door_free(d);
}

static void origins_are_checked_like_those_of_cors(void **state) {
  (void)state;
  struct door *d = DOOR("WS_ALLOWED_ORIGINS", "HTTPS://Shop.Example:443", "MAX_CONNECTIONS_PER_USER", "1");
  struct gate_request r = good(d);
  r.origin = "https://shop.example";
  let_in_and_out(d, &r);
  r.origin = "https://shop.example:444";
  assert_refused(d, &r, 403, "Forbidden\n", true);
  door_free(d);
  d = DOOR("WS_ALLOWED_ORIGINS", "*");
  const char *const any[] = {NULL, "null", "https://anywhere.example"};
  for (size_t i = 0; i < sizeof any / sizeof *any; i++) {
    r = good(d);
    r.origin = any[i];
    let_in_and_out(d, &r);
  }
  door_free(d);
}

static void without_a_list_every_origin_comes_in(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct gate_request r = good(d);
  const char *const origins[] = {NULL, "", "null", "https://anywhere.example"};
  for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
    r.origin = origins[i];
    let_in_and_out(d, &r);
  }
  door_free(d);
}

/* ---- row 0 and section 3.4: pages of other origins ---- */

static int cors(struct door *d, const char *method, const char *origin, const char **allow) {
  struct gate_request r = {.method = method, .host = "chat.example", .origin = origin};
  *allow = "untouched";
  return gate_cors(d->gate, &r, allow);
}

static void without_a_list_other_origins_are_nobodys_business(void **state) {
  (void)state;
  struct door *d = DOOR();
  const char *allow;
  assert_int_equal(cors(d, "GET", "https://evil.example", &allow), 0);
  assert_null(allow);
  assert_int_equal(cors(d, "OPTIONS", "https://evil.example", &allow), 0); /* no preflight is answered either */
  assert_null(allow);
  door_free(d);
}

static void with_a_list_only_its_origins_may_call(void **state) {
  (void)state;
  struct door *d = DOOR("CORS_ALLOWED_ORIGINS", "https://a.example, https://b.example");
  const char *allow;
  assert_int_equal(cors(d, "GET", "https://b.example", &allow), 0);
  assert_string_equal(allow, "https://b.example");
  assert_int_equal(cors(d, "OPTIONS", "https://b.example", &allow), 204);
  assert_string_equal(allow, "https://b.example");
  const char *const methods[] = {"GET", "POST", "OPTIONS"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(cors(d, methods[i], "https://evil.example", &allow), 403);
    assert_null(allow);
  }
  assert_int_equal(cors(d, "GET", "", &allow), 403);
  assert_int_equal(cors(d, "GET", "*", &allow), 403);
  door_free(d);
}

static void ones_own_pages_and_programs_are_left_alone(void **state) {
  (void)state;
  struct door *d = DOOR("CORS_ALLOWED_ORIGINS", "https://a.example");
  const char *allow;
  const char *const own[] = {NULL, "https://chat.example", "http://chat.example"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(cors(d, "OPTIONS", own[i], &allow), 0);
    assert_null(allow);
  }
  assert_int_equal(cors(d, "GET", "https://chat.example:8080", &allow), 403);
  assert_int_equal(cors(d, "GET", "https://chat.example.evil", &allow), 403);
  door_free(d);
}

static void a_star_lets_all_origins_call(void **state) {
  (void)state;
  struct door *d = DOOR("CORS_ALLOWED_ORIGINS", "*");
  const char *allow;
  assert_int_equal(cors(d, "POST", "https://anywhere.example", &allow), 0);
  assert_string_equal(allow, "https://anywhere.example"); /* named, so that credentials may be sent */
  door_free(d);
}

/* ---- HTTP, and setting up ---- */

static void an_http_request_is_known_by_its_header_only(void **state) {
  (void)state;
  struct door *d = DOOR();
  struct identity *who = NULL;
  assert_int_equal(gate_identify(d->gate, d->bearer, NOW, &who), HTTP_AUTH_OK);
  assert_string_equal(who->user_id, "ann");
  assert_string_equal(who->name, "Ann");
  identity_unref(who);
  who = NULL;
  assert_int_equal(gate_identify(d->gate, NULL, NOW, &who), HTTP_AUTH_MISSING);
  assert_int_equal(gate_identify(d->gate, "Bearer ", NOW, &who), HTTP_AUTH_MISSING);
  assert_int_equal(gate_identify(d->gate, "bearer", NOW, &who), HTTP_AUTH_MISSING);
  assert_int_equal(gate_identify(d->gate, "bEARER x", NOW, &who), HTTP_AUTH_INVALID); /* RFC 9110, section 11.1 */
  assert_int_equal(gate_identify(d->gate, "Bearer x", NOW, &who), HTTP_AUTH_INVALID);
  assert_int_equal(gate_identify(d->gate, d->bearer, NOW + 60, &who), HTTP_AUTH_INVALID);
  assert_null(who);
  door_free(d);
}

static void a_wrong_setting_is_named_and_nothing_opens(void **state) {
  (void)state;
  struct config *c = config_new();
  struct gate *g = NULL;
  char why[512] = "";
  assert_int_not_equal(gate_new(c, &g, why), 0); /* neither a secret nor a key */
  assert_string_not_equal(why, "");
  assert_int_equal(config_set(c, SETTING_JWT_SECRET, SECRET, why), 0);
  assert_int_equal(config_set(c, SETTING_TRUSTED_PROXIES, "10.0.0.0/8, 300.1.2.3", why), 0);
  assert_int_equal(gate_new(c, &g, why), E_INVALID);
  assert_string_equal(why, "TRUSTED_PROXIES: \"300.1.2.3\" is not an address or network");
  assert_null(g);
  config_free(c);
}

static void it_knows_which_proxies_are_believed(void **state) {
  (void)state;
  struct door *d = DOOR("TRUSTED_PROXIES", "10.1.0.0/16");
  assert_true(networks_contain(gate_trusted(d->gate), "10.1.2.3"));
  assert_false(networks_contain(gate_trusted(d->gate), "10.2.2.3"));
  door_free(d);
}

/* How often a peer was warned about since the last time somebody asked. */
static size_t warnings(const char *peer) {
  static char line[LOG_LINE_MAX];
  size_t count = 0;
  char end[64];
  snprintf(end, sizeof end, "peer=%s", peer);
  while (memory_log_take(line)) {
    const char *found = strstr(line, end);
    count += strncmp(line, "warn gate", 9) == 0 && found && strlen(found) == strlen(end);
  }
  return count;
}

static bool client(struct door *d, struct gate_route route, const char *expected) {
  char out[ADDRESS_MAX];
  bool known = gate_client(d->gate, &route, out);
  assert_string_equal(out, expected);
  return known;
}

static void a_stranger_who_forwards_is_nobody_inside_and_warned_about_once(void **state) {
  (void)state;
  struct door *d = DOOR("TRUSTED_PROXIES", "10.1.0.0/16");
  assert_true(client(d, (struct gate_route){.peer = "192.168.0.1"}, "192.168.0.1"));
  assert_int_equal(warnings("192.168.0.1"), 0);
  const struct gate_route strange[] = {{.peer = "192.168.0.1", .forwarded = "10.1.2.3"},
                                       {.peer = "192.168.0.1", .real_ip = "10.1.2.3"},
                                       {.peer = "192.168.0.1", .standard = "for=10.1.2.3"}};
  for (int i = 0; i < 3; i++)
    assert_false(client(d, strange[i], "192.168.0.1"));
  assert_int_equal(warnings("192.168.0.1"), 1);
  assert_true(client(d, (struct gate_route){.peer = "10.1.0.1", .forwarded = "[2001:db8::7]:80"}, "2001:db8::7"));
  assert_true(client(d, (struct gate_route){.peer = "10.1.0.1", .standard = "for=1.2.3.4"}, "10.1.0.1"));
  assert_false(client(d, (struct gate_route){.peer = "10.1.0.1", .forwarded = "unknown"}, "10.1.0.1"));
  assert_int_equal(warnings("10.1.0.1"), 0); /* it is trusted; it only does not say */
  door_free(d);
}

static void only_so_many_strangers_are_warned_about(void **state) {
  (void)state;
  struct door *d = DOOR();
  char peer[32];
  size_t sum = 0;
  for (int i = 0; i < 2 * GATE_STRANGERS_MAX; i++) {
    snprintf(peer, sizeof peer, "192.0.2.%d", i);
    assert_false(client(d, (struct gate_route){.peer = peer, .forwarded = "10.1.2.3"}, peer));
    sum += warnings(peer);
  }
  assert_int_equal(sum, GATE_STRANGERS_MAX);
  door_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(without_a_token_it_is_missing),
    cmocka_unit_test(a_token_that_is_no_good_is_refused),
    cmocka_unit_test(a_token_in_the_query_counts_when_there_is_no_header),
    cmocka_unit_test(a_user_with_too_many_is_told_and_named),
    cmocka_unit_test(a_full_server_refuses_everybody),
    cmocka_unit_test(what_is_no_upgrade_is_a_bad_request),
    cmocka_unit_test(header_tokens_are_found_in_any_case_and_place),
    cmocka_unit_test(only_listed_origins_come_in_when_there_is_a_list),
    cmocka_unit_test(origins_are_checked_like_those_of_cors),
    cmocka_unit_test(without_a_list_every_origin_comes_in),
    cmocka_unit_test(without_a_list_other_origins_are_nobodys_business),
    cmocka_unit_test(with_a_list_only_its_origins_may_call),
    cmocka_unit_test(ones_own_pages_and_programs_are_left_alone),
    cmocka_unit_test(a_star_lets_all_origins_call),
    cmocka_unit_test(an_http_request_is_known_by_its_header_only),
    cmocka_unit_test(a_wrong_setting_is_named_and_nothing_opens),
    cmocka_unit_test(it_knows_which_proxies_are_believed),
    cmocka_unit_test(a_stranger_who_forwards_is_nobody_inside_and_warned_about_once),
    cmocka_unit_test(only_so_many_strangers_are_warned_about),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
