/* What core/store/cipher.h promises: what was said is read again, whatever it looks like and whenever the key came;
 * what was changed, moved or sealed with another key is an error. The fixed texts were made with another program
 * (node's crypto): key "0123456789abcdefghijklmnopqrstuv", nonce 00 01 … 0b. */
#include "cipher.h"
#include "err.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "0123456789abcdefghijklmnopqrstuv"
#define KEY_BASE64 "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
#define KEY_HEX "303132333435363738396162636465666768696a6b6c6d6e6f70717273747576"
#define KEY_ID "73337f47"
#define OTHER_KEY "another,key,that,has,commas,in,i"
#define OTHER_BASE64 "YW5vdGhlcixrZXksdGhhdCxoYXMsY29tbWFzLGluLGk="

#define SESSION "5e550000000000000000000000000001"
#define SEQ 0x102
#define TEXT "Grüße, world"
#define REFERENCE "AAECAwQFBgcICQoLj+HhgGjZRsXtxsqM39skOUfQsKNuD7mSQjlEo+JR"
#define REFERENCE_EMPTY "AAECAwQFBgcICQoLF3FzRW7f9Gbo2D76fWCeig=="
/* In the form before today's, bound to session and seq only. */
#define SEALED "cb1:" KEY_ID ":AAECAwQFBgcICQoLj-HhgGjZRsXtxsqM39u12_VJHN-IqswY0N3mELWs"
/* The same in today's, at the place of place_of(SESSION, SEQ). */
#define SEALED_2 "cb2:" KEY_ID ":AAECAwQFBgcICQoLj-HhgGjZRsXtxsqM39sleWQgLEQFY60FOn8SeR5G"

static struct cipher_place place_of(const char *session, uint64_t seq) {
  return (struct cipher_place){.what = "message",
                               .session_id = session,
                               .seq = seq,
                               .at_ms = 1700000000123,
                               .texts = {"u1", "3e55", "user", "user_message", NULL, "{}"}};
}

static struct keyring *ring(const char *current, const char *previous, unsigned accept) {
  struct keyring *k;
  char why[256] = "";
  if (keyring_new(current, previous, accept, &k, why) != 0)
    fail_msg("%s", why);
  return k;
}

struct text {
  char *bytes;
  size_t len;
  int code;
};

static struct text seal_at(const struct keyring *k, const char *session, uint64_t seq, const void *content,
                           size_t len) {
  struct text t = {0};
  struct cipher_place at = place_of(session, seq);
  t.code = cipher_seal(k, &at, content, len, &t.bytes, &t.len);
  assert_int_equal(t.code, 0);
  assert_int_equal(t.bytes[t.len], '\0');
  return t;
}

static struct text seal(const struct keyring *k, const char *content) {
  return seal_at(k, SESSION, SEQ, content, strlen(content));
}

static int open_code(const struct keyring *k, const char *session, uint64_t seq, const char *stored, size_t len) {
  char *content = (char *)"left as it was";
  struct cipher_place at = place_of(session, seq);
  int code = cipher_open(k, &at, stored, len, &content, &len);
  if (code != 0)
    assert_null(content);
  free(content);
  return code;
}

static void opens(const struct keyring *k, const char *stored, size_t len, const void *content, size_t content_len) {
  struct text t = {0};
  struct cipher_place at = place_of(SESSION, SEQ);
  assert_int_equal(cipher_open(k, &at, stored, len, &t.bytes, &t.len), 0);
  assert_int_equal(t.len, content_len);
  assert_memory_equal(t.bytes, content, content_len);
  assert_int_equal(t.bytes[t.len], '\0');
  free(t.bytes);
}

static void opens_as(const struct keyring *k, const char *stored, const char *content) {
  opens(k, stored, strlen(stored), content, strlen(content));
}

static void fails_with(const struct keyring *k, const char *stored, int code) {
  assert_int_equal(open_code(k, SESSION, SEQ, stored, strlen(stored)), code);
}

/* ---- keys ---- */

static void a_key_may_be_32_bytes_or_base64_or_hex_of_them(void **state) {
  (void)state;
  const char *const spellings[] = {KEY, KEY_BASE64, KEY_HEX,
                                   "303132333435363738396162636465666768696A6B6C6D6E6F70717273747576"};
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
    struct keyring *k = ring(spellings[i], "", false);
    assert_string_equal(keyring_id(k), KEY_ID);
    opens_as(k, SEALED, TEXT);
    keyring_free(k);
  }
}

