/* In: links embedded in what is listed. Out: doubly linked lists, the first that was put first. Why: see link.c. */
#pragma once
#ifndef ROOM_NET
#error "link.h is private to core/net"
#endif

struct link {
  struct link *prev, *next;
};

void link_put(struct link *list, struct link *l); /* behind the last */
void link_drop(struct link *l);                   /* and empty; one that is empty already is left alone */
