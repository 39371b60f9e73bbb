/* In: the process itself. Out: the gauges of its descriptors and its memory.
 * Why: the system counts them; so they are looked up when somebody reads the metrics, not kept. Any thread. */
#pragma once

/* Sets METRIC_DESCRIPTORS and METRIC_MEMORY; what the system does not tell stays as it was. Two small files of /proc;
 * on kernels before 6.2 also a walk over the open descriptors. */
void process_measure(void);
