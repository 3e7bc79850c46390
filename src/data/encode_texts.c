/* Rounds: as many documents as fit a budget of bytes are read and encoded side by side, then
 * written one after the other, so that the result does not depend on the threads. A document above
 * the budget is a round of its own, cut into pieces where its tokenizer allows that. */
#include "data/encode_texts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

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

static int32_t *encode_piece(const EncodeTexts *e, const char *text, size_t size, int64_t *n,
                             Err *err)
{
    int32_t *ids = malloc((size + 1) * sizeof *ids);
    if (ids == NULL)
        err_set(err, "no memory to encode %zu bytes at once", size);
    else
        *n = tokenizer_encode(e->tok, text, size, ids);
    return ids;
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
    job->ids = encode_piece(e, text, (size_t)e->items[job->file].size, &job->n, err);
    free(text);
    return job->ids == NULL ? -1 : 0;
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

/* Encodes the pieces of text[0 .. size) side by side and writes them. */
static int pieces_write(const EncodeTexts *e, const char *text, int64_t size, int64_t step,
                        Job *jobs, Err *err)
{
    int n = (int)((size + step - 1) / step), status = 0;
#pragma omp parallel for schedule(dynamic) num_threads(e->threads) if (n > 1)
    for (int i = 0; i < n; i++) {
        Err own;
        int64_t from = i * step, length = size - from < step ? size - from : step;
        jobs[i] = (Job){0};
        jobs[i].ids = encode_piece(e, text + from, (size_t)length, &jobs[i].n, &own);
#pragma omp critical
        if (jobs[i].ids == NULL) {
            *err = own;
            status = -1;
        }
    }
    for (int i = 0; i < n; i++) {
        if (status == 0) status = ids_write(e, jobs[i].ids, jobs[i].n, err);
        free(jobs[i].ids);
    }
    return status;
}

static int text_write(const EncodeTexts *e, int64_t file, const char *text, int64_t done, Job *jobs,
                      Err *err)
{
    int64_t size = e->items[file].size;
    int64_t step = e->tok->cuts_anywhere ? PIECE_BYTES : size;
    int64_t round = e->tok->cuts_anywhere ? (int64_t)e->threads * PIECE_BYTES : size;
    if (round > (int64_t)ROUND_DOCUMENTS * PIECE_BYTES) round = (int64_t)ROUND_DOCUMENTS * step;
    TRY(begin(e, file, err));
    for (int64_t at = 0; at < size; at += round) {
        int64_t length = size - at < round ? size - at : round;
        TRY(encode_check_stop(e->stop, err));
        TRY(pieces_write(e, text + at, length, step, jobs, err));
        e->progress(e->context, done + at + length);
    }
    return dataset_writer_end(e->writer, err);
}

static int large_write(const EncodeTexts *e, int64_t file, int64_t done, Job *jobs, Err *err)
{
    char *text;
    TRY(read_again(e, file, &text, err));
    int status = text_write(e, file, text, done, jobs, err);
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
            TRY(large_write(e, jobs[0].file, done, jobs, err));
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

int encode_texts(const EncodeTexts *e, int64_t from, Err *err)
{
    Job *jobs = calloc(ROUND_DOCUMENTS, sizeof *jobs);
    if (jobs == NULL) return err_set(err, "no memory to encode");
    int status = rounds(e, from, jobs, err);
    free(jobs);
    return status;
}
