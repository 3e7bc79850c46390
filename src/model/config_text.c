/* A whole configuration as text: the saved YAML, the same as JSON, and the table's documentation.
 * Keys stand in table order, so that each section is one run of rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/config_table.h"

/* Whether a text needs no quotes in YAML and cannot be taken for a number, bool or null. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on",
                                        "off",  "y",    "n",     "nan", "inf"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "0123456789_./-";
    const char *start = text + (strncmp(text, "./", 2) == 0);
    if (!*start || (!strchr(letters, *start) && *start != '/')) return false;
    for (const char *s = text; *s; s++) {
        if (!strchr(letters, *s) && !strchr(others, *s)) return false;
    }
    for (int i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(text, words[i]) == 0) return false;
    }
    return true;
}

static void value_print(FILE *out, const Config *c, const ConfigKey *key)
{
    char text[CONFIG_VALUE_MAX];
    config_key_get(c, key, text, sizeof text);
    bool is_text = key->type == KEY_TEXT || key->type == KEY_TEXT_NULL || key->type == KEY_ENUM;
    if (is_text && !is_plain(text)) {
        config_quote(out, text);
    } else {
        fputs(text, out);
    }
}

static void indent(FILE *out, int depth)
{
    fprintf(out, "%*s", 2 * depth, "");
}

/* Sections two dotted names have in common. */
static int depth_shared(const char *a, const char *b)
{
    int depth = 0;
    for (; *a && *a == *b; a++, b++) depth += *a == '.';
    return depth;
}

static int depth_of(const char *name)
{
    int depth = 0;
    for (; *name; name++) depth += *name == '.';
    return depth;
}

/* Opens sections between two neighbouring keys; last may be "". */
static void sections_print(FILE *out, const char *last, const char *next)
{
    int shared = depth_shared(last, next), depth = 0;
    for (const char *dot; (dot = strchr(next, '.')) != NULL; next = dot + 1) {
        if (depth++ < shared) continue;
        indent(out, depth - 1);
        fprintf(out, "%.*s:\n", (int)(dot - next), next);
    }
}

char *config_text(const Config *c)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    char *text = NULL;
    const char *last = "";
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    mem_need(out, "a configuration");
    for (int i = 0; i < n; i++) {
        if (keys[i].offset < 0) continue;
        sections_print(out, last, keys[i].name);
        last = keys[i].name;
        indent(out, depth_of(last));
        fprintf(out, "%s: ", strrchr(last, '.') + 1);
        value_print(out, c, &keys[i]);
        fputc('\n', out);
    }
    fclose(out);
    return text;
}

/* "???" and references of the table stay; a text that looks like a number is quoted. */
void config_sections_print(FILE *out, const ConfigKey *keys, int n)
{
    const char *last = "";
    for (int i = 0; i < n; i++) {
        bool is_text = keys[i].type == KEY_TEXT || keys[i].type == KEY_ENUM;
        sections_print(out, last, keys[i].name);
        last = keys[i].name;
        indent(out, depth_of(last));
        fprintf(out, "%s: ", strrchr(last, '.') + 1);
        if (strcmp(keys[i].name, "model.output_size") == 0)
            fputs("${model.vocab_size}", out); /* unless it is given */
        else if (is_text)
            config_quote(out, keys[i].text);
        else
            fputs(keys[i].text, out);
        fputc('\n', out);
    }
}

int config_write(const Config *c, const char *path, Err *err)
{
    char *text = config_text(c);
    int rc = file_write_atomic(path, text, strlen(text), err);
    free(text);
    return rc;
}

char *config_keys_markdown(void)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    char *text = NULL, allowed[CFG_TEXT];
    const char *last = "";
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    mem_need(out, "a configuration");
    fputs("# Configuration keys\n\n"
          "Printed by `ttt config --keys` from the table in `src/model/config_table.c`. `???` is a "
          "value\nthat the configuration leaves to you. Keys without effect are accepted and "
          "checked, so that\npublished configurations load as they are.\n",
          out);
    for (int i = 0; i < n; i++) {
        int section = (int)strcspn(keys[i].name, ".");
        if (strncmp(last, keys[i].name, (size_t)section + 1) != 0) {
            fprintf(out, "\n## %.*s\n\n| key | takes | default | meaning |\n|---|---|---|---|\n",
                    section, keys[i].name);
        }
        last = keys[i].name;
        config_key_describe(&keys[i], allowed, sizeof allowed);
        fprintf(out, "| `%s` | %s | `%s` | %s |\n", last, allowed,
                keys[i].text[0] ? keys[i].text : "\"\"", keys[i].doc);
    }
    fclose(out);
    return text;
}
