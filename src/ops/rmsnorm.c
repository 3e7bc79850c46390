/* RMSNorm (Zhang and Sennrich, 2019): y = h w, h = x r, r = rsqrt(mean(x^2) + eps).
 *   tangent             rt = -r^3 mean(x xt),  ht = xt r + x rt,  yt = ht w + h wt
 *   gradient            g = dy w,  a = mean(g h),  dx = r (g - h a),  dw += sum dy h
 *   tangent of gradient gt = dyt w + dy wt,  at = mean(gt h + g ht),
 *                       dxt = rt (g - h a) + r (gt - ht a - h at),  dwt += sum dyt h + dy ht
 * A residual that the norm is added to costs nothing of its own: the row is at hand. */
#include "ops/norm_rows.h"

static const real *at_or_null(const real *p, size_t at)
{
    return p ? p + at : NULL;
}

void KERNEL(rmsnorm_forward)(Backend *be, Dual y, Dual plus, Dual x, Param w, int B, int R, int C,
                             double eps)
{
    (void)be;
    int rows = B * R;
#pragma omp parallel for schedule(static) if ((size_t)rows * (size_t)C > 1 << 14)
    for (int n = 0; n < rows; n++) {
        size_t at = (size_t)n * (size_t)C, wb = (size_t)(n / R) * w.step;
        const real *weight = param_of(w, n / R);
        real r = inverse_rms(x.v + at, C, eps);
        if (y.t)
            norm_tangent_row(y.t + at, at_or_null(plus.t, at), x.v + at, at_or_null(x.t, at),
                             weight, at_or_null(w.t, wb), C, r);
        norm_row(y.v + at, at_or_null(plus.v, at), x.v + at, weight, C, r);
    }
}

void KERNEL(rmsnorm_backward)(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w,
                              int B, int R, int C, double eps)
{
    if (plain_in_tangent_slot(dy) && !x.t && !w.t) {
        dx = (Dual){.v = dx.t};
        dw = (Param){.v = dw.t, .step = dw.step};
        dy = (Dual){.v = dy.t};
    }
    norm_backward(be, (NormRows){.dx = dx,
                                 .dy = dy,
                                 .x = x,
                                 .dw = dw,
                                 .w = w,
                                 .add = add,
                                 .B = B,
                                 .R = R,
                                 .C = C,
                                 .eps = eps});
}
