/* An evaluation in words and tables, and as JSON. */
#ifndef TTT_RUN_EVAL_REPORT_H
#define TTT_RUN_EVAL_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "run/eval.h"

enum { EVAL_VERDICT = 512 };

/* Nats per token to bits per byte, where one token is one byte. */
double eval_bits(double nats);
/* A bin's name, or "all" for bin n_bins. */
const char *eval_bin_name(const Eval *e, int bin);

/* What the first model that was scored in both modes, and each after it, gains by learning: one
 * line, "NAME: learning helps: ...". False for a model without both modes. */
bool eval_verdict(const Eval *e, int model, char out[EVAL_VERDICT]);

/* The tables and the verdicts. */
void eval_print(const Eval *e, FILE *out);
/* The same numbers and where they come from; the caller's to release. */
json_t *eval_json(const Eval *e);

#endif
