/* Promises of core/config/secret.h: what a template holds is no secret, what nobody can guess is one, and a file gives
 * its text or says why not. */
#include "secret.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <uv.h>

#define SIZEOF(a) (sizeof(a) / sizeof *(a))

static void what_a_template_holds_is_a_placeholder(void **state) {
  (void)state;
  const char *placeholders[] = {
    "REPLACE_WITH_A_SECRET",
    "replace-with-32-bytes",
    "PLACEHOLDER_JWT",
    "placeholder",
    "CHANGE-ME",
    "change me",
    "ChangeMe123",
    "change_me",
    "changeit",
    "c.h.a.n.g.e.m.e",
    "local-development-secret-change-in-production",
    "smtp-password",
    "smtp_password",
    "password",
    "my mail password",
    "llm-api-key",
    "sms-auth-token",
    "webhook-secret",
    "put-it-here",
    "your-api-key",
    "sk-YOUR_KEY",
    "your secret",
    "<jwt secret>",
    "sk-example-1234",
    "EXAMPLE",
    "minioadmin",
    "xxxxxxxx",
    "********",
    "CHANGE-ME-32-BYTE-KEY-FOR-AES256",
    "replace this",
    "insert-your-key",
  };
  for (size_t i = 0; i < SIZEOF(placeholders); i++)
    if (!secret_placeholder(placeholders[i]))
      fail_msg("\"%s\" passes for a secret", placeholders[i]);
}

static void what_somebody_made_up_or_drew_is_none(void **state) {
  (void)state;
  const char *secrets[] = {
    "",
    "x",
    "kF2v9w==",
    "correct-horse-battery-staple",
    "Tr0ub4dor&3",
    "V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!",
    "sk-proj-9fLk2Jd8sQ",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "9b1c6f3e5a7d8e0f1a2b3c4d5e6f7081",
    "Passwort und Schlüssel",
    "a-password-of-mine-9",
  };
  for (size_t i = 0; i < SIZEOF(secrets); i++)
    if (secret_placeholder(secrets[i]))
      fail_msg("\"%s\" is taken for a placeholder: %s", secrets[i], secret_placeholder(secrets[i]));
}

static void the_password_of_an_address_is_found(void **state) {
  (void)state;
  static const struct {
    const char *url, *password;
  } cases[] = {
    {"mongodb://chat:s3cr@t@db.example.org:27017/chat", "s3cr@t"},
    {"mongodb+srv://u:p@h/?authSource=a:b@c", "p"},
    {"mongodb://u:@h/", ""},
    {"mongodb://user@host/", NULL},
    {"mongodb://host:27017/chat?x=a:b@c", NULL},
    {"sqlite:/var/lib/a:b@c", NULL},
    {"", NULL},
  };
  for (size_t i = 0; i < SIZEOF(cases); i++) {
    size_t len = 0;
    const char *found = secret_of_url(cases[i].url, &len);
    if (!cases[i].password) {
      assert_null(found);
      continue;
    }
    assert_non_null(found);
    assert_int_equal(len, strlen(cases[i].password));
    assert_memory_equal(found, cases[i].password, len);
  }
}

static void repeated_and_rising_bytes_can_be_guessed(void **state) {
  (void)state;
  const char *repeated[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abcabcabcabcabcabcabcabcabcabcab",
                            "1212121212121212121212121212121212121212"},
             *rising[] = {"0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyz012345",
                          "zyxwvutsrqponmlkjihgfedcba987654"};
  for (size_t i = 0; i < SIZEOF(repeated); i++)
    assert_true(secret_repeats(repeated[i], strlen(repeated[i])));
  for (size_t i = 0; i < SIZEOF(rising); i++) {
    assert_true(secret_rises(rising[i], strlen(rising[i])));
    assert_false(secret_repeats(rising[i], strlen(rising[i])));
  }
  uint64_t seed = 88172645463325252u; /* xorshift: the same texts in every run */
  for (int round = 0; round < 20000; round++) {
    char hex[33];
    for (int i = 0; i < 2; i++) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      snprintf(hex + 16 * (ptrdiff_t)i, 17, "%016llx", (unsigned long long)seed);
    }
    assert_false(secret_repeats(hex, 32) || secret_rises(hex, 32));
  }
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static char path[64];

static void file_make(const void *text, size_t len) {
  snprintf(path, sizeof path, "/tmp/secret_test_XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, len), len);
  close(fd);
}

static void assert_file(const char *text, size_t len, const char *expected) {
  char *found = NULL, why[512] = "";
  file_make(text, len);
  int code = secret_read(path, &found, why);
  unlink(path);
  if (code)
    fail_msg("%s", why);
  assert_string_equal(found, expected);
  free(found);
}

static void assert_no_file(const char *where, int expected, const char *words) {
  char *found = NULL, why[512] = "";
  assert_int_equal(secret_read(where, &found, why), expected);
  assert_null(found);
  assert_non_null(strstr(why, where));
  assert_non_null(strstr(why, words));
}

static void a_file_gives_its_text_without_the_last_newline(void **state) {
  (void)state;
  assert_file("s3cret", 6, "s3cret");
  assert_file("s3cret\n", 7, "s3cret");
  assert_file("s3cret\r\n", 8, "s3cret");
  assert_file("s3cret\n\n", 8, "s3cret\n");
  assert_file(" s3cret ", 8, " s3cret ");
  char *most = malloc(SECRET_FILE_MAX + 1);
  memset(most, 's', SECRET_FILE_MAX + 1);
  most[SECRET_FILE_MAX] = '\0';
  assert_file(most, SECRET_FILE_MAX, most);
  file_make(most, SECRET_FILE_MAX);
  FILE *more = fopen(path, "a");
  fputs("s", more);
  fclose(more);
  assert_no_file(path, E_TOO_BIG, "64KiB");
  unlink(path);
  free(most);
}

static void what_is_no_text_in_a_file_is_refused(void **state) {
  (void)state;
  assert_no_file("/tmp/secret_test/no/such", UV_ENOENT, "no such");
  assert_no_file("/tmp", E_INVALID, "not a regular file");
  file_make("", 0);
  assert_no_file(path, E_INVALID, "empty");
  unlink(path);
  file_make("\n", 1);
  assert_no_file(path, E_INVALID, "empty");
  unlink(path);
  file_make("a\0b", 3);
  assert_no_file(path, E_INVALID, "NUL");
  unlink(path);
  assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: reading would wait for ever */
  assert_no_file(path, E_INVALID, "not a regular file");
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_a_template_holds_is_a_placeholder),
    cmocka_unit_test(what_somebody_made_up_or_drew_is_none),
    cmocka_unit_test(the_password_of_an_address_is_found),
    cmocka_unit_test(repeated_and_rising_bytes_can_be_guessed),
    cmocka_unit_test(a_file_gives_its_text_without_the_last_newline),
    cmocka_unit_test(what_is_no_text_in_a_file_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
