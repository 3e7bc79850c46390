/* Checkpoint folders, the log's cut on resume, the run's lock, which keys may change, and where a
 * NaN is found. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "paths.h"
#include "run/checkpoint.h"
#include "run/train_fault.h"
#include "run/train_folder.h"
#include "run/train_log.h"
#include "run/train_state.h"

static int temp_make(void **state)
{
    *state = malloc(PATH_MAX);
    return temp_folder(*state, PATH_MAX);
}

static int temp_remove(void **state)
{
    Err err;
    int status = dir_remove(*state, &err);
    free(*state);
    return status;
}

static void text_write(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    Err err;
    assert_int_equal(path_join(path, sizeof path, folder, name, &err), 0);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &err), 0);
}

/* A checkpoint with two files that say which step it is. */
static void step_write(const char *root, int64_t step)
{
    char folder[PATH_MAX], text[64];
    Err err;
    snprintf(text, sizeof text, "content of step %lld\n", (long long)step);
    assert_int_equal(checkpoint_begin(folder, root, &err), 0);
    text_write(folder, "state.json", text);
    text_write(folder, "model.safetensors", text);
    assert_int_equal(checkpoint_commit(root, step, &err), 0);
}

static char *step_file(const char *root, int64_t step, const char *name)
{
    static char path[PATH_MAX];
    char folder[PATH_MAX];
    Err err;
    assert_int_equal(checkpoint_path(folder, root, step, &err), 0);
    assert_int_equal(path_join(path, sizeof path, folder, name, &err), 0);
    return path;
}

static void byte_flip(const char *path)
{
    int fd = open(path, O_RDWR);
    char byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 3), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 3), 1);
    close(fd);
}

static void count_skipped(void *context, const char *folder, const char *why)
{
    assert_non_null(strstr(why, folder));
    ++*(int *)context;
}

static int64_t newest(const char *root, int *skipped)
{
    int64_t step = -1;
    Err err;
    *skipped = 0;
    int found = checkpoint_find(&step, root, -1, count_skipped, skipped, &err);
    assert_true(found >= 0);
    return found ? step : -1;
}

static void newest_whole_is_found(void **state)
{
    const char *root = *state;
    int skipped;
    Err err;
    assert_int_equal(newest(root, &skipped), -1);
    step_write(root, 5);
    step_write(root, 10);
    step_write(root, 100000000);
    assert_int_equal(newest(root, &skipped), 100000000);
    assert_int_equal(skipped, 0);
    int64_t step;
    assert_int_equal(checkpoint_find(&step, root, 5, NULL, NULL, &err), 1);
    assert_int_equal(step, 5);
    assert_int_equal(checkpoint_find(&step, root, 6, NULL, NULL, &err), 0);
}

static void damaged_ones_are_passed_over(void **state)
{
    const char *root = *state;
    int skipped;
    for (int64_t step = 1; step <= 6; step++) step_write(root, step);
    assert_int_equal(truncate(step_file(root, 6, "model.safetensors"), 5), 0);
    assert_int_equal(newest(root, &skipped), 5);
    byte_flip(step_file(root, 5, "state.json"));
    assert_int_equal(newest(root, &skipped), 4);
    assert_int_equal(unlink(step_file(root, 4, "COMPLETE")), 0);
    assert_int_equal(newest(root, &skipped), 3);
    assert_int_equal(truncate(step_file(root, 3, "COMPLETE"), 0), 0);
    assert_int_equal(newest(root, &skipped), 2);
    assert_int_equal(unlink(step_file(root, 2, "state.json")), 0);
    assert_int_equal(newest(root, &skipped), 1);
    assert_int_equal(skipped, 5);
    assert_int_equal(truncate(step_file(root, 1, "COMPLETE"), 70), 0);
    assert_int_equal(newest(root, &skipped), -1);
    assert_int_equal(skipped, 6);
}

