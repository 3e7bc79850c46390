# Writes OUTPUT, a header that names the revision the program is built from; run at every build.
# cmake -DSOURCE=DIR -DOUTPUT=FILE -P tools/revision.cmake
set(revision "unknown")
find_program(GIT git)
if(GIT AND EXISTS "${SOURCE}/.git")
  execute_process(COMMAND ${GIT} -C "${SOURCE}" rev-parse HEAD OUTPUT_VARIABLE found
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(revision "${found}")
    execute_process(COMMAND ${GIT} --no-optional-locks -C "${SOURCE}" status --porcelain -uno
                    OUTPUT_VARIABLE changed ERROR_QUIET)
    if(NOT changed STREQUAL "")
      string(APPEND revision " with changes")
    endif()
  endif()
endif()
set(text "#define TTT_REVISION \"${revision}\"\n")
set(before "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" before)
endif()
if(NOT before STREQUAL text)
  file(WRITE "${OUTPUT}" "${text}")
endif()
