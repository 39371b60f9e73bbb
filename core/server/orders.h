/* In: a line of the control socket, or of the command line. Out: an order to the scripts, and what came of it.
 * Why: what a line may say stands here once, for the side that writes it and the side that reads it:
 *     reload [canary=PER CENT] [why=TEXT TO THE END]   promote [why=…]   rollback [why=…]   scripts
 * Thread: the main one. */
#pragma once
#include "attr.h"
#include "control.h"
#include "scripts.h"

/* Answers by control_reply. False: the line is none of these. */
bool orders_take(struct scripts *s, struct control_client *client, const char *line);
/* "10%", "0.5 %", "10": in 1/SCRIPTS_WHOLE; 0 for what is no share between 0 and 100 (both excluded). */
unsigned orders_share(const char *text);
/* The line, or E_TOO_BIG, E_INVALID (a why of more than one line). canary, why: NULL or as the user wrote them. */
int orders_line(char out[CONTROL_LINE_MAX], const char *verb, const char *canary, const char *why) NODISCARD;
