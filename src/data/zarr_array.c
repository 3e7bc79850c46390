/* Reading an array. Uncompressed parts are read from the mapped file. Compressed ones are decoded
 * in units that a cache keeps: a whole part, or, where a part is one large blosc buffer, a block of
 * it, so that a short sequence does not cost the decoding of a long chunk. Reads that follow on
 * each other pass the cache by: one unit is enough for them, and it stays in the processor's own.
 */
#include "data/zarr_array.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/chunk_files.h"
#include "data/codec_kinds.h"
#include "data/unit_cache.h"
#include "data/widen.h"

enum { MAX_STATES = 16, STREAK = 4, WHOLE_PART = 1 << 18, LEAST_UNIT = 1 << 16, LEAST_UNITS = 16 };

struct ZarrArray {
    ZarrMeta meta;
    char dir[PATH_MAX];
    ChunkFiles *files;
    UnitCache *cache; /* NULL when nothing is compressed */
    int64_t unit;     /* elements */
    int64_t units_per_part, max_units;
    pthread_mutex_t lock; /* of the states */
    CodecState states[MAX_STATES];
    int n_states;                /* idle ones */
    pthread_mutex_t stream_lock; /* of what follows: a reader that goes through from end to end */
    int64_t next;                /* where the last read ended */
    int streak;                  /* reads that followed on each other */
    unsigned char *stream;       /* its unit, */
    int64_t stream_key;          /* and which that is; -1: none */
    atomic_bool told_of_gap;     /* that a file is missing was said */
};

/* Where an element is. */
typedef struct Place {
    int64_t file, part, at; /* part of the file, element of the part */
} Place;

static Place place_of(const ZarrMeta *m, int64_t position)
{
    int64_t in_file = position % m->chunk;
    return (Place){position / m->chunk, in_file / m->inner, in_file % m->inner};
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool is_large_blosc(const ZarrMeta *m)
{
    return m->chain.n == 1 && m->chain.codecs[0].kind == &codec_blosc &&
           zarr_part_bytes(m) > WHOLE_PART;
}

/* The block size of the first part, which the others most likely share; it is only a matter of
 * speed. 0: there is none. */
static int64_t peek_block(ZarrArray *a, Err *err)
{
    const ZarrMeta *m = &a->meta;
    ChunkFile file;
    ChunkPart part;
    TRY(chunk_files_get(a->files, 0, &file, err));
    int64_t block = chunk_part(a->files, &file, 0, &part, err);
    if (block == 0 && part.bytes != NULL)
        block = blosc_block_items(part.bytes, part.size, zarr_part_bytes(m), m->type.size);
    chunk_files_put(a->files, &file);
    return block;
}

static int choose_unit(ZarrArray *a, Err *err)
{
    const ZarrMeta *m = &a->meta;
    a->unit = m->inner;
    if (m->length > 0 && is_large_blosc(m)) {
        int64_t block = peek_block(a, err), least = LEAST_UNIT / m->type.size;
        TRY(block);
        if (block > 0 && block < least) block *= least / block;
        if (block > 0 && block < a->unit) a->unit = block;
    }
    a->units_per_part = m->inner / a->unit + (m->inner % a->unit != 0);
    return 0;
}

static int open_cache(ZarrArray *a, int64_t cache_bytes, Err *err)
{
    const ZarrMeta *m = &a->meta;
    int64_t unit_bytes = a->unit * m->type.size, available = (int64_t)mem_available();
    int64_t all = m->length / a->unit + 2 * a->units_per_part;
    if (cache_bytes == 0) cache_bytes = available / 8;
    if (unit_bytes > available / 2)
        return err_set(err,
                       "%s: its chunks take %lld MB decoded, and %lld MB of memory are free; "
                       "rewrite it with smaller chunks on a larger machine (ttt data repack)",
                       a->dir, (long long)(unit_bytes >> 20), (long long)(available >> 20));
    a->max_units = cache_bytes / unit_bytes;
    if (a->max_units > all) a->max_units = all;
    if (a->max_units < LEAST_UNITS && LEAST_UNITS * unit_bytes < available / 2)
        a->max_units = LEAST_UNITS;
    return unit_cache_open(&a->cache, unit_bytes, a->max_units, err);
}

static int array_open(ZarrArray *a, const char *dir, int64_t cache_bytes, Err *err)
{
    TRY(path_join(a->dir, sizeof a->dir, "", dir, err));
    TRY(zarr_meta_read(&a->meta, dir, err));
    TRY(chunk_files_open(&a->files, &a->meta, a->dir, err));
    TRY(choose_unit(a, err));
    return a->meta.chain.n == 0 ? 0 : open_cache(a, cache_bytes, err);
}

int zarr_array_open(ZarrArray **out, const char *dir, int64_t cache_bytes, Err *err)
{
    ZarrArray *a = *out = calloc(1, sizeof *a);
    if (a == NULL) return err_set(err, "no memory to open %s", dir);
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->stream_lock, NULL);
    a->stream_key = -1;
    if (array_open(a, dir, cache_bytes, err) == 0) return 0;
    zarr_array_close(a);
    *out = NULL;
    return -1;
}

