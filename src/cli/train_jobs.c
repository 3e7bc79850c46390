/* Runs and sweeps of `ttt train`. Each run has a .hydra folder with what it was composed from. */
#include "cli/train_jobs.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/names.h"
#include "cli/hydra_keep.h"
#include "cli/slurm_launch.h"
#include "cli/submitted.h"
#include "model/config.h"
#include "model/config_tree.h"
#include "run/history.h"
#include "run/train_folder.h"

enum { MAX_OVERRIDES = 1024 };

static const char usual_run_dir[] = "outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}";

/* --- one run -----------------------------------------------------------------------------------*/

static int config_make(Config *cfg, HyConfig *h, Err *err)
{
    TRY(config_take(cfg, h, err));
    return config_check(cfg, err);
}

static bool flag_at(HyConfig *h, const char *key)
{
    const HyNode *value = hy_find(h->hydra, key);
    return value && value->kind == HY_BOOL && value->truth;
}

/* The whole path of the run's folder, in out; folder NULL: the one that the configuration names,
 * "" while it names none. */
static int output_dir(char out[PATH_MAX], const Config *cfg, const char *folder, Err *err)
{
    char named[PATH_MAX];
    out[0] = 0;
    if (!folder) {
        if (!cfg->training.exp_name[0]) return 0; /* the run itself says so in its own order */
        TRY(train_folder_path(named, &cfg->training, err));
        folder = named;
    }
    return path_whole(out, PATH_MAX, folder, err);
}

/* folder: NULL where the configuration names the run's folder. */
static int run(TrainJobs *jobs, HyConfig *h, const Config *cfg, const char *folder, Err *err)
{
    TrainFile files[HYDRA_KEPT];
    TrainOptions options = jobs->options;
    char output[PATH_MAX];
    TRY(output_dir(output, cfg, folder, err));
    if (output[0]) hy_put(h->arena, h->hydra, "runtime.output_dir", hy_new_text(h->arena, output));
    options.folder = folder ? output : NULL;
    options.n_files = hydra_keep(h, files);
    options.files = files;
    if (output[0] && flag_at(h, "job.chdir")) {
        options.folder = output; /* the same, wherever the process is */
        TRY(dir_make(output, err));
        if (chdir(output) != 0) return file_error(err, "enter", output);
    }
    return train_run(cfg, &options, err);
}

/* hydra.run.dir, where it is given. */
static int run_dir(HyConfig *h, const char **out, Err *err)
{
    const HyNode *dir = hy_find(h->hydra, "run.dir");
    *out = NULL;
    if (!dir || (dir->kind == HY_TEXT && strcmp(dir->text, usual_run_dir) == 0)) return 0;
    *out = hy_config_text(h, "hydra.run.dir", err);
    return *out ? 0 : -1;
}

static int run_single(TrainJobs *jobs, HyConfig *h, Err *err)
{
    Config cfg;
    const char *folder;
    TRY(config_make(&cfg, h, err));
    TRY(run_dir(h, &folder, err));
    const char *idle = config_idle(h);
    bool slurm;
    if (idle) log_info("ttt train: %s", idle);
    if (slurm_launch_wanted(h, &slurm, err) == 0 && slurm)
        log_info("ttt train: this one run stays on this machine; -m hands it to Slurm");
    return run(jobs, h, &cfg, folder, err);
}

/* --- a sweep -----------------------------------------------------------------------------------*/

typedef struct Sweeping {
    TrainJobs *jobs;
    HyOptions options;
    HyConfig *master;
    const char *dir;    /* of the sweep */
    SlurmLaunch *slurm; /* NULL: jobs run here */
    const char *fixed[MAX_OVERRIDES];
    int n_fixed;
    int failed;
    Err first; /* the first failure */
} Sweeping;

/* Jobs keep the overrides of hydra's own keys. */
static int fixed_take(Sweeping *s, Err *err)
{
    const HyNode *list = hy_find(s->master->hydra, "overrides.hydra");
    for (const HyNode *x = list ? list->first : NULL; x; x = x->next) {
        if (s->n_fixed == MAX_OVERRIDES / 2) return err_set(err, "too many overrides");
        s->fixed[s->n_fixed++] = x->text;
    }
    return 0;
}

