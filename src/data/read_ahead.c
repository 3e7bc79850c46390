/* A ring of rows between the thread that fills it and the caller that empties it, in row order. A
 * row that is not the next one makes the ring start over there. */
#include "data/read_ahead.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct ReadAhead {
    ReadRow read;
    const void *context;
    int64_t row_tokens, n_rows;
    int32_t *rows; /* (n_rows, row_tokens) */
    pthread_t thread;
    bool running;
    /* Under the lock: */
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    int64_t first, end; /* rows in the ring: row r lies at r mod n_rows */
    uint64_t start;     /* counts how often the ring started over */
    bool failed;        /* row `end` could not be read: the caller will see why */
    bool stopped;
};

static int32_t *row_at(const ReadAhead *a, int64_t row)
{
    return a->rows + row % a->n_rows * a->row_tokens;
}

/* Called with the lock; reads row `end` without it. */
static void fill_one(ReadAhead *a)
{
    Err ignored;
    int64_t row = a->end;
    uint64_t start = a->start;
    int32_t *out = row_at(a, row);
    pthread_mutex_unlock(&a->lock);
    int status = a->read(a->context, row, out, &ignored);
    pthread_mutex_lock(&a->lock);
    if (start != a->start) return; /* the row is no longer wanted */
    if (status == 0)
        a->end++;
    else
        a->failed = true;
    pthread_cond_signal(&a->filled);
}

static void *run(void *context)
{
    ReadAhead *a = context;
    pthread_mutex_lock(&a->lock);
    while (!a->stopped) {
        if (a->failed || a->end - a->first >= a->n_rows)
            pthread_cond_wait(&a->emptied, &a->lock);
        else
            fill_one(a);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

int read_ahead_open(ReadAhead **out, ReadRow read, const void *context, int64_t row_tokens,
                    int64_t n_rows, Err *err)
{
    CHECK(row_tokens > 0 && n_rows > 0, "%lld rows of %lld tokens", (long long)n_rows,
          (long long)row_tokens);
    ReadAhead *a = *out = calloc(1, sizeof *a);
    if (a == NULL) return err_set(err, "no memory to read ahead");
    a->read = read;
    a->context = context;
    a->row_tokens = row_tokens;
    a->n_rows = n_rows;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->filled, NULL);
    pthread_cond_init(&a->emptied, NULL);
    a->rows = malloc((size_t)(n_rows * row_tokens) * sizeof *a->rows);
    if (a->rows != NULL) return 0;
    read_ahead_close(a);
    *out = NULL;
    return err_set(err, "no memory to read %lld sequences ahead", (long long)n_rows);
}

void read_ahead_close(ReadAhead *a)
{
    if (a == NULL) return;
    pthread_mutex_lock(&a->lock);
    a->stopped = true;
    pthread_cond_signal(&a->emptied);
    pthread_mutex_unlock(&a->lock);
    if (a->running) pthread_join(a->thread, NULL);
    pthread_cond_destroy(&a->filled);
    pthread_cond_destroy(&a->emptied);
    pthread_mutex_destroy(&a->lock);
    free(a->rows);
    free(a);
}

/* Called with the lock. */
static void start_over(ReadAhead *a, int64_t row)
{
    a->first = a->end = row;
    a->failed = false;
    a->start++;
    pthread_cond_signal(&a->emptied);
}

int read_ahead_get(ReadAhead *a, int64_t row, int32_t *out, Err *err)
{
    pthread_mutex_lock(&a->lock);
    if (row != a->first || !a->running) start_over(a, row);
    /* Without a thread (there may be a limit of them) rows are read as they are asked for. */
    if (!a->running) a->running = pthread_create(&a->thread, NULL, run, a) == 0;
    while (a->running && a->first == a->end && !a->failed) pthread_cond_wait(&a->filled, &a->lock);
    bool there = a->first < a->end;
    if (there) {
        memcpy(out, row_at(a, row), (size_t)a->row_tokens * sizeof *out);
        a->first++;
        pthread_cond_signal(&a->emptied);
    }
    pthread_mutex_unlock(&a->lock);
    return there ? 0 : a->read(a->context, row, out, err);
}
