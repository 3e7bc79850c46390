/* In place of src/ops/mma.cuh: the same functions, as meetings of an emulated warp. */
#ifndef EMULATOR_OPS_MMA_CUH
#define EMULATOR_OPS_MMA_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

struct EmulatedMma {
    float *d;
    const unsigned *a, *b;
};

static inline float emulated_half(unsigned pair, int high)
{
    return __uint_as_float(high ? pair & 0xffff0000u : pair << 16);
}

/* Element (row, column) of a fragment of 8 columns of pairs, held by lane 4 row + column / 2. */
EMULATOR_UNTOLD static inline void emulated_mma(void *const *lanes)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const auto *l = static_cast<const EmulatedMma *>(lanes[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            for (int half = 0; half < 2; half++)
                a[g + i % 2 * 8][i / 2 * 8 + 2 * t + half] = emulated_half(l->a[i], half);
        for (int i = 0; i < 2; i++)
            for (int half = 0; half < 2; half++)
                b[i * 8 + 2 * t + half][g] = emulated_half(l->b[i], half);
    }
    for (int lane = 0; lane < 32; lane++) {
        const auto *l = static_cast<const EmulatedMma *>(lanes[lane]);
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            double sum = (double)l->d[i];
            for (int k = 0; k < 16; k++) sum += (double)a[row][k] * (double)b[k][column];
            l->d[i] = (float)sum;
        }
    }
}

static inline void mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2],
                                     EMULATOR_SITE)
{
    EmulatedMma mine = {d, a, b};
    emulator::collective({"mma_m16n8k16_bf16", file, line}, &mine, emulated_mma);
}

struct EmulatedLdmatrix {
    unsigned *r;
    const void *row;
    bool transposed;
    const void *place;
};

EMULATOR_UNTOLD static inline void emulated_ldmatrix(void *const *lanes)
{
    unsigned short x[32][8]; /* row j of matrix i is x[8 i + j] */
    for (int i = 0; i < 32; i++) {
        const auto *l = static_cast<const EmulatedLdmatrix *>(lanes[i]);
        const void *row = l->row;
        if ((uintptr_t)row % 16 || !emulator::is_shared(row))
            emulator::die("ldmatrix: lane %d's row at %p is not 16-byte aligned shared memory", i,
                          row);
        emulator::warp_reads(i, row, sizeof x[i], l->place);
        memcpy(x[i], row, sizeof x[i]);
    }
    for (int lane = 0; lane < 32; lane++) {
        const auto *l = static_cast<const EmulatedLdmatrix *>(lanes[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            unsigned low = l->transposed ? x[8 * i + 2 * t][g] : x[8 * i + g][2 * t];
            unsigned high = l->transposed ? x[8 * i + 2 * t + 1][g] : x[8 * i + g][2 * t + 1];
            l->r[i] = low | high << 16;
        }
    }
}

static inline void ldmatrix_x4(unsigned r[4], const void *shared, EMULATOR_SITE)
{
    EmulatedLdmatrix mine = {r, shared, false, emulator::here()};
    emulator::collective({"ldmatrix_x4", file, line}, &mine, emulated_ldmatrix);
}

static inline void ldmatrix_x4_trans(unsigned r[4], const void *shared, EMULATOR_SITE)
{
    EmulatedLdmatrix mine = {r, shared, true, emulator::here()};
    emulator::collective({"ldmatrix_x4_trans", file, line}, &mine, emulated_ldmatrix);
}

static inline void cp_async16(void *shared, const void *global, bool there = true)
{
    emulator::copy_later(shared, global, there);
}
static inline void cp_async_commit()
{
    emulator::copy_close_group();
}
template <int N> static inline void cp_async_wait()
{
    emulator::copy_wait(N);
}

static inline unsigned pack_bf16(float low, float high)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(high)) << 16;
}

static inline float exp2_fast(float x)
{
    return std::exp2(x);
}

#endif
