/* `ttt eval`: from the command line to eval_run, and where its results go. Overrides instead of
 * models ask for the published evaluation, which is a mode of `ttt train`. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "run/eval.h"
#include "run/eval_files.h"
#include "run/eval_report.h"

enum { MAX_MODELS = 64 };

static const char help[] =
    "usage: ttt eval MODEL [MODEL...] --data FOLDER [options]\n"
    "       ttt eval OVERRIDES... [--max-sequences N]\n"
    "\n"
    "Scores held-out documents with each model, with learning on and off, and shows the loss by\n"
    "position: whether a model predicts better the more it has read. All models and modes see the\n"
    "same documents, so their differences are taken document by document.\n"
    "\n"
    "  --data FOLDER       data set, as `ttt data encode` writes it\n"
    "  --split NAME        train or val (val)\n"
    "  --modes on,off      learning on, off, or both, for models that learn (on,off)\n"
    "  --layout KIND       documents: each from its beginning; stream: the sequences of training\n"
    "                      (documents, and stream for data that do not list any)\n"
    "  --length T          score the first T tokens, of documents that have so many\n"
    "                      (training.seq_length, and shorter documents to their end)\n"
    "  --max-tokens N      score at most N positions\n"
    "  --max-documents N   score at most N documents\n"
    "  --max-sequences N   score at most N sequences; takes the stream layout\n"
    "  --names A,B,...     what to call the models (their folders' names)\n"
    "  --out FOLDER        write loss_by_position.tsv, .png, .svg, token_nll_*.npy, summary.json\n"
    "  --json              print the summary instead of the tables\n"
    "  --batch N           sequences at a time (training.eval_batch_size, less where memory is "
    "short)\n"
    "  --threads N         threads (one per physical core)\n"
    "  --device NAME       cpu, or cuda or cuda:N for a GPU (cpu)\n"
    "  --compute TYPE      fp32 or bf16 products (as in the model's config)\n"
    "\n"
    "With overrides it is the published evaluation, `ttt train OVERRIDES "
    "training.eval_mode=true`: the\n"
    "sequences of training.eval_split in order, with the newest checkpoint of the run that they "
    "name;\n"
    "train_holdout_token_nll_loss.npy and more go into the run's folder (docs/evaluation.md).\n"
    "\n"
    "examples:\n"
    "  ttt eval runs/e2e/model runs/swa/model --data data/books --out eval\n"
    "  ttt eval +experiment=tiny/pretrain-tiny-e2e training.dataset_path=data/kjv \\\n"
    "      training.exp_name=first --max-sequences 100\n";

typedef struct Arguments {
    EvalOptions eval;
    int64_t batch, threads, max_sequences;
    const char *modes, *layout;
    TextList names;
    bool json;
} Arguments;

static int modes_set(Arguments *a)
{
    EvalOptions *o = &a->eval;
    const char *const known[] = {"on", "off", "on,off", "off,on"};
    for (int i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(a->modes, known[i]) != 0) continue;
        o->mode_on = i != 1;
        o->mode_off = i != 0;
        return EXIT_DONE;
    }
    return options_usage("eval", "--modes takes on, off or on,off, not '%s'", a->modes);
}

static int names_set(Arguments *a)
{
    if (a->names.n == 0) return EXIT_DONE;
    if (a->names.n != a->eval.n_models)
        return options_usage("eval", "--names gives %d names for %d models", a->names.n,
                             a->eval.n_models);
    a->eval.names = a->names.item;
    return EXIT_DONE;
}

/* What the table of options cannot check. */
static int arguments_check(Arguments *a)
{
    EvalOptions *o = &a->eval;
    if (o->n_models == 0) return options_usage("eval", "no model is named");
    if (o->n_models > MAX_MODELS)
        return options_usage("eval", "%d models are too many: at most %d", o->n_models, MAX_MODELS);
    if (!o->data) return options_usage("eval", "--data is missing: the folder of a data set");
    if (a->max_sequences > 0 && o->max_documents > 0)
        return options_usage("eval", "--max-sequences and --max-documents exclude each other");
    if (a->max_sequences > 0) {
        o->max_documents = a->max_sequences;
        a->layout = "stream";
    }
    o->stream = a->layout != NULL && strcmp(a->layout, "stream") == 0;
    o->documents = a->layout != NULL && !o->stream;
    if (o->documents && strcmp(a->layout, "documents") != 0)
        return options_usage("eval", "--layout takes documents or stream, not '%s'", a->layout);
    if (!options_compute_ok("eval", o->compute)) return EXIT_USAGE;
    o->batch = (int)a->batch;
    o->threads = (int)a->threads;
    int status = modes_set(a);
    return status == EXIT_DONE ? names_set(a) : status;
}

