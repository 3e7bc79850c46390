/* One value at a time: YAML text to a field of Config and back, as the key's row says. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/names.h"
#include "base/utf8.h"
#include "hydra/load.h"
#include "hydra/scalar.h"
#include "model/config_table.h"

static bool unbounded(double max)
{
    return max >= 1e15;
}

static void names_join(const char *const *names, char *out, size_t size)
{
    size_t used = 0;
    for (int i = 0; names[i] && used < size; i++) {
        const char *gap = i == 0 ? "" : names[i + 1] ? ", " : " or ";
        int n = snprintf(out + used, size - used, "%s%s", gap, names[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

const char *config_key_describe(const ConfigKey *key, char *out, int size)
{
    size_t n = (size_t)size;
    const char *number = key->type == KEY_FLOAT ? "a number" : "an integer";
    const char *or_null =
        key->type == KEY_INT_NULL || key->type == KEY_TEXT_NULL ? ", or null" : "";
    switch (key->type) {
    case KEY_BOOL:
        snprintf(out, n, "%s", key->min > 0 ? "only true" : "true or false");
        break;
    case KEY_INT:
    case KEY_INT_NULL:
    case KEY_FLOAT:
        if (key->min >= key->max) {
            snprintf(out, n, "only %.15g", key->min);
        } else if (unbounded(key->max)) {
            snprintf(out, n, "%s, %.15g or more%s", number, key->min, or_null);
        } else {
            snprintf(out, n, "%s from %.15g to %.15g%s", number, key->min, key->max, or_null);
        }
        break;
    case KEY_TEXT:
    case KEY_TEXT_NULL:
        snprintf(out, n, "text of %.15g to %.15g bytes%s", key->min, key->max, or_null);
        break;
    case KEY_ENUM:
        names_join(key->names, out, n);
        break;
    case KEY_LIST:
        snprintf(out, n, "a list of at most %d texts of at most %.15g bytes", CFG_MAX_SPECS,
                 key->max);
        break;
    }
    return out;
}

static int value_fail(const ConfigKey *key, const HyNode *value, const char *where, Err *err)
{
    char allowed[CFG_TEXT], shown[NAME_SHOWN_MAX];
    HyArena *a = hy_arena_new();
    config_key_describe(key, allowed, sizeof allowed);
    const char *got = value->kind == HY_LIST   ? "a list"
                      : value->kind == HY_MAP  ? "a mapping"
                      : value->kind == HY_NULL ? "null"
                                               : name_show(shown, hy_str(a, value));
    err_set(err, "%.1500s: %s = %s is not allowed; it takes %s", where, key->name, got, allowed);
    hy_arena_free(a);
    return -1;
}

static bool digits_skip(const char **s)
{
    const char *start = *s;
    while (**s >= '0' && **s <= '9') (*s)++;
    return *s > start;
}

static bool int_parse(const char *text, int64_t *out)
{
    const char *s = text + (*text == '-' || *text == '+');
    if (!digits_skip(&s) || *s) return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

/* Decimal only: no hexadecimal, infinity or NaN, which strtod would take. */
static bool float_parse(const char *text, double *out)
{
    const char *s = text + (*text == '-' || *text == '+');
    bool whole = digits_skip(&s), part = false;
    if (*s == '.') s++, part = digits_skip(&s);
    if (!whole && !part) return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        if (!digits_skip(&s)) return false;
    }
    *out = strtod(text, NULL);
    return *s == 0 && isfinite(*out);
}

static bool bool_parse(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(text, words[i]) != 0) continue;
        *out = i % 2;
        return true;
    }
    return false;
}

static bool text_fits(const ConfigKey *key, const char *text)
{
    size_t size = strlen(text);
    return (double)size >= key->min && (double)size <= key->max && utf8_is(text, size);
}

static bool item_add(const ConfigKey *key, const HyNode *item, const char *text, SpecList *out)
{
    if (hy_is_container(item) || item->kind == HY_NULL || !text[0]) return false;
    if (out->n == CFG_MAX_SPECS || !text_fits(key, text)) return false;
    memcpy(out->glob[out->n++], text, strlen(text));
    return true;
}

static bool list_parse(const ConfigKey *key, const HyNode *value, SpecList *out)
{
    bool good = true;
    HyArena *a = hy_arena_new();
    for (const HyNode *item = value->first; item && good; item = item->next)
        good = item_add(key, item, hy_str(a, item), out);
    hy_arena_free(a);
    return good;
}

