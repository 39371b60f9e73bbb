/* In: nothing. Out: for each setting that is a time, the test that waits for it on a running server: a file below
 * spec/e2e and the title of a test in it. Why: a duration that nobody ever waited for is a guess (every client that
 * said nothing was once disconnected after a minute, and no test noticed). config_test fails for a duration without a
 * row, and for a row whose test is not there. */
#pragma once
#ifndef ROOM_CONFIG
#error "duration_tests.h is private to core/config"
#endif

/* X(id, file, title) */
#define DURATION_TESTS(X)                                                                                              \
  X(WORKER_STALL_TIMEOUT, "durations", "WORKER_STALL_TIMEOUT: so long a worker may not come round")                    \
  X(JWT_LEEWAY, "durations", "JWT_LEEWAY: so much longer than its end a token holds")                                  \
  X(HANDSHAKE_TIMEOUT, "durations",                                                                                    \
    "HANDSHAKE_TIMEOUT: so long a request has to be complete, the first and any other")                                \
  X(HTTP_IDLE_TIMEOUT, "durations", "HTTP_IDLE_TIMEOUT: so long a connection may wait for its next request")           \
  X(WS_PING_PERIOD, "durations", "WS_PING_PERIOD: so long lies between two pings, not less")                           \
  X(WS_PONG_WAIT, "durations",                                                                                         \
    "WS_PONG_WAIT: who says nothing for so long is cut, and nobody earlier, whenever it spoke last")                   \
  X(RATE_BURST, "durations", "RATE_BURST: so much time's worth of the rates may be spent at once")                     \
  X(RATE_WINDOW, "durations",                                                                                          \
    "RATE_WINDOW: so long what was said counts; retry_after is neither too short nor too long")                        \
  X(RATE_LIMIT_CLEANUP_INTERVAL, "durations",                                                                          \
    "RATE_LIMIT_CLEANUP_INTERVAL: so often limiters forget who has been quiet for a window")                           \
  X(SESSION_TTL, "durations", "SESSION_TTL: so long a conversation that everybody has left stays in memory")           \
  X(SESSION_CLEANUP_INTERVAL, "durations", "SESSION_CLEANUP_INTERVAL: so often idle conversations are looked for")     \
  X(STORE_TIMEOUT, "durations", "STORE_TIMEOUT: so long a message waits for a database that is away")                  \
  X(ANSWER_LATE_MAX, "durations",                                                                                      \
    "ANSWER_LATE_MAX: what waited longer for a server is not answered, what waited less is")                           \
  X(RETENTION_DAYS, "data", "erases what is older, not what is newer, and says so")                                    \
  X(RETENTION_CLEANUP_INTERVAL, "durations",                                                                           \
    "RETENTION_CLEANUP_INTERVAL: so often what is older than RETENTION_DAYS is looked for")                            \
  X(SCRIPT_DRAIN_TIMEOUT, "durations", "SCRIPT_DRAIN_TIMEOUT: so long handlers of the version before may go on")       \
  X(SCRIPT_CHECK_TIMEOUT, "durations", "SCRIPT_CHECK_TIMEOUT: so long scripts may load")                               \
  X(SCRIPT_SLICE_BUDGET, "durations", "SCRIPT_SLICE_BUDGET: so much processor time a handler has in one go")           \
  X(SCRIPT_MESSAGE_BUDGET, "durations",                                                                                \
    "SCRIPT_MESSAGE_BUDGET: so much it has for one message, however often it waits")                                   \
  X(SCRIPT_WAIT_DEADLINE, "durations", "SCRIPT_WAIT_DEADLINE: so long a handler may wait")                             \
  X(SCRIPT_KILLS_WINDOW, "durations",                                                                                  \
    "SCRIPT_KILLS_WINDOW: kills further apart than that put nothing aside, nearer ones do")                            \
  X(SHUTDOWN_TIMEOUT, "durations", "SHUTDOWN_TIMEOUT: so long a stop may take, whatever hangs")