static void unfinished_write_is_invisible(void **state)
{
    const char *root = *state;
    char folder[PATH_MAX];
    int skipped;
    Err err;
    step_write(root, 7);
    assert_int_equal(checkpoint_begin(folder, root, &err), 0);
    text_write(folder, "model.safetensors", "half");
    assert_int_equal(newest(root, &skipped), 7);
    assert_int_equal(skipped, 0);
    /* The next one starts from an empty folder, not from what the killed process left. */
    assert_int_equal(checkpoint_begin(folder, root, &err), 0);
    text_write(folder, "state.json", "8");
    assert_int_equal(checkpoint_commit(root, 8, &err), 0);
    assert_false(file_exists(step_file(root, 8, "model.safetensors")));
    assert_int_equal(newest(root, &skipped), 8);
}

static void invalid_ones_are_set_aside_and_replaced(void **state)
{
    const char *root = *state;
    int skipped;
    Err err;
    step_write(root, 1);
    step_write(root, 2);
    byte_flip(step_file(root, 2, "state.json"));
    assert_int_equal(checkpoint_set_aside(root, 1, &err), 0);
    assert_int_equal(newest(root, &skipped), 1);
    assert_int_equal(skipped, 0);
    step_write(root, 2);
    step_write(root, 2);
    assert_int_equal(newest(root, &skipped), 2);
}

static void prune_keeps_the_newest_and_milestones(void **state)
{
    const char *root = *state;
    static const int64_t expected[] = {20, 40, 44, 46};
    Err err;
    for (int64_t step = 2; step <= 46; step += 2) step_write(root, step);
    step_write(root, 45); /* an interruption's */
    assert_int_equal(checkpoint_prune(root, 2, &err), 0);
    int64_t *steps, n = checkpoint_list(&steps, root, &err);
    assert_int_equal(n, 4);
    assert_int_equal(steps[2], 45);
    step_write(root, 44);
    assert_int_equal(unlink(step_file(root, 45, "COMPLETE")), 0);
    free(steps);
    assert_int_equal(checkpoint_prune(root, 2, &err), 0);
    n = checkpoint_list(&steps, root, &err);
    assert_int_equal(n, 4);
    assert_int_equal(steps[0], expected[0]);
    assert_int_equal(steps[1], expected[1]);
    assert_int_equal(steps[3], expected[3]);
    free(steps);
}

static void log_is_cut_to_the_step(void **state)
{
    char path[PATH_MAX];
    Err err;
    TrainLog *log;
    RunSummary summary;
    assert_int_equal(path_join(path, sizeof path, *state, "log.jsonl", &err), 0);
    assert_int_equal(train_log_open(&log, *state, 0, &err), 0);
    for (int64_t step = 1; step <= 30; step++) {
        StepRecord r = {.step = step,
                        .loss = 100 - (double)step,
                        .tokens_per_second = (double)step,
                        .seconds = 0.5};
        train_log_step(log, &r);
    }
    train_log_close(log);
    FILE *file = fopen(path, "a");
    fputs("{\"step\": 31, \"lo", file);
    fclose(file);
    assert_int_equal(train_log_open(&log, *state, 20, &err), 0);
    StepRecord again = {.step = 21, .loss = 7, .tokens_per_second = 21, .seconds = 0.5};
    train_log_step(log, &again);
    train_log_close(log);
    assert_int_equal(train_log_summary(&summary, *state, &err), 0);
    assert_int_equal(summary.steps, 21);
    assert_float_equal(summary.first_loss, 99, 1e-12);
    assert_float_equal(summary.last_loss, 7, 1e-12);
    /* Steps 12 to 20 lose 88 to 80, step 21 loses 7. */
    assert_float_equal(summary.last10_loss, (9 * 84.0 + 7) / 10, 1e-9);
    assert_float_equal(summary.tokens_per_second, 11, 1e-12);
    assert_float_equal(summary.seconds, 10.5, 1e-12);
}

static void config_of(Config *c, const char *folder)
{
    config_defaults(c);
    snprintf(c->training.exp_dir, sizeof c->training.exp_dir, "%s", folder);
    snprintf(c->training.exp_folder, sizeof c->training.exp_folder, "family");
    snprintf(c->training.exp_name, sizeof c->training.exp_name, "run");
}

