/* Promises of core/server/control.h, over real sockets in a folder of their own: one command, one reply, and nobody can
 * wedge it. */
#include "control.h"
#include "err.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <uv.h>

struct world {
  uv_loop_t loop;
  char folder[32], path[64], why[256];
  struct control *control;
  int commands;                /* how many came */
  char line[2048];             /* the last one */
  struct control_client *owed; /* who asked it, while `answer` is NULL */
  const char *answer;
  bool ok;
};

/* --- helpers ------------------------------------------------------------------------------------------------------ */

static void on_command(void *arg, struct control_client *who, const char *line) {
  struct world *w = arg;
  w->commands++;
  snprintf(w->line, sizeof w->line, "%s", line);
  if (w->answer)
    control_reply(who, w->ok, w->answer);
  else
    w->owed = who;
}

static int world_setup(void **state) {
  struct world *w = calloc(1, sizeof *w);
  signal(SIGPIPE, SIG_IGN);
  strcpy(w->folder, "/tmp/control_test_XXXXXX");
  if (!mkdtemp(w->folder) || uv_loop_init(&w->loop) != 0)
    return 1;
  snprintf(w->path, sizeof w->path, "%s/c.sock", w->folder);
  w->answer = "fine";
  w->ok = true;
  *state = w;
  return control_open(&w->loop, w->path, on_command, w, &w->control, w->why);
}

static int world_teardown(void **state) {
  struct world *w = *state;
  control_close(w->control);
  uv_run(&w->loop, UV_RUN_DEFAULT);
  int leftover = uv_loop_close(&w->loop);
  unlink(w->path);
  rmdir(w->folder);
  free(w);
  return leftover;
}

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(a.sun_path, path);
  return a;
}

