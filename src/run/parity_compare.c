/* Computed against recorded values: one row per array of the reference and per scalar of the JSON.
 * What the reference has and the program did not compute is a failure, never silence. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h" // defines: text_starts
#include "model/params.h"
#include "run/parity.h"

typedef enum Kind { LOSS, GRADIENT, AFTER_STEP, SETTING } Kind;

/* By compute type and kind: max |a - b| / max |b|. fp64 holds against float64 references only; the
 * learning rate is rounded to float32 everywhere, hence the settings' own column. In bf16 gradients
 * are shown and not judged: a stiff case multiplies rounding (three hundredfold in A_meta_clip). */
static const double tolerances[][4] = {
    [COMPUTE_FP64] = {1e-10, 1e-10, 1e-7, 1e-6},
    [COMPUTE_FP32] = {2e-5, 2e-4, 5e-3, 1e-6},
    [COMPUTE_BF16] = {0.1, INFINITY, INFINITY, 1e-6},
};

static Kind kind_of(const char *key)
{
    if (parity_step_of(key)) return AFTER_STEP;
    if (strstr(key, "norm") || strstr(key, "grad") || text_starts(key, "fast")) return GRADIENT;
    if (strstr(key, "loss") || text_starts(key, "token_nll")) return LOSS;
    return SETTING;
}

static double tolerance_of(const ParityCase *c, const char *key, int compute)
{
    Kind kind = kind_of(key);
    /* Later steps start from weights that an optimizer step has already rounded. */
    bool later = text_starts(key, "steps[") && !text_starts(key, "steps[0]");
    if (later && kind != SETTING && compute != COMPUTE_BF16) kind = AFTER_STEP;
    if (compute == COMPUTE_FP64 && !c->reference_wide) compute = COMPUTE_FP32;
    return tolerances[compute][kind];
}

static ParityRow *add_row(ParityTable *t, const char *key)
{
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 64;
        t->row = realloc(t->row, (size_t)t->capacity * sizeof *t->row);
        mem_need(t->row, "a comparison");
    }
    ParityRow *row = &t->row[t->n++];
    *row = (ParityRow){.error = NAN};
    snprintf(row->key, sizeof row->key, "%s", key);
    return row;
}

static void fail_row(ParityTable *t, ParityRow *row, const char *reason)
{
    row->failed = true;
    snprintf(row->reason, sizeof row->reason, "%s", reason);
    t->failed++;
}

/* max |a - b| / max |b|; NaN anywhere makes it NaN, which no tolerance allows. */
static double relative_error(const double *a, const double *b, int64_t n)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs(a[i] - b[i]);
        if (!(difference <= worst)) worst = difference;
        if (isnan(difference)) return NAN;
        if (fabs(b[i]) > largest) largest = fabs(b[i]);
    }
    return largest > 0 ? worst / largest : worst;
}

static void judge(ParityTable *t, ParityRow *row, double error, double tolerance)
{
    row->compared = true;
    row->error = error;
    row->tolerance = tolerance;
    if (!(error <= tolerance)) fail_row(t, row, "");
}

static bool same_shape(const StTensor *a, const ParityTensor *b)
{
    bool same = a->n_dims == b->n_dims;
    for (int i = 0; same && i < a->n_dims; i++) same = a->shape[i] == b->shape[i];
    return same;
}

static void compare_array(ParityTable *t, const ParityCase *c, const StTensor *reference,
                          const ParityValues *arrays, int compute)
{
    ParityRow *row = add_row(t, reference->name);
    const ParityTensor *ours = parity_values_find(arrays, reference->name);
    if (!ours) {
        bool inner = text_starts(row->key, "fast") || text_starts(row->key, "inner_grad");
        fail_row(t, row,
                 inner ? "training.spec_inner selects no such parameter"
                       : "not computed: this program knows no such quantity");
        return;
    }
    if (!same_shape(reference, ours) || reference->type > ST_BF16) {
        fail_row(t, row, "the reference has another shape or is not floating point");
        return;
    }
    double *values = malloc((size_t)(ours->n ? ours->n : 1) * sizeof *values);
    mem_need(values, "a comparison");
    st_to_f64(reference, values);
    judge(t, row, relative_error(ours->data, values, ours->n), tolerance_of(c, row->key, compute));
    free(values);
}

static void compare_scalar(ParityTable *t, const ParityCase *c, const char *key,
                           const json_t *reference, const ParityValues *scalars, int compute)
{
    ParityRow *row = add_row(t, key);
    if (!json_is_number(reference)) {
        fail_row(t, row, "the recorded result is not a number");
        return;
    }
    const ParityTensor *ours = parity_values_find(scalars, key);
    double value = json_number_value(reference);
    if (!ours) {
        fail_row(t, row, "not computed: this program knows no such result");
        return;
    }
    judge(t, row, relative_error(ours->data, &value, 1), tolerance_of(c, key, compute));
}

/* A remark of the reference's makers about their own program, nothing to recompute. */
static bool is_remark(const char *key)
{
    return text_starts(key, "official_eval_fn");
}

static void compare_results(ParityTable *t, const ParityCase *c, const ParityValues *scalars,
                            int compute)
{
    const char *key, *name;
    json_t *value, *field;
    json_object_foreach(json_object_get(c->json, "results"), key, value)
    {
        if (!is_remark(key) && strcmp(key, "steps") != 0)
            compare_scalar(t, c, key, value, scalars, compute);
    }
    size_t i;
    json_array_foreach(json_object_get(json_object_get(c->json, "results"), "steps"), i, value)
    {
        json_object_foreach(value, name, field)
        {
            char full[PARITY_KEY_MAX];
            snprintf(full, sizeof full, "steps[%zu].%s", i, name);
            if (strcmp(name, "step") != 0) compare_scalar(t, c, full, field, scalars, compute);
        }
    }
    value = json_object_get(c->json, "inner_lr_at_start_step");
    if (value) compare_scalar(t, c, "inner_lr_at_start_step", value, scalars, compute);
}

static void list_values(ParityTable *t, const ParityValues *values)
{
    for (int i = 0; i < values->n; i++) {
        ParityRow *row = add_row(t, values->tensor[i].name);
        snprintf(row->reason, sizeof row->reason, "no reference to compare with");
    }
}

/* A weight among the inputs that the configuration has no place for: the case is not what it says.
 */
static void check_weights(ParityTable *t, const ParityCase *c)
{
    ParamTable table;
    param_table_build(&table, &c->cfg.model);
    for (int i = 0; i < st_count(c->inputs); i++) {
        const char *key = st_at(c->inputs, i)->name;
        if (!text_starts(key, "params/")) continue;
        bool known = false;
        for (int id = 0; id < N_PARAMS && !known; id++)
            known = table.entry[id].present && !strcmp(table.entry[id].path, key + 7);
        if (!known)
            fail_row(t, add_row(t, key),
                     "this weight belongs to no part of the model; model.* says otherwise");
    }
}

void parity_compare(ParityTable *t, const ParityCase *c, const ParityWants *w,
                    const ParityValues *arrays, const ParityValues *scalars, int compute)
{
    check_weights(t, c);
    if (w->everything) list_values(t, arrays);
    for (int i = 0; !w->everything && i < st_count(c->reference); i++)
        if (parity_is_quantity(st_at(c->reference, i)->name))
            compare_array(t, c, st_at(c->reference, i), arrays, compute);
    compare_results(t, c, scalars, compute);
}

void parity_table_free(ParityTable *t)
{
    free(t->row);
    *t = (ParityTable){0};
}
