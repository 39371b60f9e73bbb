/* In: STORE_URL. Out: connections whose every operation has a deadline, and what their errors mean.
 * Why: the driver's pool watches the servers on threads of its own, so a new primary is known before anybody asks; all
 * handles of one store share it. The deadlines follow from STORE_TIMEOUT: what waits that long is tried at least twice.
 * What the operator says in the URL wins, but for what acknowledgement means: majority, and in the journal. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "lock.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define NO_TIMEOUT_MS 60000 /* a store without STORE_TIMEOUT: commands that walk over everything */
#define PING_MS 900
#define POOL_MAX 100

struct mongo_pool {
  struct mongo_pool *next;
  char *url;
  uint32_t timeout_ms;
  unsigned handles;
  char *database;
  int32_t confirm_ms;
  mongoc_uri_t *ping_uri;
  mongoc_client_pool_t *clients;
  struct mongo_known known;
};

static struct {
  struct lock lock;
  pthread_once_t once;
  struct mongo_pool *first;
} pools = {.once = PTHREAD_ONCE_INIT};

/* ---- the driver's own log ---- */

static void driver_says(mongoc_log_level_t level, const char *domain, const char *message, void *arg) {
  (void)arg;
  if (level <= MONGOC_LOG_LEVEL_WARNING)
    LOG(LOG_WARN, "store", "driver", LSTR("domain", domain), LSTR("reason", message));
}

static void driver_start(void) {
  lock_init(&pools.lock);
  mongoc_init();
  mongoc_log_set_handler(driver_says, NULL);
}

/* ---- what the URL does not say ---- */

static int64_t clamp(int64_t value, int64_t min, int64_t max) {
  return value < min ? min : value > max ? max : value;
}

static void uri_default(mongoc_uri_t *uri, const char *option, int64_t value) {
  if (!mongoc_uri_has_option(uri, option))
    mongoc_uri_set_option_as_int32(uri, option, (int32_t)value);
}

/* The time until the reply of one command; a server gets a little less of it, so that it is the one who gives up. */
static void uri_deadlines(struct mongo_pool *p, mongoc_uri_t *uri) {
  int64_t whole = p->timeout_ms > 0 ? p->timeout_ms : NO_TIMEOUT_MS, part = clamp(whole / 4, 600, 2000);
  uri_default(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, part);
  uri_default(uri, MONGOC_URI_CONNECTTIMEOUTMS, part);
  uri_default(uri, MONGOC_URI_WAITQUEUETIMEOUTMS, part);
  uri_default(uri, MONGOC_URI_HEARTBEATFREQUENCYMS, 500); /* the least there is: how soon a new primary is seen */
  uri_default(uri, MONGOC_URI_SOCKETTIMEOUTMS, clamp(whole / 2, 500, NO_TIMEOUT_MS));
  p->confirm_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 0) / 5 * 4;
}

static void uri_promises(const struct mongo_pool *p, mongoc_uri_t *uri) {
  mongoc_write_concern_t *concern = mongoc_write_concern_new();
  mongoc_write_concern_set_wmajority(concern, p->confirm_ms);
  mongoc_write_concern_set_journal(concern, true); /* of a standalone server a majority is one, and has no journal */
  mongoc_uri_set_write_concern(uri, concern);
  mongoc_write_concern_destroy(concern);
  mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
  mongoc_uri_set_read_prefs_t(uri, primary);
  mongoc_read_prefs_destroy(primary);
  if (!mongoc_uri_has_option(uri, MONGOC_URI_RETRYWRITES))
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, true);
  if (!mongoc_uri_get_appname(uri))
    mongoc_uri_set_appname(uri, "chatbox");
  uri_default(uri, MONGOC_URI_MAXPOOLSIZE, POOL_MAX);
}

