/* What `ttt read` prints at its end. */
#ifndef TTT_CLI_READ_REPORT_H
#define TTT_CLI_READ_REPORT_H

#include "cli/loss_curve.h"
#include "ttt.h"

/* One text of this run. */
typedef struct TextRead {
    ttt_source source; /* tokens: its BOS included */
    int64_t bytes, scored;
    double nll; /* sum over the scored tokens, all but the BOS */
} TextRead;

typedef struct ReadReport {
    const char *model, *memory; /* memory: NULL when none is written */
    const TextRead *texts;      /* (n_texts) */
    int n_texts;
    const LossCurve *curve; /* of this run's texts, joined */
    ttt_reader_info before, after;
    double seconds; /* spent in the reader */
    bool interrupted;
} ReadReport;

void report_print(const ReadReport *r);
void report_print_json(const ReadReport *r);
/* Bits per byte of a mean loss in nats, given how many tokens and bytes it stands for. */
double bits_per_byte(double nats, int64_t scored, int64_t bytes);

#endif
