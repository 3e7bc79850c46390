/* `ttt data repack`: the same tokens in another layout. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/cores.h"
#include "cli/cmd_data.h"
#include "cli/command.h"
#include "data/encode.h"
#include "data/repack.h"

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static int set_number(int64_t *out, const char *option, const char *text)
{
    if (parse_count(text, 1, out) && *out <= (int64_t)1 << 40) return 0;
    return data_usage("repack", "%s %s is not a number of tokens", option, text);
}

static int set_endian(RepackOptions *o, const char *text)
{
    o->big_endian = strcmp(text, "big") == 0;
    if (o->big_endian || strcmp(text, "little") == 0) return 0;
    return data_usage("repack", "--endian %s is neither little nor big", text);
}

/* Returns 0, or an exit status after a complaint. */
static int set_option(RepackOptions *o, int c)
{
    switch (c) {
    case 'o':
        o->out_dir = optarg;
        return 0;
    case 'd':
        o->dtype = optarg;
        return 0;
    case 'c':
        o->codec = optarg;
        return 0;
    case 'k':
        return set_number(&o->chunk_tokens, "--chunk-tokens", optarg);
    case 's':
        return set_number(&o->shard_tokens, "--shard-tokens", optarg);
    case 'e':
        return set_endian(o, optarg);
    case 'i':
        o->index_at_start = true;
        return 0;
    case '2':
        o->v2_keys = true;
        return 0;
    case 'F':
        o->force = true;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

static int parse_arguments(RepackOptions *o, int argc, char **argv)
{
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"dtype", required_argument, NULL, 'd'},
                                            {"codec", required_argument, NULL, 'c'},
                                            {"chunk-tokens", required_argument, NULL, 'k'},
                                            {"shard-tokens", required_argument, NULL, 's'},
                                            {"endian", required_argument, NULL, 'e'},
                                            {"index-at-start", no_argument, NULL, 'i'},
                                            {"v2-keys", no_argument, NULL, '2'},
                                            {"force", no_argument, NULL, 'F'},
                                            {0}};
    int c, status;
    while ((c = data_option(argc, argv, options)) != -1)
        if ((status = set_option(o, c)) != 0) return status;
    if (argc - optind != 1) return data_usage("repack", "name one dataset folder");
    if (o->out_dir == NULL) return data_usage("repack", "name the folder to make: --out DIR");
    o->in_dir = argv[optind];
    return 0;
}

int data_repack_run(int argc, char **argv)
{
    RepackOptions o = {.codec = encode_codec,
                       .chunk_tokens = ENCODE_CHUNK_TOKENS,
                       .threads = cpus_usable(),
                       .stop = &interrupted};
    Err err;
    int status = parse_arguments(&o, argc, argv);
    if (status != 0) return status;
    if (o.shard_tokens == 0) o.shard_tokens = encode_shard_tokens(o.chunk_tokens);
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND}, old[2];
    sigaction(SIGINT, &action, &old[0]);
    sigaction(SIGTERM, &action, &old[1]);
    status = dataset_repack(&o, &err) < 0 ? data_fail("repack", &err) : EXIT_DONE;
    sigaction(SIGINT, &old[0], NULL);
    sigaction(SIGTERM, &old[1], NULL);
    if (status != EXIT_DONE) return status;
    printf("wrote %s\n", o.out_dir);
    return data_finish("repack");
}
