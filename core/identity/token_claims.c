/* In: the payload of a token whose signature held. Out: the identity it states, or why not.
 * Why: every rule about user_id, roles, name, iss, aud, exp and nbf in one place. */
#include "token_claims.h"

#include "base64url.h"
#include "err.h"
#include "user_id.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

json_t *token_json(const char *base64url, size_t len) {
  char bytes[BASE64URL_BYTES(TOKEN_MAX)];
  size_t size = 0;
  if (len > TOKEN_MAX || base64url_decode(base64url, len, (unsigned char *)bytes, &size) != 0)
    return NULL;
  json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);
  if (object && !json_is_object(object)) {
    json_decref(object);
    object = NULL;
  }
  return object;
}

#define SECONDS_MAX (INT64_MAX / 4) /* so that sums of dates stay numbers */

static int64_t seconds_within(double seconds) {
  return seconds >= (double)SECONDS_MAX    ? SECONDS_MAX
         : seconds <= -(double)SECONDS_MAX ? -SECONDS_MAX
                                           : (int64_t)seconds;
}

/* A date may have a fraction: *down and *up are the whole seconds on both sides of it. */
static int date_read(const json_t *date, int64_t *down, int64_t *up) {
  if (!json_is_number(date))
    return E_INVALID;
  *down = *up = seconds_within(json_number_value(date));
  if (json_is_integer(date)) {
    json_int_t whole = json_integer_value(date); /* a double would round it */
    *down = *up = whole > SECONDS_MAX ? SECONDS_MAX : whole < -SECONDS_MAX ? -SECONDS_MAX : whole;
  } else if ((double)*down < json_real_value(date))
    (*up)++;
  else if ((double)*down > json_real_value(date))
    (*down)--;
  return 0;
}

/* Until when it holds, a fraction rounded up; 0 when it never ends. An exp of 0 counts as none. */
static int expiry_check(const json_t *payload, const struct token_rules *rules, int64_t now_s, int64_t *expires_s) {
  const json_t *exp = json_object_get(payload, "exp");
  int64_t down;
  *expires_s = 0;
  if (exp && !json_is_number(exp))
    return E_INVALID;
  if (!exp || json_number_value(exp) == 0)
    return rules->require_exp ? E_INVALID : 0;
  int err = date_read(exp, &down, expires_s);
  *expires_s += rules->leeway_s;
  return err ? err : now_s < *expires_s ? 0 : E_EXPIRED;
}

static int start_check(const json_t *payload, const struct token_rules *rules, int64_t now_s) {
  const json_t *nbf = json_object_get(payload, "nbf");
  int64_t from_s, up;
  if (!nbf)
    return 0;
  int err = date_read(nbf, &from_s, &up);
  return err ? err : now_s >= from_s - rules->leeway_s ? 0 : E_INVALID;
}

static bool text_is(const json_t *value, const char *wanted) {
  return json_is_string(value) && json_string_length(value) == strlen(wanted) &&
         memcmp(json_string_value(value), wanted, strlen(wanted)) == 0;
}

/* aud is one text or a list of them; one that fits is enough. */
static bool audience_holds(const json_t *aud, const char *wanted) {
  const json_t *one;
  size_t i;
  json_array_foreach(aud, i, one) if (text_is(one, wanted)) return true;
  return text_is(aud, wanted);
}

static int party_check(const json_t *payload, const struct token_rules *rules) {
  if (rules->issuer && !text_is(json_object_get(payload, "iss"), rules->issuer))
    return E_INVALID;
  if (rules->audience && !audience_holds(json_object_get(payload, "aud"), rules->audience))
    return E_INVALID;
  return 0;
}

static int roles_read(const json_t *payload, const char *roles[TOKEN_ROLES_MAX], size_t *count) {
  const json_t *list = json_object_get(payload, "roles"), *role;
  size_t i;
  *count = json_array_size(list);
  if (!json_is_array(list) || *count > TOKEN_ROLES_MAX)
    return E_INVALID;
  json_array_foreach(list, i, role) {
    roles[i] = json_string_value(role);
    if (!roles[i])
      return E_INVALID;
  }
  return 0;
}

/* A name is for people to read: one that is too long is cut between characters rather than refused. */
static void name_read(const json_t *payload, const char *user_id, char out[TOKEN_USER_MAX + 1]) {
  const char *name = json_string_value(json_object_get(payload, "name"));
  if (!name || *name == '\0')
    name = user_id;
  size_t len = strnlen(name, TOKEN_USER_MAX);
  if (name[len] != '\0')
    while (len > 0 && (name[len] & 0xC0) == 0x80)
      len--;
  memcpy(out, name, len);
  out[len] = '\0';
}

int token_claims(const json_t *payload, const struct token_rules *rules, int64_t now_s, struct identity **out) {
  const char *stated = json_string_value(json_object_get(payload, "user_id"));
  const char *roles[TOKEN_ROLES_MAX];
  char user_id[TOKEN_USER_MAX + 1], name[TOKEN_USER_MAX + 1];
  size_t role_count;
  int64_t expires_s;
  int err = stated ? user_id_normalise(stated, user_id) : E_INVALID;
  if (!err)
    err = roles_read(payload, roles, &role_count);
  if (!err)
    err = party_check(payload, rules);
  if (!err)
    err = start_check(payload, rules, now_s);
  if (!err)
    err = expiry_check(payload, rules, now_s, &expires_s);
  if (err)
    return err;
  name_read(payload, user_id, name);
  *out = identity_new(user_id, name, roles, role_count, expires_s);
  return *out ? 0 : UV_ENOMEM;
}
