/* The .hydra folder of a run: what it was composed from. */
#ifndef TTT_CLI_HYDRA_KEEP_H
#define TTT_CLI_HYDRA_KEEP_H

#include "model/config.h"
#include "model/config_tree.h"
#include "run/train.h"

enum { HYDRA_KEPT = 3 };

/* config.yaml, hydra.yaml and overrides.yaml below hydra.output_subdir; none when that is null. The
 * names and texts live in h's arena. Returns how many. */
int hydra_keep(HyConfig *h, TrainFile file[HYDRA_KEPT]);

/* A tree as a YAML text that holds no training.wandb_key; NULL when the arena is full. */
const char *hydra_keep_text(HyArena *a, const HyNode *tree);

#endif
