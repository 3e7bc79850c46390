/* The final table of `ttt read`, and the same as JSON. */
#include "cli/read_report.h"

#include <math.h>
#include <stdio.h>

#include "base/jsonl.h"
#include "base/names.h"
#include "cli/output.h"

enum { TENTHS = 10, NAME_WIDTH = 32 };

double bits_per_byte(double nats, int64_t scored, int64_t bytes)
{
    return nats / log(2) * (double)scored / (double)bytes;
}

static int64_t bytes_total(const ReadReport *r)
{
    int64_t bytes = 0;
    for (int i = 0; i < r->n_texts; i++) bytes += r->texts[i].bytes;
    return bytes;
}

static void row(const ReadReport *r, const char *name, int64_t tokens, double nats)
{
    char shown[NAME_SHOWN_MAX];
    double bits = bits_per_byte(nats, r->curve->n, bytes_total(r));
    printf("%-*s %12lld %9.4f %11.4f\n", NAME_WIDTH, name_show(shown, name), (long long)tokens,
           nats, bits);
}

static void text_row(const TextRead *t)
{
    if (t->scored == 0) return; /* interrupted at once */
    char shown[NAME_SHOWN_MAX];
    double nats = t->nll / (double)t->scored;
    printf("%-*s %12lld %9.4f %11.4f\n", NAME_WIDTH, name_show(shown, t->source.name),
           (long long)t->scored, nats, bits_per_byte(nats, t->scored, t->bytes));
}

static void tenths_print(const ReadReport *r)
{
    printf("loss by tenth   ");
    for (int i = 0; i < TENTHS; i++)
        printf(" %.3f", curve_mean(r->curve, (double)i / TENTHS, (double)(i + 1) / TENTHS));
    putchar('\n');
}

void report_print(const ReadReport *r)
{
    char size[32], shown[NAME_SHOWN_MAX];
    int64_t n = r->curve->n;
    double speed = (double)(r->after.tokens - r->before.tokens) / r->seconds;
    printf("%-*s %12s %9s %11s\n", NAME_WIDTH, "text", "tokens", "nats", "bits/byte");
    for (int i = 0; i < r->n_texts; i++) text_row(&r->texts[i]);
    row(r, "first 10 %", (n + 5) / TENTHS, curve_mean(r->curve, 0, 0.1));
    row(r, "last 10 %", (n + 5) / TENTHS, curve_mean(r->curve, 0.9, 1));
    row(r, "all", n, curve_sum(r->curve) / (double)n);
    tenths_print(r);
    printf("steps taken      %lld%s\n", (long long)(r->after.steps - r->before.steps),
           r->after.learning ? "" : " (learning is off)");
    printf("speed            %.0f tokens/s, %.1f s\n", speed, r->seconds);
    printf("state            %s, whatever is read\n", bytes_show(size, r->after.state_bytes));
    if (r->memory)
        printf("memory           %s: %lld tokens read, %lld steps taken\n",
               name_show(shown, r->memory), (long long)r->after.tokens, (long long)r->after.steps);
}

static json_t *texts_json(const ReadReport *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n_texts; i++) {
        const TextRead *t = &r->texts[i];
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:s, s:o}", "name",
                                              json_text(t->source.name), "tokens",
                                              (json_int_t)t->source.tokens, "bytes",
                                              (json_int_t)t->bytes, "sha256", t->source.sha256,
                                              "nll", json_number(t->nll / (double)t->scored)));
    }
    return list;
}

void report_print_json(const ReadReport *r)
{
    json_t *tenths = json_array();
    for (int i = 0; i < TENTHS; i++)
        json_array_append_new(tenths, json_number(curve_mean(r->curve, (double)i / TENTHS,
                                                             (double)(i + 1) / TENTHS)));
    int64_t n = r->curve->n, tokens = r->after.tokens - r->before.tokens;
    double mean = curve_sum(r->curve) / (double)n;
    json_t *root = json_object();
    json_object_set_new(root, "model", json_text(r->model));
    json_object_set_new(root, "memory", r->memory ? json_text(r->memory) : json_null());
    json_object_set_new(root, "texts", texts_json(r));
    json_object_set_new(root, "tokens", json_integer(tokens));
    json_object_set_new(root, "steps", json_integer(r->after.steps - r->before.steps));
    json_object_set_new(root, "nll", json_number(mean));
    json_object_set_new(root, "bits_per_byte", json_number(bits_per_byte(mean, n, bytes_total(r))));
    json_object_set_new(root, "nll_first_tenth", json_number(curve_mean(r->curve, 0, 0.1)));
    json_object_set_new(root, "nll_last_tenth", json_number(curve_mean(r->curve, 0.9, 1)));
    json_object_set_new(root, "nll_by_tenth", tenths);
    json_object_set_new(root, "seconds", json_number(r->seconds));
    json_object_set_new(root, "tokens_per_second", json_number((double)tokens / r->seconds));
    json_object_set_new(root, "state_bytes", json_integer((json_int_t)r->after.state_bytes));
    json_object_set_new(root, "memory_tokens", json_integer(r->after.tokens));
    json_object_set_new(root, "memory_steps", json_integer(r->after.steps));
    json_object_set_new(root, "learning", json_boolean(r->after.learning));
    json_object_set_new(root, "interrupted", json_boolean(r->interrupted));
    output_json(root);
}
