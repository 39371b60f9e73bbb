/* In: connections to the control socket. Out: their commands, and the replies.
 * Why: two parties use the memory of a client: its socket, and whoever still owes it a reply. It is freed when both
 * have let go, so a late reply to a client that hung up is harmless. The calling side is control_call.c. */
#include "control.h"

#include "err.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define WHY_MAX 256
#define SWEEP_MS 1000

struct control_client {
  uv_pipe_t pipe;
  struct control *control;
  struct control_client *next;
  uint64_t since_ms; /* when it was last its turn */
  bool owed;         /* a reply is due: whoever owes it holds the memory */
  bool closed;       /* the socket no longer holds it */
  uv_write_t write;
  char *reply;
  char *failure; /* NULL, or how the reply begins, which is then an error */
  size_t line_len;
  char line[CONTROL_LINE_MAX + 1];
};

struct control {
  uv_pipe_t listener;
  uv_timer_t sweeper;
  int handles; /* of the two above that are open */
  control_command *command;
  void *arg;
  struct control_client *clients;
  size_t client_count; /* those whose memory is still there */
};

/* --- going away --------------------------------------------------------------------------------------------------- */

static void control_free_if_done(struct control *c) {
  if (c->handles == 0 && c->client_count == 0)
    free(c);
}

static void client_free_if_done(struct control_client *client) {
  struct control *c = client->control;
  if (!client->closed || client->owed)
    return;
  struct control_client **link = &c->clients;
  while (*link != client)
    link = &(*link)->next;
  *link = client->next;
  free(client->reply);
  free(client->failure);
  free(client);
  if (--c->client_count == 0 && c->handles > 0)
    uv_timer_stop(&c->sweeper);
  control_free_if_done(c);
}

static void client_on_close(uv_handle_t *handle) {
  struct control_client *client = handle->data;
  client->closed = true;
  client_free_if_done(client);
}

static void client_hang_up(struct control_client *client) {
  if (!uv_is_closing((uv_handle_t *)&client->pipe))
    uv_close((uv_handle_t *)&client->pipe, client_on_close);
}

static void control_on_close(uv_handle_t *handle) {
  struct control *c = handle->data;
  c->handles--;
  control_free_if_done(c);
}

void control_close(struct control *c) {
  if (!c)
    return;
  for (struct control_client *client = c->clients; client; client = client->next)
    client_hang_up(client);
  uv_close((uv_handle_t *)&c->listener, control_on_close); /* removes the socket file too */
  uv_close((uv_handle_t *)&c->sweeper, control_on_close);
}

void control_sweep(struct control *c, uint64_t now_ms) {
  for (struct control_client *client = c->clients; client; client = client->next)
    if (!client->owed && now_ms >= client->since_ms + CONTROL_IDLE_MS)
      client_hang_up(client);
}

static void sweeper_on_tick(uv_timer_t *timer) {
  control_sweep(timer->data, uv_now(timer->loop));
}

/* --- replies ------------------------------------------------------------------------------------------------------ */

static void reply_on_written(uv_write_t *write, int status) {
  (void)status;
  client_hang_up(write->data);
}

static void reply_send(struct control_client *client, bool ok, const char *text) {
  const char *first = client->failure ? client->failure : "", *between = client->failure ? "\n" : "";
  size_t size = strlen(first) + strlen(text) + sizeof "error \n\n";
  size = size < CONTROL_REPLY_MAX ? size : CONTROL_REPLY_MAX;
  client->reply = malloc(size);
  if (!client->reply) {
    client_hang_up(client);
    return;
  }
  size_t len = (size_t)snprintf(client->reply, size - 1, "%s %s%s%s", ok && !client->failure ? "ok" : "error", first,
                                between, text);
  len = len < size - 2 ? len : size - 2;
  if (client->reply[len - 1] != '\n')
    client->reply[len++] = '\n';
  client->since_ms = uv_now(client->pipe.loop);
  client->write.data = client;
  uv_buf_t buf = uv_buf_init(client->reply, (unsigned)len);
  if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buf, 1, reply_on_written) != 0)
    client_hang_up(client);
}

void control_who(const struct control_client *client, char out[CONTROL_WHO_MAX]) {
  struct ucred peer;
  socklen_t len = sizeof peer;
  uv_os_fd_t fd;
  struct passwd entry, *found = NULL;
  char room[1024];
  if (uv_fileno((const uv_handle_t *)&client->pipe, &fd) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
    snprintf(out, CONTROL_WHO_MAX, "control socket"); /* it has hung up */
    return;
  }
  getpwuid_r(peer.uid, &entry, room, sizeof room, &found);
  snprintf(out, CONTROL_WHO_MAX, "%.40s (uid %u)", found ? found->pw_name : "control socket", (unsigned)peer.uid);
}

