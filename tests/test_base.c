/* The base level: files and folders, logs, progress, arrays, random numbers, names, SHA-256,
 * memory. (safetensors has its own program.) */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/names.h"
#include "base/npy.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "own_folder.h"

static void assert_content(const char *path, const char *want)
{
    Err err;
    char *data;
    size_t size;
    assert_int_equal(file_read(path, &data, &size, 1 << 20, &err), 0);
    assert_string_equal(data, want);
    assert_int_equal(size, strlen(want));
    free(data);
}

static void assert_error(const Err *err, const char *part)
{
    if (!strstr(err->text, part)) fail_msg("'%s' is not in '%s'", part, err->text);
    assert_null(strchr(err->text, '\n'));
}

static int n_entries(const char *folder)
{
    int n = -2; /* "." and ".." */
    DIR *dir = opendir(folder);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

static void test_file_round_trip(void **state)
{
    (void)state;
    Err err;
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_write_atomic("a", "one", 3, &err), 0);
    assert_int_equal(file_write_atomic("a", "two!", 4, &err), 0);
    assert_content("a", "two!");
    assert_int_equal(n_entries("."), 1);
    assert_true(file_exists("a"));
    assert_false(dir_exists("a"));
    assert_int_equal(file_read("a", &data, &size, 4, &err), 0);
    free(data);
    data = NULL;
    assert_int_equal(file_read("a", &data, &size, 3, &err), -1);
    assert_error(&err, "a has more than the 3 bytes");
    assert_int_equal(file_read("none", &data, &size, 3, &err), -1);
    assert_error(&err, "cannot open none: No such file");
    assert_int_equal(file_read(".", &data, &size, 3, &err), -1);
    assert_error(&err, "Is a directory");
    assert_null(data);
    assert_int_equal(file_read("/proc/self/status", &data, &size, 1 << 20, &err), 0);
    assert_int_equal(strlen(data), size);
    free(data);
}

static void test_file_grows(void **state)
{
    (void)state;
    Err err;
    enum { SIZE = 300001 };
    char *data, *out = malloc(SIZE);
    size_t size;
    for (int i = 0; i < SIZE; i++) out[i] = (char)(i * 7);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        for (int at = 0; at < SIZE;) at += (int)write(ends[1], out + at, (size_t)(SIZE - at));
        _exit(0);
    }
    close(ends[1]);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    assert_int_equal(file_read(path, &data, &size, SIZE, &err), 0);
    assert_int_equal(size, SIZE);
    assert_memory_equal(data, out, SIZE);
    waitpid(child, NULL, 0);
    close(ends[0]);
    free(data);
    free(out);
}

static void test_atomic_refusals(void **state)
{
    (void)state;
    Err err;
    AtomicFile file;
    assert_int_equal(file_write_atomic("no/such/x", "x", 1, &err), -1);
    assert_error(&err, "cannot create no/such/x.tmp-");
    assert_int_equal(file_write_atomic("/dev/null", "x", 1, &err), -1);
    assert_error(&err, "device");
    assert_int_equal(file_write_atomic(".", "x", 1, &err), -1);
    assert_error(&err, "folder");
    assert_int_equal(file_write_atomic("kept", "old", 3, &err), 0);
    assert_int_equal(atomic_open(&file, "kept", &err), 0);
    assert_int_equal(atomic_write(&file, "new", 3, &err), 0);
    assert_content("kept", "old");
    atomic_abort(&file);
    atomic_abort(&file);
    assert_content("kept", "old");
    assert_int_equal(n_entries("."), 1);
    assert_int_equal(symlink("kept", "link"), 0);
    assert_int_equal(file_write_atomic("link", "via", 3, &err), 0);
    assert_content("kept", "via");
}

