/* Rounds: as many documents as fit a budget of bytes are read and encoded side by side, then
 * written one after the other, so that the result does not depend on the threads. A document above
 * the budget is a round of its own, its ids written as they come. */
#include "data/encode_texts.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"

const int64_t encode_max_document = (int64_t)1 << 32;

enum { ROUND_BYTES = 1 << 23, ROUND_DOCUMENTS = 512, PIECE_BYTES = 1 << 20, READ_BYTES = 1 << 18 };

typedef struct Job {
    int64_t file; /* of files and items */
    int32_t *ids; /* (n) */
    int64_t n;
    int status;
} Job;

int encode_check_stop(const volatile sig_atomic_t *stop, Err *err)
{
    if (stop == NULL || *stop == 0) return 0;
    return err_set(err, "interrupted; the dataset was not written");
}

static int too_long(const char *path, Err *err)
{
    return err_set(err, "%s has more than %lld bytes, the most a document may have: split it", path,
                   (long long)encode_max_document);
}

static int digest_open(SplitItem *out, int fd, char *buffer, const char *path, Err *err)
{
    Sha256 sha;
    ssize_t got;
    sha256_init(&sha);
    out->size = 0;
    while ((got = read(fd, buffer, READ_BYTES)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file_error(err, "read", path);
        sha256_update(&sha, buffer, (size_t)got);
        out->size += got;
        if (out->size > encode_max_document) return too_long(path, err);
    }
    sha256_final(&sha, out->digest);
    return 0;
}

int encode_digest(SplitItem *out, const char *path, Err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_error(err, "open", path);
    char *buffer = malloc(READ_BYTES);
    int status = buffer == NULL ? err_set(err, "no memory to read %s", path)
                                : digest_open(out, fd, buffer, path, err);
    free(buffer);
    close(fd);
    return status;
}

/* Reads the document, which must be what it was when its digest was taken. */
static int read_again(const EncodeTexts *e, int64_t file, char **text, Err *err)
{
    const char *path = e->files->files[file].path;
    unsigned char digest[SHA256_SIZE];
    size_t size;
    Sha256 sha;
    TRY(file_read(path, text, &size, (size_t)encode_max_document, err));
    sha256_init(&sha);
    sha256_update(&sha, *text, size);
    sha256_final(&sha, digest);
    if (memcmp(digest, e->items[file].digest, SPLIT_DIGEST) == 0) return 0;
    free(*text);
    *text = NULL;
    return err_set(err, "%s changed while it was read: try again when nothing writes it", path);
}

/* Adds n ids, which may be -1: err is set. A text's ids can outnumber its bytes, since normalizers
 * lengthen it. */
static int job_add(Job *job, const int32_t *ids, int64_t n, Err *err)
{
    if (n <= 0) return (int)n;
    int32_t *more = realloc(job->ids, (size_t)(job->n + n) * sizeof *more);
    if (more == NULL) return err_set(err, "no memory for %lld tokens", (long long)(job->n + n));
    memcpy(more + job->n, ids, (size_t)n * sizeof *ids);
    job->ids = more;
    job->n += n;
    return 0;
}

/* The job's ids = those of the whole text. */
static int encode_text(TokenStream *stream, const char *text, size_t size, Job *job, Err *err)
{
    const int32_t *ids;
    int64_t n = token_stream_push(stream, text, size, &ids, err);
    TRY(job_add(job, ids, n, err));
    n = token_stream_end(stream, &ids, err);
    return job_add(job, ids, n, err);
}

static int begin(const EncodeTexts *e, int64_t file, Err *err)
{
    return dataset_writer_begin(e->writer, e->items[file].val ? SPLIT_VAL : SPLIT_TRAIN,
                                e->files->files[file].name, err);
}

/* --- many small documents --------------------------------------------------------------------- */

static int job_run(const EncodeTexts *e, Job *job, Err *err)
{
    char *text;
    TRY(read_again(e, job->file, &text, err));
    TokenStream *stream = e->stream[omp_get_thread_num()];
    int status = encode_text(stream, text, (size_t)e->items[job->file].size, job, err);
    free(text);
    return status;
}

static void jobs_run(const EncodeTexts *e, Job *jobs, int n, Err *err)
{
#pragma omp parallel for schedule(dynamic) num_threads(e->threads) if (n > 1)
    for (int i = 0; i < n; i++) {
        Err own;
        jobs[i].status = job_run(e, &jobs[i], &own);
#pragma omp critical
        if (jobs[i].status < 0) *err = own;
    }
}

/* In slices, so that an interruption need not wait for a long document. */
static int ids_write(const EncodeTexts *e, const int32_t *ids, int64_t n, Err *err)
{
    for (int64_t at = 0; at < n; at += PIECE_BYTES) {
        TRY(encode_check_stop(e->stop, err));
        TRY(dataset_writer_add(e->writer, ids + at, n - at < PIECE_BYTES ? n - at : PIECE_BYTES,
                               err));
    }
    return 0;
}

static int job_write(const EncodeTexts *e, const Job *job, Err *err)
{
    if (job->status < 0) return -1;
    TRY(begin(e, job->file, err));
    TRY(ids_write(e, job->ids, job->n, err));
    return dataset_writer_end(e->writer, err);
}

static int jobs_write(const EncodeTexts *e, Job *jobs, int n, Err *err)
{
    int status = 0;
    for (int i = 0; i < n; i++) {
        if (status == 0) status = job_write(e, &jobs[i], err);
        free(jobs[i].ids);
    }
    return status;
}

/* --- one large document ----------------------------------------------------------------------- */

static int text_write(const EncodeTexts *e, int64_t file, const char *text, int64_t done, Err *err)
{
    TokenStream *stream = e->stream[0];
    int64_t size = e->items[file].size, n;
    const int32_t *ids;
    TRY(begin(e, file, err));
    for (int64_t at = 0; at < size; at += PIECE_BYTES) {
        int64_t length = size - at < PIECE_BYTES ? size - at : PIECE_BYTES;
        TRY(encode_check_stop(e->stop, err));
        n = token_stream_push(stream, text + at, (size_t)length, &ids, err);
        if (n < 0) return -1;
        TRY(dataset_writer_add(e->writer, ids, n, err));
        e->progress(e->context, done + at + length);
    }
    n = token_stream_end(stream, &ids, err);
    if (n < 0) return -1;
    TRY(dataset_writer_add(e->writer, ids, n, err));
    return dataset_writer_end(e->writer, err);
}

static int large_write(const EncodeTexts *e, int64_t file, int64_t done, Err *err)
{
    char *text;
    TRY(read_again(e, file, &text, err));
    int status = text_write(e, file, text, done, err);
    free(text);
    return status;
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* Lists the documents of the next round; returns how many, at least one. */
static int round_gather(const EncodeTexts *e, int64_t at, Job *jobs, int64_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (; at + n < e->files->n && n < ROUND_DOCUMENTS; n++) {
        int64_t file = e->order[at + n], size = e->items[file].size;
        if (n > 0 && *bytes + size > (int64_t)ROUND_BYTES * e->threads) break;
        jobs[n] = (Job){.file = file};
        *bytes += size;
    }
    return n;
}

static int rounds(const EncodeTexts *e, int64_t from, Job *jobs, Err *err)
{
    int64_t done = 0, bytes;
    for (int64_t i = 0; i < from; i++) done += e->items[e->order[i]].size;
    while (from < e->files->n) {
        TRY(encode_check_stop(e->stop, err));
        int n = round_gather(e, from, jobs, &bytes);
        if (n == 1 && bytes > ROUND_BYTES) {
            TRY(large_write(e, jobs[0].file, done, err));
        } else {
            jobs_run(e, jobs, n, err);
            TRY(jobs_write(e, jobs, n, err));
        }
        from += n;
        done += bytes;
        e->progress(e->context, done);
    }
    return 0;
}

static void streams_free(EncodeTexts *e)
{
    for (int i = 0; e->stream && i < e->threads; i++) token_stream_free(e->stream[i]);
    free(e->stream);
    e->stream = NULL;
}

int encode_texts(EncodeTexts *e, int64_t from, Err *err)
{
    Job *jobs = calloc(ROUND_DOCUMENTS, sizeof *jobs);
    e->stream = calloc((size_t)e->threads, sizeof *e->stream);
    int status = jobs && e->stream ? 0 : err_set(err, "no memory to encode");
    for (int i = 0; status == 0 && i < e->threads; i++)
        e->stream[i] = token_stream_new(e->tok, false);
    if (status == 0) status = rounds(e, from, jobs, err);
    streams_free(e);
    free(jobs);
    return status;
}