static int job_compose(Sweeping *s, HyConfig *h, const HyNode *job, long num, Err *err)
{
    const char *all[MAX_OVERRIDES];
    int n = s->n_fixed;
    memcpy(all, s->fixed, (size_t)n * sizeof *all);
    for (const HyNode *x = job->first; x; x = x->next) {
        if (n == MAX_OVERRIDES) return err_set(err, "too many overrides");
        all[n++] = x->text;
    }
    s->options.multirun = false;
    s->options.num = num;
    s->options.overrides = all;
    s->options.n_overrides = n;
    return hy_compose(h, &s->options, err);
}

/* Fills cfg and the job's folder, sweep.dir/sweep.subdir. */
static int job_open(HyConfig *h, Config *cfg, const char *dir, char folder[PATH_MAX], Err *err)
{
    TRY(config_make(cfg, h, err));
    const char *subdir = hy_config_text(h, "hydra.sweep.subdir", err);
    return subdir ? path_join(folder, PATH_MAX, dir, subdir, err) : -1;
}

static int job_run(Sweeping *s, const HyNode *job, long num, bool check_only, Err *err)
{
    HyConfig h;
    Config cfg;
    char folder[PATH_MAX];
    int rc = job_compose(s, &h, job, num, err);
    if (rc == 0) rc = job_open(&h, &cfg, s->dir, folder, err);
    const char *idle = rc == 0 && num == 0 && !check_only ? config_idle(&h) : NULL;
    if (idle) log_info("ttt train: %s", idle);
    if (rc == 0 && !check_only)
        rc = s->slurm ? slurm_launch_add(s->slurm, &h, num, err)
                      : run(s->jobs, &h, &cfg, folder, err);
    hy_config_free(&h);
    return rc;
}

static void job_say(HyConfig *h, const HyNode *job, long num, long n)
{
    const char *line = "";
    for (const HyNode *x = job->first; x; x = x->next)
        line = hy_format(h->arena, "%s %s", line, x->text);
    char *shown = command_redact(line);
    log_info("ttt train: job %ld of %ld:%s", num + 1, n, shown);
    free(shown);
}

static int multirun_keep(Sweeping *s, Err *err)
{
    char path[PATH_MAX];
    const char *text = hydra_keep_text(s->master->arena, s->master->all);
    if (!text) return hy_check_size(s->master->arena, err);
    TRY(dir_make(s->dir, err));
    TRY(path_join(path, sizeof path, s->dir, "multirun.yaml", err));
    return file_write_atomic(path, text, strlen(text), err);
}

static int jobs_run(Sweeping *s, const HyNode *jobs, Err *err)
{
    char here[PATH_MAX];
    bool interrupted = false;
    long num = 0, n = hy_count(jobs);
    s->jobs->options.interrupted = &interrupted;
    if (!getcwd(here, sizeof here)) return file_error(err, "find", ".");
    for (const HyNode *job = jobs->first; job; job = job->next, num++) {
        job_say(s->master, job, num, n);
        if (job_run(s, job, num, false, err) < 0) {
            log_info("ttt train: job %ld failed: %s", num + 1, err->text);
            if (s->failed++ == 0) s->first = *err;
        }
        if (chdir(here) != 0) return file_error(err, "enter", here);
        if (!interrupted) continue;
        log_info("ttt train: the sweep stops here, %ld of %ld jobs to come; the same command with "
                 "hydra.sweep.dir=%s goes on",
                 n - num - 1, n, s->dir);
        break;
    }
    if (s->failed == 0) return 0;
    return err_set(err, "%d of %ld jobs failed; the first: %.1500s", s->failed, n, s->first.text);
}

