/* What a case asks to be computed: read off the keys of its reference. */
#include <stdlib.h>
#include <string.h>

#include "base/names.h"  // defines: text_starts
#include "model/model.h" // defines: EVALUATION_STEP
#include "run/parity.h"

bool parity_is_quantity(const char *key)
{
    return strcmp(key, "tokens") != 0 && !text_starts(key, "params/");
}

int64_t parity_step_of(const char *key)
{
    if (!text_starts(key, "step")) return 0;
    char *end;
    long long n = strtoll(key + 4, &end, 10);
    return key[4] >= '1' && key[4] <= '9' && *end == '/' ? n : 0;
}

static bool reference_has(const ParityCase *c, const char *start)
{
    for (int i = 0; c->reference && i < st_count(c->reference); i++)
        if (text_starts(st_at(c->reference, i)->name, start)) return true;
    return false;
}

static bool is_evaluation(const ParityCase *c)
{
    return json_object_get(json_object_get(c->json, "results"), "eval_loss") ||
           c->start_step >= EVALUATION_STEP;
}

static ParityWants want_everything(const ParityCase *c)
{
    ParityWants w = {.everything = true, .fast = true, .fast_final = true};
    w.gradient = !is_evaluation(c);
    w.steps = w.gradient ? c->n_batches : 0;
    return w;
}

ParityWants parity_wants(const ParityCase *c)
{
    ParityWants w = {.fast = reference_has(c, "fast/"),
                     .fast_final = reference_has(c, "fast_final/"),
                     .gradient = reference_has(c, "outer_grad/")};
    const json_t *results = json_object_get(c->json, "results");
    w.steps = (int64_t)json_array_size(json_object_get(results, "steps"));
    bool any = false;
    for (int i = 0; c->reference && i < st_count(c->reference); i++) {
        const char *key = st_at(c->reference, i)->name;
        any |= parity_is_quantity(key);
        if (parity_step_of(key) > w.steps) w.steps = parity_step_of(key);
    }
    if (!any) return want_everything(c);
    if (w.steps > c->n_batches) w.steps = c->n_batches;
    w.gradient |= w.steps > 0 || json_object_get(results, "outer_grad_norm");
    return w;
}

bool parity_wants_step(const ParityCase *c, const ParityWants *w, int64_t n)
{
    if (w->everything) return n == 1 || n == 3 || n == w->steps;
    for (int i = 0; i < st_count(c->reference); i++)
        if (parity_step_of(st_at(c->reference, i)->name) == n) return true;
    return false;
}
