/* In: what a database holds; content to seal; edits of sealed text; keys. Out: an abort when something comes out that
 * was not said, or a text does not read as it was said. Why: whoever can write to the database can write anything
 * there. */
#include "cipher.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define SESSION "5e550000000000000000000000000001"
#define SEQ 7

enum mode { STORED, CONTENT, EDITS, KEYS, MODES };

static struct keyring *strict, *lenient;

static void check(bool holds) {
  if (!holds)
    abort();
}

/* From memory of exactly that size, so that a read beyond it is seen. */
static int open_copy(const struct keyring *k, uint64_t seq, const void *stored, size_t len, char **content,
                     size_t *content_len) {
  char *copy = malloc(len > 0 ? len : 1);
  check(copy != NULL);
  if (len > 0)
    memcpy(copy, stored, len);
  struct cipher_place place = {.what = "message", .session_id = SESSION, .seq = seq, .texts = {"u1", "id"}};
  int code = cipher_open(k, &place, copy, len, content, content_len);
  check((code == 0) == (*content != NULL));
  check(code == 0 || code == E_CIPHER || code == E_KEY || code == E_PLAINTEXT);
  check(code != 0 || (*content)[*content_len] == '\0');
  free(copy);
  return code;
}

/* Nobody can make ciphertext without the key: what opens is the text itself, or what stands behind "plain:". At a place
 * of its own, because libFuzzer remembers what was sealed for the other one and tries it. */
static void stored_check(const struct keyring *k, const char *stored, size_t len) {
  char *content;
  size_t content_len;
  if (open_copy(k, SEQ + 1, stored, len, &content, &content_len) == 0) {
    check(content_len == len || (content_len + 6 == len && memcmp(stored, "plain:", 6) == 0));
    check(memcmp(content, stored + (len - content_len), content_len) == 0);
  }
  free(content);
}

static void content_check(const struct keyring *sealer, const struct keyring *opener, const char *text, size_t len) {
  char *stored, *content;
  size_t stored_len, content_len;
  struct cipher_place place = {.what = "message", .session_id = SESSION, .seq = SEQ, .texts = {"u1", "id"}};
  check(cipher_seal(sealer, &place, text, len, &stored, &stored_len) == 0);
  check(open_copy(opener, SEQ, stored, stored_len, &content, &content_len) == 0);
  check(content_len == len && memcmp(content, text, len) == 0);
  free(stored);
  free(content);
}

/* The first byte is how long the content is, each further two put a byte somewhere into what is stored. */
static void edits_check(const uint8_t *data, size_t size) {
  char *stored, *content, text[256] = {0};
  size_t len, content_len, text_len = size > 0 ? data[0] : 0;
  struct cipher_place place = {.what = "message", .session_id = SESSION, .seq = SEQ, .texts = {"u1", "id"}};
  check(cipher_seal(strict, &place, text, text_len, &stored, &len) == 0);
  char *before = strdup(stored);
  check(before != NULL);
  size_t edits = 0, spread = len / 256 + 1;
  for (size_t i = 1; i + 2 <= size; i += 2) {
    size_t at = data[i] * spread % len;
    edits += stored[at] != (char)data[i + 1];
    stored[at] = (char)data[i + 1];
  }
  bool same = memcmp(stored, before, len) == 0;
  if (open_copy(strict, SEQ, stored, len, &content, &content_len) == 0) {
    check(same || edits > 1); /* one changed byte is always seen */
    check(same ? content_len == text_len && memcmp(content, text, text_len) == 0 : memcmp(stored, "cb2:", 4) != 0);
  } else {
    check(!same);
  }
  free(content);
  free(before);
  free(stored);
}

static void keys_check(const char *text, size_t len) {
  struct keyring *k;
  char why[256], *keys = strndup(text, len);
  check(keys != NULL);
  memset(why, 'x', sizeof why);
  size_t cut = strcspn(keys, "\n");
  const char *previous = keys[cut] != '\0' ? keys + cut + 1 : "";
  keys[cut] = '\0';
  int code = keyring_new(keys, previous, CIPHER_ANY_FORM, &k, why);
  check(code == 0 || (code == E_INVALID && memchr(why, '\0', sizeof why) != NULL && k == NULL));
  if (k != NULL) {
    check(strlen(keyring_id(k)) == CIPHER_KEY_ID_LEN);
    content_check(k, k, text, len);
  }
  keyring_free(k);
  free(keys);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  char why[256];
  check(keyring_new("0123456789abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstuv0123456789", CIPHER_ANY_FORM, &strict,
                    why) == 0);
  check(keyring_new("0123456789abcdefghijklmnopqrstuv", "", CIPHER_PLAINTEXT, &lenient, why) == 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  const char *text = (const char *)data + 1;
  size_t len = size - 1;
  switch ((enum mode)(data[0] % MODES)) {
  case STORED:
    stored_check(strict, text, len);
    stored_check(lenient, text, len);
    stored_check(NULL, text, len);
    break;
  case CONTENT:
    content_check(strict, strict, text, len);
    content_check(NULL, NULL, text, len);
    content_check(NULL, strict, text, len); /* said without a key, read with one */
    content_check(NULL, lenient, text, len);
    break;
  case EDITS:
    edits_check(data + 1, len);
    break;
  default:
    keys_check(text, len);
  }
  return 0;
}
