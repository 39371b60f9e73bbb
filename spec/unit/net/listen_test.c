/* What core/net/listen.c promises: as many sockets as asked for on one port that nobody else has, or a code and a line
 * that names the setting, and then nothing is left open. */
#include "err.h"
#include "listen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { COUNT = 4 };

static void close_all(const int *fds) {
  for (int i = 0; i < COUNT; i++) {
    close(fds[i]);
  }
}

/* The lowest descriptor that is free: a leak moves it. */
static int lowest(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  close(fd);
  return fd;
}

static void sockets_share_a_port_and_listen(void **state) {
  (void)state;
  int fds[COUNT], port = 0;
  char why[256] = "";
  assert_int_equal(listen_open("127.0.0.1", 0, COUNT, fds, &port, why), 0);
  assert_true(port > 0);
  for (int i = 0; i < COUNT; i++) {
    int listens = 0;
    socklen_t len = sizeof listens;
    assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
    assert_int_equal(listens, 1);
  }
  close_all(fds);
}

static void a_port_of_somebody_else_is_refused_by_name(void **state) {
  (void)state;
  int mine[COUNT], fds[COUNT], port = 0, other = 0, before = 0;
  char why[256] = "";
  assert_int_equal(listen_open("127.0.0.1", 0, COUNT, mine, &port, why), 0);
  before = lowest();
  assert_int_equal(listen_open("127.0.0.1", port, COUNT, fds, &other, why), UV_EADDRINUSE);
  assert_non_null(strstr(why, "SERVER_PORT: cannot listen on 127.0.0.1 port "));
  assert_non_null(strstr(why, "address already in use"));
  assert_int_equal(lowest(), before);
  close_all(mine);
}

static void without_descriptors_it_says_so_and_leaves_nothing_open(void **state) {
  (void)state;
  struct rlimit was, low;
  int fds[COUNT], port = 0, before = lowest();
  char why[256] = "";
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
  for (int room = 0; room < COUNT; room++) {
    low = (struct rlimit){(rlim_t)(before + room), was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int code = listen_open("127.0.0.1", 0, COUNT, fds, &port, why);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(code, UV_EMFILE);
    assert_non_null(strstr(why, "too many open files"));
    assert_int_equal(lowest(), before);
  }
}

/* ---- handed over ---- */

/* Whatever the test's runner has open there is put back. */
static int hand_over(int fd, const char *count, int *kept) {
  char pid[16];
  snprintf(pid, sizeof pid, "%d", (int)getpid());
  *kept = fcntl(3, F_DUPFD_CLOEXEC, 10);
  assert_int_equal(dup2(fd, 3), 3);
  setenv("LISTEN_PID", pid, 1);
  setenv("LISTEN_FDS", count, 1);
  return 3;
}

static void put_back(int kept) {
  close(3);
  if (kept >= 0) {
    dup2(kept, 3);
    close(kept);
  }
}

static void a_socket_that_is_handed_over_serves_all_and_stays_the_managers(void **state) {
  (void)state;
  int mine = 0, fds[COUNT], port = 0, found = 0, kept = 0;
  char why[256] = "";
  assert_int_equal(listen_open("127.0.0.1", 0, 1, &mine, &port, why), 0);
  hand_over(mine, "1", &kept);
  assert_int_equal(listen_handed_over(COUNT, fds, &found, why), 0);
  assert_int_equal(found, port);
  char address[LISTEN_ADDRESS_MAX];
  listen_address(fds[0], address);
  assert_string_equal(address, "127.0.0.1");
  assert_null(getenv("LISTEN_FDS"));
  assert_int_equal(listen_handed_over(COUNT, fds, &found, why), E_MISSING); /* once */
  close_all(fds);
  put_back(kept);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int caller = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(caller, (struct sockaddr *)&at, sizeof at), 0); /* nobody runs, and still no refusal */
  close(caller);
  close(mine);
}

static void what_is_handed_over_has_to_be_one_listening_port(void **state) {
  (void)state;
  int mine = 0, fds[COUNT], port = 0, kept = 0;
  char why[256] = "";
  assert_int_equal(listen_open("127.0.0.1", 0, 1, &mine, &port, why), 0);
  hand_over(mine, "2", &kept);
  assert_int_equal(listen_handed_over(COUNT, fds, &port, why), E_INVALID);
  assert_non_null(strstr(why, "LISTEN_FDS"));
  put_back(kept);
  int plain = socket(AF_INET, SOCK_STREAM, 0);
  hand_over(plain, "1", &kept);
  assert_int_equal(listen_handed_over(COUNT, fds, &port, why), E_INVALID);
  put_back(kept);
  hand_over(mine, "1", &kept);
  setenv("LISTEN_PID", "1", 1); /* meant for another process */
  assert_int_equal(listen_handed_over(COUNT, fds, &port, why), E_MISSING);
  put_back(kept);
  close(plain);
  close(mine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_socket_that_is_handed_over_serves_all_and_stays_the_managers),
                                     cmocka_unit_test(what_is_handed_over_has_to_be_one_listening_port),
                                     cmocka_unit_test(sockets_share_a_port_and_listen),
                                     cmocka_unit_test(a_port_of_somebody_else_is_refused_by_name),
                                     cmocka_unit_test(without_descriptors_it_says_so_and_leaves_nothing_open)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