static void anything_else_is_refused_with_a_line_that_does_not_tell_the_key(void **state) {
  (void)state;
  const char *const bad[] = {
    "x",
    "0123456789abcdefghijklmnopqrstu",
    "0123456789abcdefghijklmnopqrstuvw",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0d-Y=",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXYx",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dX==",
    "30313233343536373839616263646566676869 a6b6c6d6e6f7071727374757x",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char why[256] = "", previous[160];
    struct keyring *k;
    assert_int_equal(keyring_new(bad[i], "", false, &k, why), E_INVALID);
    assert_null(k);
    assert_int_equal(strncmp(why, "ENCRYPTION_KEY: ", 16), 0);
    assert_non_null(strstr(why, "32 bytes"));
    assert_true(strlen(bad[i]) < 2 || strstr(why, bad[i]) == NULL);
    snprintf(previous, sizeof previous, "%s, %s", KEY_HEX, bad[i]);
    assert_int_equal(keyring_new(KEY, previous, false, &k, why), E_INVALID);
    assert_null(k);
    assert_int_equal(strncmp(why, "ENCRYPTION_PREVIOUS_KEYS: ", 26), 0);
  }
}

static void a_placeholder_is_no_key(void **state) {
  (void)state;
  char why[256] = "";
  struct keyring *k;
  assert_int_equal(keyring_new("REPLACE_WITH_YOUR_OWN_32_BYTES!!", "", false, &k, why), E_INVALID);
  assert_non_null(strstr(why, "REPLACE_WITH"));
  assert_int_equal(keyring_new(KEY, "your-key-of-32-bytes-goes-here!!", false, &k, why), E_INVALID);
  assert_non_null(strstr(why, "YOUR-"));
}

static void without_a_key_there_is_no_keyring_and_previous_keys_alone_are_refused(void **state) {
  (void)state;
  char why[256] = "";
  struct keyring *k = (struct keyring *)why;
  assert_int_equal(keyring_new("", "", true, &k, why), 0);
  assert_null(k);
  keyring_free(k);
  assert_int_equal(keyring_new("", KEY, false, &k, why), E_INVALID);
  assert_non_null(strstr(why, "ENCRYPTION_KEY"));
}

static void previous_keys_are_a_list_with_an_end(void **state) {
  (void)state;
  char list[(KEYRING_PREVIOUS_MAX + 1) * 65 + 1] = "", why[256];
  for (int i = 1; i <= KEYRING_PREVIOUS_MAX; i++)
    sprintf(list + strlen(list), "%s%064x", i > 1 ? "," : "", i);
  struct keyring *k = ring(KEY, list, false);
  keyring_free(k);
  strcat(list, "," KEY_HEX);
  assert_int_equal(keyring_new(KEY, list, false, &k, why), E_INVALID);
  assert_non_null(strstr(why, "16"));
  k = ring(OTHER_KEY, " ,, " KEY_BASE64 " , ", false);
  opens_as(k, SEALED, TEXT);
  keyring_free(k);
}

/* ---- what is written ---- */

static void what_another_program_sealed_is_read(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", CIPHER_ANY_FORM);
  opens_as(k, REFERENCE, TEXT);
  opens_as(k, REFERENCE_EMPTY, "");
  opens_as(k, SEALED, TEXT);
  opens_as(k, SEALED_2, TEXT);
  keyring_free(k);
}

static void content_of_every_size_comes_back(void **state) {
  (void)state;
  const size_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 27, 28, 29, 1000, 65535, 65536, 1u << 20};
  char *content = malloc(1u << 20);
  assert_non_null(content);
  for (size_t i = 0; i < 1u << 20; i++)
    content[i] = (char)(i * 31);
  struct keyring *keys[] = {NULL, ring(KEY, "", CIPHER_ANY_FORM)};
  for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
    struct keyring *k = keys[i % 2];
    size_t len = sizes[i / 2];
    struct text t = seal_at(k, SESSION, SEQ, content, len);
    opens(k, t.bytes, t.len, content, len);
    free(t.bytes);
    t.code = cipher_seal_reference(k, content, len, &t.bytes, &t.len);
    assert_int_equal(t.code, 0);
    assert_int_equal(t.len, k != NULL ? (12 + len + 16 + 2) / 3 * 4 : len);
    opens(k, t.bytes, t.len, content, len);
    free(t.bytes);
  }
  keyring_free(keys[1]);
  free(content);
}

