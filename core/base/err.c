/* In: a negative code, ours or libuv's. Out: its name and its text.
 * Why: libuv's own uv_err_name leaks for a code it does not know; a switch over its table cannot. */
#include "err.h"

#include <uv.h>

const char *err_name(int code) {
  switch (code) {
  case 0:
    return "OK";
#define ERR_NAME(name, number, text)                                                                                   \
  case E_##name:                                                                                                       \
    return #name;
    ERR_MAP(ERR_NAME)
#undef ERR_NAME
#define UV_NAME(name, text)                                                                                            \
  case UV_##name:                                                                                                      \
    return #name;
    UV_ERRNO_MAP(UV_NAME)
#undef UV_NAME
  default:
    return "UNKNOWN";
  }
}

const char *err_text(int code) {
  switch (code) {
  case 0:
    return "no error";
#define ERR_TEXT(name, number, text)                                                                                   \
  case E_##name:                                                                                                       \
    return text;
    ERR_MAP(ERR_TEXT)
#undef ERR_TEXT
#define UV_TEXT(name, text)                                                                                            \
  case UV_##name:                                                                                                      \
    return text;
    UV_ERRNO_MAP(UV_TEXT)
#undef UV_TEXT
  default:
    return "unknown error";
  }
}
