/* Submission. What is written stays, so that a script can be submitted by hand later. */
#include "cli/slurm_launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/names.h"
#include "base/process.h"
#include "cli/slurm_script.h"
#include "cli/submitted.h"

enum { MAX_SUBMISSIONS = 10000, MAX_ENV = 4096 };
static const double SBATCH_SECONDS = 120;

extern char **environ;

int slurm_launch_wanted(const HyConfig *h, bool *wanted, Err *err)
{
    const HyNode *target = hy_find(h->hydra, "launcher._target_");
    const char *name = target && target->kind == HY_TEXT ? target->text : "";
    *wanted = strcmp(name, "ttt.submitit_slurm") == 0;
    if (*wanted || strcmp(name, "ttt.basic") == 0) return 0;
    return err_set(err, "this program runs the jobs of a sweep one after the other "
                        "(hydra/launcher=basic) or as jobs of Slurm "
                        "(hydra/launcher=submitit_slurm); it has no other launcher");
}

/* --- before anything is written ----------------------------------------------------------------*/

static int place_make(SlurmPlace *place, const SlurmLaunch *l, Err *err)
{
    HyArena *a = l->master->arena;
    char program[PATH_MAX], here[PATH_MAX]; /* jobs start elsewhere or later: paths are whole */
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size < 0) return file_error(err, "find", "/proc/self/exe");
    if (!getcwd(here, sizeof here)) return file_error(err, "find", ".");
    *place = (SlurmPlace){.program = hy_copy_text(a, program, (size_t)size),
                          .cwd = hy_copy_text(a, here, strlen(here)),
                          .jobs = l->jobs,
                          .n = l->n};
    return 0;
}

static const char *script_make(const SlurmLaunch *l, Err *err)
{
    SlurmPlace place;
    if (place_make(&place, l, err) < 0) return NULL;
    return slurm_script(l->master->arena, l->launcher, &place, err);
}

static int launcher_take(SlurmLaunch *l, Err *err)
{
    HyEval e = hy_eval_all(l->master, err);
    HyNode *node = hy_get(l->master->hydra, "launcher");
    l->launcher = node ? hy_resolve(&e, node, false) : NULL;
    if (l->launcher) return 0;
    return node ? err_wrap(err, "hydra.launcher") : err_set(err, "hydra.launcher is not there");
}

static bool computes_on_gpu(const HyConfig *master)
{
    const HyNode *backend = hy_find(master->all, "backend.backend");
    if (!backend || backend->kind != HY_TEXT) return false;
    return strcmp(backend->text, "gpu") == 0 || strcmp(backend->text, "cuda") == 0;
}

int slurm_launch_open(SlurmLaunch *l, HyConfig *master, const char *dir, long n,
                      const TrainOptions *options, Err *err)
{
    HyArena *a = master->arena;
    *l = (SlurmLaunch){.master = master, .options = *options, .n = n};
    if (options->device)
        return err_set(err, "--device is for this machine; a job takes the GPU that Slurm gives it "
                            "with backend=gpu hydra.launcher.gpus_per_task=1");
    if (options->fresh)
        return err_set(err, "--fresh would start a job over each time Slurm starts it; leave it "
                            "out and give another hydra.sweep.dir");
    TRY(path_whole(l->sweep, sizeof l->sweep, dir, err));
    hy_put(a, master->hydra, "sweep.dir", hy_new_text(a, l->sweep));
    TRY(launcher_take(l, err));
    if (!script_make(l, err) || !slurm_folder(a, l->launcher, err)) return -1;
    if (l->options.threads == 0)
        l->options.threads = (int)slurm_count(l->launcher, "cpus_per_task");
    const char *note = slurm_note(a, l->launcher);
    if (note && !computes_on_gpu(master)) log_info("ttt train: %s", note);
    return 0;
}

/* --- writing -----------------------------------------------------------------------------------*/

/* A folder that no earlier submission has: jobs of those may still wait for their files. */
static int folder_make(SlurmLaunch *l, Err *err)
{
    char folder[PATH_MAX], name[32], path[PATH_MAX];
    const char *shared = slurm_folder(l->master->arena, l->launcher, err);
    if (!shared) return -1;
    TRY(path_whole(folder, sizeof folder, shared, err));
    TRY(dir_make(folder, err));
    for (int i = 1; i <= MAX_SUBMISSIONS; i++) {
        snprintf(name, sizeof name, "submission-%d", i);
        TRY(path_join(path, sizeof path, folder, name, err));
        if (mkdir(path, 0777) == 0) {
            memcpy(l->jobs, path, sizeof path);
            return 0;
        }
        if (errno != EEXIST) return file_error(err, "make the folder", path);
    }
    return err_set(err, "%s holds %d submissions; remove some", folder, MAX_SUBMISSIONS);
}

