/* In: the headers of a request. Out: who it is, or the exact refusal. Why: see gate.h. */
#include "gate.h"

#include "bye.h"
#include "crowd.h"
#include "err.h"
#include "lock.h"
#include "log.h"
#include "metrics.h"
#include "origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct gate {
  const struct config *config;
  struct token_verifier *verifier;
  struct slots *slots;
  struct networks *trusted;
  struct origins *origins, *cors;
  struct crowd *devices;                           /* NULL: nobody is replaced */
  struct lock lock;                                /* guards what follows, for the length of a copy */
  char strangers[GATE_STRANGERS_MAX][ADDRESS_MAX]; /* peers that were warned about */
  size_t stranger_count;
};

static int read_origins(const struct config *c, enum setting s, struct origins **out, char why[512]) {
  char bad[64];
  const char *reason;
  int code = origins_new(config_string(c, s), out, bad, &reason);
  if (code == E_INVALID) {
    snprintf(why, 512, "%s: %s %s", config_name(s), bad, reason);
  }
  return code;
}

static int new_parts(struct gate *g, char why[512]) {
  const struct config *c = g->config;
  struct token_options o = {.secret = config_string(c, SETTING_JWT_SECRET),
                            .public_key_file = config_string(c, SETTING_JWT_PUBLIC_KEY_FILE),
                            .issuer = config_string(c, SETTING_JWT_ISSUER),
                            .audience = config_string(c, SETTING_JWT_AUDIENCE),
                            .leeway_s = (config_int(c, SETTING_JWT_LEEWAY) + 999) / 1000,
                            .require_exp = config_bool(c, SETTING_JWT_REQUIRE_EXP)};
  int code = token_verifier_new(&o, &g->verifier, why);
  if (code) {
    return code;
  }
  char bad[64];
  code = networks_new(config_string(c, SETTING_TRUSTED_PROXIES), &g->trusted, bad);
  if (code) {
    snprintf(why, 512, "TRUSTED_PROXIES: \"%s\" is not an address or network", bad);
    return code;
  }
  code = read_origins(c, SETTING_WS_ALLOWED_ORIGINS, &g->origins, why);
  code = code ? code : read_origins(c, SETTING_CORS_ALLOWED_ORIGINS, &g->cors, why);
  if (code) {
    return code;
  }
  g->slots = slots_new((uint32_t)config_int(c, SETTING_MAX_CONNECTIONS_PER_USER),
                       (uint32_t)config_int(c, SETTING_MAX_CONNECTIONS));
  return g->slots ? 0 : UV_ENOMEM;
}

int gate_new(const struct config *config, struct gate **out, char why[512]) {
  struct gate *g = calloc(1, sizeof *g);
  if (!g) {
    return UV_ENOMEM;
  }
  g->config = config;
  lock_init(&g->lock);
  int code = new_parts(g, why);
  if (code) {
    gate_free(g);
    return code;
  }
  *out = g;
  return 0;
}

void gate_free(struct gate *g) {
  if (g->verifier) {
    token_verifier_free(g->verifier);
  }
  if (g->slots) {
    slots_free(g->slots);
  }
  if (g->trusted) {
    networks_free(g->trusted);
  }
  origins_free(g->origins);
  origins_free(g->cors);
  lock_deinit(&g->lock);
  free(g);
}

/* Whether a header that is a comma list of tokens has this one, in any case. */
static bool has_token(const char *header, const char *token) {
  size_t len = strlen(token);
  for (const char *p = header ? header : ""; *p;) {
    p += strspn(p, ", \t");
    size_t n = strcspn(p, ", \t");
    if (n == len && strncasecmp(p, token, len) == 0) {
      return true;
    }
    p += n;
  }
  return false;
}

int gate_cors(const struct gate *g, const struct gate_request *r, const char **cors) {
  *cors = NULL;
  if (origins_empty(g->cors) || !r->origin || (r->host && origin_is_host(r->origin, r->host))) {
    return 0;
  }
  if (!origins_allow(g->cors, r->origin)) {
    return 403;
  }
  *cors = r->origin;
  return strcmp(r->method, "OPTIONS") == 0 ? 204 : 0;
}

enum http_auth gate_identify(const struct gate *g, const char *authorization, int64_t now_s, struct identity **out) {
  static const char scheme[] = "Bearer ";
  const size_t skip = sizeof scheme - 1;
  if (!authorization || strncasecmp(authorization, scheme, skip) != 0) {
    return HTTP_AUTH_MISSING;
  }
  const char *token = authorization + skip + strspn(authorization + skip, " ");
  if (!*token) {
    return HTTP_AUTH_MISSING;
  }
  return token_verify(g->verifier, token, strlen(token), now_s, out) ? HTTP_AUTH_INVALID : HTTP_AUTH_OK;
}

/* 16 bytes in base64: 22 digits and "==". */
static bool key_valid(const char *key) {
  return key && strlen(key) == 24 && strcmp(key + 22, "==") == 0 &&
         strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == 22;
}

