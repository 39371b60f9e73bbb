/* In: options. Out: a report of what a server did under load: throughput, latency, processor time, memory.
 * Why: one thread, one epoll, everything of one connection and turn in one read and one send, so that the generator is
 * not what is measured; it prints its own processor time to prove it. In the open loop a latency counts from the time
 * the message was meant to be sent, so a server that stalls pays for every message it held up. */
#include "client.h"
#include "err.h"
#include "proc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { TURN_EVENTS = 512, HANDSHAKES_MAX = 256 };

static const uint64_t LONGEST_WAIT_NS = 100000000, DRAIN_NS = 2000000000;

struct usage {
  uint64_t at_ns, server_ns, own_ns, machine_ns;
};

struct report {
  struct usage begin, end;
  uint64_t unanswered, resident_before, resident_after;
};

static void load_turn(struct load *l, uint64_t until_ns) {
  struct epoll_event events[TURN_EVENTS];
  uint64_t now = clock_ns(), wait = until_ns > now ? until_ns - now : 0;
  if (wait > LONGEST_WAIT_NS)
    wait = LONGEST_WAIT_NS;
  int n = epoll_pwait2(l->epoll, events, TURN_EVENTS, &(struct timespec){.tv_nsec = (long)wait}, NULL);
  for (int i = 0; i < n; i++)
    client_turn(l, events[i].data.ptr, events[i].events);
}

static int load_connect(struct load *l) {
  const size_t wanted = (size_t)l->options->connections;
  const uint64_t deadline = clock_ns() + l->options->connect_ns;
  while (l->ready < wanted && l->lost == 0) {
    while (l->opened < wanted && l->opened - l->ready < HANDSHAKES_MAX)
      if (client_open(l, &l->clients[l->opened]))
        break;
    if (clock_ns() >= deadline) {
      fprintf(stderr, "load: only %zu of %zu connections were up in time\n", l->ready, wanted);
      return E_EXPIRED;
    }
    load_turn(l, deadline);
  }
  return l->lost ? E_GONE : 0;
}

static struct usage usage_now(const struct load *l) {
  struct usage u = {.at_ns = clock_ns()};
  struct rusage own;
  if (l->options->pid && proc_cpu((pid_t)l->options->pid, &u.server_ns))
    u.server_ns = 0;
  if (proc_machine(&u.machine_ns))
    u.machine_ns = 0;
  getrusage(RUSAGE_SELF, &own);
  u.own_ns = (uint64_t)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) * UINT64_C(1000000000) +
             (uint64_t)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) * 1000;
  return u;
}

static uint64_t intended_ns(const struct load *l, uint64_t n) {
  const uint64_t connections = l->options->connections;
  return client_intended(l, &l->clients[n % connections], n / connections);
}

/* The open loop: makes due what should have been sent by now. When the next one is due. */
static uint64_t load_pace(struct load *l, uint64_t *next) {
  for (uint64_t now = clock_ns(); intended_ns(l, *next) <= now; ++*next) {
    struct client *c = &l->clients[*next % l->options->connections];
    c->due++;
    client_write(l, c);
  }
  return intended_ns(l, *next);
}

static uint64_t load_outstanding(const struct load *l) {
  uint64_t n = 0;
  for (size_t i = 0; i < l->opened; i++)
    n += l->clients[i].due - l->clients[i].answered;
  return n;
}

/* What never came back has waited at least until now: leaving it out would flatter the server. */
static void unanswered_add(struct load *l) {
  uint64_t now = clock_ns();
  for (struct client *c = l->clients; c < l->clients + l->opened; c++) {
    uint64_t end = l->options->mode == MODE_OPEN ? c->due : c->sent;
    for (uint64_t n = c->answered; n < end; n++) {
      uint64_t intended = client_intended(l, c, n);
      if (intended >= l->from_ns && intended < l->to_ns)
        hist_add(&l->latency, now - intended);
    }
  }
}

static void load_run(struct load *l, struct report *r) {
  const struct options *o = l->options;
  bool measuring = false;
  uint64_t next = 0;
  l->start_ns = clock_ns();
  l->from_ns = l->start_ns + o->warmup_ns;
  l->to_ns = l->from_ns + o->seconds_ns;
  l->running = true;
  for (size_t i = 0; o->mode == MODE_CLOSED && i < l->opened; i++) {
    l->clients[i].due = o->inflight;
    client_write(l, &l->clients[i]);
  }
  for (uint64_t now; (now = clock_ns()) < l->to_ns && l->lost == 0;) {
    if (!measuring && now >= l->from_ns) {
      r->begin = usage_now(l);
      measuring = true;
    }
    uint64_t until = measuring ? l->to_ns : l->from_ns, paced = o->mode == MODE_OPEN ? load_pace(l, &next) : until;
    load_turn(l, paced < until ? paced : until);
  }
  r->end = usage_now(l);
  l->running = false;
  for (uint64_t deadline = r->end.at_ns + DRAIN_NS; load_outstanding(l) && l->lost == 0 && clock_ns() < deadline;)
    load_turn(l, clock_ns() + 10000000);
  r->unanswered = load_outstanding(l);
  unanswered_add(l);
}

static void load_hold(struct load *l, struct report *r) {
  for (uint64_t end = clock_ns() + l->options->seconds_ns; clock_ns() < end && l->lost == 0;)
    load_turn(l, end);
  if (l->options->pid && proc_resident((pid_t)l->options->pid, &r->resident_after))
    r->resident_after = 0;
}

