/* The key table: one row per key. Setting, reading back, saving, checking, help and docs/config.md
 * all walk it. Internal to the configuration and to the commands that print it. */
#ifndef TTT_MODEL_CONFIG_TABLE_H
#define TTT_MODEL_CONFIG_TABLE_H

#include <stdio.h>

#include "hydra/tree.h"
#include "model/config.h"

enum {
    CONFIG_NO_FIELD = -1, /* no field of Config, but a meaning: only one value, or for references */
    CONFIG_NO_EFFECT = -2, /* accepted and checked, without meaning here */
    CONFIG_KEYS_MAX = 128,
    CONFIG_VALUE_MAX = 32768
};

typedef enum KeyType {
    KEY_BOOL,
    KEY_INT,
    KEY_INT_NULL, /* null is stored as -1 */
    KEY_FLOAT,
    KEY_TEXT, /* bounds are its length in bytes; "???" (missing) is stored as "" */
    KEY_TEXT_NULL,
    KEY_ENUM,
    KEY_LIST
} KeyType;

typedef struct ConfigKey {
    const char *name;
    KeyType type;
    int offset; /* in Config, or one of the two above */
    double min, max;
    const char *text;         /* default, as in YAML */
    const char *const *names; /* of an enum, in the order of its C enum, NULL at the end */
    const char *doc;
} ConfigKey;

/* All rows, in the order of the saved file; *n is their number. */
const ConfigKey *config_keys(int *n);
/* The row number of a key; -1 when unknown. */
int config_key_find(const char *name);
/* "WHERE: unknown key 'NAME'; did you mean 'NEAREST'?". Returns -1. */
int config_key_unknown(const char *name, const char *where, Err *err);
/* What a key takes: "an integer from 1 to 64". Returns out. */
const char *config_key_describe(const ConfigKey *key, char *out, int size);

/* Sets one key from a value of a tree; the message says where it stands and what is allowed. */
int config_key_set(Config *c, const ConfigKey *key, const HyNode *value, const char *where,
                   Err *err);
/* A field's value as bare text; a key without a field gives its default. */
int config_key_get(const Config *c, const ConfigKey *key, char *out, int out_size);

/* Writes UTF-8 text in double quotes, with escapes that YAML and JSON share. */
void config_quote(FILE *out, const char *text);

/* As config_read from text; complete demands every key under "model". name stands in messages. */
int config_parse(Config *c, const char *text, size_t size, const char *name, bool complete,
                 Err *err);
/* Rows as nested YAML, each at its default. */
void config_sections_print(FILE *out, const ConfigKey *keys, int n);
/* The table as Markdown (docs/config.md), to be freed by the caller. */
char *config_keys_markdown(void);

#endif
