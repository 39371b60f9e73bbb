/* In: lines on standard input. Out: the answers of a server on standard output.
 * Why: `chatbox chat` talks to a server as a user does, to try it and from scripts: a line in, a line out. Whoever is
 * not at a keyboard gets each line answered before the next is sent, and an exit code that says whether all were. A
 * connection that breaks is made anew, as the server's goodbye says; what was on its way is sent again and stored once.
 * Exit codes: 0 all was answered, 1 not, 2 the command line is wrong, 130 Ctrl-C, 143 SIGTERM. */
#include "dialogue.h"
#include "err.h"
#include "main_impl.h"
#include "url.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <uv.h>

#define CONNECT_MS 10000
#define PATIENCE_S 60
#define QUIET_MS 20000 /* then it is asked whether anybody is there */
#define DEAD_MS 30000  /* and then it is not */
#define CLOSING_MS 2000
#define BACK_OFF_MS 1000
#define BACK_OFF_MAX_MS 30000
#define LINE_MAX_BYTES ((size_t)1024 * 1024)

struct chat {
  struct url url;
  const char *token;
  bool keyboard, screen; /* standard input is a terminal; standard output is */
  int keys;              /* what is read */
  uint64_t patience_ms;
  struct wire *wire;
  struct dialogue *dialogue;
  char *input; /* what was read and not yet said */
  size_t input_len, input_room;
  bool input_ended, half_told, asked;
  uint64_t heard_ms, lost_ms;
  unsigned failures;
};

static volatile int stopped; /* by a signal: which */

/* ---- what is shown ---- */

/* A terminal obeys control characters, whoever they are from. */
static void show(const struct chat *c, FILE *out, const char *text, size_t len) {
  bool terminal = out == stderr ? isatty(STDERR_FILENO) == 1 : c->screen;
  for (size_t i = 0; i < len; i++) {
    unsigned char b = (unsigned char)text[i];
    bool c1 = b == 0xc2 && i + 1 < len && ((unsigned char)text[i + 1] & 0xe0) == 0x80;
    if (terminal && ((b < ' ' && b != '\n' && b != '\t') || b == 0x7f || c1)) {
      fputs("\xef\xbf\xbd", out);
      i += c1;
    } else {
      fputc(b, out);
    }
  }
}

static void complain_of(const struct chat *c, const char *text, size_t len) {
  fflush(stdout);
  fputs("chatbox: ", stderr);
  show(c, stderr, text, len);
  fputc('\n', stderr);
}

static void on_tell(void *arg, enum dialogue_kind kind, const char *text, size_t len) {
  struct chat *c = arg;
  if (c->half_told && kind != DIALOGUE_PIECE && kind != DIALOGUE_END) {
    putchar('\n');
    c->half_told = false;
  }
  if (kind == DIALOGUE_NOTE) {
    complain_of(c, text, len);
    return;
  }
  show(c, stdout, text, len);
  c->half_told = kind == DIALOGUE_PIECE;
  if (kind != DIALOGUE_PIECE) {
    putchar('\n');
  }
  fflush(stdout);
}

static void on_send(void *arg, const char *text, size_t len) {
  struct chat *c = arg;
  (void)!wire_text(c->wire, text, len); /* when it is broken, the next look at it says so */
}

/* ---- what is said ---- */

/* Ctrl-C takes away what was typed before it: a line that poll has told of may be gone when it is read. So a terminal
 * is opened once more, to be read without waiting; others may use the descriptor we were given. */
static int keys_open(const struct chat *c) {
  int fd = c->keyboard ? open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
  return fd >= 0 ? fd : STDIN_FILENO;
}

/* More of standard input; at its end input_ended. */
static int input_read(struct chat *c) {
  if (c->input_room - c->input_len < 4096) {
    size_t room = c->input_room ? 2 * c->input_room : 8192;
    char *more = room <= 2 * LINE_MAX_BYTES ? realloc(c->input, room) : NULL;
    if (!more) {
      return complain("standard input: a line of more than 1 MiB", EXIT_FAILED);
    }
    c->input = more;
    c->input_room = room;
  }
  ssize_t n = read(c->keys, c->input + c->input_len, c->input_room - c->input_len);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
    return 0;
  }
  if (n < 0) {
    return complain("standard input: it cannot be read", EXIT_FAILED);
  }
  c->input_ended = n == 0;
  c->input_len += (size_t)n;
  return 0;
}

static bool blank(const char *line, size_t len) {
  while (len > 0 && strchr(" \t\r\v\f", line[len - 1])) {
    len--;
  }
  return len == 0;
}

/* The next line, if there is a whole one, or the rest at the end. Empty ones are nothing to say. */
static int input_say(struct chat *c) {
  while (dialogue_idle(c->dialogue) && c->input_len > 0) {
    char *end = memchr(c->input, '\n', c->input_len);
    if (!end && !c->input_ended) {
      return 0;
    }
    size_t len = end ? (size_t)(end - c->input) : c->input_len;
    int code = blank(c->input, len) ? 0 : dialogue_say(c->dialogue, c->input, len, stream_now_ms());
    if (code) {
      return complain(err_text(code), EXIT_FAILED);
    }
    len += !!end;
    memmove(c->input, c->input + len, c->input_len - len);
    c->input_len -= len;
  }
  return 0;
}

