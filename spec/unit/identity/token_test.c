/* Promises of core/identity/token.h: who gets in, who does not, and that a wrong key set-up never starts. */
#include "base64url.h"
#include "err.h"
#include "jwt.h"
#include "token.h"

#include <openssl/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECRET "V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!"
#define NOW 1700000000
#define HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define RS256 "{\"alg\":\"RS256\"}"
#define ES256 "{\"alg\":\"ES256\"}"
#define CLAIMS "{\"user_id\":\"u1\",\"roles\":[],\"exp\":1700000060}"

static EVP_PKEY *rsa, *other_rsa, *ec, *other_ec; /* made once: keys are slow to make */

/* --- helpers ------------------------------------------------------------------------------------------------------ */

static struct token_verifier *verifier(const char *secret, const char *key_file, bool require_exp) {
  struct token_verifier *v = NULL;
  char why[256] = "";
  const struct token_options o = {.secret = secret, .public_key_file = key_file, .require_exp = require_exp};
  int err = token_verifier_new(&o, &v, why);
  if (err)
    fail_msg("%s: %s", err_name(err), why);
  return v;
}

/* A file with that text under /tmp; its path lies in a static buffer. */
static const char *file_with(const char *text, size_t len) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/token_test_XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, len), len);
  close(fd);
  return path;
}

static struct token_verifier *verifier_with_keys(const char *secret, const char *keys) {
  const char *path = file_with(keys, strlen(keys));
  struct token_verifier *v = verifier(secret, path, true);
  unlink(path);
  return v;
}

/* Takes the token. */
static int verify_at(struct token_verifier *v, char *token, int64_t now_s, struct identity **who) {
  int err = token_verify(v, token, strlen(token), now_s, who);
  assert_true((err == 0) == (*who != NULL));
  free(token);
  return err;
}

/* Takes the token. */
static int verify(struct token_verifier *v, char *token) {
  struct identity *who = NULL;
  int err = verify_at(v, token, NOW, &who);
  identity_unref(who);
  return err;
}

static char *compose(const char *header, const char *payload) {
  return jwt_unsigned(header, strlen(header), payload, strlen(payload));
}

static char *hs256(const char *header, const char *payload) {
  return jwt_hmac("SHA256", SECRET, strlen(SECRET), compose(header, payload));
}

static int claims_verdict(const char *payload) {
  struct token_verifier *v = verifier(SECRET, NULL, false);
  int err = verify(v, hs256(HS256, payload));
  token_verifier_free(v);
  return err;
}

static int keys_verdict(const char *text, size_t len, char why[256]) {
  const char *path = file_with(text, len);
  struct token_verifier *v = NULL;
  const struct token_options o = {.public_key_file = path, .require_exp = true};
  why[0] = '\0';
  int err = token_verifier_new(&o, &v, why);
  assert_true((err == 0) == (v != NULL));
  token_verifier_free(v);
  unlink(path);
  return err;
}

/* --- who gets in -------------------------------------------------------------------------------------------------- */

static void a_minted_token_names_its_user(void **state) {
  (void)state;
  const char *roles[] = {"user", "admin"};
  struct token_verifier *v = verifier(SECRET, NULL, true);
  struct identity *who = NULL;
  char *token = token_mint(SECRET, "u1", "Jürgen", roles, 2, NOW, 60);
  assert_int_equal(verify_at(v, token, NOW, &who), 0);
  assert_string_equal(who->user_id, "u1");
  assert_string_equal(who->name, "Jürgen");
  assert_int_equal(who->expires_s, NOW + 60);
  assert_int_equal(who->role_count, 2);
  assert_string_equal(who->roles[0], "user");
  assert_string_equal(who->roles[1], "admin");
  assert_true(who->admin);
  identity_unref(who);
  token_verifier_free(v);
}

