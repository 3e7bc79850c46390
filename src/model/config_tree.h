/* Between a composed tree and the configuration: what every composition of ours starts from, and
 * reading values off the tree by the key table. */
#ifndef TTT_MODEL_CONFIG_TREE_H
#define TTT_MODEL_CONFIG_TREE_H

#include "hydra/compose.h"
#include "model/config.h"

/* All keys at their defaults as YAML, to be freed: the structured part under every composition. */
char *config_base(void);
/* The configuration from the tree's values, references filled in, checked by the table. */
int config_take(Config *c, HyConfig *h, Err *err);
/* The tree with references filled in and every value of its row's type, to print; c is what
 * config_take made of it. NULL on failure. */
HyNode *config_typed(HyConfig *h, const Config *c, Err *err);
/* Fails when a key that means something here is still ???. */
int config_check_missing(HyConfig *h, HyNode *tree, Err *err);
/* One line about the keys that are set and have no effect here; NULL: none. In h's arena. */
const char *config_idle(HyConfig *h);
/* Options for a composition from one folder of ours; base is config_base's. */
HyOptions config_options(const char *folder, const char *base, const char *const *overrides,
                         int n_overrides);

#endif
