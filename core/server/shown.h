/* In: a server that starts. Out: gauges of its bounds, and counters that stand at zero.
 * Why: an alert on "nearly full" needs the bound beside the number; and a counter whose first line appears with its
 * first event looks to Prometheus as if it had always been there, so that event would raise no alert. Thread: main,
 * once. */
#pragma once
#ifndef ROOM_SERVER
#error "shown.h is private to core/server"
#endif

struct server;

void shown_begin(const struct server *s);