void zarr_array_close(ZarrArray *a)
{
    if (a == NULL) return;
    for (int i = 0; i < a->n_states; i++) codec_state_free(&a->states[i]);
    unit_cache_close(a->cache);
    chunk_files_close(a->files);
    free(a->stream);
    pthread_mutex_destroy(&a->stream_lock);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

const ZarrMeta *zarr_array_meta(const ZarrArray *a)
{
    return &a->meta;
}

const char *zarr_array_dir(const ZarrArray *a)
{
    return a->dir;
}

int64_t zarr_array_unit(const ZarrArray *a)
{
    return a->unit;
}

int64_t zarr_array_cached(const ZarrArray *a)
{
    return a->max_units * a->unit;
}

int zarr_array_has_file(ZarrArray *a, int64_t number, Err *err)
{
    ChunkFile file;
    TRY(chunk_files_get(a->files, number, &file, err));
    int there = file.bytes != NULL;
    chunk_files_put(a->files, &file);
    return there;
}

/* --- decoding --------------------------------------------------------------------------------- */

static CodecState state_take(ZarrArray *a)
{
    CodecState state = {0};
    pthread_mutex_lock(&a->lock);
    if (a->n_states > 0) state = a->states[--a->n_states];
    pthread_mutex_unlock(&a->lock);
    return state;
}

static void state_give(ZarrArray *a, CodecState *state)
{
    pthread_mutex_lock(&a->lock);
    bool kept = a->n_states < MAX_STATES;
    if (kept) a->states[a->n_states++] = *state;
    pthread_mutex_unlock(&a->lock);
    if (!kept) codec_state_free(state);
}

/* A file that is not there reads as fill_value, so zarr wants it; in tokens it is most likely a
 * download that did not end, and worth a word. */
static void tell_of_gap(ZarrArray *a, int64_t file)
{
    char path[PATH_MAX];
    Err ignored;
    if (atomic_exchange(&a->told_of_gap, true)) return;
    if (zarr_file_path(&a->meta, a->dir, file, path, sizeof path, &ignored) == 0)
        log_info("warning: %s is missing: its tokens read as %lld; `ttt data check` lists what to "
                 "fetch again",
                 path, (long long)a->meta.fill);
}

static void fill_unit(const ZarrArray *a, int64_t n, unsigned char *out)
{
    int size = a->meta.type.size;
    for (int64_t i = 0; i < n; i++) int_store(a->meta.type, a->meta.fill, out + i * size);
}

static int decode_unit(ZarrArray *a, ChunkPart part, int64_t unit, unsigned char *out, Err *err)
{
    const ZarrMeta *m = &a->meta;
    int64_t first = unit * a->unit, n = m->inner - first;
    if (n > a->unit) n = a->unit;
    int64_t bytes = zarr_part_bytes(m);
    CodecState state = state_take(a);
    int status = a->units_per_part > 1
                     ? blosc_decode_items(&state, part.bytes, part.size, bytes, m->type.size, first,
                                          n, out, err)
                     : chain_decode(&m->chain, &state, part.bytes, part.size, out, bytes, err);
    state_give(a, &state);
    return status;
}

/* key: (file, part, unit of the part). */
static int unit_fill(void *context, int64_t key, unsigned char *out, Err *err)
{
    ZarrArray *a = context;
    int64_t unit = key % a->units_per_part, parts = zarr_parts(&a->meta);
    int64_t part_number = key / a->units_per_part % parts;
    int64_t number = key / a->units_per_part / parts;
    ChunkFile file;
    ChunkPart part;
    TRY(chunk_files_get(a->files, number, &file, err));
    int status = chunk_part(a->files, &file, part_number, &part, err);
    if (status == 0 && part.bytes == NULL) {
        if (file.bytes == NULL) tell_of_gap(a, number);
        fill_unit(a, a->unit, out);
    } else if (status == 0) {
        status = decode_unit(a, part, unit, out, err);
        if (status < 0 && a->meta.sharded)
            err_wrap(err, "chunk %lld of the shard", (long long)part_number);
        if (status < 0) chunk_fail(a->files, number, err);
    }
    chunk_files_put(a->files, &file);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int bad_token(ZarrArray *a, int64_t position, int64_t value, int32_t limit, Err *err)
{
    char path[PATH_MAX];
    TRY(zarr_file_path(&a->meta, a->dir, position / a->meta.chunk, path, sizeof path, err));
    return err_set(err,
                   "%s: token %lld is %lld, outside the vocabulary of %d; the file is damaged, or "
                   "was made with a tokenizer of more tokens (model.vocab_size)",
                   path, (long long)position, (long long)value, limit);
}

static int give(ZarrArray *a, const unsigned char *src, int64_t position, int64_t n, int32_t limit,
                int32_t *out, Err *err)
{
    IntType type = a->meta.type;
    int64_t bad = widen(type, src, n, limit, out);
    if (bad < 0) return 0;
    return bad_token(a, position + bad, int_load(type, src + bad * type.size), limit, err);
}

static int read_mapped(ZarrArray *a, Place p, int64_t position, int64_t n, int32_t limit,
                       int32_t *out, Err *err)
{
    ChunkFile file;
    ChunkPart part;
    TRY(chunk_files_get(a->files, p.file, &file, err));
    int status = chunk_part(a->files, &file, p.part, &part, err);
    if (status == 0 && part.bytes != NULL && part.size != zarr_part_bytes(&a->meta)) {
        err_set(err, "chunk %lld has %lld bytes, not %lld", (long long)p.part, (long long)part.size,
                (long long)zarr_part_bytes(&a->meta));
        status = chunk_fail(a->files, p.file, err);
    } else if (status == 0 && part.bytes == NULL) {
        if (file.bytes == NULL) tell_of_gap(a, p.file);
        if (a->meta.fill < 0 || a->meta.fill >= limit)
            status = bad_token(a, position, a->meta.fill, limit, err);
        for (int64_t i = 0; i < n && status == 0; i++) out[i] = (int32_t)a->meta.fill;
    } else if (status == 0) {
        status = give(a, part.bytes + p.at * a->meta.type.size, position, n, limit, out, err);
    }
    chunk_files_put(a->files, &file);
    return status;
}

static int64_t unit_key(const ZarrArray *a, Place p)
{
    return (p.file * zarr_parts(&a->meta) + p.part) * a->units_per_part + p.at / a->unit;
}

static int read_cached(ZarrArray *a, Place p, int64_t position, int64_t n, int32_t limit,
                       int32_t *out, Err *err)
{
    Unit unit;
    TRY(unit_cache_get(a->cache, unit_key(a, p), unit_fill, a, &unit, err));
    int status =
        give(a, unit.bytes + p.at % a->unit * a->meta.type.size, position, n, limit, out, err);
    unit_cache_put(a->cache, &unit);
    return status;
}

/* Called with the stream's lock. */
static int read_stream(ZarrArray *a, Place p, int64_t position, int64_t n, int32_t limit,
                       int32_t *out, Err *err)
{
    int64_t key = unit_key(a, p);
    if (key != a->stream_key) {
        a->stream_key = -1;
        TRY(unit_fill(a, key, a->stream, err));
        a->stream_key = key;
    }
    return give(a, a->stream + p.at % a->unit * a->meta.type.size, position, n, limit, out, err);
}

/* Whether the read [start, start + n) goes on where the last ones ended; then the stream's lock is
 * held. Training sequences share a token with their neighbours. */
static bool stream_begin(ZarrArray *a, int64_t start, int64_t n)
{
    if (a->cache == NULL || pthread_mutex_trylock(&a->stream_lock) != 0) return false;
    bool follows = start == a->next || start == a->next - 1;
    a->streak = follows ? a->streak + (a->streak < STREAK) : 0;
    a->next = start + n;
    if (a->streak == STREAK && a->stream == NULL)
        a->stream = malloc((size_t)(a->unit * a->meta.type.size));
    if (a->streak == STREAK && a->stream != NULL) return true;
    pthread_mutex_unlock(&a->stream_lock);
    return false;
}

static int read_all(ZarrArray *a, bool stream, int64_t start, int64_t n, int32_t limit,
                    int32_t *out, Err *err)
{
    const ZarrMeta *m = &a->meta;
    while (n > 0) {
        Place p = place_of(m, start);
        int64_t step = m->inner - p.at;
        if (a->cache != NULL && step > a->unit - p.at % a->unit) step = a->unit - p.at % a->unit;
        if (step > n) step = n;
        if (a->cache == NULL)
            TRY(read_mapped(a, p, start, step, limit, out, err));
        else if (stream)
            TRY(read_stream(a, p, start, step, limit, out, err));
        else
            TRY(read_cached(a, p, start, step, limit, out, err));
        start += step;
        out += step;
        n -= step;
    }
    return 0;
}

int zarr_array_read(ZarrArray *a, int64_t start, int64_t n, int32_t limit, int32_t *out, Err *err)
{
    CHECK(start >= 0 && n >= 0 && n <= a->meta.length - start, "%s: elements %lld + %lld", a->dir,
          (long long)start, (long long)n);
    bool stream = stream_begin(a, start, n);
    int status = read_all(a, stream, start, n, limit, out, err);
    if (stream) pthread_mutex_unlock(&a->stream_lock);
    return status;
}