static void admin_is_who_has_the_role_admin_or_chat_admin(void **state) {
  (void)state;
  const struct {
    const char *role;
    bool admin;
  } cases[] = {{"admin", true}, {"chat_admin", true}, {"administrator", false}, {"Admin", false}, {"user", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct identity *who = identity_new("u", "n", &cases[i].role, 1, 0);
    assert_true(who->admin == cases[i].admin);
    identity_unref(who);
  }
}

static void an_identity_lives_until_its_last_reference_goes(void **state) {
  (void)state;
  struct identity *who = identity_new("u", "n", NULL, 0, 5);
  assert_ptr_equal(identity_ref(who), who);
  identity_unref(who);
  assert_string_equal(who->user_id, "u");
  assert_false(who->admin);
  identity_unref(who);
  identity_unref(NULL);
}

static void all_three_hmac_algorithms_are_taken(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, jwt_hmac("SHA256", SECRET, strlen(SECRET), compose("{\"alg\":\"HS256\"}", CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_hmac("SHA384", SECRET, strlen(SECRET), compose("{\"alg\":\"HS384\"}", CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_hmac("SHA512", SECRET, strlen(SECRET), compose("{\"alg\":\"HS512\"}", CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_hmac("SHA512", SECRET, strlen(SECRET), compose("{\"alg\":\"HS256\"}", CLAIMS))),
                   E_INVALID);
  token_verifier_free(v);
}

/* Made with node's crypto: createHmac("sha256", SECRET), base64url. */
static void a_token_from_another_library_is_taken(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, strdup("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
                                    "eyJ1c2VyX2lkIjoidTEiLCJuYW1lIjoiQW5uIiwicm9sZXMiOlsidXNlciJdLCJpYXQiOjE3MDAwMDAwMD"
                                    "AsImV4cCI6MTcwMDAwMDA2MH0.r6jhMarDsbyfcjDuWfwWoLM3a_osDgtqQGiJSsnnPno")),
                   0);
  token_verifier_free(v);
}

static void a_name_falls_back_to_the_user(void **state) {
  (void)state;
  const char *payloads[] = {"{\"user_id\":\"u1\",\"roles\":[]}", "{\"user_id\":\"u1\",\"roles\":[],\"name\":\"\"}",
                            "{\"user_id\":\"u1\",\"roles\":[],\"name\":7}",
                            "{\"user_id\":\"u1\",\"roles\":[],\"name\":null}"};
  struct token_verifier *v = verifier(SECRET, NULL, false);
  for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
    struct identity *who = NULL;
    assert_int_equal(verify_at(v, hs256(HS256, payloads[i]), NOW, &who), 0);
    assert_string_equal(who->name, "u1");
    identity_unref(who);
  }
  token_verifier_free(v);
}

static void a_long_name_is_cut_between_characters(void **state) {
  (void)state;
  char payload[1024] = "{\"user_id\":\"u1\",\"roles\":[],\"name\":\"";
  for (int i = 0; i < 128; i++)
    strcat(payload, "ü");
  strcat(payload, "\"}");
  struct token_verifier *v = verifier(SECRET, NULL, false);
  struct identity *who = NULL;
  assert_int_equal(verify_at(v, hs256(HS256, payload), NOW, &who), 0);
  assert_int_equal(strlen(who->name), 254);
  identity_unref(who);
  token_verifier_free(v);
}

/* --- claims ------------------------------------------------------------------------------------------------------- */

static void a_user_id_is_a_text_of_1_to_255_bytes(void **state) {
  (void)state;
  char id[TOKEN_USER_MAX + 2], payload[512];
  memset(id, 'x', sizeof id);
  id[sizeof id - 1] = '\0';
  snprintf(payload, sizeof payload, "{\"user_id\":\"%s\",\"roles\":[]}", id);
  assert_int_equal(claims_verdict(payload), E_INVALID);
  snprintf(payload, sizeof payload, "{\"user_id\":\"%s\",\"roles\":[]}", id + 1);
  assert_int_equal(claims_verdict(payload), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"\",\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":7,\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"sub\":\"u1\",\"roles\":[]}"), E_INVALID);
}

static void roles_are_an_array_of_at_most_32_texts(void **state) {
  (void)state;
  assert_int_equal(claims_verdict("{\"user_id\":\"u\"}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":null}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":\"admin\"}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[\"a\",1]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":{}}"), E_INVALID);
  char payload[512] = "{\"user_id\":\"u\",\"roles\":[\"r\"";
  for (int i = 1; i < TOKEN_ROLES_MAX; i++)
    strcat(payload, ",\"r\"");
  size_t open = strlen(payload);
  strcat(payload, "]}");
  assert_int_equal(claims_verdict(payload), 0);
  strcpy(payload + open, ",\"r\"]}");
  assert_int_equal(claims_verdict(payload), E_INVALID);
}

static void a_token_ends_at_its_expiry_without_leeway(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  struct identity *who = NULL;
  assert_int_equal(verify_at(v, hs256(HS256, CLAIMS), NOW + 59, &who), 0);
  assert_int_equal(who->expires_s, NOW + 60);
  identity_unref(who);
  assert_int_equal(verify_at(v, hs256(HS256, CLAIMS), NOW + 60, &who), E_EXPIRED);
  const char *fraction = "{\"user_id\":\"u\",\"roles\":[],\"exp\":1700000059.5}";
  assert_int_equal(verify_at(v, hs256(HS256, fraction), NOW + 59, &who), 0);
  identity_unref(who);
  assert_int_equal(verify_at(v, hs256(HS256, fraction), NOW + 60, &who), E_EXPIRED);
  token_verifier_free(v);
}

static void an_expiry_is_a_number_of_any_size(void **state) {
  (void)state;
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":\"1700000060\"}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":null}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":true}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":1e300}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":-1e300}"), E_EXPIRED);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":-0.5}"), E_EXPIRED);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":9223372036854775807}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":9223372036854775808}"), E_INVALID);
}

static void no_expiry_is_refused_unless_that_is_switched_off(void **state) {
  (void)state;
  const char *payloads[] = {"{\"user_id\":\"u\",\"roles\":[]}", "{\"user_id\":\"u\",\"roles\":[],\"exp\":0}",
                            "{\"user_id\":\"u\",\"roles\":[],\"exp\":0.0}"};
  struct token_verifier *strict = verifier(SECRET, NULL, true), *lax = verifier(SECRET, NULL, false);
  for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
    struct identity *who = NULL;
    assert_int_equal(verify(strict, hs256(HS256, payloads[i])), E_INVALID);
    assert_int_equal(verify_at(lax, hs256(HS256, payloads[i]), NOW, &who), 0);
    assert_int_equal(who->expires_s, 0);
    identity_unref(who);
  }
  token_verifier_free(strict);
  token_verifier_free(lax);
}

static void a_token_is_not_valid_before_its_time(void **state) {
  (void)state;
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":1700000001}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":1700000000}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":\"0\"}"), E_INVALID);
}

static void a_date_may_have_a_fraction(void **state) {
  (void)state;
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":1700000000.001}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":1699999999.999}"), E_EXPIRED);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"exp\":1.70000006e9}"), 0);
  /* Made in this very second: our clock shows whole ones. */
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":1700000000.999}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":1700000001.0}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":-0.5}"), 0);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"nbf\":1e300}"), E_INVALID);
}

/* A verifier that asks for more than a signature. */
static struct token_verifier *strict(const char *issuer, const char *audience, int64_t leeway_s) {
  const struct token_options o = {
    .secret = SECRET, .issuer = issuer, .audience = audience, .leeway_s = leeway_s, .require_exp = true};
  struct token_verifier *v = NULL;
  char why[256];
  assert_int_equal(token_verifier_new(&o, &v, why), 0);
  return v;
}

static int strict_verdict(struct token_verifier *v, const char *claims) {
  char payload[512];
  snprintf(payload, sizeof payload, "{\"user_id\":\"u\",\"roles\":[],\"exp\":1700000060%s}", claims);
  return verify(v, hs256(HS256, payload));
}

