/* In: lines that a person or a script says, and what the server sends. Out: messages to the server; the answers.
 * Why: when a line counts as answered is the heart of `chatbox chat`, and needs no network to be tried. One line is on
 * its way at a time, under a cid of its own: sent again after a break, it is stored once. Behind each line a page of
 * the history is asked for: it comes when the line has been dealt with, and brings the answers that a broken connection
 * swallowed. One thread; time is an argument. Bounds: a line of the caller's, an answer of the wire's. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIALOGUE_ID_MAX 128
#define DIALOGUE_WORD_MAX 255

enum dialogue_kind {
  DIALOGUE_PIECE, /* of an answer that is being written */
  DIALOGUE_END,   /* of that answer; text is its last piece */
  DIALOGUE_WHOLE, /* an answer, or what another device or a person of the team says */
  DIALOGUE_NOTE,  /* for who looks on: an error, a goodbye */
};

struct dialogue_hooks {
  void (*send)(void *arg, const char *text, size_t len);
  void (*tell)(void *arg, enum dialogue_kind kind, const char *text, size_t len);
};

/* The server's last word before it closes. */
struct dialogue_bye {
  char code[DIALOGUE_WORD_MAX + 1], reason[DIALOGUE_WORD_MAX + 1]; /* "": it said none */
  uint64_t retry_after_ms;
};

struct dialogue;

/* patient: a line has to be answered before the next is taken; otherwise it is enough that it has been dealt with.
 * patience_ms: what is not answered within this, is not. session: "" or the conversation to enter. NULL: no memory. */
struct dialogue *dialogue_new(const struct dialogue_hooks *hooks, void *arg, bool patient, uint64_t patience_ms,
                              const char *session) NODISCARD;
void dialogue_free(struct dialogue *d); /* NULL is allowed */

/* Nothing is on its way: a line may be said. */
bool dialogue_idle(const struct dialogue *d);
/* Says a line. Bytes that are no UTF-8 become U+FFFD. 0, or UV_ENOMEM. Only when idle. */
int dialogue_say(struct dialogue *d, const char *line, size_t len, uint64_t now_ms) NODISCARD;
/* There is a connection (again): what is on its way is sent once more. */
void dialogue_online(struct dialogue *d, uint64_t now_ms);
void dialogue_hear(struct dialogue *d, const char *text, size_t len, uint64_t now_ms);
/* Something is due: dialogue_due. */
void dialogue_time(struct dialogue *d, uint64_t now_ms);
uint64_t dialogue_due(const struct dialogue *d); /* UINT64_MAX: nothing */

/* Whether the server has greeted us since dialogue_online. */
bool dialogue_greeted(const struct dialogue *d);
/* Of the conversation and of the user, "" as long as they are not known. Borrowed. */
const char *dialogue_session(const struct dialogue *d);
const char *dialogue_user(const struct dialogue *d);
/* Lines that were not answered, or refused. */
unsigned dialogue_unanswered(const struct dialogue *d);
/* What was said since dialogue_online. */
const struct dialogue_bye *dialogue_bye(const struct dialogue *d);
