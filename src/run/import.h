/* From tensors of others to a model folder: model.safetensors, config.yaml, the tokenizer's file,
 * and, with an optimizer's moments, a checkpoint that training can go on from. */
#ifndef TTT_RUN_IMPORT_H
#define TTT_RUN_IMPORT_H

#include <limits.h>

#include "run/import_config.h"

typedef struct ImportOptions {
    const char *source; /* what st_set_open takes */
    const char *out;    /* the folder to make; may be there if it is empty */
    const char *layout; /* NULL: the one whose names are there */
    const char *prefix; /* before every name; tensors without it are left out */
    ConfigSources config;
    const char *tokenizer; /* a file or a folder with one; NULL: the one beside the source */
    const char *optimizer; /* tensors "mu/PATH" and "nu/PATH"; NULL: none */
    int64_t step, updates; /* of the checkpoint, with an optimizer */
    bool allow_nan, force, dry_run;
} ImportOptions;

typedef struct Import {
    StSet *set, *moments; /* moments NULL: none */
    WeightMap map, mu, nu;
    ImportConfig config;
    char tokenizer[PATH_MAX]; /* the file to copy; "": none */
} Import;

/* Opens and checks everything; nothing is written. On failure nothing stays open. */
int import_open(Import *im, const ImportOptions *o, Err *err);
/* Makes the folder, whole or not at all. Without all keys of the configuration it has no
 * config.yaml (im->config.missing). */
int import_write(const Import *im, const ImportOptions *o, Err *err);
void import_close(Import *im);

#endif
