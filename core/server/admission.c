/* In: texts and HTTP requests, before anything of them has been decoded. Out: whether they may go on; if not, their
 * sender has been told when. Why: see admission.h. */
#include "admission.h"

#include "address.h"
#include "crowd.h"
#include "err.h"
#include "gate.h"
#include "limiters.h"
#include "metrics.h"
#include "server_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- life ---- */

static struct account_limits limits_of(const struct config *c, enum setting work, enum setting bytes) {
  uint64_t burst_ms = (uint64_t)config_int(c, SETTING_RATE_BURST);
  struct account_limits l = {.work = {(uint64_t)config_int(c, work), burst_ms},
                             .bytes = {(uint64_t)config_int(c, bytes), burst_ms}};
  for (int i = 0; i < ACCOUNT_HOLDS; i++) {
    l.holds[i] = SIZE_MAX;
  }
  return l;
}

int admission_open(struct server *s) {
  const struct config *c = s->config;
  size_t max = (size_t)config_int(c, SETTING_RATE_LIMIT_KEYS);
  s->connection_limits = limits_of(c, SETTING_CONNECTION_WORK_RATE, SETTING_CONNECTION_BYTE_RATE);
  struct account_limits user = limits_of(c, SETTING_USER_WORK_RATE, SETTING_USER_BYTE_RATE);
  user.holds[ACCOUNT_INBOX] = (size_t)config_int(c, SETTING_INBOX_BYTES_PER_USER);
  user.holds[ACCOUNT_TASKS] = (size_t)config_int(c, SETTING_SCRIPT_COROUTINES_PER_USER);
  struct account_limits address = limits_of(c, SETTING_ADDRESS_WORK_RATE, SETTING_ADDRESS_BYTE_RATE);
  s->users = accounts_new(&user, max);
  s->addresses = accounts_new(&address, max);
  s->crowd = crowd_new((size_t)config_int(c, SETTING_MAX_CONNECTIONS_PER_ADDRESS));
  s->devices = crowd_new(SIZE_MAX); /* the gate has the bound: MAX_CONNECTIONS_PER_USER */
  gate_set_devices(s->gate, s->devices);
  return s->users && s->addresses && s->crowd && s->devices ? 0 : UV_ENOMEM;
}

void admission_close(struct server *s) {
  accounts_free(s->users);
  accounts_free(s->addresses);
  crowd_free(s->crowd);
  crowd_free(s->devices);
}

void admission_sweep(struct server *s, uint64_t now_ms) {
  accounts_sweep(s->users, now_ms);
  accounts_sweep(s->addresses, now_ms);
}

/* ---- accounts ---- */

/* false: it has no bound, because it is a proxy that many stand behind. */
static bool bounded(struct server *s, const char *address, char group[ADDRESS_MAX]) {
  return address && !networks_contain(gate_trusted(s->gate), address) && address_group(address, group);
}

static struct account *address_account(struct server *s, const char *address) {
  char group[ADDRESS_MAX];
  return bounded(s, address, group) ? accounts_open(s->addresses, group, strlen(group)) : NULL;
}

/* user: NULL, who has no token. */
static int meter_open(struct server *s, const char *user, const char *address, struct meter *m) {
  m->user = user ? accounts_open(s->users, user, strlen(user)) : NULL;
  m->address = address_account(s, address);
  return user && !m->user ? E_LIMITED : 0;
}

int admission_greet(struct site *site, struct conn *c) {
  struct server *s = site->server;
  struct meter *m = conn_meter(c);
  char group[ADDRESS_MAX];
  struct conn *gone = NULL;
  m->own = &s->connection_limits;
  int code = meter_open(s, conn_user(c), conn_address(c), m);
  if (!code && bounded(s, conn_address(c), group)) {
    code = crowd_join(s->crowd, group, c, &gone) ? E_LIMITED : 0;
  }
  if (!code) {
    struct conn *none;
    code = crowd_join(s->devices, conn_user(c), c, &none) ? E_LIMITED : 0;
  }
  if (gone) {
    metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"address\"", 1);
    conn_close(gone, CLOSE_TRY_LATER, "too many connections of your address", worker_mailbox(site->worker));
    conn_unref(gone);
  }
  return code;
}

void admission_bye(struct site *site, struct conn *c) {
  crowd_leave(site->server->crowd, c);
  crowd_leave(site->server->devices, c);
}

/* ---- texts ---- */

