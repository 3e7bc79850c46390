/* Writes a gnuplot script and runs gnuplot on it, as a process with an argument vector: no shell
 * sees a name. Knows nothing of what is drawn. */
#include "run/plot.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

extern char **environ;

/* Told apart by most colour-blind readers too. */
static const char *const COLOURS[] = {"#0072B2", "#D55E00", "#009E73",
                                      "#CC79A7", "#E69F00", "#56B4E9"};

enum { WIDTH = 900, HEIGHT = 560, FILE_NAME = 256 };

typedef struct Picture {
    char name[FILE_NAME], temp[FILE_NAME]; /* in the plot's folder */
} Picture;

/* A string of gnuplot: single quotes, a quote inside doubled, nothing else special. */
static void put_text(FILE *f, const char *text)
{
    fputc('\'', f);
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (*c == '\'') fputc('\'', f);
        fputc(byte < 32 ? ' ' : byte, f);
    }
    fputc('\'', f);
}

static void put_setting(FILE *f, const char *setting, const char *text)
{
    fprintf(f, "set %s ", setting);
    put_text(f, text);
    fputc('\n', f);
}

static void put_rows(FILE *f, const PlotSeries *s)
{
    fputs("data skip 1", f);
    if (s->count > 0)
        fprintf(f, " every ::%lld::%lld", (long long)s->first,
                (long long)(s->first + s->count - 1));
}

/* Bands first, so that no band covers a line. */
static void put_curves(FILE *f, const Plot *p)
{
    const char *before = "plot ";
    for (int i = 0; i < p->n_series; i++) {
        const PlotSeries *s = &p->series[i];
        if (s->lo == 0) continue;
        fputs(before, f);
        put_rows(f, s);
        fprintf(f,
                " using %d:%d:%d with filledcurves linecolor rgb '%s' fillstyle transparent solid"
                " 0.18 noborder notitle",
                s->x, s->lo, s->hi, COLOURS[i % ARRAY_LEN(COLOURS)]);
        before = ", \\\n     ";
    }
    for (int i = 0; i < p->n_series; i++) {
        const PlotSeries *s = &p->series[i];
        fputs(before, f);
        put_rows(f, s);
        fprintf(f, " using %d:%d with %s linecolor rgb '%s' linewidth 2.2", s->x, s->y,
                p->markers || s->dots ? "linespoints" : "lines", COLOURS[i % ARRAY_LEN(COLOURS)]);
        if (p->markers || s->dots) fputs(" pointtype 7 pointsize 0.7", f);
        if (i >= ARRAY_LEN(COLOURS)) fputs(" dashtype 2", f);
        fputs(" title ", f);
        put_text(f, s->label);
        before = ", \\\n     ";
    }
    fputc('\n', f);
}

static void put_limit(FILE *f, const char *before, double limit, const char *after)
{
    fputs(before, f);
    if (limit != 0.0)
        fprintf(f, "%.9g", limit);
    else
        fputc('*', f);
    fputs(after, f);
}

/* The legend stands below, in as many equal columns as fit across; room is left for its rows. */
static void put_legend(FILE *f, const Plot *p)
{
    size_t longest = 1;
    for (int i = 0; i < p->n_series; i++) {
        size_t length = strlen(p->series[i].label);
        if (length > longest) longest = length;
    }
    size_t across = (WIDTH - 150) / (longest * 8 + 65); /* pixels of a letter, of the rest */
    if (across < 1) across = 1;
    size_t rows = ((size_t)p->n_series + across - 1) / across;
    fprintf(f,
            "set key outside below center horizontal Left reverse samplen 2.5 spacing 1.25 "
            "maxcols %zu\nset bmargin %.2f\n",
            across, 4.7 + 1.3 * (double)rows);
}

static void put_axes(FILE *f, const Plot *p)
{
    put_setting(f, "title", p->title);
    put_setting(f, "xlabel", p->x_label);
    put_setting(f, "ylabel", p->y_label);
    fputs("set datafile separator tab\n"
          "set datafile missing 'nan'\n"
          "set border 3 linecolor rgb '#404040'\n"
          "set tics nomirror out scale 0.6\n"
          "set grid linecolor rgb '#c8c8c8' linewidth 0.8 dashtype 1\n"
          "set lmargin 12\nset rmargin 4\nset tmargin 3.2\n"
          "set offsets graph 0, graph 0, graph 0.06, graph 0.03\n",
          f);
    if (p->from_zero) fputs("set yrange [0:*]\n", f);
    if (p->log_x) fputs("set logscale x 2\nset format x '%.0f'\n", f);
    put_limit(f, "set xrange [", p->x_min, ":");
    put_limit(f, "", p->x_max, "] noextend\n");
}

