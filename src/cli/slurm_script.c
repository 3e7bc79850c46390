/* From hydra.launcher to a script for sbatch. Names and defaults of the keys are those of Hydra's
 * submitit launcher; options and files are called as submitit calls them. */
#include "cli/slurm_script.h"

#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "cli/slurm_body.h"
#include "hydra/scalar.h"

enum { MAX_KEYS = 64 };

#define IDLE_GPU "asks Slurm for GPUs, which stay idle: add backend=gpu to compute on them"

static const char one_process[] =
    "one run is one process on one machine here: leave it at 1, give that process more with "
    "hydra.launcher.cpus_per_task, and run several side by side as a sweep (-m KEY=A,B)";

static const SlurmKey table[] = {
    {"submitit_folder", NULL, SLURM_TEXT, 0, 0, true,
     "where scripts and logs go; %j is the job's id", NULL},
    {"timeout_min", "time", SLURM_COUNT, 1, 0, true, "minutes that a job may run", NULL},
    {"cpus_per_task", "cpus-per-task", SLURM_COUNT, 1, 0, false,
     "CPUs of a job; its threads too, unless --threads is given", NULL},
    {"gpus_per_node", "gpus-per-node", SLURM_COUNT, 0, 0, false, "GPUs of a node", IDLE_GPU},
    {"tasks_per_node", "ntasks-per-node", SLURM_COUNT, 1, 1, true, "processes on a node",
     one_process},
    {"mem_gb", "mem", SLURM_COUNT, 1, 0, false, "memory of a node in GB", NULL},
    {"nodes", "nodes", SLURM_COUNT, 1, 1, true, "machines of a job", one_process},
    {"name", "job-name", SLURM_TEXT, 0, 0, true, "what squeue shows", NULL},
    {"stderr_to_stdout", NULL, SLURM_FLAG, 0, 0, true, "one log file instead of two", NULL},
    {"partition", "partition", SLURM_TEXT, 0, 0, false, "the queue", NULL},
    {"qos", "qos", SLURM_TEXT, 0, 0, false, "quality of service", NULL},
    {"comment", "comment", SLURM_TEXT, 0, 0, false, "a remark", NULL},
    {"constraint", "constraint", SLURM_TEXT, 0, 0, false, "features that a node must have", NULL},
    {"exclude", "exclude", SLURM_TEXT, 0, 0, false, "nodes not to use", NULL},
    {"gres", "gres", SLURM_TEXT, 0, 0, false, "generic resources of a node", NULL},
    {"cpus_per_gpu", "cpus-per-gpu", SLURM_COUNT, 1, 0, false, "CPUs for each GPU", IDLE_GPU},
    {"gpus_per_task", "gpus-per-task", SLURM_COUNT, 0, 0, false, "GPUs of a job", IDLE_GPU},
    {"mem_per_gpu", "mem-per-gpu", SLURM_TEXT, 0, 0, false, "memory for each GPU, as 16G",
     IDLE_GPU},
    {"mem_per_cpu", "mem-per-cpu", SLURM_TEXT, 0, 0, false, "memory for each CPU, as 4G", NULL},
    {"account", "account", SLURM_TEXT, 0, 0, false, "who is charged", NULL},
    {"signal_delay_s", "signal", SLURM_COUNT, 1, 65535, true,
     "seconds before the end of timeout_min at which a job saves and stops",
     "sbatch takes at most 65535 seconds"},
    {"max_num_timeout", NULL, SLURM_COUNT, 0, 0, true,
     "how many times a job that ran out of time is queued again", NULL},
    {"additional_parameters", NULL, SLURM_PAIRS, 0, 0, true,
     "other options of sbatch: {mail-type: END}", NULL},
    {"array_parallelism", "array", SLURM_COUNT, 1, 0, true,
     "jobs of a sweep that may run at a time", NULL},
    {"setup", NULL, SLURM_LINES, 0, 0, false, "shell lines before srun, as they are", NULL},
};

