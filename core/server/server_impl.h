/* In: nothing. Out: the inside of a server, for the files of this room only.
 * Why: what a worker does between transport and scripts (site.c), what is told to a running server (command.c) and
 * how it starts and stops (server.c) are separate questions. */
#pragma once
#ifndef ROOM_SERVER
#error "server_impl.h is private to core/server"
#endif

#include "attr.h"
#include "config.h"
#include "net.h"
#include "scripts.h"
#include "store.h"
#include "upkeep.h"
#include "watchdog.h"
#include "worker.h"

#include <signal.h>
#include <uv.h>

#define WORKERS_MAX 256

struct control_client;
struct server;

struct site {
  struct server *server;
  struct worker *worker;
  struct net *net;
  struct expiry *expiry;
  size_t index;
  int fd;
  _Atomic size_t websockets, requests, tasks; /* of its last turn, for the stop */
};

enum stop_phase { STOP_NOT, STOP_TASKS, STOP_CLOSE, STOP_DONE };

struct server {
  const struct config *config;
  uv_loop_t loop;
  uv_async_t async;
  uv_signal_t signals[3];
  uv_timer_t stop_timer, upkeep[UPKEEP_TIMERS];
  size_t upkeep_count; /* of those, running */
  bool store_asked;    /* whether it is there, and it has not answered yet */
  struct mailbox *home;
  struct gate *gate;
  struct tls *tls; /* NULL: none is spoken */
  struct sessions *sessions;
  struct keyring *keys;
  struct store *store;
  struct shared *shared;
  struct scripts *scripts;
  struct pages *pages;
  struct control *control;
  struct erasure *erasure;
  struct recovery *recovery;
  struct watch *watch;
  struct watch_files *watch_keys;
  struct vm_world world;
  struct accounts *users, *addresses; /* what each of them may spend */
  struct account_limits connection_limits;
  struct crowd *crowd, *devices; /* connections by address, by user */
  atomic_bool stopping;
  enum stop_phase phase;
  uint64_t stop_started_ms;
  struct trial *trial;
  struct watchdog *watchdog;
  int tids[WORKERS_MAX]; /* of the workers, for the watchdog: they may be gone when it asks */
  size_t count, started;
  struct site sites[WORKERS_MAX];
};

/* What a worker is given: the transport on one side, the scripts on the other. */
extern const struct worker_hooks server_site_hooks;

/* Main thread. fn(arg(site, with)) on every worker. */
void server_each_site(struct server *s, void (*fn)(void *), void *(*arg)(struct site *, void *), void *with);
void *server_just_site(struct site *site, void *with);
/* Any thread. To the people who run the server, in development: the console of their page. */
void server_script_error(void *arg, const char *text, const char *version);
/* Main thread. The pages go with the scripts. */
void server_reload_pages(void *arg);
/* Main thread. Reads the key files again; reason is for the log. 0, or the code and text of what cannot be used: that
 * stays as it was. */
int server_read_keys(struct server *s, const char *reason, char why[512]);
/* Main thread. From now on it happens by itself when one of the files changes. 0 or UV_ENOMEM. */
int server_watch_keys(struct server *s) NODISCARD;
/* Main thread. A line on the control socket. */
void server_command(void *arg, struct control_client *who, const char *line);
