/* In: any bytes as a file of settings. Out: an abort when what was accepted does not survive being printed and read
 * again, when a value is in force that breaks a promise the server relies on, or when a complaint is not one line.
 * Why: operators paste anything into such a file; what comes out has to be either right or a sentence. */
#include "config.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds) {
  if (!holds)
    abort();
}

static void check_complaint(const char why[512]) {
  check(memchr(why, '\0', 512) != NULL && *why != '\0');
  for (const char *p = why; *p; p++)
    check((unsigned char)*p >= ' ' && *p != 0x7F);
}

static void check_promises(const struct config *c) {
  const char *prefix = config_string(c, SETTING_PATH_PREFIX);
  check(prefix[0] == '/' && prefix[1] != '\0' && prefix[strlen(prefix) - 1] != '/' && !strstr(prefix, "//"));
  check(!strpbrk(config_string(c, SETTING_BOT), "/."));
  check(config_int(c, SETTING_SERVER_PORT) >= 0 && config_int(c, SETTING_SERVER_PORT) <= 65535);
  check(config_int(c, SETTING_MAX_MESSAGE_SIZE) >= 1024 && config_int(c, SETTING_MAX_MESSAGE_SIZE) <= 1 << 26);
}

static void check_round_trip(const struct config *c) {
  char *text = NULL, why[512];
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  check(out != NULL);
  config_print(c, out);
  fclose(out);
  struct config *again = config_new();
  check(again && config_parse(again, text, len, why) == 0);
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *source;
    if (!config_secret((enum setting)s))
      check(strcmp(config_text(c, (enum setting)s, &source), config_text(again, (enum setting)s, &source)) == 0);
  }
  config_free(again);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[512];
  struct config *c = config_new();
  check(c != NULL);
  memset(why, 'x', sizeof why);
  int err = config_parse(c, (const char *)data, size, why);
  check(err == 0 || err == E_INVALID || err == E_TOO_BIG);
  if (err)
    check_complaint(why);
  check_promises(c);
  if (!err)
    check_round_trip(c);
  config_free(c);
  return 0;
}
