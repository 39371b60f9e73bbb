/* In: a line of the control socket, or of the command line. Out: an order to the scripts, and what came of it.
 * Why: see orders.h. */
#include "orders.h"

#include "err.h"
#include "scripts_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

unsigned orders_share(const char *text) {
  char *end;
  double percent = strtod(text, &end);
  end += strspn(end, " ");
  end += *end == '%';
  double share = percent * (SCRIPTS_WHOLE / 100.0);
  return end > text && !*end && share >= 1 && share <= SCRIPTS_WHOLE - 1 ? (unsigned)lround(share) : 0;
}

int orders_line(char out[CONTROL_LINE_MAX], const char *verb, const char *canary, const char *why) {
  int len = snprintf(out, CONTROL_LINE_MAX, "%s%s%s%s%s", verb, canary ? " canary=" : "", canary ? canary : "",
                     why ? " why=" : "", why ? why : "");
  return strpbrk(out, "\r\n") ? E_INVALID : len >= CONTROL_LINE_MAX ? E_TOO_BIG : 0;
}

static void on_done(void *arg, bool ok, const char *text) {
  control_reply(arg, ok, text);
}

static void on_report(void *arg, struct scripts_report *report) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = report ? open_memstream(&text, &len) : NULL;
  if (out) {
    report_print(report, out);
    fclose(out);
  }
  control_reply(arg, text, text ? text : "out of memory");
  free(text);
  free(report);
}

/* What was in quarantine answers again. */
static void enable(struct scripts *s, struct control_client *client, const char *name) {
  char who[CONTROL_WHO_MAX], text[256];
  control_who(client, who);
  bool back = scripts_enable(s, name, who);
  snprintf(text, sizeof text, back ? "%.100s answers again" : "%.100s is not put aside", name);
  control_reply(client, back, text);
}

static int verb_of(const char *word, size_t len, enum scripts_verb *verb) {
  static const struct {
    const char *name;
    enum scripts_verb verb;
  } verbs[] = {{"reload", SCRIPTS_RELOAD}, {"promote", SCRIPTS_PROMOTE}, {"rollback", SCRIPTS_ROLLBACK}};
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
    if (strlen(verbs[i].name) == len && memcmp(verbs[i].name, word, len) == 0) {
      *verb = verbs[i].verb;
      return 0;
    }
  }
  return E_NOT_FOUND;
}

/* What follows the verb. NULL, or what is wrong with it. */
static const char *read_options(const char *p, struct scripts_order *order) {
  char share[16];
  p += strspn(p, " ");
  if (strncmp(p, "canary=", 7) == 0 && order->verb == SCRIPTS_RELOAD) {
    size_t len = strcspn(p + 7, " ");
    snprintf(share, sizeof share, "%.*s", (int)(len < 15 ? len : 15), p + 7);
    order->verb = SCRIPTS_CANARY;
    order->share = orders_share(share);
    if (!order->share) {
      return "a canary has more than 0 and less than 100 % of the conversations";
    }
    p += 7 + len;
    p += strspn(p, " ");
  }
  if (strncmp(p, "why=", 4) == 0) {
    order->why = p + 4;
    return NULL;
  }
  return *p ? "unknown command" : NULL;
}

bool orders_take(struct scripts *s, struct control_client *client, const char *line) {
  char who[CONTROL_WHO_MAX];
  size_t word = strcspn(line, " ");
  struct scripts_order order = {.who = who};
  if (strcmp(line, "scripts") == 0) {
    scripts_report(s, on_report, client);
    return true;
  }
  if (strncmp(line, "enable ", 7) == 0) {
    enable(s, client, line + 7);
    return true;
  }
  if (verb_of(line, word, &order.verb)) {
    return false;
  }
  const char *wrong = read_options(line + word, &order);
  if (wrong) {
    control_reply(client, false, wrong);
    return true;
  }
  control_who(client, who);
  scripts_do(s, &order, on_done, client);
  return true;
}
