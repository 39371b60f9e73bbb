/* In: records. Out: entries of systemd's journal, with fields. Why: what standard error is to the journal is one line
 * of text; of a record it knows each field, so `journalctl CHATBOX_USER=…` finds it. The protocol is one datagram,
 * whose lines are FIELD=value (systemd.io/JOURNAL_NATIVE_PROTOCOL). Thread: the one that writes the log. Nothing here
 * waits. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define JOURNAL_FIELD_MAX 64 /* bytes of the name of a field */

/* Whether what is written to the descriptor goes to the journal: JOURNAL_STREAM of the environment names it. */
bool journal_is(int fd) NODISCARD;
/* A socket connected to the journal at path; a negative code: there is none. The caller closes it. */
int journal_open(const char *path) NODISCARD;
/* One record: FIELD=value lines, each with its newline. 0; UV_EAGAIN: the journal is busy, poll() tells when it is not;
 * another negative code: it cannot be told. Also from a signal handler. */
int journal_send(int fd, const char *record, size_t len) NODISCARD;
/* prefix and key as the journal wants the name of a field: capitals, digits, _; cut to JOURNAL_FIELD_MAX bytes. */
void journal_field(const char *prefix, const char *key, char out[JOURNAL_FIELD_MAX + 1]);
