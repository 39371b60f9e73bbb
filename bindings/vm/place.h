/* In: a thread that runs a script and does not come back. Out: where in the script it is.
 * Why: a budget ends what Lua runs, not what C runs for it. Whoever is about to end the process for that (watchdog.h)
 * wants to say which line it was. A signal makes the thread itself write it down, wherever it is.
 * Thread: any but the one it asks about; one asks at a time. The last resort of a process that is about to end: the
 * frames are read while they may be changing, so a fault is caught and means "unknown". */
#pragma once
#include "attr.h"

#include <stdbool.h>

#define PLACE_MAX 256

/* "scripts/bots/echo.lua:3 (in sort)" in out[]. tid: the kernel's number of a thread of this process. false: it runs no
 * script, or has not answered within half a second; out[] is empty then. */
bool place_of_thread(int tid, char out[PLACE_MAX]);