static size_t stamp(struct worker *w, char out[40]) {
  uint64_t ms = worker_wall_ms(w);
  time_t s = (time_t)(ms / 1000);
  struct tm tm;
  size_t len = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
  return len + (size_t)snprintf(out + len, 40 - len, ".%03dZ", (int)(ms % 1000));
}

/* As scripts/lib/errors.lua would say it. */
static void refuse_text(struct site *site, struct conn *c, const char cid[STORE_CID_MAX + 1], uint64_t wait_ms) {
  char out[512], when[40];
  const struct session *s = conn_session(c);
  stamp(site->worker, when);
  int n = snprintf(out, sizeof out,
                   "{\"type\":\"error\",\"session_id\":\"%s\",\"error\":{\"code\":\"TOO_MANY_REQUESTS\",\"message\":"
                   "\"Too many requests, please slow down\",\"recoverable\":true,\"retry_after\":%" PRIu64
                   "}%s%s%s,\"sender\":\"ai\",\"timestamp\":\"%s\"}",
                   s ? session_id(s) : "", wait_ms, *cid ? ",\"cid\":\"" : "", cid, *cid ? "\"" : "", when);
  struct message *m = message_new(out, (size_t)n);
  if (m) {
    conn_send(c, m, worker_mailbox(site->worker));
    message_unref(m);
  }
}

static void count_refusal(void) {
  metrics_add(METRIC_MESSAGE_ERRORS, 1);
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"work\"", 1);
}

bool admission_text(struct site *site, struct conn *c, const char *text, size_t len) {
  uint64_t now = worker_now_ms(site->worker); /* that of the turn is from before the loop slept */
  uint64_t wait_ms = meter_spend(conn_meter(c), 1, len, now);
  conn_set_active_ms(c, now);
  conn_count_refusal(c, wait_ms > 0, now);
  if (wait_ms) {
    char cid[STORE_CID_MAX + 1];
    count_refusal();
    scripts_put_off(site->server->scripts, site->index, c, text, len, E_LIMITED, (uint32_t)wait_ms, cid);
    refuse_text(site, c, cid, wait_ms);
  }
  return wait_ms == 0;
}

bool admission_frames(struct site *site, struct conn *c, uint64_t work, uint64_t bytes) {
  uint64_t now = worker_now_ms(site->worker);
  uint64_t wait_ms = meter_spend(conn_meter(c), work, bytes, now);
  for (uint64_t i = 0; i == 0 || (i < work && i < CONN_REFUSED_MAX); i++) { /* all that was read at once was refused */
    conn_count_refusal(c, wait_ms > 0, now);
  }
  if (wait_ms) {
    metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"frame\"", 1);
  }
  return wait_ms == 0;
}

/* ---- arriving ---- */

uint64_t admission_arriving(struct site *site, const char *address, const char *user_id) {
  struct limiters *l = site->server->world.limiters;
  uint64_t now = worker_now_ms(site->worker), wait_ms = 0;
  if (address && limiters_take(l, LIMITS_ARRIVALS, address, strlen(address), now, &wait_ms)) {
    return wait_ms;
  }
  if (user_id && limiters_take(l, LIMITS_CONNECTS, user_id, strlen(user_id), now, &wait_ms)) {
    return wait_ms;
  }
  return 0;
}

/* ---- HTTP ---- */

static void refuse_http(struct http_request *http, uint64_t wait_ms) {
  char seconds[24];
  snprintf(seconds, sizeof seconds, "%" PRIu64, (wait_ms + 999) / 1000);
  struct http_response res = {.status = 429,
                              .body = HTTP_TOO_MANY,
                              .body_len = sizeof HTTP_TOO_MANY - 1,
                              .header_count = 1,
                              .headers = {{"Retry-After", seconds}}};
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"work\"", 1);
  http_respond(http, &res);
}

static bool is_probe(const struct http_request *http) {
  return strcmp(http->path, "/healthz") == 0 || strcmp(http->path, "/readyz") == 0;
}

bool admission_http(struct site *site, struct http_request *http) {
  http->probe = is_probe(http);
  if (http->probe) {
    return true;
  }
  uint64_t now = worker_now_ms(site->worker);
  struct meter m = {0};
  const char *user = http->identity ? http->identity->user_id : NULL;
  uint64_t wait_ms = meter_open(site->server, user, http->address, &m) ? 1000 : 0;
  wait_ms = wait_ms ? wait_ms : meter_spend(&m, 1, http->body_len, now);
  meter_deinit(&m);
  if (wait_ms) {
    refuse_http(http, wait_ms);
  }
  return wait_ms == 0;
}
