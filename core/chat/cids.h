/* In: the cids of messages that went to the store. Out: whether one may be among them. Why: where memory rules out that
 * a message was there already, its answer need not wait for the store to say so. A Bloom filter: what was put in is
 * never denied; what was not may be taken for it, the more often the more there is (with 1000 in it once in 150 times),
 * and then the store is asked.
 * Thread: whoever owns it. Bound: CIDS_BYTES each, however many are put in. */
#pragma once
#include <stdbool.h>

#define CIDS_BYTES 1536

struct cids;
/* NULL when memory is out. */
struct cids *cids_new(void);
void cids_free(struct cids *c); /* NULL is allowed */
void cids_add(struct cids *c, const char *cid);
bool cids_may_have(const struct cids *c, const char *cid);
