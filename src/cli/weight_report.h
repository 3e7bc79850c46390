/* What was made of what: a line, or a JSON object, per parameter. */
#ifndef TTT_CLI_WEIGHT_REPORT_H
#define TTT_CLI_WEIGHT_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "run/weights.h"

/* to: the layout and type of what is written. */
void weight_report(FILE *out, const WeightMap *map, WeightLayout to, StType type);
json_t *weight_report_json(const WeightMap *map, WeightLayout to, StType type);

#endif
