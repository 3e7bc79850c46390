/* The script for sbatch that hydra.launcher becomes, and the files of submitted jobs; no Slurm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/slurm_script.h"
#include "cli/submitted.h"
#include "hydra/load.h"
#include "hydra/source.h"
#include "paths.h"

enum { MAX_DOC = 1 << 20 };

static const char usual[] = "submitit_folder: /s/.submitit/%j\n"
                            "timeout_min: 60\n"
                            "tasks_per_node: 1\n"
                            "nodes: 1\n"
                            "name: train\n"
                            "stderr_to_stdout: false\n"
                            "signal_delay_s: 120\n"
                            "max_num_timeout: 0\n"
                            "additional_parameters: {}\n"
                            "array_parallelism: 256\n";

/* The usual launcher with other values for some keys, given as YAML. */
static HyNode *launcher(HyArena *a, const char *more)
{
    Err err;
    HyNode *node = hy_load_text(a, usual, strlen(usual), "usual", &err);
    HyNode *changes = hy_load_text(a, more, strlen(more), "more", &err);
    assert_non_null(node);
    if (!changes) fail_msg("%s", err.text);
    for (HyNode *x = changes->first, *next; x; x = next) {
        next = x->next;
        hy_set(node, HY_TEXT, x->key, hy_copy(a, x));
    }
    return node;
}

static const char *script(HyArena *a, const char *more, long n, Err *err)
{
    SlurmPlace place = {.program = "/bin/it's ttt", .cwd = "/here", .jobs = "/s/50%/jobs", .n = n};
    return slurm_script(a, launcher(a, more), &place, err);
}

static void expect_line(const char *more, long n, const char *line)
{
    Err err = {""};
    HyArena *a = hy_arena_new();
    const char *text = script(a, more, n, &err);
    if (!text) fail_msg("%s: %s", more, err.text);
    if (!strstr(text, hy_format(a, "\n%s\n", line)))
        fail_msg("%s: no '%s' in\n%s", more, line, text);
    hy_arena_free(a);
}

static void expect_refusal(const char *more, const char *words)
{
    Err err = {""};
    HyArena *a = hy_arena_new();
    const char *text = script(a, more, 1, &err);
    if (text) fail_msg("accepted: %s\n%s", more, text);
    if (!strstr(err.text, words)) fail_msg("%s: '%s' lacks '%s'", more, err.text, words);
    assert_null(strpbrk(err.text, "\r\n"));
    hy_arena_free(a);
}

static void each_key_becomes_its_option(void **state)
{
    (void)state;
    expect_line("timeout_min: 90", 1, "#SBATCH --time=90");
    expect_line("cpus_per_task: 8", 1, "#SBATCH --cpus-per-task=8");
    expect_line("gpus_per_node: 2", 1, "#SBATCH --gpus-per-node=2");
    expect_line("", 1, "#SBATCH --ntasks-per-node=1");
    expect_line("", 1, "#SBATCH --nodes=1");
    expect_line("mem_gb: 16", 1, "#SBATCH --mem=16G");
    expect_line("name: mine", 1, "#SBATCH --job-name='mine'");
    expect_line("partition: p,q", 1, "#SBATCH --partition='p,q'");
    expect_line("qos: high", 1, "#SBATCH --qos='high'");
    expect_line("constraint: a&b", 1, "#SBATCH --constraint='a&b'");
    expect_line("exclude: n[1-3]", 1, "#SBATCH --exclude='n[1-3]'");
    expect_line("gres: gpu:1", 1, "#SBATCH --gres='gpu:1'");
    expect_line("cpus_per_gpu: 3", 1, "#SBATCH --cpus-per-gpu=3");
    expect_line("gpus_per_task: 1", 1, "#SBATCH --gpus-per-task=1");
    expect_line("mem_per_gpu: 4G", 1, "#SBATCH --mem-per-gpu='4G'");
    expect_line("mem_per_cpu: 400", 1, "#SBATCH --mem-per-cpu='400'");
    expect_line("account: us", 1, "#SBATCH --account='us'");
    expect_line("signal_delay_s: 300", 1, "#SBATCH --signal=USR2@300");
    expect_line("additional_parameters: {mail_type: END, exclusive: true}", 1,
                "#SBATCH --mail-type='END'\n#SBATCH --exclusive");
    expect_line("", 1, "#SBATCH --requeue\n#SBATCH --open-mode=append");
    expect_line("", 1, "#SBATCH --output='/s/50%%/jobs/slurm.log'\n#SBATCH --chdir='/here'");
}

