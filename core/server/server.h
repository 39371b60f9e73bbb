/* In: settings. Out: a running server, until a signal ends it. Why: the one place where transport, sessions, store and
 * scripts meet; everything else knows only its neighbours. Part of the program, not of the core library.
 * Thread: main. */
#pragma once
#include "attr.h"
#include "config.h"

struct keyring;

/* Runs until SIGTERM or SIGINT. 0, or a negative code with one line in why[] when the start failed. */
int server_run(const struct config *config, char why[512]) NODISCARD;
/* Where the control socket is: CONTROL_SOCKET, else chatbox.sock beside the database. */
void server_control_path(const struct config *config, char *out, size_t room);
/* The keys that the settings name, accepting what they say and what accept says (enum cipher_accept). As keyring_new.
 */
int server_keyring(const struct config *c, unsigned accept, struct keyring **out, char why[256]) NODISCARD;
