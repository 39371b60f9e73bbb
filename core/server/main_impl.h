/* In: nothing. Out: what the command line's files share.
 * Why: main.c is the table of commands, main_manual.c makes manual page and completion of it; those that look after the
 * stored data are in main_data.c, those about the scripts in main_scripts.c, the one that talks in main_chat.c; all but
 * that read their settings through main_settings.c. Part of the program, not of the core library. */
#pragma once
#ifndef ROOM_SERVER
#error "main_impl.h is private to core/server"
#endif

#include "attr.h"
#include "config.h"

struct command {
  const char *name, *line; /* line: what the command takes, as in its usage */
  int (*run)(int argc, char **argv);
  const char *help;
};

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

/* Prints text on stderr; returns code. */
int complain(const char *text, int code);
/* Says that a command takes no such argument; EXIT_USAGE. */
int complain_about(const char *command, const char *argument);
/* The settings from the environment and file (NULL: none). NULL: complained. */
struct config *load(const char *file);
/* The same of a command line that has --config FILE at most; what is left of it starts at optind. */
struct config *load_from(int argc, char **argv);
/* The same when nothing else may be on the command line. */
struct config *load_only(int argc, char **argv);
/* What a server asks of its secrets beyond what every command does; warns of those that nothing uses. 0; E_INVALID. */
int secrets_check(const struct config *c, char why[512]);

/* Commands. */
int command_check_secrets(int argc, char **argv);
int command_backup(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_export(int argc, char **argv);
int command_erase(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_check(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_promote(int argc, char **argv);
int command_rollback(int argc, char **argv);
int command_scripts(int argc, char **argv);
/* What scripts/init.lua says of the protocol: "protocol", a page; "openapi", "asyncapi". */
int command_protocol(const char *which);
/* The manual page chatbox(1), in roff; closing is what holds for all commands. */
void manual_print(const struct command *all, size_t count, const char *closing, FILE *out);
/* The completion of bash(1). */
void completion_print(const struct command *all, size_t count, FILE *out);
