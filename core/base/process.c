/* In: /proc/self. Out: gauges. Why: see process.h. */
#include "process.h"

#include "metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* -1: nobody tells. */
static long descriptors_count(void) {
  struct stat st;
  if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) /* from Linux 6.2 on its size is their number */
    return (long)st.st_size;
  DIR *dir = opendir("/proc/self/fd");
  if (!dir)
    return -1;
  long count = -1; /* the folder's own */
  for (const struct dirent *e; (e = readdir(dir));)
    count += *e->d_name != '.';
  closedir(dir);
  return count;
}

/* In pages; -1 likewise. */
static long resident_pages(void) {
  FILE *in = fopen("/proc/self/statm", "re");
  long pages = -1;
  if (!in)
    return -1;
  if (fscanf(in, "%*s %ld", &pages) != 1)
    pages = -1;
  (void)fclose(in);
  return pages;
}

void process_measure(void) {
  long count = descriptors_count(), pages = resident_pages();
  if (count >= 0)
    metrics_set(METRIC_DESCRIPTORS, count);
  if (pages >= 0)
    metrics_set(METRIC_MEMORY, (int64_t)pages * sysconf(_SC_PAGESIZE));
}
