/* In: lines that a person or a script says, and what the server sends. Out: messages to the server; the answers. Why:
 * see dialogue.h. A line goes: waiting (for a connection, or to be sent again) -> sent -> stored (ack) -> dealt with
 * (the page behind it) -> answered. */
#include "dialogue.h"

#include "err.h"
#include "id.h"
#include "utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PAGE 50
#define RESEND_MS 10000 /* without an ack */
#define BACK_OFF_MS 500 /* after an error that passes; doubled by each */
#define BACK_OFF_MAX_MS 8000
#define REFUSALS_MAX 8

struct dialogue {
  const struct dialogue_hooks *hooks;
  void *arg;
  bool patient, online, greeted;
  uint64_t patience_ms;
  char session[DIALOGUE_ID_MAX + 1], user[DIALOGUE_WORD_MAX + 1];
  struct dialogue_bye bye;
  unsigned unanswered;
  json_int_t told; /* all messages up to this seq have been told, or were there before */
  bool writing;    /* an answer is half told */

  /* the line that is on its way */
  json_t *line;                      /* NULL: none */
  char said_in[DIALOGUE_ID_MAX + 1]; /* the conversation in which it was first sent: it is stored in one only */
  char cid[ID_LEN + 1], behind[ID_LEN + 1];
  bool stored, dealt_with, answered, failed;
  json_int_t seq;
  unsigned refusals;
  uint64_t send_at, give_up_at;
};

struct dialogue *dialogue_new(const struct dialogue_hooks *hooks, void *arg, bool patient, uint64_t patience_ms,
                              const char *session) {
  struct dialogue *d = calloc(1, sizeof *d);
  if (d) {
    d->hooks = hooks;
    d->arg = arg;
    d->patient = patient;
    d->patience_ms = patience_ms;
    snprintf(d->session, sizeof d->session, "%s", session);
  }
  return d;
}

void dialogue_free(struct dialogue *d) {
  if (d) {
    json_decref(d->line);
    free(d);
  }
}

bool dialogue_idle(const struct dialogue *d) {
  return !d->line;
}

bool dialogue_greeted(const struct dialogue *d) {
  return d->greeted;
}

const char *dialogue_session(const struct dialogue *d) {
  return d->session;
}

const char *dialogue_user(const struct dialogue *d) {
  return d->user;
}

unsigned dialogue_unanswered(const struct dialogue *d) {
  return d->unanswered;
}

const struct dialogue_bye *dialogue_bye(const struct dialogue *d) {
  return &d->bye;
}

/* ---- sending ---- */

static void send_json(struct dialogue *d, json_t *message) {
  char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
  json_decref(message);
  if (text) {
    d->hooks->send(d->arg, text, strlen(text));
  }
  free(text);
}

static void send_line(struct dialogue *d, uint64_t now_ms) {
  if (!*d->said_in) {
    snprintf(d->said_in, sizeof d->said_in, "%s", d->session);
  }
  send_json(d, json_pack("{s:s, s:s, s:s, s:O}", "type", "user_message", "session_id", d->said_in, "cid", d->cid,
                         "content", d->line));
  d->send_at = now_ms + RESEND_MS;
}

/* It is answered when all that was said before it has been dealt with. */
static void send_behind(struct dialogue *d, uint64_t now_ms) {
  send_json(
    d, json_pack("{s:s, s:s, s:s, s:i}", "type", "history", "session_id", d->said_in, "cid", d->behind, "limit", PAGE));
  d->send_at = now_ms + d->patience_ms; /* the connection is watched by others: there is nothing to say again */
}

static void send_due(struct dialogue *d, uint64_t now_ms) {
  if (!d->stored) {
    send_line(d, now_ms);
  } else if (!d->dealt_with) {
    send_behind(d, now_ms);
  } else {
    d->send_at = UINT64_MAX;
  }
}

int dialogue_say(struct dialogue *d, const char *line, size_t len, uint64_t now_ms) {
  char *whole = malloc(3 * len + 1);
  d->line = whole ? json_stringn(whole, utf8_mend(line, len, whole)) : NULL;
  free(whole);
  if (!d->line) {
    return UV_ENOMEM;
  }
  id_new(d->cid);
  id_new(d->behind);
  d->stored = d->dealt_with = d->answered = d->failed = false;
  *d->said_in = 0;
  d->refusals = 0;
  d->seq = 0;
  d->send_at = UINT64_MAX;
  d->give_up_at = now_ms + d->patience_ms;
  if (d->online && d->greeted) {
    send_line(d, now_ms);
  }
  return 0;
}

