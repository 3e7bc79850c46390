/* Long options from a table. Strict: a number is all of its text, and an unknown name is an error
 * that names the nearest known one. */
#include "cli/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "cli/command.h"

enum { MAX_OPTIONS = 64 };

int options_usage(const char *name, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    log_info("ttt %s: %s; see `ttt help %.*s`", name, text, (int)strcspn(name, " "), name);
    return EXIT_USAGE;
}

bool options_compute_ok(const char *command, const char *compute)
{
    char shown[NAME_SHOWN_MAX];
    if (!compute || strcmp(compute, "fp32") == 0 || strcmp(compute, "bf16") == 0) return true;
    options_usage(command, "--compute takes fp32 or bf16, not '%s'", name_show(shown, compute));
    return false;
}

/* The long name alone. */
static const char *long_name(const Option *o, char out[NAME_SHOWN_MAX])
{
    snprintf(out, NAME_SHOWN_MAX, "%.*s", (int)strcspn(o->name, ","), o->name);
    return out;
}

static int unknown(const char *command, const char *given, const Option *table, int n)
{
    CHECK(n <= MAX_OPTIONS, "command %s has too many options", command);
    const char *names[MAX_OPTIONS];
    char all[MAX_OPTIONS][NAME_SHOWN_MAX], shown[NAME_SHOWN_MAX];
    for (int i = 0; i < n; i++) names[i] = long_name(&table[i], all[i]);
    const char *bare = given + strspn(given, "-");
    const char *near = name_nearest(bare, names, n);
    options_usage(command, "unknown option %s%s%s%s", name_show(shown, given),
                  near ? " (did you mean --" : "", near ? near : "", near ? "?)" : "");
    return -1;
}

static bool int_set(const Option *o, const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0) return false;
    if ((double)value < o->min || (double)value > o->max) return false;
    *(int64_t *)o->to = value;
    return true;
}

static bool real_set(const Option *o, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != 0) return false;
    if (!(value >= o->min && value <= o->max)) return false; /* NaN too */
    *(double *)o->to = value;
    return true;
}

static int bad_value(const char *command, const Option *o, const char *text)
{
    char shown[NAME_SHOWN_MAX], name[NAME_SHOWN_MAX];
    name_show(shown, text);
    long_name(o, name);
    switch (o->kind) {
    case OPTION_INT:
    case OPTION_REAL:
        options_usage(command, "--%s takes %s from %.15g to %.15g, not '%s'", name,
                      o->kind == OPTION_INT ? "a whole number" : "a number", o->min, o->max, shown);
        break;
    case OPTION_LIST:
        options_usage(command, "--%s is empty, or given more than %d times", name, TEXT_LIST_MAX);
        break;
    case OPTION_PARTS:
        options_usage(command, "--%s has an empty part, or more than %d", name, TEXT_LIST_MAX);
        break;
    case OPTION_TEXT:
    case OPTION_WORD:
        options_usage(command, "--%s is empty", name);
        break;
    case OPTION_FLAG:
        options_usage(command, "--%s takes no value", name);
        break;
    }
    return -1;
}

static bool parts_set(TextList *list, char *value)
{
    for (list->n = 0; value; list->n++) {
        char *part = strsep(&value, ",");
        if (*part == 0 || list->n == TEXT_LIST_MAX) return false;
        list->item[list->n] = part;
    }
    return true;
}

static bool option_set(const Option *o, char *value)
{
    TextList *list = o->to;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->to = true;
        return true;
    case OPTION_INT:
        return int_set(o, value);
    case OPTION_REAL:
        return real_set(o, value);
    case OPTION_TEXT:
    case OPTION_WORD:
        *(const char **)o->to = value;
        return *value != 0;
    case OPTION_LIST:
        if (*value == 0 || list->n == TEXT_LIST_MAX) return false;
        list->item[list->n++] = value;
        return true;
    case OPTION_PARTS:
        return parts_set(list, value);
    }
    return false;
}

/* Whether "--name" or "-short" is this option. */
static bool option_is(const Option *o, const char *given, size_t length)
{
    const char *comma = strchr(o->name, ',');
    const char *name = given[1] == '-' ? o->name : comma ? comma + 1 : "";
    size_t size = given[1] == '-' ? strcspn(o->name, ",") : strlen(name);
    size_t dashes = given[1] == '-' ? 2 : 1;
    return size == length - dashes && strncmp(name, given + dashes, size) == 0;
}

/* The value in the next argument: any for most options, only a bare word for an optional one. */
static char *value_next(char **argv, int argc, int *i, const Option *o)
{
    static char all[] = "all";
    char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    bool word = next && *next && !strpbrk(next, "=~+") && *next != '-';
    if (o->kind == OPTION_WORD && !word) return all;
    if (next) ++*i;
    return next;
}

/* Takes the option at argv[*i] and, where it is the next argument, its value. */
static int option_take(char **argv, int argc, int *i, const Option *table, int n)
{
    char *given = argv[*i], *equals = strchr(given, '=');
    size_t length = equals ? (size_t)(equals - given) : strlen(given);
    const Option *o = NULL;
    for (int k = 0; k < n; k++)
        if (option_is(&table[k], given, length)) o = &table[k];
    if (o == NULL) return unknown(argv[0], given, table, n);
    if (o->kind == OPTION_FLAG && equals) return bad_value(argv[0], o, equals + 1);
    char *value = equals ? equals + 1 : NULL;
    if (o->kind != OPTION_FLAG && value == NULL) value = value_next(argv, argc, i, o);
    if (o->kind != OPTION_FLAG && value == NULL) {
        char name[NAME_SHOWN_MAX];
        options_usage(argv[0], "--%s needs a value", long_name(o, name));
        return -1;
    }
    return option_set(o, value) ? 0 : bad_value(argv[0], o, value);
}

int options_parse(int argc, char **argv, const Option *table, int n)
{
    int operands = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (ended || arg[0] != '-' || arg[1] == 0) {
            argv[++operands] = argv[i];
        } else if (strcmp(arg, "--") == 0) {
            ended = true;
        } else {
            TRY(option_take(argv, argc, &i, table, n));
        }
    }
    return operands;
}
