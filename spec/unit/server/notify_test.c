/* Promises of core/server/notify.h: who started the server is told, in the words of sd_notify(3); nobody else is, and a
 * manager that does not listen hurts nothing. */
#include "notify.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A manager that listens there; name as NOTIFY_SOCKET has it. */
static int manager_at(const char *name) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  size_t len = strlen(name);
  memcpy(at.sun_path, name, len);
  if (name[0] == '@')
    at.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
  setenv("NOTIFY_SOCKET", name, 1);
  return fd;
}

static void assert_told(int fd, const char *expected) {
  char text[128] = "";
  assert_int_equal(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), strlen(expected));
  assert_string_equal(text, expected);
}

static void a_manager_is_told_at_a_path(void **state) {
  (void)state;
  char dir[] = "/tmp/notify_test_XXXXXX", name[64];
  assert_non_null(mkdtemp(dir));
  snprintf(name, sizeof name, "%s/socket", dir);
  int fd = manager_at(name);
  assert_int_equal(notify_send("READY=1"), 0);
  assert_told(fd, "READY=1");
  close(fd);
  unlink(name);
  rmdir(dir);
  assert_true(notify_send("STOPPING=1") < 0); /* gone: said, and no more */
}

static void a_manager_is_told_in_the_abstract_namespace(void **state) {
  (void)state;
  char name[64];
  snprintf(name, sizeof name, "@notify_test/%d", (int)getpid());
  int fd = manager_at(name);
  assert_int_equal(notify_send("STOPPING=1"), 0);
  assert_told(fd, "STOPPING=1");
  close(fd);
}

static void a_reload_is_dated_and_has_an_end(void **state) {
  (void)state;
  char name[64], text[128] = "";
  unsigned long long us = 0;
  snprintf(name, sizeof name, "@notify_test/reload/%d", (int)getpid());
  int fd = manager_at(name);
  notify_reloading(true);
  assert_true(recv(fd, text, sizeof text - 1, MSG_DONTWAIT) > 0);
  assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
  assert_true(us > 0);
  notify_reloading(false);
  assert_told(fd, "READY=1");
  close(fd);
}

static void nobody_is_told_when_nobody_asked(void **state) {
  (void)state;
  unsetenv("NOTIFY_SOCKET");
  assert_int_equal(notify_send("READY=1"), 0);
  setenv("NOTIFY_SOCKET", "", 1);
  assert_int_equal(notify_send("READY=1"), 0);
  setenv("NOTIFY_SOCKET", "relative", 1);
  assert_int_equal(notify_send("READY=1"), E_INVALID);
  char longest[200];
  memset(longest, 'x', sizeof longest);
  longest[0] = '/', longest[199] = '\0';
  setenv("NOTIFY_SOCKET", longest, 1);
  assert_int_equal(notify_send("READY=1"), E_INVALID);
}

static void the_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_watches(void **state) {
  (void)state;
  char pid[16];
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
  assert_int_equal(notify_watchdog_ms(), 0);
  setenv("WATCHDOG_USEC", "30000000", 1);
  assert_int_equal(notify_watchdog_ms(), 15000);
  snprintf(pid, sizeof pid, "%d", (int)getpid());
  setenv("WATCHDOG_PID", pid, 1);
  assert_int_equal(notify_watchdog_ms(), 15000);
  setenv("WATCHDOG_PID", "1", 1);
  assert_int_equal(notify_watchdog_ms(), 0);
  setenv("WATCHDOG_PID", pid, 1);
  setenv("WATCHDOG_USEC", "nonsense", 1);
  assert_int_equal(notify_watchdog_ms(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_manager_is_told_at_a_path),
    cmocka_unit_test(a_manager_is_told_in_the_abstract_namespace),
    cmocka_unit_test(a_reload_is_dated_and_has_an_end),
    cmocka_unit_test(nobody_is_told_when_nobody_asked),
    cmocka_unit_test(the_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_watches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