void dialogue_online(struct dialogue *d, uint64_t now_ms) {
  (void)now_ms; /* the line is sent once we are greeted */
  d->online = true;
  d->greeted = false;
  d->bye = (struct dialogue_bye){0};
  d->writing = false;
  d->dealt_with = false;
}

/* ---- the end of a line ---- */

static void line_end(struct dialogue *d) {
  d->unanswered += d->failed || (d->patient && !d->answered);
  json_decref(d->line);
  d->line = NULL;
}

static void line_look(struct dialogue *d) {
  if (d->line && d->stored && d->dealt_with && !d->writing && (d->answered || d->failed || !d->patient)) {
    line_end(d);
  }
}

static void note(struct dialogue *d, const char *text) {
  d->hooks->tell(d->arg, DIALOGUE_NOTE, text, strlen(text));
}

uint64_t dialogue_due(const struct dialogue *d) {
  if (!d->line) {
    return UINT64_MAX;
  }
  return d->online && d->greeted && d->send_at < d->give_up_at ? d->send_at : d->give_up_at;
}

void dialogue_time(struct dialogue *d, uint64_t now_ms) {
  if (!d->line) {
    return;
  }
  if (now_ms >= d->give_up_at) {
    note(d, d->stored ? "there is no answer" : "the server does not take this line");
    d->writing = false;
    d->failed = true;
    line_end(d);
  } else if (d->online && d->greeted && now_ms >= d->send_at) {
    send_due(d, now_ms);
  }
}

/* ---- what the server says ---- */

static const char *string_of(const json_t *m, const char *key) {
  const char *text = json_string_value(json_object_get(m, key));
  return text ? text : "";
}

static bool is(const json_t *m, const char *key, const char *value) {
  return strcmp(string_of(m, key), value) == 0;
}

static void copy(char *out, size_t room, const json_t *m, const char *key) {
  if (*string_of(m, key)) {
    snprintf(out, room, "%s", string_of(m, key));
  }
}

/* The text of a message: what was said, or the address of a file. */
static const json_t *content_of(const json_t *m) {
  const json_t *content = json_object_get(m, "content");
  return content ? content : json_object_get(m, "file_url");
}

static void tell(struct dialogue *d, enum dialogue_kind kind, const json_t *m) {
  const json_t *content = content_of(m);
  const char *text = json_string_value(content);
  if (kind == DIALOGUE_WHOLE && !text) {
    return;
  }
  d->hooks->tell(d->arg, kind, text ? text : "", text ? json_string_length(content) : 0);
}

/* Whether a message has been told already; it is now. */
static bool known(struct dialogue *d, const json_t *m) {
  json_int_t seq = json_integer_value(json_object_get(m, "seq"));
  if (seq > 0 && seq <= d->told) {
    return true;
  }
  d->told = seq > 0 ? seq : d->told;
  return false;
}

static void on_greeting(struct dialogue *d, const json_t *m, uint64_t now_ms) {
  copy(d->user, sizeof d->user, m, "user_id");
  if (d->greeted) {
    return;
  }
  d->greeted = true;
  if (d->line) {
    send_line(d, now_ms); /* also when it is stored: its ack says so, and what was missed is asked for behind it */
    d->stored = false;
  }
}

static void on_ack(struct dialogue *d, const json_t *m, uint64_t now_ms) {
  if (!d->line || d->stored || !is(m, "cid", d->cid)) {
    return;
  }
  d->stored = true;
  copy(d->said_in, sizeof d->said_in, m, "session_id");
  d->seq = json_integer_value(json_object_get(m, "seq"));
  if (strcmp(d->said_in, d->session) == 0) {
    d->told = d->seq > d->told ? d->seq : d->told;
  }
  send_behind(d, now_ms);
}

static void on_answer(struct dialogue *d, const json_t *m) {
  const json_t *metadata = json_object_get(m, "metadata");
  bool streaming = is(metadata, "streaming", "true"), done = is(metadata, "done", "true");
  bool whole = !streaming || (done && !d->writing);
  if (whole && known(d, m)) {
    return;
  }
  if (done) {
    (void)known(d, m);
  }
  tell(d, whole ? DIALOGUE_WHOLE : done ? DIALOGUE_END : DIALOGUE_PIECE, m);
  d->writing = streaming && !done;
  d->answered |= !d->writing;
  line_look(d);
}

