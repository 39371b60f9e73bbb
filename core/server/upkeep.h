/* In: a server. Out: timers that look after it while it runs. Why: what happens again and again, whatever anybody asks,
 * stands in one place; starting and stopping (server.c) only switch it on and off. Thread: main. */
#pragma once
#ifndef ROOM_SERVER
#error "upkeep.h is private to core/server"
#endif

#include "attr.h"

#include <stdbool.h>

struct server;

#define UPKEEP_TIMERS 7

void upkeep_open(struct server *s);
/* When everything else runs. 0, or a negative code. */
int upkeep_start(struct server *s) NODISCARD;
void upkeep_stop(struct server *s);
/* An order for the scripts begins, or is over: the service manager is told. arg: the server. */
void upkeep_order(void *arg, bool begins);
