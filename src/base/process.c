/* A child process whose output is read through a pipe with a deadline. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

extern char **environ;

/* 0, or the error's number. */
static int child_start(pid_t *pid, const char *const *argv, int output, bool with_errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (with_errors)
        posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    union {
        const char *const *in;
        char *const *out;
    } words = {.in = argv}; /* posix_spawn does not write to them */
    int code = posix_spawnp(pid, argv[0], &actions, NULL, words.out, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* Reads to the end, keeping what fits; false when the time is over first. */
static bool read_until(int fd, double deadline, char *out, size_t size)
{
    size_t used = 0;
    char rest[4096];
    for (;;) {
        int left = (int)((deadline - time_now()) * 1000);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&wait, 1, left) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        ssize_t n = read(fd, rest, sizeof rest);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        size_t kept = (size_t)n < size - 1 - used ? (size_t)n : size - 1 - used;
        memcpy(out + used, rest, kept);
        used += kept;
    }
    out[used] = '\0';
    return true;
}

static int child_run(const char *const *argv, double seconds, bool with_errors, char *out,
                     size_t size)
{
    int ends[2], status = 1;
    pid_t pid;
    out[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    int code = child_start(&pid, argv, ends[1], with_errors);
    close(ends[1]);
    bool read = code == 0 && read_until(ends[0], time_now() + seconds, out, size);
    close(ends[0]);
    if (code != 0) {
        errno = code;
        return -1;
    }
    if (!read) kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    errno = read ? ECHILD : ETIMEDOUT;
    return read && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool process_first_line(const char *const *argv, double seconds, char *out, size_t size)
{
    int status = child_run(argv, seconds, false, out, size);
    out[status < 0 ? 0 : strcspn(out, "\r\n")] = '\0';
    return status == 0;
}

int process_output(const char *const *argv, double seconds, char *out, size_t size)
{
    return child_run(argv, seconds, true, out, size);
}