static void report_load(const struct load *l, const struct report *r) {
  const struct options *o = l->options;
  double seconds = (double)o->seconds_ns / 1e9, answered = (double)l->answered;
  double used_ns = (double)(r->end.at_ns - r->begin.at_ns); /* the turn that ends the warm-up may be a little late */
  double server_ns = (double)(r->end.server_ns - r->begin.server_ns);
  double own_ns = (double)(r->end.own_ns - r->begin.own_ns);
  double elsewhere_ns = (double)(r->end.machine_ns - r->begin.machine_ns) - server_ns - own_ns;
  double per_message_us = answered > 0 && o->pid ? server_ns / answered / 1e3 : 0;
  double us[] = {hist_mean(&l->latency) / 1e3,
                 (double)hist_percentile(&l->latency, 50) / 1e3,
                 (double)hist_percentile(&l->latency, 90) / 1e3,
                 (double)hist_percentile(&l->latency, 99) / 1e3,
                 (double)hist_percentile(&l->latency, 99.9) / 1e3,
                 (double)l->latency.max / 1e3};
  const char *format =
    o->json
      ? "{\"mode\":\"%s\",\"connections\":%llu,\"seconds\":%.3f,\"messages\":%llu,\"per_second\":%.0f,\"mean_us\":%.1f,"
        "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"unanswered\":%llu,"
        "\"other\":%llu,\"server_us_per_message\":%.2f,\"server_cores\":%.3f,\"generator_cores\":%.3f,\"elsewhere_"
        "cores\":%.3f}\n"
      : "%s loop, %llu connections, %.3f s: %llu messages, %.0f per second\n"
        "latency in us: mean %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n"
        "%llu unanswered, %llu other frames\n"
        "server: %.2f us of processor time per message, %.3f cores; generator: %.3f cores; everything else: %.3f\n";
  printf(format, o->mode == MODE_OPEN ? "open" : "closed", (unsigned long long)o->connections, seconds,
         (unsigned long long)l->answered, answered / seconds, us[0], us[1], us[2], us[3], us[4], us[5],
         (unsigned long long)r->unanswered, (unsigned long long)l->other, per_message_us, server_ns / used_ns,
         own_ns / used_ns, elsewhere_ns > 0 ? elsewhere_ns / used_ns : 0);
}

static void report_idle(const struct load *l, const struct report *r) {
  double grown = (double)r->resident_after - (double)r->resident_before;
  const char *format = l->options->json
                         ? "{\"mode\":\"idle\",\"connections\":%zu,\"resident_before\":%llu,\"resident_after\":%llu,"
                           "\"resident_per_connection\":%.0f}\n"
                         : "%zu idle connections; resident memory before %llu, after %llu: %.0f bytes each\n";
  printf(format, l->ready, (unsigned long long)r->resident_before, (unsigned long long)r->resident_after,
         grown / (double)l->ready);
}

static int load_measure(struct load *l) {
  struct report r = {0};
  const struct options *o = l->options;
  if (o->pid && proc_resident((pid_t)o->pid, &r.resident_before)) {
    fprintf(stderr, "load: --pid %llu: no such process\n", (unsigned long long)o->pid);
    return E_NOT_FOUND;
  }
  int failed = load_connect(l);
  if (!failed && o->mode == MODE_IDLE)
    load_hold(l, &r);
  else if (!failed)
    load_run(l, &r);
  if (l->lost)
    fprintf(stderr, "load: %zu connections were lost; the first: %s\n", l->lost, l->odd);
  if (failed || l->lost)
    return E_GONE;
  if (o->mode == MODE_IDLE)
    report_idle(l, &r);
  else
    report_load(l, &r);
  if (l->other && r.unanswered)
    fprintf(stderr, "load: not what --answer waits for: %s\n", l->odd);
  return o->mode != MODE_IDLE && l->answered == 0 ? E_GONE : 0;
}

static int load_open(struct load *l, const struct options *o) {
  struct rlimit files;
  l->options = o;
  hist_init(&l->latency);
  if (text_init(&l->message, o->message ? o->message : "") || text_init(&l->answer, o->answer ? o->answer : ""))
    return E_INVALID;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (o->connections + 16 > files.rlim_cur) {
    fprintf(stderr, "load: --connections %llu: only %llu descriptors are allowed here\n",
            (unsigned long long)o->connections, (unsigned long long)files.rlim_cur);
    return E_TOO_BIG;
  }
  prctl(PR_SET_TIMERSLACK, 1); /* the open loop wakes for each message, not up to 50 us later */
  l->epoll = epoll_create1(EPOLL_CLOEXEC);
  l->clients = calloc(o->connections, sizeof *l->clients);
  return l->epoll < 0 || !l->clients ? -ENOMEM : 0;
}

static void load_close(struct load *l) {
  for (size_t i = 0; i < l->opened; i++)
    client_close(&l->clients[i]);
  free(l->clients);
  if (l->epoll > 0)
    close(l->epoll);
}

int main(int argc, char **argv) {
  static struct load load;
  struct options options;
  int result = options_read(&options, argc, argv), code = result < 0;
  if (result == 0) {
    result = load_open(&load, &options);
    code = result ? 1 : load_measure(&load) ? 2 : 0;
    load_close(&load);
  }
  options_deinit(&options);
  return code;
}
