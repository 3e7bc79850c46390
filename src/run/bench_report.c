/* Results of `ttt bench` as a table and as JSON. */
#include <math.h>

#include "ops/ops.h" // defines: op_name, N_OPS
#include "run/bench.h"

/* ------------------------------------------------------------------------------ the profile */

/* Seconds per step of an operation in a phase; op N_OPS: what no operation took. */
static double cell(const BenchResult *r, int op, int phase)
{
    const Profile *p = &r->profile;
    double seconds = op < N_OPS ? p->seconds[phase][op] : p->phase_seconds[phase];
    for (int i = 0; op == N_OPS && i < N_OPS; i++) seconds -= p->seconds[phase][i];
    return seconds / (double)r->profiled;
}

static double op_seconds(const BenchResult *r, int op)
{
    double sum = 0;
    for (int phase = 0; phase < N_PHASES; phase++) sum += cell(r, op, phase);
    return sum;
}

static double phase_seconds(const BenchResult *r, int phase)
{
    return r->profile.phase_seconds[phase] / (double)r->profiled;
}

static int64_t op_calls(const BenchResult *r, int op)
{
    int64_t sum = 0;
    for (int phase = 0; op < N_OPS && phase < N_PHASES; phase++) sum += r->profile.calls[phase][op];
    return sum;
}

static double profile_seconds(const BenchResult *r)
{
    double sum = 0;
    for (int phase = 0; phase < N_PHASES; phase++) sum += phase_seconds(r, phase);
    return sum;
}

static bool op_shown(const BenchResult *r, int op)
{
    return op == N_OPS || op_calls(r, op) > 0;
}

static const char *row_name(int op)
{
    return op < N_OPS ? op_name(op) : "other";
}

/* The next operation by falling time after `last`, -1 at the end. */
static int op_after(const BenchResult *r, int last)
{
    double limit = last < 0 ? INFINITY : op_seconds(r, last), most = -INFINITY;
    int best = -1;
    for (int op = 0; op <= N_OPS; op++) {
        double seconds = op_seconds(r, op);
        bool comes = seconds < limit || (seconds == limit && op > last);
        if (!op_shown(r, op) || !comes || seconds <= most) continue;
        best = op;
        most = seconds;
    }
    return best;
}

typedef struct Unit {
    const char *name;
    double per_second;
} Unit;

static Unit unit_for(double seconds)
{
    if (seconds >= 1) return (Unit){"seconds", 1};
    return seconds >= 1e-3 ? (Unit){"milliseconds", 1e3} : (Unit){"microseconds", 1e6};
}

static void line_print(const BenchResult *r, FILE *out, const char *name, double total, int op)
{
    double scale = unit_for(profile_seconds(r)).per_second;
    fprintf(out, "%-22s %9.3f %6.1f", name, scale * total, 100 * total / profile_seconds(r));
    for (int phase = 0; phase < N_PHASES; phase++) {
        if (!(phase_seconds(r, phase) > 0)) continue;
        double seconds = op < 0 ? phase_seconds(r, phase) : cell(r, op, phase);
        fprintf(out, " %13.3f", scale * seconds);
    }
    fputc('\n', out);
}

static void profile_print(const BenchResult *r, FILE *out)
{
    const char *unit = unit_for(profile_seconds(r)).name;
    fprintf(out, "\n%-13s per step %9s %6s", unit, "all", "%");
    for (int phase = 0; phase < N_PHASES; phase++)
        if (phase_seconds(r, phase) > 0) fprintf(out, " %13s", phase_names[phase]);
    fputc('\n', out);
    for (int op = op_after(r, -1); op >= 0; op = op_after(r, op))
        line_print(r, out, row_name(op), op_seconds(r, op), op);
    line_print(r, out, "all", profile_seconds(r), -1);
}

static json_t *op_json(const BenchResult *r, int op)
{
    json_t *phases = json_object();
    for (int phase = 0; phase < N_PHASES; phase++)
        if (phase_seconds(r, phase) > 0)
            json_object_set_new(phases, phase_names[phase], json_real(cell(r, op, phase)));
    return json_pack("{s:s, s:f, s:f, s:f, s:o}", "op", row_name(op), "seconds", op_seconds(r, op),
                     "share", op_seconds(r, op) / profile_seconds(r), "calls",
                     (double)op_calls(r, op) / (double)r->step.n, "phases", phases);
}

static json_t *profile_json(const BenchResult *r)
{
    json_t *ops = json_array(), *phases = json_object();
    for (int op = op_after(r, -1); op >= 0; op = op_after(r, op))
        json_array_append_new(ops, op_json(r, op));
    for (int phase = 0; phase < N_PHASES; phase++)
        if (phase_seconds(r, phase) > 0)
            json_object_set_new(phases, phase_names[phase], json_real(phase_seconds(r, phase)));
    return json_pack("{s:f, s:o, s:o}", "seconds", profile_seconds(r), "phases", phases, "ops",
                     ops);
}

/* ------------------------------------------------------------------------------ the figures */

static const char *compute_name(const BenchResult *r)
{
    return r->bf16 ? "bf16" : REAL_NAME;
}

