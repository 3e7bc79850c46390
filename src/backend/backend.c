/* The interface's one implementation: each call goes to the machine's table. */
#include "backend/backend.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h" // defines: bf16_copies_free
#include "backend/machine.h"
#include "backend/profile.h" // defines: profile_begin, profile_end
#include "base/mem.h"

static const Machine *machine_of(const char *device, Err *err)
{
    if (!device || strcmp(device, "cpu") == 0) return &machine_cpu;
    if (strncmp(device, "cuda", 4) == 0) return cuda_module_machine(err);
    err_set(err, "device '%s' is not known; it is cpu, cuda, or cuda:N for the N-th GPU", device);
    return NULL;
}

int backend_open(Backend **out, const BackendOptions *options, Err *err)
{
    const Machine *machine = machine_of(options->device, err);
    if (!machine) return -1;
    Backend *be = calloc(1, sizeof *be);
    mem_need(be, "a backend");
    be->machine = machine;
    be->bf16 = options->bf16;
    if (machine->open(be, options, err) < 0) {
        free(be);
        return -1;
    }
    *out = be;
    return 0;
}

void backend_close(Backend *be)
{
    if (!be) return;
    bf16_copies_free(be);
    be->machine->close(be);
    free(be);
}

int backend_enter(Backend *be)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(be->threads);
    if (be->machine->enter) be->machine->enter(be);
    return before;
}

void backend_leave(Backend *be, int before)
{
    (void)be;
    omp_set_num_threads(before);
}

bool backend_bf16_emulated(const Backend *be)
{
    return be->bf16 && !be->bf16_native;
}

static size_t bytes_of(size_t n)
{
    CHECK(n < SIZE_MAX / 2 / sizeof(real), "%zu elements overflow", n);
    return n * sizeof(real);
}

real *backend_alloc(Backend *be, size_t n)
{
    return be->machine->alloc(be, bytes_of(n), false);
}

real *backend_alloc_shared(Backend *be, size_t n)
{
    return be->machine->alloc(be, bytes_of(n), true);
}

void backend_free(Backend *be, real *p, size_t n)
{
    be->machine->free(be, p, bytes_of(n));
}

void backend_zero(Backend *be, real *p, size_t n)
{
    be->machine->zero(be, p, bytes_of(n));
}

void backend_copy(Backend *be, real *to, const real *from, size_t n)
{
    be->machine->copy(be, to, from, bytes_of(n));
}

void backend_upload(Backend *be, real *to, const real *host, size_t n)
{
    be->machine->upload(be, to, host, bytes_of(n));
}

void backend_download(Backend *be, real *host, const real *from, size_t n)
{
    be->machine->download(be, host, from, bytes_of(n));
}

bool backend_half_windows(const Backend *be)
{
    return be->machine->half_windows && backend_rounds(be);
}

void backend_round(Backend *be, uint16_t *to, const real *x, size_t n)
{
    if (n > 0) be->machine->round_bf16(be, to, x, n);
}

void backend_copy_bytes(Backend *be, void *to, const void *from, size_t n)
{
    be->machine->copy(be, to, from, n);
}

void backend_upload_bytes(Backend *be, void *to, const void *host, size_t n)
{
    be->machine->upload(be, to, host, n);
}

void backend_upload_ids(Backend *be, int32_t *to, const int32_t *host, size_t n)
{
    backend_upload_bytes(be, to, host, n * sizeof *to);
}

void backend_upload_doubles(Backend *be, double *to, const double *host, size_t n)
{
    backend_upload_bytes(be, to, host, n * sizeof *to);
}

void backend_download_doubles(Backend *be, double *host, const double *from, size_t n)
{
    be->machine->download(be, host, from, n * sizeof *host);
}

int backend_wait(Backend *be, Err *err)
{
    return be->machine->wait(be, err);
}

size_t backend_memory_left(Backend *be)
{
    return be->machine->memory_left(be);
}

size_t backend_memory_room(Backend *be)
{
    return be->machine->memory_room ? be->machine->memory_room(be) : 0;
}

size_t backend_memory_peak(Backend *be)
{
    return be->machine->memory_peak(be);
}

bool backend_records(const Backend *be)
{
    return be->machine->record_begin != NULL;
}

void backend_record_begin(Backend *be)
{
    be->machine->record_begin(be);
}

BackendRecord *backend_record_end(Backend *be, Err *why)
{
    return be->machine->record_end(be, why);
}

void backend_record_play(Backend *be, BackendRecord *record)
{
    be->machine->record_play(be, record);
}

void backend_record_free(Backend *be, BackendRecord *record)
{
    if (record) be->machine->record_free(be, record);
}

bool backend_rehearses(const Backend *be)
{
    return be->machine->rehearse_begin != NULL;
}

void backend_rehearse_begin(Backend *be)
{
    be->machine->rehearse_begin(be);
}

size_t backend_rehearse_end(Backend *be)
{
    return be->machine->rehearse_end(be);
}

void gemm_group_begin(Backend *be)
{
    if (be->machine->gemm_group) be->machine->gemm_group(be, true);
}

void gemm_group_end(Backend *be)
{
    if (be->machine->gemm_group) be->machine->gemm_group(be, false);
}

void gradient_group_begin(Backend *be)
{
    if (be->machine->gradient_group) be->machine->gradient_group(be, true);
}

void gradient_group_end(Backend *be)
{
    if (be->machine->gradient_group) be->machine->gradient_group(be, false);
}

void gemm_operand(Backend *be, const real *x, size_t n)
{
    if (be->machine->gemm_operand && x) be->machine->gemm_operand(be, x, n);
}

static void product(Backend *be, const Gemm *g)
{
    if (g->M == 0 || g->N == 0 || g->count == 0) return;
    double began = profile_begin(be);
    be->machine->gemm(be, g);
    profile_end(be, PROFILE_GEMM, began);
}

void gemm(Backend *be, Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
          const real *B, int ldb, real beta, real *C, int ldc)
{
    Gemm g = {ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc, .count = 1};
    product(be, &g);
}

void gemm_batch(Backend *be, int count, Trans ta, Trans tb, int M, int N, int K, const real *A,
                size_t step_a, const real *B, size_t step_b, real beta, real *C, size_t step_c)
{
    if (count == 1) step_a = step_b = step_c = 0; /* the same operand, whoever asks for it */
    Gemm g = {ta,         tb,   M, N, K,     1,      A,      ta ? M : K, B,
              tb ? K : N, beta, C, N, count, step_a, step_b, step_c};
    product(be, &g);
}
