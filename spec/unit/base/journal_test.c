/* In: events, and a journal that reads, does not read, or is gone. Out: the promise that the journal knows each field
 * of an event, that no value forges another field, and that who logs never waits for it. The journal is the test's own
 * socket. */
#include "journal.h"

#include "err.h"
#include "folder.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <uv.h>

enum { PATIENCE_MS = 60000, RING = 64 << 10 };

static struct folder folder;
static char path[96], record[1 << 16];
static int socket_of_journal = -1, terminal, captured;

static int open_journal(void **state) {
  (void)state;
  folder_open(&folder);
  snprintf(path, sizeof path, "%s/socket", folder.path);
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  strcpy(at.sun_path, path);
  socket_of_journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  char name[96];
  snprintf(name, sizeof name, "%s/stderr", folder.path);
  terminal = dup(STDERR_FILENO);
  captured = open(name, O_RDWR | O_CREAT | O_APPEND, 0600);
  log_setup(LOG_INFO, false);
  int code = bind(socket_of_journal, (struct sockaddr *)&at, sizeof at) || dup2(captured, STDERR_FILENO) < 0;
  log_journal(path);
  return code;
}

static int close_journal(void **state) {
  (void)state;
  log_journal(NULL);
  dup2(terminal, STDERR_FILENO);
  close(terminal);
  close(captured);
  if (socket_of_journal >= 0)
    close(socket_of_journal);
  folder_remove(&folder);
  return 0;
}

/* The next datagram; NULL: there is none. */
static const char *heard(void) {
  ssize_t n = recv(socket_of_journal, record, sizeof record - 1, MSG_DONTWAIT);
  record[n > 0 ? n : 0] = '\0';
  return n > 0 ? record : NULL;
}

static const char *on_standard_error(void) {
  ssize_t n = pread(captured, record, sizeof record - 1, 0);
  record[n > 0 ? n : 0] = '\0';
  return record;
}

static void the_journal_knows_each_field_and_how_urgent_it_is(void **state) {
  (void)state;
  LOG(LOG_WARN, "net", "it was slow", LSTR("user", "alice smith"), LINT("port", -80));
  assert_string_equal(heard(), "MESSAGE=component=net msg=\"it was slow\" user=\"alice smith\" port=-80\n"
                               "PRIORITY=4\nSYSLOG_IDENTIFIER=chatbox\nCHATBOX_COMPONENT=net\n"
                               "CHATBOX_MSG=it was slow\nCHATBOX_USER=alice smith\nCHATBOX_PORT=-80\n\n");
  assert_string_equal(on_standard_error(), "");
}

static void a_value_cannot_forge_a_field_and_quotes_stay_quotes(void **state) {
  (void)state;
  LOG(LOG_INFO, "net", "x", LSTR("user", "a\nPRIORITY=0\n\n_UID=0\r\x1b[31m"), LSTR("said", "\"c:\\d\""),
      LSTR("user=b\nX", "\xff"));
  const char *all = heard();
  assert_non_null(strstr(all, "\nCHATBOX_USER=a\\nPRIORITY=0\\n\\n_UID=0\\r\\u001b[31m\n"));
  assert_non_null(strstr(all, "\nCHATBOX_SAID=\"c:\\d\"\n"));
  assert_non_null(strstr(all, "\nCHATBOX_USER_B_X=\\xff\n\n"));
  assert_null(strstr(all, "\nPRIORITY=0"));
  assert_null(strstr(all, "\n_UID"));
}

static void a_long_value_is_cut_and_marked(void **state) {
  (void)state;
  static char value[20000];
  memset(value, 'x', sizeof value - 1);
  LOG(LOG_INFO, "net", "first", LSTR("value", value), LSTR("after", "y"));
  const char *all = heard();
  assert_in_range(strlen(all), 6000, 8192);
  assert_non_null(strstr(all, " truncated=true\nPRIORITY=6\n"));
  assert_string_equal(all + strlen(all) - 22, "\nCHATBOX_TRUNCATED=1\n\n");
  LOG(LOG_INFO, "net", "next");
  assert_non_null(strstr(heard(), "CHATBOX_MSG=next\n\n"));
}

