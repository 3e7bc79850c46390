/* A small set-associative table of mapped files under one lock; a file in use is not unmapped. */
#include "data/chunk_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"

/* Below this, reading a file costs less than mapping it. */
enum { SMALL_FILE = 1 << 18 };
enum { SETS = 64, WAYS = 4, PRIVATE = -1 };

typedef struct Slot {
    ChunkFile file;
    bool used;
    int holders;
    uint64_t last; /* the turn of its last use */
} Slot;

struct ChunkFiles {
    const ZarrMeta *meta;
    char dir[PATH_MAX];
    int dir_fd; /* the folder: names in it are found sooner than whole paths */
    pthread_mutex_t lock;
    uint64_t turn;
    unsigned char *spare; /* memory of a small file that is no longer there, for the next */
    int64_t spare_room;
    Slot slots[SETS * WAYS];
};

int chunk_files_open(ChunkFiles **out, const ZarrMeta *meta, const char *dir, Err *err)
{
    ChunkFiles *files = *out = calloc(1, sizeof *files);
    if (files == NULL) return err_set(err, "no memory to open %s", dir);
    files->meta = meta;
    pthread_mutex_init(&files->lock, NULL);
    files->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (files->dir_fd < 0) return file_error(err, "open", dir);
    return path_join(files->dir, sizeof files->dir, "", dir, err);
}

static void unmap(ChunkFiles *files, ChunkFile *file)
{
    unsigned char *bytes = (unsigned char *)(uintptr_t)file->bytes;
    if (file->room > 0) {
        free(files->spare);
        files->spare = bytes;
        files->spare_room = file->room;
    } else if (bytes != NULL) {
        munmap(bytes, (size_t)file->size);
    }
    if (file->fd >= 0) close(file->fd);
    file->bytes = NULL;
    file->room = 0;
    file->fd = -1;
}

void chunk_files_close(ChunkFiles *files)
{
    if (files == NULL) return;
    for (int i = 0; i < SETS * WAYS; i++)
        if (files->slots[i].used) unmap(files, &files->slots[i].file);
    free(files->spare);
    if (files->dir_fd >= 0) close(files->dir_fd);
    pthread_mutex_destroy(&files->lock);
    free(files);
}

int chunk_fail(const ChunkFiles *files, int64_t number, Err *err)
{
    char path[PATH_MAX];
    Err what = *err;
    TRY(zarr_file_path(files->meta, files->dir, number, path, sizeof path, err));
    return err_set(err, "%s: %s; fetch the file again, or encode the dataset again", path,
                   what.text);
}

/* --- mapping ---------------------------------------------------------------------------------- */

static const unsigned char *index_of(const ZarrMeta *m, const ChunkFile *file)
{
    return m->index_at_start ? file->bytes : file->bytes + file->size - zarr_index_bytes(m);
}

static int check_index(const ChunkFiles *files, const ChunkFile *file, Err *err)
{
    const ZarrMeta *m = files->meta;
    int64_t size = zarr_index_bytes(m);
    if (file->size < size)
        return err_set(err, "%lld bytes are too few for the index of a shard, which has %lld",
                       (long long)file->size, (long long)size);
    if (!m->index_crc) return 0;
    const unsigned char *end = index_of(m, file) + size - 4;
    uint32_t stored =
        (uint32_t)end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;
    if (crc32c(index_of(m, file), (size_t)size - 4) == stored) return 0;
    return err_set(err, "the checksum of its index is wrong");
}

/* Gives the file memory, from one that has gone where that is enough. */
static unsigned char *take_memory(ChunkFiles *files, ChunkFile *file)
{
    unsigned char *bytes = files->spare;
    file->room = files->spare_room;
    files->spare = NULL;
    files->spare_room = 0;
    if (bytes != NULL && file->room >= file->size) return bytes;
    free(bytes);
    file->room = file->size + file->size / 2; /* files of a dataset differ little */
    return malloc((size_t)file->room);
}