static void what_is_stored_is_ascii_names_its_key_and_never_repeats(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", false);
  struct text a = seal(k, TEXT), b = seal(k, TEXT);
  assert_int_equal(a.len, strlen(SEALED));
  assert_int_equal(strncmp(a.bytes, "cb2:" KEY_ID ":", 13), 0);
  assert_int_equal(strspn(a.bytes + 13, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
                   a.len - 13);
  assert_string_not_equal(a.bytes, b.bytes);
  free(a.bytes);
  free(b.bytes);
  keyring_free(k);
}

static void what_is_too_big_is_refused_before_it_is_looked_at(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", false);
  struct cipher_place at = place_of(SESSION, SEQ);
  struct text t;
  assert_int_equal(cipher_seal(k, &at, "", CIPHER_CONTENT_MAX + 1ull, &t.bytes, &t.len), E_TOO_BIG);
  assert_null(t.bytes);
  assert_int_equal(cipher_seal_reference(k, "", CIPHER_CONTENT_MAX + 1ull, &t.bytes, &t.len), E_TOO_BIG);
  assert_null(t.bytes);
  assert_int_equal(cipher_open(k, &at, "", CIPHER_STORED_MAX + 1, &t.bytes, &t.len), E_TOO_BIG);
  assert_null(t.bytes);
  keyring_free(k);
}

/* ---- what was changed or moved ---- */

static void one_changed_bit_anywhere_is_an_error(void **state) {
  (void)state;
  const char *const contents[] = {TEXT, "", "ab", "abc"}; /* with and without bits left over in the last character */
  struct keyring *k = ring(KEY, OTHER_BASE64, false);
  for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
    struct text t = seal(k, contents[i]);
    for (size_t at = 0; at < t.len; at++)
      for (int bit = 0; bit < 8; bit++) {
        t.bytes[at] ^= (char)(1 << bit);
        int code = open_code(k, SESSION, SEQ, t.bytes, t.len);
        assert_true(code == E_CIPHER || (code == E_KEY && at >= 4 && at < 12));
        t.bytes[at] ^= (char)(1 << bit);
      }
    for (size_t len = 4; len < t.len; len++)
      assert_int_equal(open_code(k, SESSION, SEQ, t.bytes, len), E_CIPHER);
    free(t.bytes);
  }
  keyring_free(k);
}

/* Without a marker, a text that is no base64 any more has to be taken for plain; no change makes a third text of it. */
static void one_changed_bit_in_what_the_reference_wrote_is_an_error_while_it_is_base64(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, OTHER_BASE64, CIPHER_ANY_FORM);
  char stored[] = REFERENCE_EMPTY;
  size_t errors = 0;
  for (size_t at = 0; at < strlen(REFERENCE_EMPTY); at++)
    for (int bit = 0; bit < 7; bit++) {
      stored[at] ^= (char)(1 << bit);
      size_t digits = strspn(stored, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/");
      if (digits + strspn(stored + digits, "=") == strlen(REFERENCE_EMPTY) && digits + 2 >= strlen(REFERENCE_EMPTY)) {
        int code = open_code(k, SESSION, SEQ, stored, strlen(stored));
        errors += code == E_CIPHER;
        if (code == 0)
          opens_as(k, stored, "");
      }
      stored[at] ^= (char)(1 << bit);
    }
  assert_true(errors > 150);
  keyring_free(k);
}

static void what_was_moved_to_another_seq_or_conversation_is_an_error(void **state) {
  (void)state;
  const struct {
    const char *session;
    uint64_t seq;
  } places[] = {{SESSION, SEQ + 1},
                {SESSION, SEQ | 1ull << 56},
                {SESSION, 0},
                {"5e550000000000000000000000000002", SEQ},
                {"5e55000000000000000000000000000", SEQ},
                {"", SEQ}};
  struct keyring *k = ring(KEY, "", true);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    assert_int_equal(open_code(k, places[i].session, places[i].seq, SEALED, strlen(SEALED)), E_CIPHER);
  assert_int_equal(open_code(k, SESSION, SEQ, SEALED, strlen(SEALED)), 0);
  keyring_free(k);
}

