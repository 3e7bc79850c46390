/* `ttt export`: a model folder to one safetensors file. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/weight_report.h"
#include "run/export.h"

static const char help[] =
    "usage: ttt export MODEL --out FILE.safetensors [--dtype f32|bf16] [--layout NAME]\n"
    "\n"
    "Writes a model's weights as one safetensors file, which the Python library reads and `ttt\n"
    "import` takes back: the configuration goes along as the metadata \"config\" (YAML). Prints\n"
    "which tensor becomes which.\n"
    "\n"
    "  --dtype TYPE     f32 (default, exact) or bf16\n"
    "  --layout NAME    stacked (default): published names, blocks stacked on the leading axis\n"
    "                   layers: each block's tensors by themselves, ...h.blocks.0. ...\n"
    "                   hf-llama: FILE is a folder, with config.json, as Hugging Face's Llama has\n"
    "                   it; only for models that Llama can express (no norm of queries and keys,\n"
    "                   none after attention and MLP, no learning)\n"
    "  --allow-nan      write NaN and Inf too\n"
    "  --force          replace the folder of an earlier hf-llama export\n"
    "  --json           the mapping as JSON\n"
    "\n"
    "example:\n"
    "  ttt export experiments/tiny/mine/model --out mine.safetensors --dtype bf16\n";

typedef struct Arguments {
    ExportOptions export;
    const char *dtype;
    bool json;
} Arguments;

static int arguments_parse(Arguments *a, int argc, char **argv)
{
    ExportOptions *o = &a->export;
    const Option table[] = {
        {"out", OPTION_TEXT, &o->out, 0, 0},       {"dtype", OPTION_TEXT, &a->dtype, 0, 0},
        {"layout", OPTION_TEXT, &o->layout, 0, 0}, {"allow-nan", OPTION_FLAG, &o->allow_nan, 0, 0},
        {"force", OPTION_FLAG, &o->force, 0, 0},   {"json", OPTION_FLAG, &a->json, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage(argv[0], "takes one model folder");
    if (!o->out) return options_usage(argv[0], "--out is missing: the file to write");
    if (strcmp(a->dtype, "f32") != 0 && strcmp(a->dtype, "bf16") != 0)
        return options_usage(argv[0], "--dtype takes f32 or bf16, not '%s'", a->dtype);
    o->type = a->dtype[0] == 'f' ? ST_F32 : ST_BF16;
    o->model = argv[1];
    return EXIT_DONE;
}

static void result_print(const Export *e, const Arguments *a)
{
    const ExportOptions *o = &a->export;
    if (a->json) {
        json_t *root = json_pack("{s:s, s:I, s:o}", "layout", layout_name(e->layout), "parameters",
                                 (json_int_t)e->map.table.size, "tensors",
                                 weight_report_json(&e->map, e->layout, o->type));
        output_json(root);
    } else {
        weight_report(stdout, &e->map, e->layout, o->type);
    }
    log_info("ttt export: the weights of %s (%s, %s) are now %s", o->model, layout_name(e->layout),
             st_type_name(o->type), o->out);
}

static int run(int argc, char **argv)
{
    Arguments a = {.export = {.layout = "stacked"}, .dtype = "f32"};
    int status = arguments_parse(&a, argc, argv);
    if (status != EXIT_DONE) return status;
    Err err;
    Export e;
    if (export_open(&e, &a.export, &err) < 0) return command_fail(argv[0], &err);
    int done = export_write(&e, &a.export, &err);
    if (done == 0) result_print(&e, &a);
    export_close(&e);
    return done == 0 ? output_finish(argv[0]) : command_fail(argv[0], &err);
}

const Command command_export = {"export", "write a model's weights as one safetensors file", help,
                                run};