/* The pictures' names can be given from outside, so that they can be drawn beside the old ones. */
static void put_script(FILE *f, const Plot *p)
{
    fprintf(f, "# Drawn with: gnuplot %s.gp   (in this folder)\n", p->name);
    fprintf(f, "data = '%s.tsv'\n", p->name);
    fprintf(f, "if (!exists('png')) png = '%s.png'\n", p->name);
    fprintf(f, "if (!exists('svg')) svg = '%s.svg'\n", p->name);
    fputs("set encoding utf8\n", f);
    put_axes(f, p);
    put_legend(f, p);
    fprintf(f,
            "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) {\n"
            "    set terminal pngcairo size %d,%d noenhanced font 'DejaVu Sans,11'\n"
            "} else {\n    set terminal png size %d,%d noenhanced\n}\n"
            "set output png\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_curves(f, p);
    fprintf(f,
            "set terminal svg size %d,%d dynamic noenhanced font 'DejaVu Sans,14' "
            "background rgb 'white'\nset output svg\nreplot\nunset output\n",
            WIDTH, HEIGHT);
}

static int script_write(const Plot *p, const char *path, Err *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return err_errno(err, "no memory for %s", path);
    put_script(f, p);
    int status = fclose(f) == 0 ? file_write_atomic(path, text, size, err)
                                : err_set(err, "no memory for %s", path);
    free(text);
    return status;
}

/* Starts gnuplot in the folder with its messages going to `messages`. 0, or the error's number. */
static int gnuplot_start(pid_t *pid, const char *folder, char *names, char *script, int messages)
{
    char *argv[] = {"gnuplot", "-e", names, script, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
    posix_spawn_file_actions_adddup2(&actions, messages, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    int code = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* The first line that says something of what gnuplot wrote. */
static void first_message(FILE *messages, char *out, size_t size)
{
    snprintf(out, size, "no message");
    rewind(messages);
    char line[256];
    while (fgets(line, sizeof line, messages)) {
        char *text = line + strspn(line, " \t\r\n^");
        text[strcspn(text, "\r\n")] = '\0';
        if (*text == '\0') continue;
        snprintf(out, size, "%s", text);
        if (strstr(text, "line ")) return;
    }
}

static int gnuplot_run(const Plot *p, char *names, char *script, Err *err)
{
    FILE *messages = tmpfile();
    if (!messages) return err_errno(err, "cannot make a temporary file for gnuplot's messages");
    pid_t pid;
    int code = gnuplot_start(&pid, p->folder, names, script, fileno(messages));
    if (code != 0) {
        fclose(messages);
        if (code == ENOENT) return 0;
        return err_set(err, "cannot start gnuplot: %s; draw %s/%s by hand", strerror(code),
                       p->folder, script);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    char message[256];
    if (!done) first_message(messages, message, sizeof message);
    fclose(messages);
    if (done) return 1;
    return err_set(err, "gnuplot did not draw %s/%s: %s; run gnuplot on it to see why", p->folder,
                   script, message);
}

static Picture picture_named(const Plot *p, const char *ending)
{
    Picture picture;
    CHECK(strlen(p->name) < FILE_NAME / 2, "the plot's name %s is too long", p->name);
    snprintf(picture.name, sizeof picture.name, "%s.%s", p->name, ending);
    snprintf(picture.temp, sizeof picture.temp, "%s.%s.tmp-%ld", p->name, ending, (long)getpid());
    return picture;
}

/* Renames the picture into place; gnuplot leaves an empty file when a terminal fails. */
static int picture_keep(const char *folder, const Picture *picture, Err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct stat info;
    TRY(path_join(from, sizeof from, folder, picture->temp, err));
    TRY(path_join(to, sizeof to, folder, picture->name, err));
    if (stat(from, &info) != 0 || info.st_size == 0)
        return err_set(err, "gnuplot left no picture in %s; run gnuplot on its script to see why",
                       to);
    return rename(from, to) == 0 ? 0 : file_error(err, "write", to);
}

/* Removes what was drawn but not kept. */
static void picture_forget(const char *folder, const Picture *picture)
{
    char path[PATH_MAX];
    Err ignored;
    if (path_join(path, sizeof path, folder, picture->temp, &ignored) == 0) unlink(path);
}

int plot_draw(const Plot *p, Err *err)
{
    char script[FILE_NAME], names[3 * FILE_NAME], path[PATH_MAX];
    Picture png = picture_named(p, "png"), svg = picture_named(p, "svg");
    snprintf(script, sizeof script, "%s.gp", p->name);
    snprintf(names, sizeof names, "png='%s'; svg='%s'", png.temp, svg.temp);
    TRY(path_join(path, sizeof path, p->folder, script, err));
    TRY(script_write(p, path, err));
    int drawn = gnuplot_run(p, names, script, err);
    if (drawn == 1 && picture_keep(p->folder, &png, err) < 0) drawn = -1;
    if (drawn == 1 && picture_keep(p->folder, &svg, err) < 0) drawn = -1;
    picture_forget(p->folder, &png);
    picture_forget(p->folder, &svg);
    return drawn;
}
