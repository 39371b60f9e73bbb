/* In: plain text. Out: the same in the language of manual pages, roff(7), such that none of it is taken for a command.
 * Why: manual pages are made from the tables the program obeys, and their text may hold anything. Pure functions. */
#pragma once
#include "attr.h"

#include <stdio.h>

/* Part of a line: no newline in it, and something before it where it may begin with a dot. */
void roff_put(const char *text, FILE *out);
/* A line of its own, or several where the text has several. */
void roff_line(const char *text, FILE *out);
