/* In: finished lines, from any thread. Out: the same bytes on standard error, in order; or, where that is systemd's
 * journal, finished records, and each an entry of the journal.
 * Why: whoever reads the log may stop reading, and a write to a full pipe blocks; so a thread of its own writes, and
 * everybody else only copies into a ring. Until log_writer_start, and in a forked child, a line is written by its
 * caller, who waits as any command-line program does.
 * Bound: the bytes given to log_writer_start. When the ring is full, lines are dropped until all of it is written;
 * then one line says how many, and they are counted in chatbox_log_dropped_total.
 * Thread: put and flush any; start and stop the main one. One lock, held for a copy. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 4096   /* bytes; PIPE_BUF: a pipe takes such a line whole or not at all */
#define LOG_RECORD_MAX 8192 /* bytes of a record for the journal: a line as its message, and its fields */

/* From now on what is put are records of the journal that journal is a socket of (journal_open); it stays the caller's.
 * A record is lines of FIELD=value, MESSAGE the first of them, and an empty line at its end. -1: lines again. When
 * the journal cannot be told, the message goes to standard error. Before log_writer_start, no other thread. */
void log_writer_journal(int journal);

/* note: makes the line that says how many were dropped, on the writer's thread; its length. 0; UV_ENOMEM; the code of
 * a thread that could not be made. Also sets handlers of the signals that end a program, unless it has its own: what
 * lies in the ring is written before the process dies. */
int log_writer_start(size_t room, size_t (*note)(char line[LOG_RECORD_MAX], uint64_t dropped)) NODISCARD;
/* A whole line with its newline, at most LOG_LINE_MAX bytes, or a whole record, at most LOG_RECORD_MAX; copies. */
void log_writer_put(const char *line, size_t len);
/* Waits until everything that was put before the call has been written. false: timeout_ms were not enough. */
bool log_writer_flush(uint64_t timeout_ms);
/* Flushes for at most timeout_ms and ends the thread; what nobody read by then is given up. From now on a line is
 * written by its caller if that is possible without waiting, else dropped. */
void log_writer_stop(uint64_t timeout_ms);
