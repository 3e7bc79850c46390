/* The data benchmark. Every layout is read in file order and shuffled, each with an empty cache of
 * decoded chunks (the first epoch) and once more (the second), and decoded without being read.
 * Files are in the page cache: they are read through before. Bytes are those of the int32 ids that
 * are delivered. */
#include "run/bench_data.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "backend/cores.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/dataset_check.h"
#include "data/encode.h"
#include "data/loader.h"
#include "data/token_source.h"
#include "data/zarr_source.h"
#include "data/zarr_writer.h"

enum { VOCAB = 128256, BOS = 128000, ROUNDS = 3 };
static const int64_t usual_tokens = (int64_t)1 << 26, usual_length = 8192;

typedef struct Layout {
    const char *name, *codec, *dtype;
    int64_t chunk, shard;
} Layout;

static const Layout layouts[] = {
    {"ttt data encode", encode_codec, "int32", ENCODE_CHUNK_TOKENS, ENCODE_SHARD_TOKENS},
    {"published codecs, short chunks", "blosc:zstd:3:shuffle", "int32", 8192, 8192},
    {"published codecs, 1M chunks", "blosc:zstd:3:shuffle", "int32", 1 << 20, 1 << 20},
    {"published codecs, 8M chunks", "blosc:zstd:3:shuffle", "int32", 1 << 23, 1 << 23},
    {"published codecs, shards", "blosc:zstd:3:shuffle", "int32", 8192, 1 << 22},
    {"zstd", "zstd:3", "int32", 8192, 1 << 22},
    {"uncompressed", "none", "uint32", 1 << 22, 1 << 22},
};

/* What is timed: a dataset and the vocabulary that a model would come with. */
typedef struct Dataset {
    const char *dir;
    int32_t vocab;
} Dataset;

/* GB/s of ids as int32, whatever the integers that are stored. */
typedef struct Timing {
    double first, second;
} Timing;

/* --- made arrays ------------------------------------------------------------------------------ */

/* Ids with the frequencies of words (Zipf), frequent ones low, as in a trained vocabulary; a BOS
 * now and then. libzstd decodes the tokens of novels a tenth to a sixth faster. */
static void draw_ids(Rng *rng, int32_t *ids, int64_t n)
{
    double log_vocab = log((double)VOCAB);
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)exp(rng_uniform(rng) * log_vocab) - 1;
        if (rng_below(rng, 1000) == 0) ids[i] = BOS;
    }
}

static int fill_array(ZarrWriter *writer, int64_t tokens, Err *err)
{
    int32_t ids[1 << 12];
    Rng rng;
    rng_seed(&rng, 1, 0);
    for (int64_t at = 0; at < tokens; at += ARRAY_LEN(ids)) {
        draw_ids(&rng, ids, ARRAY_LEN(ids));
        for (int64_t done = 0, taken; done < ARRAY_LEN(ids); done += taken) {
            taken = zarr_writer_add(writer, ids + done, ARRAY_LEN(ids) - done, err);
            TRY(taken);
        }
    }
    return zarr_writer_finish(writer, err);
}

