/* `ttt report`: the page of a run, drawn again. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "run/report.h"

static const char help[] =
    "usage: ttt report RUN...\n"
    "\n"
    "Draws RUN/curves/ and writes RUN/report.md from what is in the folder of a training run: "
    "what\n"
    "was run and where, figures, curves, how to go on. A run does so itself when it ends, also on\n"
    "SIGTERM; this is for one that is still running or was killed.\n"
    "\n"
    "example:\n"
    "  ttt report experiments/tiny/first\n";

static int run(int argc, char **argv)
{
    Err err;
    int n = options_parse(argc, argv, NULL, 0);
    if (n < 0) return EXIT_USAGE;
    if (n == 0) return options_usage("report", "no run is named");
    for (int i = 1; i <= n; i++) {
        if (report_write(argv[i], &err) < 0) return command_fail("report", &err);
        printf("%s/report.md\n", argv[i]);
    }
    return output_finish("report");
}

const Command command_report = {"report", "a page about a training run, with its curves", help,
                                run};
