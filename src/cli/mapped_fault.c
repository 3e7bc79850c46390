/* The handler looks the address up in /proc/self/maps: there is no table of files to keep, and
 * nothing here but calls that are safe in a handler. */
#include "cli/mapped_fault.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = PATH_MAX + 128 };

/* A number in base 16 at *at, which goes behind it. */
static uintptr_t hex(const char **at)
{
    static const char digits[] = "0123456789abcdef";
    uintptr_t n = 0;
    for (const char *d; **at && (d = strchr(digits, **at)); (*at)++)
        n = n << 4 | (uintptr_t)(d - digits);
    return n;
}

/* The file of a line "begin-end rights offset device inode   /path" that has the address; NULL. */
static const char *file_of(const char *line, uintptr_t address)
{
    uintptr_t begin = hex(&line);
    if (*line++ != '-') return NULL;
    uintptr_t end = hex(&line);
    return address >= begin && address < end ? strchr(line, '/') : NULL;
}

/* Reads one line, cut to its place; false at the end. */
static bool line_read(int fd, char line[LINE_MAX_BYTES])
{
    size_t n = 0;
    char c;
    while (read(fd, &c, 1) == 1) {
        if (c == '\n') {
            line[n] = '\0';
            return true;
        }
        if (n + 1 < LINE_MAX_BYTES) line[n++] = c;
    }
    return false;
}

static void say(const char *text)
{
    while (*text) {
        ssize_t n = write(STDERR_FILENO, text, strlen(text));
        if (n <= 0) return;
        text += n;
    }
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    char line[LINE_MAX_BYTES];
    const char *file = NULL;
    (void)context;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && !file && line_read(fd, line)) file = file_of(line, (uintptr_t)info->si_addr);
    if (!file) { /* no file's fault: it comes again, and ends the program as ever */
        signal(number, SIG_DFL);
        return;
    }
    say("ttt: ");
    say(file);
    say(" was cut short, or cannot be read any more, while it was in use; copy or make it again, "
        "then give the same command again (what was saved is whole)\n");
    _exit(1);
}

void mapped_fault_watch(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