static void a_sweep_is_an_array(void **state)
{
    (void)state;
    Err err;
    HyArena *a = hy_arena_new();
    expect_line("", 4, "#SBATCH --array=0-3%4");
    expect_line("array_parallelism: 2", 4, "#SBATCH --array=0-3%2");
    expect_line("", 4, "ttt_id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID");
    expect_line("", 1, "ttt_id=$SLURM_JOB_ID");
    assert_null(strstr(script(a, "array_parallelism: 2", 1, &err), "array"));
    hy_arena_free(a);
}

static void texts_are_quoted(void **state)
{
    (void)state;
    expect_line("comment: it's \\x \"q\" # $(rm) `y`", 1,
                "#SBATCH --comment='it\\'s \\\\x \"q\"'"); /* YAML's own comment ends there */
    expect_line("comment: \"# $(rm) `y`\"", 1, "#SBATCH --comment='# $(rm) `y`'");
    expect_line("", 1, "ttt_program='/bin/it'\\''s ttt'");
    expect_line("submitit_folder: /a 'b'/$(c)/%j/d%j", 1,
                "ttt_log='/a '\\''b'\\''/$(c)/'\"$ttt_id\"'/d'\"$ttt_id\"''");
    expect_line("setup: [module load x, 'echo \"$HOME\"']", 1,
                "# setup\nmodule load x\necho \"$HOME\"\n\n# command");
    expect_line("stderr_to_stdout: true", 1, "exec >>\"$ttt_log.out\" 2>>\"$ttt_log.out\"");
}

static void bad_values_name_their_key(void **state)
{
    (void)state;
    expect_refusal("nodes: 2", "hydra.launcher.nodes = 2: one run is one process");
    expect_refusal("tasks_per_node: 8", "hydra.launcher.tasks_per_node = 8: one run is");
    expect_refusal("nodes: 0", "hydra.launcher.nodes = 0 is below 1");
    expect_refusal("timeout_min: soon", "hydra.launcher.timeout_min takes an integer");
    expect_refusal("timeout_min: 1.5", "hydra.launcher.timeout_min takes an integer");
    expect_refusal("timeout_min: 99999999999999999999", "hydra.launcher.timeout_min");
    expect_refusal("timeout_min: null", "hydra.launcher.timeout_min is null");
    expect_refusal("signal_delay_s: 70000", "hydra.launcher.signal_delay_s = 70000: sbatch takes");
    expect_refusal("partition: ???", "hydra.launcher.partition is ???");
    expect_refusal("partition: [a]", "hydra.launcher.partition takes a text");
    expect_refusal("partition: ''", "hydra.launcher.partition is empty");
    expect_refusal("comment: \"a\\n#SBATCH --uid=0\"", "hydra.launcher.comment holds a line end");
    expect_refusal("name: \"a\\rb\"", "hydra.launcher.name holds a line end");
    expect_refusal("submitit_folder: \"/a\\n/%j\"", "hydra.launcher.submitit_folder holds");
    expect_refusal("mem_gb: all", "hydra.launcher.mem_gb takes an integer");
    expect_refusal("mem_gb: 0", "hydra.launcher.mem_gb = 0 is below 1");
    expect_refusal("stderr_to_stdout: 3", "hydra.launcher.stderr_to_stdout takes true or false");
    expect_refusal("setup: module load", "hydra.launcher.setup takes a list");
    expect_refusal("setup: [[a]]", "hydra.launcher.setup takes a list");
    expect_refusal("partitoin: x", "did you mean 'partition'");
    expect_refusal("zzzzzz: x", "hydra.launcher.additional_parameters");
    expect_refusal("additional_parameters: 3", "additional_parameters takes a map");
    expect_refusal("additional_parameters: {time: 3}", "there is hydra.launcher.timeout_min");
    expect_refusal("additional_parameters: {job_name: 3}", "there is hydra.launcher.name");
    expect_refusal("additional_parameters: {array: 1-3}",
                   "there is hydra.launcher.array_parallelism");
    expect_refusal("additional_parameters: {open_mode: x}", "is made by the launcher");
    expect_refusal("additional_parameters: {'a b': 3}", "'a b' is no option");
    expect_refusal("additional_parameters: {-x: 3}", "'-x' is no option");
    expect_refusal("additional_parameters: {\"a\\n#SBATCH\": 3}", "is no option");
    expect_refusal("additional_parameters: {x: [1]}", "additional_parameters.x takes");
    expect_refusal("additional_parameters: {x: false}", "additional_parameters.x takes");
    expect_refusal("additional_parameters: {x: \"a\\nb\"}", "additional_parameters.x holds");
}

