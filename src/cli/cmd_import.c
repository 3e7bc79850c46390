/* `ttt import`: tensors of others to a model folder. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/weight_report.h"
#include "run/import.h"

enum { PREFIX_MAX = 63 };

static const char help[] =
    "usage: ttt import SOURCE --out FOLDER [options] [KEY=VALUE...]\n"
    "\n"
    "Makes a model folder of safetensors: SOURCE is a file, a sharded set's\n"
    "model.safetensors.index.json, or a folder with either. Prints which tensor becomes which, "
    "and\n"
    "refuses what does not fit: missing or unknown names, wrong shapes, integers, NaN and Inf.\n"
    "FOLDER appears whole or not at all. (Orbax checkpoints: tools/import_orbax.)\n"
    "\n"
    "  KEY=VALUE           what shapes cannot tell: model.rope_theta=500000 ...\n"
    "  --experiment NAME   all of it, as `ttt config +experiment=NAME` has it\n"
    "  --config FILE       all of it, from a config.yaml or a Llama's config.json (default: the\n"
    "                      one beside SOURCE, or in its metadata)\n"
    "  --config-dir DIR    folder of experiments\n"
    "  --layout NAME       stacked: language_model.model.h.blocks.feed_forward.w1.weight (L, C, "
    "F)\n"
    "                      layers: language_model.model.h.blocks.0.feed_forward.w1.weight (C, F)\n"
    "                      hf-llama: model.layers.0.mlp.gate_proj.weight (F, C), with config.json\n"
    "                      (default: the one whose names are there)\n"
    "  --prefix TEXT       names begin with it, such as params/; all others are left out\n"
    "  --tokenizer FILE    to go with the model (default: the one beside SOURCE)\n"
    "  --optimizer FILE    AdamW's moments, tensors mu/NAME and nu/NAME: FOLDER is a checkpoint\n"
    "  --step N            of that checkpoint; --updates N: the optimizer's own count (the same)\n"
    "  --allow-nan         take NaN and Inf\n"
    "  --force             replace a model that is there\n"
    "  --dry-run           check and print, write nothing; values are not looked at\n"
    "  --json              the mapping as JSON\n"
    "\n"
    "Where KEY=VALUE and shapes leave keys open, they are named, and FOLDER has no config.yaml.\n"
    "\n"
    "example:\n"
    "  ttt import model.safetensors --out models/mine --experiment tiny/pretrain-tiny-e2e\n";

typedef struct Arguments {
    ImportOptions import;
    const char *experiment;
    bool json;
    const char *overrides[TEXT_LIST_MAX];
    char experiment_text[CFG_TEXT];
} Arguments;

static int overrides_set(Arguments *a, int n, char **operands)
{
    ConfigSources *c = &a->import.config;
    if (n + 1 >= TEXT_LIST_MAX) return options_usage("import", "too many overrides");
    if (a->experiment) {
        snprintf(a->experiment_text, sizeof a->experiment_text, "+experiment=%s", a->experiment);
        a->overrides[c->n_overrides++] = a->experiment_text;
    }
    for (int i = 0; i < n; i++) a->overrides[c->n_overrides++] = operands[i];
    c->overrides = a->overrides;
    if (c->config_file && a->experiment)
        return options_usage("import", "--config and --experiment exclude each other");
    return EXIT_DONE;
}

static int arguments_check(Arguments *a, int n, char **argv)
{
    ImportOptions *o = &a->import;
    if (n < 1) return options_usage("import", "no source is named: a .safetensors file");
    if (!o->out && !o->dry_run)
        return options_usage("import", "--out is missing: the folder to make");
    if (strlen(o->prefix) > PREFIX_MAX)
        return options_usage("import", "--prefix has more than %d bytes", PREFIX_MAX);
    if (o->updates < 0) o->updates = o->step;
    o->source = argv[1];
    return overrides_set(a, n - 1, argv + 2);
}

static int arguments_parse(Arguments *a, int argc, char **argv)
{
    ImportOptions *o = &a->import;
    const Option table[] = {
        {"out", OPTION_TEXT, &o->out, 0, 0},
        {"experiment", OPTION_TEXT, &a->experiment, 0, 0},
        {"config", OPTION_TEXT, &o->config.config_file, 0, 0},
        {"config-dir", OPTION_TEXT, &o->config.config_dir, 0, 0},
        {"layout", OPTION_TEXT, &o->layout, 0, 0},
        {"prefix", OPTION_TEXT, &o->prefix, 0, 0},
        {"tokenizer", OPTION_TEXT, &o->tokenizer, 0, 0},
        {"optimizer", OPTION_TEXT, &o->optimizer, 0, 0},
        {"step", OPTION_INT, &o->step, 0, 1e9},
        {"updates", OPTION_INT, &o->updates, 0, 1e9},
        {"allow-nan", OPTION_FLAG, &o->allow_nan, 0, 0},
        {"force", OPTION_FLAG, &o->force, 0, 0},
        {"dry-run", OPTION_FLAG, &o->dry_run, 0, 0},
        {"json", OPTION_FLAG, &a->json, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    return n < 0 ? EXIT_USAGE : arguments_check(a, n, argv);
}

static void mapping_print(const Import *im, bool as_json)
{
    const ImportConfig *c = &im->config;
    if (!as_json) {
        weight_report(stdout, &im->map, LAYOUT_STACKED, ST_F32);
        return;
    }
    json_t *root = json_pack("{s:s, s:I, s:b, s:b, s:o}", "layout", layout_name(im->map.layout),
                             "parameters", (json_int_t)im->map.table.size, "config", !c->missing.n,
                             "optimizer", im->moments != NULL, "tensors",
                             weight_report_json(&im->map, LAYOUT_STACKED, ST_F32));
    output_json(root);
}

static void result_tell(Import *im, const ImportOptions *o)
{
    ImportConfig *c = &im->config;
    if (c->assumed.n) log_info("ttt import: taken as usual: %s", name_list_end(&c->assumed));
    if (c->missing.n)
        log_info("ttt import: no config.yaml: shapes cannot tell %s; give them as KEY=VALUE, or "
                 "all with --experiment or --config",
                 name_list_end(&c->missing));
    log_info("ttt import: %zu weights (%s%s)%s%s", im->map.table.size, layout_name(im->map.layout),
             im->moments ? ", with moments" : "",
             o->dry_run ? ": they fit; nothing was written" : " are now ",
             o->dry_run ? "" : o->out);
}

static int run(int argc, char **argv)
{
    Arguments a = {.import = {.prefix = "", .updates = -1}};
    int status = arguments_parse(&a, argc, argv);
    if (status != EXIT_DONE) return status;
    Err err;
    Import im;
    if (import_open(&im, &a.import, &err) < 0) return command_fail(argv[0], &err);
    int done = a.import.dry_run ? 0 : import_write(&im, &a.import, &err);
    if (done == 0) {
        mapping_print(&im, a.json);
        result_tell(&im, &a.import);
    }
    import_close(&im);
    return done == 0 ? output_finish(argv[0]) : command_fail(argv[0], &err);
}

const Command command_import = {"import", "make a model folder of safetensors files of others",
                                help, run};
