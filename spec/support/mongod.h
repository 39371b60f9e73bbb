/* In: what a test wants: a MongoDB server, or three that are a replica set. Out: real ones on loopback, each with data
 * of its own that goes with it; killed, paused and started again as the test says.
 * Why: what a store promises about a database that dies can only be seen on one that does. How a server is found or why
 * there is none: mongod.sh. One thread. A server dies with its test, whatever happens to that. */
#pragma once
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <mongoc/mongoc.h>

#define MONGOD_SCRIPT SPEC_DIR "/support/mongod.sh"
#define MONGOD_PATIENCE_MS 60000

struct mongod {
  pid_t pid; /* 0: it does not run */
  unsigned port;
  char folder[40];
  const char *set; /* NULL: standalone */
};

/* false: the reason was printed. */
static inline bool mongod_there(void) {
  static int known;
  if (known == 0)
    known = system(MONGOD_SCRIPT " find >/dev/null 2>&1") == 0 ? 1 : -1;
  if (known < 0 && system("printf 'SKIPPED: ' && " MONGOD_SCRIPT " find 2>&1") == 0)
    abort();
  return known > 0;
}

/* Nobody listens there now. */
static inline unsigned mongod_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0)
    abort();
  close(fd);
  return ntohs(at.sin_port);
}

/* To this member and no other, whatever its part in the set. */
static inline mongoc_client_t *mongod_client(const struct mongod *m) {
  char url[160];
  snprintf(url, sizeof url,
           "mongodb://127.0.0.1:%u/?directConnection=true&serverSelectionTryOnce=false"
           "&serverSelectionTimeoutMS=%d",
           m->port, MONGOD_PATIENCE_MS);
  mongoc_init();
  return mongoc_client_new(url);
}

/* Runs a command, as JSON, of the database admin; the reply is the caller's. */
static inline bool mongod_admin(const struct mongod *m, const char *json, bson_t *reply) {
  mongoc_client_t *client = mongod_client(m);
  bson_error_t error;
  bson_t *command = bson_new_from_json((const uint8_t *)json, -1, &error);
  if (client == NULL || command == NULL)
    fail_msg("%s: %s", json, error.message);
  bool done = mongoc_client_command_simple(client, "admin", command, NULL, reply, &error);
  bson_destroy(command);
  mongoc_client_destroy(client);
  return done;
}

static inline void mongod_must(const struct mongod *m, const char *json) {
  bson_t reply;
  bool done = mongod_admin(m, json, &reply);
  char *text = bson_as_json(&reply, NULL);
  if (!done)
    fail_msg("%s: %s", json, text);
  bson_free(text);
  bson_destroy(&reply);
}

/* Starts it on the data it has; does not wait. */
static inline void mongod_launch(struct mongod *m) {
  char port[16];
  snprintf(port, sizeof port, "%u", m->port);
  pid_t parent = getpid();
  m->pid = fork();
  if (m->pid != 0)
    return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent || freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)
    _exit(1);
  execl(MONGOD_SCRIPT, "mongod.sh", "run", m->folder, port, m->set, (char *)NULL);
  _exit(1);
}

static inline void mongod_new(struct mongod *m, const char *set) {
  *m = (struct mongod){.port = mongod_port(), .folder = "/tmp/chatbox-mongod-XXXXXX", .set = set};
  if (mkdtemp(m->folder) == NULL)
    abort();
  mongod_launch(m);
}

static inline void mongod_kill(struct mongod *m) {
  if (m->pid > 0) {
    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
  }
  m->pid = 0;
}

static inline void mongod_remove(struct mongod *m) {
  char command[80];
  mongod_kill(m);
  snprintf(command, sizeof command, "rm -rf %s", m->folder);
  if (system(command) != 0)
    abort();
}

/* STORE_URL of a database on these servers. */
static inline void mongod_url(const struct mongod *m, size_t count, const char *database, char out[256]) {
  int len = snprintf(out, 256, "mongodb://");
  for (size_t i = 0; i < count; i++)
    len += snprintf(out + len, 256 - (size_t)len, "%s127.0.0.1:%u", i > 0 ? "," : "", m[i].port);
  snprintf(out + len, 256 - (size_t)len, "/%s%s%s", database, m->set != NULL ? "?replicaSet=" : "",
           m->set != NULL ? m->set : "");
}

/* Until the set has a primary, or the server answers when it is of none. Its index among them. */
static inline size_t mongod_wait(const struct mongod *m, size_t count) {
  char url[256];
  bson_error_t error = {0};
  mongod_url(m, count, "admin", url);
  mongoc_uri_t *uri = mongoc_uri_new(url);
  mongoc_uri_set_option_as_bool(uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOD_PATIENCE_MS);
  mongoc_client_t *client = mongoc_client_new_from_uri(uri);
  mongoc_server_description_t *primary = mongoc_client_select_server(client, true, NULL, &error);
  if (primary == NULL)
    fail_msg("%s: %s", url, error.message);
  size_t i = 0;
  while (i + 1 < count && m[i].port != mongoc_server_description_host(primary)->port)
    i++;
  mongoc_server_description_destroy(primary);
  mongoc_client_destroy(client);
  mongoc_uri_destroy(uri);
  return i;
}

/* Until every member has what was written so far. */
static inline void mongod_wait_all(const struct mongod *m, size_t count) {
  char command[160];
  snprintf(command, sizeof command,
           "{\"insert\": \"all\", \"documents\": [{}], \"writeConcern\": {\"w\": %zu, \"wtimeout\": %d}}", count,
           MONGOD_PATIENCE_MS);
  mongod_must(&m[mongod_wait(m, count)], command);
}

/* One server: standalone, or with a name of a set the only member of it. Ready. */
static inline void mongod_start(struct mongod *m, const char *set) {
  char config[160];
  mongod_new(m, set);
  snprintf(config, sizeof config,
           "{\"replSetInitiate\": {\"_id\": \"%s\", \"members\": [{\"_id\": 0, \"host\": \"127.0.0.1:%u\"}]}}", set,
           m->port);
  if (set != NULL)
    mongod_must(m, config);
  mongod_wait(m, 1);
}

/* Three that elect fast; ready. */
static inline void mongod_start_set(struct mongod m[3], const char *set) {
  char config[512];
  for (int i = 0; i < 3; i++)
    mongod_new(&m[i], set);
  snprintf(config, sizeof config,
           "{\"replSetInitiate\": {\"_id\": \"%s\", \"settings\": {\"electionTimeoutMillis\": 1000,"
           " \"heartbeatIntervalMillis\": 500}, \"members\": [{\"_id\": 0, \"host\": \"127.0.0.1:%u\"},"
           " {\"_id\": 1, \"host\": \"127.0.0.1:%u\"}, {\"_id\": 2, \"host\": \"127.0.0.1:%u\"}]}}",
           set, m[0].port, m[1].port, m[2].port);
  for (int i = 1; i < 3; i++)
    mongod_must(&m[i], "{\"ping\": 1}");
  mongod_must(&m[0], config);
  mongod_wait_all(m, 3);
}

/* Again on the same data and port; ready. */
static inline void mongod_again(struct mongod *m) {
  mongod_launch(m);
  mongod_wait(m, 1);
}
