/* What comes behind a block's products, where no kernel of few rows does it with them. */
#include "ops/composed/composed.h"

/* Rows that already are where they belong, and are wanted in bfloat16 too. */
static void round_rows(Backend *be, const Strided *y, int B, size_t n)
{
    for (size_t b = 0; y->half && b < (size_t)B; b++)
        backend_round(be, y->half + b * y->v_step, y->v + b * y->v_step, n);
}

void heads_forward(Backend *be, const HeadRows *h, Dual x)
{
    if (h->y.v == x.v && !h->y.places && !h->norm.v && !h->rope.table)
        round_rows(be, &h->y, h->B, (size_t)h->M * (size_t)h->H * (size_t)h->D);
    else
        be->ops->rope_forward(be, &h->y, x, h->norm, &h->rope, h->B, h->M, h->H, h->D);
}

void residual_forward(Backend *be, const Residual *s, Dual x, int B, int R, int C, double eps)
{
    if (s->norm.v)
        be->ops->rmsnorm_forward(be, s->y, s->plus, x, s->norm, B, R, C, eps);
    else
        dual_add(be, s->y, s->plus, x, (size_t)B * (size_t)R * (size_t)C);
}