static int client_connect(const struct world *w) {
  struct sockaddr_un a = address_of(w->path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
  return fd;
}

static void client_say(int fd, const char *bytes, size_t len) {
  assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Runs the server until it hangs up on fd; what it said, static. Closes fd. */
static const char *client_hear(struct world *w, int fd) {
  static char text[CONTROL_REPLY_MAX + 2];
  size_t len = 0;
  for (;;) {
    ssize_t n = recv(fd, text + len, sizeof text - 1 - len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
      break;
    if (n < 0)
      uv_run(&w->loop, UV_RUN_ONCE);
    else
      len += (size_t)n;
  }
  close(fd);
  text[len] = '\0';
  return text;
}

static void run_until_owed(struct world *w) {
  while (!w->owed)
    uv_run(&w->loop, UV_RUN_ONCE);
}

static const char *ask(struct world *w, const char *line) {
  int fd = client_connect(w);
  client_say(fd, line, strlen(line));
  return client_hear(w, fd);
}

/* control_call in a thread of its own, while the loop serves. */
struct call {
  const struct world *w;
  const char *line;
  int limit_ms, err;
  char *text, why[256];
  uv_async_t done;
  bool over;
};

static void call_thread(void *arg) {
  struct call *call = arg;
  size_t len;
  FILE *out = open_memstream(&call->text, &len);
  call->err = call->limit_ms ? control_call_within(call->w->path, call->line, out, call->limit_ms, call->why)
                             : control_call(call->w->path, call->line, out, call->why);
  fclose(out);
  uv_async_send(&call->done);
}

static void call_over(uv_async_t *async) {
  ((struct call *)async->data)->over = true;
  uv_close((uv_handle_t *)async, NULL);
}

/* The text it printed is call->text, the caller frees. */
static void call_start(struct world *w, struct call *call, uv_thread_t *thread) {
  call->w = w;
  call->done.data = call;
  assert_int_equal(uv_async_init(&w->loop, &call->done, call_over), 0);
  assert_int_equal(uv_thread_create(thread, call_thread, call), 0);
}

static void call_finish(struct world *w, struct call *call, uv_thread_t *thread) {
  while (!call->over)
    uv_run(&w->loop, UV_RUN_ONCE);
  uv_run(&w->loop, UV_RUN_NOWAIT); /* the close call-back of `done` */
  uv_thread_join(thread);
}

static void call_run(struct world *w, struct call *call) {
  uv_thread_t thread;
  call_start(w, call, &thread);
  call_finish(w, call, &thread);
}

/* --- commands and replies ----------------------------------------------------------------------------------------- */

static void a_command_gets_its_reply(void **state) {
  struct world *w = *state;
  struct call call = {.line = "reload now"};
  w->answer = "generation 2";
  call_run(w, &call);
  assert_int_equal(call.err, 0);
  assert_string_equal(call.text, "generation 2\n");
  assert_string_equal(w->line, "reload now");
  free(call.text);
}

static void an_error_of_many_lines_arrives_whole(void **state) {
  struct world *w = *state;
  struct call call = {.line = "reload"};
  w->ok = false;
  w->answer = "echo.lua:3: unexpected symbol\nechoing stays at generation 1\n";
  call_run(w, &call);
  assert_int_equal(call.err, E_INVALID);
  assert_string_equal(call.text, w->answer);
  assert_non_null(strstr(call.why, "answered with an error"));
  free(call.text);
}

static void on_the_wire_a_reply_is_ok_or_error_and_ends_with_the_close(void **state) {
  struct world *w = *state;
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
  assert_string_equal(ask(w, "x\r\n"), "ok fine\n");
  assert_string_equal(w->line, "x");
  assert_string_equal(ask(w, "one\ntwo\n"), "ok fine\n");
  assert_string_equal(w->line, "one");
  w->ok = false;
  assert_string_equal(ask(w, "x\n"), "error fine\n");
  assert_int_equal(w->commands, 4);
}

static void a_reply_may_come_later(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  int fd = client_connect(w);
  client_say(fd, "rel", 3);
  uv_run(&w->loop, UV_RUN_ONCE);
  assert_int_equal(w->commands, 0);
  client_say(fd, "oad\n", 4);
  run_until_owed(w);
  assert_string_equal(w->line, "reload");
  control_reply(w->owed, true, "later");
  assert_string_equal(client_hear(w, fd), "ok later\n");
}

static void a_command_that_failed_in_part_is_an_error_that_says_all(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  int fd = client_connect(w);
  client_say(fd, "reload\n", 7);
  run_until_owed(w);
  control_fail(w->owed, "a key file is damaged");
  control_reply(w->owed, true, "fine");
  assert_string_equal(client_hear(w, fd), "error a key file is damaged\nfine\n");
}

static void whoever_commands_has_a_name(void **state) {
  struct world *w = *state;
  char who[CONTROL_WHO_MAX], uid[32];
  w->answer = NULL;
  int fd = client_connect(w);
  client_say(fd, "reload\n", 7);
  run_until_owed(w);
  control_who(w->owed, who);
  snprintf(uid, sizeof uid, " (uid %u)", (unsigned)getuid());
  assert_non_null(strstr(who, uid));
  assert_ptr_not_equal(who, strstr(who, uid)); /* there is a name in front of it */
  control_reply(w->owed, true, "fine");
  assert_string_equal(client_hear(w, fd), "ok fine\n");
}

static void a_reply_to_somebody_who_hung_up_is_harmless(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) { /* more than there are places: each is given back */
    int fd = client_connect(w);
    client_say(fd, "reload\n", 7);
    close(fd);
    w->owed = NULL;
    run_until_owed(w);
    control_reply(w->owed, true, "nobody there");
    uv_run(&w->loop, UV_RUN_NOWAIT);
    uv_run(&w->loop, UV_RUN_NOWAIT);
  }
  w->answer = "fine";
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
}

static void a_reply_after_the_close_is_harmless(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  struct call call = {.line = "reload"};
  uv_thread_t thread;
  call_start(w, &call, &thread);
  run_until_owed(w);
  control_close(w->control);
  w->control = NULL;
  call_finish(w, &call, &thread);
  assert_int_equal(call.err, E_GONE);
  assert_non_null(strstr(call.why, "hung up without an answer"));
  assert_string_equal(call.text, "");
  free(call.text);
  control_reply(w->owed, true, "too late");
}

static void a_client_who_leaves_before_its_line_is_forgotten(void **state) {
  struct world *w = *state;
  for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) {
    int fd = client_connect(w);
    client_say(fd, "rel", 3);
    shutdown(fd, SHUT_WR);
    assert_string_equal(client_hear(w, fd), "");
  }
  assert_int_equal(w->commands, 0);
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void a_line_has_at_most_1_kib(void **state) {
  struct world *w = *state;
  char line[CONTROL_LINE_MAX + 3];
  memset(line, 'a', sizeof line);
  line[CONTROL_LINE_MAX] = '\n';
  line[CONTROL_LINE_MAX + 1] = '\0';
  assert_string_equal(ask(w, line), "ok fine\n");
  assert_int_equal(strlen(w->line), CONTROL_LINE_MAX);
  line[CONTROL_LINE_MAX] = 'a';
  assert_string_equal(ask(w, line), "error a command has at most 1024 bytes\n");
  assert_int_equal(w->commands, 1);
  char why[256];
  assert_int_equal(control_call(w->path, line, stdout, why), UV_EINVAL);
  assert_int_equal(control_call(w->path, "a\nb", stdout, why), UV_EINVAL);
}

static void a_line_is_text(void **state) {
  struct world *w = *state;
  int fd = client_connect(w);
  client_say(fd, "re\0load\n", 8);
  assert_string_equal(client_hear(w, fd), "error a command is text\n");
  assert_int_equal(w->commands, 0);
}

static void a_reply_has_at_most_64_kib(void **state) {
  struct world *w = *state;
  char *text = malloc(2 * CONTROL_REPLY_MAX);
  memset(text, 'a', 2 * CONTROL_REPLY_MAX - 1);
  text[2 * CONTROL_REPLY_MAX - 1] = '\0';
  w->answer = text;
  struct call call = {.line = "x"};
  call_run(w, &call);
  assert_int_equal(call.err, 0);
  assert_in_range(strlen(call.text), CONTROL_REPLY_MAX - 16, CONTROL_REPLY_MAX);
  assert_int_equal(call.text[strlen(call.text) - 1], '\n');
  free(call.text);
  free(text);
}

static void the_ninth_client_is_told_so_and_a_free_place_is_given_again(void **state) {
  struct world *w = *state;
  int fds[CONTROL_CLIENTS_MAX];
  for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
    fds[i] = client_connect(w);
  assert_string_equal(client_hear(w, client_connect(w)), "error too many clients\n");
  client_say(fds[0], "x\n", 2);
  assert_string_equal(client_hear(w, fds[0]), "ok fine\n");
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
  for (int i = 1; i < CONTROL_CLIENTS_MAX; i++)
    close(fds[i]);
}

static void who_says_nothing_for_10_s_is_dropped(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  int waiting = client_connect(w), silent = client_connect(w);
  client_say(waiting, "reload\n", 7);
  client_say(silent, "rel", 3);
  run_until_owed(w);
  uv_run(&w->loop, UV_RUN_NOWAIT);
  control_sweep(w->control, uv_now(&w->loop) + CONTROL_IDLE_MS - 1000);
  uv_run(&w->loop, UV_RUN_NOWAIT);
  char byte;
  assert_int_equal(recv(silent, &byte, 1, MSG_DONTWAIT), -1); /* still there */
  control_sweep(w->control, uv_now(&w->loop) + CONTROL_IDLE_MS);
  assert_string_equal(client_hear(w, silent), "");
  control_reply(w->owed, true, "waiting is not idling");
  assert_string_equal(client_hear(w, waiting), "ok waiting is not idling\n");
}

static void a_mute_server_does_not_hold_the_caller_for_ever(void **state) {
  struct world *w = *state;
  w->answer = NULL;
  struct call call = {.line = "x", .limit_ms = 30};
  call_run(w, &call);
  assert_int_equal(call.err, UV_ETIMEDOUT);
  free(call.text);
  if (w->owed)
    control_reply(w->owed, true, "");
}

/* --- the socket file ---------------------------------------------------------------------------------------------- */

static void only_the_owner_may_open_the_socket(void **state) {
  struct world *w = *state;
  struct stat st;
  assert_int_equal(lstat(w->path, &st), 0);
  assert_true(S_ISSOCK(st.st_mode));
  assert_int_equal(st.st_mode & 0777, 0600);
  mode_t mask = umask(022);
  umask(mask);
  assert_int_not_equal(mask, 0177); /* it was given back */
}

static void the_socket_of_a_live_server_is_left_alone(void **state) {
  struct world *w = *state;
  struct control *second = NULL;
  char why[256];
  assert_int_equal(control_open(&w->loop, w->path, on_command, w, &second, why), E_BUSY);
  assert_null(second);
  assert_non_null(strstr(why, w->path));
  assert_non_null(strstr(why, "another server"));
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
}

static void the_socket_of_a_dead_server_is_replaced(void **state) {
  struct world *w = *state;
  control_close(w->control);
  w->control = NULL;
  uv_run(&w->loop, UV_RUN_DEFAULT);
  assert_int_equal(access(w->path, F_OK), -1); /* a close removes it */
  struct sockaddr_un a = address_of(w->path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* what a crash leaves */
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(fd, 1), 0);
  close(fd);
  assert_int_equal(access(w->path, F_OK), 0);
  char why[256];
  assert_int_equal(control_call(w->path, "x", stdout, why), UV_ECONNREFUSED);
  assert_non_null(strstr(why, "no server is running there"));
  assert_int_equal(control_open(&w->loop, w->path, on_command, w, &w->control, w->why), 0);
  assert_string_equal(ask(w, "x\n"), "ok fine\n");
}

static void a_file_that_is_no_socket_is_never_removed(void **state) {
  struct world *w = *state;
  char path[80], why[256];
  snprintf(path, sizeof path, "%s.txt", w->path);
  FILE *precious = fopen(path, "w");
  assert_non_null(precious);
  fclose(precious);
  struct control *second = NULL;
  assert_int_equal(control_open(&w->loop, path, on_command, w, &second, why), E_CONFLICT);
  assert_int_equal(access(path, F_OK), 0);
  unlink(path);
}

static void a_path_that_cannot_be_is_refused(void **state) {
  struct world *w = *state;
  struct control *second = NULL;
  char why[256], path[160];
  memset(path, 'x', sizeof path);
  path[0] = '/';
  path[108] = '\0';
  assert_int_equal(control_open(&w->loop, path, on_command, w, &second, why), UV_ENAMETOOLONG);
  assert_int_equal(control_call(path, "x", stdout, why), UV_ENAMETOOLONG);
  assert_int_not_equal(control_open(&w->loop, "/nonexistent/c.sock", on_command, w, &second, why), 0);
  assert_null(second);
  assert_int_equal(control_call("/nonexistent/c.sock", "x", stdout, why), UV_ENOENT);
  assert_non_null(strstr(why, "/nonexistent/c.sock: no server is running there"));
}

#define TEST(promise) cmocka_unit_test_setup_teardown(promise, world_setup, world_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(a_command_gets_its_reply),
    TEST(an_error_of_many_lines_arrives_whole),
    TEST(on_the_wire_a_reply_is_ok_or_error_and_ends_with_the_close),
    TEST(a_reply_may_come_later),
    TEST(a_command_that_failed_in_part_is_an_error_that_says_all),
    TEST(whoever_commands_has_a_name),
    TEST(a_reply_to_somebody_who_hung_up_is_harmless),
    TEST(a_reply_after_the_close_is_harmless),
    TEST(a_client_who_leaves_before_its_line_is_forgotten),
    TEST(a_line_has_at_most_1_kib),
    TEST(a_line_is_text),
    TEST(a_reply_has_at_most_64_kib),
    TEST(the_ninth_client_is_told_so_and_a_free_place_is_given_again),
    TEST(who_says_nothing_for_10_s_is_dropped),
    TEST(a_mute_server_does_not_hold_the_caller_for_ever),
    TEST(only_the_owner_may_open_the_socket),
    TEST(the_socket_of_a_live_server_is_left_alone),
    TEST(the_socket_of_a_dead_server_is_replaced),
    TEST(a_file_that_is_no_socket_is_never_removed),
    TEST(a_path_that_cannot_be_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