/* A file size limit makes write() take a part, then fail: a full disk without needing one. */
static void test_short_write(void **state)
{
    (void)state;
    Err err, log_err;
    static char data[100000];
    struct rlimit old, limit;
    JsonLog *log;
    struct stat info;
    json_t *line = json_object();
    json_object_set_new(line, "x", json_stringn(memset(data, 'x', sizeof data), sizeof data));
    assert_int_equal(file_write_atomic("kept", "old", 3, &err), 0);
    assert_int_equal(file_write_atomic("log", "{}\n", 3, &err), 0);
    assert_int_equal(jsonl_open(&log, "log", &err), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 50000;
    setrlimit(RLIMIT_FSIZE, &limit);
    int status = file_write_atomic("kept", data, sizeof data, &err);
    int log_status = jsonl_write(log, line, &log_err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    jsonl_close(log);
    json_decref(line);
    assert_int_equal(status, -1);
    assert_error(&err, "cannot write kept: File too large");
    assert_content("kept", "old");
    assert_int_equal(n_entries("."), 2);
    assert_int_equal(log_status, -1);
    assert_error(&log_err, "cannot append to log: ");
    assert_int_equal(stat("log", &info), 0);
    assert_int_equal(info.st_size, 3);
}

static void test_folders(void **state)
{
    (void)state;
    Err err;
    assert_int_equal(dir_make("a/b//c/", &err), 0);
    assert_int_equal(dir_make("a/b/c", &err), 0);
    assert_true(dir_exists("a/b/c"));
    assert_int_equal(dir_make("", &err), -1);
    assert_int_equal(file_write_atomic("a/b/c/file", "x", 1, &err), 0);
    assert_int_equal(dir_make("a/b/c/file", &err), -1);
    assert_error(&err, "a file has that name");
    assert_int_equal(dir_make("a/b/c/file/d", &err), -1);
    assert_int_equal(dir_sync("a/b", &err), 0);
    assert_int_equal(dir_sync("none", &err), -1);
    assert_int_equal(mkdir("outside", 0777), 0);
    assert_int_equal(file_write_atomic("outside/precious", "x", 1, &err), 0);
    assert_int_equal(symlink("../../outside", "a/b/link"), 0);
    assert_int_equal(symlink("outside", "door"), 0);
    assert_int_equal(dir_remove("door", &err), -1);
    assert_error(&err, "it is not a folder, or a link");
    assert_int_equal(dir_remove("door/", &err), -1);
    assert_int_equal(dir_remove("outside/precious", &err), -1);
    assert_int_equal(dir_remove("/", &err), -1);
    assert_int_equal(dir_remove("a/", &err), 0);
    assert_false(dir_exists("a"));
    assert_content("outside/precious", "x");
    assert_int_equal(dir_remove("a", &err), 0);
}

static void test_paths(void **state)
{
    (void)state;
    Err err;
    char out[8];
    assert_int_equal(path_join(out, sizeof out, "ab", "cd", &err), 0);
    assert_string_equal(out, "ab/cd");
    assert_int_equal(path_join(out, sizeof out, "ab/", "cdef", &err), 0);
    assert_string_equal(out, "ab/cdef");
    assert_int_equal(path_join(out, sizeof out, "", "x", &err), 0);
    assert_string_equal(out, "x");
    assert_int_equal(path_join(out, sizeof out, "abc", "defg", &err), -1);
    assert_error(&err, "abc/defg is too long");
    assert_int_equal(path_parent(out, sizeof out, "a/b/c", &err), 0);
    assert_string_equal(out, "a/b");
    assert_int_equal(path_parent(out, sizeof out, "/c", &err), 0);
    assert_string_equal(out, "/");
    assert_int_equal(path_parent(out, sizeof out, "c", &err), 0);
    assert_string_equal(out, ".");
    assert_int_equal(path_parent(out, sizeof out, "12345678/c", &err), -1);
    static const char *const names[] = {"a", "..a", ".a", "..."}, *const others[] = {"", ".", "..",
                                                                                     "a/b", "/"};
    for (int i = 0; i < ARRAY_LEN(names); i++) assert_true(path_is_name(names[i]));
    for (int i = 0; i < ARRAY_LEN(others); i++) assert_false(path_is_name(others[i]));
    char here[PATH_MAX], whole[PATH_MAX], wanted[PATH_MAX + 4];
    assert_int_equal(path_whole(whole, sizeof whole, "/a/b", &err), 0);
    assert_string_equal(whole, "/a/b");
    assert_non_null(getcwd(here, sizeof here));
    snprintf(wanted, sizeof wanted, "%s/a/b", here);
    assert_int_equal(path_whole(whole, sizeof whole, "././a/b", &err), 0);
    assert_string_equal(whole, wanted);
}

static void test_jsonl(void **state)
{
    (void)state;
    Err err;
    JsonLog *log;
    json_t *line = json_pack("{s:i, s:o, s:o}", "step", 1, "loss", json_number(0.1), "bad",
                             json_number((double)-INFINITY));
    assert_int_equal(file_write_atomic("log", "{}\n{\"cut", 8, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(jsonl_open(&log, "log", &err), 0);
        assert_int_equal(jsonl_write(log, line, &err), 0);
        jsonl_close(log);
    }
    json_decref(line);
    assert_content("log", "{}\n{\"cut\n{\"step\":1,\"loss\":0.1,\"bad\":null}\n"
                          "{\"step\":1,\"loss\":0.1,\"bad\":null}\n");
    assert_int_equal(jsonl_open(&log, ".", &err), -1);
    assert_int_equal(jsonl_open(&log, "/dev/null", &err), -1);
    assert_error(&err, "device");
}

static void test_progress_line(void **state)
{
    (void)state;
    char line[512];
    Progress p = {.label = "train", .unit = "tokens", .total = 20000};
    progress_line(&p, 5000, 10, "loss 2.31", 500, line, sizeof line);
    assert_string_equal(line, "train:  25%, 0:30 left, 5.00k tokens, 500/s, loss 2.31");
    p.skipped = 4000;
    progress_line(&p, 5000, 10, NULL, 500, line, sizeof line);
    assert_string_equal(line, "train:  25%, 2:30 left, 5.00k tokens, 100/s");
    p.terminal = true;
    progress_line(&p, 10000, 10, "", 34, line, sizeof line);
    assert_string_equal(line, "train: [##########..........]  50%");
    progress_line(&p, 4000, 10, NULL, 45, line, sizeof line);
    assert_string_equal(line, "train: [####................]  20%, --:-- lef");
    p.total = 0;
    progress_line(&p, 1234567, 0, "na\xc3\xafve", 40, line, sizeof line);
    assert_string_equal(line, "train: 1.23M tokens, 0/s, na\xc3\xafve");
}

/* Runs draw with standard error going to fd, and returns what arrived at the other end. */
static void capture(int write_end, int read_end, void (*draw)(void), char *out, size_t out_size)
{
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    dup2(write_end, STDERR_FILENO);
    draw();
    dup2(saved, STDERR_FILENO);
    close(saved);
    /* A terminal hands over what was written when the system comes to it. */
    struct pollfd there = {.fd = read_end, .events = POLLIN};
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && poll(&there, 1, 100) > 0; n += got > 0 ? (size_t)got : 0)
        got = read(read_end, out + n, out_size - 1 - n);
    out[n] = '\0';
}

static void draw_progress(void)
{
    Progress p;
    progress_start(&p, "read", 100, "tokens");
    for (uint64_t i = 0; i < 100; i++) progress_update(&p, i, "loss 2.31");
    log_info("saved %d files", 3);
    progress_end(&p, "100 tokens");
}

static void test_progress_terminal(void **state)
{
    (void)state;
    char text[4096];
    int main_end = posix_openpt(O_RDWR | O_NOCTTY);
    if (main_end < 0 || grantpt(main_end) != 0 || unlockpt(main_end) != 0) skip();
    int terminal = open(ptsname(main_end), O_RDWR | O_NOCTTY);
    if (terminal < 0) skip();
    capture(terminal, main_end, draw_progress, text, sizeof text);
    close(terminal);
    close(main_end);
    const char *first = strstr(text, "\rread: [....................]   0%");
    assert_non_null(first);
    assert_non_null(strstr(text, "\r\033[Ksaved 3 files\r\n"));
    assert_non_null(strstr(text, "\r\033[Kread: 100 tokens (0:00)\r\n"));
    assert_null(strstr(first + 1, "\rread: ["));
}

static void test_progress_plain(void **state)
{
    (void)state;
    char text[4096];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    capture(ends[1], ends[0], draw_progress, text, sizeof text);
    close(ends[0]);
    close(ends[1]);
    assert_string_equal(text, "saved 3 files\nread: 100 tokens (0:00)\n");
}

static void test_npy(void **state)
{
    (void)state;
    Err err;
    char *data;
    size_t size;
    const float f32[6] = {0, 1, 2, 3, 4, 5};
    assert_int_equal(npy_write_f32("f", f32, (int64_t[]){2, 3}, 2, &err), 0);
    assert_int_equal(file_read("f", &data, &size, 4096, &err), 0);
    const char *dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    assert_memory_equal(data, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_memory_equal(data + 10, dict, strlen(dict));
    assert_int_equal(data[127], '\n');
    assert_int_equal(size, 128 + sizeof f32);
    assert_memory_equal(data + 128, f32, sizeof f32);
    free(data);
    assert_int_equal(npy_write_f32("i", f32, (int64_t[]){2}, 1, &err), 0);
    assert_int_equal(file_read("i", &data, &size, 4096, &err), 0);
    assert_non_null(strstr(data + 10, "'<f4', 'fortran_order': False, 'shape': (2,), }"));
    free(data);
    assert_int_equal(npy_write_f32("d", f32 + 1, NULL, 0, &err), 0);
    assert_int_equal(file_read("d", &data, &size, 4096, &err), 0);
    assert_non_null(strstr(data + 10, "'<f4', 'fortran_order': False, 'shape': (), }"));
    free(data);
    assert_int_equal(npy_write_f32("no/d", f32, NULL, 0, &err), -1);
}

static void test_rng(void **state)
{
    (void)state;
    enum { N = 200000 };
    Rng rng = {{1, 2, 3, 4}}, other;
    assert_true(rng_u64(&rng) == 41943041u); /* rotl(1 + 4, 23) + 1 */
    assert_true(rng_u64(&rng) == 58720359u);
    rng_seed(&rng, 1, 2);
    rng_seed(&other, 2, 1);
    assert_true(rng_u64(&rng) != rng_u64(&other));
    rng_seed(&other, 1, 3);
    assert_true(rng_u64(&rng) != rng_u64(&other));
    rng_seed(&rng, 42, 0);
    double sum = 0, square = 0, fourth = 0, uniform = 0;
    for (int i = 0; i < N; i++) {
        double x = rng_normal(&rng), u = rng_uniform(&rng);
        assert_true(isfinite(x) && u >= 0 && u < 1);
        sum += x / N, square += x * x / N, fourth += x * x * x * x / N, uniform += u / N;
    }
    assert_true(fabs(sum) < 0.01 && fabs(square - 1) < 0.015 && fabs(fourth - 3) < 0.15);
    assert_true(fabs(uniform - 0.5) < 0.004);
    other = rng; /* the four words are the whole state */
    for (int i = 0; i < 10; i++) assert_true(rng_normal(&rng) == rng_normal(&other));
    int counts[3] = {0};
    for (int i = 0; i < N; i++) counts[rng_below(&rng, 3)]++;
    for (int i = 0; i < 3; i++) assert_true(abs(counts[i] - N / 3) < 1000);
    /* Of n = 3 * 2^62, a plain remainder would give the lowest third half of all draws. */
    int low = 0;
    for (int i = 0; i < N; i++) low += rng_below(&rng, 3ull << 62) < 1ull << 62;
    assert_true(abs(low - N / 3) < 1000);
    assert_int_equal(rng_below(&rng, 1), 0);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(text_starts("abc", "ab") && text_starts("abc", "") && !text_starts("a", "ab"));
    assert_true(text_ends("abc", "bc") && text_ends("abc", "") && !text_ends("c", "bc"));
    static const char *const known[] = {"training.total_steps", "training.seed",
                                        "model.hidden_size", "model.num_hidden_layers",
                                        "training.optimizer_outer.lr"};
    char shown[NAME_SHOWN_MAX];
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    assert_int_equal(edit_distance("abcd", "acbd"), 1);
    assert_int_equal(edit_distance("abc", ""), 3);
    assert_string_equal(name_nearest("trainig.total_steps", known, 5), known[0]);
    assert_string_equal(name_nearest("model.total_step", known, 5), known[0]);
    assert_string_equal(name_nearest("hiden_size", known, 5), known[2]);
    assert_string_equal(name_nearest("model.hidden_sizes", known, 5), known[2]);
    assert_string_equal(name_nearest("lr", known, 5), known[4]);
    assert_null(name_nearest("colour", known, 5));
    assert_null(name_nearest("", known, 5));
    assert_string_equal(name_show(shown, "a\nb\x1b[0m"), "a?b?[0m");
    char longest[400];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(strlen(name_show(shown, longest)), NAME_SHOWN_MAX - 1);
    assert_non_null(strstr(shown, "x..."));
    assert_true(edit_distance(longest, "x") == 126);
}

static void test_sha256(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "m"
         "nopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    Sha256 s;
    char hex[SHA256_HEX_SIZE], chunk[1000];
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        sha256_init(&s);
        sha256_update(&s, cases[i][0], strlen(cases[i][0]));
        sha256_hex(&s, hex);
        assert_string_equal(hex, cases[i][1]);
    }
    memset(chunk, 'a', sizeof chunk);
    sha256_init(&s); /* a million times "a", in pieces of every size */
    for (size_t left = 1000000, n = 1; left > 0; n = n % 999 + 1) {
        if (n > left) n = left;
        sha256_update(&s, chunk, n);
        left -= n;
    }
    sha256_hex(&s, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_memory(void **state)
{
    (void)state;
    double start = time_now();
    for (size_t n = 0; n < 200; n += 7) {
        unsigned char *p = mem_alloc(n);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
        mem_free(p);
    }
    mem_free(NULL);
    size_t before = mem_peak_rss();
    assert_true(before > 100000 && mem_available() > 1000000);
    enum { BIG = 1 << 26 };
    void *big = mem_alloc(BIG);
    memset(big, 1, BIG);
    assert_true(mem_peak_rss() >= before / 2 + BIG);
    mem_free(big);
    assert_true(time_now() > start);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_file_grows),
        cmocka_unit_test(test_atomic_refusals),
        cmocka_unit_test(test_short_write),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_progress_line),
        cmocka_unit_test(test_progress_terminal),
        cmocka_unit_test(test_progress_plain),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_memory),
    };
    for (int i = 0; i < ARRAY_LEN(tests); i++) {
        tests[i].setup_func = folder_enter;
        tests[i].teardown_func = folder_leave;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