static bool all_said(const struct chat *c) {
  return c->input_ended && c->input_len == 0 && dialogue_idle(c->dialogue);
}

/* ---- the connection ---- */

/* Up to a bound that doubles. */
static uint64_t back_off(unsigned failures) {
  uint32_t noise = 0;
  uint64_t bound = failures < 5 ? (uint64_t)BACK_OFF_MS << failures : BACK_OFF_MAX_MS;
  (void)!getrandom(&noise, sizeof noise, 0);
  return noise % (bound + 1);
}

static int connect_once(struct chat *c, char why[STREAM_WHY]) {
  uint64_t deadline = stream_now_ms() + CONNECT_MS;
  int code = wire_open(&c->wire, &c->url, c->token, dialogue_session(c->dialogue), deadline, &stopped, why);
  if (!code) {
    c->heard_ms = stream_now_ms();
    c->asked = false;
    dialogue_online(c->dialogue, c->heard_ms);
  }
  return code;
}

static bool comes_back(int code) {
  return code != 1008 && code != 1002 && code != 1009 && (code < 4400 || code > 4499);
}

static void tell_close(const struct chat *c, const struct wire_close *close, uint64_t again_ms) {
  const struct dialogue_bye *bye = dialogue_bye(c->dialogue);
  const char *word = *bye->code ? bye->code : close->reason;
  const char *reason = close->code == 1006 ? "the connection broke"
                       : *bye->reason      ? bye->reason
                                           : "the connection ended";
  char text[1024], more[64] = "", what[DIALOGUE_WORD_MAX + 32] = "";
  if (close->code != 1006) {
    snprintf(what, sizeof what, " (%d%s%s)", close->code, *word ? " " : "", word);
  }
  if (again_ms != UINT64_MAX) {
    snprintf(more, sizeof more, "; connecting again in %.1f s", (double)again_ms / 1000);
  }
  int len = snprintf(text, sizeof text, "%s%s%s", reason, what, more);
  complain_of(c, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

/* Connects again, for as long as somebody would wait for an answer. 0, or an exit code. */
static int connect_again(struct chat *c, const struct wire_close *close) {
  uint64_t now = stream_now_ms();
  c->failures = c->lost_ms && now - c->lost_ms < c->patience_ms ? c->failures : 0;
  c->lost_ms = c->failures ? c->lost_ms : now;
  uint64_t wait = dialogue_bye(c->dialogue)->retry_after_ms;
  for (char why[STREAM_WHY];;) {
    wait += back_off(c->failures++);
    if (close) {
      tell_close(c, close, wait);
      close = NULL;
    }
    stream_sleep(wait, &stopped);
    if (stopped) {
      return EXIT_FAILED;
    }
    int code = connect_once(c, why);
    if (!code || stopped) {
      return stopped ? EXIT_FAILED : 0;
    }
    if (code == E_FORBIDDEN || stream_now_ms() - c->lost_ms >= c->patience_ms) {
      return complain(why, EXIT_FAILED);
    }
    wait = 0;
  }
}

/* The connection has ended: 0 when there is a new one. */
static int on_closed(struct chat *c, const struct wire_close *close) {
  wire_free(c->wire);
  c->wire = NULL;
  if (!comes_back(close->code)) {
    tell_close(c, close, UINT64_MAX);
    return EXIT_FAILED;
  }
  return connect_again(c, close);
}

/* Everything the server has said. 0, or an exit code. */
static int hear(struct chat *c) {
  const char *text;
  size_t len;
  struct wire_close close;
  for (;;) {
    switch (wire_next(c->wire, &text, &len, &close)) {
    case WIRE_NOTHING:
      return 0;
    case WIRE_CLOSED:
      return on_closed(c, &close);
    case WIRE_TEXT:
      dialogue_hear(c->dialogue, text, len, stream_now_ms());
      break;
    case WIRE_PONG:
      break;
    }
    c->heard_ms = stream_now_ms();
    c->asked = false;
    if (ferror(stdout)) {
      return EXIT_FAILED; /* nobody reads it: output_end says so */
    }
  }
}

/* A connection that is silent is asked, then given up. */
static int watch(struct chat *c, uint64_t now) {
  if (now - c->heard_ms >= DEAD_MS) {
    return on_closed(c, &(struct wire_close){.code = 1006});
  }
  if (now - c->heard_ms >= QUIET_MS && !c->asked) {
    c->asked = true;
    (void)!wire_ping(c->wire);
  }
  return 0;
}

static int turn(struct chat *c) {
  uint64_t due = c->heard_ms + (c->asked ? DEAD_MS : QUIET_MS);
  uint64_t wants = dialogue_due(c->dialogue);
  bool may_say = dialogue_idle(c->dialogue) && !c->input_ended;
  int server, keys;
  wire_wait(c->wire, may_say ? c->keys : -1, due < wants ? due : wants, &stopped, &server, &keys);
  int code = server ? hear(c) : 0;
  code = code || !keys ? code : input_read(c);
  if (code || !c->wire) {
    return code;
  }
  uint64_t now = stream_now_ms();
  code = watch(c, now);
  if (!code && now >= dialogue_due(c->dialogue)) {
    dialogue_time(c->dialogue, now);
  }
  return code ? code : input_say(c);
}

/* Says goodbye and waits a moment for the answer. */
static void leave(struct chat *c) {
  const char *text;
  size_t len;
  struct wire_close close;
  static const volatile int never;
  uint64_t deadline = stream_now_ms() + CLOSING_MS;
  wire_close(c->wire, 1000);
  for (int server = 1, keys; server && wire_next(c->wire, &text, &len, &close) != WIRE_CLOSED;) {
    wire_wait(c->wire, -1, deadline, &never, &server, &keys);
  }
}

static int talk(struct chat *c) {
  char why[STREAM_WHY] = "";
  bool hello = c->keyboard;
  if (connect_once(c, why)) {
    return stopped ? 128 + stopped : complain(why, EXIT_FAILED);
  }
  int code = 0;
  while (!code && !stopped && !all_said(c)) {
    code = turn(c);
    if (hello && dialogue_greeted(c->dialogue)) {
      fprintf(stderr, "Connected as %s. A line is a message; Ctrl-D ends.\n", dialogue_user(c->dialogue));
      hello = false;
    }
  }
  if (c->half_told) {
    putchar('\n');
  }
  if (c->wire) {
    leave(c);
  }
  return stopped ? 128 + stopped : code || dialogue_unanswered(c->dialogue) ? EXIT_FAILED : EXIT_DONE;
}

/* ---- the command line ---- */

struct chat_options {
  const char *url, *token, *session;
  long patience_s;
};

static bool options_read(int argc, char **argv, struct chat_options *o) {
  static const struct option options[] = {{"url", required_argument, NULL, 'u'},
                                          {"token", required_argument, NULL, 't'},
                                          {"session", required_argument, NULL, 's'},
                                          {"timeout", required_argument, NULL, 'w'},
                                          {NULL, 0, NULL, 0}};
  char *end = "";
  for (int n; (n = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (n == 'u') {
      o->url = optarg;
    } else if (n == 't') {
      o->token = optarg;
    } else if (n == 's') {
      o->session = optarg;
    } else if (n == 'w') {
      o->patience_s = strtol(optarg, &end, 10);
      end = strcmp(end, "s") == 0 ? end + 1 : end;
    } else {
      return false;
    }
  }
  return o->url && !*end && o->patience_s >= 1 && o->patience_s <= 86400 && optind == argc;
}

static bool only(const char *text, const char *more) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  size_t len = strlen(text);
  for (size_t i = 0; i < len; i++) {
    if (!strchr(plain, text[i]) && !strchr(more, text[i])) {
      return false;
    }
  }
  return true;
}

int command_chat(int argc, char **argv) {
  static const struct dialogue_hooks hooks = {.send = on_send, .tell = on_tell};
  struct chat_options o = {.token = getenv("CHATBOX_TOKEN"), .session = "", .patience_s = PATIENCE_S};
  struct chat c = {.keyboard = isatty(STDIN_FILENO) == 1, .screen = isatty(STDOUT_FILENO) == 1};
  const char *why = NULL;
  char text[256];
  if (!options_read(argc, argv, &o)) {
    return complain("chat: --url ADDRESS is needed, --timeout is like 60s; see chatbox chat --help", EXIT_USAGE);
  }
  if (url_read(o.url, &c.url, &why)) {
    snprintf(text, sizeof text, "chat: --url: %.200s", why);
    return complain(text, EXIT_USAGE);
  }
  if (!o.token || !*o.token || !only(o.token, ".=+/~")) {
    return complain("chat: --token: a token is needed, here or as CHATBOX_TOKEN in the environment", EXIT_USAGE);
  }
  if (strlen(o.session) > DIALOGUE_ID_MAX || !only(o.session, "")) {
    return complain("chat: --session: that is no id of a conversation", EXIT_USAGE);
  }
  c.token = o.token;
  c.patience_ms = (uint64_t)o.patience_s * 1000;
  c.dialogue = dialogue_new(&hooks, &c, !c.keyboard, c.patience_ms, o.session);
  if (!c.dialogue) {
    return complain("out of memory", EXIT_FAILED);
  }
  setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
  stream_signals(&stopped);
  c.keys = keys_open(&c);
  int code = talk(&c);
  if (c.keys != STDIN_FILENO) {
    close(c.keys);
  }
  wire_free(c.wire);
  dialogue_free(c.dialogue);
  free(c.input);
  return code;
}
