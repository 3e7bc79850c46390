/* `ttt data repack`: the same tokens in another layout. */
#include <stdio.h>
#include <string.h>

#include "backend/cores.h"
#include "cli/cmd_data.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/encode.h"
#include "data/repack.h"

/* Returns EXIT_DONE, or EXIT_USAGE after a complaint. */
static int arguments_parse(RepackOptions *o, int argc, char **argv)
{
    const double most = 0x1p40;
    const char *endian = "little";
    const Option table[] = {
        {"out", OPTION_TEXT, &o->out_dir, 0, 0},
        {"dtype", OPTION_TEXT, &o->dtype, 0, 0},
        {"codec", OPTION_TEXT, &o->codec, 0, 0},
        {"chunk-tokens", OPTION_INT, &o->chunk_tokens, 1, most},
        {"shard-tokens", OPTION_INT, &o->shard_tokens, 1, most},
        {"endian", OPTION_TEXT, &endian, 0, 0},
        {"index-at-start", OPTION_FLAG, &o->index_at_start, 0, 0},
        {"v2-keys", OPTION_FLAG, &o->v2_keys, 0, 0},
        {"force", OPTION_FLAG, &o->force, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    o->big_endian = strcmp(endian, "big") == 0;
    if (!o->big_endian && strcmp(endian, "little") != 0)
        return options_usage(argv[0], "--endian %s is neither little nor big", endian);
    if (n != 1) return options_usage(argv[0], "name one dataset folder");
    if (o->out_dir == NULL) return options_usage(argv[0], "name the folder to make: --out DIR");
    if (o->shard_tokens == 0) o->shard_tokens = encode_shard_tokens(o->chunk_tokens);
    o->in_dir = argv[1];
    return EXIT_DONE;
}

int data_repack_run(int argc, char **argv)
{
    RepackOptions o = {.codec = encode_codec,
                       .chunk_tokens = ENCODE_CHUNK_TOKENS,
                       .threads = cpus_usable(),
                       .stop = interrupt_flag()};
    Err err;
    int status = arguments_parse(&o, argc, argv);
    if (status != EXIT_DONE) return status;
    interrupt_catch();
    if (dataset_repack(&o, &err) < 0) return interrupt_fail(argv[0], &err);
    printf("wrote %s\n", o.out_dir);
    return output_finish(argv[0]);
}
