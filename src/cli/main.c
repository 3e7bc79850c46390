/* The program `ttt`: finds the command in one table and runs it. Everything else is in cmd_*.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h" // defines: mem_obtainable, mem_refuse
#include "base/names.h"
#include "base/real.h"
#include "cli/command.h"
#include "cli/mapped_fault.h"
#include "cli/output.h"

static const char version[] = "0.1.0";

static const Command *const commands[] = {
    &command_train,  &command_eval,     &command_read,   &command_generate, &command_memory,
    &command_data,   &command_tokenize, &command_config, &command_parity,   &command_bench,
    &command_import, &command_export,   &command_report,
};

static const Command *find(const char *name)
{
    for (int i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[ARRAY_LEN(commands)];
    for (int i = 0; i < ARRAY_LEN(commands); i++) names[i] = commands[i]->name;
    const char *near = name_nearest(name, names, ARRAY_LEN(names));
    char shown[NAME_SHOWN_MAX];
    fprintf(stderr, "ttt: unknown command '%s'%s%s%s; `ttt help` lists all\n",
            name_show(shown, name), near ? " (did you mean " : "", near ? near : "",
            near ? "?)" : "");
    return EXIT_USAGE;
}

static void print_overview(FILE *out)
{
    fputs("ttt: a Transformer that learns while it reads\n\nusage: ttt COMMAND ...\n\n", out);
    for (int i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs(
        "\n`ttt help COMMAND` explains one, with an example; `ttt --version` tells the version.\n",
        out);
}

static int print_help(const Command *command)
{
    if (command)
        fputs(command->help, stdout);
    else
        print_overview(stdout);
    return output_finish("help");
}

static int run_help(const char *name)
{
    if (name == NULL) return print_help(NULL);
    const Command *command = find(name);
    return command ? print_help(command) : unknown(name);
}

/* --help among the options, before a "--" that ends them. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

/* How long an idle thread spins before it sleeps, in libgomp's rounds: some microseconds. Waking a
 * sleeper costs more than a small parallel region; spinning on takes a busy core from who works
 * (docs/speed.md). libgomp reads the variable when it is loaded, so it takes a second start to set.
 */
static void settle_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || getenv("TTT_NO_REEXEC")) return;
    if (setenv("GOMP_SPINCOUNT", "2000", 1) == 0) execv("/proc/self/exe", argv);
}

static bool asks_for_fp64(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--compute=fp64") == 0) return true;
        if (i + 1 < argc && strcmp(argv[i], "--compute") == 0 && strcmp(argv[i + 1], "fp64") == 0)
            return true;
    }
    return false;
}

/* The exactness build is a program of its own, next to this one. Returns only when it cannot be
 * started. */
static int run_fp64(char **argv)
{
    static const char sibling[] = "ttt-fp64";
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof sibling);
    while (n > 0 && path[n - 1] != '/') n--;
    memcpy(path + (n > 0 ? n : 0), sibling, sizeof sibling);
    execv(path, argv);
    fprintf(stderr, "ttt: --compute fp64 needs %s, which cannot be started: %s; build it too\n",
            path, strerror(errno));
    return EXIT_FAULT;
}

/* Where standard input, output or error is closed, the next file that is opened would take its
 * number, and be written what was meant for people. Reading or writing them fails as before. */
static void standard_files_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* Libraries that parse and print have no line of their own for want of memory. */
static int memory_check(void)
{
    enum { LEAST = 8 << 20 };
    Err err;
    size_t left = mem_obtainable();
    if (left == 0 || left >= LEAST) return 0;
    mem_refuse(&err, LEAST, "the program");
    fprintf(stderr, "ttt: %s\n", err.text);
    return -1;
}

int main(int argc, char **argv)
{
    standard_files_hold();
    settle_threads(argv);
    if (memory_check() < 0) return EXIT_FAULT;
    mapped_fault_watch();
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then a failing write: one line, cleaned up */
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers in files and options have a point everywhere */
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("ttt %s (%s)\n", version, REAL_NAME);
        return output_finish("--version");
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return print_help(NULL);
    if (strcmp(name, "help") == 0) return run_help(argc > 2 ? argv[2] : NULL);
    const Command *command = find(name);
    if (command == NULL) return unknown(name);
    if (wants_help(argc - 1, argv + 1)) return print_help(command);
    bool is_parity = command == &command_parity, is_fp64 = sizeof(real) == sizeof(double);
    if (is_parity && !is_fp64 && asks_for_fp64(argc, argv)) return run_fp64(argv);
    return command->run(argc - 1, argv + 1);
}