static void clocks_may_be_apart_by_the_leeway(void **state) {
  (void)state;
  struct token_verifier *v = strict(NULL, NULL, 60);
  struct identity *who = NULL;
  assert_int_equal(verify_at(v, hs256(HS256, CLAIMS), NOW + 119, &who), 0);
  assert_int_equal(who->expires_s, NOW + 120);
  identity_unref(who);
  assert_int_equal(verify_at(v, hs256(HS256, CLAIMS), NOW + 120, &who), E_EXPIRED);
  assert_int_equal(strict_verdict(v, ",\"nbf\":1700000060"), 0);
  assert_int_equal(strict_verdict(v, ",\"nbf\":1700000061"), E_INVALID);
  const char huge[] = "{\"user_id\":\"u\",\"roles\":[],\"exp\":9223372036854775807}";
  assert_int_equal(verify(v, hs256(HS256, huge)), 0);
  const char tiny[] = "{\"user_id\":\"u\",\"roles\":[],\"exp\":1700000060,\"nbf\":-9223372036854775808}";
  assert_int_equal(verify(v, hs256(HS256, tiny)), 0);
  token_verifier_free(v);
}

static void the_issuer_has_to_be_the_one_that_is_set(void **state) {
  (void)state;
  struct token_verifier *v = strict("https://id.example", NULL, 0), *any = strict("", "", 0);
  assert_int_equal(strict_verdict(v, ",\"iss\":\"https://id.example\""), 0);
  const char *const bad[] = {"",
                             ",\"iss\":\"\"",
                             ",\"iss\":\"https://id.example/\"",
                             ",\"iss\":\"HTTPS://id.example\"",
                             ",\"iss\":[\"https://id.example\"]",
                             ",\"iss\":null",
                             ",\"iss\":1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(strict_verdict(v, bad[i]), E_INVALID);
    assert_int_equal(strict_verdict(any, bad[i]), 0);
  }
  token_verifier_free(v);
  token_verifier_free(any);
}

static void the_audience_has_to_hold_the_one_that_is_set(void **state) {
  (void)state;
  struct token_verifier *v = strict(NULL, "chat", 0);
  const char *const good[] = {",\"aud\":\"chat\"", ",\"aud\":[\"chat\"]", ",\"aud\":[\"shop\",\"chat\"]"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    assert_int_equal(strict_verdict(v, good[i]), 0);
  const char *const bad[] = {"",
                             ",\"aud\":\"shop\"",
                             ",\"aud\":\"cha\"",
                             ",\"aud\":\"chats\"",
                             ",\"aud\":[]",
                             ",\"aud\":[\"shop\",\"Chat\"]",
                             ",\"aud\":[[\"chat\"]]",
                             ",\"aud\":{\"chat\":\"chat\"}",
                             ",\"aud\":null",
                             ",\"aud\":[1,null,true]"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(strict_verdict(v, bad[i]), E_INVALID);
  token_verifier_free(v);
}

static void a_signed_statement_names_issuer_and_audience(void **state) {
  (void)state;
  struct token_verifier *v = strict("https://id.example", "chat", 0);
  struct token_statement s = {
    .user_id = "u", .issuer = "https://id.example", .audience = "chat", .now_s = NOW, .lifetime_s = 60};
  assert_int_equal(verify(v, token_sign(SECRET, &s)), 0);
  s.audience = "";
  assert_int_equal(verify(v, token_sign(SECRET, &s)), E_INVALID);
  token_verifier_free(v);
}

static void a_user_has_one_spelling(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  struct identity *who = NULL;
  const char decomposed[] = "{\"user_id\":\"ju\\u0308rgen\",\"roles\":[],\"exp\":1700000060}";
  assert_int_equal(verify_at(v, hs256(HS256, decomposed), NOW, &who), 0);
  assert_string_equal(who->user_id, "j\xc3\xbcrgen");
  assert_string_equal(who->name, "j\xc3\xbcrgen");
  identity_unref(who);
  token_verifier_free(v);
  assert_int_equal(claims_verdict("{\"user_id\":\"a\\nb\",\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"a\\u0085\",\"roles\":[]}"), E_INVALID);
}

static void ambiguous_json_is_refused(void **state) {
  (void)state;
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[],\"roles\":[\"admin\"]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\\u0000x\",\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\xff\",\"roles\":[]}"), E_INVALID);
  assert_int_equal(claims_verdict("{\"user_id\":\"u\",\"roles\":[]}{}"), E_INVALID);
  assert_int_equal(claims_verdict("[]"), E_INVALID);
  assert_int_equal(claims_verdict(""), E_INVALID);
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, hs256("{\"alg\":\"none\",\"alg\":\"HS256\"}", CLAIMS)), E_INVALID);
  token_verifier_free(v);
}

/* --- form --------------------------------------------------------------------------------------------------------- */

