/* Reading an array. Uncompressed parts are read from the mapped file. Compressed ones are decoded
 * in units (zarr_units.h), which a cache keeps packed (packed.h). Reads that follow on each other
 * pass the cache by: one unit is enough for them, and it stays in the processor's own.
 */
#include "data/zarr_array.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/packed.h"
#include "data/unit_cache.h"
#include "data/widen.h"
#include "data/zarr_units.h"

enum { STREAK = 4, LEAST_UNITS = 16 };

struct ZarrArray {
    ZarrMeta meta;
    char dir[PATH_MAX];
    ChunkFiles *files;
    ZarrUnits units;
    int64_t cache_bytes;
    pthread_mutex_t cache_lock;  /* of the next two, until there is a cache */
    UnitCache *cache;            /* NULL before the first read that wants one */
    int high;                    /* how its units are packed (packed.h), or NOT_PACKED */
    pthread_mutex_t stream_lock; /* of what follows: a reader that goes through from end to end */
    int64_t next;                /* where the last read ended */
    int streak;                  /* reads that followed on each other */
    DecodedUnit stream;          /* its unit, */
    int64_t stream_key;          /* and which that is; -1: none */
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

static bool is_compressed(const ZarrArray *a)
{
    return a->meta.chain.n > 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int64_t unit_bytes(const ZarrArray *a)
{
    return a->units.items * a->meta.type.size;
}

static int plan_cache(ZarrArray *a, int64_t cache_bytes, Err *err)
{
    int64_t available = (int64_t)mem_available(), least = LEAST_UNITS * unit_bytes(a);
    a->cache_bytes = cache_bytes == 0 ? available / 8 : cache_bytes;
    if (a->cache_bytes < least && least < available / 2) a->cache_bytes = least;
    if (unit_bytes(a) <= available / 2) return 0;
    return err_set(err,
                   "%s: its chunks take %lld MB decoded, and %lld MB of memory are free; "
                   "rewrite it with smaller chunks on a larger machine (ttt data repack)",
                   a->dir, (long long)(unit_bytes(a) >> 20), (long long)(available >> 20));
}

static int array_open(ZarrArray *a, const char *dir, int64_t cache_bytes, Err *err)
{
    TRY(path_join(a->dir, sizeof a->dir, "", dir, err));
    TRY(zarr_meta_read(&a->meta, dir, err));
    TRY(chunk_files_open(&a->files, &a->meta, a->dir, err));
    TRY(zarr_units_open(&a->units, &a->meta, a->dir, a->files, err));
    return is_compressed(a) ? plan_cache(a, cache_bytes, err) : 0;
}

int zarr_array_open(ZarrArray **out, const char *dir, int64_t cache_bytes, Err *err)
{
    ZarrArray *a = *out = calloc(1, sizeof *a);
    if (a == NULL) return err_set(err, "no memory to open %s", dir);
    pthread_mutex_init(&a->cache_lock, NULL);
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
    zarr_units_close(&a->units);
    unit_cache_close(a->cache);
    chunk_files_close(a->files);
    free(a->stream.bytes);
    pthread_mutex_destroy(&a->stream_lock);
    pthread_mutex_destroy(&a->cache_lock);
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

/* --- the cache -------------------------------------------------------------------------------- */

static int64_t slot_bytes(const ZarrArray *a, int high)
{
    return high == NOT_PACKED ? unit_bytes(a) : packing_bytes((Packing){a->units.items, high});
}

static int64_t slots(const ZarrArray *a, int high)
{
    int64_t all = a->meta.length / a->units.items + 2 * a->units.per_part;
    int64_t room = a->cache_bytes / slot_bytes(a, high);
    return room < all ? room : all;
}

int64_t zarr_array_unit(const ZarrArray *a)
{
    return a->units.items;
}

int64_t zarr_array_cached(const ZarrArray *a, int32_t limit)
{
    if (!is_compressed(a)) return 0;
    return slots(a, packing_high(limit, a->meta.type.size)) * a->units.items;
}

static int cache_ready(ZarrArray *a, int32_t limit, Err *err)
{
    int status = 0;
    pthread_mutex_lock(&a->cache_lock);
    if (a->cache == NULL) {
        a->high = packing_high(limit, a->meta.type.size);
        status = unit_cache_open(&a->cache, slot_bytes(a, a->high), slots(a, a->high), err);
    }
    pthread_mutex_unlock(&a->cache_lock);
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

/* Decodes into the state's own buffer, where it is until the state decodes again. */
static int decode(ZarrArray *a, CodecState *state, int64_t key, DecodedUnit *unit, Err *err)
{
    unit->bytes = codec_state_buffer(state, CODEC_CALLERS_BUFFER, unit_bytes(a), err);
    return unit->bytes == NULL ? -1 : zarr_unit_decode(&a->units, state, key, unit, err);
}

static int fill_packed(ZarrArray *a, CodecState *state, int64_t key, unsigned char *out, Err *err)
{
    DecodedUnit unit;
    TRY(decode(a, state, key, &unit, err));
    Packing packing = {unit.n, a->high};
    bool fits = unit.planes ? pack_planes(packing, unit.bytes, out)
                            : pack_ints(packing, a->meta.type, unit.bytes, out);
    return fits ? 0 : 1;
}

/* Integers of the array's type. */
static int fill_plain(ZarrArray *a, CodecState *state, int64_t key, unsigned char *out, Err *err)
{
    DecodedUnit unit = {.bytes = out};
    if (a->meta.type.size != 4) return zarr_unit_decode(&a->units, state, key, &unit, err);
    TRY(decode(a, state, key, &unit, err));
    if (unit.planes)
        unpack_planes(unit.n, unit.bytes, 0, unit.n, INT32_MAX, (int32_t *)(void *)out);
    else
        memcpy(out, unit.bytes, (size_t)(unit.n * a->meta.type.size));
    return 0;
}

static int unit_fill(void *context, int64_t key, unsigned char *out, Err *err)
{
    ZarrArray *a = context;
    CodecState state = zarr_units_take(&a->units);
    int status = a->high == NOT_PACKED ? fill_plain(a, &state, key, out, err)
                                       : fill_packed(a, &state, key, out, err);
    zarr_units_give(&a->units, &state);
    return status;
}

/* --- giving ids ------------------------------------------------------------------------------- */

static int bad_token(ZarrArray *a, int64_t position, int64_t value, int32_t limit, Err *err)
{
    char path[PATH_MAX];
    TRY(zarr_file_path(&a->meta, a->dir, position / a->meta.chunk, path, sizeof path, err));
    return err_set(err,
                   "%s: token %lld is %lld, outside the vocabulary of %d; the file is damaged, or "
                   "was made with a tokenizer of more tokens (model.vocab_size)",
                   path, (long long)position, (long long)value, limit);
}

static int give_ints(ZarrArray *a, const unsigned char *src, int64_t position, int64_t n,
                     int32_t limit, int32_t *out, Err *err)
{
    IntType type = a->meta.type;
    int64_t bad = widen(type, src, n, limit, out);
    if (bad < 0) return 0;
    return bad_token(a, position + bad, int_load(type, src + bad * type.size), limit, err);
}

/* Items [at, at + n) of a unit. */
static int give_decoded(ZarrArray *a, const DecodedUnit *unit, int64_t at, int64_t position,
                        int64_t n, int32_t limit, int32_t *out, Err *err)
{
    if (!unit->planes)
        return give_ints(a, unit->bytes + at * a->meta.type.size, position, n, limit, out, err);
    int64_t bad = unpack_planes(unit->n, unit->bytes, at, n, limit, out);
    if (bad < 0) return 0;
    int64_t value = a->meta.type.is_signed ? out[bad] : (int64_t)(uint32_t)out[bad];
    return bad_token(a, position + bad, value, limit, err);
}

static int give_packed(ZarrArray *a, const unsigned char *packed, Packing packing, int64_t at,
                       int64_t position, int64_t n, int32_t limit, int32_t *out, Err *err)
{
    int64_t bad = unpack(packing, packed, at, n, limit, out);
    return bad < 0 ? 0 : bad_token(a, position + bad, out[bad], limit, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

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
        if (file.bytes == NULL) zarr_units_tell_of_gap(&a->units, p.file);
        if (a->meta.fill < 0 || a->meta.fill >= limit)
            status = bad_token(a, position, a->meta.fill, limit, err);
        for (int64_t i = 0; i < n && status == 0; i++) out[i] = (int32_t)a->meta.fill;
    } else if (status == 0) {
        status = give_ints(a, part.bytes + p.at * a->meta.type.size, position, n, limit, out, err);
    }
    chunk_files_put(a->files, &file);
    return status;
}

static int read_unkept(ZarrArray *a, int64_t key, Place p, int64_t position, int64_t n,
                       int32_t limit, int32_t *out, Err *err)
{
    DecodedUnit unit;
    CodecState state = zarr_units_take(&a->units);
    int status = decode(a, &state, key, &unit, err);
    if (status == 0)
        status = give_decoded(a, &unit, p.at % a->units.items, position, n, limit, out, err);
    zarr_units_give(&a->units, &state);
    return status;
}

static int read_cached(ZarrArray *a, Place p, int64_t position, int64_t n, int32_t limit,
                       int32_t *out, Err *err)
{
    Unit unit;
    int64_t key = zarr_unit_key(&a->units, p.file, p.part, p.at), at = p.at % a->units.items;
    TRY(cache_ready(a, limit, err));
    int status = unit_cache_get(a->cache, key, unit_fill, a, &unit, err);
    if (status > 0) return read_unkept(a, key, p, position, n, limit, out, err);
    TRY(status);
    if (a->high == NOT_PACKED)
        status = give_ints(a, unit.bytes + at * a->meta.type.size, position, n, limit, out, err);
    else
        status = give_packed(a, unit.bytes, (Packing){zarr_unit_items(&a->units, key), a->high}, at,
                             position, n, limit, out, err);
    unit_cache_put(a->cache, &unit);
    return status;
}

/* Called with the stream's lock. */
static int read_stream(ZarrArray *a, Place p, int64_t position, int64_t n, int32_t limit,
                       int32_t *out, Err *err)
{
    int64_t key = zarr_unit_key(&a->units, p.file, p.part, p.at);
    if (key != a->stream_key) {
        CodecState state = zarr_units_take(&a->units);
        a->stream_key = -1;
        int status = zarr_unit_decode(&a->units, &state, key, &a->stream, err);
        zarr_units_give(&a->units, &state);
        TRY(status);
        a->stream_key = key;
    }
    return give_decoded(a, &a->stream, p.at % a->units.items, position, n, limit, out, err);
}

/* Whether the read [start, start + n) goes on where the last ones ended; then the stream's lock is
 * held. Training sequences share a token with their neighbours. */
static bool stream_begin(ZarrArray *a, int64_t start, int64_t n)
{
    if (!is_compressed(a) || pthread_mutex_trylock(&a->stream_lock) != 0) return false;
    bool follows = start == a->next || start == a->next - 1;
    a->streak = follows ? a->streak + (a->streak < STREAK) : 0;
    a->next = start + n;
    if (a->streak == STREAK && a->stream.bytes == NULL)
        a->stream.bytes = malloc((size_t)unit_bytes(a));
    if (a->streak == STREAK && a->stream.bytes != NULL) return true;
    pthread_mutex_unlock(&a->stream_lock);
    return false;
}

static int read_all(ZarrArray *a, bool stream, int64_t start, int64_t n, int32_t limit,
                    int32_t *out, Err *err)
{
    const ZarrMeta *m = &a->meta;
    while (n > 0) {
        Place p = place_of(m, start);
        int64_t step = m->inner - p.at, unit = a->units.items;
        if (is_compressed(a) && step > unit - p.at % unit) step = unit - p.at % unit;
        if (step > n) step = n;
        if (!is_compressed(a))
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

int64_t zarr_array_decode(ZarrArray *a, int64_t position, Err *err)
{
    DecodedUnit unit;
    Place p = place_of(&a->meta, position);
    CodecState state = zarr_units_take(&a->units);
    int status = decode(a, &state, zarr_unit_key(&a->units, p.file, p.part, p.at), &unit, err);
    zarr_units_give(&a->units, &state);
    return status < 0 ? -1 : unit.n;
}
