/* In: a conversation that is to be shown to others, or not any more. Out: its token. See STORE_SHARE. */
#include "memory_impl.h"

#include "err.h"
#include "sealed.h"

#include <stdlib.h>
#include <string.h>

void kept_unshare(struct kept *k) {
  free(k->share);
  k->share = NULL;
  k->share_hash[0] = '\0';
  k->record.share_expires_ms = 0;
}

struct kept *kept_shared(struct memory *m, const char *token) {
  char hash[SHARE_HASH_LEN + 1];
  if (sealed_share_hash(token, hash))
    return NULL;
  struct kept *k = m->sessions;
  while (k && strcmp(k->share_hash, hash) != 0)
    k = k->hh.next;
  return k;
}

static int share_new(struct memory_handle *h, struct store_op *op, struct kept *k) {
  size_t len;
  kept_unshare(k);
  int code = sealed_share_hash(op->session.share_token, k->share_hash);
  code = code ? code : sealed_share(h->keys, k->record.id, k->record.user_id, op->session.share_token, &k->share, &len);
  if (code) {
    kept_unshare(k);
    return E_STORE;
  }
  h->m->sealed |= !!h->keys;
  k->record.share_expires_ms = op->session.share_expires_ms = op->sharing.expires_ms;
  return 0;
}

int memory_share(struct memory_handle *h, struct store_op *op) {
  struct kept *k = kept_find(h->m, op->session.id);
  size_t len;
  char *token = NULL;
  if (!k || strcmp(k->record.user_id, op->session.user_id) != 0 || (op->sharing.revoke && !k->share))
    return E_NOT_FOUND;
  if (op->sharing.revoke) {
    kept_unshare(k);
    return 0;
  }
  int64_t expires = k->record.share_expires_ms;
  bool holds = k->share && (expires == 0 || expires > op->sharing.now_ms);
  if (!holds || sealed_share_open(h->keys, k->record.id, k->record.user_id, k->share, strlen(k->share), &token, &len))
    return share_new(h, op, k);
  if (op->sharing.sets_expiry)
    k->record.share_expires_ms = op->sharing.expires_ms;
  free(op->session.share_token);
  op->session.share_token = token;
  op->session.share_expires_ms = k->record.share_expires_ms;
  return 0;
}
