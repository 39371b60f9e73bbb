/* In: lines on the control socket, script errors, changed pages. Out: replies; the same news on every worker. Why:
 * everything that is told to a running server, apart from starting and stopping it. */
#include "server_impl.h"

#include "control.h"
#include "erasure.h"
#include "err.h"
#include "log.h"
#include "orders.h"
#include "pages.h"
#include "subject.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages to everybody ---- */

struct site_news {
  struct site *site;
  struct message *message;
};

static void *new_news(struct site *site, void *message) {
  struct site_news *t = malloc(sizeof *t);
  if (!t) {
    abort();
  }
  *t = (struct site_news){site, message_ref(message)};
  return t;
}

static void tell_here(void *arg) {
  struct site_news *t = arg;
  net_tell_admins(t->site->net, t->message);
  message_unref(t->message);
  free(t);
}

/* In development the people who run the server see script errors in the console of the page. Any thread. */
void server_script_error(void *arg, const char *text, const char *version) {
  struct server *s = arg;
  json_t *document = json_pack("{s:s, s:s, s:s}", "type", "script_error", "text", text, "version", version);
  char *line = document ? json_dumps(document, JSON_COMPACT) : NULL;
  json_decref(document);
  struct message *m = line ? message_new(line, strlen(line)) : NULL;
  free(line);
  if (m) {
    server_each_site(s, tell_here, new_news, m);
    message_unref(m);
  }
}

/* ---- reload ---- */

static void *new_pages(struct site *site, void *pages) {
  struct site_news *t = malloc(sizeof *t);
  if (!t) {
    abort();
  }
  *t = (struct site_news){site, (void *)pages_ref(pages)};
  return t;
}

static void pages_here(void *arg) {
  struct site_news *t = arg;
  struct pages *pages = (struct pages *)t->message;
  net_set_pages(t->site->net, pages);
  pages_unref(pages);
  free(t);
}

/* The pages go with the scripts. */
void server_reload_pages(void *arg) {
  struct server *s = arg;
  struct pages *fresh;
  char why[512];
  if (pages_load(config_string(s->config, SETTING_WEB_DIR), s->pages, &fresh, why)) {
    LOG(LOG_WARN, "server", "the pages were not read again", LSTR("error", why));
    return;
  }
  server_each_site(s, pages_here, new_pages, fresh);
  pages_unref(s->pages);
  s->pages = fresh;
}

static void on_erased(void *arg, int code, const struct store_erased *erased) {
  char text[128];
  snprintf(text, sizeof text, "%llu conversations, %llu messages", (unsigned long long)erased->sessions,
           (unsigned long long)erased->messages);
  control_reply(arg, code == 0, code ? err_text(code) : text);
}

static void on_erase(struct server *s, struct control_client *who, const char *rest) {
  int64_t now_ms = (int64_t)worker_wall_ms(s->sites[0].worker);
  char line[CONTROL_LINE_MAX + 1];
  snprintf(line, sizeof line, "%s", rest);
  const char *user = subject_read(line);
  int code = user ? erasure_user(s->erasure, user, "command line", now_ms, on_erased, who) : E_INVALID;
  if (code) {
    control_reply(who, false, code == E_BUSY ? "another erasure is running" : err_text(code));
  }
}

static void on_audited(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  control_reply(op->arg, op->code == 0, op->code ? err_text(op->code) : "written down");
  store_op_free(op);
}

/* Reading stored data is recorded in the database first. */
static void on_export(struct server *s, struct control_client *who, const char *subject) {
  struct store_op *op =
    store_op_audit(STORE_AUDIT, "command line", "export", subject, (int64_t)worker_wall_ms(s->sites[0].worker));
  int code = op ? 0 : UV_ENOMEM;
  if (op) {
    op->reply_to = s->home;
    op->post.run = on_audited;
    op->arg = who;
    code = store_submit(s->store, op);
  }
  if (code) {
    store_op_free(op);
    control_reply(who, false, err_text(code));
  }
}

/* `reload` is for the key files, too; the scripts are taken whether these are good or not. */
static void on_reload(struct server *s, struct control_client *who) {
  char why[512], line[640];
  if (server_read_keys(s, "reload", why)) {
    snprintf(line, sizeof line, "%s (what was read before stays in force)", why);
    control_fail(who, line);
  }
}

void server_command(void *arg, struct control_client *who, const char *line) {
  static const struct {
    const char *word;
    void (*run)(struct server *s, struct control_client *who, const char *rest);
  } commands[] = {{"erase user", on_erase}, {"export ", on_export}};
  size_t word = strcspn(line, " ");
  if (word == 6 && strncmp(line, "reload", 6) == 0) {
    on_reload(arg, who);
  }
  if (orders_take(((struct server *)arg)->scripts, who, line)) {
    return;
  }
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    size_t len = strlen(commands[i].word);
    if (strncmp(line, commands[i].word, len) == 0) {
      commands[i].run(arg, who, line + len);
      return;
    }
  }
  control_reply(who, false, "unknown command");
}
