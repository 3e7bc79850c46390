/* Hydra's own flags, as `ttt train` and `ttt config` take them: where configurations are, and what
 * to show of one instead of using it. */
#ifndef TTT_CLI_HYDRA_FLAGS_H
#define TTT_CLI_HYDRA_FLAGS_H

#include <limits.h>

#include "cli/options.h"
#include "hydra/compose.h"

typedef struct HydraFlags {
    const char *config_dir, *config_name, *config_path;
    const char *cfg, *package, *info;
    bool multirun, resolve, run;
} HydraFlags;

/* options_parse with Hydra's flags beside the command's own. */
int hydra_flags_parse(int argc, char **argv, HydraFlags *f, const Option *own, int n);

typedef struct HydraPlace {
    char folder[PATH_MAX]; /* the primary configuration's */
    bool ours;             /* it is the tree that `ttt` finds by itself */
} HydraPlace;

/* Fills the folders and the name; base and overrides are the caller's. */
int hydra_place(HyOptions *o, HydraPlace *place, const HydraFlags *f, Err *err);
/* Whether --cfg or --info asks to show something. */
bool hydra_flags_show(const HydraFlags *f);
/* Prints what they ask for on standard output. */
int hydra_show(HyConfig *c, const HydraFlags *f, Err *err);

#endif