void control_fail(struct control_client *client, const char *line) {
  free(client->failure);
  client->failure = strdup(line);
}

void control_reply(struct control_client *client, bool ok, const char *text) {
  client->owed = false;
  if (uv_is_closing((uv_handle_t *)&client->pipe))
    client_free_if_done(client);
  else
    reply_send(client, ok, text);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void client_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  struct control_client *client = handle->data;
  *buf = uv_buf_init(client->line + client->line_len, (unsigned)(sizeof client->line - client->line_len));
}

static void client_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct control_client *client = stream->data;
  (void)buf;
  if (n < 0) {
    client_hang_up(client);
    return;
  }
  client->line_len += (size_t)n;
  char *end = memchr(client->line, '\n', client->line_len);
  if (!end && client->line_len <= CONTROL_LINE_MAX)
    return;
  uv_read_stop(stream); /* one command per connection; what else it says does not matter */
  if (!end) {
    reply_send(client, false, "a command has at most 1024 bytes");
    return;
  }
  *end = '\0';
  if (strlen(client->line) != (size_t)(end - client->line)) {
    reply_send(client, false, "a command is text");
    return;
  }
  if (end > client->line && end[-1] == '\r')
    end[-1] = '\0';
  client->owed = true;
  client->control->command(client->control->arg, client, client->line);
}

static void control_on_connection(uv_stream_t *listener, int status) {
  struct control *c = listener->data;
  struct control_client *client = status == 0 ? calloc(1, sizeof *client) : NULL;
  if (!client)
    return;
  client->control = c;
  client->since_ms = uv_now(listener->loop);
  client->pipe.data = client;
  client->next = c->clients;
  c->clients = client;
  if (c->client_count++ == 0)
    uv_timer_start(&c->sweeper, sweeper_on_tick, SWEEP_MS, SWEEP_MS);
  (void)uv_pipe_init(listener->loop, &client->pipe, 0); /* cannot fail on Unix */

  if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0) {
    client_hang_up(client);
  } else if (c->client_count > CONTROL_CLIENTS_MAX) {
    static char busy[] = "error too many clients\n";
    uv_buf_t buf = uv_buf_init(busy, sizeof busy - 1);
    (void)uv_try_write((uv_stream_t *)&client->pipe, &buf, 1);
    client_hang_up(client);
  } else if (uv_read_start((uv_stream_t *)&client->pipe, client_on_alloc, client_on_read) != 0) {
    client_hang_up(client);
  }
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* 0 when the path is free now: nothing was there, or the socket of a server that is no more. */
static int path_clear(const char *path) {
  struct stat st;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (lstat(path, &st) != 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (!S_ISSOCK(st.st_mode))
    return E_CONFLICT;
  if (strlen(path) >= sizeof address.sun_path)
    return UV_ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return uv_translate_sys_error(errno);
  int err = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
  close(fd);
  if (err == 0 || err == EAGAIN) /* EAGAIN: it is alive, and busy */
    return E_BUSY;
  if (err != ECONNREFUSED)
    return uv_translate_sys_error(err);
  return unlink(path) == 0 ? 0 : uv_translate_sys_error(errno);
}

static int socket_open(uv_pipe_t *listener, const char *path) {
  if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
    return UV_ENAMETOOLONG; /* libuv would cut it and listen somewhere else */
  int err = path_clear(path);
  if (err)
    return err;
  mode_t mask = umask(0177); /* before the bind: no moment in which others could connect */
  err = uv_pipe_bind(listener, path);
  umask(mask);
  return err ? err : uv_listen((uv_stream_t *)listener, CONTROL_CLIENTS_MAX, control_on_connection);
}

int control_open(struct uv_loop_s *loop, const char *path, control_command *command, void *arg, struct control **out,
                 char why[WHY_MAX]) {
  *out = NULL;
  struct control *c = calloc(1, sizeof *c);
  int err = UV_ENOMEM;
  if (c) {
    c->command = command;
    c->arg = arg;
    c->listener.data = c->sweeper.data = c;
    c->handles = 2;
    (void)uv_pipe_init(loop, &c->listener, 0); /* cannot fail on Unix, nor can the timer's */
    (void)uv_timer_init(loop, &c->sweeper);
    err = socket_open(&c->listener, path);
  }
  if (err) {
    const char *reason = err == E_BUSY       ? "another server listens there"
                         : err == E_CONFLICT ? "something that is not a socket is in the way"
                                             : err_text(err);
    snprintf(why, WHY_MAX, "CONTROL_SOCKET: %.120s: %.100s", path, reason);
    control_close(c);
    return err;
  }
  *out = c;
  return 0;
}
