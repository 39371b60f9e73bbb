/* In: texts and HTTP requests, before anything of them has been decoded. Out: whether they may go on; if not, their
 * sender has been told when.
 * Why: what a message costs before its kind is known (decoding, a handler's start) is paid out of buckets of its
 * connection, its user and its address, so nobody spends more of a worker than is theirs. Over the rate is an answer
 * (TOO_MANY_REQUESTS, retry_after), never a close. Thread: the worker's. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct http_request;
struct server;
struct site;

/* main thread; 0 or UV_ENOMEM. */
int admission_open(struct server *s) NODISCARD;
void admission_close(struct server *s); /* also of one that was not opened */
void admission_sweep(struct server *s, uint64_t now_ms);

/* A connection that was just opened gets its accounts; when its address has too many, the one that has been silent
 * longest is closed. 0; E_LIMITED: there is no room for another account. bye: when it has gone. */
int admission_greet(struct site *site, struct conn *c) NODISCARD;
void admission_bye(struct site *site, struct conn *c);
bool admission_text(struct site *site, struct conn *c, const char *text, size_t len) NODISCARD;
/* Frames that are no text (pings, pongs, pieces). false: they are over the share, and get no answer. */
bool admission_frames(struct site *site, struct conn *c, uint64_t work, uint64_t bytes) NODISCARD;
/* A connection of that address, or a handshake of that user; NULL: not known. 0, or ms until one more is let in. */
uint64_t admission_arriving(struct site *site, const char *address, const char *user_id);
/* false: it has been answered. The probes always pass. */
bool admission_http(struct site *site, struct http_request *http) NODISCARD;
