/* bfloat16 products by oneDNN's matmul primitive. A primitive costs milliseconds to make, so each
 * shape keeps its own; its API changed between versions 2 and 3, and the differences stay here. */
#include "backend/gemm_bf16.h"

#include <stdlib.h>
#include <string.h>

#if defined HAVE_DNNL && !defined TTT_FP64
#include <oneapi/dnnl/dnnl.h>

#include "backend/bf16_copy.h" // defines: bf16_copy_find
#include "base/mem.h"

typedef struct Shape {
    int ta, tb, M, N, K, ldc, add, threads;
} Shape;

typedef struct Entry {
    Shape shape;
    bool used;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c;
} Entry;

enum { CAPACITY = 1024, FULL = 768 };

struct GemmCache {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    Entry entry[CAPACITY];
};

bool bf16_native(void)
{
#if defined HAVE_BF16_CONVERT
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

static void check(dnnl_status_t status, const char *what)
{
    mem_need(status != dnnl_out_of_memory, "a product in bfloat16 (%s)", what);
    CHECK(status == dnnl_success, "oneDNN: %s failed with status %d", what, (int)status);
}

struct GemmCache *gemm_cache_create(void)
{
    if (!bf16_native()) return NULL;
    struct GemmCache *cache = calloc(1, sizeof *cache);
    mem_need(cache, "products in bfloat16");
    check(dnnl_engine_create(&cache->engine, dnnl_cpu, 0), "engine");
    check(dnnl_stream_create(&cache->stream, cache->engine, dnnl_stream_default_flags), "stream");
    return cache;
}

static void entry_free(Entry *e)
{
    if (!e->used) return;
    dnnl_primitive_destroy(e->primitive);
    dnnl_memory_destroy(e->a);
    dnnl_memory_destroy(e->b);
    dnnl_memory_destroy(e->c);
    *e = (Entry){0};
}

static void cache_clear(struct GemmCache *cache)
{
    for (int i = 0; i < CAPACITY; i++) entry_free(&cache->entry[i]);
    cache->count = 0;
}

void gemm_cache_free(struct GemmCache *cache)
{
    if (!cache) return;
    cache_clear(cache);
    dnnl_stream_destroy(cache->stream);
    dnnl_engine_destroy(cache->engine);
    free(cache);
}

/* ------------------------------------------------------------------------------ API 2 and 3 */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t Desc;
static void desc_init(Desc *d, int rows, int cols, dnnl_data_type_t type, int row, int col)
{
    dnnl_dims_t dims = {rows, cols}, strides = {row, col};
    check(dnnl_memory_desc_create_with_strides(d, 2, dims, type, strides), "memory description");
}
static void desc_free(Desc *d)
{
    dnnl_memory_desc_destroy(*d);
}
static void memory_init(dnnl_memory_t *m, const Desc *d, dnnl_engine_t engine)
{
    check(dnnl_memory_create(m, *d, engine, DNNL_MEMORY_NONE), "memory");
}
static void append_sum(dnnl_post_ops_t ops)
{
    check(dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef), "post-op");
}
static void matmul_init(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const Desc *a,
                        const Desc *b, const Desc *c, dnnl_primitive_attr_t attr)
{
    check(dnnl_matmul_primitive_desc_create(pd, engine, *a, *b, NULL, *c, attr), "matmul");
}
#else
typedef dnnl_memory_desc_t Desc;
static void desc_init(Desc *d, int rows, int cols, dnnl_data_type_t type, int row, int col)
{
    dnnl_dims_t dims = {rows, cols}, strides = {row, col};
    check(dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides), "memory description");
}
static void desc_free(Desc *d)
{
    (void)d;
}
static void memory_init(dnnl_memory_t *m, const Desc *d, dnnl_engine_t engine)
{
    check(dnnl_memory_create(m, d, engine, DNNL_MEMORY_NONE), "memory");
}
static void append_sum(dnnl_post_ops_t ops)
{
    check(dnnl_post_ops_append_sum(ops, 1), "post-op");
}
static void matmul_init(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const Desc *a,
                        const Desc *b, const Desc *c, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t d;
    check(dnnl_matmul_desc_init(&d, a, b, NULL, c), "matmul description");
    check(dnnl_primitive_desc_create(pd, &d, attr, engine, NULL), "matmul");
}
#endif

/* ------------------------------------------------------------------------------ shapes */