static int make_array(const char *dir, const Layout *layout, int64_t tokens, Err *err)
{
    char path[PATH_MAX];
    ZarrWriter *writer;
    ZarrMeta m;
    IntType type;
    CHECK(int_type_find(&type, layout->dtype), "dtype %s", layout->dtype);
    TRY(zarr_layout(&m, type, layout->shard, layout->chunk, layout->codec, err));
    TRY(path_join(path, sizeof path, dir, "train", err));
    TRY(zarr_writer_open(&writer, &m, path, cpus_usable(), err));
    int status = fill_array(writer, tokens, err);
    zarr_writer_close(writer);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Seconds of processor time: what other programs take of the core does not count. */
static double core_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One epoch, or as much of it as `most` tokens. */
static int read_epoch(double *rate, const Loader *loader, int64_t seq_length, int64_t from,
                      int64_t sequences, Err *err)
{
    int32_t *out = mem_alloc((size_t)(seq_length + 1) * sizeof *out);
    double start = core_seconds();
    int status = 0;
    for (int64_t i = 0; i < sequences && status == 0; i++)
        status = loader_batch(loader, from + i, out, err);
    double seconds = core_seconds() - start;
    mem_free(out);
    *rate = (double)(sequences * (seq_length + 1)) * 4 / seconds / 1e9;
    return status;
}

/* The source is opened anew, so that its cache is empty. */
static int time_once(Timing *out, Dataset d, const BenchDataOptions *o, bool shuffled, Err *err)
{
    TokenSource *source;
    Loader *loader = NULL;
    TRY(token_source_open(&source, d.dir, "train", err));
    token_source_declare(source, d.vocab, -1);
    LoaderOptions options = {.seq_length = o->seq_length, .batch_size = 1, .sequential = !shuffled};
    int status = loader_open(&loader, source, options, err);
    if (status == 0) {
        int64_t n = loader_sequences(loader), most = o->tokens / o->seq_length;
        if (n > most && most > 0) n = most;
        status = read_epoch(&out->first, loader, o->seq_length, 0, n, err);
        if (status == 0) status = read_epoch(&out->second, loader, o->seq_length, 0, n, err);
    }
    loader_close(loader);
    token_source_close(source);
    return status;
}

/* Memory that a virtual machine has not handed out for a while may cost several times more than
 * decoding into it, when it has to come from the host. A run that lasts pays that once; here it is
 * paid before the clock starts, in pages like the cache's. Returns GB/s. */
static double touch_memory(int64_t bytes)
{
    const int64_t page = 4096;
    volatile char *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
    madvise((void *)(uintptr_t)memory, (size_t)bytes, MADV_HUGEPAGE);
    double start = core_seconds();
    for (int64_t i = 0; i < bytes; i += page) memory[i] = 1;
    double seconds = core_seconds() - start;
    munmap((void *)(uintptr_t)memory, (size_t)bytes);
    return (double)bytes / seconds / 1e9;
}

/* The best of several rounds: what else the machine does only makes them slower. */
static int time_order(Timing *best, Dataset d, const BenchDataOptions *o, bool shuffled, Err *err)
{
    *best = (Timing){0};
    for (int round = 0; round < ROUNDS; round++) {
        Timing t;
        touch_memory(o->tokens * 4);
        TRY(time_once(&t, d, o, shuffled, err));
        if (t.first > best->first) best->first = t.first;
        if (t.second > best->second) best->second = t.second;
    }
    return 0;
}

/* Every unit once in random order, the least that a shuffled epoch has to do: finding and decoding,
 * without checking, keeping or handing out ids. */
static int time_decoding(double *rate, ZarrArray *array, Err *err)
{
    const ZarrMeta *m = zarr_array_meta(array);
    int64_t unit = zarr_array_unit(array), n = m->length / unit;
    *rate = 0;
    for (int round = 0; round < ROUNDS && n > 0; round++) {
        int64_t ids = 0;
        double start = core_seconds();
        for (int64_t i = 0; i < n; i++) {
            int64_t got = zarr_array_decode(array, permute_index(i, n, 1) * unit, err);
            TRY(got);
            ids += got;
        }
        double gb = (double)ids * 4 / (core_seconds() - start) / 1e9;
        if (gb > *rate) *rate = gb;
    }
    return 0;
}

/* The vocabulary, or the least that it can be; has the files in the page cache. */
static int read_through(const TokenSource *source, int32_t *vocab, Err *err)
{
    int32_t ids[1 << 12], largest = 0;
    int64_t length = token_source_length(source), n;
    for (int64_t at = 0; at < length; at += n) {
        n = length - at < ARRAY_LEN(ids) ? length - at : ARRAY_LEN(ids);
        TRY(token_source_read(source, at, n, ids, err));
        for (int64_t i = 0; i < n; i++) largest = ids[i] > largest ? ids[i] : largest;
    }
    *vocab = source->vocab_size > 0 ? source->vocab_size : largest + 1;
    return 0;
}

static int describe(json_t *row, Dataset *d, Err *err)
{
    TokenSource *source;
    double decoding;
    TRY(token_source_open(&source, d->dir, "train", err));
    int status = read_through(source, &d->vocab, err);
    ZarrArray *array = zarr_source_array(source);
    json_object_set_new(row, "tokens", json_integer(token_source_length(source)));
    if (array != NULL && status == 0) {
        int64_t cached = zarr_array_cached(array, d->vocab);
        json_object_set_new(row, "decoded_at_once", json_integer(zarr_array_unit(array)));
        json_object_set_new(row, "cached", json_integer(cached));
        status = time_decoding(&decoding, array, err);
        json_object_set_new(row, "decoding_alone", json_real(decoding));
    }
    token_source_close(source);
    return status;
}

static int bench_one(json_t *rows, const char *name, const char *dir, const BenchDataOptions *o,
                     FILE *out, Err *err)
{
    Timing sequential, shuffled;
    Dataset d = {.dir = dir};
    json_t *row = json_pack("{s:s}", "layout", name);
    json_array_append_new(rows, row);
    TRY(describe(row, &d, err));
    TRY(time_order(&sequential, d, o, false, err));
    TRY(time_order(&shuffled, d, o, true, err));
    json_object_set_new(row, "in_order", json_real(sequential.first));
    json_object_set_new(row, "shuffled", json_real(shuffled.first));
    json_object_set_new(row, "shuffled_again", json_real(shuffled.second));
    if (out == NULL) return 0;
    fprintf(out, "%-32s %10.2f %10.2f %14.2f %14.2f\n", name, sequential.first, shuffled.first,
            shuffled.second, json_number_value(json_object_get(row, "decoding_alone")));
    return fflush(out) == 0 ? 0 : err_errno(err, "cannot write the results");
}

static int bench_made(json_t *rows, const BenchDataOptions *o, FILE *out, Err *err)
{
    char dir[PATH_MAX];
    const char *tmp = getenv("TMPDIR");
    TRY(path_join(dir, sizeof dir, tmp != NULL ? tmp : "/tmp", "ttt-bench-XXXXXX", err));
    if (mkdtemp(dir) == NULL) return file_error(err, "create", dir);
    int status = 0;
    for (int i = 0; i < ARRAY_LEN(layouts) && status == 0; i++) {
        status = make_array(dir, &layouts[i], o->tokens, err);
        if (status == 0) status = bench_one(rows, layouts[i].name, dir, o, out, err);
        Err removal;
        char path[PATH_MAX];
        if (path_join(path, sizeof path, dir, "train", &removal) == 0) dir_remove(path, &removal);
    }
    Err ignored;
    dir_remove(dir, &ignored);
    return status;
}

int bench_data_run(json_t **json, const BenchDataOptions *options, FILE *out, Err *err)
{
    BenchDataOptions o = *options;
    json_t *rows = json_array();
    if (o.tokens <= 0) o.tokens = usual_tokens;
    if (o.seq_length <= 0) o.seq_length = usual_length;
    double touch = touch_memory(o.tokens * 4);
    if (out != NULL)
        fprintf(out,
                "GB of int32 ids delivered per second of one core, sequences of %lld tokens, best "
                "of %d;\nmemory was touched before, the first time at %.1f GB/s\n"
                "%-32s %10s %10s %14s %14s\n",
                (long long)o.seq_length, ROUNDS, touch, "", "in order", "shuffled",
                "shuffled again", "decoding alone");
    int status = o.dir != NULL ? bench_one(rows, o.dir, o.dir, &o, out, err)
                               : bench_made(rows, &o, out, err);
    *json = json_pack("{s:s, s:I, s:f, s:o}", "bench", "data", "seq_length",
                      (json_int_t)o.seq_length, "first_touch", touch, "layouts", rows);
    return status;
}
