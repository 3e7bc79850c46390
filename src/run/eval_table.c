/* The tables that an evaluation prints: positions down, columns across, aligned; then what they say
 * about learning, in words. */
#include <math.h>
#include <stdio.h>

#include "run/eval_report.h"

enum { CELL = 64, POSITION_WIDTH = 17 };

static const double LN2 = 0.69314718055994530942;

double eval_bits(double nats)
{
    return nats / LN2;
}

const char *eval_bin_name(const Eval *e, int bin)
{
    return bin < e->set.n_bins ? e->set.bins[bin].name : "all";
}

/* Characters of UTF-8. */
static int text_width(const char *s)
{
    int width = 0;
    for (; *s; s++) width += ((unsigned char)*s & 0xc0) != 0x80;
    return width;
}

static void put_right(FILE *out, const char *text, int width)
{
    fprintf(out, "%*s%s", width - text_width(text), "", text);
}

static const char *column_name(const Eval *e, int column)
{
    return e->models[e->columns[column].model].name;
}

static int column_width(const Eval *e, int column)
{
    int name = text_width(column_name(e, column)) + 3, cell = 17;
    return name > cell ? name : cell;
}

/* Two lines: names, and modes below them. */
static void put_head(const Eval *e, FILE *out, int base)
{
    fprintf(out, "%-*s%7s", POSITION_WIDTH, "position", "n");
    for (int c = 0; c < e->n_columns; c++)
        if (c != base) put_right(out, column_name(e, c), column_width(e, c));
    fprintf(out, "\n%*s", POSITION_WIDTH + 7, "");
    for (int c = 0; c < e->n_columns; c++) {
        bool learns = e->models[e->columns[c].model].learns;
        const char *mode = !learns ? "-" : e->columns[c].learn ? "learning on" : "learning off";
        if (c != base) put_right(out, mode, column_width(e, c));
    }
    fputc('\n', out);
}

static void put_cell(FILE *out, Stat s, double scale, bool sign, int width)
{
    char cell[CELL];
    if (s.n == 0)
        snprintf(cell, sizeof cell, "-");
    else if (s.n == 1)
        snprintf(cell, sizeof cell, sign ? "%+.3f ±    -" : "%.3f ±    -", s.mean * scale);
    else
        snprintf(cell, sizeof cell, sign ? "%+.3f ±%.3f" : "%.3f ±%.3f", s.mean * scale,
                 (s.hi - s.mean) * scale);
    put_right(out, cell, width);
}

/* base < 0: the columns themselves; else all other columns less that one. */
static void put_table(const Eval *e, FILE *out, const char *title, int base, double scale)
{
    fprintf(out, "%s\n", title);
    put_head(e, out, base);
    for (int b = 0; b <= e->set.n_bins; b++) {
        Stat first = eval_stat(e, 0, b);
        fprintf(out, "%-*s%7lld", POSITION_WIDTH, eval_bin_name(e, b), (long long)first.n);
        for (int c = 0; c < e->n_columns; c++) {
            if (c == base) continue;
            Stat s = base < 0 ? eval_stat(e, c, b) : eval_difference(e, c, base, b);
            put_cell(out, s, scale, base >= 0, column_width(e, c));
        }
        fputc('\n', out);
    }
    fputc('\n', out);
}

/* "at positions 2048-4095: 0.97 nats less (0.90 to 1.05)" of the last bin with an interval. */
static void put_late_gain(const Eval *e, int on, int off, char *out, size_t size)
{
    for (int b = e->set.n_bins - 1; b > 0; b--) {
        Stat s = eval_difference(e, off, on, b);
        if (s.n < 2) continue;
        snprintf(out, size, "; at positions %s %.4f %s (%.4f to %.4f)", e->set.bins[b].name,
                 fabs(s.mean), s.mean >= 0 ? "less" : "more", s.mean >= 0 ? s.lo : -s.hi,
                 s.mean >= 0 ? s.hi : -s.lo);
        return;
    }
}

bool eval_verdict(const Eval *e, int model, char out[EVAL_VERDICT])
{
    int on = eval_column_find(e, model, true), off = eval_column_find(e, model, false);
    if (on < 0 || off < 0) return false;
    const char *name = e->models[model].name, *unit = eval_set_unit(&e->set);
    Stat gain = eval_difference(e, off, on, e->set.n_bins);
    const char *direction = gain.mean >= 0 ? "less" : "more";
    char late[160] = "";
    put_late_gain(e, on, off, late, sizeof late);
    if (gain.n < 2)
        snprintf(
            out, EVAL_VERDICT,
            "%s: with learning the loss is %.4f nats per token %s, on a single %s: one %s gives "
            "no interval, so this shows nothing yet",
            name, fabs(gain.mean), direction, unit, unit);
    else if (gain.lo > 0)
        snprintf(
            out, EVAL_VERDICT,
            "%s: learning helps: %.4f nats per token less than without it, 95 %% interval %.4f "
            "to %.4f over %lld %ss, clear of 0%s",
            name, gain.mean, gain.lo, gain.hi, (long long)gain.n, unit, late);
    else if (gain.hi < 0)
        snprintf(
            out, EVAL_VERDICT,
            "%s: learning hurts: %.4f nats per token more than without it, 95 %% interval %.4f "
            "to %.4f over %lld %ss, clear of 0%s",
            name, -gain.mean, -gain.hi, -gain.lo, (long long)gain.n, unit, late);
    else
        snprintf(
            out, EVAL_VERDICT,
            "%s: learning is not shown to help: %.4f nats per token %s than without it, but the "
            "95 %% interval of the gain, %.4f to %.4f over %lld %ss, includes 0%s",
            name, fabs(gain.mean), direction, gain.lo, gain.hi, (long long)gain.n, unit, late);
    return true;
}

static void put_verdicts(const Eval *e, FILE *out)
{
    char line[EVAL_VERDICT];
    for (int i = 0; i < e->options.n_models; i++) {
        const char *name = e->models[i].name;
        if (eval_verdict(e, i, line))
            fprintf(out, "%s.\n", line);
        else if (!e->models[i].learns)
            fprintf(out, "%s: does not learn while it reads.\n", name);
        else
            fprintf(out, "%s: scored in one mode only; --modes on,off shows what learning does.\n",
                    name);
    }
}

static void put_heading(const Eval *e, FILE *out)
{
    const EvalSet *set = &e->set;
    fprintf(out, "%s, %s: %lld %ss, %lld positions, up to %lld each", e->options.data,
            e->options.split, (long long)set->n_items, eval_set_unit(set),
            (long long)set->positions, (long long)set->options.length);
    if (set->too_short > 0)
        fprintf(out, "; %lld left out with fewer than %lld tokens", (long long)set->too_short,
                (long long)eval_set_least(set));
    fputs("\n\n", out);
}

void eval_print(const Eval *e, FILE *out)
{
    char title[EVAL_LABEL + 160];
    const char *unit = eval_set_unit(&e->set);
    put_heading(e, out);
    snprintf(title, sizeof title, "Loss in nats per token: mean over %ss ± 95 %% interval", unit);
    put_table(e, out, title, -1, 1.0);
    if (e->bytes) {
        snprintf(title, sizeof title, "Bits per byte: mean over %ss ± 95 %% interval", unit);
        put_table(e, out, title, -1, eval_bits(1.0));
    }
    if (e->n_columns > 1) {
        snprintf(title, sizeof title,
                 "Nats per token more (+) or less (-) than %s: paired by %s, ± 95 %% interval",
                 e->columns[0].label, unit);
        put_table(e, out, title, 0, 1.0);
    }
    put_verdicts(e, out);
}
