/* In: lines, each a text of a client or a command: !end ends the conversation, !join and !leave are another device of
 * the same user, which says what follows a >, !fail and !mend the store's writes, !hold and !go make them wait, !later
 * lets a minute pass. In a text $own, $other, $foreign are ids of conversations: the client's, the other device's, a
 * stranger's. The real scripts and bindings take them (support/fuzz_world.h).
 * Out: an abort when a text is neither received nor refused, when what was received but never answers is not known for
 * that, when an answer is not a document of the protocol, when anybody is closed, or hears what is not for him.
 * Why: whatever a client sends, it is told, it alone, and goes on. */
#include "fuzz_world.h"

#include <jansson.h>

struct dialogue {
  struct world *world;
  struct client *alice, *device, *stranger; /* device: the user's other one, or NULL */
  bool failing, held;
  unsigned texts;           /* sent while commits were held, not yet looked at */
  int64_t received, errors; /* the counters before them */
  char own[STORE_ID_LEN + 1], other[STORE_ID_LEN + 1], foreign[STORE_ID_LEN + 1];
};

/* What a text was answered. */
struct heard_all {
  unsigned count, errors, acks;
};

static char *settings[] = {"JWT_SECRET=V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!", "RATE_LIMIT=6", "INBOX_LIMIT=3", NULL};

/* ---- what comes back ---- */

static const char *field(const json_t *doc, const char *name) {
  return json_string_value(json_object_get(doc, name));
}

static bool one_of(const char *word, const char *const *words) {
  for (; word && *words; words++) {
    if (strcmp(word, *words) == 0) {
      return true;
    }
  }
  return false;
}

static void check_error(const struct dialogue *d, const json_t *error, const char *text) {
  static const char *const codes[] = {"INVALID_FORMAT",    "NOT_FOUND",      "UNAUTHORIZED",
                                      "TOO_MANY_REQUESTS", "DATABASE_ERROR", "SERVICE_ERROR",
                                      "INVALID_TOKEN",     "EXPIRED_TOKEN",  NULL};
  const char *code = field(error, "code"), *message = field(error, "message");
  check(one_of(code, codes), "an error nobody expects: %s", text);
  check(message && *message && strlen(message) <= 512, "an error that does not say why: %s", text);
  check(json_is_boolean(json_object_get(error, "recoverable")), "recoverable or not? %s", text);
  check(d->failing || strcmp(code, "DATABASE_ERROR") != 0, "the store works: %s", text);
  const json_t *retry_after = json_object_get(error, "retry_after");
  check((retry_after != NULL) == (strcmp(code, "TOO_MANY_REQUESTS") == 0), "when to try again? %s", text);
  check(!retry_after || json_integer_value(retry_after) > 0, "when to try again? %s", text);
}

/* Metadata goes on as it came, byte for byte, and may have what jansson takes for no JSON. */
static bool only_metadata(const char *text, const char *why) {
  static const char *const refused[] = {"duplicate object key", "invalid Unicode", "real number overflow", "too big",
                                        NULL};
  for (const char *const *r = refused; strstr(text, "\"metadata\":") && *r; r++) {
    if (strstr(why, *r)) {
      return true;
    }
  }
  return false;
}

