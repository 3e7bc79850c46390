/* Operands in bfloat16: see operands_cuda.cuh.
 *
 * The room is one block of memory, taken from its beginning by each outermost group. Where a group
 * needs more, more blocks are added for as long as it lasts, and then become one: so in a first run
 * nothing moves that was already written, and in later ones, which may be recorded, nothing grows.
 */
#include "backend/operands_cuda.cuh"

#include <cuda_bf16.h>
#include <stdlib.h>

#include "backend/launch.cuh"

extern "C" {
#include "backend/bf16_copy.h"
#include "base/mem.h"
}

enum { MOST_OPERANDS = 48, MOST_BLOCKS = 32, ALIGNED = 256, THREADS = 256 };
enum { LEAST_BLOCK = 1 << 20 };

/* A run of `real` (rows 1, cols of them), or matrices with gaps between their rows. */
typedef struct Operand {
    Matrices of;
    uint16_t *half; /* packed */
    bool declared, written;
} Operand;

typedef struct Block {
    char *p;
    size_t bytes, used;
} Block;

struct CudaOperands {
    int depth; /* of nested groups */
    int n, n_blocks;
    Operand operand[MOST_OPERANDS];
    Block block[MOST_BLOCKS];
};

CudaOperands *cuda_operands_open(void)
{
    CudaOperands *o = (CudaOperands *)calloc(1, sizeof *o);
    mem_need(o, "operands on a GPU");
    return o;
}

void cuda_operands_close(Backend *be, CudaOperands *o)
{
    for (int i = 0; o && i < o->n_blocks; i++)
        cuda_release(be, o->block[i].p, o->block[i].bytes, false);
    free(o);
}

/* ------------------------------------------------------------------------------ the room */

/* Each block as large as all before it, so that they are few. */
static size_t block_bytes(const CudaOperands *o, size_t bytes)
{
    size_t most = bytes > LEAST_BLOCK ? bytes : (size_t)LEAST_BLOCK, all = 0;
    for (int i = 0; i < o->n_blocks; i++) all += o->block[i].bytes;
    return most > all ? most : all;
}

/* Room for this many elements; NULL once the GPU has failed. */
static uint16_t *room_take(Backend *be, CudaOperands *o, size_t n)
{
    if (cuda_failed(be) && !cuda_rehearses(be)) return NULL;
    size_t bytes = (n * sizeof(uint16_t) + ALIGNED - 1) / ALIGNED * ALIGNED;
    Block *b = o->n_blocks ? &o->block[o->n_blocks - 1] : NULL;
    if (!b || b->used + bytes > b->bytes) {
        CHECK(o->n_blocks < MOST_BLOCKS, "operands of one group in %d blocks", o->n_blocks);
        size_t wanted = block_bytes(o, bytes);
        b = &o->block[o->n_blocks++];
        *b = {};
        b->p = (char *)cuda_grow(be, NULL, &b->bytes, wanted);
        if (!b->p) return NULL;
    }
    b->used += bytes;
    return (uint16_t *)(b->p + b->used - bytes);
}

static void room_empty(Backend *be, CudaOperands *o)
{
    size_t used = 0;
    for (int i = 0; i < o->n_blocks; i++) used += o->block[i].used;
    for (; o->n_blocks > 1; o->n_blocks--) {
        Block *b = &o->block[o->n_blocks - 1];
        cuda_release(be, b->p, b->bytes, false); /* nothing grows while a run is recorded */
    }
    Block *b = &o->block[0];
    b->p = (char *)cuda_grow(be, b->p, &b->bytes, used);
    b->used = 0;
    o->n = 0;
}

void cuda_operands_group(Backend *be, CudaOperands *o, bool begins)
{
    o->depth += begins ? 1 : -1;
    if (o->depth == 0 && o->n_blocks > 0) room_empty(be, o);
}

/* ------------------------------------------------------------------------------ what is known */

static bool dense(const Matrices *m)
{
    return m->ld == m->cols && (m->count == 1 || m->step == m->rows * m->cols);
}

static int64_t elements(const Matrices *m)
{
    return m->rows * m->cols * m->count;
}

