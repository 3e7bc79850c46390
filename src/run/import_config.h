/* The configuration of an imported model: what a file, an experiment or overrides say, what the
 * tensors' shapes tell, and the names of keys that nothing tells. */
#ifndef TTT_RUN_IMPORT_CONFIG_H
#define TTT_RUN_IMPORT_CONFIG_H

#include "base/names.h"
#include "run/weights.h"

typedef struct ConfigSources {
    const char *config_dir;       /* of experiments; NULL: as config_dir_find finds it */
    const char *config_file;      /* a config.yaml or Llama's config.json; NULL: see below */
    const char *const *overrides; /* (n_overrides) "key=value", "+experiment=NAME" */
    int n_overrides;
} ConfigSources;

typedef struct ImportConfig {
    Config cfg;
    int64_t kv_heads;
    /* Keys that shape the function and cannot be told: no config.yaml can be written. */
    NameList missing;
    NameList assumed; /* less likely to differ: taken from the table of keys, "key = value" each */
} ImportConfig;

/* Without a config_file, one that lies beside the tensors is taken, or the one in the file's own
 * metadata. A shape that contradicts what was said is an error. */
int import_config(ImportConfig *out, const ConfigSources *from, const StSet *set,
                  WeightLayout layout, const WeightShapes *shapes, Err *err);

#endif
