/* In: the headers of a request. Out: an upgrade, or the refusal as the reference writes it.
 * Why: the transport's own checks are lax and its answers HTTP/1.0, so whether a connection may become a WebSocket is
 * the gate's to say, and the answer is written as bytes of our own. */
#include "net_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

char *net_header(struct lws *wsi, enum lws_token_indexes token) {
  int len = lws_hdr_total_length(wsi, token);
  char *value = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (value && lws_hdr_copy(wsi, value, len + 1, token) < 0) {
    free(value);
    value = NULL;
  }
  return value;
}

char *net_custom_header(struct lws *wsi, const char *name) {
  int name_len = (int)strlen(name);
  int len = lws_hdr_custom_length(wsi, name, name_len);
  char *value = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (value && lws_hdr_custom_copy(wsi, value, len + 1, name, name_len) < 0) {
    free(value);
    value = NULL;
  }
  return value;
}

/* One "name=value" of the query, percent-decoded; NULL behind the last. */
char *net_query_part(struct lws *wsi, int i) {
  int len = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i);
  char *part = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (part && lws_hdr_copy_fragment(wsi, part, len + 1, WSI_TOKEN_HTTP_URI_ARGS, i) < 0) {
    free(part);
    part = NULL;
  }
  return part;
}

static char *query_value(struct lws *wsi, const char *name) {
  size_t name_len = strlen(name);
  for (int i = 0; i < HTTP_QUERY_MAX; i++) {
    char *part = net_query_part(wsi, i);
    if (!part) {
      return NULL;
    }
    if (strncmp(part, name, name_len) == 0 && part[name_len] == '=') {
      memmove(part, part + name_len + 1, strlen(part + name_len + 1) + 1);
      return part;
    }
    free(part);
  }
  return NULL;
}

const char *net_method(struct lws *wsi) {
  static const struct {
    enum lws_token_indexes token;
    const char *name;
  } methods[] = {{WSI_TOKEN_GET_URI, "GET"},         {WSI_TOKEN_POST_URI, "POST"},     {WSI_TOKEN_HEAD_URI, "HEAD"},
                 {WSI_TOKEN_OPTIONS_URI, "OPTIONS"}, {WSI_TOKEN_PUT_URI, "PUT"},       {WSI_TOKEN_PATCH_URI, "PATCH"},
                 {WSI_TOKEN_DELETE_URI, "DELETE"},   {WSI_TOKEN_HTTP_COLON_METHOD, ""}};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    if (lws_hdr_total_length(wsi, methods[i].token)) {
      return methods[i].name;
    }
  }
  return "";
}

void gate_headers(struct lws *wsi, struct gate_headers *h) {
  h->values[0] = net_header(wsi, WSI_TOKEN_HOST);
  h->values[1] = net_header(wsi, WSI_TOKEN_ORIGIN);
  h->values[2] = net_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
  h->values[3] = query_value(wsi, "token");
  h->values[4] = net_header(wsi, WSI_TOKEN_UPGRADE);
  h->values[5] = net_header(wsi, WSI_TOKEN_CONNECTION);
  h->values[6] = net_header(wsi, WSI_TOKEN_VERSION);
  h->values[7] = net_header(wsi, WSI_TOKEN_KEY);
  h->r = (struct gate_request){.method = net_method(wsi),
                               .host = h->values[0],
                               .origin = h->values[1],
                               .authorization = h->values[2],
                               .token = h->values[3],
                               .upgrade = h->values[4],
                               .connection = h->values[5],
                               .version = h->values[6],
                               .key = h->values[7]};
}

void gate_headers_free(struct gate_headers *h) {
  for (size_t i = 0; i < sizeof h->values / sizeof *h->values; i++) {
    free(h->values[i]);
  }
}

const char *net_below_prefix(const struct net *n, const char *path) {
  if (strncmp(path, n->prefix, n->prefix_len) != 0) {
    return NULL;
  }
  const char *rest = path + n->prefix_len;
  return *rest == '/' || *rest == 0 ? rest : NULL;
}

char *net_path(struct lws *wsi) {
  char *uri = NULL;
  int len = 0;
  if (lws_http_get_uri_and_method(wsi, &uri, &len) < 0 || !uri) {
    return strdup("/");
  }
  return strndup(uri, (size_t)len);
}

int64_t net_now_s(const struct net *n) {
  return (int64_t)(worker_wall_ms(n->worker) / 1000);
}

/* ---- the handshake ---- */

static int write_refusal(struct peer *p, const struct gate_refusal *no, const char *cors) {
  struct http_response res = {.status = no->status,
                              .type = "text/plain; charset=utf-8",
                              .body = no->body,
                              .body_len = strlen(no->body),
                              .header_count = no->version_header,
                              .headers = {{"Sec-Websocket-Version", "13"}}};
  struct http_frame frame = {.cors_origin = cors};
  size_t len;
  char *bytes = http_render(&res, &frame, LWS_PRE, &len);
  if (!bytes) {
    return -1;
  }
  int written = lws_write(p->wsi, (unsigned char *)bytes + LWS_PRE, len, LWS_WRITE_HTTP_HEADERS);
  free(bytes);
  return written < (int)len ? -1 : 1; /* 1: answered, the connection may ask again */
}

static void tell_user_limit(struct net *n, const struct identity *who) {
  static const char text[] =
    "{\"type\":\"notification\",\"content\":\"Connection limit reached. You have reached the maximum number of "
    "simultaneous connections. Close an existing connection to open a new one.\",\"sender\":\"system\","
    "\"timestamp\":\"%s\"}";
  char stamp[32], out[512];
  time_t now = (time_t)(worker_wall_ms(n->worker) / 1000);
  struct tm tm;
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
  int len = snprintf(out, sizeof out, text, stamp);
  struct message *m = message_new(out, (size_t)len);
  if (m) {
    sessions_notify_user(worker_home(n->worker)->sessions, who->user_id, m, n->here);
    message_unref(m);
  }
}

int on_upgrade(struct peer *p) {
  struct net *n = p->net;
  char *path = net_path(p->wsi);
  const char *below = path ? net_below_prefix(n, path) : NULL;
  bool here = below && strcmp(below, "/ws") == 0;
  free(path);
  struct gate_headers h;
  gate_headers(p->wsi, &h);
  const char *cors;
  struct gate_refusal no = {0};
  struct identity *who = NULL;
  if (gate_cors(n->o.gate, &h.r, &cors) == 403) {
    no = (struct gate_refusal){.status = 403, .body = ""};
  } else if (!here) {
    no = (struct gate_refusal){.status = 404, .body = "404 page not found\n"};
  } else if (lws_hdr_total_length(p->wsi, WSI_TOKEN_PROTOCOL)) {
    /* The transport would hang up on it without a word. */
    no = (struct gate_refusal){
      .status = 400, .body = "Bad Request: no sub-protocol is spoken here\n", .version_header = true};
  } else if (n->closing) {
    no = (struct gate_refusal){.status = 503, .body = "The server is stopping\n"};
  } else {
    no = gate_admit(n->o.gate, &h.r, net_now_s(n), &who);
  }
  int answer = 0;
  if (no.status) {
    answer = write_refusal(p, &no, cors);
    if (no.user_limit && who) {
      tell_user_limit(n, who);
    }
    identity_unref(who);
  } else {
    p->identity = who;
    p->wanted = query_value(p->wsi, "session_id");
  }
  gate_headers_free(&h);
  return answer;
}
