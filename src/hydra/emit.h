/* A tree as text. */
#ifndef TTT_HYDRA_EMIT_H
#define TTT_HYDRA_EMIT_H

#include "hydra/tree.h"

/* YAML as OmegaConf writes it. */
char *hy_yaml(HyArena *a, const HyNode *root);
/* JSON with two blanks of indent; floats that JSON cannot hold are {"$float": "nan"}. */
char *hy_json(HyArena *a, const HyNode *root);

#endif