/* Each field of the place, one at a time, and swaps that keep the bytes the same but for their borders. */
static void what_stands_beside_a_text_is_bound_to_it(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", CIPHER_PLAINTEXT | CIPHER_ANY_FORM);
  struct cipher_place at = place_of(SESSION, SEQ);
  struct text t = seal(k, TEXT);
  for (size_t i = 0; i < CIPHER_TEXTS; i++) {
    const char *const others[] = {NULL, "", "x", "u1user"};
    for (size_t o = 0; o < sizeof others / sizeof *others; o++) {
      struct cipher_place other = at;
      other.texts[i] = others[o];
      bool same = (other.texts[i] == NULL) == (at.texts[i] == NULL) &&
                  (at.texts[i] == NULL || strcmp(at.texts[i], other.texts[i]) == 0);
      char *text;
      size_t len;
      assert_int_equal(cipher_open(k, &other, t.bytes, t.len, &text, &len) == 0, same);
      free(text);
    }
  }
  for (size_t i = 0; i + 1 < CIPHER_TEXTS; i++) {
    struct cipher_place other = at;
    other.texts[i] = at.texts[i + 1];
    other.texts[i + 1] = at.texts[i];
    assert_int_equal(cipher_open(k, &other, t.bytes, t.len, &(char *){NULL}, &(size_t){0}), E_CIPHER);
  }
  struct cipher_place others[] = {at, at, at};
  others[0].what = "name";
  others[1].at_ms++;
  others[2].texts[0] = "u";
  others[2].texts[1] = "13e55";
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(cipher_open(k, &others[i], t.bytes, t.len, &(char *){NULL}, &(size_t){0}), E_CIPHER);
  memcpy(t.bytes, "cb1:", 4); /* nor does it open as the form that is bound to less */
  assert_int_equal(open_code(k, SESSION, SEQ, t.bytes, t.len), E_CIPHER);
  free(t.bytes);
  keyring_free(k);
}

static void the_form_before_is_read_whatever_stands_beside_it(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", false);
  struct cipher_place at = {.what = "message", .session_id = SESSION, .seq = SEQ};
  struct text t = {0};
  assert_int_equal(cipher_open(k, &at, SEALED, strlen(SEALED), &t.bytes, &t.len), 0);
  assert_string_equal(t.bytes, TEXT);
  free(t.bytes);
  keyring_free(k);
}

/* ---- other keys ---- */

static void a_previous_key_still_opens_and_the_newest_one_seals(void **state) {
  (void)state;
  struct keyring *k = ring(OTHER_KEY, KEY, CIPHER_ANY_FORM);
  opens_as(k, SEALED, TEXT);
  opens_as(k, SEALED_2, TEXT);
  opens_as(k, REFERENCE, TEXT);
  assert_false(cipher_is_newest(k, SEALED, strlen(SEALED)));
  assert_false(cipher_is_newest(k, REFERENCE, strlen(REFERENCE)));
  struct text t = seal(k, TEXT);
  assert_true(cipher_is_newest(k, t.bytes, t.len));
  keyring_free(k);
  k = ring(OTHER_BASE64, "", false);
  opens_as(k, t.bytes, TEXT);
  free(t.bytes);
  keyring_free(k);
}

static void only_the_newest_form_is_newest(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, "", false);
  assert_true(cipher_is_newest(k, SEALED_2, strlen(SEALED_2)));
  assert_false(cipher_is_newest(k, SEALED, strlen(SEALED)));
  assert_true(cipher_is_sealed(SEALED, strlen(SEALED)));
  assert_false(cipher_is_sealed(REFERENCE, strlen(REFERENCE)));
  keyring_free(k);
}

static void what_the_reference_reads_is_told_from_what_it_does_not(void **state) {
  (void)state;
  struct keyring *k = ring(OTHER_KEY, KEY, false);
  const char *text = TEXT;
  char *stored;
  size_t len;
  assert_int_equal(cipher_seal_reference(k, text, strlen(text), &stored, &len), 0);
  assert_true(cipher_is_reference(k, stored, len));
  assert_true(cipher_is_reference(NULL, stored, len));                /* a text that looks like it */
  assert_false(cipher_is_reference(k, REFERENCE, strlen(REFERENCE))); /* the key before */
  assert_false(cipher_is_reference(k, text, strlen(text)));
  assert_true(cipher_is_reference(NULL, text, strlen(text)));
  assert_false(cipher_is_reference(k, SEALED, strlen(SEALED)));
  assert_false(cipher_is_reference(NULL, SEALED, strlen(SEALED)));
  assert_false(cipher_is_reference(NULL, "plain:" SEALED, strlen("plain:" SEALED)));
  free(stored);
  keyring_free(k);
}

