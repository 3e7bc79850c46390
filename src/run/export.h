/* From a model folder to one safetensors file in any layout. */
#ifndef TTT_RUN_EXPORT_H
#define TTT_RUN_EXPORT_H

#include "run/weights.h"

typedef struct ExportOptions {
    const char *model; /* a model folder */
    const char *out;   /* the file; a folder for hf-llama, with its config.json */
    const char *layout;
    StType type; /* ST_F32 or ST_BF16 */
    bool allow_nan, force;
} ExportOptions;

typedef struct Export {
    StSet *set;
    Config cfg;
    WeightMap map;
    WeightLayout layout; /* of the output */
} Export;

int export_open(Export *e, const ExportOptions *o, Err *err);
int export_write(const Export *e, const ExportOptions *o, Err *err);
void export_close(Export *e);

#endif
