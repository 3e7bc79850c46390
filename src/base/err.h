/* Errors. Outside input (files, keys, arguments) fails with a negative return and one line of text
 * in an Err; a mistake of the programmer fails a CHECK, which aborts with its place in the source.
 * Everywhere: 0 (or a count) is success, -1 is failure, a yes/no answer is bool. */
#ifndef TTT_BASE_ERR_H
#define TTT_BASE_ERR_H

#include <stdbool.h>

typedef struct Err {
    char text[2048]; /* one line: what is wrong, with file, line or key, and the next step */
} Err;

/* Sets the text and returns -1, so that a failure reads `return err_set(e, "...", ...)`. */
int err_set(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "context: " in front of a text already set, and returns -1. */
int err_wrap(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As err_set with ": " and the text of the current errno at the end. */
int err_errno(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Control characters become '?': what comes from a file's name neither breaks a line nor commands a
 * terminal. Returns text. */
char *line_keep(char *text);

void check_failed(const char *file, int line, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        if ((expr) < 0) return -1;                                                                 \
    } while (0)

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) check_failed(__FILE__, __LINE__, __VA_ARGS__);                                \
    } while (0)

#define ARRAY_LEN(a) ((int)(sizeof(a) / sizeof((a)[0])))

#endif
