/* The types of hydra's own keys. */
#ifndef TTT_HYDRA_OWN_KEYS_H
#define TTT_HYDRA_OWN_KEYS_H

#include "hydra/tree.h"

/* Refuses values of hydra's node that Hydra's structured configuration refuses; references and ???
 * are left to whoever reads them. */
int hy_own_keys_check(HyArena *a, HyNode *hydra, Err *err);

#endif
