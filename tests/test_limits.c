/* Where memory ends, or a mapped file does: an error of the library, which goes on when there is
 * memory again; one line and status 1 of the program. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "api_fixture.h"
#include "base/mem.h"
#include "base/safetensors.h"
#include "cli/mapped_fault.h"

#ifdef SANITIZED
enum { SANITIZER = true }; /* its shadow memory is beyond any limit */
#else
enum { SANITIZER = false };
#endif

static size_t address_space(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* This process may take so many bytes more; SIZE_MAX: as many as there are. */
static void limit_to(size_t more)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_AS, &l), 0);
    l.rlim_cur = more == SIZE_MAX ? l.rlim_max : address_space() + more;
    assert_int_equal(setrlimit(RLIMIT_AS, &l), 0);
}

static void a_limit_counts_as_memory(void **state)
{
    (void)state;
    enum { MORE = 64 << 20 };
    Err err;
    if (SANITIZER) skip();
    limit_to(MORE);
    size_t left = mem_available();
    void *p = mem_try(2 * (size_t)MORE, "a test", &err);
    limit_to(SIZE_MAX);
    assert_null(p);
    assert_in_range(left, MORE / 2, MORE);
    assert_non_null(strstr(err.text, "no memory for a test: 134.2 MB wanted"));
    assert_non_null(strstr(err.text, "ulimit -v"));
    assert_true(mem_available() > 2 * (size_t)MORE);
}

static void the_library_returns_an_error_and_goes_on(void **state)
{
    const Fixture *f = *state;
    char why[3][TTT_ERROR_MAX] = {{0}}, path[PATH_MAX];
    ttt_reader *r = NULL, *copy = NULL;
    ttt_model *m = NULL;
    if (SANITIZER) skip();
    path_in(f, "meta", path);
    limit_to(1 << 20);
    int opened = ttt_model_open(&m, path, &one_thread, why[0]);
    int made = ttt_reader_new(&r, f->meta, NULL, why[1]);
    limit_to(SIZE_MAX);
    assert_int_equal(opened, -1);
    assert_int_equal(made, -1);
    assert_true(!m && !r);
    assert_non_null(strstr(why[0], "no memory for"));
    assert_non_null(strstr(why[1], "no memory for"));
    r = reader_make(f->meta, NULL);
    feed(r, f->tokens, 20, NULL);
    limit_to(1 << 20);
    int cloned = ttt_reader_clone(&copy, r, why[2]);
    limit_to(SIZE_MAX);
    assert_int_equal(cloned, -1);
    assert_null(copy);
    assert_non_null(strstr(why[2], "no memory for"));
    feed(r, f->tokens + 20, 20, NULL);
    ttt_reader_free(r);
}

/* Side by side they need a larger room: without it no token is read, and one alone goes on. */
static void readers_without_room_stay_as_they_are(void **state)
{
    const Fixture *f = *state;
    enum { MANY = 4 };
    ttt_reader *r[MANY], *alone;
    int32_t next[MANY] = {1, 2, 3, 4};
    double nll[8], expected[8];
    if (SANITIZER) skip();
    for (int i = 0; i < MANY; i++) {
        r[i] = reader_make(f->other, NULL);
        feed(r[i], f->tokens, 8, NULL);
    }
    limit_to(1 << 20);
    int status = ttt_feed_each(r, MANY, next);
    limit_to(SIZE_MAX);
    assert_int_equal(status, -1);
    assert_non_null(strstr(ttt_error(r[0]), "no memory for"));
    assert_int_equal(describe(r[0]).tokens, 8);
    feed(r[0], f->tokens + 8, 8, nll);
    alone = reader_make(f->other, NULL);
    feed_in_pieces(alone, f->tokens, 8, 8, NULL);
    feed(alone, f->tokens + 8, 8, expected);
    assert_memory_equal(nll, expected, sizeof nll);
    assert_int_equal(ttt_feed_each(r + 1, MANY - 1, next), 0);
    for (int i = 0; i < MANY; i++) ttt_reader_free(r[i]);
    ttt_reader_free(alone);
}

/* Runs it in a process of its own; what it says is in said. */
static int status_of(void (*run)(const char *), const char *path, char said[4096])
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        signal(SIGBUS, SIG_DFL); /* the test library has taken it */
        run(path);
        _exit(77);
    }
    close(ends[1]);
    ssize_t n, used = 0;
    while ((n = read(ends[0], said + used, (size_t)(4095 - used))) > 0) used += n;
    said[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void ask_for_too_much(const char *path)
{
    mem_need(false, "the log %s", path);
}

static void small_things_end_the_program_with_one_line(void **state)
{
    (void)state;
    char said[4096];
    int status = status_of(ask_for_too_much, "a\nb", said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_ptr_equal(strstr(said, "ttt: no memory for the log a?b: "), said);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void write_long(const char *path)
{
    enum { LONG = 1 << 18 };
    Err err;
    float *values = calloc(LONG, sizeof *values);
    const StTensor t = {"a", ST_F32, 1, {LONG}, LONG, values};
    if (st_write(path, &t, 1, NULL, 0, &err) < 0) fail_msg("%s", err.text);
    free(values);
}

static void read_what_is_cut(const char *path)
{
    Err err;
    StFile *file;
    if (st_open(&file, path, &err) < 0 || truncate(path, 8192) != 0) return;
    const StTensor *t = st_find(file, "a");
    volatile float last = ((const float *)t->data)[t->n_elements - 1];
    (void)last;
}

static void read_as_the_program(const char *path)
{
    mapped_fault_watch();
    read_what_is_cut(path);
}

static void a_mapped_file_that_is_cut_is_named(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], said[4096];
    path_in(f, "long.safetensors", path);
    write_long(path);
    int status = status_of(read_as_the_program, path, said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_ptr_equal(strstr(said, "ttt: "), said);
    assert_ptr_equal(strstr(said, path), said + 5);
    assert_non_null(strstr(said, " was cut short"));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void fault_without_a_file(const char *path)
{
    (void)path;
    mapped_fault_watch();
    raise(SIGBUS);
    raise(SIGBUS);
}

/* A library leaves signals alone, and a fault that is no file's ends the program as ever. */
static void other_faults_stay_what_they_are(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], said[4096];
    if (SANITIZER) skip(); /* it has a handler of their own */
    path_in(f, "long.safetensors", path);
    write_long(path);
    int status = status_of(read_what_is_cut, path, said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_of(fault_without_a_file, path, said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_counts_as_memory),
        cmocka_unit_test(the_library_returns_an_error_and_goes_on),
        cmocka_unit_test(readers_without_room_stay_as_they_are),
        cmocka_unit_test(small_things_end_the_program_with_one_line),
        cmocka_unit_test(a_mapped_file_that_is_cut_is_named),
        cmocka_unit_test(other_faults_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