static void a_token_has_exactly_three_parts(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  char *good = hs256(HS256, CLAIMS), *longer = NULL;
  const char *bad[] = {"", ".", "..", "...", "a", "a.b", ".e30.", "e30.e30.", "e30.e30.e30"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(verify(v, strdup(bad[i])), E_INVALID);
  assert_true(asprintf(&longer, "%s.", good) > 0);
  assert_int_equal(verify(v, longer), E_INVALID);
  assert_true(asprintf(&longer, ".%s", good) > 0);
  assert_int_equal(verify(v, longer), E_INVALID);
  assert_true(asprintf(&longer, "%s.e30", good) > 0);
  assert_int_equal(verify(v, longer), E_INVALID);
  assert_int_equal(verify(v, good), 0);
  token_verifier_free(v);
}

/* The last character of an HS256 signature carries two unused bits: they have to be zero. */
static void every_changed_byte_makes_a_token_invalid(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  char *good = hs256(HS256, CLAIMS);
  for (size_t i = 0; i < strlen(good); i++)
    for (const char *c = "ABwxyz019-_.= \n\x7f"; *c; c++) {
      char *changed = strdup(good);
      changed[i] = *c;
      int same = strcmp(changed, good) == 0;
      assert_int_equal(verify(v, changed), same ? 0 : E_INVALID);
    }
  free(good);
  token_verifier_free(v);
}

static void a_nul_byte_does_not_end_a_token_early(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  struct identity *who = NULL;
  char *good = hs256(HS256, CLAIMS);
  assert_int_equal(token_verify(v, good, strlen(good) + 1, NOW, &who), E_INVALID);
  free(good);
  token_verifier_free(v);
}

static void a_token_has_at_most_8_kib(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  struct identity *who = NULL;
  char *big = malloc(TOKEN_MAX + 1);
  memset(big, 'A', TOKEN_MAX + 1);
  assert_int_equal(token_verify(v, big, TOKEN_MAX + 1, NOW, &who), E_TOO_BIG);
  assert_int_equal(token_verify(v, big, TOKEN_MAX, NOW, &who), E_INVALID);
  big[1] = big[3] = '.'; /* a signature that fills all there is */
  assert_int_equal(token_verify(v, big, TOKEN_MAX, NOW, &who), E_INVALID);
  free(big);
  token_verifier_free(v);
}

static void padding_is_refused(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  char *good = hs256(HS256, CLAIMS), *padded = NULL;
  assert_true(asprintf(&padded, "%s=", good) > 0);
  assert_int_equal(verify(v, padded), E_INVALID);
  free(good);
  token_verifier_free(v);
}

/* --- algorithms and keys ------------------------------------------------------------------------------------------ */

static void unsigned_and_unknown_algorithms_are_refused(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  const char *headers[] = {"{\"alg\":\"none\"}",
                           "{\"alg\":\"None\"}",
                           "{\"alg\":\"\"}",
                           "{\"alg\":null}",
                           "{}",
                           "{\"alg\":\"hs256\"}",
                           "{\"alg\":\"PS256\"}",
                           "{\"alg\":\"HS256\\u0020\"}",
                           "{\"alg\":[\"HS256\"]}"};
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    assert_int_equal(verify(v, hs256(headers[i], CLAIMS)), E_INVALID);
    assert_int_equal(verify(v, jwt_append(compose(headers[i], CLAIMS), (const unsigned char *)"", 0)), E_INVALID);
  }
  token_verifier_free(v);
}

static void extensions_we_do_not_know_are_refused(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, hs256("{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", CLAIMS)), E_INVALID);
  assert_int_equal(verify(v, hs256("{\"alg\":\"HS256\",\"kid\":7}", CLAIMS)), E_INVALID);
  assert_int_equal(verify(v, hs256("{\"alg\":\"HS256\",\"kid\":\"any\"}", CLAIMS)), 0);
  token_verifier_free(v);
}

static void a_secret_of_another_is_refused(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, token_mint("another-s3cr3t-that-is-long-enough-0", "u", NULL, NULL, 0, NOW, 60)),
                   E_INVALID);
  assert_int_equal(verify(v, token_mint("", "u", NULL, NULL, 0, NOW, 60)), E_INVALID);
  token_verifier_free(v);
}

