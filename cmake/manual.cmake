# In: an installed program, and BINDIR, MANDIR, DATADIR below the prefix. Out: its manual pages and its completion for bash
# beside it. Why: they are made of the tables the program obeys, so only the program can write them.
set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")

function(page what path)
  cmake_path(GET path PARENT_PATH folder)
  file(MAKE_DIRECTORY "${root}/${folder}")
  message(STATUS "Installing: ${root}/${path}")
  execute_process(COMMAND "${root}/${BINDIR}/chatbox" docs ${what} OUTPUT_FILE "${root}/${path}" COMMAND_ERROR_IS_FATAL ANY)
endfunction()

page(chatbox.1 ${MANDIR}/man1/chatbox.1)
page(chatbox.conf.5 ${MANDIR}/man5/chatbox.conf.5)
page(completion ${DATADIR}/bash-completion/completions/chatbox)