static void the_folder_before_the_id_is_shared(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"/s/.submitit/%j", "/s/.submitit"},
                                           {"/s/a%j/b", "/s"},
                                           {"%j", "."},
                                           {"/%j", "/"},
                                           {"/s/t/", "/s/t"},
                                           {"s", "s"}};
    Err err;
    HyArena *a = hy_arena_new();
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        HyNode *l = launcher(a, hy_format(a, "submitit_folder: '%s'", cases[i][0]));
        const char *folder = slurm_folder(a, l, &err);
        assert_non_null(folder);
        assert_string_equal(folder, cases[i][1]);
    }
    assert_null(slurm_folder(a, launcher(a, "submitit_folder: x/%A"), &err));
    assert_null(slurm_folder(a, launcher(a, "submitit_folder: null"), &err));
    hy_arena_free(a);
}

static void keys_without_effect_are_named(void **state)
{
    (void)state;
    HyArena *a = hy_arena_new();
    assert_null(slurm_note(a, launcher(a, "cpus_per_task: 2")));
    const char *note = slurm_note(a, launcher(a, "gpus_per_task: 1\nmem_per_gpu: 4G"));
    assert_non_null(note);
    assert_non_null(strstr(note, "hydra.launcher.gpus_per_task, hydra.launcher.mem_per_gpu: asks"));
    hy_arena_free(a);
}

/* The defaults of hydra/launcher=submitit_slurm and the table are the same keys. */
static void the_table_has_the_keys_of_the_launcher(void **state)
{
    (void)state;
    int n, n_keys;
    Err err;
    HyArena *a = hy_arena_new();
    const HyBuiltin *all = hy_builtins(&n);
    const SlurmKey *keys = slurm_keys(&n_keys);
    while (n > 0 && strcmp(all[n - 1].name, "hydra/launcher/submitit_slurm") != 0) n--;
    assert_true(n > 0);
    HyNode *node = hy_load_text(a, all[n - 1].text, strlen(all[n - 1].text), "builtin", &err);
    assert_non_null(node);
    const HyNode *x = node->first;
    assert_string_equal(x->key, "_target_");
    for (int i = 0; i < n_keys; i++) {
        x = x->next;
        assert_non_null(x);
        assert_string_equal(x->key, keys[i].name);
        assert_int_equal(x->kind == HY_NULL, !keys[i].required);
    }
    assert_null(x->next);
    hy_arena_free(a);
}

