/* `ttt data check`: reads all of a dataset. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd_data.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/dataset.h"
#include "data/dataset_check.h"
#include "data/zarr_source.h"

static void print_report(const char *split, const CheckReport *r)
{
    printf("%-5s %14" PRId64 " tokens %10" PRId64 " documents %8" PRId64 " files, largest id %d",
           split, r->tokens, r->documents, r->files, r->largest);
    if (r->missing > 0) printf(", %" PRId64 " files missing", r->missing);
    printf("\n      sha256 %s (%s)\n", r->sha256,
           r->digest_known ? "as in dataset.json" : "nothing to compare it with");
}

static int check_one(const char *dir, const char *split, const CheckOptions *options, Err *err)
{
    CheckReport report;
    TRY(dataset_check(&report, dir, split, options, err));
    print_report(split, &report);
    return 0;
}

/* Of a plain zarr group, the arrays that there are; if none, the error is that of train. */
static int check_all(const char *dir, const CheckOptions *options, Err *err)
{
    int checked = 0;
    for (int s = 0; s < SPLIT_COUNT; s++) {
        if (zarr_group_there(dir) && !data_has_array(dir, split_name(s))) continue;
        TRY(check_one(dir, split_name(s), options, err));
        checked++;
    }
    return checked == 0 ? check_one(dir, split_name(SPLIT_TRAIN), options, err) : 0;
}

int data_check_run(int argc, char **argv)
{
    const char *split = NULL;
    int64_t vocab = 0;
    CheckOptions check = {0};
    const Option table[] = {{"split", OPTION_TEXT, &split, 0, 0},
                            {"vocab", OPTION_INT, &vocab, 1, INT32_MAX},
                            {"missing-ok", OPTION_FLAG, &check.gaps_are_fine, 0, 0}};
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage(argv[0], "name one dataset folder");
    Err err;
    check.vocab_size = (int32_t)vocab;
    int status = split ? check_one(argv[1], split, &check, &err) : check_all(argv[1], &check, &err);
    return status < 0 ? command_fail(argv[0], &err) : output_finish(argv[0]);
}