static void one_trainer_per_folder(void **state)
{
    Config c;
    TrainFolder first, second;
    char text[64];
    Err err;
    config_of(&c, *state);
    assert_int_equal(train_folder_open(&first, &c.training, false, &err), 0);
    assert_non_null(strstr(first.checkpoints, "/family/run/checkpoints"));
    /* flock belongs to the open file, so this process can play the second trainer too. */
    assert_int_equal(train_folder_open(&second, &c.training, false, &err), -1);
    snprintf(text, sizeof text, "process %ld ", (long)getpid());
    assert_non_null(strstr(err.text, text));
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(train_folder_open(&second, &c.training, true, &err), -1);
    train_folder_close(&first);
    assert_int_equal(train_folder_open(&second, &c.training, false, &err), 0);
    train_folder_close(&second);
}

static void fresh_moves_the_old_run(void **state)
{
    Config c;
    TrainFolder f;
    char path[PATH_MAX];
    Err err;
    config_of(&c, *state);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(train_folder_open(&f, &c.training, true, &err), 0);
        assert_int_equal(path_join(path, sizeof path, f.run, "mark", &err), 0);
        assert_false(file_exists(path));
        text_write(f.run, "mark", "x");
        train_folder_close(&f);
    }
    assert_int_equal(path_join(path, sizeof path, *state, "family/run.old-2/mark", &err), 0);
    assert_true(file_exists(path));
}

static void checkpoints_may_live_elsewhere(void **state)
{
    Config c;
    TrainFolder f, g;
    char other[PATH_MAX];
    Err err;
    config_of(&c, *state);
    snprintf(c.training.checkpoint_path, sizeof c.training.checkpoint_path, "%s/big",
             (const char *)*state);
    assert_int_equal(train_folder_open(&f, &c.training, false, &err), 0);
    assert_non_null(strstr(f.checkpoints, "/big/family/run"));
    /* Another run folder, the same checkpoints. */
    snprintf(c.training.exp_dir, sizeof c.training.exp_dir, "%s/x", (const char *)*state);
    assert_int_equal(train_folder_open(&g, &c.training, false, &err), -1);
    train_folder_close(&g);
    train_folder_close(&f);
    assert_int_equal(train_folder_checkpoints(other, &c.training, "their/first", &err), 0);
    assert_non_null(strstr(other, "/big/their/first"));
}

static void folder_replaces_another(void **state)
{
    char from[PATH_MAX], to[PATH_MAX], path[PATH_MAX];
    Err err;
    assert_int_equal(path_join(to, sizeof to, *state, "model", &err), 0);
    assert_int_equal(path_join(from, sizeof from, *state, ".writing", &err), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(dir_make(from, &err), 0);
        text_write(from, round ? "new" : "old", "x");
        assert_int_equal(folder_replace(from, to, &err), 0);
        assert_false(dir_exists(from));
    }
    assert_int_equal(path_join(path, sizeof path, to, "new", &err), 0);
    assert_true(file_exists(path));
    assert_int_equal(path_join(path, sizeof path, to, "old", &err), 0);
    assert_false(file_exists(path));
}

static void changed_keys_are_named(void **state)
{
    static const struct {
        const char *key, *value;
        bool free;
    } cases[] = {
        {"training.total_steps", "9", true},
        {"training.break_step", "9", true},
        {"training.save_milestone_freq", "9", true},
        {"training.dataset_path", "elsewhere", true},
        {"training.exp_dir", "elsewhere", true},
        {"model.hidden_size", "384", false},
        {"model.compute_dtype", "bf16", false},
        {"training.seq_length", "77", false},
        {"training.global_batch_size", "3", false},
        {"training.accum_steps", "4", false},
        {"training.model_seed", "5", false},
        {"training.data_seed", "5", false},
        {"training.data_split", "val", false},
        {"training.train_mode", "meta", false},
        {"training.spec_inner", "['**.w1']", false},
        {"training.spec_outer", "['**.w1']", false},
        {"training.ilr_init", "0.5", false},
        {"training.optimizer_outer.lr", "0.5", false},
        {"training.optimizer_inner.clip_gradient", "0.5", false},
    };
    Config saved, now;
    Err err;
    (void)state;
    config_defaults(&saved);
    assert_int_equal(train_config_same(&saved, &saved, "F", &err), 0);
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        now = saved;
        assert_int_equal(config_set(&now, cases[i].key, cases[i].value, "test", &err), 0);
        int status = train_config_same(&saved, &now, "FOLDER", &err);
        assert_int_equal(status, cases[i].free ? 0 : -1);
        if (cases[i].free) continue;
        char was[CFG_PATH];
        assert_int_equal(config_get(&saved, cases[i].key, was, sizeof was), 0);
        assert_non_null(strstr(err.text, cases[i].key));
        assert_non_null(strstr(err.text, was));
        assert_non_null(strstr(err.text, "FOLDER"));
    }
}