static int read_small(ChunkFiles *files, ChunkFile *file, int fd, Err *err)
{
    unsigned char *bytes = take_memory(files, file);
    int64_t done = 0;
    while (bytes != NULL && done < file->size) {
        ssize_t got = read(fd, bytes + done, (size_t)(file->size - done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        done += got;
    }
    file->bytes = bytes;
    if (bytes == NULL) file->room = 0;
    if (done == file->size) return 0;
    if (bytes == NULL) return err_set(err, "no memory to read it");
    unmap(files, file);
    return err_set(err, "it could not be read whole");
}

static int map_open(ChunkFiles *files, ChunkFile *file, int fd, Err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return err_errno(err, "it cannot be read");
    if (!S_ISREG(st.st_mode)) return err_set(err, "it is not a file but should be a chunk");
    if (st.st_size == 0) return err_set(err, "it is empty");
    file->size = st.st_size;
    if (file->size < SMALL_FILE) return read_small(files, file, fd, err);
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return err_errno(err, "it cannot be mapped");
    file->bytes = bytes;
    file->fd = fd;
    return 0;
}

static int map(ChunkFiles *files, int64_t number, ChunkFile *file, Err *err)
{
    char name[64];
    *file = (ChunkFile){.number = number, .fd = -1};
    TRY(zarr_file_path(files->meta, "", number, name, sizeof name, err));
    /* Non-blocking, so that a pipe in the file's place is refused and not waited for. */
    int fd = openat(files->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0) {
        char path[PATH_MAX];
        int reason = errno;
        TRY(zarr_file_path(files->meta, files->dir, number, path, sizeof path, err));
        errno = reason;
        return file_error(err, "open", path);
    }
    int status = map_open(files, file, fd, err);
    if (file->fd < 0) close(fd);
    if (status == 0 && files->meta->sharded) status = check_index(files, file, err);
    if (status == 0) return 0;
    unmap(files, file);
    return chunk_fail(files, number, err);
}

/* --- the table -------------------------------------------------------------------------------- */

static Slot *slot_find(ChunkFiles *files, int64_t number)
{
    Slot *set = files->slots + number % SETS * WAYS;
    for (int i = 0; i < WAYS; i++)
        if (set[i].used && set[i].file.number == number) return &set[i];
    return NULL;
}

/* The slot to give up for the file, emptied; NULL when all are held. */
static Slot *slot_free(ChunkFiles *files, int64_t number)
{
    Slot *set = files->slots + number % SETS * WAYS, *oldest = NULL;
    for (int i = 0; i < WAYS; i++) {
        if (!set[i].used) return &set[i];
        if (set[i].holders == 0 && (oldest == NULL || set[i].last < oldest->last)) oldest = &set[i];
    }
    if (oldest != NULL) {
        unmap(files, &oldest->file);
        oldest->used = false;
    }
    return oldest;
}

/* A small file that is decoded as a whole is not asked for again: what it decodes to is kept. The
 * next one is read into the same memory, which the processor still has. */
static bool is_read_once(const ZarrMeta *m, const ChunkFile *file)
{
    return file->room > 0 && !m->sharded && m->chain.n > 0 && zarr_part_bytes(m) <= SMALL_FILE;
}

int chunk_files_get(ChunkFiles *files, int64_t number, ChunkFile *out, Err *err)
{
    pthread_mutex_lock(&files->lock);
    Slot *slot = slot_find(files, number);
    int status = 0;
    if (slot == NULL) {
        status = map(files, number, out, err);
        bool keep = status == 0 && !is_read_once(files->meta, out);
        slot = keep ? slot_free(files, number) : NULL;
        out->slot = slot == NULL ? PRIVATE : (int)(slot - files->slots);
        if (slot != NULL) *slot = (Slot){.file = *out, .used = true};
    }
    if (slot != NULL) {
        slot->holders++;
        slot->last = ++files->turn;
        *out = slot->file;
    }
    pthread_mutex_unlock(&files->lock);
    return status;
}

void chunk_files_put(ChunkFiles *files, ChunkFile *file)
{
    pthread_mutex_lock(&files->lock);
    if (file->slot == PRIVATE)
        unmap(files, file);
    else
        files->slots[file->slot].holders--;
    pthread_mutex_unlock(&files->lock);
}

/* --- parts ------------------------------------------------------------------------------------ */

static uint64_t index_word(const unsigned char *p, bool big_endian)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)p[i] << 8 * (big_endian ? 7 - i : i);
    return word;
}

static bool is_cut_short(const ChunkFile *file)
{
    struct stat st;
    return file->fd >= 0 && (fstat(file->fd, &st) != 0 || st.st_size < file->size);
}

int chunk_part(const ChunkFiles *files, const ChunkFile *file, int64_t part, ChunkPart *out,
               Err *err)
{
    const ZarrMeta *m = files->meta;
    *out = (ChunkPart){file->bytes, file->size};
    if (is_cut_short(file)) {
        err_set(err, "it was cut short while it was read");
        return chunk_fail(files, file->number, err);
    }
    if (!m->sharded || file->bytes == NULL) return 0;
    const unsigned char *entry = index_of(m, file) + 16 * part;
    uint64_t at = index_word(entry, m->index_big_endian);
    uint64_t size = index_word(entry + 8, m->index_big_endian);
    *out = (ChunkPart){0};
    if (at == UINT64_MAX && size == UINT64_MAX) return 0;
    if (at > (uint64_t)file->size || size > (uint64_t)file->size - at) {
        err_set(err, "its index puts chunk %lld outside the shard", (long long)part);
        return chunk_fail(files, file->number, err);
    }
    *out = (ChunkPart){file->bytes + at, (int64_t)size};
    return 0;
}
