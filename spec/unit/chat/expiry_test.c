/* What core/chat/expiry.h promises: a connection ends with its token, unless a new one came in time; and with its key.
 */
#include "fake_client.h"
#include "jwt.h"

#include "err.h"
#include "expiry.h"
#include "worker.h"

#include <unistd.h>

#define START_S 1772463602 /* what the worker's wall clock shows at first, in seconds */

struct scene {
  struct worker *worker;
  struct mailbox *here;
  struct expiry *expiry;
};

static int on_start(struct worker *w, void *ctx, char why[512]) {
  (void)w, (void)ctx, (void)why;
  return 0;
}

static void on_item(void *ctx, struct session *s, struct item *item) {
  (void)ctx, (void)s;
  item_free(item);
}

static void nothing(void *ctx) {
  (void)ctx;
}

static const struct worker_hooks hooks = {.start = on_start, .item = on_item, .turn = nothing, .stop = nothing};

static int setup(void **state) {
  struct scene *sc = calloc(1, sizeof *sc);
  char why[512];
  sc->worker = worker_new(&(struct worker_options){.hooks = &hooks, .ctx = sc, .by_hand = true});
  assert_int_equal(worker_start(sc->worker, why), 0);
  sc->here = worker_mailbox(sc->worker);
  assert_int_equal(worker_wall_ms(sc->worker) / 1000, START_S);
  *state = sc;
  return 0;
}

static int teardown(void **state) {
  struct scene *sc = *state;
  expiry_free(sc->expiry);
  expiry_free(NULL);
  worker_join(sc->worker);
  worker_free(sc->worker);
  free(sc);
  return 0;
}

static struct conn *connected(struct scene *sc, struct identity *who) {
  struct conn_options o = {
    .home = sc->here, .identity = who, .outbox_limit = 4096, .early_limit = 4, .dirty = client_dirty};
  struct conn *c = conn_new(&o);
  assert_non_null(c);
  identity_unref(who);
  expiry_add(sc->expiry, c);
  return c;
}

static struct identity *until(int64_t expires_s) {
  return identity_new("ann", "Ann", NULL, 0, expires_s);
}

static void assert_open(const struct conn *c) {
  const char *reason;
  assert_int_equal(conn_closing(c, &reason), 0);
  assert_silent((struct conn *)(uintptr_t)c);
}

static void assert_ended(struct conn *c, const char *code, const char *bye) {
  const char *reason;
  assert_int_equal(conn_closing(c, &reason), 4401);
  assert_string_equal(reason, code);
  assert_gets(c, bye);
  assert_silent(c);
}

#define EXPIRED_AT(stamp)                                                                                              \
  "{\"type\":\"bye\",\"code\":\"token_expired\",\"reason\":\"The token has "                                           \
  "expired\",\"retry_after_ms\":0,\"sender\":\"system\",\"timestamp\":\"" stamp "\"}"

static void a_connection_ends_with_its_token(void **state) {
  struct scene *sc = *state;
  sc->expiry = expiry_new(sc->worker, NULL);
  struct conn *soon = connected(sc, until(START_S + 3)), *later = connected(sc, until(START_S + 4000)),
              *never = connected(sc, until(0));
  worker_advance(sc->worker, 2999);
  assert_open(soon);
  worker_advance(sc->worker, 1);
  assert_ended(soon, "token_expired", EXPIRED_AT("2026-03-02T15:00:05.000Z"));
  assert_open(later);
  worker_advance(sc->worker, 3997000);
  assert_ended(later, "token_expired", EXPIRED_AT("2026-03-02T16:06:42.000Z"));
  assert_open(never);
  client_gone(soon);
  client_gone(later);
  client_gone(never);
}

static void a_new_token_in_time_lets_it_go_on(void **state) {
  struct scene *sc = *state;
  sc->expiry = expiry_new(sc->worker, NULL);
  struct conn *c = connected(sc, until(START_S + 3)), *shorter = connected(sc, until(START_S + 1000));
  struct identity *fresh = until(START_S + 10), *brief = until(START_S + 2);
  worker_advance(sc->worker, 1500);
  conn_renew(c, fresh, NULL); /* from another worker */
  conn_renew(shorter, brief, sc->here);
  worker_advance(sc->worker, 500);
  const char *reason;
  assert_int_equal(conn_closing(shorter, &reason), 4401); /* it is the newest that counts */
  worker_advance(sc->worker, 7999);
  assert_open(c);
  worker_advance(sc->worker, 1);
  assert_ended(c, "token_expired", EXPIRED_AT("2026-03-02T15:00:12.000Z"));
  identity_unref(fresh);
  identity_unref(brief);
  client_gone(c);
  client_gone(shorter);
}

