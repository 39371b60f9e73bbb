/* In: a function. Out: a thread that runs it. Why: a signal to the process goes to any thread that does not block it,
 * and one that hangs, or sits in a library that does not expect it, is the wrong one. */
#pragma once
#include "attr.h"

#include <pthread.h>

/* Starts a thread that leaves the signals of the process (SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD and what else is
 * sent to a process) to the main thread. It still takes its own faults and what somebody sends to it alone. Any thread;
 * returns 0 or the negative error number of pthread_create. */
int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg) NODISCARD;
