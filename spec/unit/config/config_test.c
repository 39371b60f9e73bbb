/* Promises of core/config/config.h: which value is in force, and that a wrong one stops the start with a line one can
 * act on.
 */
#include "config.h"
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <uv.h>

static char *const nothing[] = {NULL};

/* --- helpers ------------------------------------------------------------------------------------------------------ */

static const char *file_with(const char *text, size_t len) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/config_test_XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, len), len);
  close(fd);
  return path;
}

/* What config_load makes of a file with that text (NULL: no file) and that environment; why is static. */
static int load(const char *text, char *const *env, struct config **c, const char **why) {
  static char reason[512];
  const char *path = text ? file_with(text, strlen(text)) : NULL;
  strcpy(reason, "(untouched)");
  int err = config_load(path, env, c, reason);
  assert_true((err == 0) == (*c != NULL));
  if (path)
    unlink(path);
  *why = reason;
  return err;
}

static struct config *loaded(const char *text, char *const *env) {
  struct config *c;
  const char *why;
  int err = load(text, env, &c, &why);
  if (err)
    fail_msg("%s: %s", err_name(err), why);
  return c;
}

/* One value, given as a file would: 0, or the complaint in why. */
static int set(enum setting s, const char *value, char why[512]) {
  struct config *c = config_new();
  why[0] = '\0';
  int err = config_set(c, s, value, why);
  config_free(c);
  return err;
}

static int64_t number(enum setting s, const char *value) {
  struct config *c = config_new();
  char why[512];
  int err = config_set(c, s, value, why);
  if (err)
    fail_msg("%s", why);
  int64_t n = config_int(c, s);
  config_free(c);
  return n;
}

static void assert_refused(enum setting s, const char *value, const char *expected) {
  char why[512];
  assert_int_equal(set(s, value, why), E_INVALID);
  assert_string_equal(why, expected);
}

/* What print(c) writes, on the heap. */
static char *printed(const struct config *c) {
  char *text = NULL;
  size_t len;
  FILE *out = open_memstream(&text, &len);
  config_print(c, out);
  fclose(out);
  return text;
}

/* --- which value is in force -------------------------------------------------------------------------------------- */

static void defaults_are_those_of_the_table(void **state) {
  (void)state;
  struct config *c = config_new();
  const char *source;
  assert_string_equal(config_string(c, SETTING_PATH_PREFIX), "/chatbox");
  assert_int_equal(config_int(c, SETTING_SERVER_PORT), 8080);
  assert_int_equal(config_int(c, SETTING_WS_PING_PERIOD), 54000);
  assert_int_equal(config_int(c, SETTING_MAX_MESSAGE_SIZE), 1 << 20);
  assert_true(config_bool(c, SETTING_JWT_REQUIRE_EXP));
  assert_false(config_bool(c, SETTING_DEVELOPMENT));
  for (int s = 0; s < SETTING_COUNT; s++) {
    config_text(c, (enum setting)s, &source);
    assert_string_equal(source, "default");
    assert_int_equal(config_find(config_name((enum setting)s)), s);
  }
  config_free(c);
  config_free(NULL);
}

static void environment_wins_over_file_and_file_over_default(void **state) {
  (void)state;
  char *const env[] = {"MAX_CONNECTIONS=7", "PATH=/bin", "RATE_LIMIT_X=1", "NOEQUALS", NULL};
  struct config *c = loaded("MAX_CONNECTIONS=5\nRATE_LIMIT=6\n", env);
  const char *source;
  assert_int_equal(config_int(c, SETTING_MAX_CONNECTIONS), 7);
  assert_string_equal(config_text(c, SETTING_MAX_CONNECTIONS, &source), "7");
  assert_string_equal(source, "environment");
  assert_int_equal(config_int(c, SETTING_RATE_LIMIT), 6);
  assert_string_equal(config_text(c, SETTING_RATE_LIMIT, &source), "6");
  assert_string_equal(source, "file");
  assert_int_equal(config_int(c, SETTING_MAX_SESSIONS), 100000);
  config_free(c);
}

static void a_variable_may_switch_a_text_off(void **state) {
  (void)state;
  char *const env[] = {"TRUSTED_PROXIES=", NULL};
  struct config *c = loaded("TRUSTED_PROXIES=10.0.0.1\n", env);
  assert_string_equal(config_string(c, SETTING_TRUSTED_PROXIES), "");
  config_free(c);
}

