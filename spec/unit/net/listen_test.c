/* What core/net/listen.c promises: as many sockets as asked for on one port that nobody else has, or a code and a line
 * that names the setting, and then nothing is left open. */
#include "listen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sockets_share_a_port_and_listen),
                                     cmocka_unit_test(a_port_of_somebody_else_is_refused_by_name),
                                     cmocka_unit_test(without_descriptors_it_says_so_and_leaves_nothing_open)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
