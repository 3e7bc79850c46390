/* One file's elements are collected, encoded part by part on several threads, and written at once.
 */
#include "data/zarr_writer.h"

#include <limits.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "data/widen.h"

struct ZarrWriter {
    ZarrMeta meta; /* length: elements taken */
    char dir[PATH_MAX];
    int threads;
    unsigned char *chunk;   /* the elements of the file being filled */
    int64_t used;           /* how many */
    unsigned char *encoded; /* (parts, bound) */
    int64_t *sizes;         /* (parts), encoded */
    unsigned char *index;
};

static int writer_open(ZarrWriter *w, const char *dir, Err *err)
{
    const ZarrMeta *m = &w->meta;
    char folder[PATH_MAX];
    TRY(path_join(w->dir, sizeof w->dir, "", dir, err));
    TRY(path_join(folder, sizeof folder, dir, m->key_prefix && m->separator == '/' ? "c" : ".",
                  err));
    TRY(dir_make(folder, err));
    int64_t parts = zarr_parts(m), bound = chain_bound(&m->chain, zarr_part_bytes(m));
    w->chunk = malloc((size_t)(m->chunk * m->type.size));
    w->encoded = malloc((size_t)(parts * bound));
    w->sizes = calloc((size_t)parts, sizeof *w->sizes);
    w->index = malloc((size_t)zarr_index_bytes(m));
    if (w->chunk == NULL || w->encoded == NULL || w->sizes == NULL || w->index == NULL)
        return err_set(err, "no memory for chunks of %lld elements; choose smaller ones",
                       (long long)m->chunk);
    return 0;
}

int zarr_writer_open(ZarrWriter **out, const ZarrMeta *layout, const char *dir, int threads,
                     Err *err)
{
    CHECK(layout->length % layout->chunk == 0, "the file at %lld is not whole",
          (long long)layout->length);
    ZarrWriter *w = *out = calloc(1, sizeof *w);
    if (w == NULL) return err_set(err, "no memory to write %s", dir);
    w->meta = *layout;
    w->threads = threads;
    if (writer_open(w, dir, err) == 0) return 0;
    zarr_writer_close(w);
    *out = NULL;
    return -1;
}

void zarr_writer_close(ZarrWriter *w)
{
    if (w == NULL) return;
    free(w->chunk);
    free(w->encoded);
    free(w->sizes);
    free(w->index);
    free(w);
}

/* --- a file ----------------------------------------------------------------------------------- */

/* Part i, if any element of it is used; beyond the array's end there is none. */
static int part_encode(const ZarrWriter *w, int64_t i, Err *err)
{
    const ZarrMeta *m = &w->meta;
    int64_t bytes = zarr_part_bytes(m), bound = chain_bound(&m->chain, bytes);
    w->sizes[i] = 0;
    if (i * m->inner >= w->used) return 0;
    w->sizes[i] = chain_encode(&m->chain, w->chunk + i * bytes, bytes, w->encoded + i * bound, err);
    return w->sizes[i] < 0 ? -1 : 0;
}

static int parts_encode(const ZarrWriter *w, Err *err)
{
    int64_t parts = zarr_parts(&w->meta);
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(w->threads) if (parts > 1)
    for (int64_t i = 0; i < parts; i++) {
        Err own;
        if (part_encode(w, i, &own) == 0) continue;
#pragma omp critical
        {
            failed = -1;
            *err = own;
        }
    }
    return failed;
}

static void put_word(unsigned char *p, uint64_t word, bool big_endian)
{
    for (int i = 0; i < 8; i++) p[i] = (unsigned char)(word >> 8 * (big_endian ? 7 - i : i));
}

/* Offset and size of each part, all bits set where there is none. */
static void index_make(const ZarrWriter *w)
{
    const ZarrMeta *m = &w->meta;
    int64_t at = m->index_at_start ? zarr_index_bytes(m) : 0, size = zarr_index_bytes(m);
    for (int64_t i = 0; i < zarr_parts(m); i++) {
        bool none = w->sizes[i] == 0;
        put_word(w->index + 16 * i, none ? UINT64_MAX : (uint64_t)at, m->index_big_endian);
        put_word(w->index + 16 * i + 8, none ? UINT64_MAX : (uint64_t)w->sizes[i],
                 m->index_big_endian);
        at += w->sizes[i];
    }
    if (!m->index_crc) return;
    uint32_t crc = crc32c(w->index, (size_t)size - 4);
    for (int i = 0; i < 4; i++) w->index[size - 4 + i] = (unsigned char)(crc >> (8 * i));
}

static int file_put(const ZarrWriter *w, AtomicFile *file, Err *err)
{
    const ZarrMeta *m = &w->meta;
    int64_t bound = chain_bound(&m->chain, zarr_part_bytes(m));
    size_t index_size = m->sharded ? (size_t)zarr_index_bytes(m) : 0;
    if (m->sharded) index_make(w);
    if (m->index_at_start) TRY(atomic_write(file, w->index, index_size, err));
    for (int64_t i = 0; i < zarr_parts(m); i++)
        TRY(atomic_write(file, w->encoded + i * bound, (size_t)w->sizes[i], err));
    return m->index_at_start ? 0 : atomic_write(file, w->index, index_size, err);
}

static int file_write(ZarrWriter *w, Err *err)
{
    const ZarrMeta *m = &w->meta;
    char path[PATH_MAX];
    AtomicFile file;
    for (int64_t i = w->used; i < m->chunk; i++)
        int_store(m->type, m->fill, w->chunk + i * m->type.size);
    TRY(parts_encode(w, err));
    TRY(zarr_file_path(m, w->dir, (m->length - 1) / m->chunk, path, sizeof path, err));
    TRY(atomic_open(&file, path, err));
    int status = file_put(w, &file, err);
    if (status == 0) status = atomic_commit(&file, err);
    atomic_abort(&file);
    w->used = 0;
    return status;
}

/* --- the array -------------------------------------------------------------------------------- */

int64_t zarr_writer_add(ZarrWriter *w, const int32_t *ids, int64_t n, Err *err)
{
    const IntType type = w->meta.type;
    int64_t room = w->meta.chunk - w->used;
    if (n > room) n = room;
    for (int64_t i = 0; i < n; i++) int_store(type, ids[i], w->chunk + (w->used + i) * type.size);
    w->used += n;
    w->meta.length += n;
    if (w->used == w->meta.chunk) TRY(file_write(w, err));
    return n;
}

int64_t zarr_writer_length(const ZarrWriter *w)
{
    return w->meta.length;
}

int64_t zarr_writer_saved(const ZarrWriter *w)
{
    return w->meta.length - w->used;
}

int zarr_writer_finish(ZarrWriter *w, Err *err)
{
    if (w->used > 0) TRY(file_write(w, err));
    return zarr_meta_write(&w->meta, w->dir, err);
}