static void on_message(struct dialogue *d, const json_t *m) {
  if (known(d, m)) {
    return;
  }
  tell(d, DIALOGUE_WHOLE, m);
  d->answered |= is(m, "sender", "admin");
  line_look(d);
}

/* All before it has been dealt with; what was said behind our line and did not reach us is in it. */
static void on_history(struct dialogue *d, const json_t *m) {
  size_t i;
  const json_t *said;
  if (!d->line || !d->stored || d->dealt_with) {
    return;
  }
  d->dealt_with = true;
  json_array_foreach(json_object_get(m, "messages"), i, said) {
    bool later = json_integer_value(json_object_get(said, "seq")) > d->seq;
    if (later && !is(said, "sender", "user")) {
      d->answered = true;
      if (strcmp(d->said_in, d->session) != 0 || !known(d, said)) {
        d->writing = false;
        tell(d, DIALOGUE_WHOLE, said);
      }
    }
  }
  line_look(d);
}

static bool passes(const char *code) {
  return strcmp(code, "TOO_MANY_REQUESTS") == 0 || strcmp(code, "SERVICE_ERROR") == 0 ||
         strcmp(code, "DATABASE_ERROR") == 0;
}

static void on_error(struct dialogue *d, const json_t *m, uint64_t now_ms) {
  const json_t *error = json_object_get(m, "error");
  const char *code = string_of(error, "code"), *cid = string_of(m, "cid");
  json_int_t wait = json_integer_value(json_object_get(error, "retry_after"));
  char text[512];
  if (d->line && *cid && strcmp(cid, d->cid) != 0 && strcmp(cid, d->behind) != 0) {
    return; /* of a line that was given up */
  }
  bool ours = d->line && (*cid || !d->stored || strcmp(code, "INTERNAL") == 0);
  if (ours && !d->dealt_with && passes(code) && d->refusals < REFUSALS_MAX) {
    uint64_t step = (uint64_t)BACK_OFF_MS << d->refusals++;
    step = step < BACK_OFF_MAX_MS ? step : BACK_OFF_MAX_MS;
    d->send_at = now_ms + (wait > 0 ? (uint64_t)wait : step);
    return;
  }
  snprintf(text, sizeof text, "%s: %s", code, string_of(error, "message"));
  note(d, text);
  if (ours) {
    d->failed = true;
    d->stored ? line_look(d) : line_end(d);
  }
}

static void on_bye(struct dialogue *d, const json_t *m) {
  json_int_t wait = json_integer_value(json_object_get(m, "retry_after_ms"));
  copy(d->bye.code, sizeof d->bye.code, m, "code");
  copy(d->bye.reason, sizeof d->bye.reason, m, "reason");
  d->bye.retry_after_ms = wait > 0 ? (uint64_t)wait : 0;
}

/* The server says which conversation this is; a new one begins its numbers anew. What it says of a message that it had
 * already, and a page of the history, may be about another one. */
static void follow(struct dialogue *d, const json_t *m) {
  if (json_is_true(json_object_get(m, "duplicate")) || is(m, "type", "history") || is(m, "type", "error")) {
    return;
  }
  const char *id = string_of(m, "session_id");
  if (*id && strlen(id) <= DIALOGUE_ID_MAX && strcmp(id, d->session) != 0) {
    d->told = *d->session ? 0 : d->told;
    snprintf(d->session, sizeof d->session, "%s", id);
  }
}

void dialogue_hear(struct dialogue *d, const char *text, size_t len, uint64_t now_ms) {
  json_t *m = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
  if (!json_is_object(m)) {
    json_decref(m);
    return;
  }
  follow(d, m);
  if (is(m, "type", "connection_status")) {
    on_greeting(d, m, now_ms);
  } else if (is(m, "type", "ack")) {
    on_ack(d, m, now_ms);
  } else if (is(m, "type", "ai_response")) {
    on_answer(d, m);
  } else if (is(m, "type", "user_message") || is(m, "type", "file_upload") || is(m, "type", "voice_message")) {
    on_message(d, m);
  } else if (is(m, "type", "history")) {
    on_history(d, m);
  } else if (is(m, "type", "error")) {
    on_error(d, m, now_ms);
  } else if (is(m, "type", "bye")) {
    on_bye(d, m);
  }
  json_decref(m);
}