static bool upgrade_valid(const struct gate_request *r) {
  return has_token(r->connection, "upgrade") && has_token(r->upgrade, "websocket") && strcmp(r->method, "GET") == 0 &&
         r->version && strcmp(r->version, "13") == 0 && key_valid(r->key);
}

static struct gate_refusal take_slot(struct gate *g, const struct identity *who) {
  int code = slots_take(g->slots, who->user_id, strlen(who->user_id));
  if (!code) {
    return (struct gate_refusal){0};
  }
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"connection\"", 1);
  return (struct gate_refusal){.status = code == E_LIMITED ? 429 : 503,
                               .body = "Connection limit exceeded, please try again later\n",
                               .user_limit = code == E_LIMITED};
}

void gate_set_devices(struct gate *g, struct crowd *devices) {
  g->devices = devices;
}

/* The user has as many connections as may be. The place of the oldest that understands it is the newcomer's; or the
 * slot of one that is just going. */
static bool take_place(struct gate *g, const struct identity *who, int64_t now_s) {
  struct conn *oldest = g->devices ? crowd_take_oldest(g->devices, who->user_id) : NULL;
  if (!oldest) {
    return false;
  }
  bool taken = conn_take_place(oldest);
  if (taken) {
    bye_say(oldest, CLOSE_REPLACED, NULL, "Another device of yours has taken this place", (uint64_t)now_s * 1000, NULL);
  }
  conn_unref(oldest);
  return taken || slots_take(g->slots, who->user_id, strlen(who->user_id)) == 0;
}

/* What comes before the slot does not count against it, and what comes behind it costs nobody his place. */
static struct gate_refusal request_refusal(const struct gate *g, const struct gate_request *r) {
  if (!upgrade_valid(r)) {
    return (struct gate_refusal){.status = 400, .body = "Bad Request\n", .version_header = true};
  }
  if (!origins_empty(g->origins) && !origins_allow(g->origins, r->origin)) {
    return (struct gate_refusal){.status = 403, .body = "Forbidden\n", .version_header = true};
  }
  return (struct gate_refusal){0};
}

struct gate_refusal gate_admit(struct gate *g, const struct gate_request *r, int64_t now_s, struct identity **out) {
  enum http_auth auth;
  if (r->authorization || !r->token || !*r->token) {
    auth = gate_identify(g, r->authorization, now_s, out);
  } else {
    auth = token_verify(g->verifier, r->token, strlen(r->token), now_s, out) ? HTTP_AUTH_INVALID : HTTP_AUTH_OK;
  }
  if (auth != HTTP_AUTH_OK) {
    const char *body = auth == HTTP_AUTH_MISSING ? "Missing authentication token\n" : "Authentication failed\n";
    return (struct gate_refusal){.status = 401, .body = body, .bad_token = auth == HTTP_AUTH_INVALID};
  }
  struct gate_refusal limit = take_slot(g, *out), refusal = request_refusal(g, r);
  if (limit.status) {
    bool replaces = limit.user_limit && !refusal.status && take_place(g, *out, now_s);
    return replaces ? refusal : limit;
  }
  if (refusal.status) {
    gate_leave(g, *out);
    identity_unref(*out);
    *out = NULL;
  }
  return refusal;
}

void gate_leave(struct gate *g, const struct identity *who) {
  slots_give(g->slots, who->user_id, strlen(who->user_id));
}

int gate_read_keys(struct gate *g, char why[256]) {
  return token_verifier_read_keys(g->verifier, why);
}

struct token_verifier *gate_verifier(const struct gate *g) {
  return g->verifier;
}

/* Whether it is the first time, and there is room to remember it. */
static bool stranger_is_new(struct gate *g, const char *peer) {
  lock_acquire(&g->lock);
  size_t i = 0;
  while (i < g->stranger_count && strcmp(g->strangers[i], peer) != 0) {
    i++;
  }
  bool fresh = i == g->stranger_count && i < GATE_STRANGERS_MAX;
  if (fresh) {
    snprintf(g->strangers[g->stranger_count++], ADDRESS_MAX, "%s", peer);
  }
  lock_release(&g->lock);
  return fresh;
}

bool gate_client(struct gate *g, const struct gate_route *route, char out[ADDRESS_MAX]) {
  bool known = address_client(g->trusted, route->peer, route->forwarded, route->real_ip, out);
  bool trusted = networks_contain(g->trusted, route->peer);
  known = known && (trusted || !route->standard);
  if (!known && !trusted && stranger_is_new(g, route->peer)) {
    LOG(
      LOG_WARN, "gate",
      "a peer that TRUSTED_PROXIES does not name says whom it forwards for; that is ignored. If it is your proxy, name "
      "it there",
      LSTR("peer", route->peer));
  }
  return known;
}

const struct networks *gate_trusted(const struct gate *g) {
  return g->trusted;
}