static void an_old_name_works_but_the_own_name_wins(void **state) {
  (void)state;
  char *const old[] = {"CHATBOX_ALLOWED_ORIGINS=https://old.org", NULL};
  char *const both[] = {"WS_ALLOWED_ORIGINS=https://new.org", "CHATBOX_ALLOWED_ORIGINS=https://old.org", NULL};
  char *const both_turned[] = {both[1], both[0], NULL};
  struct config *c = loaded(NULL, old);
  assert_string_equal(config_string(c, SETTING_WS_ALLOWED_ORIGINS), "https://old.org");
  config_free(c);
  c = loaded(NULL, both);
  assert_string_equal(config_string(c, SETTING_WS_ALLOWED_ORIGINS), "https://new.org");
  config_free(c);
  c = loaded(NULL, both_turned);
  assert_string_equal(config_string(c, SETTING_WS_ALLOWED_ORIGINS), "https://new.org");
  config_free(c);
}

static void a_replaced_value_keeps_its_source_and_its_checks(void **state) {
  (void)state;
  struct config *c = config_new();
  char why[512];
  const char *source;
  assert_int_equal(config_set(c, SETTING_SCRIPTS_DIR, "/srv/scripts", why), 0);
  assert_string_equal(config_text(c, SETTING_SCRIPTS_DIR, &source), "/srv/scripts");
  assert_string_equal(source, "default");
  assert_int_equal(config_set(c, SETTING_WORKERS, "257", why), E_INVALID);
  assert_int_equal(config_int(c, SETTING_WORKERS), 0);
  config_free(c);
}

static void an_unknown_name_is_not_found(void **state) {
  (void)state;
  assert_int_equal(config_find("NO_SUCH"), -1);
  assert_int_equal(config_find(""), -1);
  assert_int_equal(config_find("server_port"), -1);
}

/* --- how values are written --------------------------------------------------------------------------------------- */

static void numbers_durations_and_sizes_are_read(void **state) {
  (void)state;
  assert_int_equal(number(SETTING_SERVER_PORT, "0"), 0);
  assert_int_equal(number(SETTING_SERVER_PORT, "65535"), 65535);
  assert_int_equal(number(SETTING_HANDSHAKE_TIMEOUT, "250ms"), 250);
  assert_int_equal(number(SETTING_HANDSHAKE_TIMEOUT, "15s"), 15000);
  assert_int_equal(number(SETTING_HANDSHAKE_TIMEOUT, "5m"), 300000);
  assert_int_equal(number(SETTING_SESSION_TTL, "1h30m"), 5400000);
  assert_int_equal(number(SETTING_SESSION_TTL, "2m0s"), 120000);
  assert_int_equal(number(SETTING_SESSION_TTL, "1h1m1s1ms"), 3661001);
  assert_int_equal(number(SETTING_SCRIPT_DRAIN_TIMEOUT, "0"), 0);
  assert_int_equal(number(SETTING_MAX_BODY_SIZE, "4096"), 4096);
  assert_int_equal(number(SETTING_MAX_BODY_SIZE, "64KiB"), 65536);
  assert_int_equal(number(SETTING_MAX_BODY_SIZE, "64KB"), 65536);
  assert_int_equal(number(SETTING_MAX_BODY_SIZE, "1MiB"), 1048576);
  assert_int_equal(number(SETTING_MAX_BODY_SIZE, "1MB"), 1048576);
  assert_int_equal(number(SETTING_SHARED_BYTES, "1GiB"), 1073741824);
  assert_int_equal(number(SETTING_SHARED_BYTES, "1GB"), 1073741824);
}

