/* In: counts and durations from every thread. Out: the Prometheus text format 0.0.4.
 * Why: the names are the contract of reference section 12; they stand in one table. Relaxed atomics: a scrape sees each
 * number whole, not all numbers of one instant. Bound: METRIC_SERIES_MAX label sets per name; what comes after counts
 * under the label value "other". Any thread. */
#pragma once
#include "attr.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define METRIC_SERIES_MAX 200
#define METRIC_SCRIPT_MAX 200
#define METRIC_LABELS_MAX 255 /* bytes */

/* kinds: COUNTER, GAUGE, HISTOGRAM (buckets .005 … 10 s, or durations 1 … 3600 s: LONGHIST) */
#define METRICS(X)                                                                                                     \
  X(CONNECTIONS, "chatbox_websocket_connections_total", GAUGE, "Open WebSocket connections")                           \
  X(CONNECTION_SECONDS, "chatbox_websocket_connection_duration_seconds", LONGHIST, "Life of a connection")             \
  X(MESSAGES_RECEIVED, "chatbox_messages_received_total", COUNTER, "Valid messages from clients")                      \
  X(MESSAGES_SENT, "chatbox_messages_sent_total", COUNTER, "Text frames written")                                      \
  X(MESSAGE_ERRORS, "chatbox_message_errors_total", COUNTER, "Messages answered with an error")                        \
  X(ACTIVE_SESSIONS, "chatbox_active_sessions_total", GAUGE, "Conversations in memory that have not ended")            \
  X(SESSIONS_CREATED, "chatbox_sessions_created_total", COUNTER, "Conversations stored for the first time")            \
  X(SESSIONS_ENDED, "chatbox_sessions_ended_total", COUNTER, "Conversations ended")                                    \
  X(SESSIONS_EVICTED, "chatbox_sessions_evicted_total", COUNTER, "Idle conversations that left memory for others")     \
  X(RATELIMIT_BLOCKED, "chatbox_ratelimit_blocked_total", COUNTER, "Refusals by limiter")                              \
  X(HTTP_SECONDS, "chatbox_http_request_duration_seconds", HISTOGRAM, "HTTP requests by endpoint and method")          \
  X(ADMIN_TAKEOVERS, "chatbox_admin_takeovers_total", COUNTER, "Conversations taken over by an administrator")         \
  X(ADMIN_DROPPED, "chatbox_admin_messages_dropped_total", COUNTER, "Messages an administrator read too slowly for")   \
  X(MONGODB_SECONDS, "chatbox_mongodb_operation_seconds", HISTOGRAM, "Store operations under the reference's names")   \
  X(STORE_SECONDS, "chatbox_store_operation_seconds", HISTOGRAM, "Store operations, waiting included")                 \
  X(STORE_COMMITS, "chatbox_store_commits_total", COUNTER, "Transactions committed")                                   \
  X(STORE_ERRORS, "chatbox_store_errors_total", COUNTER, "Store operations that failed")                               \
  X(STORE_QUEUED, "chatbox_store_queue", GAUGE, "Operations waiting for the store")                                    \
  X(STORE_READY, "chatbox_store_ready", GAUGE, "1 while the store takes messages; looked at every 5 s")                \
  X(DAMAGED, "chatbox_messages_damaged_total", COUNTER, "Stored texts that were read and cannot be decrypted")         \
  X(KEY_SEALED, "chatbox_encryption_key_messages", GAUGE, "Texts sealed with ENCRYPTION_KEY: change it before 2^32")   \
  X(OUTBOX_OVERFLOWS, "chatbox_outbox_overflows_total", COUNTER, "Slow readers closed")                                \
  X(INBOX_OVERFLOWS, "chatbox_inbox_overflows_total", COUNTER, "Messages refused because the conversation was busy")   \
  X(LOG_DROPPED, "chatbox_log_dropped_total", COUNTER, "Log lines nobody read in time")                                \
  X(SCRIPT_ERRORS, "chatbox_script_errors_total", COUNTER, "Handlers that failed, by script version")                  \
  X(SCRIPT_INFO, "chatbox_scripts_info", GAUGE, "Versions of the scripts that answer, by role")                        \
  X(SCRIPT_RELOADS, "chatbox_script_reloads_total", COUNTER, "Reloads by outcome")                                     \
  X(SCRIPT_COROUTINES, "chatbox_script_coroutines", GAUGE, "Handlers waiting")                                         \
  X(SCRIPT_MEMORY, "chatbox_script_memory_bytes", GAUGE, "Memory of all Lua VMs")                                      \
  X(SCRIPT_COLLECTIONS, "chatbox_script_collections_total", COUNTER, "Collections because a Lua VM was half full")     \
  X(SCRIPTS_QUARANTINED, "chatbox_scripts_aside", GAUGE, "Routes and rules of bots that are put aside")                \
  X(SCRIPT_QUARANTINED, "chatbox_scripts_aside_name", GAUGE, "1 for each that is put aside, by name")                  \
  X(SCRIPT_KILLS, "chatbox_script_kills_total", COUNTER, "Handlers ended by version and kind: time, memory, wait")     \
  X(WORKER_DELAYS, "chatbox_worker_delays_total", COUNTER, "Times a worker, or the main thread, was away for 2 s")     \
  X(START_TIME, "chatbox_start_time_seconds", GAUGE, "When the server started, in seconds since 1970")                 \
  X(DESCRIPTORS, "chatbox_open_descriptors", GAUGE, "Descriptors the process has open")                                \
  X(MEMORY, "chatbox_resident_memory_bytes", GAUGE, "Memory of the process")                                           \
  X(LIMIT, "chatbox_limit", GAUGE, "Bounds in force by setting; DESCRIPTORS: what the system allows")

enum metric {
#define METRIC_ENUM(id, name, kind, help) METRIC_##id,
  METRICS(METRIC_ENUM)
#undef METRIC_ENUM
    METRIC_COUNT
};

/* COUNTER: n ≥ 0. GAUGE: any n. */
void metrics_add(enum metric m, int64_t n);
void metrics_observe(enum metric m, double seconds);
/* Of a GAUGE without labels that one thread at a time sets, and nobody adds to. */
void metrics_set(enum metric m, int64_t value);
/* labels: ready text such as `limiter="message"` (values escaped, names always in the same order), borrowed; the caller
 * keeps the number of values small. Takes a lock: not for use under another one. Labels that would break the document,
 * or are longer than METRIC_LABELS_MAX, are not counted. */
void metrics_add_labelled(enum metric m, const char *labels, int64_t n);
void metrics_observe_labelled(enum metric m, const char *labels, double seconds);
/* With all labels together; of a histogram the number of observations. */
int64_t metrics_value(enum metric m);

/* A counter of a script: name [a-z_][a-z0-9_]{0,99}, shown as chatbox_script_<name>, none of the above. labels: NULL or
 * ready text. n finite and ≥ 0. 0, E_INVALID (also for labels that would break the document), E_FULL (METRIC_SCRIPT_MAX
 * series in all). */
int metrics_script_add(const char *name, const char *labels, double n) NODISCARD;

/* The table as a page of the manual. */
void metrics_print(FILE *out);

/* A heap string, *len without the final NUL; the caller frees; NULL when memory is out. */
char *metrics_render(size_t *len) NODISCARD;
