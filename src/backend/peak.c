/* The bfloat16 product peak: all threads, where the CPU has the instructions. */
#include "backend/peak.h"

#include <omp.h>

bool peak_bf16_available(void)
{
#ifdef __x86_64__
    return peak_bf16_compiled && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

double peak_bf16(Backend *be, float *out, int64_t rounds)
{
    double flops = 0;
#pragma omp parallel num_threads(be->threads) reduction(+ : flops)
    flops += peak_bf16_loop(&out[omp_get_thread_num()], rounds);
    return flops;
}
