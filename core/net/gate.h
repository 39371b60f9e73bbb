/* In: the headers of a request. Out: who it is, or the exact refusal.
 * Why: everything that decides who may come in is one list of checks in the order of the reference (section 1.2), and
 * knows nothing of the transport. A connection slot taken here is given back by gate_leave exactly once, whatever
 * becomes of the upgrade. Thread: shared by all workers; what is not immutable locks itself. */
#pragma once
#include "address.h"
#include "attr.h"
#include "config.h"
#include "http.h"
#include "ratelimit.h"
#include "token.h"

#include <stdbool.h>
#include <stdint.h>

struct crowd;
struct gate;

/* 0, or a negative code and one line for the operator. config is borrowed for the gate's life. */
int gate_new(const struct config *config, struct gate **out, char why[512]) NODISCARD;
void gate_free(struct gate *g);
/* Main thread, before the first handshake. Connections by user: at MAX_CONNECTIONS_PER_USER the oldest that is
 * replaceable goes for a newcomer (4409). Borrowed; without it nobody does. */
void gate_set_devices(struct gate *g, struct crowd *devices);

/* Header values as sent; NULL when absent. */
struct gate_request {
  const char *method, *host, *origin, *authorization, *token; /* token: of the query */
  const char *upgrade, *connection, *version, *key;
  bool tls;
};
struct gate_refusal {
  int status;          /* 0: let through */
  const char *body;    /* plain text; "" when empty */
  bool version_header; /* Sec-Websocket-Version: 13 */
  bool bad_token;      /* with 401: there was one, and it is no good */
  bool user_limit;     /* the user's other connections are told */
};

/* Whether another origin's page may call: 0; 403; 204 for a preflight. *cors: the origin to allow, or NULL. */
int gate_cors(const struct gate *g, const struct gate_request *r, const char **cors);
/* The checks of a WebSocket handshake. Let through: *out is the identity (a new reference) and a slot is taken.
 * Refused for the user's limit: *out is set too. */
struct gate_refusal gate_admit(struct gate *g, const struct gate_request *r, int64_t now_s, struct identity **out);
/* Gives the slot back. */
void gate_leave(struct gate *g, const struct identity *who);
/* The identity of an HTTP request, by Authorization only. */
enum http_auth gate_identify(const struct gate *g, const char *authorization, int64_t now_s, struct identity **out);
/* The public keys, read again; see token_verifier_read_keys. */
int gate_read_keys(struct gate *g, char why[256]) NODISCARD;
struct token_verifier *gate_verifier(const struct gate *g);

/* How a request came. Header values as sent, several lines of one joined with commas; NULL when absent. */
struct gate_route {
  const char *peer;                           /* the address at the other end of the socket */
  const char *forwarded, *real_ip, *standard; /* X-Forwarded-For, X-Real-IP, Forwarded (which is not read) */
};
/* The address of the client; false when it is only the one of a proxy that TRUSTED_PROXIES does not name, which is then
 * inside no network. Such a peer is warned about once (the first GATE_STRANGERS_MAX of them). */
#define GATE_STRANGERS_MAX 16
bool gate_client(struct gate *g, const struct gate_route *route, char out[ADDRESS_MAX]);
const struct networks *gate_trusted(const struct gate *g);