static void entry_make(Entry *e, dnnl_engine_t engine)
{
    const Shape *s = &e->shape;
    Desc a, b, c;
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    dnnl_primitive_desc_t pd;
    desc_init(&a, s->M, s->K, dnnl_bf16, s->ta ? 1 : s->K, s->ta ? s->M : 1);
    desc_init(&b, s->K, s->N, dnnl_bf16, s->tb ? 1 : s->N, s->tb ? s->K : 1);
    desc_init(&c, s->M, s->N, dnnl_f32, s->ldc, 1);
    check(dnnl_primitive_attr_create(&attr), "attributes");
    check(dnnl_post_ops_create(&ops), "post-ops");
    if (s->add) append_sum(ops);
    check(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
    matmul_init(&pd, engine, &a, &b, &c, attr);
    check(dnnl_primitive_create(&e->primitive, pd), "primitive");
    memory_init(&e->a, &a, engine);
    memory_init(&e->b, &b, engine);
    memory_init(&e->c, &c, engine);
    dnnl_primitive_desc_destroy(pd);
    dnnl_post_ops_destroy(ops);
    dnnl_primitive_attr_destroy(attr);
    desc_free(&a);
    desc_free(&b);
    desc_free(&c);
    e->used = true;
}

static size_t shape_hash(const Shape *s)
{
    const int words[] = {s->ta, s->tb, s->M, s->N, s->K, s->ldc, s->add, s->threads};
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < ARRAY_LEN(words); i++)
        h = (h ^ (uint64_t)(unsigned)words[i]) * 1099511628211u;
    return (size_t)(h >> 20) % CAPACITY;
}

static Entry *entry_for(struct GemmCache *cache, Shape shape)
{
    size_t i = shape_hash(&shape);
    for (; cache->entry[i].used; i = (i + 1) % CAPACITY)
        if (memcmp(&cache->entry[i].shape, &shape, sizeof shape) == 0) return &cache->entry[i];
    if (cache->count == FULL) {
        cache_clear(cache);
        i = shape_hash(&shape);
    }
    cache->count++;
    cache->entry[i].shape = shape;
    entry_make(&cache->entry[i], cache->engine);
    return &cache->entry[i];
}

/* x (rows, cols) times scale, packed: the copy that is kept of it, or rounded now. */
static const uint16_t *operand(Backend *be, WorkSlot slot, const real *x, int rows, int cols,
                               int ld, real scale)
{
    size_t n = (size_t)rows * (size_t)cols;
    const uint16_t *kept = ld == cols && scale == 1 ? bf16_copy_find(be, x, n) : NULL;
    if (kept) return kept;
    uint16_t *to = (uint16_t *)(void *)backend_work(be, 0, slot, (n + 1) / 2);
    bf16_pack(to, x, rows, cols, ld, scale);
    return to;
}

void gemm_bf16(Backend *be, const Gemm *g)
{
    int M = g->M, N = g->N, K = g->K, ta = (int)g->ta, tb = (int)g->tb;
    const uint16_t *a = operand(be, WORK_GEMM_A, g->A, ta ? K : M, ta ? M : K, g->lda, g->alpha);
    const uint16_t *b = operand(be, WORK_GEMM_B, g->B, tb ? N : K, tb ? K : N, g->ldb, 1);
    CHECK(g->beta == 0 || g->beta == 1, "beta %g", (double)g->beta);
    Entry *e =
        entry_for(be->gemm_cache, (Shape){ta, tb, M, N, K, g->ldc, g->beta != 0, be->threads});
    check(dnnl_memory_set_data_handle(e->a, (void *)(uintptr_t)a), "operand");
    check(dnnl_memory_set_data_handle(e->b, (void *)(uintptr_t)b), "operand");
    check(dnnl_memory_set_data_handle(e->c, g->C), "result");
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, e->a}, {DNNL_ARG_WEIGHTS, e->b}, {DNNL_ARG_DST, e->c}};
    check(dnnl_primitive_execute(e->primitive, be->gemm_cache->stream, ARRAY_LEN(args), args),
          "product");
    check(dnnl_stream_wait(be->gemm_cache->stream), "product");
}

#else /* no oneDNN, or double */

bool bf16_native(void)
{
    return false;
}
struct GemmCache *gemm_cache_create(void)
{
    return NULL;
}
void gemm_cache_free(struct GemmCache *cache)
{
    (void)cache;
}
void gemm_bf16(Backend *be, const Gemm *g)
{
    (void)be, (void)g;
    CHECK(false, "no bfloat16 products in this build");
}
#endif
