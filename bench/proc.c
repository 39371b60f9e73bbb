/* In: a process id. Out: numbers of /proc. Why: proc.h. */
#include "proc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *proc_open(pid_t pid, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  return fopen(path, "re");
}

static uint64_t ticks_ns(uint64_t ticks) {
  return ticks * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
}

int proc_cpu(pid_t pid, uint64_t *ns) {
  FILE *f = proc_open(pid, "stat");
  if (!f)
    return -errno;
  char line[1024];
  bool read = fgets(line, sizeof line, f) != NULL;
  fclose(f);
  /* The name of the program, field 2, may hold spaces and brackets: count from its last bracket. */
  const char *rest = read ? strrchr(line, ')') : NULL;
  unsigned long long user, system;
  if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
    return -EPROTO;
  *ns = ticks_ns(user + system);
  return 0;
}

int proc_machine(uint64_t *ns) {
  FILE *f = fopen("/proc/stat", "re");
  if (!f)
    return -errno;
  unsigned long long user, nice, system;
  int fields = fscanf(f, "cpu %llu %llu %llu", &user, &nice, &system);
  fclose(f);
  if (fields != 3)
    return -EPROTO;
  *ns = ticks_ns(user + nice + system);
  return 0;
}

int proc_resident(pid_t pid, uint64_t *bytes) {
  FILE *f = proc_open(pid, "status");
  if (!f)
    return -errno;
  char line[256];
  unsigned long long kilobytes;
  int result = -EPROTO;
  while (result && fgets(line, sizeof line, f))
    if (sscanf(line, "VmRSS: %llu kB", &kilobytes) == 1) {
      *bytes = kilobytes * 1024;
      result = 0;
    }
  fclose(f);
  return result;
}
