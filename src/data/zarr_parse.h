/* The two metadata formats, parsed: zarr_meta.c opens the files. */
#ifndef TTT_DATA_ZARR_PARSE_H
#define TTT_DATA_ZARR_PARSE_H

#include <jansson.h>

#include "data/zarr_meta.h"

/* Messages come without the file's name. */
int zarr_parse_v3(ZarrMeta *out, const json_t *root, Err *err);
int zarr_parse_v2(ZarrMeta *out, const json_t *root, Err *err);

#endif
