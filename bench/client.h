/* In: bytes of one connection to the server. Out: messages to it, and the latency of each answer.
 * Why: a client says what is due, not what is written: messages are rendered when the socket takes them, many to a
 * send, so a slow server costs the generator no memory and the latency still counts from the intended time. One thread.
 * Bounds: a frame WS_PAYLOAD_MAX, unread bytes CLIENT_IN, unsent bytes CLIENT_OUT per connection. */
#pragma once
#include "attr.h"
#include "hist.h"
#include "options.h"
#include "text.h"
#include "ws.h"

#define CLIENT_IN (256 * 1024)
#define CLIENT_OUT (64 * 1024)

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_UPGRADING, CLIENT_GREETING, CLIENT_READY, CLIENT_LOST };

/* What all clients share. */
struct load {
  const struct options *options;
  struct text message, answer;
  int epoll;
  struct client *clients;
  size_t opened, ready, lost; /* clients so far */
  bool running;               /* closed loop: an answer makes the next message due */
  uint64_t start_ns;          /* open loop: message n is intended start_ns + n / rate */
  uint64_t from_ns, to_ns;    /* the measured time */
  uint64_t answered;          /* in the measured time */
  uint64_t other;             /* text frames that are not the answer waited for */
  char odd[256];              /* the first of those, or why the first client was lost */
  size_t answer_at;           /* where in a frame the last answer's text was found */
  struct hist latency;
  uint8_t in[CLIENT_IN], out[CLIENT_OUT];
};

struct client {
  enum client_state state;
  int fd;
  bool blocked; /* waits for EPOLLOUT */
  uint64_t due, sent, answered;
  uint64_t *sent_at; /* closed loop: ring of `inflight` times */
  uint8_t *in, *out; /* bytes left over between two turns, heap */
  size_t in_length, out_length;
  char session[TEXT_SESSION_MAX + 1];
};

uint64_t clock_ns(void);
/* When message n of the client was meant to be sent; n < sent. */
uint64_t client_intended(const struct load *l, const struct client *c, uint64_t n);
/* Starts to connect. 0 or a negative code: the client is lost. */
int client_open(struct load *l, struct client *c) NODISCARD;
/* After epoll reported events on it. */
void client_turn(struct load *l, struct client *c, uint32_t events);
/* Writes what is due as far as the socket takes it. */
void client_write(struct load *l, struct client *c);
void client_close(struct client *c);