static void each_entry_is_a_datagram_of_its_own_whatever_the_writer_does(void **state) {
  (void)state;
  assert_int_equal(log_start(RING), 0);
  for (int i = 0; i < 5; i++)
    LOG(LOG_INFO, "net", "one", LINT("i", i));
  char field[32];
  for (int i = 0; i < 5; i++) {
    struct pollfd p = {.fd = socket_of_journal, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    snprintf(field, sizeof field, "CHATBOX_I=%d\n\n", i);
    const char *all = heard();
    assert_ptr_equal(strstr(all, "\n\n"), all + strlen(all) - 2);
    assert_non_null(strstr(all, field));
  }
  log_stop(PATIENCE_MS);
}

static void a_journal_that_does_not_read_stops_nobody_and_hears_how_much_it_missed(void **state) {
  (void)state;
  enum { ENTRIES = 5000 };
  assert_int_equal(log_start(RING), 0);
  for (int i = 0; i < ENTRIES; i++)
    LOG(LOG_INFO, "net", "one", LINT("i", i));
  int entries = 0;
  long missed = -1;
  for (struct pollfd p = {.fd = socket_of_journal, .events = POLLIN}; missed < 0; entries++) {
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    const char *count = strstr(heard(), "\nCHATBOX_COUNT=");
    missed = count ? strtol(count + strlen("\nCHATBOX_COUNT="), NULL, 10) : -1;
  }
  assert_int_equal(entries - 1 + missed, ENTRIES);
  assert_true(missed > 0);
  log_stop(PATIENCE_MS);
}

static void a_journal_that_never_reads_does_not_keep_the_program_from_ending(void **state) {
  (void)state;
  assert_int_equal(log_start(RING), 0);
  for (int i = 0; i < 1000; i++)
    LOG(LOG_INFO, "net", "one");
  log_stop(10);
  assert_non_null(heard());
}

static void without_a_journal_the_message_goes_to_standard_error(void **state) {
  (void)state;
  close(socket_of_journal);
  socket_of_journal = -1;
  LOG(LOG_ERROR, "net", "where are you", LINT("i", 7));
  assert_string_equal(on_standard_error(), "component=net msg=\"where are you\" i=7\n");
  log_journal("/nowhere/socket");
  LOG(LOG_ERROR, "net", "still");
  assert_non_null(strstr(on_standard_error(), " level=error component=net msg=\"still\"\n"));
}

static void what_waits_is_told_when_the_program_dies(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    if (log_start(RING))
      _exit(1);
    for (int i = 0; i < 3; i++)
      LOG(LOG_INFO, "net", "last words", LINT("i", i));
    abort();
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  for (int i = 0; i < 3; i++)
    assert_non_null(heard());
}

static void json_is_the_message_when_it_is_asked_for(void **state) {
  (void)state;
  log_setup(LOG_INFO, true);
  log_journal(path);
  LOG(LOG_INFO, "net", "x", LINT("i", 1));
  const char *all = heard();
  assert_memory_equal(all, "MESSAGE={\"time\":", strlen("MESSAGE={\"time\":"));
  assert_non_null(strstr(all, "\"i\":1}\nPRIORITY=6\n"));
}

static void only_what_the_environment_names_is_the_journal(void **state) {
  (void)state;
  struct stat st;
  char stream[64];
  assert_int_equal(fstat(captured, &st), 0);
  static const struct {
    const char *form;
    bool is;
  } cases[] = {{"%ju:%ju", true},   {"%ju:1%ju", false}, {"1%ju:%ju", false},
               {"%ju:%jux", false}, {"%ju", false},      {":", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(stream, sizeof stream, cases[i].form, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
#pragma GCC diagnostic pop
    setenv("JOURNAL_STREAM", stream, 1);
    assert_int_equal(journal_is(captured), cases[i].is);
  }
  unsetenv("JOURNAL_STREAM");
  assert_false(journal_is(captured));
  assert_true(journal_open("/nowhere/socket") < 0);
}

int main(void) {
#define WITH_JOURNAL(f) cmocka_unit_test_setup_teardown(f, open_journal, close_journal)
  const struct CMUnitTest tests[] = {
    WITH_JOURNAL(the_journal_knows_each_field_and_how_urgent_it_is),
    WITH_JOURNAL(a_value_cannot_forge_a_field_and_quotes_stay_quotes),
    WITH_JOURNAL(a_long_value_is_cut_and_marked),
    WITH_JOURNAL(each_entry_is_a_datagram_of_its_own_whatever_the_writer_does),
    WITH_JOURNAL(a_journal_that_does_not_read_stops_nobody_and_hears_how_much_it_missed),
    WITH_JOURNAL(a_journal_that_never_reads_does_not_keep_the_program_from_ending),
    WITH_JOURNAL(without_a_journal_the_message_goes_to_standard_error),
    WITH_JOURNAL(what_waits_is_told_when_the_program_dies),
    WITH_JOURNAL(json_is_the_message_when_it_is_asked_for),
    WITH_JOURNAL(only_what_the_environment_names_is_the_journal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