static void public_keys_check_rs256_and_es256(void **state) {
  (void)state;
  char *rsa_pem = jwt_pem(rsa), *ec_pem = jwt_pem(ec), *both = NULL;
  assert_true(asprintf(&both, "# two keys\n%s\n%s", rsa_pem, ec_pem) > 0);
  struct token_verifier *v = verifier_with_keys(NULL, both);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(ec, compose(ES256, CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose(RS256, CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, jwt_sign(other_ec, compose(ES256, CLAIMS))), E_INVALID);
  /* The right key under the wrong name. */
  assert_int_equal(verify(v, jwt_sign(rsa, compose(ES256, CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, jwt_sign(ec, compose(RS256, CLAIMS))), E_INVALID);
  token_verifier_free(v);
  free(both);
  free(rsa_pem);
  free(ec_pem);
}

static void a_public_key_is_never_an_hmac_secret(void **state) {
  (void)state;
  char *pem = jwt_pem(rsa);
  struct token_verifier *keys_only = verifier_with_keys(NULL, pem), *both = verifier_with_keys(SECRET, pem);
  char *forged = jwt_hmac("SHA256", pem, strlen(pem), compose(HS256, CLAIMS));
  assert_int_equal(verify(keys_only, strdup(forged)), E_INVALID);
  assert_int_equal(verify(both, forged), E_INVALID);
  assert_int_equal(verify(keys_only, hs256(HS256, CLAIMS)), E_INVALID);
  assert_int_equal(verify(keys_only, token_mint("", "u", NULL, NULL, 0, NOW, 60)), E_INVALID);
  assert_int_equal(verify(both, hs256(HS256, CLAIMS)), 0);
  token_verifier_free(keys_only);
  token_verifier_free(both);
  free(pem);
}

static void without_keys_rs256_and_es256_are_refused(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, jwt_sign(ec, compose(ES256, CLAIMS))), E_INVALID);
  token_verifier_free(v);
}

/* Signed as OpenSSL writes it, DER. Takes the token. */
static char *sign_der(EVP_PKEY *key, char *token) {
  unsigned char signature[160];
  size_t len = sizeof signature;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
  assert_int_equal(EVP_DigestSign(ctx, signature, &len, (const unsigned char *)token, strlen(token)), 1);
  EVP_MD_CTX_free(ctx);
  return jwt_append(token, signature, len);
}

/* The token with `len` bytes of its signature, zeroes where it has no more. Takes the token. */
static char *with_signature_len(char *token, size_t len) {
  unsigned char signature[1024] = {0};
  size_t had;
  char *dot = strrchr(token, '.');
  assert_int_equal(base64url_decode(dot + 1, strlen(dot + 1), signature, &had), 0);
  memset(signature + had, 0, sizeof signature - had);
  *dot = '\0';
  return jwt_append(token, signature, len);
}

static void an_es256_signature_is_64_raw_bytes(void **state) {
  (void)state;
  char *pem = jwt_pem(ec);
  struct token_verifier *v = verifier_with_keys(NULL, pem);
  assert_int_equal(verify(v, sign_der(ec, compose(ES256, CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, sign_der(ec, compose(RS256, CLAIMS))), E_INVALID); /* an EC key is no RSA key */
  for (size_t len = 0; len <= 130; len++)
    assert_int_equal(verify(v, with_signature_len(jwt_sign(ec, compose(ES256, CLAIMS)), len)),
                     len == 64 ? 0 : E_INVALID);
  token_verifier_free(v);
  free(pem);
}

static void an_hmac_signature_is_whole_and_nothing_more(void **state) {
  (void)state;
  struct token_verifier *v = verifier(SECRET, NULL, true);
  for (size_t len = 0; len <= 64; len++)
    assert_int_equal(verify(v, with_signature_len(hs256(HS256, CLAIMS), len)), len == 32 ? 0 : E_INVALID);
  token_verifier_free(v);
}

static void a_jwks_key_is_chosen_by_its_kid(void **state) {
  (void)state;
  char *a = jwt_jwk(rsa, ",\"kid\":\"a\",\"use\":\"sig\""), *b = jwt_jwk(other_rsa, ",\"kid\":\"b\"");
  char *c = jwt_jwk(ec, ",\"alg\":\"ES256\""), *set = NULL;
  assert_true(asprintf(&set, " {\"keys\":[%s,%s,%s]}", a, b, c) > 0);
  struct token_verifier *v = verifier_with_keys(NULL, set);
  assert_int_equal(verify(v, jwt_sign(rsa, compose("{\"alg\":\"RS256\",\"kid\":\"a\"}", CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose("{\"alg\":\"RS256\",\"kid\":\"b\"}", CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(rsa, compose("{\"alg\":\"RS256\",\"kid\":\"b\"}", CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, jwt_sign(rsa, compose("{\"alg\":\"RS256\",\"kid\":\"z\"}", CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose(RS256, CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(ec, compose("{\"alg\":\"ES256\",\"kid\":\"z\"}", CLAIMS))), 0); /* it has none */
  token_verifier_free(v);
  free(set);
  free(a);
  free(b);
  free(c);
}

static void file_fill(const char *path, const char *text) {
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fputs(text, out);
  fclose(out);
}

static void keys_that_are_read_again_replace_the_old_ones(void **state) {
  (void)state;
  char *first = jwt_pem(rsa), *second = jwt_pem(other_rsa), *both = NULL, why[256];
  const char *path = file_with(first, strlen(first));
  struct token_verifier *v = verifier(SECRET, path, true);
  struct identity *old = NULL, *secret = NULL;
  assert_int_equal(verify_at(v, jwt_sign(rsa, compose(RS256, CLAIMS)), NOW, &old), 0);
  assert_int_equal(verify_at(v, hs256(HS256, CLAIMS), NOW, &secret), 0);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose(RS256, CLAIMS))), E_INVALID);

  assert_true(asprintf(&both, "%s%s", second, first) > 0);
  file_fill(path, both);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose(RS256, CLAIMS))), E_INVALID); /* nobody has said so yet */
  assert_int_equal(token_verifier_read_keys(v, why), 0);
  assert_int_equal(verify(v, jwt_sign(other_rsa, compose(RS256, CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), 0);
  assert_true(token_verifier_knows(v, old));

  file_fill(path, second);
  assert_int_equal(token_verifier_read_keys(v, why), 0);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), E_INVALID);
  assert_false(token_verifier_knows(v, old));
  assert_true(token_verifier_knows(v, secret)); /* no file can take it back */
  identity_unref(old);
  identity_unref(secret);
  token_verifier_free(v);
  unlink(path);
  free(both);
  free(first);
  free(second);
}

static void a_broken_file_leaves_the_keys_in_force(void **state) {
  (void)state;
  char *pem = jwt_pem(rsa), why[256];
  const char *path = file_with(pem, strlen(pem));
  struct token_verifier *v = verifier(NULL, path, true), *none = verifier(SECRET, NULL, true);
  const char *const broken[] = {"", "-----BEGIN PUBLIC KEY-----\nMIIB", "{\"keys\":[", "{\"keys\":[]}"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    file_fill(path, broken[i]);
    assert_int_equal(token_verifier_read_keys(v, why), E_INVALID);
    assert_ptr_equal(strstr(why, "JWT_PUBLIC_KEY_FILE: /tmp/"), why);
    assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), 0);
  }
  unlink(path);
  assert_int_not_equal(token_verifier_read_keys(v, why), 0);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), 0);
  assert_int_equal(token_verifier_read_keys(none, why), 0); /* there is nothing to read */
  token_verifier_free(v);
  token_verifier_free(none);
  free(pem);
}

static void jwks_keys_for_other_uses_are_passed_over(void **state) {
  (void)state;
  char *wrap = jwt_jwk(rsa, ",\"key_ops\":[\"wrapKey\"]"), *enc = jwt_jwk(rsa, ",\"use\":\"enc\""),
       *alg = jwt_jwk(rsa, ",\"alg\":\"RSA-OAEP\""), *good = jwt_jwk(ec, ",\"key_ops\":[\"verify\"]");
  char *set = NULL, why[256];
  /* The secret in it must not become one of ours. */
  const char *oct = "{\"kty\":\"oct\",\"k\":\"VjRsMWQtSldULUszeS1GMHItVDNzdDFuZy1QdXJwMHNlcy0xIQ\"}";
  assert_true(asprintf(&set, "{\"keys\":[%s,%s,%s,%s,{\"kty\":\"OKP\"},%s]}", enc, wrap, alg, oct, good) > 0);
  struct token_verifier *v = verifier_with_keys(NULL, set);
  assert_int_equal(verify(v, jwt_sign(ec, compose(ES256, CLAIMS))), 0);
  assert_int_equal(verify(v, jwt_sign(rsa, compose(RS256, CLAIMS))), E_INVALID);
  assert_int_equal(verify(v, hs256(HS256, CLAIMS)), E_INVALID);
  token_verifier_free(v);
  free(set);
  assert_true(asprintf(&set, "{\"keys\":[%s,%s,%s]}", enc, alg, oct) > 0);
  assert_int_equal(keys_verdict(set, strlen(set), why), E_INVALID);
  assert_non_null(strstr(why, "no RSA or P-256 key"));
  free(set);
  free(wrap);
  free(enc);
  free(alg);
  free(good);
}

static void a_certificate_gives_its_key(void **state) {
  (void)state;
  X509 *cert = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, ec);
  assert_true(X509_sign(cert, ec, EVP_sha256()) > 0);
  BIO *bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, cert);
  BIO_write(bio, "", 1);
  char *pem;
  BIO_get_mem_data(bio, &pem);
  struct token_verifier *v = verifier_with_keys(NULL, pem);
  assert_int_equal(verify(v, jwt_sign(ec, compose(ES256, CLAIMS))), 0);
  token_verifier_free(v);
  BIO_free(bio);
  X509_free(cert);
}

