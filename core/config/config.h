/* In: environment, a file of KEY=value lines, the defaults. Out: one immutable set of settings.
 * Why: one table says name, type, default, bounds, secrecy and meaning of every setting; the reader, the checks,
 * `chatbox config` and docs/settings.md come from it. Environment wins over file, file over default.
 * Thread: written before any other thread starts, read by all after. */
#pragma once
#include "attr.h"
#include "config_value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LLM_KEY(X, n)                                                                                                  \
  X(LLM_PROVIDER_##n##_API_KEY, "LLM_PROVIDER_" #n "_API_KEY", STRING, "", 0, 4096, true,                              \
    "Reserved: key of a model's provider. Nothing uses it yet.")
/* Secrets of what is still to come: checked like all others, and the start warns that nothing uses them. */
#define RESERVED_SETTINGS(X)                                                                                           \
  X(SMTP_PASS, "SMTP_PASS", STRING, "", 0, 4096, true, "Reserved: password of the mail server. Nothing uses it yet.")  \
  X(SMS_AUTH_TOKEN, "SMS_AUTH_TOKEN", STRING, "", 0, 4096, true,                                                       \
    "Reserved: token of the service that sends text messages. Nothing uses it yet.")                                   \
  X(WEBHOOK_SECRET, "WEBHOOK_SECRET", STRING, "", 0, 4096, true,                                                       \
    "Reserved: signs what is sent to other servers. Nothing uses it yet.")                                             \
  LLM_KEY(X, 1)                                                                                                        \
  LLM_KEY(X, 2)                                                                                                        \
  LLM_KEY(X, 3)

/* Types: STRING (bytes, max = longest), INT (min..max), BOOL (true/false, 1/0, yes/no, on/off), DURATION (min..max in
 * ms; written 250ms, 15s, 5m, 1h30m, 2h; a bare 0 is 0), SIZE (min..max in bytes; written 4096, 64KiB, 1MiB, 1GiB;
 * KB/MB as KiB/MiB). A SECRET is never printed. A value that contains REPLACE_WITH, PLACEHOLDER, CHANGE-ME, CHANGE_ME
 * or YOUR- (any case) is refused for every setting, wherever it comes from; of a secret also what secret.h knows. */