/* Options that the script's own lines stand on. */
static const char *const kept[] = {"output", "error",  "open-mode",   "requeue", "wrap",
                                   "chdir",  "ntasks", "export-file", "parsable"};

const SlurmKey *slurm_keys(int *n)
{
    *n = ARRAY_LEN(table);
    return table;
}

/* --- values ------------------------------------------------------------------------------------*/

static int fail(const char *key, const char *what, Err *err)
{
    return err_set(err, "hydra.launcher.%s %s", key, what);
}

static bool is_one_line(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) return false;
    return true;
}

/* In single quotes, in which sbatch, unlike a shell, lets a backslash escape. */
static void option_print(FILE *out, const char *option, const char *value)
{
    fprintf(out, "#SBATCH --%s='", option);
    for (const char *c = value; *c; c++) {
        if (*c == '\'' || *c == '\\') fputc('\\', out);
        fputc(*c, out);
    }
    fputs("'\n", out);
}

static int text_print(FILE *out, const char *key, const char *option, const char *text, Err *err)
{
    if (!text[0]) return fail(key, "is empty; give it a value or null", err);
    if (!is_one_line(text)) return fail(key, "holds a line end or control character", err);
    option_print(out, option, text);
    return 0;
}

static int count_of(const HyNode *value, long long *out)
{
    return value && value->kind == HY_INT && hy_int_value(value, out) ? 0 : -1;
}

static int count_check(const SlurmKey *k, const HyNode *value, Err *err)
{
    long long n = 0;
    if (count_of(value, &n) < 0) return fail(k->name, "takes an integer", err);
    if (n < k->min)
        return err_set(err, "hydra.launcher.%s = %lld is below %lld", k->name, n, k->min);
    if (k->max > 0 && n > k->max)
        return err_set(err, "hydra.launcher.%s = %lld: %s", k->name, n, k->note);
    return 0;
}

/* --- the keys of a launcher --------------------------------------------------------------------*/

static int key_check(const SlurmKey *k, const HyNode *value, Err *err)
{
    if (!value || value->kind == HY_NULL)
        return k->required ? fail(k->name, "is null; it takes a value", err) : 0;
    if (hy_is_missing(value)) return fail(k->name, "is ???; give it on the command line", err);
    switch (k->type) {
    case SLURM_COUNT:
        return count_check(k, value, err);
    case SLURM_FLAG:
        return value->kind == HY_BOOL ? 0 : fail(k->name, "takes true or false", err);
    case SLURM_LINES:
        if (value->kind != HY_LIST) return fail(k->name, "takes a list of shell lines", err);
        for (const HyNode *line = value->first; line; line = line->next)
            if (line->kind != HY_TEXT) return fail(k->name, "takes a list of shell lines", err);
        return 0;
    case SLURM_PAIRS:
        return value->kind == HY_MAP ? 0 : fail(k->name, "takes a map: {OPTION: VALUE}", err);
    case SLURM_TEXT:
        return hy_is_container(value) ? fail(k->name, "takes a text", err) : 0;
    }
    return 0;
}

static int unknown(const char *name, Err *err)
{
    const char *known[MAX_KEYS];
    char shown[NAME_SHOWN_MAX];
    for (int i = 0; i < ARRAY_LEN(table); i++) known[i] = table[i].name;
    const char *near = name_nearest(name, known, ARRAY_LEN(table));
    if (near)
        return err_set(err, "unknown key 'hydra.launcher.%s'; did you mean '%s'?",
                       name_show(shown, name), near);
    return err_set(err,
                   "unknown key 'hydra.launcher.%s'; other options of sbatch go into "
                   "hydra.launcher.additional_parameters",
                   name_show(shown, name));
}

