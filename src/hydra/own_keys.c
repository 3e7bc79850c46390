/* What Hydra's structured configuration, and the submitit launcher's, take for each key. A key that
 * is not here takes anything. */
#include "hydra/own_keys.h"

#include <string.h>
#include <strings.h>

#include "base/names.h"
#include "hydra/scalar.h"

typedef enum OwnType { OWN_TEXT, OWN_INT, OWN_BOOL, OWN_LIST, OWN_MAP, OWN_MODE } OwnType;

typedef struct OwnKey {
    const char *name; /* below hydra */
    OwnType type;
    bool null; /* may be null */
} OwnKey;

static const OwnKey own_keys[] = {
    {"mode", OWN_MODE, true},
    {"output_subdir", OWN_TEXT, true},
    {"run", OWN_MAP, false},
    {"run.dir", OWN_TEXT, false},
    {"sweep", OWN_MAP, false},
    {"sweep.dir", OWN_TEXT, false},
    {"sweep.subdir", OWN_TEXT, false},
    {"job", OWN_MAP, false},
    {"job.name", OWN_TEXT, false},
    {"job.chdir", OWN_BOOL, true},
    {"job.override_dirname", OWN_TEXT, false},
    {"job.id", OWN_TEXT, false},
    {"job.num", OWN_INT, false},
    {"job.config_name", OWN_TEXT, true},
    {"job.env_set", OWN_MAP, false},
    {"job.env_copy", OWN_LIST, false},
    {"job.config", OWN_MAP, false},
    {"job.config.override_dirname", OWN_MAP, false},
    {"job.config.override_dirname.kv_sep", OWN_TEXT, false},
    {"job.config.override_dirname.item_sep", OWN_TEXT, false},
    {"job.config.override_dirname.exclude_keys", OWN_LIST, false},
    {"launcher.submitit_folder", OWN_TEXT, false},
    {"launcher.timeout_min", OWN_INT, false},
    {"launcher.cpus_per_task", OWN_INT, true},
    {"launcher.gpus_per_node", OWN_INT, true},
    {"launcher.tasks_per_node", OWN_INT, false},
    {"launcher.mem_gb", OWN_INT, true},
    {"launcher.nodes", OWN_INT, false},
    {"launcher.name", OWN_TEXT, false},
    {"launcher.stderr_to_stdout", OWN_BOOL, false},
    {"launcher.partition", OWN_TEXT, true},
    {"launcher.qos", OWN_TEXT, true},
    {"launcher.comment", OWN_TEXT, true},
    {"launcher.constraint", OWN_TEXT, true},
    {"launcher.exclude", OWN_TEXT, true},
    {"launcher.gres", OWN_TEXT, true},
    {"launcher.account", OWN_TEXT, true},
    {"launcher.cpus_per_gpu", OWN_INT, true},
    {"launcher.gpus_per_task", OWN_INT, true},
    {"launcher.mem_per_gpu", OWN_TEXT, true},
    {"launcher.mem_per_cpu", OWN_TEXT, true},
    {"launcher.signal_delay_s", OWN_INT, false},
    {"launcher.max_num_timeout", OWN_INT, false},
    {"launcher.additional_parameters", OWN_MAP, false},
    {"launcher.array_parallelism", OWN_INT, false},
    {"launcher.setup", OWN_LIST, true},
};

static const char *type_name(OwnType type)
{
    static const char *const names[] = {
        [OWN_TEXT] = "a text", [OWN_INT] = "an integer", [OWN_BOOL] = "true or false",
        [OWN_LIST] = "a list", [OWN_MAP] = "a mapping",  [OWN_MODE] = "RUN or MULTIRUN",
    };
    return names[type];
}

static bool one_of(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcasecmp(text, names[i]) == 0) return true;
    return false;
}

/* The conversions are OmegaConf's: a number is a fine text, the text of a number a fine number. */
static bool fits(HyArena *a, const HyNode *value, const OwnKey *key)
{
    static const char *const truths[] = {"true", "false", "yes", "no", "on",
                                         "off",  "y",     "n",   "1",  "0"};
    bool text = value->kind == HY_TEXT;
    if (value->kind == HY_NULL) return key->null;
    if (hy_is_missing(value) || hy_is_reference(value)) return true;
    switch (key->type) {
    case OWN_TEXT:
        return !hy_is_container(value);
    case OWN_INT:
        return value->kind == HY_INT || (text && hy_int_of_text(a, value->text));
    case OWN_BOOL:
        return value->kind == HY_BOOL || value->kind == HY_INT ||
               (text && one_of(value->text, truths, ARRAY_LEN(truths)));
    case OWN_LIST:
        return value->kind == HY_LIST;
    case OWN_MAP:
        return value->kind == HY_MAP;
    case OWN_MODE:
        return text && (strcmp(value->text, "RUN") == 0 || strcmp(value->text, "MULTIRUN") == 0);
    }
    return true;
}

int hy_own_keys_check(HyArena *a, HyNode *hydra, Err *err)
{
    for (int i = 0; i < ARRAY_LEN(own_keys); i++) {
        char shown[NAME_SHOWN_MAX];
        const OwnKey *key = &own_keys[i];
        const HyNode *value = hy_find(hydra, key->name);
        if (!value || fits(a, value, key)) continue;
        return err_set(err, "%s: hydra.%s = %s is not allowed; it takes %s%s", hy_where(a, value),
                       key->name,
                       value->kind == HY_NULL ? "null" : name_show(shown, hy_str(a, value)),
                       type_name(key->type), key->null ? " or null" : "");
    }
    return 0;
}
