/* Aligned allocation; memory in use and to be had, read from /proc and the cgroup files. */
#include "base/mem.h"

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef MEM_GUARDED
#include <sanitizer/asan_interface.h>
#endif

enum { ALIGNMENT = 64, MARGIN = ALIGNMENT + sizeof(void *) };

void mem_close(void *begin, size_t n)
{
#ifdef MEM_GUARDED
    __asan_poison_memory_region(begin, n);
#else
    (void)begin, (void)n;
#endif
}

void mem_open(void *begin, size_t n)
{
#ifdef MEM_GUARDED
    __asan_unpoison_memory_region(begin, n);
#else
    (void)begin, (void)n;
#endif
}

static void *take(size_t n)
{
    CHECK(n <= PTRDIFF_MAX - MARGIN, "a request for %zu bytes of memory is absurd", n);
    /* calloc, not aligned_alloc and memset: large blocks are zero pages that cost nothing yet. */
    char *raw = calloc(1, n + MARGIN);
    if (!raw) return NULL;
    uintptr_t at = ((uintptr_t)raw + MARGIN - 1) / ALIGNMENT * ALIGNMENT;
    char *p = raw + (at - (uintptr_t)raw);
    memcpy(p - sizeof raw, &raw, sizeof raw);
    mem_close(p + n, (size_t)(raw + MARGIN - p)); /* would hide an overrun of up to MARGIN bytes */
    return p;
}

void *mem_try(size_t n, const char *what, Err *err)
{
    void *p = take(n);
    if (!p) mem_refuse(err, n, what);
    return p;
}

void *mem_alloc(size_t n)
{
    void *p = take(n);
    mem_need(p, "%zu bytes more", n);
    return p;
}

void mem_free(void *p)
{
    char *raw;
    if (!p) return;
    memcpy(&raw, (char *)p - sizeof raw, sizeof raw);
    free(raw);
}

static double megabytes(size_t bytes)
{
    return (double)bytes / 1e6;
}

static const char next_step[] =
    "end other programs, raise the limit (ulimit -v), or choose less: a smaller model, batch, "
    "sequence or file";

int mem_refuse(Err *err, size_t wanted, const char *what)
{
    return err_set(err, "no memory for %s: %.1f MB wanted, %.1f MB free; %s", what,
                   megabytes(wanted), megabytes(mem_available()), next_step);
}

void mem_need(bool there, const char *what, ...)
{
    char line[1024]; /* not stdio's: it may have no buffer yet */
    va_list args;
    if (there) return;
    va_start(args, what);
    int used = snprintf(line, sizeof line, "ttt: no memory for ");
    used += vsnprintf(line + used, sizeof line / 2, what, args);
    va_end(args);
    if (used > (int)sizeof line / 2) used = (int)sizeof line / 2;
    line[used] = '\0';
    line_keep(line); /* of a file's name */
    used += snprintf(line + used, sizeof line - (size_t)used, ": %.1f MB free; %s\n",
                     megabytes(mem_available()), next_step);
    ssize_t done = write(STDERR_FILENO, line, (size_t)used);
    _exit(done < 0 ? 2 : 1);
}

/* The number of a line "KEY   number". */
static bool keyed(const char *line, const char *key, size_t *value)
{
    return strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), " %zu", value) == 1;
}

/* Finds it in a file of such lines and adds that of the key `also`, unless it is NULL; false when
 * there is no line of the first. */
static bool read_keyed(const char *path, const char *key, const char *also, size_t *sum)
{
    char line[256];
    bool found = false, more = also != NULL;
    size_t value, other = 0;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    while ((!found || more) && fgets(line, sizeof line, file)) {
        if (!found) found = keyed(line, key, &value);
        if (more) more = !keyed(line, also, &other);
    }
    fclose(file);
    if (found) *sum = value + other;
    return found;
}

size_t mem_peak_rss(void)
{
    size_t kib;
    struct rusage usage;
    if (read_keyed("/proc/self/status", "VmHWM:", NULL, &kib)) return kib * 1024;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

/* The control group's own files under both versions of the interface. */
typedef struct CgroupFiles {
    const char *root, *limit, *used, *cache[2];
} CgroupFiles;

/* Bytes left in one group, its cache of files counted as free; SIZE_MAX: no limit there. */
static size_t group_left(const CgroupFiles *files, const char *group)
{
    char path[PATH_MAX + 256];
    size_t limit, used, cache = 0;
    snprintf(path, sizeof path, "%s%s/%s", files->root, group, files->limit);
    if (!read_keyed(path, "", NULL, &limit)) return SIZE_MAX;
    snprintf(path, sizeof path, "%s%s/%s", files->root, group, files->used);
    if (!read_keyed(path, "", NULL, &used)) return SIZE_MAX;
    snprintf(path, sizeof path, "%s%s/memory.stat", files->root, group);
    (void)read_keyed(path, files->cache[0], files->cache[1], &cache);
    used -= cache < used ? cache : used;
    return used < limit ? limit - used : 0;
}

/* The tightest limit of a group and of the groups around it. */
static size_t groups_left(const CgroupFiles *files, char *group)
{
    size_t left = SIZE_MAX;
    for (;;) {
        size_t here = group_left(files, group);
        if (here < left) left = here;
        char *slash = strrchr(group, '/');
        if (!slash) return left;
        *slash = '\0';
    }
}

static size_t cgroup_left(void)
{
    static const CgroupFiles v2 = {
        "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file ", "active_file "}};
    static const CgroupFiles v1 = {"/sys/fs/cgroup/memory",
                                   "memory.limit_in_bytes",
                                   "memory.usage_in_bytes",
                                   {"total_inactive_file ", "total_active_file "}};
    char line[PATH_MAX];
    size_t left = SIZE_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return left;
    while (fgets(line, sizeof line, file)) { /* "0::/a/b" or "5:memory:/a/b" */
        char *group = strchr(line, '/');
        if (!group) continue;
        group[strcspn(group, "\n")] = '\0';
        bool is_v2 = strncmp(line, "0::", 3) == 0;
        if (!is_v2 && !strstr(line, ":memory:")) continue;
        size_t here = groups_left(is_v2 ? &v2 : &v1, group);
        if (here < left) left = here;
    }
    fclose(file);
    return left;
}

/* Of a limit to this process's address space; SIZE_MAX: there is none. */
static size_t ulimit_left(void)
{
    size_t kib;
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    if (!read_keyed("/proc/self/status", "VmSize:", NULL, &kib)) return SIZE_MAX;
    return kib * 1024 < space.rlim_cur ? space.rlim_cur - kib * 1024 : 0;
}

/* 0: not known; what is known is at least 1. */
static size_t known(size_t left)
{
    if (left == SIZE_MAX) return 0;
    return left > 0 ? left : 1;
}

static size_t available(bool swap)
{
    size_t kib, left = cgroup_left(), space = ulimit_left();
    if (space < left) left = space;
    const char *also = swap ? "SwapFree:" : NULL;
    if (read_keyed("/proc/meminfo", "MemAvailable:", also, &kib) && kib * 1024 < left)
        left = kib * 1024;
    return known(left);
}

size_t mem_limit_left(void)
{
    return known(ulimit_left());
}

size_t mem_available(void)
{
    return available(false);
}

size_t mem_obtainable(void)
{
    return available(true);
}

double time_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void time_text(char out[TIME_TEXT_SIZE])
{
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || !strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc))
        out[0] = '\0';
}
