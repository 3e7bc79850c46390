/* The progress line: pure formatting (progress_line), and when to draw it. */
#include "base/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"

enum { BAR_WIDTH = 20, LINE_SIZE = 512 };

static const double redraw_seconds = 0.1, plain_seconds = 10;

static int terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

void progress_start(Progress *p, const char *label, uint64_t total_units, const char *unit_name)
{
    *p = (Progress){.label = label, .unit = unit_name, .total = total_units};
    p->terminal = isatty(STDERR_FILENO);
    p->start = time_now();
    /* The first plain line comes after 10 seconds; the first drawn one at once. */
    p->last_drawn = p->terminal ? p->start - 1 : p->start;
}

void progress_skip(Progress *p, uint64_t done)
{
    p->skipped = done;
}

/* 950, 12.3k, 4.56M: three digits that mean something. */
static void format_count(double n, char out[16])
{
    static const char suffixes[] = " kMGTP";
    int power = 0;
    for (; n >= 999.5 && power < 5; power++) n /= 1000;
    int decimals = n >= 99.95 || (power == 0 && n >= 9.995) ? 0 : n >= 9.995 ? 1 : 2;
    if (power == 0 && n == (double)(int)n) decimals = 0;
    snprintf(out, 16, "%.*f", decimals, n);
    if (power > 0) snprintf(out + strlen(out), 16 - strlen(out), "%c", suffixes[power]);
}

static void format_time(double seconds, char out[24])
{
    if (!(seconds < 1e8)) { /* also NaN: nothing done yet */
        snprintf(out, 24, "--:--");
        return;
    }
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 24, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 24, "%ld:%02ld", s / 60, s % 60);
}

static void format_bar(double fraction, char out[BAR_WIDTH + 4])
{
    int full = (int)(fraction * BAR_WIDTH);
    out[0] = '[';
    memset(out + 1, '#', (size_t)full);
    memset(out + 1 + full, '.', (size_t)(BAR_WIDTH - full));
    snprintf(out + 1 + BAR_WIDTH, 3, "] ");
}

/* Cuts after `width` characters of UTF-8. */
static void cut(char *text, int width)
{
    for (int columns = 0; *text; text++) {
        bool begins = ((unsigned char)*text & 0xc0) != 0x80;
        if (begins && columns++ == width) break;
    }
    *text = '\0';
}

void progress_line(const Progress *p, uint64_t done, double seconds, const char *note, int width,
                   char *out, size_t out_size)
{
    char bar[BAR_WIDTH + 4] = "", rate_text[16], count[16], left[24], of[64] = "";
    uint64_t new_units = done > p->skipped ? done - p->skipped : 0;
    double rate = seconds > 0 ? (double)new_units / seconds : 0;
    format_count(rate, rate_text);
    format_count((double)done, count);
    if (p->total > 0) {
        double fraction = done < p->total ? (double)done / (double)p->total : 1;
        uint64_t to_do = done < p->total ? p->total - done : 0;
        if (p->terminal) format_bar(fraction, bar);
        format_time((double)to_do / rate, left);
        snprintf(of, sizeof of, "%3d%%, %s left, ", (int)(100 * fraction), left);
    }
    snprintf(out, out_size, "%s: %s%s%s %s, %s/s%s%s", p->label, bar, of, count, p->unit, rate_text,
             note && *note ? ", " : "", note ? note : "");
    if (p->terminal) cut(out, width);
}

void progress_update(Progress *p, uint64_t done, const char *note)
{
    char line[LINE_SIZE];
    double now = time_now();
    if (!p->label || now - p->last_drawn < (p->terminal ? redraw_seconds : plain_seconds)) return;
    p->last_drawn = now;
    /* A line that fills the last column would wrap on some terminals. */
    int width = p->terminal ? terminal_width() - 1 : LINE_SIZE;
    progress_line(p, done, now - p->start, note, width, line, sizeof line);
    if (p->terminal)
        fprintf(stderr, "\r%s\033[K", line);
    else
        fprintf(stderr, "%s\n", line);
}

void progress_end(Progress *p, const char *summary)
{
    char spent[24];
    if (!p->label) return;
    format_time(time_now() - p->start, spent);
    fprintf(stderr, "%s%s: %s (%s)\n", p->terminal ? "\r\033[K" : "", p->label, summary, spent);
}