static void weak_and_foreign_keys_stop_the_start(void **state) {
  (void)state;
  EVP_PKEY *weak = jwt_rsa_key(1024), *curve = jwt_ec_key("P-384"), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
  const struct {
    EVP_PKEY *key;
    const char *why;
  } cases[] = {{weak, "1024 bits"}, {curve, "P-256"}, {ed, "neither RSA nor EC"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *pem = jwt_pem(cases[i].key), why[256];
    assert_int_equal(keys_verdict(pem, strlen(pem), why), E_INVALID);
    assert_non_null(strstr(why, cases[i].why));
    assert_non_null(strstr(why, "JWT_PUBLIC_KEY_FILE: /tmp/token_test_"));
    assert_null(strchr(why, '\n'));
    free(pem);
    EVP_PKEY_free(cases[i].key);
  }
}

static void a_private_key_in_the_file_stops_the_start(void **state) {
  (void)state;
  char why[256], *jwk = jwt_jwk(ec, ",\"d\":\"AAAA\""), *set = NULL, *pem;
  BIO *bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, ec, NULL, NULL, 0, NULL, NULL);
  long len = BIO_get_mem_data(bio, &pem);
  assert_int_equal(keys_verdict(pem, (size_t)len, why), E_INVALID);
  assert_non_null(strstr(why, "private key"));
  assert_true(asprintf(&set, "{\"keys\":[%s]}", jwk) > 0);
  assert_int_equal(keys_verdict(set, strlen(set), why), E_INVALID);
  assert_non_null(strstr(why, "private key"));
  BIO_free(bio);
  free(set);
  free(jwk);
}

static void a_damaged_key_file_says_what_is_wrong(void **state) {
  (void)state;
  char *pem = jwt_pem(rsa), why[256];
  const struct {
    const char *text, *why;
  } cases[] = {
    {"", "neither a PEM public key nor a JWKS"},
    {"hello", "neither a PEM public key nor a JWKS"},
    {"{", "is not JSON: line 1"},
    {"{}", "no array \"keys\""},
    {"{\"keys\":7}", "no array \"keys\""},
    {"{\"keys\":[7]}", "no RSA or P-256 key"},
    {"{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "key \"k\": an RSA key has 17 bits"},
    {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"===\",\"e\":\"AQAB\"}]}", "do not make a key"},
    {"{\"keys\":[{\"kty\":\"RSA\",\"n\":7}]}", "do not make a key"},
    {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}]}", "do not make a key"},
    /* A point that is not on the curve. */
    {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
     "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
     "do not make a key"},
    {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"},
    {"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", "a public key or certificate is asked for"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(keys_verdict(cases[i].text, strlen(cases[i].text), why), E_INVALID);
    if (!strstr(why, cases[i].why))
      fail_msg("%s: %s", cases[i].text, why);
  }
  assert_int_equal(keys_verdict(pem, strlen(pem) / 2, why), E_INVALID);
  assert_non_null(strstr(why, "damaged PEM"));
  free(pem);
}

static void an_rsa_key_with_exponent_1_stops_the_start(void **state) {
  (void)state;
  char *n = jwt_member(rsa, OSSL_PKEY_PARAM_RSA_N, 0), *set = NULL, why[256];
  assert_true(asprintf(&set, "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQ\"}]}", n) > 0);
  assert_int_equal(keys_verdict(set, strlen(set), why), E_INVALID);
  assert_non_null(strstr(why, "impossible exponent"));
  free(set);
  free(n);
}

static void a_missing_key_file_is_named(void **state) {
  (void)state;
  struct token_verifier *v = NULL;
  char why[256] = "";
  const struct token_options o = {.public_key_file = "/nonexistent/keys.pem"};
  assert_int_not_equal(token_verifier_new(&o, &v, why), 0);
  assert_null(v);
  assert_non_null(strstr(why, "JWT_PUBLIC_KEY_FILE: /nonexistent/keys.pem cannot be read: no such file"));
}

static void a_pipe_is_no_key_file(void **state) {
  (void)state;
  struct token_verifier *v = NULL;
  char why[256] = "", folder[] = "/tmp/token_test_XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/key", folder);
  assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes into it */
  const struct token_options o = {.public_key_file = path};
  assert_int_not_equal(token_verifier_new(&o, &v, why), 0);
  assert_non_null(strstr(why, "it is no regular file"));
  unlink(path);
  rmdir(folder);
}

static void a_key_file_is_bounded(void **state) {
  (void)state;
  size_t len = (1 << 20) + 1;
  char *big = malloc(len), why[256];
  memset(big, '#', len);
  assert_int_equal(keys_verdict(big, len, why), E_TOO_BIG);
  assert_non_null(strstr(why, "1MiB"));
  assert_int_equal(keys_verdict(big, len - 1, why), E_INVALID);
  free(big);
}

static void a_key_file_has_at_most_64_keys(void **state) {
  (void)state;
  char *pem = jwt_pem(ec), *all = calloc(1, 65 * strlen(pem) + 1), why[256];
  for (int i = 0; i < 64; i++)
    strcat(all, pem);
  assert_int_equal(keys_verdict(all, strlen(all), why), 0);
  strcat(all, pem);
  assert_int_equal(keys_verdict(all, strlen(all), why), E_INVALID);
  assert_non_null(strstr(why, "more than 64"));
  free(all);
  free(pem);
}

