/* In: an HTTP request in lines: "METHOD path", then each line by its first character: ? part of the query, & address,
 * @ user, ! a token that does not hold, # the rest is the body, else a header "name: value". In all of it $own and
 * $foreign are ids of conversations: the user's, somebody else's. The real scripts and bindings answer it
 * (support/fuzz_world.h); what net.c promises of a request (core/net/http.h) is kept.
 * Out: an abort when it is not answered exactly once, when the status blames us, when the answer is not the JSON it
 * says it is, when its endpoint is none of the routes, or when its bytes do not end where they say. Why: these
 * endpoints are open to everybody who can connect. */
#include "fuzz_world.h"

#include "frame.h"

#include <jansson.h>

static char *settings[] = {"JWT_SECRET=V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!", "PUBLIC_RATE_LIMIT=1",
                           "METRICS_ALLOWED_NETWORKS=127.0.0.0/8", NULL};

struct input {
  char *text, *at;
};

/* The next line, ended in place; NULL: none. A NUL ends it early, as in all strings of a request. */
static char *take_line(struct input *in) {
  char *line = in->at;
  if (line) {
    char *end = strchr(line, '\n');
    in->at = end ? end + 1 : NULL;
    if (end) {
      *end = 0;
    }
  }
  return line;
}

static void set_target(struct http_request *r, char *line) {
  static const char *const methods[] = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"};
  char *space = strchr(line, ' ');
  r->method = "";
  r->path = space && space[1] == '/' ? space + 1 : "/";
  if (space) {
    *space = 0;
  }
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    r->method = strcmp(line, methods[i]) == 0 ? methods[i] : r->method;
  }
}

static void add_header(struct http_request *r, char *line) {
  char *colon = strstr(line, ": ");
  if (colon && r->header_count < HTTP_HEADERS_MAX) {
    *colon = 0;
    r->headers[r->header_count++] = (struct http_header){line, colon + 2};
  }
}

static void set_user(struct http_request *r, const char *user) {
  if (!r->identity && *user && strlen(user) <= TOKEN_USER_MAX && frame_utf8_valid(user, strlen(user))) {
    const char *roles[] = {"user", "admin"};
    r->identity = identity_new(user, user, roles, user[strlen(user) - 1] == '!' ? 2 : 1, 0);
    r->auth = HTTP_AUTH_OK;
  }
}

static void fill(struct http_request *r, struct input *in) {
  char *line = take_line(in);
  *r = (struct http_request){.address = "127.0.0.1", .body = ""};
  for (set_target(r, line); (line = take_line(in));) {
    switch (*line) {
    case '?':
      if (r->query_count < HTTP_QUERY_MAX) {
        r->query[r->query_count++] = line + 1;
      }
      break;
    case '&':
      r->address = line + 1;
      break;
    case '@':
      set_user(r, line + 1);
      break;
    case '!':
      r->auth = r->identity ? HTTP_AUTH_OK : HTTP_AUTH_INVALID;
      break;
    case '#':
      r->body = in->at ? in->at : "";
      r->body_len = strlen(r->body);
      return;
    default:
      add_header(r, line);
    }
  }
}

/* ---- the answer ---- */

static void check_bytes(const struct request *r) {
  struct http_response res = {.status = r->status,
                              .type = r->type,
                              .body = r->body,
                              .body_len = r->body_len,
                              .endpoint = r->endpoint,
                              .header_count = r->header_count};
  for (size_t i = 0; i < r->header_count; i++) {
    res.headers[i] = (struct http_header){r->headers[2 * i], r->headers[2 * i + 1]};
  }
  struct http_frame frame = {.head = strcmp(r->http.method, "HEAD") == 0};
  size_t len, length = 0;
  char *bytes = http_render(&res, &frame, 0, &len);
  char *end = memmem(bytes, len, "\r\n\r\n", 4), *says = memmem(bytes, len, "Content-Length: ", 16);
  check(end && says && says < end && sscanf(says, "Content-Length: %zu", &length) == 1, "no head");
  check(length == r->body_len && (size_t)(end + 4 - bytes) + (frame.head ? 0 : length) == len, "ends somewhere else");
  free(bytes);
}

static void check_answer(const struct request *r) {
  static const char *const endpoints[] = {"",
                                          "/chatbox/admin/metrics",
                                          "/chatbox/admin/scripts",
                                          "/chatbox/admin/scripts/promote",
                                          "/chatbox/admin/scripts/reload",
                                          "/chatbox/admin/scripts/rollback",
                                          "/chatbox/admin/sessions",
                                          "/chatbox/admin/takeover/:id",
                                          "/chatbox/admin/users/:id/sessions",
                                          "/chatbox/asyncapi.json",
                                          "/chatbox/healthz",
                                          "/chatbox/metrics/prometheus",
                                          "/chatbox/openapi.json",
                                          "/chatbox/readyz",
                                          "/chatbox/sessions",
                                          "/chatbox/sessions/:id",
                                          "/chatbox/sessions/:id/end",
                                          "/chatbox/sessions/:id/share",
                                          "/chatbox/shared/:token"};
  check(r->answered, "no answer");
  check((r->status >= 200 && r->status < 500) || r->status == 503, "status %d: %.*s", r->status, (int)r->body_len,
        r->body);
  bool known = false;
  for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
    known = known || strcmp(r->endpoint ? r->endpoint : "", endpoints[i]) == 0;
  }
  check(known, "endpoint %s", r->endpoint);
  if (!r->type || strstr(r->type, "json")) {
    json_t *doc = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    check(doc && (r->status < 400 || json_object_get(doc, "error") || json_object_get(doc, "checks")),
          "status %d, not its JSON: %.*s", r->status, (int)r->body_len, r->body);
    json_decref(doc);
  }
  check_bytes(r);
}

/* A user's conversation in which something was said. */
static void converse(struct world *w, const char *user, char id[STORE_ID_LEN + 1]) {
  static const char said[] =
    "{\"type\":\"user_message\",\"content\":\"said \\u0000 \\\" \\u00fc\",\"metadata\":{\"a\":\"b\"}}";
  struct identity *who = identity_new(user, user, NULL, 0, 0);
  struct client *c = client_new(w, who, "");
  identity_unref(who);
  snprintf(id, STORE_ID_LEN + 1, "%s", session_id(conn_session(c->conn)));
  put_or_refuse(c, said, sizeof said - 1, (struct conn_refusal){0});
  world_settle(w);
}

static void ask(struct world *w, const uint8_t *data, size_t size, const struct fuzz_word *words) {
  size_t len;
  struct input in;
  in.at = in.text = fuzz_text((const char *)data, size < FUZZ_INPUT_MAX ? size : FUZZ_INPUT_MAX, words, &len);
  struct request *r = calloc(1, sizeof *r);
  r->texts = in.text;
  r->next = w->requests;
  w->requests = r;
  fill(&r->http, &in);
  vm_http(scripts_vm(w->scripts, 0), &r->http);
  world_settle(w);
  check_answer(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned users;
  struct world *w = fuzz_world(settings);
  char own[STORE_ID_LEN + 1], foreign[STORE_ID_LEN + 1], user[32], stranger[32];
  snprintf(user, sizeof user, "user-%u", users);
  snprintf(stranger, sizeof stranger, "stranger-%u", users++);
  const struct fuzz_word words[] = {{"$own", own}, {"$foreign", foreign}, {"$user", user}, {"", NULL}};
  converse(w, user, own);
  converse(w, stranger, foreign);
  ask(w, data, size, words);
  ask(w, data, size, words); /* what is limited is refused now; what was ended stays ended */
  fuzz_world_check(w);
  return 0;
}
