/* ttt train: arguments, configuration, and the run itself. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/train_jobs.h"

enum { AGAIN_MAX = 1 << 14 };

static const char help[] =
    "usage: ttt train [options] OVERRIDES...\n"
    "\n"
    "Trains a model as configured, into <exp_dir>/<exp_folder>/<exp_name>/: model/ (for eval, "
    "read\n"
    "and generate), log.jsonl (a line per step), checkpoints/, summary.json, config.yaml.\n"
    "Run the same command again to go on from the newest whole checkpoint, bit for bit. "
    "Ctrl-C,\n"
    "SIGTERM and SIGUSR2 finish the step and save.\n"
    "\n"
    "  OVERRIDES         a.b=c sets a key, +experiment=NAME takes an experiment; `ttt help "
    "config`\n"
    "  --threads N       default: one per physical core; the number shapes the last bits of the "
    "results\n"
    "  --device NAME     cpu, or cuda or cuda:N for a GPU (as backend.backend says, else cpu)\n"
    "  --fresh           start over; the old run folder is kept as NAME.old-1\n"
    "  -m, --multirun    run every combination of a=1,2 b=range(3) one after the other, each in\n"
    "                    hydra.sweep.dir/hydra.sweep.subdir; with "
    "hydra/launcher=submitit_slurm\n"
    "                    they become an array of Slurm, which saves, requeues and goes on by\n"
    "                    itself (docs/slurm.md)\n"
    "Hydra's own flags (docs/hydra.md):\n"
    "  -cn, --config-name NAME  the primary configuration (config)\n"
    "  -cp, --config-path DIR   the folder it is in, instead of ttt's own\n"
    "  -cd, --config-dir DIR    a folder of more groups; the whole tree, if it holds NAME.yaml\n"
    "  -c, --cfg WHAT           show the job's, hydra's or all configuration instead of running\n"
    "      --resolve            with --cfg: references filled in\n"
    "  -p, --package KEY        with --cfg: only what is below KEY\n"
    "  -i, --info [WHAT]        show defaults, defaults-tree, config, searchpath or all\n"
    "  -r, --run                one run, although hydra.mode asks for a sweep\n"
    "The run's folder is training.exp_dir/exp_folder/exp_name, or hydra.run.dir where it is "
    "given;\n"
    "its .hydra/ holds config.yaml, hydra.yaml and overrides.yaml.\n"
    "  --max-sequences N with training.eval_mode=true: score at most N sequences\n"
    "  --submitted FILE  run a job that was submitted, as its script does; --job-id ID is what "
    "Slurm\n"
    "                    calls it; exit status 75 when a signal ended it early\n"
    "\n"
    "Kept checkpoints: every training.save_milestone_freq steps one is written; the newest two "
    "and\n"
    "every tenth stay. training.load_part=params training.resume_exp_name=OTHER starts from the\n"
    "weights of another run (all: its optimizer and step too).\n"
    "\n"
    "example:\n"
    "  ttt train +experiment=tiny/pretrain-tiny-e2e training.dataset_path=data/kjv \\\n"
    "      training.exp_name=first training.total_steps=100\n";

/* Appends one word as a shell takes it. */
static void append_word(char *out, size_t size, const char *word)
{
    bool plain = word[0] != '\0';
    for (const char *c = word; *c; c++)
        plain = plain && (isalnum((unsigned char)*c) || strchr("_-+=./:,@%", *c));
    size_t used = strlen(out);
    if (plain) {
        snprintf(out + used, size - used, " %s", word);
        return;
    }
    snprintf(out + used, size - used, " '");
    for (const char *c = word; *c; c++) {
        const char letter[] = {*c, '\0'};
        used = strlen(out);
        snprintf(out + used, size - used, "%s", *c == '\'' ? "'\\''" : letter);
    }
    used = strlen(out);
    snprintf(out + used, size - used, "'");
}

/* The command that goes on: all words but --fresh. */
static void again_make(char *out, size_t size, int argc, char **argv)
{
    snprintf(out, size, "ttt train");
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--fresh") != 0) append_word(out, size, argv[i]);
}

static int run(int argc, char **argv)
{
    char again[AGAIN_MAX];
    int64_t threads = 0;
    Err err;
    TrainJobs jobs = {.options.again = again};
    const Option table[] = {
        {"threads", OPTION_INT, &threads, 1, THREADS_MAX},
        {"device", OPTION_TEXT, &jobs.options.device, 0, 0},
        {"fresh", OPTION_FLAG, &jobs.options.fresh, 0, 0},
        {"max-sequences", OPTION_INT, &jobs.options.max_sequences, 1, 1e15},
        {"submitted", OPTION_TEXT, &jobs.submitted, 0, 0},
        {"job-id", OPTION_TEXT, &jobs.job_id, 0, 0},
    };
    again_make(again, sizeof again, argc, argv); /* before the operands are moved to the front */
    int n = hydra_flags_parse(argc, argv, &jobs.hydra, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    jobs.options.threads = (int)threads;
    jobs.overrides = (const char *const *)(argv + 1);
    jobs.n_overrides = n;
    if (jobs.submitted && (n > 0 || hydra_flags_show(&jobs.hydra)))
        return options_usage("train", "--submitted takes nothing else: the file holds all of it");
    if (train_jobs_run(&jobs, &err) < 0) return command_fail("train", &err);
    return jobs.interrupted ? EXIT_AGAIN : EXIT_DONE;
}

const Command command_train = {
    .name = "train",
    .summary = "train a model on a data set",
    .help = help,
    .run = run,
};
