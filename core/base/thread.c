/* In: a function. Out: a thread that runs it, without the signals of the process. Why: see thread.h. */
#include "thread.h"

#include <signal.h>

int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg) {
  static const int of_process[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1,
                                   SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH};
  sigset_t blocked, before;
  sigemptyset(&blocked);
  for (size_t i = 0; i < sizeof of_process / sizeof *of_process; i++) {
    sigaddset(&blocked, of_process[i]);
  }
  pthread_sigmask(SIG_BLOCK, &blocked, &before); /* a thread begins with the mask of who starts it */
  int code = pthread_create(out, NULL, run, arg);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -code;
}
