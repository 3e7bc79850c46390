/* Names of files may hold any byte but NUL and '/'. These make them fit for JSON and for a line. */
#ifndef TTT_DATA_ESCAPE_H
#define TTT_DATA_ESCAPE_H

#include <stdbool.h>

/* A copy to be freed by the caller, NULL without memory: bytes that are not UTF-8 become \xNN; with
 * one_line also control characters (\n, \t, \xNN) and the backslash (\\). */
char *escape_text(const char *text, bool one_line);

#endif
