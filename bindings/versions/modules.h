/* In: nothing. Out: all that scripts can call, for vm_world.modules, the checker and the reference pages.
 * Why: chat.scripts commands the versions themselves, so only this room knows every table. */
#pragma once

struct bind_module;

/* In the order of the reference; ends with NULL. */
extern const struct bind_module *const bind_modules[];
