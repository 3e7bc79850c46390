/* Which keys the queries of a span see, in rows of the Window, so that kernels compute with 32 bits
 * and never divide by more than the length of a chunk. Both ends of what a query sees grow with the
 * query: tiles outside of them are never visited. */
#ifndef TTT_OPS_ATTENTION_SEEN_CUH
#define TTT_OPS_ATTENTION_SEEN_CUH

#include "ops/kernel.cuh"

typedef struct Seen {
    int first, end;  /* the span's own rows: query i is row first + i */
    int window;      /* rows that a query sees at most */
    int start, next; /* the chunk of the first query, where attention is local: [start, next) */
    int local;       /* length of the chunks from `next` on */
} Seen;

static inline Seen seen_of(const Window *w, int first, int64_t position, int M)
{
    int end = first + M;
    Seen s = {first, end, end, 0, end, 1};
    if (w->window > 0 && w->window < end) s.window = (int)w->window;
    if (w->local <= 0) return s;
    int64_t start = first - position % w->local, next = start + w->local;
    s.start = start > 0 ? (int)start : 0;
    s.next = next < end ? (int)next : end;
    s.local = w->local < end ? (int)w->local : end;
    return s;
}

/* First row that the query in row `row` sees; its last is its own. */
__host__ __device__ inline int seen_from(const Seen &s, int row)
{
    int low = row - s.window + 1;
    int chunk = row < s.next ? s.start : s.next + (row - s.next) / s.local * s.local;
    return low > chunk ? low : chunk;
}

/* One past the last row whose query sees `key`; its first is its own, or the span's first. */
__device__ inline int seen_until(const Seen &s, int key)
{
    int far = key + s.window;
    int chunk = key < s.next ? s.next : s.next + ((key - s.next) / s.local + 1) * s.local;
    int until = far < chunk ? far : chunk;
    return until < s.end ? until : s.end;
}

/* Tiles of `size` keys, from the first row that any query sees. None holds past and own rows: only
 * the span's own have tangents and, in the value slot, gradients. */
typedef struct KeyTile {
    int key, n; /* its first row, its rows */
    bool own;
} KeyTile;

__device__ inline KeyTile key_tile_at(const Seen &s, int key, int end, int size)
{
    bool own = key >= s.first;
    int stop = own ? end : s.first;
    return {key, stop - key < size ? stop - key : size, own};
}

__host__ __device__ inline int past_tiles(const Seen &s, int size)
{
    return (s.first - seen_from(s, s.first) + size - 1) / size;
}

static inline int key_tiles(const Seen &s, int size)
{
    return past_tiles(s, size) + (s.end - s.first + size - 1) / size;
}

__device__ inline KeyTile key_tile(const Seen &s, int i, int size)
{
    int past = past_tiles(s, size);
    int key = i < past ? seen_from(s, s.first) + i * size : s.first + (i - past) * size;
    return key_tile_at(s, key, s.end, size);
}

#endif
