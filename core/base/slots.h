/* In: a key to be counted. Out: yes, or the bound it has reached.
 * Why: connections per user and in total are one decision under one lock, so that two handshakes at once cannot both
 * get the last slot. Bound: no more keys than slots taken. Any thread. */
#pragma once
#include "attr.h"

#include <stddef.h>
#include <stdint.h>

struct slots;

/* per_key ≥ 1, total ≥ 1. */
struct slots *slots_new(uint32_t per_key, uint32_t total) NODISCARD;
void slots_free(struct slots *s);
/* 0; E_LIMITED: the key has per_key already; E_FULL: total reached, or memory is out. */
int slots_take(struct slots *s, const char *key, size_t key_len) NODISCARD;
/* A slot taken must be given back exactly once; debug builds abort on one that was not taken. */
void slots_give(struct slots *s, const char *key, size_t key_len);
uint32_t slots_total(struct slots *s);
