/* In: the key files of the settings, at the start and whenever they may have changed. Out: keys in force.
 * Why: a key or a certificate is exchanged without a restart, and one that is taken out of its file is refused from
 * then on. They are read again on SIGHUP, on `chatbox reload` and when the files change; what cannot be used changes
 * nothing and is said. Thread: the main one. */
#include "server_impl.h"

#include "expiry.h"
#include "gate.h"
#include "log.h"
#include "tls.h"
#include "watch_files.h"

#include <stdio.h>
#include <string.h>

#define LOOK_EVERY_MS 500

static void say(int code, const char *what, const char *why, const char *reason) {
  if (code) {
    LOG(LOG_ERROR, "keys", "a key file cannot be used; what was read before stays in force", LSTR("why", why),
        LSTR("on", reason));
  } else {
    LOG(LOG_INFO, "keys", "read again", LSTR("what", what), LSTR("on", reason));
  }
}

static void check_here(void *arg) {
  expiry_check_keys(((struct site *)arg)->expiry);
}

int server_read_keys(struct server *s, const char *reason, char why[512]) {
  char tls_why[512] = "";
  int code = 0, tls_code = 0;
  *why = 0;
  if (*config_string(s->config, SETTING_JWT_PUBLIC_KEY_FILE)) {
    code = gate_read_keys(s->gate, why);
    say(code, "JWT_PUBLIC_KEY_FILE", why, reason);
    if (!code) {
      server_each_site(s, check_here, server_just_site, NULL);
    }
  }
  if (s->tls) {
    tls_code = tls_reload(s->tls, tls_why);
    say(tls_code, "TLS_CERT_FILE, TLS_KEY_FILE", tls_why, reason);
  }
  if (tls_code) {
    size_t len = strlen(why);
    snprintf(why + len, 512 - len, "%s%s", code ? "; " : "", tls_why);
  }
  return code ? code : tls_code;
}

static void on_change(void *arg) {
  char why[512]; /* is in the log */
  server_read_keys(arg, "file change", why);
}

int server_watch_keys(struct server *s) {
  const char *const paths[] = {config_string(s->config, SETTING_JWT_PUBLIC_KEY_FILE),
                               config_string(s->config, SETTING_TLS_CERT_FILE),
                               config_string(s->config, SETTING_TLS_KEY_FILE)};
  s->watch_keys = watch_files_new(&s->loop, paths, sizeof paths / sizeof *paths, LOOK_EVERY_MS, on_change, s);
  return s->watch_keys ? 0 : UV_ENOMEM;
}