static int launcher_check(const HyNode *launcher, Err *err)
{
    for (const HyNode *x = launcher->first; x; x = x->next) {
        bool found = strcmp(x->key, "_target_") == 0;
        for (int i = 0; i < ARRAY_LEN(table); i++)
            found = found || strcmp(x->key, table[i].name) == 0;
        if (!found) return unknown(x->key, err);
    }
    for (int i = 0; i < ARRAY_LEN(table); i++)
        TRY(key_check(&table[i], hy_get(launcher, table[i].name), err));
    return 0;
}

static int key_print(FILE *out, HyArena *a, const SlurmKey *k, const HyNode *value, Err *err)
{
    if (!value || value->kind == HY_NULL || !k->option || strcmp(k->option, "array") == 0) return 0;
    if (k->type == SLURM_TEXT) return text_print(out, k->name, k->option, hy_str(a, value), err);
    bool signal = strcmp(k->option, "signal") == 0, memory = strcmp(k->option, "mem") == 0;
    fprintf(out, "#SBATCH --%s=%s%s%s\n", k->option, signal ? "USR2@" : "", value->text,
            memory ? "G" : "");
    return 0;
}

/* --- additional_parameters ---------------------------------------------------------------------*/

/* The option that a key stands for: mail_type is mail-type. NULL when it can be none. */
static const char *pair_option(HyArena *a, const char *key)
{
    char *option = hy_copy_text(a, key, strlen(key));
    if (!key[0] || key[0] == '-' || key[0] == '_') return NULL;
    for (char *c = option; *c; c++) {
        if (*c == '_') *c = '-';
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", *c))
            return NULL;
    }
    return option;
}

static int pair_check(const char *key, const char *option, Err *err)
{
    static const char where[] = "additional_parameters";
    char shown[NAME_SHOWN_MAX];
    name_show(shown, key);
    if (!option)
        return err_set(err, "hydra.launcher.%s: '%s' is no option of sbatch", where, shown);
    for (int i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].option && strcmp(table[i].option, option) == 0)
            return err_set(err, "hydra.launcher.%s: for '%s' there is hydra.launcher.%s", where,
                           shown, table[i].name);
    for (int i = 0; i < ARRAY_LEN(kept); i++)
        if (strcmp(kept[i], option) == 0)
            return err_set(err, "hydra.launcher.%s: '%s' is made by the launcher itself", where,
                           shown);
    return 0;
}

static int pairs_print(FILE *out, HyArena *a, const HyNode *pairs, Err *err)
{
    for (const HyNode *x = pairs ? pairs->first : NULL; x; x = x->next) {
        const char *option = pair_option(a, x->key);
        const char *key = hy_format(a, "additional_parameters.%.80s", x->key);
        TRY(pair_check(x->key, option, err));
        if (x->kind == HY_NULL) continue;
        if (hy_is_container(x) || (x->kind == HY_BOOL && !x->truth))
            return fail(key, "takes a text, a number, or true", err);
        if (x->kind == HY_BOOL)
            fprintf(out, "#SBATCH --%s\n", option);
        else
            TRY(text_print(out, key, option, hy_str(a, x), err));
    }
    return 0;
}

/* --- the script --------------------------------------------------------------------------------*/

/* Where Slurm itself writes: %% is a % in its file names. */
static const char *file_name(HyArena *a, const char *folder)
{
    const char *text = "";
    for (const char *c = folder; *c; c++)
        text = hy_format(a, "%s%c%s", text, *c, *c == '%' ? "%" : "");
    return hy_format(a, "%s/slurm.log", text);
}

static int own_options_print(FILE *out, HyArena *a, const SlurmPlace *p, long long at_once,
                             Err *err)
{
    if (p->n > 1)
        fprintf(out, "#SBATCH --array=0-%ld%%%lld\n", p->n - 1, at_once < p->n ? at_once : p->n);
    fputs("#SBATCH --requeue\n#SBATCH --open-mode=append\n", out);
    TRY(text_print(out, "submitit_folder", "output", file_name(a, p->jobs), err));
    if (!is_one_line(p->cwd)) return err_set(err, "this folder's path holds a line end");
    option_print(out, "chdir", p->cwd);
    return 0;
}