static void without_its_key_nothing_is_shown(void **state) {
  (void)state;
  struct keyring *k = ring(OTHER_KEY, "", CIPHER_ANY_FORM);
  fails_with(k, SEALED, E_KEY);
  fails_with(k, REFERENCE, E_CIPHER);
  fails_with(k, REFERENCE_EMPTY, E_CIPHER);
  fails_with(NULL, SEALED, E_KEY);
  keyring_free(k);
}

static void a_key_that_claims_the_id_of_another_does_not_open(void **state) {
  (void)state;
  struct keyring *k = ring(OTHER_KEY, "", false);
  char stored[] = SEALED;
  memcpy(stored + 4, keyring_id(k), CIPHER_KEY_ID_LEN);
  fails_with(k, stored, E_CIPHER);
  keyring_free(k);
}

/* ---- plain text ---- */

static void plain_text_from_a_time_without_a_key_is_read(void **state) {
  (void)state;
  const char *const texts[] = {"",
                               "hello",
                               "Grüße, wie geht es Ihnen heute an diesem schönen Tag?",
                               "AAECAwQFBgcICQoLF3FzRW7f9Gbo2D76fWCe", /* base64 of 27 bytes */
                               "AAECAwQFBgcICQoLF3FzRW7f9Gbo2D76fWCeig=",
                               "========================================",
                               "https://example.org/a:b",
                               "plain:",
                               "plain:hello",
                               "cb3:hello", /* cb2: was free once, and is a mark now */
                               "cb"};
  struct keyring *k = ring(KEY, "", CIPHER_ANY_FORM);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    opens_as(k, texts[i], texts[i]);
    opens_as(NULL, texts[i], texts[i]);
    struct text t = seal(NULL, texts[i]);
    assert_string_equal(t.bytes, texts[i]); /* nor is it written in another way */
    free(t.bytes);
  }
  keyring_free(k);
}

static void plain_text_that_looks_encrypted_is_an_error_unless_allowed(void **state) {
  (void)state;
  const char *const texts[] = {"da39a3ee5e6b4b0d3255bfef95601890afd80709", REFERENCE, "cb1:hello",
                               "cb1:", "fingerprint_:AAECAwQFBgcICQoLj-HhgGjZRsXtxsqM39u12_VJHN"};
  struct keyring *strict = ring(OTHER_KEY, "", CIPHER_ANY_FORM), *lenient = ring(OTHER_KEY, "", CIPHER_PLAINTEXT);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    fails_with(strict, texts[i], E_CIPHER);
    opens_as(lenient, texts[i], texts[i]);
    opens_as(NULL, texts[i], texts[i]);
  }
  fails_with(lenient, SEALED, E_KEY); /* that is no accident: it is ciphertext */
  keyring_free(strict);
  keyring_free(lenient);
}

static void a_text_reads_as_it_was_said_whatever_it_looks_like(void **state) {
  (void)state;
  const char *const texts[] = {SEALED,
                               REFERENCE,
                               REFERENCE_EMPTY,
                               ("plain:" SEALED),
                               ("plain:plain:" REFERENCE),
                               "plain:cb1:",
                               "plain:cb1:aa:AAECAwQFBgcICQoLj-HhgGjZRsXtxsqM39u12_VJHN",
                               "cb1:",
                               "cb1:hello",
                               "cb2:hello",
                               SEALED_2,
                               "plain:",
                               "plain:hello",
                               "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                               "fingerprint_:AAECAwQFBgcICQoLj-HhgGjZRsXtxsqM39u12_VJHN"};
  struct keyring *right = ring(KEY, "", CIPHER_ANY_FORM), *other = ring(OTHER_KEY, "", CIPHER_ANY_FORM),
                 *lenient = ring(KEY, "", CIPHER_PLAINTEXT);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct text said = seal(NULL, texts[i]); /* there was no key when it was said; later there is one */
    opens_as(NULL, said.bytes, texts[i]);
    opens_as(right, said.bytes, texts[i]);
    opens_as(other, said.bytes, texts[i]);
    opens_as(lenient, said.bytes, texts[i]);
    free(said.bytes);
    said = seal(right, texts[i]);
    opens_as(right, said.bytes, texts[i]);
    free(said.bytes);
  }
  keyring_free(right);
  keyring_free(other);
  keyring_free(lenient);
}