/* --- the secret --------------------------------------------------------------------------------------------------- */

static void a_weak_secret_names_the_rule_and_the_way_out(void **state) {
  (void)state;
  const struct {
    const char *secret, *why;
  } cases[] = {
    {"0123456789abcdefghijklmnopqrstu", "has 31 bytes, at least 32"},
    {"kJx8-SeCrEt-kJx8kJx8kJx8kJx8kJx8", "\"secret\""},
    {"TEST123-kJx8kJx8kJx8kJx8kJx8kJx8", "\"test\""},
    {"kJx8PassWord-kJx8kJx8kJx8kJx8kJx", "\"password\""},
    {"kJx8Admin-kJx8kJx8kJx8kJx8kJx8kJ", "\"admin\""},
    {"kJx8ChangeMe-kJx8kJx8kJx8kJx8kJx", "\"changeme\""},
    {"kJx8Default-kJx8kJx8kJx8kJx8kJx8", "\"default\""},
    {"kJx8Example-kJx8kJx8kJx8kJx8kJx8", "\"example\""},
    {"kJx8Demo-kJx8kJx8kJx8kJx8kJx8kJx", "\"demo\""},
    {"kJx812345-kJx8kJx8kJx8kJx8kJx8kJ", "\"12345\""},
    {"kJx8Placeholder-kJx8kJx8kJx8kJx8", "placeholder PLACEHOLDER"},
    {"Replace_With-kJx8kJx8kJx8kJx8kJx", "placeholder REPLACE_WITH"},
    {"your-kJx8kJx8kJx8kJx8kJx8kJx8kJx", "placeholder YOUR-"},
    {"change_me-kJx8kJx8kJx8kJx8kJx8kJ", "placeholder CHANGE_ME"},
    {"local-development-secret-change-in-production", "\"secret\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char why[256] = "";
    assert_int_equal(token_secret_check(cases[i].secret, why), E_INVALID);
    assert_non_null(strstr(why, cases[i].why));
    assert_non_null(strstr(why, "openssl rand -base64 32"));
    assert_null(strstr(why, "kJx8"));
    assert_null(strchr(why, '\n'));
  }
}

static void a_random_secret_with_a_word_in_it_is_told_so(void **state) {
  (void)state;
  char why[256] = "";
  assert_int_equal(token_secret_check("q0bO1hT7dEmo9wZsV2nK4yRcXa8uLiJf3gPtE6mHs0w=", why), E_INVALID);
  assert_non_null(strstr(why, "by chance"));
}

static void a_strong_secret_is_taken(void **state) {
  (void)state;
  char why[256];
  assert_int_equal(token_secret_check(SECRET, why), 0);
  assert_int_equal(token_secret_check("q0bO1hT7dEko9wZsV2nK4yRcXa8uLiJf3gPtE6mHs0w=", why), 0);
  assert_int_equal(token_secret_check("9876543210abcdefghijklmnopqrstuv", why), 0); /* 32 bytes */
}

static void a_verifier_needs_a_strong_secret_or_keys(void **state) {
  (void)state;
  struct token_verifier *v = NULL;
  char why[256] = "";
  assert_int_equal(token_verifier_new(&(struct token_options){.secret = ""}, &v, why), E_MISSING);
  assert_non_null(strstr(why, "JWT_SECRET or JWT_PUBLIC_KEY_FILE"));
  assert_int_equal(token_verifier_new(&(struct token_options){.secret = "short"}, &v, why), E_INVALID);
  assert_null(v);
  token_verifier_free(NULL);
}

/* --- minting, threads --------------------------------------------------------------------------------------------- */

static void text_that_is_not_utf8_is_not_minted(void **state) {
  (void)state;
  const char *role = "\xff";
  assert_null(token_mint(SECRET, "\xff", NULL, NULL, 0, NOW, 60));
  assert_null(token_mint(SECRET, "u", "\xff", NULL, 0, NOW, 60));
  assert_null(token_mint(SECRET, "u", NULL, &role, 1, NOW, 60));
}

struct rotation {
  struct token_verifier *v;
  const char *path, *one, *both;
  int failures;
};

static void *rotate_many(void *arg) {
  struct rotation *r = arg;
  char why[256];
  for (int i = 0; i < 20; i++) {
    file_fill(r->path, i % 2 ? r->one : r->both);
    r->failures += token_verifier_read_keys(r->v, why) != 0;
  }
  return NULL;
}

static void *verify_many(void *arg) {
  const char *const *tokens = arg;
  struct token_verifier *v = (struct token_verifier *)(uintptr_t)tokens[0];
  size_t failures = 0;
  for (int i = 0; i < 50; i++)
    for (int t = 1; t <= 3; t++) {
      struct identity *who = NULL;
      failures += token_verify(v, tokens[t], strlen(tokens[t]), NOW, &who) != 0;
      identity_unref(who);
    }
  return (void *)failures;
}

static void one_verifier_serves_many_threads(void **state) {
  (void)state;
  char *rsa_pem = jwt_pem(rsa), *ec_pem = jwt_pem(ec), *both = NULL;
  assert_true(asprintf(&both, "%s%s", rsa_pem, ec_pem) > 0);
  struct token_verifier *v = verifier_with_keys(SECRET, both);
  char *tokens[] = {(char *)v, hs256(HS256, CLAIMS), jwt_sign(rsa, compose(RS256, CLAIMS)),
                    jwt_sign(ec, compose(ES256, CLAIMS))};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, verify_many, tokens), 0);
  for (int i = 0; i < 4; i++) {
    void *failures = NULL;
    pthread_join(threads[i], &failures);
    assert_null(failures);
  }
  for (int i = 1; i < 4; i++)
    free(tokens[i]);
  token_verifier_free(v);
  free(both);
  free(rsa_pem);
  free(ec_pem);
}

