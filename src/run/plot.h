/* Curves as pictures: a table that is already on disk, drawn by gnuplot as a separate program. What
 * gnuplot is told stays beside the picture as a script, so that anyone can draw it again. */
#ifndef TTT_RUN_PLOT_H
#define TTT_RUN_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* One curve out of a tab-separated table whose first line names the columns. */
typedef struct PlotSeries {
    const char *label;    /* for the legend; any UTF-8 text */
    int x, y;             /* columns of the table, from 1 */
    int lo, hi;           /* ends of a shaded band, from 1; both 0: no band */
    int64_t first, count; /* rows, from 0 after the first line; count 0: all to the end */
    bool dots;            /* at its points, whatever the plot says */
} PlotSeries;

typedef struct Plot {
    const char *folder; /* holds NAME.tsv; gets NAME.gp, NAME.png (900 x 560) and NAME.svg */
    const char *name;   /* letters, digits, '.', '-' and '_' */
    const char *title, *x_label, *y_label;
    bool log_x;          /* powers of two along x */
    bool markers;        /* dots at the points, for curves of few points */
    bool from_zero;      /* the axis of y starts at 0 */
    double x_min, x_max; /* 0: where the data starts, ends */
    const PlotSeries *series;
    int n_series;
} Plot;

/* Writes NAME.gp, then has gnuplot draw both pictures, which replace older ones only when complete.
 * Returns 1 when they are drawn, 0 when this machine has no gnuplot (the script is there), -1 on
 * failure. */
int plot_draw(const Plot *plot, Err *err);

#endif