static int arguments_parse(Arguments *a, int argc, char **argv)
{
    EvalOptions *o = &a->eval;
    const double most = 1e15;
    const Option table[] = {
        {"data", OPTION_TEXT, &o->data, 0, 0},
        {"split", OPTION_TEXT, &o->split, 0, 0},
        {"modes", OPTION_TEXT, &a->modes, 0, 0},
        {"layout", OPTION_TEXT, &a->layout, 0, 0},
        {"length", OPTION_INT, &o->length, 1, 1e9},
        {"max-tokens", OPTION_INT, &o->max_tokens, 1, most},
        {"max-documents", OPTION_INT, &o->max_documents, 1, most},
        {"max-sequences", OPTION_INT, &a->max_sequences, 1, most},
        {"names", OPTION_PARTS, &a->names, 0, 0},
        {"out", OPTION_TEXT, &o->out, 0, 0},
        {"json", OPTION_FLAG, &a->json, 0, 0},
        {"batch", OPTION_INT, &a->batch, 1, 1e6},
        {"threads", OPTION_INT, &a->threads, 1, THREADS_MAX},
        {"device", OPTION_TEXT, &o->device, 0, 0},
        {"compute", OPTION_TEXT, &o->compute, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    o->models = (const char *const *)(argv + 1);
    o->n_models = n;
    return arguments_check(a);
}

static int results_give(const Eval *e, bool as_json, Err *err)
{
    json_t *summary = eval_json(e);
    int status = e->options.out ? eval_write(e, summary, err) : 0;
    if (as_json) {
        output_json(summary);
    } else {
        eval_print(e, stdout);
        json_decref(summary);
    }
    return status == 0 ? output_flush(err) : status;
}

/* Whether a word sets a key or takes a group, and is no folder of that name. */
static bool is_override(const char *word)
{
    if (word[0] == '-' || dir_exists(word)) return false;
    return word[0] == '+' || word[0] == '~' || strchr(word, '=') != NULL;
}

/* The same words for `ttt train`, with the mode that trains nothing. */
static int run_overrides(int argc, char **argv)
{
    char name[] = "train", mode[] = "training.eval_mode=true";
    char **words = mem_alloc(((size_t)argc + 2) * sizeof *words);
    memcpy(words, argv, (size_t)argc * sizeof *words);
    words[0] = name;
    words[argc] = mode;
    int status = command_train.run(argc + 1, words);
    mem_free(words);
    return status;
}

static int run(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (is_override(argv[i])) return run_overrides(argc, argv);
    Arguments a = {.eval = {.split = "val"}, .modes = "on,off"};
    int status = arguments_parse(&a, argc, argv);
    if (status != EXIT_DONE) return status;
    Err err;
    Eval e;
    int done = eval_run(&e, &a.eval, &err);
    if (done == 0) done = results_give(&e, a.json, &err);
    eval_free(&e);
    return done == 0 ? EXIT_DONE : command_fail("eval", &err);
}

const Command command_eval = {
    "eval", "loss by token position, with learning on and off, models side by side", help, run};