int slurm_launch_add(SlurmLaunch *l, HyConfig *job, long num, Err *err)
{
    char path[PATH_MAX], name[32];
    if (!l->jobs[0]) TRY(folder_make(l, err));
    snprintf(name, sizeof name, "%ld.yaml", num);
    TRY(path_join(path, sizeof path, l->jobs, name, err));
    hy_put(job->arena, job->hydra, "sweep.dir", hy_new_text(job->arena, l->sweep));
    return submitted_write(path, job, &l->options, err);
}

static int script_write(const SlurmLaunch *l, char path[PATH_MAX], Err *err)
{
    const char *text = script_make(l, err);
    if (!text) return -1;
    TRY(path_join(path, PATH_MAX, l->jobs, "submission.sh", err));
    return file_write_atomic(path, text, strlen(text), err);
}

/* --- sbatch ------------------------------------------------------------------------------------*/

/* Inside a job of Slurm (a shell that salloc gave), that job's variables must not shape the new
 * ones. */
static void environment_clean(void)
{
    char name[MAX_ENV];
    if (!getenv("SLURM_JOB_ID")) return;
    for (char **v = environ; *v;) {
        size_t size = strcspn(*v, "=");
        bool drop = strncmp(*v, "SLURM_", 6) == 0 && size < sizeof name &&
                    strncmp(*v, "SLURM_CONF=", 11) != 0 && strncmp(*v, "SLURM_CLUSTERS=", 15) != 0;
        if (!drop) {
            v++;
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)size, *v);
        unsetenv(name);
        v = environ;
    }
}

/* The id in what `sbatch --parsable` says: a line of digits, or digits;CLUSTER. The last other line
 * is left in *other. */
static bool id_find(char *said, char *id, size_t size, const char **other)
{
    bool found = false;
    for (char *line; (line = strsep(&said, "\r\n")) != NULL;) {
        size_t digits = strspn(line, "0123456789");
        bool is_id = digits > 0 && digits < size && (!line[digits] || line[digits] == ';');
        if (is_id) {
            snprintf(id, size, "%.*s", (int)digits, line);
            found = true;
        } else if (*line) {
            *other = line;
        }
    }
    return found;
}

static int sbatch_run(const char *script, char id[32], Err *err)
{
    char said[4096];
    const char *const silent = "sbatch says nothing", *other = silent;
    const char *const argv[] = {"sbatch", "--parsable", script, NULL};
    environment_clean();
    int status = process_output(argv, SBATCH_SECONDS, said, sizeof said);
    if (status < 0 && errno == ENOENT)
        return err_set(err,
                       "there is no sbatch on the PATH, so nothing is submitted; the script is "
                       "written: on a machine of the cluster, sbatch %s",
                       script);
    bool found = status >= 0 && id_find(said, id, 32, &other);
    char shown[NAME_SHOWN_MAX];
    name_show(shown, other);
    if (status == 0 && found) {
        if (other != silent) log_info("ttt train: %s", shown); /* a word from the cluster */
        return 0;
    }
    if (status < 0) return err_errno(err, "sbatch %s gave no answer (see squeue)", script);
    return err_set(err, "%s; nothing is submitted, the script is %s", shown, script);
}

static void submitted_say(const SlurmLaunch *l, const char *id)
{
    const HyNode *folder = hy_get(l->launcher, "submitit_folder");
    const char *logs = hy_format(l->master->arena, "%s%s", id, l->n > 1 ? "_*" : "");
    const char *text = folder->text, *next, *path = "";
    for (; (next = strstr(text, "%j")) != NULL; text = next + 2)
        path = hy_format(l->master->arena, "%s%.*s%s", path, (int)(next - text), text, logs);
    if (l->n > 1)
        log_info("ttt train: submitted %ld jobs as array %s, at most %lld at a time", l->n, id,
                 slurm_count(l->launcher, "array_parallelism"));
    else
        log_info("ttt train: submitted as job %s", id);
    log_info("ttt train: results in %s, logs in %s%s", l->sweep, path, text);
    log_info("ttt train: to watch: squeue -j %s; to cancel: scancel %s", id, id);
    printf("%s\n", id);
}

int slurm_launch_submit(SlurmLaunch *l, Err *err)
{
    char path[PATH_MAX], id[32];
    TRY(script_write(l, path, err));
    TRY(sbatch_run(path, id, err));
    submitted_say(l, id);
    return 0;
}
