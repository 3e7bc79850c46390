/* Attention of few queries, as generation has them: bound by reading keys and values, which it does
 * once and in the order of their addresses. Part of attention_forward (attention.c). */
#ifndef TTT_OPS_ATTENTION_ROW_H
#define TTT_OPS_ATTENTION_ROW_H

#include "ops/kernel.h"

/* Whether this is the better way: few queries and no tangents. */
static inline bool attention_row_suits(Dual o, Dual q, const Window *w, int M)
{
    enum { FEW_QUERIES = 4 };
    return M <= FEW_QUERIES && !o.t && !q.t && !w->kt && !w->vt;
}

/* As attention_forward, values only. */
void KERNEL(attention_row)(Backend *be, real *o, real *lse, const real *q, const Window *w, int B,
                           int M, int H, int D);

/* The first row of keys that a query of the span sees; the last is its own. */
static inline int window_first(const Window *w, int query)
{
    int row = w->first + query, low = 0;
    if (w->window > 0 && row - w->window + 1 > low) low = (int)(row - w->window + 1);
    if (w->local > 0) low = max_int(low, row - (int)((w->position + query) % w->local));
    return low;
}

#endif
