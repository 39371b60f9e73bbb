# In: INPUT, a text file; NAME, a C name. Out: OUTPUT, a C header with the bytes of it as `static const char NAME[]` and
# their number as NAME_len. Why: the script that builds the sandbox is part of the program; nobody may swap it on disk.
# Run at build time: cmake -DINPUT=… -DOUTPUT=… -DNAME=… -P embed.cmake

file(READ "${INPUT}" hex HEX)
string(REPEAT "." 48 line)
string(REGEX REPLACE "(${line})" "\\1\n  " hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1', " bytes "${hex}")
get_filename_component(source "${INPUT}" NAME)
file(WRITE "${OUTPUT}" "/* Made from ${source} by cmake/embed.cmake. */
#pragma once
#include <stddef.h>

static const char ${NAME}[] = {
  ${bytes}'\\0'};
static const size_t ${NAME}_len = sizeof ${NAME} - 1;
")
