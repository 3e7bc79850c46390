/* A product with a weight: by the kernel that streams the weight where x has few rows, and by the
 * backend's library where arithmetic is what takes time. */
#include "ops/composed/composed.h"

void product_operand(Backend *be, Dual x, int R, size_t n)
{
    if (R <= FEW_ROWS) return;
    if (x.v) gemm_operand(be, x.v, n);
    if (x.t) gemm_operand(be, x.t, n);
}

void weight_product(Backend *be, real *y, const real *x, const real *w, bool transposed, int R,
                    int K, int N, bool add)
{
    if (R <= FEW_ROWS)
        be->ops->rows_products(be, &(RowsProduct){.y = y, .x = x, .w = w, .N = N}, 1, transposed, R,
                               K, add, 0);
    else
        gemm(be, N_, transposed ? T_ : N_, R, N, K, 1, x, K, w, transposed ? K : N, add ? 1 : 0, y,
             N);
}
