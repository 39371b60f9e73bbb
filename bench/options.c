/* In: argv. Out: struct options. Why: options.h. */
#include "options.h"

#include "err.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
  "Usage: load --port N [options]\n"
  "Opens WebSocket connections to a server on this machine, loads it, and prints what it did.\n"
  "\n"
  "  --mode MODE          closed (default), open or idle\n"
  "  --host HOST          127.0.0.1 (default) or ::1; nothing else\n"
  "  --port N             port of the server\n"
  "  --path PATH          default /chatbox/ws\n"
  "  --token TOKEN        sent as Authorization: Bearer\n"
  "  --token-file FILE    the same from the first line of a file\n"
  "  --tokens-file FILE   one token per line, connections take them in turn\n"
  "  --connections N      default 200\n"
  "  --message TEMPLATE   what to send; {i} is the number of the message on its connection, {session} the session_id\n"
  "                       the server sent first\n"
  "  --answer TEMPLATE    text that the answer to message {i} contains; what does not is counted as \"other\"\n"
  "  --inflight N         closed: messages in flight per connection, default 1\n"
  "  --rate N             open: messages per second over all connections\n"
  "  --seconds S          measured time, default 5; idle: how long to hold the connections\n"
  "  --warmup S           before it, default 1\n"
  "  --connect-seconds S  all connections have to be up by then, default 20\n"
  "  --pid PID            of the server: closed, open: processor time per message; idle: memory per connection\n"
  "  --json               one JSON object instead of text\n"
  "\n"
  "Exit: 0 measured, 1 wrong use, 2 the server could not be measured.\n";

enum kind { STRING, COUNT, SECONDS, MODE, HOST, TOKEN, TOKEN_FILE, TOKENS_FILE, FLAG };

static const struct setting {
  const char *name;
  enum kind kind;
  size_t offset; /* of a STRING, COUNT, SECONDS or FLAG in struct options */
  double min, max;
} settings[] = {
  {"--mode", MODE, 0, 0, 0},
  {"--host", HOST, 0, 0, 0},
  {"--port", COUNT, offsetof(struct options, port), 1, 65535},
  {"--path", STRING, offsetof(struct options, path), 0, 0},
  {"--token", TOKEN, 0, 0, 0},
  {"--token-file", TOKEN_FILE, 0, 0, 0},
  {"--tokens-file", TOKENS_FILE, 0, 0, 0},
  {"--connections", COUNT, offsetof(struct options, connections), 1, CONNECTIONS_MAX},
  {"--message", STRING, offsetof(struct options, message), 0, 0},
  {"--answer", STRING, offsetof(struct options, answer), 0, 0},
  {"--inflight", COUNT, offsetof(struct options, inflight), 1, INFLIGHT_MAX},
  {"--rate", COUNT, offsetof(struct options, rate), 1, 10e6},
  {"--seconds", SECONDS, offsetof(struct options, seconds_ns), 0.1, 600},
  {"--warmup", SECONDS, offsetof(struct options, warmup_ns), 0, 60},
  {"--connect-seconds", SECONDS, offsetof(struct options, connect_ns), 0.1, 120},
  {"--pid", COUNT, offsetof(struct options, pid), 1, 4194304},
  {"--json", FLAG, offsetof(struct options, json), 0, 0},
};

static int refuse(const char *name, const char *value, const char *why) {
  fprintf(stderr, "load: %s %s: %s\n", name, value, why);
  return E_INVALID;
}

static int number_read(const struct setting *s, const char *value, void *out) {
  char *end, why[64];
  double n = strtod(value, &end);
  if (end == value || *end || !(n >= s->min && n <= s->max)) {
    snprintf(why, sizeof why, "has to be %.15g to %.15g", s->min, s->max);
    return refuse(s->name, value, why);
  }
  *(uint64_t *)out = (uint64_t)(s->kind == SECONDS ? n * 1e9 : n);
  return 0;
}