#define SETTINGS(X)                                                                                                    \
  /*  id                 name                           type      default      min  max         secret help */         \
  X(SERVER_ADDRESS, "SERVER_ADDRESS", STRING, "0.0.0.0", 1, 255, false, "Address to listen on.")                       \
  X(SERVER_PORT, "SERVER_PORT", INT, "8080", 0, 65535, false, "Port to listen on; 0 takes a free one and logs it.")    \
  X(PATH_PREFIX, "CHATBOX_PATH_PREFIX", STRING, "/chatbox", 1, 255, false,                                             \
    "Prefix of every path; starts with a slash, ends without one.")                                                    \
  X(WORKERS, "WORKERS", INT, "0", 0, 256, false, "Worker threads; 0 is one per core.")                                 \
  X(WORKER_STALL_TIMEOUT, "WORKER_STALL_TIMEOUT", DURATION, "10s", 100, 600000, false,                                 \
    "A worker that has not come round for so long has stalled: the process says in which script, and ends with exit "  \
    "code 70 to be started again. At least twice SCRIPT_SLICE_BUDGET and SCRIPT_MESSAGE_BUDGET.")                      \
  X(TLS_CERT_FILE, "TLS_CERT_FILE", STRING, "", 0, 4096, false,                                                        \
    "PEM certificate chain; with TLS_KEY_FILE: TLS. Both are read again when they change.")                            \
  X(TLS_KEY_FILE, "TLS_KEY_FILE", STRING, "", 0, 4096, false, "PEM private key of TLS_CERT_FILE.")                     \
  X(JWT_SECRET, "JWT_SECRET", STRING, "", 0, 4096, true, "Secret of HS256/384/512 tokens, at least 32 bytes.")         \
  X(JWT_PUBLIC_KEY_FILE, "JWT_PUBLIC_KEY_FILE", STRING, "", 0, 4096, false,                                            \
    "PEM or JWKS file with the public keys of RS256/ES256 tokens; read again when it changes.")                        \
  X(JWT_ISSUER, "JWT_ISSUER", STRING, "", 0, 1024, false,                                                              \
    "What a token has to name as its issuer (iss); empty: any or none.")                                               \
  X(JWT_AUDIENCE, "JWT_AUDIENCE", STRING, "", 0, 1024, false,                                                          \
    "What a token has to name in its audience (aud, one or a list); empty: any or none.")                              \
  X(JWT_LEEWAY, "JWT_LEEWAY", DURATION, "60s", 0, 3600000, false,                                                      \
    "How far the clocks of issuer and server may be apart: a token holds so much longer, and earlier.")                \
  X(JWT_REQUIRE_EXP, "JWT_REQUIRE_EXP", BOOL, "true", 0, 0, false, "Refuse tokens without an expiry.")                 \
  X(WS_ALLOWED_ORIGINS, "WS_ALLOWED_ORIGINS", STRING, "", 0, 8192, false,                                              \
    "Comma list of origins that may open a WebSocket, such as https://chat.example.org; * or empty allows all.")       \
  X(CORS_ALLOWED_ORIGINS, "CORS_ALLOWED_ORIGINS", STRING, "", 0, 8192, false,                                          \
    "Comma list of origins that may call the HTTP API; * is all, empty switches CORS off.")                            \
  X(FRAME_ANCESTORS, "FRAME_ANCESTORS", STRING, "", 0, 8192, false,                                                    \
    "Comma list of origins whose pages may show ours in a frame, such as https://shop.example.org, or 'self', or "     \
    "'none'; empty: all.")                                                                                             \
  X(TRUSTED_PROXIES, "TRUSTED_PROXIES", STRING, "127.0.0.0/8,::1", 0, 8192, false,                                     \
    "Networks whose X-Forwarded-For is believed: name the proxy in front of the server when it is on another "         \
    "machine.")                                                                                                        \
  X(METRICS_ALLOWED_NETWORKS, "METRICS_ALLOWED_NETWORKS", STRING,                                                      \
    "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.0/8,::1", 0, 8192, false,                                         \
    "Networks that may read the metrics; empty allows all. Who comes through a proxy that is not in TRUSTED_PROXIES "  \
    "is "                                                                                                              \
    "in none.")                                                                                                        \
  X(MAX_CONNECTIONS, "MAX_CONNECTIONS", INT, "10000", 1, 1000000, false, "WebSocket connections in total.")            \
  X(MAX_CONNECTIONS_PER_USER, "MAX_CONNECTIONS_PER_USER", INT, "10", 1, 100000, false, "Connections of one user.")     \
  X(MAX_CONNECTIONS_PER_ADDRESS, "MAX_CONNECTIONS_PER_ADDRESS", INT, "1000", 1, 1000000, false,                        \
    "WebSocket connections of one address (IPv6: network of 64 bits); at the bound the one that has been silent "      \
    "longest is closed for the newcomer. A trusted proxy's own has no bound.")                                         \
  X(MAX_HANDSHAKES, "MAX_HANDSHAKES", INT, "1024", 1, 100000, false,                                                   \
    "Connections per worker that are no WebSockets (HTTP counts). At the bound the one idle for longest goes; when "   \
    "each has a request under way, a newcomer gets 503.")                                                              \
  X(MAX_HANDSHAKES_PER_ADDRESS, "MAX_HANDSHAKES_PER_ADDRESS", INT, "256", 1, 100000, false,                            \
    "The same of one address (IPv6: network of 64 bits); at the bound one of its own goes. A trusted proxy's own has " \
    "no bound.")                                                                                                       \
  X(HANDSHAKE_TIMEOUT, "HANDSHAKE_TIMEOUT", DURATION, "15s", 100, 600000, false,                                       \
    "A request has to be complete by then.")                                                                           \
  X(HTTP_IDLE_TIMEOUT, "HTTP_IDLE_TIMEOUT", DURATION, "120s", 1000, 3600000, false,                                    \
    "An HTTP connection on which nothing is asked for so long is closed.")                                             \
  X(MAX_MESSAGE_SIZE, "MAX_MESSAGE_SIZE", SIZE, "1MiB", 1024, 67108864, false, "Largest message from a client.")       \
  X(MAX_BODY_SIZE, "MAX_BODY_SIZE", SIZE, "1MiB", 1024, 67108864, false, "Largest HTTP request body.")                 \
  X(BODY_BYTES_PER_ADDRESS, "BODY_BYTES_PER_ADDRESS", SIZE, "8MiB", 1024, 1073741824, false,                           \
    "Memory per worker of request bodies of one address (IPv6: network of 64 bits) that are not complete or not "      \
    "answered; at the bound the oldest that is not complete goes, with 429. One alone is always taken. A trusted "     \
    "proxy's own has no bound.")                                                                                       \
  X(OUTBOX_LIMIT, "OUTBOX_LIMIT", SIZE, "1MiB", 4096, 67108864, false,                                                 \
    "Bytes waiting for one slow reader; at the bound it is closed and can come back.")                                 \
  X(REPLAY_LIMIT, "REPLAY_LIMIT", SIZE, "256KiB", 0, 67108864, false,                                                  \
    "Bytes of what a client has missed that it is told when it comes back, well under OUTBOX_LIMIT; of more (or more " \
    "than 1000 messages) it reads the conversation anew.")                                                             \
  X(INBOX_LIMIT, "INBOX_LIMIT", INT, "64", 1, 100000, false, "Messages waiting in one conversation.")                  \
  X(INBOX_BYTES, "INBOX_BYTES", SIZE, "1MiB", 4096, 1073741824, false,                                                 \
    "Bytes of messages waiting in one conversation; a single message is always taken.")                                \
  X(INBOX_BYTES_PER_USER, "INBOX_BYTES_PER_USER", SIZE, "4MiB", 4096, 1073741824, false,                               \
    "Bytes of a user's messages that wait or are being worked on, in all conversations.")                              \
  X(WS_PING_PERIOD, "WS_PING_PERIOD", DURATION, "54s", 100, 3600000, false, "Time between pings to a client.")         \
  X(WS_PONG_WAIT, "WS_PONG_WAIT", DURATION, "60s", 100, 3600000, false,                                                \
    "A client that has sent nothing for so long, not even a pong, is closed.")                                         \
  X(CONNECTION_WORK_RATE, "CONNECTION_WORK_RATE", INT, "50", 1, 10000000, false,                                       \
    "Messages of any kind per second and connection, counted before they are decoded.")                                \
  X(CONNECTION_BYTE_RATE, "CONNECTION_BYTE_RATE", SIZE, "256KiB", 1024, 1073741824, false,                             \
    "Bytes of messages per second and connection.")                                                                    \
  X(USER_WORK_RATE, "USER_WORK_RATE", INT, "100", 1, 10000000, false,                                                  \
    "Messages and HTTP requests of any kind per second and user.")                                                     \
  X(USER_BYTE_RATE, "USER_BYTE_RATE", SIZE, "512KiB", 1024, 1073741824, false,                                         \
    "Bytes of messages and request bodies per second and user.")                                                       \
  X(ADDRESS_WORK_RATE, "ADDRESS_WORK_RATE", INT, "2000", 1, 10000000, false,                                           \
    "Messages and HTTP requests per second and address (IPv6: network of 64 bits); a trusted proxy's own has no "      \
    "bound.")                                                                                                          \
  X(ADDRESS_BYTE_RATE, "ADDRESS_BYTE_RATE", SIZE, "8MiB", 1024, 1073741824, false,                                     \
    "Bytes of messages and request bodies per second and address.")                                                    \
  X(RATE_BURST, "RATE_BURST", DURATION, "10s", 100, 3600000, false,                                                    \
    "What a connection, user or address may have spent at once: so much time's worth of the rates above.")             \
  X(RATE_LIMIT, "RATE_LIMIT", INT, "100", 1, 1000000, false, "User messages per user and RATE_WINDOW.")                \
  X(RATE_WINDOW, "RATE_WINDOW", DURATION, "1m", 1, 86400000, false, "Window of RATE_LIMIT.")                           \
  X(READ_RATE_LIMIT, "READ_RATE_LIMIT", INT, "240", 1, 1000000, false,                                                 \
    "Pages of history, lists of conversations and look-ups of others per user and minute.")                            \
  X(END_RATE_LIMIT, "END_RATE_LIMIT", INT, "30", 1, 1000000, false, "Conversations a user may end per minute.")        \
  X(LIVE_RATE_LIMIT, "LIVE_RATE_LIMIT", INT, "600", 1, 1000000, false,                                                 \
    "Typing indicators and pings per user and minute.")                                                                \
  X(ADMIN_RATE_LIMIT, "ADMIN_RATE_LIMIT", INT, "20", 1, 1000000, false,                                                \
    "Orders of an administrator per minute: taking over a conversation, changing the scripts.")                        \
  X(ADMIN_READ_RATE_LIMIT, "ADMIN_READ_RATE_LIMIT", INT, "240", 1, 1000000, false,                                     \
    "Lists and reports an administrator may read per minute; they are counted apart from orders.")                     \
  X(PUBLIC_RATE_LIMIT, "PUBLIC_RATE_LIMIT", INT, "60", 1, 1000000, false,                                              \
    "Requests per address and minute on public endpoints; the probes are never refused.")                              \
  X(CONNECT_RATE_LIMIT, "CONNECT_RATE_LIMIT", INT, "120", 1, 1000000, false, "WebSockets a user may open per minute.") \
  X(ADDRESS_CONNECT_RATE_LIMIT, "ADDRESS_CONNECT_RATE_LIMIT", INT, "6000", 1, 10000000, false,                         \
    "Connections and WebSocket handshakes, failed ones too, per address and minute (IPv6: network of 64 bits); over "  \
    "it 429. The probes are never refused, a trusted proxy's own address has no bound.")                               \
  X(RATE_LIMIT_KEYS, "RATE_LIMIT_KEYS", INT, "100000", 1, 10000000, false,                                             \
    "Users or addresses one limiter remembers.")                                                                       \
  X(RATE_LIMIT_CLEANUP_INTERVAL, "RATE_LIMIT_CLEANUP_INTERVAL", DURATION, "5m", 10, 86400000, false,                   \
    "Time between clean-ups of the limiters.")                                                                         \
  X(SESSION_TTL, "SESSION_TTL", DURATION, "15m", 10, 604800000, false,                                                 \
    "A conversation nobody is connected to leaves memory after so long; it stays in the store.")                       \
  X(SESSION_CLEANUP_INTERVAL, "SESSION_CLEANUP_INTERVAL", DURATION, "5m", 10, 86400000, false,                         \
    "Time between sweeps for idle conversations.")                                                                     \
  X(MAX_SESSIONS, "MAX_SESSIONS", INT, "100000", 1, 10000000, false,                                                   \
    "Conversations in memory; at the bound the one nobody has used for longest leaves it.")                            \
  X(MAX_SESSIONS_PER_USER, "MAX_SESSIONS_PER_USER", INT, "100", 1, 100000, false,                                      \
    "Conversations of one user in memory.")                                                                            \
  X(STORE_URL, "STORE_URL", STRING, "sqlite:chatbox.db", 1, 4096, true,                                                \
    "Where conversations are kept: sqlite:PATH, or mongodb://HOST[,HOST...]/DATABASE?OPTIONS (also mongodb+srv://), "  \
    "with the options of MongoDB's drivers, such as replicaSet, tls and authSource.")                                  \
  X(STORE_READERS, "STORE_READERS", INT, "2", 1, 64, false, "Threads that read from the store.")                       \
  X(STORE_TIMEOUT, "STORE_TIMEOUT", DURATION, "10s", 100, 600000, false,                                               \
    "While the database is away a message waits so long, then it has failed.")                                         \
  X(ANSWER_LATE_MAX, "ANSWER_LATE_MAX", DURATION, "1h", 10, 604800000, false,                                          \
    "What was left unanswered, because the server ended, is answered when it runs again; what is older is not.")       \
  X(STORE_QUEUE, "STORE_QUEUE", INT, "10000", 1, 10000000, false, "Operations waiting for the store.")                 \
  X(STORE_QUEUE_PER_USER, "STORE_QUEUE_PER_USER", INT, "2000", 1, 10000000, false,                                     \
    "The same of one user, reads and writes each; an eighth of the bytes of all, too.")                                \
  X(RETENTION_DAYS, "RETENTION_DAYS", INT, "0", 0, 36500, false,                                                       \
    "Conversations nobody has said anything in for so many days are erased; 0 keeps them.")                            \
  X(RETENTION_CLEANUP_INTERVAL, "RETENTION_CLEANUP_INTERVAL", DURATION, "1h", 10, 86400000, false,                     \
    "Time between two looks for conversations that are older than RETENTION_DAYS.")                                    \
  X(ENCRYPTION_KEY, "ENCRYPTION_KEY", STRING, "", 0, 4096, true,                                                       \
    "Encrypts the text of messages and the names of conversations in the store: 32 bytes, or base64 or hex of 32, "    \
    "from `openssl rand -base64 32`. Empty: they are stored as they are, and an encrypted database is refused.")       \
  X(ENCRYPTION_PREVIOUS_KEYS, "ENCRYPTION_PREVIOUS_KEYS", STRING, "", 0, 4096, true,                                   \
    "Comma list of at most 16 keys that still decrypt (one with a comma in it as base64 or hex); after "               \
    "`chatbox reencrypt` they can go.")                                                                                \
  X(ENCRYPTION_ALLOW_PLAINTEXT, "ENCRYPTION_ALLOW_PLAINTEXT", BOOL, "false", 0, 0, false,                              \
    "With ENCRYPTION_KEY: plain text in the database is shown as genuine, whoever put it there. false: it is shown "   \
    "as damaged until `chatbox reencrypt` has encrypted it.")                                                          \
  X(ENCRYPTION_TAKEOVER, "ENCRYPTION_TAKEOVER", BOOL, "false", 0, 0, false,                                            \
    "With ENCRYPTION_KEY and a MongoDB database that was another program's: what that has written is read as it is. "  \
    "Not needed any more after `chatbox reencrypt`.")                                                                  \
  X(SCRIPTS_DIR, "SCRIPTS_DIR", STRING, "", 0, 4096, false, "Folder of the Lua scripts; empty is the installed one.")  \
  X(WEB_DIR, "WEB_DIR", STRING, "", 0, 4096, false, "Folder of the pages; empty is the installed one.")                \
  X(BOT, "CHATBOX_BOT", STRING, "echo", 1, 100, false, "The bot that answers: a file of scripts/bots.")                \
  X(DEVELOPMENT, "DEVELOPMENT", BOOL, "false", 0, 0, false,                                                            \
    "Reload scripts when their files change, and show script errors to admins.")                                       \
  X(SCRIPT_WATCH, "SCRIPT_WATCH", BOOL, "false", 0, 0, false,                                                          \
    "Reload scripts when their files change, also without DEVELOPMENT: for a mounted ConfigMap.")                      \
  X(SCRIPT_DRAIN_TIMEOUT, "SCRIPT_DRAIN_TIMEOUT", DURATION, "30s", 0, 3600000, false,                                  \
    "After a reload, handlers of the old version have so long to finish.")                                             \
  X(SCRIPT_CANARY_MIN, "SCRIPT_CANARY_MIN", INT, "20", 1, 1000000, false,                                              \
    "Calls a canary must have had before it is judged.")                                                               \
  X(SCRIPT_CANARY_MARGIN, "SCRIPT_CANARY_MARGIN", INT, "5", 0, 100, false,                                             \
    "A canary whose calls fail so many percentage points more often than the current version's is rolled back.")       \
  X(SCRIPT_CHECK_TIMEOUT, "SCRIPT_CHECK_TIMEOUT", DURATION, "10s", 100, 600000, false,                                 \
    "Scripts that have not loaded after so long are refused by check, start and reload; at least twice "               \
    "SCRIPT_MESSAGE_BUDGET.")                                                                                          \
  X(SCRIPT_COROUTINES, "SCRIPT_COROUTINES", INT, "10000", 1, 1000000, false, "Waiting handlers per worker.")           \
  X(SCRIPT_COROUTINES_PER_USER, "SCRIPT_COROUTINES_PER_USER", INT, "100", 1, 1000000, false,                           \
    "Handlers of one user that run or wait, on all workers; beyond it a message or request is refused.")               \
  X(SCRIPT_SLICE_BUDGET, "SCRIPT_SLICE_BUDGET", DURATION, "100ms", 0, 60000, false,                                    \
    "Processor time a handler may use before it waits or ends; then it is ended. 0: any, and scripts are compiled.")   \
  X(SCRIPT_MESSAGE_BUDGET, "SCRIPT_MESSAGE_BUDGET", DURATION, "1s", 10, 600000, false,                                 \
    "The same for all of one message, and for the loading of the scripts; time spent waiting does not count.")         \
  X(SCRIPT_WAIT_DEADLINE, "SCRIPT_WAIT_DEADLINE", DURATION, "5m", 100, 86400000, false,                                \
    "A handler that waits so long, session:ask aside, is ended.")                                                      \
  X(SCRIPT_MEMORY_LIMIT, "SCRIPT_MEMORY_LIMIT", SIZE, "64MiB", 0, 17179869184, false,                                  \
    "Memory of Lua per worker and version of the scripts. At most three versions live beside each other (new, old, "   \
    "canary): plan with WORKERS * 3 * (this + SCRIPT_ALLOCATION_LIMIT). From half of it on it is collected early. "    \
    "0: any.")                                                                                                         \
  X(SCRIPT_ALLOCATION_LIMIT, "SCRIPT_ALLOCATION_LIMIT", SIZE, "8MiB", 1048576, 1073741824, false,                      \
    "Largest single text or table of a script, in memory. Going through it once may come on top of a budget: up to "   \
    "10 ms with the default.")                                                                                         \
  X(SCRIPT_KILLS_MAX, "SCRIPT_KILLS_MAX", INT, "5", 0, 100, false,                                                     \
    "A route or rule of a bot whose handlers had to be ended so often within SCRIPT_KILLS_WINDOW is put aside; 0: "    \
    "never.")                                                                                                          \
  X(SCRIPT_KILLS_WINDOW, "SCRIPT_KILLS_WINDOW", DURATION, "1m", 1, 86400000, false, "Window of SCRIPT_KILLS_MAX.")     \
  X(SCRIPT_ASIDE_TEXT, "SCRIPT_ASIDE_TEXT", STRING, "This is out of order for now. Please try again later.", 1, 1000,  \
    false, "What a route or rule that is put aside answers.")                                                          \
  X(SCRIPT_LOG_RATE, "SCRIPT_LOG_RATE", INT, "100", 1, 1000000, false,                                                 \
    "Lines per second that one file of the scripts may log, ten seconds of it at once; how many were left out is "     \
    "said once a second.")                                                                                             \
  X(SHARED_KEYS_PER_SCRIPT, "SHARED_KEYS_PER_SCRIPT", INT, "5000", 1, 10000000, false,                                 \
    "Keys in chat.shared that one file of the scripts has set.")                                                       \
  X(SHARED_BYTES_PER_SCRIPT, "SHARED_BYTES_PER_SCRIPT", SIZE, "8MiB", 1024, 1073741824, false,                         \
    "Bytes in chat.shared that one file of the scripts has set.")                                                      \
  X(SHARED_KEYS, "SHARED_KEYS", INT, "10000", 1, 10000000, false, "Keys in chat.shared.")                              \
  X(SHARED_BYTES, "SHARED_BYTES", SIZE, "16MiB", 1024, 1073741824, false, "Bytes in chat.shared, keys included.")      \
  X(CONTROL_SOCKET, "CONTROL_SOCKET", STRING, "", 0, 100, false,                                                       \
    "Unix socket of `chatbox reload`; empty is chatbox.sock beside the database.")                                     \
  X(LOG_LEVEL, "LOG_LEVEL", STRING, "info", 1, 8, false, "debug, info, warn or error.")                                \
  X(LOG_FORMAT, "LOG_FORMAT", STRING, "text", 1, 8, false,                                                             \
    "text (key=value) or json. Where standard error is systemd's journal each field is one of its entry, too: "        \
    "CHATBOX_USER=alice.")                                                                                             \
  X(LOG_BUFFER, "LOG_BUFFER", SIZE, "1MiB", 65536, 1073741824, false,                                                  \
    "Log lines waiting for whoever reads standard error; at the bound they are dropped, counted, and one line says "   \
    "how many.")                                                                                                       \
  X(SHUTDOWN_TIMEOUT, "SHUTDOWN_TIMEOUT", DURATION, "30s", 100, 600000, false,                                         \
    "A stop takes at most so long; then the process is gone, with exit code 70 if a part of it hangs.")                \
  RESERVED_SETTINGS(X)

