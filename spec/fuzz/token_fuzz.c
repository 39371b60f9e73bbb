/* In: bytes that are a token, edits of a good token, claims or a header signed with the right key, or a key file.
 * Out: an abort when a token verifies that nobody signed, or an identity breaks a promise of core/identity/token.h.
 * Why: the token is the first thing a stranger sends and the only thing that says who he is. */
#include "err.h"
#include "jwt.h"
#include "token.h"
#include "token_key.h"
#include "user_id.h"

#include <unistd.h>

#define SECRET "V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!"
#define NOW 1700000000

enum mode { RAW, EDITS, CLAIMS, HEADER, KEYS, MODES };

static struct token_verifier *verifier;
static char *good[3]; /* HS256, RS256, ES256 */

static void check(bool holds) {
  if (!holds)
    abort();
}

static void check_identity(const struct identity *who) {
  check(*who->user_id != '\0' && strlen(who->user_id) <= TOKEN_USER_MAX);
  char again[TOKEN_USER_MAX + 1];
  check(user_id_normalise(who->user_id, again) == 0 && strcmp(again, who->user_id) == 0);
  check(*who->name != '\0' && strlen(who->name) <= TOKEN_USER_MAX);
  check(who->expires_s > NOW && who->role_count <= TOKEN_ROLES_MAX);
  bool admin = false;
  for (size_t i = 0; i < who->role_count; i++)
    admin = admin || strcmp(who->roles[i], "admin") == 0 || strcmp(who->roles[i], "chat_admin") == 0;
  check(who->admin == admin);
}

/* From memory of exactly that size, so that a read beyond it is seen. */
static bool verifies(const void *token, size_t len) {
  struct identity *who = NULL;
  char *copy = malloc(len > 0 ? len : 1);
  jwt_must(copy != NULL);
  memcpy(copy, token, len);
  int err = token_verify(verifier, copy, len, NOW, &who);
  free(copy);
  check((err == 0) == (who != NULL));
  check(err == 0 || err == E_INVALID || err == E_EXPIRED || err == E_TOO_BIG);
  if (who)
    check_identity(who);
  identity_unref(who);
  return err == 0;
}

static bool is_good(const char *token, size_t len) {
  for (int i = 0; i < 3; i++)
    if (strlen(good[i]) == len && memcmp(good[i], token, len) == 0)
      return true;
  return false;
}

/* Each three bytes put one byte into a good token (or cut it there); only an unchanged token may verify. */
static void edits_check(const uint8_t *data, size_t size) {
  if (size == 0)
    return;
  char *token = strdup(good[data[0] % 3]);
  size_t len = strlen(token);
  for (size_t i = 1; i + 3 <= size && len > 0; i += 3) {
    size_t at = (size_t)(data[i] << 8 | data[i + 1]) % len;
    if (data[i + 2] == 0)
      len = at;
    else
      token[at] = (char)data[i + 2];
  }
  check(verifies(token, len) == is_good(token, len));
  free(token);
}

static void signed_check(const char *header, size_t header_len, const char *payload, size_t payload_len) {
  char *token = jwt_hmac("SHA256", SECRET, strlen(SECRET), jwt_unsigned(header, header_len, payload, payload_len));
  (void)verifies(token, strlen(token)); /* either answer may be right; what it says has to hold */
  free(token);
}

static void keys_check(const char *text, size_t len) {
  struct token_keys *keys = NULL;
  char why[256];
  memset(why, 'x', sizeof why);
  int err = token_keys_parse(text, len, &keys, why);
  check((err == 0) == (keys != NULL));
  check(memchr(why, '\0', sizeof why) != NULL);
  if (keys) {
    check(token_keys_count(keys) >= 1 && token_keys_count(keys) <= TOKEN_KEYS_MAX);
    const unsigned char nothing[256] = {0};
    uint64_t print;
    check(token_keys_verify(keys, KEY_RSA, NULL, "x", 1, nothing, sizeof nothing, &print) == E_INVALID);
    check(token_keys_verify(keys, KEY_EC, NULL, "x", 1, nothing, 64, &print) == E_INVALID);
  }
  token_keys_unref(keys);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  static const char claims[] = "{\"user_id\":\"u1\",\"roles\":[\"admin\"],\"exp\":1800000000}";
  static const char *const headers[] = {"{\"alg\":\"HS256\"}", "{\"alg\":\"RS256\"}", "{\"alg\":\"ES256\"}"};
  EVP_PKEY *rsa = jwt_rsa_key(2048), *ec = jwt_ec_key("P-256");
  for (int i = 0; i < 3; i++) {
    char *token = jwt_unsigned(headers[i], strlen(headers[i]), claims, strlen(claims));
    good[i] = i == 0 ? jwt_hmac("SHA256", SECRET, strlen(SECRET), token) : jwt_sign(i == 1 ? rsa : ec, token);
  }
  char path[] = "/tmp/token_fuzz_XXXXXX", why[256], *rsa_pem = jwt_pem(rsa), *ec_pem = jwt_pem(ec);
  int fd = mkstemp(path);
  check(fd >= 0 && dprintf(fd, "%s%s", rsa_pem, ec_pem) > 0);
  close(fd);
  const struct token_options o = {.secret = SECRET, .public_key_file = path, .require_exp = true};
  check(token_verifier_new(&o, &verifier, why) == 0);
  unlink(path);
  free(rsa_pem);
  free(ec_pem);
  EVP_PKEY_free(rsa);
  EVP_PKEY_free(ec);
  for (int i = 0; i < 3; i++)
    check(verifies(good[i], strlen(good[i]))); /* or the rest would prove nothing */
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char header[] = "{\"alg\":\"HS256\"}", claims[] = "{\"user_id\":\"u\",\"roles\":[],\"exp\":1800000000}";
  if (size == 0)
    return 0;
  const char *text = (const char *)data + 1;
  size_t len = size - 1;
  switch ((enum mode)(data[0] % MODES)) {
  case RAW:
    check(verifies(text, len) == is_good(text, len));
    break;
  case EDITS:
    edits_check(data + 1, len);
    break;
  case CLAIMS:
    signed_check(header, sizeof header - 1, text, len);
    break;
  case HEADER:
    signed_check(text, len, claims, sizeof claims - 1);
    break;
  default:
    keys_check(text, len);
  }
  return 0;
}
