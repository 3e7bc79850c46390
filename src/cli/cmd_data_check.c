/* `ttt data check`: reads all of a dataset. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd_data.h"
#include "cli/command.h"
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

static int check_one(const char *dir, const char *split, const CheckOptions *options)
{
    Err err;
    CheckReport report;
    if (dataset_check(&report, dir, split, options, &err) < 0) return data_fail("check", &err);
    print_report(split, &report);
    return EXIT_DONE;
}

/* Of a plain zarr group, the arrays that there are; if none, the error is that of train. */
static int check_all(const char *dir, const CheckOptions *options)
{
    int status = EXIT_DONE, checked = 0;
    for (int s = 0; s < SPLIT_COUNT && status == EXIT_DONE; s++) {
        if (zarr_group_there(dir) && !data_has_array(dir, split_name(s))) continue;
        status = check_one(dir, split_name(s), options);
        checked++;
    }
    return checked == 0 ? check_one(dir, split_name(SPLIT_TRAIN), options) : status;
}

int data_check_run(int argc, char **argv)
{
    static const struct option options[] = {{"split", required_argument, NULL, 's'},
                                            {"vocab", required_argument, NULL, 'v'},
                                            {"missing-ok", no_argument, NULL, 'm'},
                                            {0}};
    const char *split = NULL;
    int64_t vocab = 0;
    CheckOptions check = {0};
    int c;
    while ((c = data_option(argc, argv, options)) != -1) {
        if (c == 's') split = optarg;
        if (c == 'v' && (!parse_count(optarg, 1, &vocab) || vocab > INT32_MAX))
            return data_usage("check", "--vocab %s is not a number of tokens", optarg);
        if (c == 'm') check.gaps_are_fine = true;
        if (c == '?') return EXIT_USAGE;
    }
    if (argc - optind != 1) return data_usage("check", "name one dataset folder");
    check.vocab_size = (int32_t)vocab;
    const char *dir = argv[optind];
    int status = split == NULL ? check_all(dir, &check) : check_one(dir, split, &check);
    return status == EXIT_DONE ? data_finish("check") : status;
}
