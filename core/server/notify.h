/* In: what the server is about to do. Out: one datagram to the service manager that started it, if one did.
 * Why: with Type=notify systemd waits until the server really serves, and starts it again when its main thread no
 * longer comes round. The protocol is sd_notify(3): lines of NAME=value to the socket that NOTIFY_SOCKET names. Thread:
 * main. A manager that does not listen costs nothing: the datagram is dropped. */
#pragma once
#ifndef ROOM_SERVER
#error "notify.h is private to core/server"
#endif

#include "attr.h"

#include <stdbool.h>
#include <stdint.h>

/* 0, also when nobody asked to be told; or a negative code. */
int notify_send(const char *state);
/* Says that the scripts are read again, in the form that newer managers want, or that this is over. */
void notify_reloading(bool begins);
/* How often notify_send("WATCHDOG=1") is expected, halved so that one may be late; 0: never. */
uint64_t notify_watchdog_ms(void);