static int jobs_submit(Sweeping *s, const HyNode *jobs, Err *err)
{
    long num = 0;
    for (const HyNode *job = jobs->first; job; job = job->next) {
        job_say(s->master, job, num, s->slurm->n);
        TRY(job_run(s, job, num++, false, err));
    }
    return slurm_launch_submit(s->slurm, err);
}

static int sweep_run(Sweeping *s, Err *err)
{
    long num = 0;
    bool to_slurm;
    SlurmLaunch slurm;
    const HyNode *jobs = hy_sweep(s->master, err);
    if (!jobs) return -1;
    TRY(slurm_launch_wanted(s->master, &to_slurm, err));
    TRY(fixed_take(s, err));
    s->dir = hy_config_text(s->master, "hydra.sweep.dir", err);
    if (!s->dir) return -1;
    if (to_slurm) {
        TRY(slurm_launch_open(&slurm, s->master, s->dir, hy_count(jobs), &s->jobs->options, err));
        s->slurm = &slurm;
    }
    for (const HyNode *job = jobs->first; job; job = job->next) /* before any of them starts */
        TRY(job_run(s, job, num++, true, err));
    TRY(multirun_keep(s, err));
    log_info("ttt train: %ld jobs, in %s", num, s->dir);
    return s->slurm ? jobs_submit(s, jobs, err) : jobs_run(s, jobs, err);
}

/* --- a job that was submitted ------------------------------------------------------------------*/

/* Does what its file says, as often as it is started. */
static int job_of_file(TrainJobs *jobs, HyConfig *h, Err *err)
{
    Config cfg;
    char folder[PATH_MAX];
    TRY(submitted_read(jobs->submitted, h, &jobs->options, err));
    if (jobs->job_id) hy_put(h->arena, h->hydra, "job.id", hy_new_text(h->arena, jobs->job_id));
    const char *dir = hy_config_text(h, "hydra.sweep.dir", err);
    if (!dir) return -1;
    TRY(job_open(h, &cfg, dir, folder, err));
    jobs->options.unattended = true;
    jobs->options.interrupted = &jobs->interrupted;
    return run(jobs, h, &cfg, folder, err);
}

static int run_submitted(TrainJobs *jobs, Err *err)
{
    HyConfig h;
    int rc = job_of_file(jobs, &h, err);
    hy_config_free(&h);
    return rc;
}

/* --- what is asked for -------------------------------------------------------------------------*/

static int ask(TrainJobs *jobs, HyConfig *h, const HyOptions *o, Err *err)
{
    if (hydra_flags_show(&jobs->hydra)) return hydra_show(h, &jobs->hydra, err);
    if (!jobs->hydra.multirun) return run_single(jobs, h, err);
    Sweeping *s = calloc(1, sizeof *s);
    mem_need(s, "a sweep");
    s->jobs = jobs;
    s->options = *o;
    s->master = h;
    int rc = sweep_run(s, err);
    free(s);
    return rc;
}

/* Composes; hydra.mode of the configuration asks for a sweep as -m does. */
static int compose(TrainJobs *jobs, HyConfig *h, HyOptions *o, Err *err)
{
    bool open = !jobs->hydra.multirun && !jobs->hydra.run && !hydra_flags_show(&jobs->hydra);
    o->multirun = open || jobs->hydra.multirun;
    TRY(hy_compose(h, o, err));
    if (!open || h->wants_multirun) {
        jobs->hydra.multirun = o->multirun;
        return 0;
    }
    hy_config_free(h);
    o->multirun = false;
    return hy_compose(h, o, err);
}

int train_jobs_run(TrainJobs *jobs, Err *err)
{
    if (jobs->submitted) return run_submitted(jobs, err);
    HyConfig h = {0};
    HydraPlace place;
    char *base = config_base();
    HyOptions o = config_options("", base, jobs->overrides, jobs->n_overrides);
    o.job = "train";
    int rc = hydra_place(&o, &place, &jobs->hydra, err);
    if (rc == 0) rc = compose(jobs, &h, &o, err);
    if (rc == 0) rc = ask(jobs, &h, &o, err);
    hy_config_free(&h);
    free(base);
    return rc;
}