/* The same elements, however they are cut into rows. */
static Matrices as_run(const void *data, int64_t n)
{
    return {data, 1, n, n, 0, 1};
}

/* Where in `whole`, as it is packed, `part` begins; -1: it is not in there. */
static int64_t place_in(const Matrices *whole, const Matrices *part)
{
    const real *w = (const real *)whole->data, *p = (const real *)part->data;
    if (dense(whole) && dense(part))
        return p >= w && p + elements(part) <= w + elements(whole) ? p - w : -1;
    bool same = w == p && whole->rows == part->rows && whole->cols == part->cols &&
                whole->ld == part->ld && whole->step == part->step && whole->count == part->count;
    return same ? 0 : -1;
}

/* Where there are too many, those that can be rounded again are forgotten. */
static Operand *operand_new(Backend *be, CudaOperands *o, Matrices of, bool declared)
{
    if (o->n == MOST_OPERANDS) {
        o->n = 0;
        for (int i = 0; i < MOST_OPERANDS; i++)
            if (o->operand[i].declared) o->operand[o->n++] = o->operand[i];
        CHECK(o->n < MOST_OPERANDS, "%d operands declared in one group", o->n);
    }
    uint16_t *half = room_take(be, o, (size_t)elements(&of));
    if (!half) return NULL;
    o->operand[o->n] = {of, half, declared, false};
    return &o->operand[o->n++];
}

static bool overlap(const Matrices *m, const real *x, size_t n)
{
    const real *from = (const real *)m->data;
    const real *to = from + (m->count - 1) * m->step + (m->rows - 1) * m->ld + m->cols;
    return from < x + n && x < to;
}

void cuda_operands_forget(CudaOperands *o, const real *x, size_t n)
{
    int kept = 0;
    for (int i = 0; i < o->n; i++)
        if (!overlap(&o->operand[i].of, x, n)) o->operand[kept++] = o->operand[i];
    o->n = kept;
}

void cuda_operands_declare(Backend *be, CudaOperands *o, const real *x, size_t n)
{
    bool dead = cuda_failed(be) && !cuda_rehearses(be);
    if (o->depth == 0 || dead || !backend_rounds(be)) return;
    cuda_operands_forget(o, x, n);
    operand_new(be, o, as_run(x, (int64_t)n), true);
}

