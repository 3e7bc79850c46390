/* Results of `ttt bench ops` as a table and as JSON. */
#include "run/bench_ops.h"

void bench_ops_print(const OpsResult *r, FILE *out)
{
    fprintf(out, "%s: peak %.1f GFLOP/s, memory %.1f GB/s (more than all of it: in cache)\n",
            r->shape, r->peak_gflops, r->peak_gbs);
    fprintf(out, "%-26s %10s %10s %10s %7s\n", "operation", "ms", "GFLOP/s", "GB/s", "share");
    for (int i = 0; i < r->n; i++) {
        const OpResult *o = &r->op[i];
        fprintf(out, "%-26s %10.4f", o->name, 1e3 * o->seconds);
        if (o->gflops > 0)
            fprintf(out, " %10.1f %10s", o->gflops, "");
        else
            fprintf(out, " %10s %10.1f", "", o->gbs);
        fprintf(out, " %7.3f\n", o->share);
    }
    fputc('\n', out);
}

json_t *bench_ops_json(const OpsResult *r)
{
    json_t *ops = json_array();
    for (int i = 0; i < r->n; i++) {
        const OpResult *o = &r->op[i];
        json_array_append_new(ops, json_pack("{s:s, s:f, s:f, s:f, s:f}", "op", o->name, "seconds",
                                             o->seconds, "gflops", o->gflops, "gbs", o->gbs,
                                             "share_of_peak", o->share));
    }
    return json_pack("{s:s, s:f, s:f, s:o}", "shape", r->shape, "peak_gflops", r->peak_gflops,
                     "peak_gbs", r->peak_gbs, "ops", ops);
}