/* A small model, whose weights do not matter. */
static Model *model_small(Backend **be, bool meta)
{
    static const char *const keys[][2] = {
        {"model.num_hidden_layers", "3"},
        {"model.hidden_size", "16"},
        {"model.num_attention_heads", "2"},
        {"model.intermediate_size", "24"},
        {"model.vocab_size", "40"},
        {"model.output_size", "40"},
        {"model.suffix_len", "1"},
        {"model.prime", "true"},
        {"model.seq_modeling_block", "SWA"},
        {"training.spec_inner", "['language_model.**.feed_forward_prime.**']"},
        {"training.optimizer_inner.lr", "0.75"}};
    Config c;
    Model *m;
    Err err;
    config_defaults(&c);
    for (int i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(config_set(&c, keys[i][0], keys[i][1], "test", &err), 0);
    c.training.train_mode = meta ? TRAIN_META : TRAIN_PRETRAIN;
    assert_int_equal(backend_open(be, &(BackendOptions){.threads = 1}, &err), 0);
    assert_int_equal(model_create(&m, *be, &c, &err), 0);
    return m;
}

static void fault_names_the_chunk(void **state)
{
    double losses[] = {1, 2, 3, 1, NAN, INFINITY}; /* (2, 3) */
    (void)state;
    for (int meta = 0; meta < 2; meta++) {
        Backend *be;
        Err err;
        Model *m = model_small(&be, meta);
        assert_int_equal(train_fault_loss(m, losses, 2, 3, 17, &err), -1);
        assert_non_null(strstr(err.text, "step 17: the loss of chunk 1 of sequence 1 is NaN; "));
        const char *inner = strstr(err.text, "training.optimizer_inner.lr (now 0.75)");
        assert_int_equal(inner != NULL, meta);
        assert_non_null(strstr(err.text, "training.optimizer_outer.lr (now 0.01)"));
        model_free(m);
        backend_close(be);
    }
}

static void fault_names_the_tensor(void **state)
{
    Backend *be;
    Err err;
    (void)state;
    Model *m = model_small(&be, true);
    const ParamEntry *e = &m->table.entry[P_W2];
    size_t n = m->table.size;
    real *host = calloc(n, sizeof *host), *gradient = backend_alloc(be, n);
    host[e->offset + 2 * e->layer_size - 1] = (real)-1e30;
    backend_upload(be, gradient, host, n);
    assert_int_equal(train_fault_gradient(m, gradient, host, INFINITY, 3, &err), -1);
    assert_non_null(strstr(err.text, "step 3: the norm of the gradient is infinite"));
    assert_non_null(strstr(err.text, "feed_forward.w2.weight, layer 1; lower"));
    host[e->offset + 2 * e->layer_size] = NAN;
    backend_upload(be, gradient, host, n);
    assert_int_equal(train_fault_gradient(m, gradient, host, NAN, 3, &err), -1);
    assert_non_null(strstr(err.text, "feed_forward.w2.weight, layer 2 is NaN; lower"));
    backend_free(be, gradient, n);
    free(host);
    model_free(m);
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(newest_whole_is_found, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(damaged_ones_are_passed_over, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(unfinished_write_is_invisible, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(invalid_ones_are_set_aside_and_replaced, temp_make,
                                        temp_remove),
        cmocka_unit_test_setup_teardown(prune_keeps_the_newest_and_milestones, temp_make,
                                        temp_remove),
        cmocka_unit_test_setup_teardown(log_is_cut_to_the_step, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(one_trainer_per_folder, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(fresh_moves_the_old_run, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(checkpoints_may_live_elsewhere, temp_make, temp_remove),
        cmocka_unit_test_setup_teardown(folder_replaces_another, temp_make, temp_remove),
        cmocka_unit_test(changed_keys_are_named),
        cmocka_unit_test(fault_names_the_chunk),
        cmocka_unit_test(fault_names_the_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