static int keys_make(void **state) {
  (void)state;
  rsa = jwt_rsa_key(2048);
  other_rsa = jwt_rsa_key(2048);
  ec = jwt_ec_key("P-256");
  other_ec = jwt_ec_key("P-256");
  return rsa && other_rsa && ec && other_ec ? 0 : 1;
}

static int keys_drop(void **state) {
  (void)state;
  EVP_PKEY_free(rsa);
  EVP_PKEY_free(other_rsa);
  EVP_PKEY_free(ec);
  EVP_PKEY_free(other_ec);
  return 0;
}

static void keys_are_exchanged_under_the_hands_of_those_who_verify(void **state) {
  (void)state;
  char *rsa_pem = jwt_pem(rsa), *ec_pem = jwt_pem(ec), *other_pem = jwt_pem(other_ec), *one = NULL, *both = NULL;
  assert_true(asprintf(&one, "%s%s", rsa_pem, ec_pem) > 0 && asprintf(&both, "%s%s", one, other_pem) > 0);
  char path[64];
  snprintf(path, sizeof path, "%s", file_with(one, strlen(one)));
  struct rotation r = {verifier(SECRET, path, true), path, one, both, 0};
  char *tokens[] = {(char *)r.v, hs256(HS256, CLAIMS), jwt_sign(rsa, compose(RS256, CLAIMS)),
                    jwt_sign(ec, compose(ES256, CLAIMS))};
  pthread_t threads[3];
  assert_int_equal(pthread_create(&threads[0], NULL, rotate_many, &r), 0);
  for (int i = 1; i < 3; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, verify_many, tokens), 0);
  for (int i = 0; i < 3; i++) {
    void *failures = NULL;
    pthread_join(threads[i], &failures);
    assert_null(failures);
  }
  assert_int_equal(r.failures, 0);
  for (int i = 1; i < 4; i++)
    free(tokens[i]);
  token_verifier_free(r.v);
  unlink(path);
  free(one);
  free(both);
  free(rsa_pem);
  free(ec_pem);
  free(other_pem);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_minted_token_names_its_user),
    cmocka_unit_test(admin_is_who_has_the_role_admin_or_chat_admin),
    cmocka_unit_test(an_identity_lives_until_its_last_reference_goes),
    cmocka_unit_test(all_three_hmac_algorithms_are_taken),
    cmocka_unit_test(a_token_from_another_library_is_taken),
    cmocka_unit_test(a_name_falls_back_to_the_user),
    cmocka_unit_test(a_long_name_is_cut_between_characters),
    cmocka_unit_test(a_user_id_is_a_text_of_1_to_255_bytes),
    cmocka_unit_test(roles_are_an_array_of_at_most_32_texts),
    cmocka_unit_test(a_token_ends_at_its_expiry_without_leeway),
    cmocka_unit_test(an_expiry_is_a_number_of_any_size),
    cmocka_unit_test(no_expiry_is_refused_unless_that_is_switched_off),
    cmocka_unit_test(a_token_is_not_valid_before_its_time),
    cmocka_unit_test(a_date_may_have_a_fraction),
    cmocka_unit_test(clocks_may_be_apart_by_the_leeway),
    cmocka_unit_test(the_issuer_has_to_be_the_one_that_is_set),
    cmocka_unit_test(the_audience_has_to_hold_the_one_that_is_set),
    cmocka_unit_test(a_signed_statement_names_issuer_and_audience),
    cmocka_unit_test(a_user_has_one_spelling),
    cmocka_unit_test(keys_that_are_read_again_replace_the_old_ones),
    cmocka_unit_test(a_broken_file_leaves_the_keys_in_force),
    cmocka_unit_test(keys_are_exchanged_under_the_hands_of_those_who_verify),
    cmocka_unit_test(ambiguous_json_is_refused),
    cmocka_unit_test(a_token_has_exactly_three_parts),
    cmocka_unit_test(every_changed_byte_makes_a_token_invalid),
    cmocka_unit_test(a_nul_byte_does_not_end_a_token_early),
    cmocka_unit_test(a_token_has_at_most_8_kib),
    cmocka_unit_test(padding_is_refused),
    cmocka_unit_test(unsigned_and_unknown_algorithms_are_refused),
    cmocka_unit_test(extensions_we_do_not_know_are_refused),
    cmocka_unit_test(a_secret_of_another_is_refused),
    cmocka_unit_test(public_keys_check_rs256_and_es256),
    cmocka_unit_test(a_public_key_is_never_an_hmac_secret),
    cmocka_unit_test(without_keys_rs256_and_es256_are_refused),
    cmocka_unit_test(an_es256_signature_is_64_raw_bytes),
    cmocka_unit_test(an_hmac_signature_is_whole_and_nothing_more),
    cmocka_unit_test(a_jwks_key_is_chosen_by_its_kid),
    cmocka_unit_test(jwks_keys_for_other_uses_are_passed_over),
    cmocka_unit_test(a_certificate_gives_its_key),
    cmocka_unit_test(weak_and_foreign_keys_stop_the_start),
    cmocka_unit_test(a_private_key_in_the_file_stops_the_start),
    cmocka_unit_test(a_damaged_key_file_says_what_is_wrong),
    cmocka_unit_test(an_rsa_key_with_exponent_1_stops_the_start),
    cmocka_unit_test(a_missing_key_file_is_named),
    cmocka_unit_test(a_pipe_is_no_key_file),
    cmocka_unit_test(a_key_file_is_bounded),
    cmocka_unit_test(a_key_file_has_at_most_64_keys),
    cmocka_unit_test(a_weak_secret_names_the_rule_and_the_way_out),
    cmocka_unit_test(a_random_secret_with_a_word_in_it_is_told_so),
    cmocka_unit_test(a_strong_secret_is_taken),
    cmocka_unit_test(a_verifier_needs_a_strong_secret_or_keys),
    cmocka_unit_test(text_that_is_not_utf8_is_not_minted),
    cmocka_unit_test(one_verifier_serves_many_threads),
  };
  return cmocka_run_group_tests(tests, keys_make, keys_drop);
}
