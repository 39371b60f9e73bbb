/* In: the table an HTTP handler returned. Out: the response. Why: whatever a script returns, the client of an HTTP
 * request gets exactly one answer. Thread: the VM's own. */
#pragma once
#include "http.h"
#include "machine.h"

/* The table lies on t->co; if it is none, the answer is 500. */
void answer_table(struct task *t);
void answer_error(struct http_request *req, int status);