static void what_is_not_a_number_is_refused(void **state) {
  (void)state;
  const struct {
    enum setting s;
    const char *text;
  } cases[] = {
    {SETTING_SERVER_PORT, ""},
    {SETTING_SERVER_PORT, "-1"},
    {SETTING_SERVER_PORT, "+1"},
    {SETTING_SERVER_PORT, "1.5"},
    {SETTING_SERVER_PORT, "0x10"},
    {SETTING_SERVER_PORT, " 1"},
    {SETTING_SERVER_PORT, "1 "},
    {SETTING_SERVER_PORT, "80s"},
    {SETTING_SERVER_PORT, "99999999999999999999"},
    {SETTING_SESSION_TTL, "5"},
    {SETTING_SESSION_TTL, "5d"},
    {SETTING_SESSION_TTL, "s"},
    {SETTING_SESSION_TTL, "5s5s"},
    {SETTING_SESSION_TTL, "1m1h"},
    {SETTING_SESSION_TTL, "1h30"},
    {SETTING_SESSION_TTL, "1.5h"},
    {SETTING_SESSION_TTL, "-5m"},
    {SETTING_SESSION_TTL, "9223372036854775807h"},
    {SETTING_SESSION_TTL, "5M"},
    {SETTING_SESSION_TTL, "00"},
    {SETTING_MAX_BODY_SIZE, "1TiB"},
    {SETTING_MAX_BODY_SIZE, "1MiB1KiB"},
    {SETTING_MAX_BODY_SIZE, "KiB"},
    {SETTING_MAX_BODY_SIZE, "1 MiB"},
    {SETTING_MAX_BODY_SIZE, "9007199254740992GiB"},
    {SETTING_DEVELOPMENT, ""},
    {SETTING_DEVELOPMENT, "2"},
    {SETTING_DEVELOPMENT, "yess"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char why[512];
    if (set(cases[i].s, cases[i].text, why) != E_INVALID)
      fail_msg("%s took \"%s\"", config_name(cases[i].s), cases[i].text);
    assert_non_null(strstr(why, " is not "));
  }
}

static void truth_has_four_spellings(void **state) {
  (void)state;
  const char *yes[] = {"true", "1", "yes", "on", "TRUE", "On"}, *no[] = {"false", "0", "no", "off", "False"};
  struct config *c = config_new();
  char why[512];
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
    assert_int_equal(config_set(c, SETTING_DEVELOPMENT, "no", why), 0);
    assert_int_equal(config_set(c, SETTING_DEVELOPMENT, yes[i], why), 0);
    assert_true(config_bool(c, SETTING_DEVELOPMENT));
  }
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    assert_int_equal(config_set(c, SETTING_DEVELOPMENT, "yes", why), 0);
    assert_int_equal(config_set(c, SETTING_DEVELOPMENT, no[i], why), 0);
    assert_false(config_bool(c, SETTING_DEVELOPMENT));
  }
  config_free(c);
}

/* --- complaints --------------------------------------------------------------------------------------------------- */

static void a_complaint_names_key_value_and_bounds(void **state) {
  (void)state;
  assert_refused(SETTING_MAX_MESSAGE_SIZE, "12x", "MAX_MESSAGE_SIZE: \"12x\" is not a size (1KiB to 64MiB)");
  assert_refused(SETTING_MAX_MESSAGE_SIZE, "5", "MAX_MESSAGE_SIZE: \"5\" is out of bounds (1KiB to 64MiB)");
  assert_refused(SETTING_SERVER_PORT, "65536", "SERVER_PORT: \"65536\" is out of bounds (0 to 65535)");
  assert_refused(SETTING_SERVER_PORT, "http", "SERVER_PORT: \"http\" is not a number (0 to 65535)");
  assert_refused(SETTING_SESSION_TTL, "soon", "SESSION_TTL: \"soon\" is not a duration (10ms to 168h)");
  assert_refused(SETTING_DEVELOPMENT, "maybe", "DEVELOPMENT: \"maybe\" is not true or false");
  assert_refused(SETTING_SERVER_ADDRESS, "", "SERVER_ADDRESS: \"\" is out of bounds (1 to 255 bytes)");
}

static void bounds_are_taken_and_what_is_beyond_them_is_not(void **state) {
  (void)state;
  char why[512];
  assert_int_equal(set(SETTING_MAX_MESSAGE_SIZE, "1024", why), 0);
  assert_int_equal(set(SETTING_MAX_MESSAGE_SIZE, "1023", why), E_INVALID);
  assert_int_equal(set(SETTING_MAX_MESSAGE_SIZE, "64MiB", why), 0);
  assert_int_equal(set(SETTING_MAX_MESSAGE_SIZE, "67108865", why), E_INVALID);
  char text[257] = {0};
  memset(text, 'a', 255);
  assert_int_equal(set(SETTING_SERVER_ADDRESS, text, why), 0);
  text[255] = 'a';
  assert_int_equal(set(SETTING_SERVER_ADDRESS, text, why), E_INVALID);
}

static void a_complaint_is_one_short_line_whatever_the_value(void **state) {
  (void)state;
  char why[512], value[6002] = "a";
  for (size_t i = 1; i < 6000; i += 2)
    memcpy(value + i, "ü", 2);
  assert_int_equal(set(SETTING_LOG_LEVEL, value, why), E_INVALID);
  assert_true(strlen(why) < 200);
  assert_non_null(strstr(why, "ü...\" is out")); /* the cut is between characters */
  assert_refused(SETTING_LOG_LEVEL, "a\nb\x7f", "LOG_LEVEL: \"a?b?\" contains a control character");
}

