/* Token sources on zarr: a split of a folder that `ttt data encode` made, or of any zarr group with
 * one-dimensional integer arrays /train and /val. */
#ifndef TTT_DATA_ZARR_SOURCE_H
#define TTT_DATA_ZARR_SOURCE_H

#include <stdbool.h>

#include "data/dataset.h"
#include "data/token_source.h"
#include "data/zarr_array.h"

/* Whether the folder is a zarr group without a dataset.json. */
bool zarr_group_there(const char *dir);

/* info: dataset.json, or NULL for a group that has none; then vocabulary and BOS are unknown, and
 * any array of the group is a split. */
int zarr_source_open(TokenSource **out, const char *dir, const char *split, const DatasetInfo *info,
                     Err *err);
/* The array of a source that zarr_source_open opened. */
ZarrArray *zarr_source_array(const TokenSource *s);

#endif