uint16_t *cuda_operand_to_write(const Backend *be, const real *y, size_t n)
{
    CudaOperands *o = cuda_operands(be);
    Matrices wanted = as_run(y, (int64_t)n);
    for (int i = 0; i < o->n; i++) {
        Operand *r = &o->operand[i];
        int64_t at = r->declared ? place_in(&r->of, &wanted) : -1;
        if (at < 0) continue;
        r->written = true;
        return r->half + at;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ rounding */

/* Neighbours of a row that a thread rounds: two loads of 16 bytes of float, one store of 16. */
enum { EIGHT = 8 };
struct alignas(EIGHT / 2 * sizeof(real)) Half {
    real x[EIGHT / 2];
};
struct alignas(EIGHT * sizeof(__nv_bfloat16)) Rounded {
    __nv_bfloat16 x[EIGHT];
};

typedef struct Rounding {
    Matrices from; /* of real */
    __nv_bfloat16 *to;
    bool packs; /* every eighth element of a row is aligned for Half, and Rounded */
} Rounding;

typedef struct Roundings {
    Rounding of[AT_ONCE];
    int n;
} Roundings;

/* grid: (, matrices, roundings); a thread takes EIGHT neighbours. 6 bytes an element. */
static __global__ void round_kernel(const __grid_constant__ Roundings all)
{
    const Rounding &r = all.of[blockIdx.z];
    int64_t cols = r.from.cols, units = (cols + EIGHT - 1) / EIGHT;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = i / units;
    if (row >= r.from.rows || (int)blockIdx.y >= r.from.count) return;
    int64_t col = i % units * EIGHT;
    int n = cols - col < EIGHT ? (int)(cols - col) : EIGHT;
    const real *from = (const real *)r.from.data + blockIdx.y * r.from.step + row * r.from.ld + col;
    __nv_bfloat16 *to = r.to + (blockIdx.y * r.from.rows + row) * cols + col;
    if (!r.packs || n < EIGHT) {
        for (int j = 0; j < n; j++)
            to[j] = __float2bfloat16_rn(r.from.data ? (float)from[j] : 0.0f);
        return;
    }
    Half low = {}, high = {};
    if (r.from.data) {
        low = reinterpret_cast<const Half *>(from)[0];
        high = reinterpret_cast<const Half *>(from)[1];
    }
    Rounded x;
    for (int j = 0; j < EIGHT / 2; j++) {
        x.x[j] = __float2bfloat16_rn((float)low.x[j]);
        x.x[EIGHT / 2 + j] = __float2bfloat16_rn((float)high.x[j]);
    }
    *reinterpret_cast<Rounded *>(to) = x;
}

static void roundings_add(Roundings *all, const Matrices *from, uint16_t *to)
{
    Rounding r = {*from, (__nv_bfloat16 *)to, false};
    if (dense(from)) r.from = as_run(from->data, elements(from));
    const Matrices *m = &r.from;
    bool run = m->rows == 1 && m->count == 1;
    bool rows = run || (m->cols % EIGHT == 0 && m->ld % (EIGHT / 2) == 0 &&
                        (m->count == 1 || m->step % (EIGHT / 2) == 0));
    r.packs =
        rows && (uintptr_t)m->data % alignof(Half) == 0 && (uintptr_t)to % alignof(Rounded) == 0;
    all->of[all->n++] = r;
}

static void roundings_start(Backend *be, const Roundings *all)
{
    int64_t units = 0;
    int count = 1;
    for (int i = 0; i < all->n; i++) {
        const Matrices *m = &all->of[i].from;
        int64_t own = m->rows * ((m->cols + EIGHT - 1) / EIGHT);
        if (own > units) units = own;
        if (m->count > count) count = m->count;
    }
    dim3 grid((unsigned)((units + THREADS - 1) / THREADS), (unsigned)count, (unsigned)all->n);
    launch(be, round_kernel, grid, dim3(THREADS), 0, *all);
}

void cuda_round_bf16(Backend *be, uint16_t *to, const real *x, size_t n)
{
    Roundings all = {};
    Matrices run = as_run(x, (int64_t)n);
    roundings_add(&all, &run, to);
    roundings_start(be, &all);
}

/* The packed matrices of m at `half`. */
static Matrices packed(const Matrices *m, const uint16_t *half)
{
    return {half, m->rows, m->cols, m->cols, m->step ? m->rows * m->cols : 0, m->count};
}

/* m in bfloat16; what must be rounded for that is added to `all`. */
static Matrices in_bf16(Backend *be, CudaOperands *o, const Matrices *m, Roundings *all)
{
    const real *x = (const real *)m->data;
    size_t span = (size_t)((m->count - 1) * m->step + m->rows * m->cols);
    const uint16_t *kept = m->ld == m->cols ? bf16_copy_find(be, x, span) : NULL;
    if (kept) return {kept, m->rows, m->cols, m->ld, m->step, m->count};
    Matrices once = *m;
    if (m->step == 0) once.count = 1;
    for (int i = 0; i < o->n; i++) {
        const Operand *r = &o->operand[i];
        int64_t at = r->written ? place_in(&r->of, &once) : -1;
        if (at >= 0) return packed(m, r->half + at);
    }
    Operand *r = operand_new(be, o, once, false);
    if (!r) return *m;
    r->written = true;
    roundings_add(all, &once, r->half);
    return packed(m, r->half);
}

void cuda_operands_round(Backend *be, CudaOperands *o, Matrices *m, int n)
{
    Roundings all = {};
    CHECK(n <= AT_ONCE, "%d operands at once", n);
    for (int i = 0; i < n; i++)
        if (m[i].count) m[i] = in_bf16(be, o, &m[i], &all);
    if (all.n && !cuda_failed(be)) roundings_start(be, &all);
}
