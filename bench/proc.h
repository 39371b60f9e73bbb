/* In: a process id. Out: the processor time it has used and the memory it has resident.
 * Why: a server is judged by what it costs, and the kernel's own accounts need no help from it. */
#pragma once
#include "attr.h"

#include <stdint.h>
#include <sys/types.h>

/* User and system time of all its threads, in steps of a clock tick (10 ms). 0 or a negative errno. */
int proc_cpu(pid_t pid, uint64_t *ns) NODISCARD;
/* VmRSS: what the kernel holds for its sockets is not in it. 0 or a negative errno. */
int proc_resident(pid_t pid, uint64_t *bytes) NODISCARD;
/* User and system time of everything on this machine, also in steps of a clock tick. */
int proc_machine(uint64_t *ns) NODISCARD;