static bool may_be_null(const ConfigKey *key, const HyNode *value)
{
    return value->kind == HY_NULL && (key->type == KEY_INT_NULL || key->type == KEY_TEXT_NULL);
}

static bool int_set(const ConfigKey *key, const HyNode *value, int64_t *field)
{
    int64_t v = -1;
    if (!may_be_null(key, value)) {
        bool text = value->kind == HY_INT || value->kind == HY_TEXT;
        if (!text || !int_parse(value->text, &v)) return false;
        if ((double)v < key->min || (double)v > key->max) return false;
    }
    if (field) *field = v;
    return true;
}

static bool float_set(const ConfigKey *key, const HyNode *value, double *field)
{
    double v = 0;
    bool text = value->kind == HY_INT || value->kind == HY_TEXT;
    if (value->kind == HY_FLOAT) v = value->number;
    if (value->kind != HY_FLOAT && (!text || !float_parse(value->text, &v))) return false;
    if (!(v >= key->min && v <= key->max)) return false;
    if (field) *field = v;
    return true;
}

static bool bool_set(const ConfigKey *key, const HyNode *value, bool *field)
{
    bool v = false;
    if (value->kind == HY_BOOL) v = value->truth;
    if (value->kind == HY_INT) v = strcmp(value->text, "1") == 0;
    bool number = value->kind == HY_INT && (v || strcmp(value->text, "0") == 0);
    bool word = value->kind == HY_TEXT && bool_parse(value->text, &v);
    if (value->kind != HY_BOOL && !number && !word) return false;
    if (!v && key->min > 0) return false;
    if (field) *field = v;
    return true;
}

static bool enum_set(const ConfigKey *key, const char *text, int *field)
{
    for (int i = 0; key->names[i]; i++) {
        if (strcmp(key->names[i], text) != 0) continue;
        if (field) *field = i;
        return true;
    }
    return false;
}

static bool text_set(const ConfigKey *key, const HyNode *value, const char *text, char *field)
{
    if (value->kind == HY_NULL && key->type != KEY_TEXT_NULL) return false;
    if (value->kind == HY_NULL || hy_is_missing(value)) text = "";
    if (!text_fits(key, text)) return false;
    if (field) memset(field, 0, (size_t)key->max + 1), memcpy(field, text, strlen(text));
    return true;
}

static bool list_set(const ConfigKey *key, const HyNode *value, void *field)
{
    SpecList list = {0}; /* apart, so that a bad list leaves the field as it was */
    if (value->kind != HY_LIST || !list_parse(key, value, &list)) return false;
    if (field) memcpy(field, &list, sizeof list);
    return true;
}

/* Of a choice that may be left open: one of its names. */
static const char null_name[] = "null";

static bool value_set(const ConfigKey *key, const HyNode *value, const char *text, void *field)
{
    if (key->type == KEY_LIST) return list_set(key, value, field);
    if (hy_is_container(value)) return false;
    if (hy_is_missing(value) && !field) return true;
    switch (key->type) {
    case KEY_BOOL:
        return bool_set(key, value, field);
    case KEY_INT:
    case KEY_INT_NULL:
        return int_set(key, value, field);
    case KEY_FLOAT:
        return float_set(key, value, field);
    case KEY_ENUM:
        return enum_set(key, value->kind == HY_NULL ? null_name : text, field);
    default:
        return text_set(key, value, text, field);
    }
}

int config_key_set(Config *c, const ConfigKey *key, const HyNode *value, const char *where,
                   Err *err)
{
    void *field = key->offset < 0 ? NULL : (char *)c + key->offset;
    HyArena *a = hy_arena_new();
    bool good = value_set(key, value, hy_is_container(value) ? "" : hy_str(a, value), field);
    hy_arena_free(a);
    return good ? 0 : value_fail(key, value, where, err);
}

/* A quoted text or a list is YAML; anything else is taken as it stands. */
static HyNode *value_read(HyArena *a, const char *value, const char *where, Err *err)
{
    size_t size = strlen(value), prefix = strlen(where) + 4; /* "WHERE:1: " */
    while (size > 0 && (*value == ' ' || *value == '\t')) value++, size--;
    while (size > 0 && (value[size - 1] == ' ' || value[size - 1] == '\t')) size--;
    const char *text = hy_copy_text(a, value, size);
    if (*text == '{') {
        err_set(err, "%s: a value in braces is a mapping; set its keys one by one", where);
        return NULL;
    }
    if (strcmp(text, "null") == 0 || strcmp(text, "~") == 0) return hy_new(a, HY_NULL);
    if (!*text || !strchr("['\"", *text)) return hy_new_text(a, text);
    const char *wrapped = hy_format(a, "[%s]", text); /* a lone text would be a key */
    const HyNode *list = hy_load_text(a, wrapped, size + 2, where, err);
    if (list && list->first && !list->first->next) return list->first;
    if (list) err_set(err, "%s: '%s' is more than one value", where, text);
    if (!list && strncmp(err->text + prefix - 4, ":1: ", 4) == 0)
        err_set(err, "%s: %s", where,
                hy_copy_text(a, err->text + prefix, strlen(err->text) - prefix));
    return NULL;
}

