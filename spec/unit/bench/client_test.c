/* In: one client of the generator and the other end of its socket. Out: what it writes, and what it makes of the
 * answers. Why: here is decided what counts as an answer and from when its latency runs. No server, no sleeping: the
 * start of the run is moved into the past instead. */
#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const uint64_t SECOND = 1000000000;

static struct load load;
static struct options options;
static struct client clients[2];
static int server;

static int fresh(void **state) {
  (void)state;
  int pair[2];
  options = (struct options){
    .mode = MODE_OPEN, .connections = 2, .inflight = 4, .rate = 4, .message = "<{i}>", .answer = "<{i}>"};
  memset(&load, 0, sizeof load);
  load.options = &options;
  load.clients = clients;
  load.start_ns = clock_ns();
  load.to_ns = UINT64_MAX;
  load.epoll = epoll_create1(0);
  hist_init(&load.latency);
  assert_int_equal(text_init(&load.message, options.message), 0);
  assert_int_equal(text_init(&load.answer, options.answer), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
  memset(clients, 0, sizeof clients);
  clients[0] = (struct client){.state = CLIENT_READY, .fd = pair[0]};
  server = pair[1];
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[0]};
  assert_int_equal(epoll_ctl(load.epoll, EPOLL_CTL_ADD, pair[0], &e), 0);
  return 0;
}

static int done(void **state) {
  (void)state;
  client_close(&clients[0]);
  close(server);
  close(load.epoll);
  return 0;
}

static void server_sends(const char *text) {
  uint8_t frame[256] = {0x81, (uint8_t)strlen(text)};
  memcpy(frame + 2, text, strlen(text));
  assert_int_equal(write(server, frame, 2 + strlen(text)), 2 + strlen(text));
}

static void a_late_answer_counts_from_when_its_question_was_meant_to_be_sent(void **state) {
  (void)state;
  load.start_ns -= 10 * SECOND;
  clients[0].due = 1;
  client_write(&load, &clients[0]); /* ten seconds late */
  server_sends("<0>");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.latency.count, 1);
  assert_in_range(load.latency.max, 10 * SECOND, 11 * SECOND);
}

static void the_connections_take_turns_at_the_total_rate(void **state) {
  (void)state;
  assert_int_equal(client_intended(&load, &clients[0], 0), load.start_ns);
  assert_int_equal(client_intended(&load, &clients[1], 0), load.start_ns + SECOND / 4);
  assert_int_equal(client_intended(&load, &clients[0], 1), load.start_ns + SECOND / 2);
  assert_int_equal(client_intended(&load, &clients[1], 9), load.start_ns + 19 * SECOND / 4);
}

static void only_the_answer_to_its_own_question_counts(void **state) {
  (void)state;
  clients[0].due = 2;
  client_write(&load, &clients[0]);
  server_sends("hello");
  server_sends("<1>");
  server_sends("it says <0>, twice: <0>");
  server_sends("<0>");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.answered, 1);
  assert_int_equal(load.other, 3);
  assert_string_equal(load.odd, "hello");
}

static void nothing_is_an_answer_before_it_was_asked(void **state) {
  (void)state;
  server_sends("<0>");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.answered, 0);
}

static void an_answer_outside_the_measured_time_does_not_count(void **state) {
  (void)state;
  load.from_ns = UINT64_MAX - 1;
  clients[0].due = 1;
  client_write(&load, &clients[0]);
  server_sends("<0>");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(clients[0].answered, 1);
  assert_int_equal(load.answered, 0);
  assert_int_equal(load.latency.count, 0);
}

static void a_closed_loop_asks_again_for_every_answer_and_never_more(void **state) {
  (void)state;
  options.mode = MODE_CLOSED;
  load.running = true;
  clients[0].sent_at = calloc(options.inflight, sizeof *clients[0].sent_at);
  clients[0].due = options.inflight;
  client_write(&load, &clients[0]);
  assert_int_equal(clients[0].sent, 4);
  server_sends("<0>");
  server_sends("<1>");
  server_sends("<2>");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.answered, 3);
  assert_int_equal(clients[0].sent, 7);
}

static void an_answer_cut_anywhere_is_read_whole(void **state) {
  (void)state;
  static const uint8_t frames[] = {0x81, 3, '<', '0', '>', 0x81, 3, '<', '1', '>'};
  clients[0].due = 2;
  client_write(&load, &clients[0]);
  for (size_t i = 0; i < sizeof frames; i++) {
    assert_int_equal(load.answered, i / 5);
    assert_int_equal(write(server, frames + i, 1), 1);
    client_turn(&load, &clients[0], EPOLLIN);
  }
  assert_int_equal(load.answered, 2);
}

