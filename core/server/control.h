/* In: one line from a Unix socket. Out: one call of command(), later one reply on that socket.
 * Why: `chatbox reload`, `erase` and `export` have to reach the running server, and to say what came of it. The socket
 * file has mode 0600: who may open it is who may command. A reply is `ok text` or `error text`, of one line or many;
 * the close ends it.
 * Thread: all on the loop's thread, but control_call, which blocks. SIGPIPE has to be ignored by the process.
 * Bounds: 8 clients (a further one is told so), a line of 1 KiB, a reply of 64 KiB (what is longer is cut), 10 s for
 * a client to say its line, and again to take the reply. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_LINE_MAX 1024
#define CONTROL_REPLY_MAX 65536
#define CONTROL_IDLE_MS 10000
#define CONTROL_CALL_MS 60000

struct uv_loop_s;
struct control;
struct control_client;

/* `who` is valid until control_reply, which is due exactly once, at once or later, also when the client or the control
 * is long gone. `line` is borrowed for the call. */
typedef void control_command(void *arg, struct control_client *who, const char *line);

/* 0; E_BUSY when a live server listens there; E_CONFLICT when the path is something else than a socket; or libuv's
 * code. The socket file of a dead server is replaced. why[] says it in one line. */
int control_open(struct uv_loop_s *loop, const char *path, control_command *command, void *arg, struct control **out,
                 char why[256]) NODISCARD;
/* The user at the other end: "alice (uid 1000)". Only before the reply. */
#define CONTROL_WHO_MAX 64
void control_who(const struct control_client *who, char out[CONTROL_WHO_MAX]);
void control_reply(struct control_client *who, bool ok, const char *text);
/* Before the reply: whatever it will say, it is an error that begins with this line. Copies; once. */
void control_fail(struct control_client *who, const char *line);
/* Removes the file, hangs up on everybody; memory goes when the loop has run the close call-backs. NULL is allowed. */
void control_close(struct control *c);
/* Drops clients that were idle at that time of the loop's clock. Runs by itself every second while there are
 * clients. */
void control_sweep(struct control *c, uint64_t now_ms);

/* The other side. Writes the text of the reply to out. 0 for `ok`; E_INVALID for `error`; E_GONE when the server hung
 * up without an answer; libuv's code when there is none. why[] says it in one line. At most 60 s. */
int control_call(const char *path, const char *line, FILE *out, char why[256]) NODISCARD;
/* The same with another limit. */
int control_call_within(const char *path, const char *line, FILE *out, int limit_ms, char why[256]) NODISCARD;