/* One document to a client; adds it to what was heard. */
static void check_document(const struct dialogue *d, const struct message *m, struct heard_all *heard) {
  static const char *const types[] = {
    "connection_status", "loading", "ai_response", "user_message", "file_upload", "voice_message",
    "typing_indicator",  "history", "pong",        "ack",          "error",       NULL};
  json_error_t why;
  json_t *doc = json_loadb(m->text, m->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
  char *text = strndup(m->text, m->len);
  if (!doc && only_metadata(text, why.text)) {
    free(text);
    return;
  }
  check(doc, "not JSON (%s): %s", why.text, text);
  const char *type = field(doc, "type");
  check(one_of(type, types), "not a type: %s", text);
  check(field(doc, "session_id") && field(doc, "sender") && field(doc, "timestamp"), "not an envelope: %s", text);
  if (strcmp(type, "error") == 0) {
    check_error(d, json_object_get(doc, "error"), text);
    heard->errors++;
  }
  heard->acks += strcmp(type, "ack") == 0;
  heard->count++;
  free(text);
  json_decref(doc);
}

static struct heard_all hear(const struct dialogue *d, struct client *c) {
  struct heard_all heard = {0};
  struct message *m;
  while ((m = client_hears(c))) {
    check_document(d, m, &heard);
    message_unref(m);
  }
  check(!c->close_code, "closed: %d %s", c->close_code, c->close_reason);
  return heard;
}

/* ---- a text ---- */

static void begin(struct dialogue *d) {
  d->received = metrics_value(METRIC_MESSAGES_RECEIVED);
  d->errors = metrics_value(METRIC_MESSAGE_ERRORS);
  d->texts = 0;
}

/* Received, and nobody has to answer it. */
static bool may_be_silent(const json_t *doc) {
  static const char *const silent[] = {"file_upload", "voice_message", "typing_indicator", NULL};
  return one_of(field(doc, "type"), silent);
}

/* All texts since begin have had their effect. What the speaker heard; NULL: both may have spoken. */
static struct heard_all settle(struct dialogue *d, const struct client *speaker) {
  world_settle(d->world);
  struct heard_all alice = hear(d, d->alice), device = {0};
  if (d->device) {
    device = hear(d, d->device);
  }
  int64_t received = metrics_value(METRIC_MESSAGES_RECEIVED) - d->received;
  int64_t errors = metrics_value(METRIC_MESSAGE_ERRORS) - d->errors;
  check(received + errors >= d->texts, "of %u texts %lld were received and %lld refused", d->texts, (long long)received,
        (long long)errors);
  check(alice.errors + device.errors == errors, "%lld errors, %u and %u of them arrived", (long long)errors,
        alice.errors, device.errors);
  check(!speaker || !(speaker == d->alice ? device : alice).errors, "the other device heard of an error");
  check(!hear(d, d->stranger).count, "a stranger heard something");
  return speaker == d->device ? device : alice;
}

static void say_now(struct dialogue *d, struct client *speaker, const char *text, size_t len) {
  begin(d);
  d->texts = 1;
  put_or_refuse(speaker, text, len, (struct conn_refusal){0});
  struct heard_all heard = settle(d, speaker);
  json_t *doc = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
  check(heard.errors <= 1 || d->failing, "one text, %u errors: %s", heard.errors, text);
  check(heard.count || !doc || may_be_silent(doc), "no answer to %s", text);
  check(heard.acks <= 1 && (!heard.acks || !doc || field(doc, "cid")), "%u acks for %s", heard.acks, text);
  json_decref(doc);
}

static void say(struct dialogue *d, struct client *speaker, const char *bytes, size_t size) {
  const struct fuzz_word words[] = {{"$own", d->own}, {"$other", d->other}, {"$foreign", d->foreign}, {"", NULL}};
  size_t len;
  char *text = fuzz_text(bytes, size, words, &len);
  fuzz_utf8(text, len);
  if (d->held) {
    d->texts++;
    put_or_refuse(speaker, text, len, (struct conn_refusal){0});
    world_settle(d->world);
  } else {
    say_now(d, speaker, text, len);
  }
  free(text);
}

/* ---- commands ---- */

static struct client *join(struct world *w, const char *user, char id[STORE_ID_LEN + 1]) {
  struct identity *who = identity_new(user, user, NULL, 0, 0);
  struct client *c = client_new(w, who, "");
  identity_unref(who);
  check(c->conn && conn_session(c->conn), "%s found no conversation", user);
  memcpy(id, session_id(conn_session(c->conn)), STORE_ID_LEN + 1);
  return c;
}

static void end(struct dialogue *d) {
  char path[64];
  snprintf(path, sizeof path, "/sessions/%s/end", session_id(conn_session(d->alice->conn)));
  struct request *r = calloc(1, sizeof *r);
  r->http = (struct http_request){.method = "POST",
                                  .path = path,
                                  .body = "",
                                  .address = "127.0.0.1",
                                  .auth = HTTP_AUTH_OK,
                                  .identity = conn_identity(d->alice->conn)};
  r->next = d->world->requests;
  d->world->requests = r;
  vm_http(scripts_vm(d->world->scripts, 0), &r->http);
  world_settle(d->world);
  check(d->held || r->answered, "the end was not answered");
}

static void another_device(struct dialogue *d, bool joins) {
  if (joins && !d->device) {
    char user[STORE_ID_LEN + 1];
    snprintf(user, sizeof user, "%s", conn_user(d->alice->conn));
    d->device = join(d->world, user, d->other);
  } else if (!joins && d->device && !d->held) { /* what it has yet to hear is counted */
    client_leave(d->device);
    d->device = NULL;
  }
}

static void hold(struct dialogue *d, bool on) {
  if (on && !d->held) {
    begin(d);
  }
  faults_set(&faults.hold_writes, on);
  if (!on && d->held) {
    settle(d, NULL);
  }
  d->held = on;
}

static void fail(struct dialogue *d, bool on) {
  faults_set(&faults.fail_writes, on);
  d->failing = d->failing || on;
}

static bool command(struct dialogue *d, const char *line, size_t len) {
  static const char *const names[] = {"!end", "!join", "!leave", "!fail", "!mend", "!hold", "!go", "!later"};
  size_t i = 0;
  while (i < sizeof names / sizeof *names && (strlen(names[i]) != len || memcmp(names[i], line, len) != 0)) {
    i++;
  }
  switch (i) {
  case 0:
    end(d);
    return true;
  case 1:
  case 2:
    another_device(d, i == 1);
    return true;
  case 3:
  case 4:
    fail(d, i == 3);
    return true;
  case 5:
  case 6:
    hold(d, i == 5);
    return true;
  case 7:
    worker_advance(d->world->worker, 60000);
    return true;
  default:
    return false;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned users;
  char user[32], stranger[32];
  struct dialogue d = {.world = fuzz_world(settings)};
  snprintf(user, sizeof user, "user-%u", users);
  snprintf(stranger, sizeof stranger, "stranger-%u", users++);
  d.stranger = join(d.world, stranger, d.foreign);
  d.alice = join(d.world, user, d.own);
  memcpy(d.other, d.own, sizeof d.other);
  hear(&d, d.stranger);
  hear(&d, d.alice);
  const char *line = (const char *)data, *last = line + (size < FUZZ_INPUT_MAX ? size : FUZZ_INPUT_MAX);
  while (line < last) {
    const char *newline = memchr(line, '\n', (size_t)(last - line));
    size_t len = (size_t)((newline ? newline : last) - line);
    if (d.device && len && *line == '>') {
      say(&d, d.device, line + 1, len - 1);
    } else if (!command(&d, line, len)) {
      say(&d, d.alice, line, len);
    }
    line += len + 1;
  }
  hold(&d, false);
  fail(&d, false);
  fuzz_world_check(d.world);
  return 0;
}
