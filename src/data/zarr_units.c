/* Finding and decoding units. Those that are one shuffled block of 4-byte integers, as published
 * arrays have them, are left as planes of bytes: who packs them or turns them into ids puts the
 * bytes together at the same time. */
#include "data/zarr_units.h"

#include <limits.h>

#include "base/log.h"
#include "data/codec_kinds.h"
#include "data/widen.h"

enum { WHOLE_PART = 1 << 18, LEAST_UNIT = 1 << 16 };

/* --- opening ---------------------------------------------------------------------------------- */

static bool is_large_blosc(const ZarrMeta *m)
{
    return m->chain.n == 1 && m->chain.codecs[0].kind == &codec_blosc &&
           zarr_part_bytes(m) > WHOLE_PART;
}

/* The block size of the first part, which the others most likely share; it is only a matter of
 * speed. 0: there is none. */
static int64_t peek_block(const ZarrUnits *u, Err *err)
{
    const ZarrMeta *m = u->meta;
    ChunkFile file;
    ChunkPart part;
    TRY(chunk_files_get(u->files, 0, &file, err));
    int64_t block = chunk_part(u->files, &file, 0, &part, err);
    if (block == 0 && part.bytes != NULL)
        block = blosc_block_items(part.bytes, part.size, zarr_part_bytes(m), m->type.size);
    chunk_files_put(u->files, &file);
    return block;
}

int zarr_units_open(ZarrUnits *u, const ZarrMeta *m, const char *dir, ChunkFiles *files, Err *err)
{
    *u = (ZarrUnits){.meta = m, .dir = dir, .files = files, .items = m->inner};
    pthread_mutex_init(&u->lock, NULL);
    if (m->length > 0 && is_large_blosc(m)) {
        int64_t block = peek_block(u, err), least = LEAST_UNIT / m->type.size;
        TRY(block);
        if (block > 0 && block < least) block *= least / block;
        if (block > 0 && block < u->items) u->items = block;
    }
    u->per_part = m->inner / u->items + (m->inner % u->items != 0);
    return 0;
}

void zarr_units_close(ZarrUnits *u)
{
    for (int i = 0; i < u->n_states; i++) codec_state_free(&u->states[i]);
    pthread_mutex_destroy(&u->lock);
}

CodecState zarr_units_take(ZarrUnits *u)
{
    CodecState state = {0};
    pthread_mutex_lock(&u->lock);
    if (u->n_states > 0) state = u->states[--u->n_states];
    pthread_mutex_unlock(&u->lock);
    return state;
}

void zarr_units_give(ZarrUnits *u, CodecState *state)
{
    pthread_mutex_lock(&u->lock);
    bool kept = u->n_states < UNIT_STATES;
    if (kept) u->states[u->n_states++] = *state;
    pthread_mutex_unlock(&u->lock);
    if (!kept) codec_state_free(state);
}

/* --- decoding --------------------------------------------------------------------------------- */

int64_t zarr_unit_key(const ZarrUnits *u, int64_t file, int64_t part, int64_t at)
{
    return (file * zarr_parts(u->meta) + part) * u->per_part + at / u->items;
}

int64_t zarr_unit_items(const ZarrUnits *u, int64_t key)
{
    int64_t left = u->meta->inner - key % u->per_part * u->items;
    return left < u->items ? left : u->items;
}

/* A file that is not there reads as fill_value, so zarr wants it; in tokens it is most likely a
 * download that did not end, and worth a word. */
void zarr_units_tell_of_gap(ZarrUnits *u, int64_t file)
{
    char path[PATH_MAX];
    Err ignored;
    if (atomic_exchange(&u->told_of_gap, true)) return;
    if (zarr_file_path(u->meta, u->dir, file, path, sizeof path, &ignored) == 0)
        log_info("warning: %s is missing: its tokens read as %lld; `ttt data check` lists what to "
                 "fetch again",
                 path, (long long)u->meta->fill);
}

static void fill_unit(const ZarrMeta *m, DecodedUnit *out)
{
    for (int64_t i = 0; i < out->n; i++) int_store(m->type, m->fill, out->bytes + i * m->type.size);
}

static bool may_be_planes(const ZarrMeta *m)
{
    return m->chain.n == 1 && m->chain.codecs[0].kind == &codec_blosc && m->type.size == 4 &&
           !m->type.big_endian;
}

static int decode_part(const ZarrUnits *u, CodecState *state, ChunkPart part, int64_t unit,
                       DecodedUnit *out, Err *err)
{
    const ZarrMeta *m = u->meta;
    int64_t bytes = zarr_part_bytes(m), size = m->type.size, first = unit * u->items;
    if (may_be_planes(m)) {
        int done = blosc_zstd_planes(state, part.bytes, part.size, bytes, first * size,
                                     out->n * size, out->bytes, err);
        out->planes = done == 1;
        if (done != 0) return done < 0 ? -1 : 0;
    }
    if (u->per_part > 1)
        return blosc_decode_items(state, part.bytes, part.size, bytes, m->type.size, first, out->n,
                                  out->bytes, err);
    return chain_decode(&m->chain, state, part.bytes, part.size, out->bytes, bytes, err);
}

int zarr_unit_decode(ZarrUnits *u, CodecState *state, int64_t key, DecodedUnit *out, Err *err)
{
    int64_t parts = zarr_parts(u->meta), part_number = key / u->per_part % parts;
    int64_t number = key / u->per_part / parts;
    ChunkFile file;
    ChunkPart part;
    out->n = zarr_unit_items(u, key);
    out->planes = false;
    TRY(chunk_files_get(u->files, number, &file, err));
    int status = chunk_part(u->files, &file, part_number, &part, err);
    if (status == 0 && part.bytes == NULL) {
        if (file.bytes == NULL) zarr_units_tell_of_gap(u, number);
        fill_unit(u->meta, out);
    } else if (status == 0) {
        status = decode_part(u, state, part, key % u->per_part, out, err);
        if (status < 0 && u->meta->sharded)
            err_wrap(err, "chunk %lld of the shard", (long long)part_number);
        if (status < 0) chunk_fail(u->files, number, err);
    }
    chunk_files_put(u->files, &file);
    return status;
}
