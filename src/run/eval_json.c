/* An evaluation as one JSON object: the numbers of the tables, and what they were made from. NaN,
 * which JSON cannot hold, is null. */

#include "base/jsonl.h"
#include "base/real.h"
#include "run/eval_report.h"

static json_t *stat_json(Stat s, bool bytes)
{
    json_t *o = json_object();
    json_object_set_new(o, "mean", json_number(s.mean));
    json_object_set_new(o, "lo", json_number(s.lo));
    json_object_set_new(o, "hi", json_number(s.hi));
    json_object_set_new(o, "n", json_integer(s.n));
    if (bytes) json_object_set_new(o, "bits_per_byte", json_number(eval_bits(s.mean)));
    return o;
}

/* One object a bin; base < 0: the column itself. */
static json_t *bins_json(const Eval *e, int column, int base)
{
    json_t *list = json_array();
    for (int b = 0; b < e->set.n_bins; b++) {
        Stat s = base < 0 ? eval_stat(e, column, b) : eval_difference(e, column, base, b);
        json_t *o = stat_json(s, base < 0 && e->bytes);
        json_object_set_new(o, "bin", json_string(eval_bin_name(e, b)));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *column_json(const Eval *e, int column)
{
    const EvalColumn *c = &e->columns[column];
    bool learns = e->models[c->model].learns;
    int all = e->set.n_bins;
    json_t *o = json_object();
    json_object_set_new(o, "column", json_text(c->label));
    json_object_set_new(o, "model", json_text(e->models[c->model].name));
    json_object_set_new(o, "learning", learns ? json_boolean(c->learn) : json_null());
    json_object_set_new(o, "tokens", json_integer(c->tokens));
    json_object_set_new(o, "token_mean", json_number(c->nll_sum / (double)c->tokens));
    json_object_set_new(o, "all", stat_json(eval_stat(e, column, all), e->bytes));
    json_object_set_new(o, "bins", bins_json(e, column, -1));
    if (column > 0) {
        Stat difference = eval_difference(e, column, 0, all);
        json_object_set_new(o, "difference_all", stat_json(difference, false));
        json_object_set_new(o, "difference_bins", bins_json(e, column, 0));
    }
    if (c->nll) {
        char file[EVAL_LABEL + 32];
        snprintf(file, sizeof file, "token_nll_%s.npy", c->stem);
        json_object_set_new(o, "token_nll", json_text(file));
    }
    json_object_set_new(o, "seconds", json_number(c->seconds));
    json_object_set_new(o, "tokens_per_second", json_number((double)e->set.positions / c->seconds));
    return o;
}

static json_t *model_json(const EvalModel *m)
{
    static const char *const keys[] = {
        "training.train_mode",       "training.seq_length",     "model.num_hidden_layers",
        "model.hidden_size",         "model.intermediate_size", "model.seq_modeling_block",
        "model.sliding_window_size", "model.mini_batch_size",   "model.suffix_len",
    };
    char value[CFG_PATH];
    json_t *o = json_object(), *config = json_object();
    for (int i = 0; i < ARRAY_LEN(keys); i++)
        if (config_get(&m->cfg, keys[i], value, sizeof value) == 0)
            json_object_set_new(config, keys[i], json_text(value));
    json_object_set_new(o, "name", json_text(m->name));
    json_object_set_new(o, "folder", json_text(m->dir));
    json_object_set_new(o, "digest", json_string(m->digest));
    json_object_set_new(o, "learns", json_boolean(m->learns));
    json_object_set_new(o, "inner_lr", m->learns ? json_number(m->inner_lr) : json_null());
    json_object_set_new(o, "compute", json_string(m->bf16 ? "bf16" : REAL_NAME));
    json_object_set_new(o, "config", config);
    return o;
}

static json_t *data_json(const Eval *e)
{
    const EvalSet *set = &e->set;
    json_t *o = json_object(), *items = json_array();
    json_object_set_new(o, "folder", json_text(e->options.data));
    json_object_set_new(o, "split", json_text(e->options.split));
    json_object_set_new(o, "tokenizer", json_text(e->source->tokenizer));
    json_object_set_new(o, "vocab_size", json_integer(e->source->vocab_size));
    json_object_set_new(o, "layout", json_string(set->options.stream ? "stream" : "documents"));
    json_object_set_new(o, "digest", json_string(set->digest));
    json_object_set_new(o, "length", json_integer(set->options.length));
    json_object_set_new(o, "documents", json_integer(set->n_items));
    json_object_set_new(o, "positions", json_integer(set->positions));
    json_object_set_new(o, "left_out", json_integer(set->too_short));
    for (int64_t i = 0; i < set->n_items; i++) {
        const EvalItem *item = &set->items[i];
        json_t *row = json_object();
        json_object_set_new(row, "name", item->name ? json_text(item->name) : json_null());
        json_object_set_new(row, "start", json_integer(item->start));
        json_object_set_new(row, "positions", json_integer(item->positions));
        json_array_append_new(items, row);
    }
    json_object_set_new(o, "rows", items);
    return o;
}

static json_t *options_json(const EvalOptions *o)
{
    json_t *out = json_object(), *modes = json_array();
    if (o->mode_on) json_array_append_new(modes, json_string("on"));
    if (o->mode_off) json_array_append_new(modes, json_string("off"));
    json_object_set_new(out, "modes", modes);
    json_object_set_new(out, "max_tokens", json_integer(o->max_tokens));
    json_object_set_new(out, "max_documents", json_integer(o->max_documents));
    json_object_set_new(out, "batch", json_integer(o->batch));
    json_object_set_new(out, "threads", json_integer(o->threads));
    return out;
}

/* Per model scored in both modes: loss with learning off less loss with it on. */
static json_t *learning_json(const Eval *e)
{
    json_t *list = json_array();
    char line[EVAL_VERDICT];
    for (int i = 0; i < e->options.n_models; i++) {
        if (!eval_verdict(e, i, line)) continue;
        Stat gain = eval_difference(e, eval_column_find(e, i, false), eval_column_find(e, i, true),
                                    e->set.n_bins);
        json_t *o = stat_json(gain, false);
        json_object_set_new(o, "model", json_text(e->models[i].name));
        json_object_set_new(o, "clear_of_zero", json_boolean(gain.lo > 0 || gain.hi < 0));
        json_object_set_new(o, "text", json_text(line));
        json_array_append_new(list, o);
    }
    return list;
}

json_t *eval_json(const Eval *e)
{
    json_t *o = json_object(), *models = json_array(), *columns = json_array();
    for (int i = 0; i < e->options.n_models; i++)
        json_array_append_new(models, model_json(&e->models[i]));
    for (int i = 0; i < e->n_columns; i++) json_array_append_new(columns, column_json(e, i));
    json_object_set_new(o, "data", data_json(e));
    json_object_set_new(o, "options", options_json(&e->options));
    json_object_set_new(o, "models", models);
    json_object_set_new(o, "columns", columns);
    json_object_set_new(o, "learning", learning_json(e));
    return o;
}
