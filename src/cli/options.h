/* Options from a table: --name VALUE, --name=VALUE, flags, short names with one dash (-cn VALUE),
 * "--" before operands that start with a dash. Options and operands may be mixed. */
#ifndef TTT_CLI_OPTIONS_H
#define TTT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { TEXT_LIST_MAX = 64, THREADS_MAX = 4096 /* of --threads */ };

typedef struct TextList {
    int n;
    const char *item[TEXT_LIST_MAX];
} TextList;

typedef enum OptionKind {
    OPTION_FLAG,  /* bool */
    OPTION_TEXT,  /* const char *, not empty */
    OPTION_WORD,  /* as TEXT, or alone: then "all"; a word without '=' after it is its value */
    OPTION_LIST,  /* TextList: may be given several times */
    OPTION_PARTS, /* TextList: the parts between commas, which the argument is cut into */
    OPTION_INT,   /* int64_t from min to max */
    OPTION_REAL   /* double from min to max */
} OptionKind;

typedef struct Option {
    const char *name; /* without the dashes; "config-name,cn" has a short name too */
    OptionKind kind;
    void *to;        /* set when the option is given; holds the default before */
    double min, max; /* |bounds| of OPTION_INT stay below 2^53 */
} Option;

/* Sets what the table's options point to and moves the operands to argv[1...]. Returns their
 * number, or -1 after a complaint as options_usage makes it. argv[0] is the command's name. */
int options_parse(int argc, char **argv, const Option *table, int n);

/* Whether --compute (NULL: not given) names a type; complains as options_usage does. */
bool options_compute_ok(const char *command, const char *compute);

/* Prints "ttt NAME: text; see `ttt help NAME`" on standard error and returns EXIT_USAGE. NAME
 * may be two words, such as "data encode": help is for the first. */
int options_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