static void the_value_of_a_secret_is_never_shown(void **state) {
  (void)state;
  char why[512], secret[5000] = {0};
  memset(secret, 'k', 4999);
  secret[1] = 'x'; /* one character only would be a placeholder */
  assert_int_equal(set(SETTING_JWT_SECRET, secret, why), E_INVALID);
  assert_string_equal(why, "JWT_SECRET: (hidden) is out of bounds (0 to 4096 bytes)");
  assert_refused(
    SETTING_JWT_SECRET, "kkkk-change-me",
    "JWT_SECRET: (hidden) still contains the placeholder CHANGE-ME; put the real value there, or its file into "
    "JWT_SECRET_FILE (make one with: openssl rand -base64 32)");
  struct config *c = loaded("JWT_SECRET=kkkkjkkkk\nSTORE_URL=sqlite:kkkk.db\n", nothing);
  const char *source;
  assert_string_equal(config_text(c, SETTING_JWT_SECRET, &source), "(hidden)");
  assert_string_equal(config_string(c, SETTING_JWT_SECRET), "kkkkjkkkk");
  char *text = printed(c);
  assert_non_null(strstr(text, "\nJWT_SECRET=(hidden)\n"));
  assert_null(strstr(text, "kkkk"));
  free(text);
  config_free(c);
}

static void a_placeholder_is_refused_for_every_setting(void **state) {
  (void)state;
  const char *markers[] = {"replace_with_x", "xPlaceHolder", "CHANGE-ME", "change_me", "Your-key"};
  for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
    for (int s = 0; s < SETTING_COUNT; s++) {
      char why[512];
      assert_int_equal(set((enum setting)s, markers[i], why), E_INVALID);
      assert_non_null(strstr(why, "placeholder"));
    }
  char *const env[] = {"WS_ALLOWED_ORIGINS=https://your-domain.org", NULL};
  struct config *c;
  const char *why;
  assert_int_equal(load(NULL, env, &c, &why), E_INVALID);
  assert_string_equal(why, "WS_ALLOWED_ORIGINS: \"https://your-domain.org\" still contains the placeholder YOUR-");
}

static void a_placeholder_of_a_secret_is_refused_and_the_remedy_named(void **state) {
  (void)state;
  for (int s = 0; s < SETTING_COUNT; s++) {
    char why[512], remedy[80];
    if (!config_secret((enum setting)s) || s == SETTING_STORE_URL)
      continue;
    snprintf(remedy, sizeof remedy, "its file into %s_FILE", config_name((enum setting)s));
    assert_int_equal(set((enum setting)s, "smtp-password", why), E_INVALID);
    assert_non_null(strstr(why, remedy));
    assert_null(strstr(why, "smtp-"));
    assert_int_equal(set((enum setting)s, "Change me!", why), E_INVALID);
  }
  char why[512];
  assert_int_equal(set(SETTING_STORE_URL, "mongodb://chat:db-password@db/chat", why), E_INVALID);
  assert_non_null(strstr(why, "STORE_URL: (hidden) still contains the placeholder password"));
  assert_int_equal(set(SETTING_STORE_URL, "mongodb://chat:5fR9@db.example.org/chat", why), 0);
  assert_int_equal(set(SETTING_STORE_URL, "sqlite:example-password.db", why), 0);
  assert_int_equal(set(SETTING_SERVER_ADDRESS, "example", why), 0); /* only of secrets */
}

static void a_secret_can_be_read_from_a_file_of_its_own(void **state) {
  (void)state;
  char path[64], line[128], *env[3] = {line};
  struct config *c;
  const char *why, *source;
  snprintf(path, sizeof path, "%s", file_with("fr0m-the-file\n", 14));
  snprintf(line, sizeof line, "WEBHOOK_SECRET_FILE=%s", path);
  c = loaded(NULL, env);
  assert_string_equal(config_string(c, SETTING_WEBHOOK_SECRET), "fr0m-the-file");
  assert_string_equal(config_text(c, SETTING_WEBHOOK_SECRET, &source), "(hidden)");
  assert_string_equal(source, "file of its own");
  config_free(c);
  c = loaded(line, nothing); /* the same in the settings file */
  assert_string_equal(config_string(c, SETTING_WEBHOOK_SECRET), "fr0m-the-file");
  config_free(c);

  env[1] = "WEBHOOK_SECRET="; /* compose files set what nobody gave to nothing */
  c = loaded(NULL, env);
  assert_string_equal(config_string(c, SETTING_WEBHOOK_SECRET), "fr0m-the-file");
  config_free(c);
  env[1] = "WEBHOOK_SECRET=too";
  assert_int_equal(load(NULL, env, &c, &why), E_INVALID);
  assert_string_equal(why, "WEBHOOK_SECRET and WEBHOOK_SECRET_FILE are both set; one of them has to go");
  env[0] = "WEBHOOK_SECRET=too", env[1] = line;
  assert_int_equal(load(NULL, env, &c, &why), E_INVALID);
  unlink(path);

  env[0] = line, env[1] = NULL;
  assert_int_equal(load(NULL, env, &c, &why), UV_ENOENT);
  assert_true(strncmp(why, "WEBHOOK_SECRET_FILE: /tmp/", 26) == 0);
  assert_int_equal(load("SERVER_PORT_FILE=/tmp/port", nothing, &c, &why), E_INVALID); /* only secrets have one */
  snprintf(path, sizeof path, "%s", file_with("webhook-secret", 14));
  snprintf(line, sizeof line, "WEBHOOK_SECRET_FILE=%s", path);
  assert_int_equal(load(NULL, env, &c, &why), E_INVALID);
  assert_non_null(strstr(why, "placeholder"));
  unlink(path);
}

