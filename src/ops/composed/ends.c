/* What comes behind a block's products, where no kernel of few rows does it with them. */
#include "ops/composed/composed.h"

void heads_forward(Backend *be, const HeadRows *h, Dual x)
{
    const Strided *y = &h->y;
    size_t n = (size_t)h->M * (size_t)h->H * (size_t)h->D;
    bool there = y->v == x.v && !y->places && !h->norm.v && !h->rope.table;
    if (there && y->half) backend_round(be, y->half, y->v, n, h->B, y->v_step);
    if (!there) be->ops->rope_forward(be, y, x, h->norm, &h->rope, h->B, h->M, h->H, h->D);
}

void residual_forward(Backend *be, const Residual *s, Dual x, int B, int R, int C, double eps)
{
    if (s->norm.v)
        be->ops->rmsnorm_forward(be, s->y, s->plus, x, s->norm, B, R, C, eps);
    else
        dual_add(be, s->y, s->plus, x, (size_t)B * (size_t)R * (size_t)C);
}