/* For a client that asks one thing and does not wait for the answer. */
static mongoc_uri_t *uri_of_ping(const mongoc_uri_t *uri) {
  static const char *const shortened[] = {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOC_URI_CONNECTTIMEOUTMS,
                                          MONGOC_URI_SOCKETTIMEOUTMS};
  mongoc_uri_t *ping = mongoc_uri_copy(uri);
  for (size_t i = 0; i < sizeof shortened / sizeof *shortened; i++)
    mongoc_uri_set_option_as_int32(ping, shortened[i], PING_MS);
  mongoc_uri_set_option_as_bool(ping, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
  return ping;
}

/* ---- pools ---- */

static void pool_free(struct mongo_pool *p) {
  if (p->clients)
    mongoc_client_pool_destroy(p->clients);
  mongoc_uri_destroy(p->ping_uri);
  free(p->database);
  free(p->url);
  free(p);
}

static int pool_connect(struct mongo_pool *p, char why[256]) {
  bson_error_t error;
  mongoc_uri_t *uri = mongoc_uri_new_with_error(p->url, &error);
  if (!uri) {
    snprintf(why, 256, "STORE_URL: %.200s", error.message);
    return E_INVALID;
  }
  const char *database = mongoc_uri_get_database(uri);
  uri_deadlines(p, uri);
  uri_promises(p, uri);
  p->database = strdup(database ? database : MONGO_DATABASE);
  p->ping_uri = uri_of_ping(uri);
  p->clients = mongoc_client_pool_new_with_error(uri, &error);
  mongoc_uri_destroy(uri);
  if (!p->clients || !p->database) {
    snprintf(why, 256, "STORE_URL: %.200s", !p->clients ? error.message : "out of memory");
    return !p->clients ? E_INVALID : UV_ENOMEM;
  }
  mongoc_client_pool_set_error_api(p->clients, MONGOC_ERROR_API_VERSION_2);
  return 0;
}

static int pool_new(const struct store_options *o, struct mongo_pool **out, char why[256]) {
  struct mongo_pool *p = calloc(1, sizeof *p);
  if (!p || !(p->url = strdup(o->url))) {
    snprintf(why, 256, "out of memory");
    free(p);
    return UV_ENOMEM;
  }
  p->timeout_ms = o->timeout_ms;
  int code = pool_connect(p, why);
  if (code) {
    pool_free(p);
    return code;
  }
  *out = p;
  return 0;
}

/* Handles are opened one after the other, so the lock is held for a look only. */
static struct mongo_pool *pool_find(const struct store_options *o) {
  lock_acquire(&pools.lock);
  struct mongo_pool *p = pools.first;
  while (p && (strcmp(p->url, o->url) != 0 || p->timeout_ms != o->timeout_ms))
    p = p->next;
  if (p)
    p->handles++;
  lock_release(&pools.lock);
  return p;
}

static void pool_enter(struct mongo_pool *p) {
  lock_acquire(&pools.lock);
  p->handles = 1;
  p->next = pools.first;
  pools.first = p;
  lock_release(&pools.lock);
}

static void pool_leave(struct mongo_pool *p) {
  lock_acquire(&pools.lock);
  struct mongo_pool **at = &pools.first;
  bool last = --p->handles == 0;
  while (last && *at != p)
    at = &(*at)->next;
  if (last)
    *at = p->next;
  lock_release(&pools.lock);
  if (last)
    pool_free(p);
}

/* ---- handles ---- */

int mongo_open(const struct store_options *o, struct mongo *h, char why[256]) {
  pthread_once(&pools.once, driver_start);
  h->pool = pool_find(o);
  int code = h->pool ? 0 : pool_new(o, &h->pool, why);
  if (code)
    return code;
  if (h->pool->handles == 0)
    pool_enter(h->pool);
  h->known = &h->pool->known;
  h->keys = o->keys;
  h->without_texts = o->without_texts;
  h->client = mongoc_client_pool_pop(h->pool->clients);
  if (!h->client) {
    snprintf(why, 256, "STORE_URL: maxPoolSize is too small: every store thread needs a connection");
    return E_INVALID;
  }
  h->sessions = mongoc_client_get_collection(h->client, h->pool->database, MONGO_SESSIONS);
  h->messages = mongoc_client_get_collection(h->client, h->pool->database, MONGO_MESSAGES);
  h->audit = mongoc_client_get_collection(h->client, h->pool->database, MONGO_AUDIT);
  h->erasures = mongoc_client_get_collection(h->client, h->pool->database, MONGO_ERASURES);
  h->erasing = mongoc_client_get_collection(h->client, h->pool->database, MONGO_ERASING);
  return 0;
}

void mongo_close(struct mongo *h) {
  mongoc_collection_destroy(h->sessions);
  mongoc_collection_destroy(h->messages);
  mongoc_collection_destroy(h->audit);
  mongoc_collection_destroy(h->erasures);
  mongoc_collection_destroy(h->erasing);
  mongoc_client_destroy(h->pinger);
  if (h->client)
    mongoc_client_pool_push(h->pool->clients, h->client);
  if (h->pool)
    pool_leave(h->pool);
}

mongoc_collection_t *mongo_collection(const struct mongo *h, mongoc_client_t *client, const char *name) {
  return mongoc_client_get_collection(client, h->pool->database, name);
}

int64_t mongo_limit_ms(const struct mongo *h) {
  return h->pool->timeout_ms > 0 ? h->pool->confirm_ms : 0;
}

int mongo_answers(struct mongo *h) {
  bson_error_t error;
  if (!h->pinger) {
    h->pinger = mongoc_client_new_from_uri(h->pool->ping_uri);
    if (!h->pinger)
      return E_STORE;
    mongoc_client_set_error_api(h->pinger, MONGOC_ERROR_API_VERSION_2);
  }
  bson_t *ping = BCON_NEW("ping", BCON_INT32(1));
  bool answered = mongoc_client_command_simple(h->pinger, h->pool->database, ping, NULL, NULL, &error);
  bson_destroy(ping);
  return answered ? 0 : mongo_failed(h, "ping", &error);
}

/* ---- errors ---- */

/* Of the server, where it says that another one, or a later time, will do: it stops, is no primary, has no majority,
 * ran out of time, or was in somebody's way. */
static bool server_is_away(uint32_t code) {
  static const uint32_t codes[] = {
    6,     /* HostUnreachable */
    7,     /* HostNotFound */
    24,    /* LockTimeout */
    50,    /* MaxTimeMSExpired */
    64,    /* WriteConcernFailed */
    89,    /* NetworkTimeout */
    91,    /* ShutdownInProgress */
    112,   /* WriteConflict */
    133,   /* FailedToSatisfyReadPreference */
    134,   /* ReadConcernMajorityNotAvailableYet */
    189,   /* PrimarySteppedDown */
    202,   /* NetworkInterfaceExceededTimeLimit */
    234,   /* RetryChangeStream */
    262,   /* ExceededTimeLimit */
    9001,  /* SocketException */
    10058, /* LegacyNotPrimary */
    10107, /* NotWritablePrimary */
    11600, /* InterruptedAtShutdown */
    11602, /* InterruptedDueToReplStateChange */
    13435, /* NotPrimaryNoSecondaryOk */
    13436, /* NotPrimaryOrSecondary */
  };
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (codes[i] == code)
      return true;
  return false;
}

int mongo_code(const bson_error_t *error) {
  switch (error->domain) {
  case MONGOC_ERROR_STREAM:
  case MONGOC_ERROR_SERVER_SELECTION:
  case MONGOC_ERROR_WRITE_CONCERN:
    return E_AWAY;
  case MONGOC_ERROR_SERVER:
    return server_is_away(error->code) ? E_AWAY : E_STORE;
  default:
    return E_STORE;
  }
}

int mongo_failed(struct mongo *h, const char *what, const bson_error_t *error) {
  int code = mongo_code(error);
  if (code != E_AWAY || !h->told)
    LOG(LOG_ERROR, "store", code == E_AWAY ? "the database cannot be reached" : "database operation failed",
        LSTR("operation", what), LINT("domain", (int64_t)error->domain), LINT("code", (int64_t)error->code),
        LSTR("reason", error->message));
  h->told = code == E_AWAY;
  return code;
}
