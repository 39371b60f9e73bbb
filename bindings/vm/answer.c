/* In: the table an HTTP handler returned, or the lack of one. Out: the response. Why: see answer.h. The table is
 * read with raw access: a metatable could raise an error, and nothing here runs in protected mode. */
#include "answer.h"

#include "log.h"
#include "utf8.h"

#include <string.h>

void answer_error(struct http_request *req, int status) {
  static const char body[] = "{\"error\":\"An internal error occurred\",\"code\":\"INTERNAL_ERROR\"}";
  struct http_response res = {.status = status, .body = body, .body_len = sizeof body - 1};
  http_respond(req, &res);
}

static void raw_field(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, 1);
}

static const char *text_field(lua_State *L, const char *name, size_t *len) {
  raw_field(L, name);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, len) : NULL;
  lua_pop(L, 1); /* the table still holds it */
  return text;
}

static void collect_headers(lua_State *L, struct http_response *res) {
  raw_field(L, "headers");
  if (lua_istable(L, -1)) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING && res->header_count < HTTP_HEADERS_MAX) {
        res->headers[res->header_count++] = (struct http_header){lua_tostring(L, -2), lua_tostring(L, -1)};
      }
    }
  }
  lua_pop(L, 1); /* the response table keeps the strings alive */
}

/* What is not UTF-8 in an answer of text: its name; NULL when all is well. An image may be any bytes. */
static const char *not_utf8(const struct http_response *res) {
  const char *type = res->type;
  bool text = !type || strncmp(type, "text/", 5) == 0 || strstr(type, "json") || strstr(type, "utf-8");
  if (text && utf8_span(res->body, res->body_len) < res->body_len) {
    return "body";
  }
  if (type && utf8_span(type, strlen(type)) < strlen(type)) {
    return "type";
  }
  for (size_t i = 0; i < res->header_count; i++) {
    const struct http_header *h = &res->headers[i];
    if (utf8_span(h->name, strlen(h->name)) < strlen(h->name) ||
        utf8_span(h->value, strlen(h->value)) < strlen(h->value)) {
      return "headers";
    }
  }
  return NULL;
}

void answer_table(struct task *t) {
  lua_State *co = t->co;
  struct http_request *req = t->http;
  t->http = NULL;
  if (lua_gettop(co) < 1 || !lua_istable(co, 1)) {
    LOG(LOG_ERROR, "script", "an HTTP handler returned no response", LSTR("path", req->path),
        LSTR("version", vm_version(t->vm)));
    answer_error(req, 500);
    return;
  }
  struct http_response res = {.status = 200, .body = ""};
  raw_field(co, "status");
  res.status = lua_isnumber(co, -1) ? (int)lua_tointeger(co, -1) : 200;
  res.status = res.status >= 200 && res.status < 600 ? res.status : 500;
  lua_pop(co, 1);
  const char *body = text_field(co, "body", &res.body_len);
  res.body = body ? body : "";
  res.type = text_field(co, "type", NULL);
  res.endpoint = text_field(co, "endpoint", NULL);
  collect_headers(co, &res);
  const char *wrong = not_utf8(&res);
  if (wrong) {
    LOG(LOG_ERROR, "script", "an HTTP handler returned what is not UTF-8", LSTR("path", req->path),
        LSTR("field", wrong), LSTR("version", vm_version(t->vm)));
    answer_error(req, 500);
    return;
  }
  http_respond(req, &res);
}