static int token_add(struct options *o, const char *token) {
  if (o->token_count == CONNECTIONS_MAX)
    return E_TOO_BIG;
  char **larger = reallocarray(o->tokens, o->token_count + 1, sizeof *larger);
  if (!larger)
    return -ENOMEM;
  o->tokens = larger;
  o->tokens[o->token_count] = strdup(token);
  return o->tokens[o->token_count] ? (o->token_count++, 0) : -ENOMEM;
}

static int tokens_read(struct options *o, const char *name, const char *file, bool many) {
  FILE *f = fopen(file, "re");
  if (!f)
    return refuse(name, file, strerror(errno));
  char line[8192];
  int result = 0;
  while (result == 0 && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\r\n")] = '\0';
    if (*line)
      result = token_add(o, line);
    if (!many)
      break;
  }
  fclose(f);
  if (result == 0 && o->token_count == 0)
    return refuse(name, file, "has no token in it");
  return result ? refuse(name, file, "cannot keep its tokens") : 0;
}

static int mode_read(struct options *o, const char *name, const char *value) {
  static const char *const modes[] = {"closed", "open", "idle"};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
    if (strcmp(value, modes[i]) == 0) {
      o->mode = (enum mode)i;
      return 0;
    }
  return refuse(name, value, "has to be closed, open or idle");
}

static int host_read(struct options *o, const char *name, const char *value) {
  if (strcmp(value, "127.0.0.1") != 0 && strcmp(value, "::1") != 0)
    return refuse(name, value, "only 127.0.0.1 and ::1 are loaded");
  o->host = value;
  return 0;
}

static int setting_take(struct options *o, const struct setting *s, const char *value) {
  void *field = (char *)o + s->offset;
  switch (s->kind) {
  case STRING:
    *(const char **)field = value;
    return 0;
  case COUNT:
  case SECONDS:
    return number_read(s, value, field);
  case MODE:
    return mode_read(o, s->name, value);
  case HOST:
    return host_read(o, s->name, value);
  case TOKEN:
    return token_add(o, value);
  case TOKEN_FILE:
  case TOKENS_FILE:
    return tokens_read(o, s->name, value, s->kind == TOKENS_FILE);
  case FLAG:
    *(bool *)field = true;
    return 0;
  }
  return E_INVALID;
}

static int whole_check(const struct options *o) {
  const char *missing = !o->port                               ? "--port"
                        : o->mode != MODE_IDLE && !o->message  ? "--message"
                        : o->mode != MODE_IDLE && !o->answer   ? "--answer"
                        : o->mode == MODE_OPEN && o->rate == 0 ? "--rate"
                                                               : NULL;
  if (missing) {
    fprintf(stderr, "load: %s is missing; see --help\n", missing);
    return E_MISSING;
  }
  struct text unused;
  const char *texts[] = {o->message, o->answer};
  for (size_t i = 0; i < 2; i++)
    if (texts[i] && text_init(&unused, texts[i]))
      return refuse(i ? "--answer" : "--message", texts[i], "too long, or too many places in it");
  return 0;
}

static const struct setting *setting_find(const char *name) {
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
    if (strcmp(name, settings[i].name) == 0)
      return &settings[i];
  return NULL;
}

int options_read(struct options *o, int argc, char **argv) {
  *o = (struct options){.host = "127.0.0.1",
                        .path = "/chatbox/ws",
                        .connections = 200,
                        .inflight = 1,
                        .seconds_ns = UINT64_C(5000000000),
                        .warmup_ns = UINT64_C(1000000000),
                        .connect_ns = UINT64_C(20000000000)};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      fputs(help, stdout);
      return 1;
    }
    const struct setting *s = setting_find(argv[i]);
    if (!s)
      return refuse(argv[i], "", "no such option; see --help");
    if (s->kind != FLAG && ++i == argc)
      return refuse(s->name, "", "needs a value");
    int failed = setting_take(o, s, argv[i]);
    if (failed)
      return failed;
  }
  return whole_check(o);
}

void options_deinit(struct options *o) {
  for (size_t i = 0; i < o->token_count; i++)
    free(o->tokens[i]);
  free(o->tokens);
}
