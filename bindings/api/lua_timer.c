/* In: chat.timer calls. Out: the time, and waits. Why: the clock is the worker's, so that specs can set it. */
#include "api.h"

#include "run.h"

#include <string.h>

static int l_timer_now(lua_State *L) {
  lua_pushnumber(L, (double)worker_wall_ms(bind_vm(L)->worker));
  return 1;
}

/* The date of a day counted from 1970, by the Gregorian calendar; the year begins in March, so that the day a leap year
 * has more is its last. */
static void date_of(uint32_t day, uint32_t *year, uint32_t *month, uint32_t *of_month) {
  uint32_t z = day + 719468, era = z / 146097, of_era = z % 146097;
  uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  uint32_t from_march = (5 * of_year + 2) / 153;
  *of_month = of_year - (153 * from_march + 2) / 5 + 1;
  *month = from_march < 10 ? from_march + 3 : from_march - 9;
  *year = era * 400 + year_of_era + (*month <= 2);
}

static char *put_digits(char *at, int count, uint32_t value, char behind) {
  for (int i = count - 1; i >= 0; i--, value /= 10) {
    at[i] = (char)('0' + value % 10);
  }
  at[count] = behind;
  return at + count + 1;
}

/* By hand, for each message that is sent carries one: the functions of C take fifteen times as long. */
static int l_timer_iso(lua_State *L) {
  double ms = luaL_checknumber(L, 1);
  luaL_argcheck(L, ms >= 0 && ms < 253402300800000.0, 1, "ms since 1970, before the year 10000");
  uint64_t whole = (uint64_t)ms;
  uint32_t of_day = (uint32_t)(whole % 86400000), year, month, day;
  date_of((uint32_t)(whole / 86400000), &year, &month, &day);
  char text[sizeof "9999-12-31T23:59:59.999Z"], *at = text;
  at = put_digits(at, 4, year, '-');
  at = put_digits(at, 2, month, '-');
  at = put_digits(at, 2, day, 'T');
  at = put_digits(at, 2, of_day / 3600000, ':');
  at = put_digits(at, 2, of_day / 60000 % 60, ':');
  at = put_digits(at, 2, of_day / 1000 % 60, '.');
  at = put_digits(at, 3, of_day % 1000, 'Z');
  lua_pushlstring(L, text, (size_t)(at - text));
  return 1;
}

/* Days since 1970 of a date of the Gregorian calendar. */
static int64_t days(int64_t year, int month, int day) {
  int64_t y = month <= 2 ? year - 1 : year;
  int64_t era = y / 400, of_era = y - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool digits(const char **p, int count, int *out) {
  *out = 0;
  for (int i = 0; i < count; i++, (*p)++) {
    if (**p < '0' || **p > '9') {
      return false;
    }
    *out = *out * 10 + (**p - '0');
  }
  return true;
}

static bool literal(const char **p, char c) {
  return *(*p)++ == c;
}

/* Z or ±hh:mm, in minutes. */
static bool offset(const char **p, int *minutes) {
  char sign = *(*p)++;
  int h, m;
  *minutes = 0;
  if (sign == 'Z' || sign == 'z') {
    return true;
  }
  if ((sign != '+' && sign != '-') || !digits(p, 2, &h) || !literal(p, ':') || !digits(p, 2, &m) || h > 23 || m > 59) {
    return false;
  }
  *minutes = (sign == '-' ? -1 : 1) * (h * 60 + m);
  return true;
}

static bool fraction(const char **p, int *ms) {
  int scale = 100;
  *ms = 0;
  if (**p != '.') {
    return true;
  }
  (*p)++;
  if (**p < '0' || **p > '9') {
    return false;
  }
  for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10) {
    *ms += (**p - '0') * scale;
  }
  return true;
}

/* RFC 3339. */
static bool parse(const char *p, double *out) {
  static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int year, month, day, hour, minute, second, ms, zone;
  if (!digits(&p, 4, &year) || !literal(&p, '-') || !digits(&p, 2, &month) || !literal(&p, '-') ||
      !digits(&p, 2, &day) || (*p != 'T' && *p != 't') || !digits((p++, &p), 2, &hour) || !literal(&p, ':') ||
      !digits(&p, 2, &minute) || !literal(&p, ':') || !digits(&p, 2, &second) || !fraction(&p, &ms) ||
      !offset(&p, &zone) || *p) {
    return false;
  }
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month < 1 || month > 12 || day < 1 || day > lengths[month - 1] || (month == 2 && day == 29 && !leap) ||
      hour > 23 || minute > 59 || second > 60) {
    return false;
  }
  int64_t minutes = days(year, month, day) * 1440 + hour * 60 + minute - zone;
  *out = (double)(minutes * 60 + second) * 1000 + ms;
  return true;
}

static int l_timer_parse_iso(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  double ms;
  if (strlen(text) == len && parse(text, &ms)) {
    lua_pushnumber(L, ms);
  } else {
    lua_pushnil(L);
  }
  return 1;
}

static int l_timer_duration(lua_State *L) {
  lua_pushnumber(L, (double)bind_duration(L, 1));
  return 1;
}

static void on_time(void *arg) {
  struct task *t = arg;
  t->wait.timer = NULL;
  lua_pushboolean(t->co, 1);
  task_resume(t, 1);
}

static void begin_sleep(struct task *t) {
  t->wait.timer = worker_timer(t->vm->worker, t->wait.delay_ms, on_time, t);
  if (!t->wait.timer) {
    lua_pushnil(t->co);
    task_resume(t, 1);
  }
}

static int l_timer_sleep(lua_State *L) {
  bind_task(L)->wait.delay_ms = bind_duration(L, 1);
  return task_wait(L, "chat.timer.sleep", begin_sleep);
}

static const struct bind_function functions[] = {
  {"now", l_timer_now, "", "number ms", false, "Milliseconds since 1970."},
  {"iso", l_timer_iso, "ms number", "string", false, "RFC 3339 with milliseconds, in UTC."},
  {"parse_iso", l_timer_parse_iso, "text string", "number? ms", false, "Of an RFC 3339 time; nil when it is none."},
  {"duration", l_timer_duration, "duration string|number", "number ms", false,
   "Of 250ms, 5s, 10m, 1h30m, or a number."},
  {"sleep", l_timer_sleep, "duration string|number", "true", true,
   "Waits so long (SCRIPT_WAIT_DEADLINE ends who waits too long)."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_timer = {"timer", "Time.", functions, NULL};