static void many_markers_in_a_row_cost_no_stack(void **state) {
  (void)state;
  size_t len = 6u << 20;
  char *text = malloc(len + 1);
  assert_non_null(text);
  for (size_t i = 0; i < len; i += 6)
    memcpy(text + i, "plain:", 6);
  struct text t = seal_at(NULL, SESSION, SEQ, text, len);
  opens(NULL, t.bytes, t.len, text, len);
  free(t.bytes);
  free(text);
}

static void with_a_key_plain_text_is_not_genuine(void **state) {
  (void)state;
  static const char *const texts[] = {"", "hello", "plain:cb1:hello", REFERENCE, ("plain:" REFERENCE)};
  struct keyring *strict = ring(KEY, "", 0), *takeover = ring(KEY, "", CIPHER_TAKEOVER);
  struct cipher_place foreign = place_of(SESSION, SEQ);
  foreign.foreign = true;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    fails_with(strict, texts[i], E_PLAINTEXT);
    fails_with(takeover, texts[i], E_PLAINTEXT);
    char *text;
    size_t len;
    assert_int_equal(cipher_open(strict, &foreign, texts[i], strlen(texts[i]), &text, &len), E_PLAINTEXT);
    assert_int_equal(cipher_open(takeover, &foreign, texts[i], strlen(texts[i]), &text, &len), 0);
    assert_string_equal(text, i == 3 ? TEXT : i == 4 ? REFERENCE : i == 2 ? "cb1:hello" : texts[i]);
    free(text);
  }
  keyring_free(strict);
  keyring_free(takeover);
}

/* ---- threads ---- */

static void *seal_and_open(void *arg) {
  const struct keyring *k = arg;
  for (int i = 0; i < 500; i++) {
    char *stored, *content;
    size_t len;
    struct cipher_place at = place_of(SESSION, SEQ);
    if (cipher_seal(k, &at, TEXT, strlen(TEXT), &stored, &len) != 0 ||
        cipher_open(k, &at, stored, len, &content, &len) != 0 || strcmp(content, TEXT) != 0)
      return arg;
    free(stored);
    free(content);
  }
  return NULL;
}

static void one_keyring_serves_all_threads(void **state) {
  (void)state;
  struct keyring *k = ring(KEY, OTHER_BASE64, false);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, seal_and_open, k), 0);
  for (int i = 0; i < 4; i++) {
    void *failed;
    assert_int_equal(pthread_join(threads[i], &failed), 0);
    assert_null(failed);
  }
  keyring_free(k);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_key_may_be_32_bytes_or_base64_or_hex_of_them),
    cmocka_unit_test(anything_else_is_refused_with_a_line_that_does_not_tell_the_key),
    cmocka_unit_test(a_placeholder_is_no_key),
    cmocka_unit_test(without_a_key_there_is_no_keyring_and_previous_keys_alone_are_refused),
    cmocka_unit_test(previous_keys_are_a_list_with_an_end),
    cmocka_unit_test(what_another_program_sealed_is_read),
    cmocka_unit_test(content_of_every_size_comes_back),
    cmocka_unit_test(what_is_stored_is_ascii_names_its_key_and_never_repeats),
    cmocka_unit_test(what_is_too_big_is_refused_before_it_is_looked_at),
    cmocka_unit_test(one_changed_bit_anywhere_is_an_error),
    cmocka_unit_test(one_changed_bit_in_what_the_reference_wrote_is_an_error_while_it_is_base64),
    cmocka_unit_test(what_was_moved_to_another_seq_or_conversation_is_an_error),
    cmocka_unit_test(what_stands_beside_a_text_is_bound_to_it),
    cmocka_unit_test(the_form_before_is_read_whatever_stands_beside_it),
    cmocka_unit_test(only_the_newest_form_is_newest),
    cmocka_unit_test(with_a_key_plain_text_is_not_genuine),
    cmocka_unit_test(a_previous_key_still_opens_and_the_newest_one_seals),
    cmocka_unit_test(without_its_key_nothing_is_shown),
    cmocka_unit_test(a_key_that_claims_the_id_of_another_does_not_open),
    cmocka_unit_test(what_the_reference_reads_is_told_from_what_it_does_not),
    cmocka_unit_test(plain_text_from_a_time_without_a_key_is_read),
    cmocka_unit_test(plain_text_that_looks_encrypted_is_an_error_unless_allowed),
    cmocka_unit_test(a_text_reads_as_it_was_said_whatever_it_looks_like),
    cmocka_unit_test(many_markers_in_a_row_cost_no_stack),
    cmocka_unit_test(one_keyring_serves_all_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
