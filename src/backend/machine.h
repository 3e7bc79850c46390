/* What a kind of machine brings to a backend: one table each, cpu.c's and that of the CUDA module
 * (cuda.cu), which backend.h's functions call. Memory is counted in bytes here. */
#ifndef TTT_BACKEND_MACHINE_H
#define TTT_BACKEND_MACHINE_H

#include <stdint.h>

#include "backend/backend.h"

typedef struct Machine {
    bool own_memory;   /* apart from the host's */
    bool half_windows; /* see backend_half_windows */
    int span_rows;     /* of activations that one pass of a block keeps it busy with */
    /* Of logits that are made, and turned into gradients, at a time: rows, and elements. */
    int head_rows;
    int64_t head_logits;
    /* Sets ops, isa, threads, bf16_native and what is the machine's own. On failure nothing is
     * left. */
    int (*open)(Backend *be, const BackendOptions *options, Err *err);
    void (*close)(Backend *be);
    void (*enter)(Backend *be); /* see backend_enter; NULL: nothing to do */
    /* Zeroed, aligned to 64 bytes or more. shared: the host may read and write it too (tests). */
    void *(*alloc)(Backend *be, size_t bytes, bool shared);
    void (*free)(Backend *be, void *p, size_t bytes);
    void (*zero)(Backend *be, void *p, size_t bytes);
    void (*copy)(Backend *be, void *to, const void *from, size_t bytes);
    void (*upload)(Backend *be, void *to, const void *host, size_t bytes);
    void (*download)(Backend *be, void *host, const void *from, size_t bytes);
    void (*pin)(Backend *be, void *host, size_t bytes,
                bool on);                         /* see backend_pin; NULL: nothing to do */
    int (*wait)(Backend *be, Err *err);           /* see backend_wait */
    size_t (*memory_left)(Backend *be);           /* see backend_memory_left */
    size_t (*memory_room)(Backend *be);           /* see backend_memory_room */
    size_t (*memory_peak)(Backend *be);           /* see backend_memory_peak */
    void (*gemm)(Backend *be, const Gemm *g);     /* see gemm_batch; count 1 or more */
    void (*gemm_group)(Backend *be, bool begins); /* see gemm_group_begin; NULL: nothing to do */
    void (*gemm_operand)(Backend *be, const real *x, size_t n); /* see there; NULL: nothing to do */
    void (*gradient_group)(Backend *be, bool begins); /* see gradient_group_begin; likewise */
    /* See backend_record_begin; NULL: there is no such thing. */
    void (*record_begin)(Backend *be);
    BackendRecord *(*record_end)(Backend *be, Err *why);
    void (*record_play)(Backend *be, BackendRecord *record);
    void (*record_free)(Backend *be, BackendRecord *record);
    /* See backend_rehearse_begin; NULL: there is no such thing. */
    void (*rehearse_begin)(Backend *be);
    size_t (*rehearse_end)(Backend *be);
    /* See backend_round; to nearest, even. */
    void (*round_bf16)(Backend *be, uint16_t *to, const real *x, size_t n, int count, size_t step);
} Machine;

extern const Machine machine_cpu;

/* The CUDA module's entry. */
const Machine *ttt_cuda_machine(void);

/* cuda_module.c: that of the module beside the program; NULL with one line why there is none. */
const Machine *cuda_module_machine(Err *err);

#endif