int config_set(Config *c, const char *key, const char *value, const char *where, Err *err)
{
    int row = config_key_find(key), n;
    if (row < 0) return config_key_unknown(key, where, err);
    HyArena *a = hy_arena_new();
    const HyNode *node = value_read(a, value, where, err);
    int rc = node ? config_key_set(c, config_keys(&n) + row, node, where, err) : -1;
    hy_arena_free(a);
    return rc;
}

void config_defaults(Config *c)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    memset(c, 0, sizeof *c);
    for (int i = 0; i < n; i++) {
        Err err;
        CHECK(config_set(c, keys[i].name, keys[i].text, "default", &err) == 0, "%s", err.text);
    }
}

/* The shortest digits that read back to the same number, always with a '.': "500000.0", "1.0e-05",
 * a float for every YAML and JSON reader. */
static void float_format(double v, char *out, size_t size)
{
    char digits[40];
    bool fixed = v == 0 || (fabs(v) >= 1e-4 && fabs(v) < 1e15);
    for (int places = 1; fixed && places <= 21; places++) {
        snprintf(out, size, "%.*f", places, v);
        if (strtod(out, NULL) == v) return;
    }
    for (int precision = 2; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, v);
        if (strtod(digits, NULL) == v) break;
    }
    snprintf(out, size, "%s", digits);
}

/* Characters that YAML or JSON cannot hold as they are, or that a reader would not see. */
static bool is_escaped(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
           code == 0xFEFF || code == 0xFFFE || code == 0xFFFF;
}

void config_quote(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t code;
        int n = utf8_read(s, strnlen((const char *)s, UTF8_MAX), &code);
        CHECK(n > 0, "a stored text is not UTF-8");
        if (is_escaped(code)) {
            fprintf(out, "\\u%04x", code);
        } else {
            if (code == '"' || code == '\\') fputc('\\', out);
            fwrite(s, 1, (size_t)n, out);
        }
        s += n;
    }
    fputc('"', out);
}

static int list_format(const SpecList *list, char *out, int size)
{
    char *text = NULL;
    size_t used = 0;
    FILE *stream = open_memstream(&text, &used);
    mem_need(stream, "a configuration");
    fputc('[', stream);
    for (int i = 0; i < list->n; i++) {
        if (i > 0) fputs(", ", stream);
        config_quote(stream, list->glob[i]);
    }
    fputc(']', stream);
    fclose(stream);
    snprintf(out, (size_t)size, "%s", text);
    free(text);
    return (int)used;
}

int config_key_get(const Config *c, const ConfigKey *key, char *out, int out_size)
{
    if (key->offset < 0) return snprintf(out, (size_t)out_size, "%s", key->text);
    const void *field = (const char *)c + key->offset;
    char number[48];
    const char *text = number;
    switch (key->type) {
    case KEY_BOOL:
        text = *(const bool *)field ? "true" : "false";
        break;
    case KEY_INT_NULL:
    case KEY_INT:
        snprintf(number, sizeof number, "%lld", (long long)*(const int64_t *)field);
        if (key->type == KEY_INT_NULL && *(const int64_t *)field < 0) text = "null";
        break;
    case KEY_FLOAT:
        float_format(*(const double *)field, number, sizeof number);
        break;
    case KEY_TEXT:
    case KEY_TEXT_NULL:
        text = field;
        break;
    case KEY_ENUM:
        text = key->names[*(const int *)field];
        break;
    case KEY_LIST:
        return list_format(field, out, out_size);
    }
    return snprintf(out, (size_t)out_size, "%s", text);
}

int config_get(const Config *c, const char *key, char *out, int out_size)
{
    int row = config_key_find(key), n;
    if (row < 0) return -1;
    return config_key_get(c, config_keys(&n) + row, out, out_size) < out_size ? 0 : -1;
}

const char *config_device(const Config *c, const char *given)
{
    if (given) return given;
    return c->backend == BACKEND_GPU || c->backend == BACKEND_CUDA ? "cuda" : "cpu";
}
