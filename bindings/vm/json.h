/* In: a value of Lua, or a text. Out: the other. Why a codec of our own and not lua-cjson: it cuts numbers to 14
 * digits, leaves holes where it fails inside a value, knows no empty arrays, cannot say where a fault is, does not look
 * whether bytes are text, and its buffers are outside a VM's memory where nobody can interrupt it. No library in Debian
 * reads and writes Lua's tables; through the tree of one (jansson) a message would be copied twice.
 *
 * Shapes. A table marked by json_mark is an array, however short; another is one when it has whole-number keys. null is
 * the light userdata NULL: it stands in arrays, and in an object it is as if the field were absent. */
#pragma once
#ifndef ROOM_BINDINGS
#error "json.h is private to the bindings"
#endif

#include <lauxlib.h>

#define JSON_DEPTH 32
#define JSON_VALUES 50000
#define JSON_BYTES (1u << 20) /* of texts encoded at once */
#define JSON_TEXT (4u << 20)  /* bytes decoded at once */

/* The keys in the registry of the metatables that mark a table. JSON_MARK_RAW: its [1] is JSON already. */
enum json_mark { JSON_MARK_ARRAY, JSON_MARK_RAW };
void json_marks_open(lua_State *L);
/* Marks the table at the top. */
void json_mark(lua_State *L, enum json_mark mark);
/* The address of the metatable, to compare with. */
const void *json_mark_of(lua_State *L, enum json_mark mark);

/* Pushes the text of the value at index 1. → 1; or pushes nil and why, with the place (`at .items[3].name: …`) → 2.
 * Bound: JSON_DEPTH, JSON_VALUES, JSON_BYTES. */
int json_write(lua_State *L);

/* Documents of one kind: what is the same in all of them is put together once. Replaces nothing: takes head, tail and
 * names from index 1 on, and pushes a userdata that holds the template. Raises when there are more than
 * JSON_TEMPLATE_MAX names, or their parts are longer than 4 KiB. */
#define JSON_TEMPLATE_MAX 32
struct json_template;
void json_template(lua_State *L);
/* Pushes head, the text at index 1, `"`, then for each name whose value (from index 3 on) is not nil `,"name":value`,
 * tail, the text at index 2, and `"}`. → 1; or pushes nil and why → 2. Bound: each value as json_write has it. */
int json_fill(lua_State *L, const struct json_template *t);

/* Pushes the value of the text at index 1. → 1; or pushes nil and why → 2. With the name of a member at index 2: pushes
 * the value, the bytes of that member of the outermost object as they stand in the text (or nil), and the name of
 * another in which half of a surrogate pair stands (or nil); such a half is U+FFFD in the value. Without a name it is
 * an error. Bound: JSON_DEPTH, JSON_VALUES, JSON_TEXT. */
int json_read(lua_State *L);

/* What scripts declare of messages. Takes at index 1 the names of the fields that have a result of their own, at index
 * 2 a table: type of message -> list of its fields { name, optional, plain = "string", "token" or nil, low, high }, as
 * lib/check makes them; pushes a userdata that holds it. */
#define JSON_COLUMNS 3
struct json_reader;
void json_reader(lua_State *L);
/* Of the message at index 1: pushes its type, the value of each of the JSON_COLUMNS (or nil), and a table of what else
 * is there of what is declared, unchecked (or nil). → how many it pushed; 0 when the message is out of the ordinary,
 * which says nothing of whether it is right: json_read knows. */
int json_take(lua_State *L, const struct json_reader *r);

/* What the len escaped bytes, behind which a quote stands, mean. → bytes written to out, at most len; SIZE_MAX: they
 * mean nothing, or half of a surrogate pair. */
size_t json_unescape(const char *escaped, size_t len, char *out);