static void the_start_of_a_frame_behind_a_whole_one_is_kept(void **state) {
  (void)state;
  static const uint8_t frames[] = {0x81, 3, '<', '0', '>', 0x81, 4, '!', '<', '1', '>'};
  clients[0].due = 2;
  client_write(&load, &clients[0]);
  assert_int_equal(write(server, frames, 8), 8);
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.answered, 1);
  assert_int_equal(write(server, frames + 8, 3), 3);
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.answered, 2);
}

/* Reads one masked frame of at most 125 bytes as text. */
static void server_reads(uint8_t *opcode, char text[126]) {
  uint8_t head[6];
  assert_int_equal(read(server, head, sizeof head), sizeof head);
  size_t length = head[1] & 0x7f;
  uint32_t mask;
  memcpy(&mask, head + 2, sizeof mask);
  assert_int_equal(read(server, text, length), length);
  ws_mask((uint8_t *)text, length, mask);
  text[length] = '\0';
  *opcode = head[0] & 0x0f;
}

static void a_full_socket_delays_messages_but_loses_and_doubles_none(void **state) {
  (void)state;
  uint8_t opcode;
  char text[126], wanted[32];
  clients[0].due = 200000;
  client_write(&load, &clients[0]);
  assert_true(clients[0].blocked);
  assert_true(clients[0].sent < clients[0].due);
  client_write(&load, &clients[0]); /* more became due: nothing may overtake what waits */
  for (unsigned i = 0; i < clients[0].due; i++) {
    if (i % 1000 == 0)
      client_turn(&load, &clients[0], EPOLLOUT);
    server_reads(&opcode, text);
    snprintf(wanted, sizeof wanted, "<%u>", i);
    assert_string_equal(text, wanted);
  }
  client_turn(&load, &clients[0], EPOLLOUT);
  assert_false(clients[0].blocked);
}

static void a_ping_is_answered_with_its_own_text(void **state) {
  (void)state;
  static const uint8_t ping[] = {0x89, 2, 'h', 'i'};
  uint8_t opcode;
  char text[126];
  assert_int_equal(write(server, ping, sizeof ping), sizeof ping);
  client_turn(&load, &clients[0], EPOLLIN);
  server_reads(&opcode, text);
  assert_int_equal(opcode, WS_PONG);
  assert_string_equal(text, "hi");
}

static void a_greeting_names_the_session_that_messages_are_sent_to(void **state) {
  (void)state;
  uint8_t opcode;
  char text[126];
  assert_int_equal(text_init(&load.message, "to {session}"), 0);
  clients[0].state = CLIENT_GREETING;
  clients[0].due = 1;
  server_sends("{\"session_id\":\"\"}");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(clients[0].state, CLIENT_GREETING);
  server_sends("{\"type\":\"connection_status\",\"session_id\":\"s-1\"}");
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(clients[0].state, CLIENT_READY);
  server_reads(&opcode, text);
  assert_string_equal(text, "to s-1");
}

static void a_connection_the_server_ends_is_lost_with_its_reason(void **state) {
  (void)state;
  static const uint8_t bye[] = {0x88, 6, 0x03, 0xf0, 'f', 'u', 'l', 'l'};
  load.ready = 1;
  assert_int_equal(write(server, bye, sizeof bye), sizeof bye);
  client_turn(&load, &clients[0], EPOLLIN);
  assert_int_equal(load.lost, 1);
  assert_int_equal(load.ready, 0);
  assert_string_equal(load.odd, "connection 0, closed by the server: full");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(a_late_answer_counts_from_when_its_question_was_meant_to_be_sent),
    TEST(the_connections_take_turns_at_the_total_rate),
    TEST(only_the_answer_to_its_own_question_counts),
    TEST(nothing_is_an_answer_before_it_was_asked),
    TEST(an_answer_outside_the_measured_time_does_not_count),
    TEST(a_closed_loop_asks_again_for_every_answer_and_never_more),
    TEST(an_answer_cut_anywhere_is_read_whole),
    TEST(the_start_of_a_frame_behind_a_whole_one_is_kept),
    TEST(a_full_socket_delays_messages_but_loses_and_doubles_none),
    TEST(a_ping_is_answered_with_its_own_text),
    TEST(a_greeting_names_the_session_that_messages_are_sent_to),
    TEST(a_connection_the_server_ends_is_lost_with_its_reason),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
