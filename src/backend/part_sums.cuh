/* Gradients of norms' weights, a few hundred elements each: the blocks that make one leave parts of
 * it, and one small kernel adds the parts of many weights, each in its order. */
#ifndef TTT_BACKEND_PART_SUMS_CUH
#define TTT_BACKEND_PART_SUMS_CUH

#include "backend/cuda_state.cuh"

/* Parts (groups, count, 2, C), value and tangent. Those of a group are added to v and t, of which
 * either may be NULL, `step` elements from one group's to the next. */
struct PartSum {
    real *v, *t;
    size_t step;
    const real *parts;
    int groups, count, C;
};

enum { MOST_SUMS = 8 }; /* as many as a block has norms */

struct PartSums {
    void *room;
    size_t bytes, used;
    int depth; /* of nested groups, see gradient_group_begin */
    int n;
    PartSum sum[MOST_SUMS];
};

PartSums *cuda_part_sums(Backend *be);
/* Room for the parts of `sum`, which are added up some time after part_sums_left. */
real *part_sums_room(Backend *be, PartSum sum);
void part_sums_left(Backend *be);
void part_sums_group(Backend *be, bool begins);

#endif