static int script_print(FILE *out, HyArena *a, const HyNode *launcher, const SlurmPlace *p,
                        Err *err)
{
    const HyNode *folder = hy_get(launcher, "submitit_folder");
    const HyNode *one_log = hy_get(launcher, "stderr_to_stdout");
    fputs(
        "#!/bin/bash\n"
        "# Written by `ttt train` (hydra/launcher=submitit_slurm); sbatch takes it, by hand too.\n",
        out);
    for (int i = 0; i < ARRAY_LEN(table); i++)
        TRY(key_print(out, a, &table[i], hy_get(launcher, table[i].name), err));
    TRY(pairs_print(out, a, hy_get(launcher, "additional_parameters"), err));
    TRY(own_options_print(out, a, p, slurm_count(launcher, "array_parallelism"), err));
    SlurmBody body = {.program = p->program,
                      .jobs = p->jobs,
                      .is_array = p->n > 1,
                      .one_log = one_log->truth,
                      .folder = hy_str(a, folder),
                      .setup = hy_get(launcher, "setup"),
                      .cpus = slurm_count(launcher, "cpus_per_task"),
                      .limit_s = slurm_count(launcher, "timeout_min") * 60,
                      .signal_s = slurm_count(launcher, "signal_delay_s"),
                      .max_timeouts = slurm_count(launcher, "max_num_timeout")};
    if (!is_one_line(body.folder) || !is_one_line(p->jobs))
        return fail("submitit_folder", "holds a line end or control character", err);
    if (!is_one_line(p->program)) return err_set(err, "this program's path holds a line end");
    slurm_body_print(out, &body);
    return 0;
}

const char *slurm_script(HyArena *a, const HyNode *launcher, const SlurmPlace *place, Err *err)
{
    HyPrint p;
    if (launcher->kind != HY_MAP) {
        err_set(err, "hydra.launcher must be a map of keys");
        return NULL;
    }
    if (launcher_check(launcher, err) < 0) return NULL;
    hy_print_begin(&p);
    int rc = script_print(p.out, a, launcher, place, err);
    const char *script = hy_print_end(&p, a);
    return rc == 0 ? script : NULL;
}

const char *slurm_folder(HyArena *a, const HyNode *launcher, Err *err)
{
    const HyNode *folder = hy_get(launcher, "submitit_folder");
    if (!folder || folder->kind != HY_TEXT || !folder->text[0]) {
        fail("submitit_folder", "takes the path of a folder", err);
        return NULL;
    }
    const char *text = folder->text, *percent = strchr(text, '%');
    for (const char *at = percent; at; at = strchr(at + 1, '%')) {
        if (at[1] == 'j') continue;
        fail("submitit_folder", "knows no % but %j, the job's id", err);
        return NULL;
    }
    size_t size = percent ? (size_t)(percent - text) : strlen(text);
    while (percent && size > 0 && text[size - 1] != '/') size--;
    while (size > 1 && text[size - 1] == '/') size--;
    return size > 0 ? hy_copy_text(a, text, size) : ".";
}

long long slurm_count(const HyNode *launcher, const char *key)
{
    long long n = 0;
    return count_of(hy_get(launcher, key), &n) == 0 ? n : 0;
}

const char *slurm_note(HyArena *a, const HyNode *launcher)
{
    const char *names = NULL, *note = NULL;
    for (int i = 0; i < ARRAY_LEN(table); i++) {
        const HyNode *value = hy_get(launcher, table[i].name);
        if (!table[i].note || table[i].max > 0 || !value || value->kind == HY_NULL) continue;
        names = names ? hy_format(a, "%s, hydra.launcher.%s", names, table[i].name)
                      : hy_format(a, "hydra.launcher.%s", table[i].name);
        note = table[i].note;
    }
    return names ? hy_format(a, "%s: %s", names, note) : NULL;
}
