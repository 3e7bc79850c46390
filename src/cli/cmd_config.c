/* ttt config: prints a composed configuration, or the table of all keys. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "model/config.h"
#include "model/config_table.h"

static const char help[] =
    "usage: ttt config [--config-dir DIR] [--format yaml|json] [OVERRIDE...]\n"
    "       ttt config --keys\n"
    "\n"
    "Composes a configuration as `ttt train` would, checks it and prints it.\n"
    "\n"
    "  OVERRIDE            model.suffix_len=2, model=small, +experiment=tiny/pretrain-tiny-e2e\n"
    "  --config-dir DIR    folder with config.yaml and its groups (default: $TTT_CONFIG_DIR,\n"
    "                      ./configs, or the one beside the program)\n"
    "  --format FORMAT     yaml (default) or json\n"
    "  --keys              the table of all keys in Markdown: type, default, meaning\n"
    "\n"
    "example: ttt config +experiment=125m/pretrain/pretrain-125m-e2e training.total_steps=100\n";

typedef struct Options {
    const char *config_dir;
    bool json, keys, help;
} Options;

static int usage_fail(const char *what)
{
    fprintf(stderr, "ttt config: %s; see `ttt help config`\n", what);
    return -1;
}

static int options_read(Options *o, int argc, char **argv)
{
    static const struct option known[] = {{"config-dir", required_argument, NULL, 'd'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"keys", no_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    *o = (Options){0};
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (c) {
        case 'd':
            o->config_dir = optarg;
            break;
        case 'k':
            o->keys = true;
            break;
        case 'h':
            o->help = true;
            break;
        case 'f':
            o->json = strcmp(optarg, "json") == 0;
            if (!o->json && strcmp(optarg, "yaml") != 0) {
                return usage_fail("--format takes yaml or json");
            }
            break;
        default:
            return usage_fail("unknown option, or one without its value");
        }
    }
    if (o->keys && optind < argc) return usage_fail("--keys takes no overrides");
    return 0;
}

static int compose(Config *c, const Options *o, char **overrides, int n, Err *err)
{
    char folder[CFG_PATH];
    TRY(config_dir_find(folder, sizeof folder, o->config_dir, err));
    TRY(config_compose(c, folder, (const char *const *)overrides, n, err));
    return config_check(c, err);
}

/* Prints a text and frees it. */
static int text_put(char *text)
{
    Err err;
    int rc = fputs(text, stdout) < 0 || fflush(stdout) != 0 ? -1 : 0;
    if (rc < 0) err_errno(&err, "cannot write the configuration to standard output");
    free(text);
    return rc < 0 ? command_fail("config", &err) : EXIT_DONE;
}

static int run(int argc, char **argv)
{
    Options o;
    Config c;
    Err err;
    if (options_read(&o, argc, argv) < 0) return EXIT_USAGE;
    if (o.help) return fputs(help, stdout) < 0 ? EXIT_FAULT : EXIT_DONE;
    if (o.keys) return text_put(config_keys_markdown());
    if (compose(&c, &o, argv + optind, argc - optind, &err) < 0)
        return command_fail("config", &err);
    return text_put(o.json ? config_json(&c) : config_text(&c));
}

const Command command_config = {
    .name = "config",
    .summary = "print a composed configuration, or all keys",
    .help = help,
    .run = run,
};