enum setting {
#define SETTING_ENUM(id, name, type, def, min, max, secret, help) SETTING_##id,
  SETTINGS(SETTING_ENUM)
#undef SETTING_ENUM
    SETTING_COUNT,
  SETTING_RESERVED_FIRST = SETTING_SMTP_PASS
};

struct config;

/* file: path or NULL. 0, or a negative code with one line that names key, value and bound in why[]; an unknown key in
 * the file is an error that names its line, a file over 1 MiB too. environ_entries: as environ(7), NULL-terminated; of
 * it only names in the table are read. A file that others may read and that sets a secret is a warning in the log. */
int config_load(const char *file, char *const *environ_entries, struct config **out, char why[512]) NODISCARD;
/* The part of config_load that parses, for the fuzzer: text of KEY=value lines; # comments, blanks, "quoted values". */
int config_parse(struct config *c, const char *text, size_t len, char why[512]) NODISCARD;
struct config *config_new(void) NODISCARD;
void config_free(struct config *c);

/* Types other than asked for are a programming error (abort). Strings live as long as the config. */
const char *config_string(const struct config *c, enum setting s);
int64_t config_int(const struct config *c, enum setting s); /* INT, DURATION in ms, SIZE in bytes */
bool config_bool(const struct config *c, enum setting s);
/* Replaces one value (checked as in a file): for derived defaults in main.c and for tests. */
int config_set(struct config *c, enum setting s, const char *value, char why[512]) NODISCARD;

/* -1 when there is no such name. */
int config_find(const char *name);
/* The secret whose name with _FILE behind it this is, else -1. */
int config_find_file(const char *name);
/* Whether nothing uses it yet. */
bool config_reserved(enum setting s);
const char *config_name(enum setting s);
enum setting_type config_type(enum setting s);
bool config_secret(enum setting s);
/* The test that waits for a setting that is a time: spec/e2e/FILE_test.mjs, and its title. NULL: none. */
const char *config_duration_test(enum setting s, const char **title);
/* As text, "(hidden)" for a secret that is set. source: "environment", "file", "default". */
const char *config_text(const struct config *c, enum setting s, const char **source);
/* All settings in force as KEY=value lines; or, config NULL, the table as Markdown (docs/settings.md). */
void config_print(const struct config *c, FILE *out);
/* The table as the manual page chatbox.conf(5). */
void config_roff(FILE *out);