static void generate_print(const BenchResult *r, FILE *out)
{
    fprintf(out, "%-22s p50 %.2f, min %.2f, p99 %.2f, worst %.2f ms\n",
            r->step_tokens > 1 ? "a token of each text" : "token", 1e3 * r->token.median,
            1e3 * r->token.min, 1e3 * r->token.p99, 1e3 * r->token.max);
    if (r->pause.n > 0)
        fprintf(out, "%-22s p50 %.2f, p99 %.2f, worst %.2f ms (%lld of them)\n", "pause to learn",
                1e3 * r->pause.median, 1e3 * r->pause.p99, 1e3 * r->pause.max,
                (long long)r->pause.n);
    fprintf(out,
            "%-22s %.1f MB at %.1f GB/s (%.1f to %.1f): %.2f ms; a token takes %.2f times that\n",
            "weights and window", r->read_bytes / 1e6, r->read_gbs.median, r->read_gbs.min,
            r->read_gbs.max, 1e3 * r->read_seconds, r->token.median / r->read_seconds);
}

static void fresh_print(const BenchResult *r, FILE *out)
{
    double fresh = (double)r->step_tokens / r->fresh.median;
    fprintf(out, "%-22s %.1f tokens/s after %lld tokens; after %lld it is %.3f times that\n",
            "near the beginning", fresh, (long long)r->fresh_tokens, (long long)r->tokens_before,
            r->tokens_per_second / fresh);
}

void bench_print(const BenchResult *r, FILE *out)
{
    fprintf(out, "%-22s %s, %s, %d threads, learning %s\n", bench_name(r->kind), compute_name(r),
            r->isa, r->threads, r->learning ? "on" : "off");
    fprintf(out, "%-22s %lld tokens; median %.4g, min %.4g, max %.4g s of %lld\n", "step",
            (long long)r->step_tokens, r->step.median, r->step.min, r->step.max,
            (long long)r->step.n);
    fprintf(out, "%-22s %.1f tokens/s\n", "speed", r->tokens_per_second);
    fprintf(out, "%-22s %.4g MFLOP a token: %.1f of %.1f GFLOP/s, %.3f of the peak\n", "floor",
            r->floor_flops / 1e6, r->share_of_peak * r->peak_gflops, r->peak_gflops,
            r->share_of_peak);
    fprintf(out, "%-22s %.0f MB at most\n", "memory", (double)r->peak_rss / 1e6);
    if (isfinite(r->loss)) fprintf(out, "%-22s %.4f\n", "loss", r->loss);
    if (r->kind == BENCH_GENERATE) generate_print(r, out);
    if (r->fresh.n > 0) fresh_print(r, out);
    if (r->profiled > 0) profile_print(r, out);
}

static json_t *times_json(const BenchTimes *t)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)t->n, "mean", t->mean,
                     "min", t->min, "p50", t->median, "p99", t->p99, "worst", t->max);
}

static void fresh_json(const BenchResult *r, json_t *to)
{
    double fresh = (double)r->step_tokens / r->fresh.median;
    json_object_set_new(to, "fresh_after_tokens", json_integer(r->fresh_tokens));
    json_object_set_new(to, "fresh_tokens_per_second", json_real(fresh));
    json_object_set_new(to, "speed_over_fresh", json_real(r->tokens_per_second / fresh));
}

static void generate_json(const BenchResult *r, json_t *to)
{
    json_object_set_new(to, "token_seconds", times_json(&r->token));
    json_object_set_new(to, "pause_seconds", r->pause.n > 0 ? times_json(&r->pause) : json_null());
    json_object_set_new(to, "read_bytes", json_real(r->read_bytes));
    json_object_set_new(to, "read_gbs", json_real(r->read_gbs.median));
    json_object_set_new(to, "read_gbs_min", json_real(r->read_gbs.min));
    json_object_set_new(to, "read_gbs_max", json_real(r->read_gbs.max));
    json_object_set_new(to, "read_seconds", json_real(r->read_seconds));
    json_object_set_new(to, "token_over_read", json_real(r->token.median / r->read_seconds));
}

json_t *bench_json(const BenchResult *r)
{
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:I}", "bench", bench_name(r->kind), "isa",
        r->isa, "compute", compute_name(r), "threads", r->threads, "learning", r->learning,
        "step_tokens", (json_int_t)r->step_tokens, "tokens_before", (json_int_t)r->tokens_before,
        "warmup", (json_int_t)r->warmup, "steps", (json_int_t)r->step.n);
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"tokens_per_second", r->tokens_per_second},
        {"seconds_median", r->step.median},
        {"seconds_min", r->step.min},
        {"seconds_max", r->step.max},
        {"seconds_mean", r->step.mean},
        {"floor_flops_per_token", r->floor_flops},
        {"floor_gflops", r->share_of_peak * r->peak_gflops},
        {"peak_gflops", r->peak_gflops},
        {"share_of_peak", r->share_of_peak},
        {"peak_rss_mb", (double)r->peak_rss / 1e6},
    };
    for (int i = 0; i < ARRAY_LEN(figures); i++)
        json_object_set_new(out, figures[i].key, json_real(figures[i].value));
    json_object_set_new(out, "loss", isfinite(r->loss) ? json_real(r->loss) : json_null());
    if (r->kind == BENCH_GENERATE) generate_json(r, out);
    if (r->fresh.n > 0) fresh_json(r, out);
    if (r->profiled > 0) json_object_set_new(out, "profile", profile_json(r));
    return out;
}
