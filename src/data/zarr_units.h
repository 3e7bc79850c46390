/* Units: what of a zarr array can be decoded by itself. A whole part, or, where a part is one long
 * blosc buffer, a block of it, so that a short sequence does not cost the decoding of a long chunk.
 */
#ifndef TTT_DATA_ZARR_UNITS_H
#define TTT_DATA_ZARR_UNITS_H

#include <pthread.h>
#include <stdatomic.h>

#include "data/chunk_files.h"

enum { UNIT_STATES = 16 };

typedef struct ZarrUnits {
    const ZarrMeta *meta;
    const char *dir;
    ChunkFiles *files;
    int64_t items; /* of a unit; the last of a part may have fewer */
    int64_t per_part;
    atomic_bool told_of_gap; /* that a file is missing was said */
    pthread_mutex_t lock;    /* of the states */
    CodecState states[UNIT_STATES];
    int n_states; /* idle ones */
} ZarrUnits;

/* meta, dir and files are borrowed. To be closed even if it fails. */
int zarr_units_open(ZarrUnits *u, const ZarrMeta *meta, const char *dir, ChunkFiles *files,
                    Err *err);
void zarr_units_close(ZarrUnits *u);

/* The key of the unit with item `at` of a part: those of the array follow on each other. */
int64_t zarr_unit_key(const ZarrUnits *u, int64_t file, int64_t part, int64_t at);
/* The items of that unit. */
int64_t zarr_unit_items(const ZarrUnits *u, int64_t key);

/* A decoded unit: n integers of the array's type, or as planes, (4, n) bytes, the lowest of every
 * integer first. */
typedef struct DecodedUnit {
    unsigned char *bytes; /* with room for `items` integers, the caller's */
    int64_t n;
    bool planes;
} DecodedUnit;

int zarr_unit_decode(ZarrUnits *u, CodecState *state, int64_t key, DecodedUnit *out, Err *err);

/* What decoding keeps: taken by a thread, and given back. */
CodecState zarr_units_take(ZarrUnits *u);
void zarr_units_give(ZarrUnits *u, CodecState *state);

/* Says once that tokens of a missing file read as fill_value. */
void zarr_units_tell_of_gap(ZarrUnits *u, int64_t file);

#endif