static void one_that_is_gone_is_not_looked_for(void **state) {
  struct scene *sc = *state;
  sc->expiry = expiry_new(sc->worker, NULL);
  struct conn *c = connected(sc, until(START_S + 3));
  client_gone(c); /* the memory, too: the address checker is the judge */
  worker_advance(sc->worker, 5000);
}

static void pem_write(const char *path, EVP_PKEY *key, EVP_PKEY *other) {
  char *first = jwt_pem(key), *second = other ? jwt_pem(other) : strdup("");
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fprintf(out, "%s%s", first, second);
  fclose(out);
  free(first);
  free(second);
}

static struct identity *signed_by(struct token_verifier *v, EVP_PKEY *key) {
  static const char header[] = "{\"alg\":\"ES256\"}",
                    claims[] = "{\"user_id\":\"ann\",\"roles\":[],\"exp\":1800000000}";
  char *token = jwt_sign(key, jwt_unsigned(header, sizeof header - 1, claims, sizeof claims - 1));
  struct identity *who = NULL;
  assert_int_equal(token_verify(v, token, strlen(token), START_S, &who), 0);
  free(token);
  return who;
}

static void a_connection_ends_with_the_key_of_its_token(void **state) {
  struct scene *sc = *state;
  EVP_PKEY *old = jwt_ec_key("P-256"), *new = jwt_ec_key("P-256");
  char path[] = "/tmp/expiry_test_XXXXXX", why[256];
  close(mkstemp(path));
  pem_write(path, old, new);
  struct token_verifier *v = NULL;
  assert_int_equal(token_verifier_new(&(struct token_options){.public_key_file = path}, &v, why), 0);
  sc->expiry = expiry_new(sc->worker, v);
  struct conn *a = connected(sc, signed_by(v, old)), *b = connected(sc, signed_by(v, new)),
              *c = connected(sc, signed_by(v, old)), *secret = connected(sc, until(0));
  struct identity *fresh = signed_by(v, new);
  conn_renew(c, fresh, sc->here);
  expiry_check_keys(sc->expiry);
  assert_open(a); /* nothing was taken out yet */
  pem_write(path, new, NULL);
  assert_int_equal(token_verifier_read_keys(v, why), 0);
  expiry_check_keys(sc->expiry);
  expiry_check_keys(sc->expiry);
  assert_ended(
    a, "token_revoked",
    "{\"type\":\"bye\",\"code\":\"token_revoked\",\"reason\":\"The key that signed the token is no longer in "
    "force\",\"retry_after_ms\":0,\"sender\":\"system\",\"timestamp\":\"2026-03-02T15:00:02.000Z\"}");
  assert_open(b);
  assert_open(c); /* its newest token is signed with the other key */
  assert_open(secret);
  identity_unref(fresh);
  client_gone(a);
  client_gone(b);
  client_gone(c);
  client_gone(secret);
  token_verifier_free(v);
  unlink(path);
  EVP_PKEY_free(old);
  EVP_PKEY_free(new);
}

/* Another worker looked at it with the old keys, and its post comes when the new ones are in force. */
static void a_new_token_that_was_on_its_way_is_looked_at_too(void **state) {
  struct scene *sc = *state;
  EVP_PKEY *old = jwt_ec_key("P-256"), *new = jwt_ec_key("P-256");
  char path[] = "/tmp/expiry_test_XXXXXX", why[256];
  close(mkstemp(path));
  pem_write(path, old, NULL);
  struct token_verifier *v = NULL;
  assert_int_equal(token_verifier_new(&(struct token_options){.public_key_file = path}, &v, why), 0);
  sc->expiry = expiry_new(sc->worker, v);
  struct conn *c = connected(sc, until(0));
  struct identity *late = signed_by(v, old);
  pem_write(path, new, NULL);
  assert_int_equal(token_verifier_read_keys(v, why), 0);
  expiry_check_keys(sc->expiry);
  worker_settle(sc->worker);
  conn_renew(c, late, NULL);
  worker_settle(sc->worker);
  assert_open(c);
  worker_advance(sc->worker, 1000);
  const char *reason;
  assert_int_equal(conn_closing(c, &reason), 4401);
  assert_string_equal(reason, "token_revoked");
  identity_unref(late);
  client_gone(c);
  token_verifier_free(v);
  unlink(path);
  EVP_PKEY_free(old);
  EVP_PKEY_free(new);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    SCENE(a_connection_ends_with_its_token),
    SCENE(a_new_token_in_time_lets_it_go_on),
    SCENE(one_that_is_gone_is_not_looked_for),
    SCENE(a_connection_ends_with_the_key_of_its_token),
    SCENE(a_new_token_that_was_on_its_way_is_looked_at_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