static void the_page_has_a_row_for_each_key(void **state)
{
    (void)state;
    int n;
    char row[256], *text;
    size_t size;
    Err err;
    const SlurmKey *keys = slurm_keys(&n);
    if (file_read(source_file("docs/slurm.md"), &text, &size, MAX_DOC, &err) < 0)
        fail_msg("%s", err.text);
    for (int i = 0; i < n; i++) {
        const char *option = keys[i].option;
        snprintf(row, sizeof row, "| `%s` | %s%s%s | %s |", keys[i].name, option ? "`--" : "",
                 option ? option : "", option ? "`" : "", keys[i].meaning);
        if (!strstr(text, row)) fail_msg("docs/slurm.md lacks: %s", row);
    }
    free(text);
}

/* --- submitted jobs ----------------------------------------------------------------------------*/

static void a_job_comes_back_from_its_file(void **state)
{
    (void)state;
    static const char tree[] = "a: ${b.c}\nb: {c: 1e-3, training: {wandb_key: SECRET}}\n"
                               "hydra: {overrides: {task: ['x=${nowhere}']}, job: {id: '3'}}\n";
    char path[] = "/tmp/test_slurm.XXXXXX";
    Err err;
    HyConfig h = {.arena = hy_arena_new(), .now = 1700000000}, back;
    TrainOptions options = {.threads = 3, .max_sequences = 5}, got = {0};
    assert_true(mkstemp(path) >= 0);
    h.all = hy_load_text(h.arena, tree, strlen(tree), "tree", &err);
    assert_int_equal(submitted_write(path, &h, &options, &err), 0);
    assert_int_equal(submitted_read(path, &back, &got, &err), 0);
    assert_int_equal(got.threads, 3);
    assert_int_equal(got.max_sequences, 5);
    assert_int_equal(back.now, 1700000000);
    assert_string_equal(hy_config_text(&back, "a", &err), "0.001");
    assert_string_equal(hy_config_text(&back, "hydra.job.id", &err), "3");
    assert_string_equal(hy_find(back.all, "b.training.wandb_key")->text, "***");
    assert_null(hy_get(back.job, "hydra"));
    assert_false(hy_is_reference(hy_find(back.hydra, "overrides.task")->first));
    hy_config_free(&back);
    hy_config_free(&h);
    unlink(path);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "- a",
        "x",
        "a: [",
        "config: {hydra: {}}",
        "submitted: 1\nthreads: 1\nmax_sequences: 1",
        "submitted: 1\nthreads: 1\nmax_sequences: 1\nconfig: 3",
        "submitted: 1\nthreads: 1\nmax_sequences: 1\nconfig: {a: 1}",
        "submitted: 1\nthreads: -1\nmax_sequences: 1\nconfig: {hydra: {}}",
        "submitted: 1\nthreads: many\nmax_sequences: 1\nconfig: {hydra: {}}",
        "submitted: 1\nthreads: 99999999999999999999\nmax_sequences: 1\nconfig: {hydra: {}}",
        "submitted: 1\nthreads: 1\nmax_sequences: 1\nconfig: {hydra: 3}",
    };
    for (int i = 0; i < ARRAY_LEN(bad); i++) {
        Err err = {""};
        HyConfig h;
        TrainOptions options = {0};
        if (submitted_parse(bad[i], strlen(bad[i]), "F", &h, &options, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(err.text, "F"));
        assert_null(strpbrk(err.text, "\r\n"));
        hy_config_free(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_becomes_its_option),
        cmocka_unit_test(a_sweep_is_an_array),
        cmocka_unit_test(texts_are_quoted),
        cmocka_unit_test(bad_values_name_their_key),
        cmocka_unit_test(the_folder_before_the_id_is_shared),
        cmocka_unit_test(keys_without_effect_are_named),
        cmocka_unit_test(the_table_has_the_keys_of_the_launcher),
        cmocka_unit_test(the_page_has_a_row_for_each_key),
        cmocka_unit_test(a_job_comes_back_from_its_file),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
