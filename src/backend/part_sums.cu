#include "backend/part_sums.cuh"

#include "backend/launch.cuh"

enum { LANES = 32, SIDE = 16 };

struct Sums {
    PartSum sum[MOST_SUMS];
};

/* A block takes 32 columns of a group of one sum (blockIdx.y; z: which sum, and slot), its warps
 * take the parts in turn. Moves the parts once, mostly from the second cache. */
static __global__ void __launch_bounds__(LANES *SIDE)
    sum_parts_kernel(const __grid_constant__ Sums k)
{
    __shared__ real sums[SIDE][LANES];
    const PartSum &s = k.sum[blockIdx.z / 2];
    int lane = (int)threadIdx.x % LANES, side = (int)threadIdx.x / LANES;
    int c = (int)blockIdx.x * LANES + lane;
    size_t width = 2 * (size_t)s.C, slot = blockIdx.z % 2;
    real *to = slot ? s.t : s.v, sum = 0;
    bool there = to && c < s.C && (int)blockIdx.y < s.groups;
    const real *from = s.parts + (size_t)blockIdx.y * (size_t)s.count * width;
    for (int p = side; there && p < s.count; p += SIDE)
        sum += from[(size_t)p * width + slot * (size_t)s.C + (size_t)c];
    sums[side][lane] = sum;
    __syncthreads();
    if (side > 0 || !there) return;
    for (int i = 1; i < SIDE; i++) sum += sums[i][lane];
    to[(size_t)blockIdx.y * s.step + (size_t)c] += sum;
}

static void add_all(Backend *be)
{
    PartSums *p = cuda_part_sums(be);
    Sums k = {};
    int C = 0, groups = 0;
    for (int i = 0; i < p->n; i++) {
        const PartSum *s = &p->sum[i];
        k.sum[i] = *s;
        C = s->C > C ? s->C : C;
        groups = s->groups > groups ? s->groups : groups;
    }
    dim3 grid((unsigned)((C + LANES - 1) / LANES), (unsigned)groups, 2 * (unsigned)p->n);
    p->n = 0;
    p->used = 0;
    launch(be, sum_parts_kernel, grid, LANES * SIDE, 0, k);
}

/* Two sums to one place are made one after the other. */
static bool same_place(const PartSums *p, const PartSum &s)
{
    for (int i = 0; i < p->n; i++)
        if ((s.v && p->sum[i].v == s.v) || (s.t && p->sum[i].t == s.t)) return true;
    return false;
}

real *part_sums_room(Backend *be, PartSum sum)
{
    PartSums *p = cuda_part_sums(be);
    size_t each = (size_t)sum.groups * (size_t)sum.count * 2 * (size_t)sum.C * sizeof(real);
    each = (each + 255) / 256 * 256;
    bool grows = each * MOST_SUMS > p->bytes; /* else there is room for all that may wait */
    if (p->n > 0 && (grows || p->n == MOST_SUMS || same_place(p, sum))) add_all(be);
    if (grows) p->room = cuda_grow(be, p->room, &p->bytes, each * MOST_SUMS);
    real *parts = (real *)((char *)p->room + p->used);
    if (!sum.step) { /* all groups add to one gradient */
        sum.count *= sum.groups;
        sum.groups = 1;
    }
    sum.parts = parts;
    p->sum[p->n++] = sum;
    p->used += each;
    return parts;
}

void part_sums_left(Backend *be)
{
    if (cuda_part_sums(be)->depth == 0) add_all(be);
}

void part_sums_group(Backend *be, bool begins)
{
    PartSums *p = cuda_part_sums(be);
    p->depth += begins ? 1 : -1;
    if (p->depth == 0 && p->n > 0) add_all(be);
}