static void what_nothing_uses_yet_says_so(void **state) {
  (void)state;
  assert_true(config_reserved(SETTING_SMTP_PASS));
  assert_true(config_reserved(SETTING_LLM_PROVIDER_3_API_KEY));
  assert_false(config_reserved(SETTING_SHUTDOWN_TIMEOUT));
  for (int s = SETTING_RESERVED_FIRST; s < SETTING_COUNT; s++)
    assert_true(config_secret((enum setting)s));
}

static void a_prefix_starts_with_a_slash_and_ends_without(void **state) {
  (void)state;
  const char *good[] = {"/chatbox", "/a/b", "/x"},
             *bad[] = {"chatbox", "/", "/a/", "/a//b", "/a b", "/a?b", "/a#b", "//a"};
  char why[512];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    assert_int_equal(set(SETTING_PATH_PREFIX, good[i], why), 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(set(SETTING_PATH_PREFIX, bad[i], why), E_INVALID);
  assert_int_equal(set(SETTING_PATH_PREFIX, "/a\tb", why), E_INVALID);
}

static void words_are_checked(void **state) {
  (void)state;
  char why[512];
  assert_int_equal(set(SETTING_LOG_LEVEL, "debug", why), 0);
  assert_int_equal(set(SETTING_LOG_LEVEL, "loud", why), E_INVALID);
  assert_int_equal(set(SETTING_LOG_FORMAT, "json", why), 0);
  assert_int_equal(set(SETTING_LOG_FORMAT, "xml", why), E_INVALID);
  assert_int_equal(set(SETTING_BOT, "my_bot2", why), 0);
  assert_int_equal(set(SETTING_BOT, "../bot", why), E_INVALID);
  assert_int_equal(set(SETTING_BOT, "Bot", why), E_INVALID);
}

static void cors_origins_are_origins(void **state) {
  (void)state;
  const char *good[] = {"", "*", "https://a.org", "https://a.org,http://localhost:3000", " https://a.org , * ", "*,"};
  const char *bad[] = {"a.org", "https://", "https://a.org/", "https://a.org,b.org", "ftp://a.org", "**"};
  char why[512];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (set(SETTING_CORS_ALLOWED_ORIGINS, good[i], why) != 0)
      fail_msg("%s", why);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(set(SETTING_CORS_ALLOWED_ORIGINS, bad[i], why), E_INVALID);
}

static void who_may_frame_pages_is_a_list_of_origins_and_can_add_no_other_rule(void **state) {
  (void)state;
  static const char *const good[] = {"", "'self'", "'none'", "*", "https://a.example, 'self'", "http://*.a.example:81"};
  static const char *const bad[] = {"https://a.example; script-src *", "a.example", "'unsafe-inline'", "javascript:x",
                                    "https://a.example\"x"};
  char why[512];
  struct config *c = config_new();
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    assert_int_equal(config_set(c, SETTING_FRAME_ANCESTORS, good[i], why), 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(config_set(c, SETTING_FRAME_ANCESTORS, bad[i], why), E_INVALID);
    assert_non_null(strstr(why, "FRAME_ANCESTORS"));
  }
  config_free(c);
}

static void origins_of_sockets_are_checked_in_the_same_way(void **state) {
  (void)state;
  char why[512];
  const char *good[] = {"", "*", "HTTPS://Chat.Example.org:443, http://localhost:3000", "capacitor://localhost"};
  const char *bad[] = {"chat.example.org", "https://chat.example.org/", "\"https://chat.example.org\"",
                       "https://*.org"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (set(SETTING_WS_ALLOWED_ORIGINS, good[i], why) != 0)
      fail_msg("%s", why);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(set(SETTING_WS_ALLOWED_ORIGINS, bad[i], why), E_INVALID);
  assert_int_equal(set(SETTING_WS_ALLOWED_ORIGINS, "https://a.org,https://b.org/chat", why), E_INVALID);
  assert_string_equal(why,
                      "WS_ALLOWED_ORIGINS: \"https://a.org,https://b.org/chat\" has an entry, https://b.org/chat, that "
                      "has a path; an origin ends behind the host or its port (an origin is like "
                      "https://chat.example.org, * is all)");
}

static void a_proxy_is_trusted_on_this_machine_only_until_others_are_named(void **state) {
  (void)state;
  struct config *c = config_new();
  assert_string_equal(config_string(c, SETTING_TRUSTED_PROXIES), "127.0.0.0/8,::1");
  config_free(c);
}

static void settings_that_need_each_other_are_checked_together(void **state) {
  (void)state;
  char *const cert[] = {"TLS_CERT_FILE=/c.pem", NULL}, *const key[] = {"TLS_KEY_FILE=/k.pem", NULL};
  char *const tls[] = {"TLS_CERT_FILE=/c.pem", "TLS_KEY_FILE=/k.pem", NULL};
  char *const pong[] = {"WS_PONG_WAIT=54s", NULL}, *const pings[] = {"WS_PONG_WAIT=54s", "WS_PING_PERIOD=53s", NULL};
  struct config *c;
  const char *why;
  assert_int_equal(load(NULL, cert, &c, &why), E_INVALID);
  assert_string_equal(why, "TLS_CERT_FILE: \"/c.pem\" needs TLS_KEY_FILE too");
  assert_int_equal(load(NULL, key, &c, &why), E_INVALID);
  assert_string_equal(why, "TLS_KEY_FILE: \"/k.pem\" needs TLS_CERT_FILE too");
  assert_int_equal(load(NULL, pong, &c, &why), E_INVALID);
  assert_string_equal(why, "WS_PONG_WAIT: \"54s\" has to be longer than WS_PING_PERIOD (54s)");
  config_free(loaded(NULL, tls));
  config_free(loaded(NULL, pings));
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static void a_file_has_comments_blanks_and_quotes(void **state) {
  (void)state;
  struct config *c = loaded("\xEF\xBB\xBF# a comment\r\n"
                            "\n"
                            "  SERVER_PORT =  9000 \r\n"
                            "\t# another\n"
                            "SCRIPTS_DIR=\" /a b# \"\n"
                            "WEB_DIR='/it\"s'\n"
                            "STORE_URL=sqlite:a=b\n"
                            "TRUSTED_PROXIES=\n"
                            "WORKERS=1\n"
                            "WORKERS=2",
                            nothing);
  assert_int_equal(config_int(c, SETTING_SERVER_PORT), 9000);
  assert_string_equal(config_string(c, SETTING_SCRIPTS_DIR), " /a b# ");
  assert_string_equal(config_string(c, SETTING_WEB_DIR), "/it\"s");
  assert_string_equal(config_string(c, SETTING_STORE_URL), "sqlite:a=b");
  assert_string_equal(config_string(c, SETTING_TRUSTED_PROXIES), "");
  assert_int_equal(config_int(c, SETTING_WORKERS), 2);
  config_free(c);
}

static void a_wrong_line_is_named(void **state) {
  (void)state;
  const struct {
    const char *text, *why;
  } cases[] = {
    {"\n# x\nMAX_CONECTIONS=5\n", "line 3: \"MAX_CONECTIONS\" is not a setting"},
    {"WORKERS=1\nWORKERS=x", "line 2: WORKERS: \"x\" is not a number (0 to 256)"},
    {"WORKERS\n", "line 1: a line has to be KEY=value"},
    {"=1\n", "line 1: \"\" is not a setting"},
    {"wörkers x=1\n", "line 1: \"w??rkers?x\" is not a setting"},
    {"WEB_DIR=\"/a\n", "line 1: WEB_DIR: the closing quote is missing"},
    {"WEB_DIR=\"\n", "line 1: WEB_DIR: the closing quote is missing"},
    {"WEB_DIR='/a\"\n", "line 1: WEB_DIR: the closing quote is missing"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct config *c = config_new();
    char why[512];
    assert_int_equal(config_parse(c, cases[i].text, strlen(cases[i].text), why), E_INVALID);
    assert_string_equal(why, cases[i].why);
    config_free(c);
  }
  struct config *c = config_new();
  char why[512];
  assert_int_equal(config_parse(c, "\nWORKERS=1\0\n", 12, why), E_INVALID);
  assert_string_equal(why, "line 2: contains a NUL byte");
  config_free(c);
}

static void a_complaint_about_a_file_names_the_file(void **state) {
  (void)state;
  struct config *c;
  const char *why;
  assert_int_equal(load("\nWORKERS=x\n", nothing, &c, &why), E_INVALID);
  assert_non_null(strstr(why, "/tmp/config_test_"));
  assert_non_null(strstr(why, ": line 2: WORKERS: \"x\""));
  char reason[512];
  assert_int_equal(config_load("/nonexistent/chatbox.conf", nothing, &c, reason), UV_ENOENT);
  assert_string_equal(reason, "/nonexistent/chatbox.conf: no such file or directory");
  assert_int_equal(config_load("/tmp", nothing, &c, reason), UV_EISDIR);
}

static void a_file_is_at_most_1_mib(void **state) {
  (void)state;
  size_t len = 1 << 20;
  char *text = malloc(len + 1), why[512];
  memset(text, '#', len + 1);
  struct config *c = config_new();
  assert_int_equal(config_parse(c, text, len, why), 0);
  assert_int_equal(config_parse(c, text, len + 1, why), E_TOO_BIG);
  config_free(c);
  const char *path = file_with(text, len);
  assert_int_equal(config_load(path, nothing, &c, why), 0);
  config_free(c);
  unlink(path);
  path = file_with(text, len + 1);
  assert_int_equal(config_load(path, nothing, &c, why), E_TOO_BIG);
  assert_non_null(strstr(why, "larger than 1MiB"));
  unlink(path);
  free(text);
}

/* The lines the log writes while a file of that mode is loaded; static. */
static const char *log_of_loading(const char *text, mode_t mode) {
  static char log[4096];
  const char *path = file_with(text, strlen(text));
  assert_int_equal(chmod(path, mode), 0);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  int saved = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  struct config *c = NULL;
  char why[512];
  int err = config_load(path, nothing, &c, why);
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(ends[1]);
  ssize_t len = read(ends[0], log, sizeof log - 1);
  close(ends[0]);
  unlink(path);
  config_free(c);
  assert_int_equal(err, 0);
  log[len > 0 ? len : 0] = '\0';
  return log;
}

static void a_secret_in_a_file_others_may_read_is_a_warning(void **state) {
  (void)state;
  const char *with_secret = "JWT_SECRET=kkkkjkkkk\n";
  const char *warning = log_of_loading(with_secret, 0644);
  assert_non_null(strstr(warning, "chmod 600"));
  assert_non_null(strstr(warning, "JWT_SECRET"));
  assert_null(strstr(warning, "kkkk"));
  assert_non_null(strstr(log_of_loading(with_secret, 0640), "chmod 600"));
  assert_string_equal(log_of_loading(with_secret, 0600), "");
  assert_string_equal(log_of_loading("WORKERS=1\n", 0644), "");
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

static void what_is_printed_can_be_read_again(void **state) {
  (void)state;
  char *const env[] = {"WORKERS=3", NULL};
  struct config *c = loaded("WEB_DIR=\"  /a b\"\nSCRIPTS_DIR='\"/q\"'\nSESSION_TTL=1h30m\n", env);
  char *first = printed(c), why[512];
  assert_non_null(strstr(first, "# from the environment\nWORKERS=3\n"));
  assert_non_null(strstr(first, "# from the file\nSESSION_TTL=1h30m\n"));
  assert_non_null(strstr(first, "\nSERVER_PORT=8080\n"));
  struct config *again = config_new();
  if (config_parse(again, first, strlen(first), why) != 0)
    fail_msg("%s", why);
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *source;
    assert_string_equal(config_text(c, (enum setting)s, &source), config_text(again, (enum setting)s, &source));
  }
  config_free(again);
  config_free(c);
  free(first);
}

static void the_manual_has_a_row_for_every_setting(void **state) {
  (void)state;
  char *text = printed(NULL);
  assert_true(strncmp(text, "# Settings\n", 11) == 0);
  for (int s = 0; s < SETTING_COUNT; s++) {
    char row[128];
    snprintf(row, sizeof row, "\n| `%s` | ", config_name((enum setting)s));
    assert_non_null(strstr(text, row));
  }
  assert_non_null(strstr(text, "| `MAX_BODY_SIZE` | size | `1MiB` | 1KiB to 64MiB | Largest HTTP request body. |\n"));
  assert_non_null(strstr(text, "| `JWT_SECRET` | text, *secret* | (empty) | 0 to 4096 bytes |"));
  assert_non_null(strstr(text, "`CHATBOX_ALLOWED_ORIGINS` is `WS_ALLOWED_ORIGINS`.\n"));
  free(text);
}

/* The whole of a small file; fails when there is none. */
static char *text_of(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file)
    fail_msg("there is no %s", path);
  char *text = calloc(1, 1 << 18);
  assert_true(fread(text, 1, (1 << 18) - 1, file) > 0);
  fclose(file);
  return text;
}

static void every_duration_has_a_test_that_waits_for_it(void **state) {
  (void)state;
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *title, *file = config_duration_test((enum setting)s, &title);
    if (!file && config_type((enum setting)s) == SETTING_DURATION)
      fail_msg("%s is a duration without a test: core/config/duration_tests.h", config_name((enum setting)s));
    if (!file)
      continue;
    char path[512], call[256];
    snprintf(path, sizeof path, "%s/e2e/%s_test.mjs", SPEC_DIR, file);
    snprintf(call, sizeof call, "test(\"%s\"", title);
    char *text = text_of(path);
    if (!strstr(text, call))
      fail_msg("%s: there is no %s) in %s", config_name((enum setting)s), call, path);
    free(text);
  }
}

/* The longest of each is still a time and not something that has wrapped around. */
static void every_duration_can_be_as_long_as_its_bound_says(void **state) {
  (void)state;
  for (int s = 0; s < SETTING_COUNT; s++) {
    char why[512];
    if (config_type((enum setting)s) != SETTING_DURATION)
      continue;
    assert_int_equal(set((enum setting)s, "168h1ms", why), E_INVALID); /* none may be longer than a week */
    assert_non_null(strstr(why, "out of bounds"));
    assert_int_equal(set((enum setting)s, "9223372036854775807ms", why), E_INVALID);
    assert_int_equal(set((enum setting)s, "2562047788016h", why), E_INVALID);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_are_those_of_the_table),
    cmocka_unit_test(environment_wins_over_file_and_file_over_default),
    cmocka_unit_test(a_variable_may_switch_a_text_off),
    cmocka_unit_test(an_old_name_works_but_the_own_name_wins),
    cmocka_unit_test(a_replaced_value_keeps_its_source_and_its_checks),
    cmocka_unit_test(an_unknown_name_is_not_found),
    cmocka_unit_test(numbers_durations_and_sizes_are_read),
    cmocka_unit_test(what_is_not_a_number_is_refused),
    cmocka_unit_test(truth_has_four_spellings),
    cmocka_unit_test(a_complaint_names_key_value_and_bounds),
    cmocka_unit_test(bounds_are_taken_and_what_is_beyond_them_is_not),
    cmocka_unit_test(a_complaint_is_one_short_line_whatever_the_value),
    cmocka_unit_test(the_value_of_a_secret_is_never_shown),
    cmocka_unit_test(a_placeholder_is_refused_for_every_setting),
    cmocka_unit_test(a_placeholder_of_a_secret_is_refused_and_the_remedy_named),
    cmocka_unit_test(a_secret_can_be_read_from_a_file_of_its_own),
    cmocka_unit_test(what_nothing_uses_yet_says_so),
    cmocka_unit_test(a_prefix_starts_with_a_slash_and_ends_without),
    cmocka_unit_test(words_are_checked),
    cmocka_unit_test(cors_origins_are_origins),
    cmocka_unit_test(who_may_frame_pages_is_a_list_of_origins_and_can_add_no_other_rule),
    cmocka_unit_test(origins_of_sockets_are_checked_in_the_same_way),
    cmocka_unit_test(a_proxy_is_trusted_on_this_machine_only_until_others_are_named),
    cmocka_unit_test(settings_that_need_each_other_are_checked_together),
    cmocka_unit_test(a_file_has_comments_blanks_and_quotes),
    cmocka_unit_test(a_wrong_line_is_named),
    cmocka_unit_test(a_complaint_about_a_file_names_the_file),
    cmocka_unit_test(a_file_is_at_most_1_mib),
    cmocka_unit_test(a_secret_in_a_file_others_may_read_is_a_warning),
    cmocka_unit_test(what_is_printed_can_be_read_again),
    cmocka_unit_test(the_manual_has_a_row_for_every_setting),
    cmocka_unit_test(every_duration_has_a_test_that_waits_for_it),
    cmocka_unit_test(every_duration_can_be_as_long_as_its_bound_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
