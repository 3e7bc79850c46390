/* Which configuration keys a run may change when it goes on from a checkpoint. */
#include <string.h>

#include "model/config_table.h"
#include "run/train_state.h"

/* Keys that leave every number of the run as it is. The data set has a digest of its
 * own, so its folder may move. */
static const char *const free_keys[] = {
    "training.total_steps",      "training.break_step",      "training.save_milestone_freq",
    "training.inner_remat_freq", "training.dataset_path",    "training.dataset_name",
    "training.tokenizer_name",   "training.checkpoint_path", "training.exp_dir",
    "training.exp_folder",       "training.exp_name",        "training.resume_exp_name",
    "training.resume_step",      "training.load_part",       "training.eval_mode",
    "training.eval_split",       "training.eval_batch_size", "training.eval_freq",
    "training.eval_sequences",   "training.log_wandb",       "training.wandb_entity",
    "training.wandb_project",    "backend.backend",          "model.name"};

static bool key_is_free(const char *name)
{
    for (int i = 0; i < ARRAY_LEN(free_keys); i++)
        if (strcmp(name, free_keys[i]) == 0) return true;
    return false;
}

int train_config_same(const Config *saved, const Config *now, const char *folder, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        char was[CONFIG_VALUE_MAX], is[CONFIG_VALUE_MAX];
        if (keys[i].offset < 0 || key_is_free(keys[i].name)) continue;
        TRY(config_get(saved, keys[i].name, was, sizeof was));
        TRY(config_get(now, keys[i].name, is, sizeof is));
        if (strcmp(was, is) != 0)
            return err_set(err,
                           "%s was %.400s when %s was written and is %.400s now; add %s=%.400s to "
                           "keep it, choose another training.exp_name, or start over with --fresh",
                           keys[i].name, was, folder, is, keys[i].name, was);
    }
    return 0;
}
