/* In: a server that starts, runs and stops. Out: its end, with a reason, when any of that hangs.
 * Why: what hangs in C cannot be ended, so the process ends: while starting with a refusal that names the script, later
 * with exit code 70 for its supervisor to start it again. SHUTDOWN_TIMEOUT is a promise: then the process is gone.
 * Thread: main. */
#pragma once
#ifndef ROOM_SERVER
#error "stall.h is private to core/server"
#endif

#include "attr.h"
#include "config.h"

#include <stddef.h>
#include <stdint.h>

struct server;

/* A part of it hung and could not be ended: whatever looks after the process starts it again. */
#define EXIT_STALLED 70

/* So long clients and handlers have at a stop; what is left of SHUTDOWN_TIMEOUT is for taking down. */
uint64_t stall_stop_ms(const struct config *c);
/* Of that, so long the reader of the log has for the last lines. */
uint64_t stall_last_lines_ms(const struct config *c);
/* So long a script may load, here and in `chatbox check`. */
uint64_t stall_loading_ms(const struct config *c);
/* The text of the refusal when it has not: "scripts/bots/x.lua:1: …". tid: of the thread that loads. */
void stall_loading_text(const struct config *c, int tid, char out[512]);

int stall_open(struct server *s, char why[512]) NODISCARD;
void stall_close(struct server *s);
/* Worker i loads the scripts from now on. */
void stall_loading(struct server *s, size_t i);
/* All of them run, and they and the main thread have to come round from now on. */
void stall_running(struct server *s);
/* The stop begins: from now on it is short of time. */
void stall_stopping(struct server *s);
/* The workers are about to end. */
void stall_ending(struct server *s);
