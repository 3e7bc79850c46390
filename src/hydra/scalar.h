/* Single values: what type a plain text is, in YAML as PyYAML and OmegaConf read it and in the
 * grammar of overrides, and how Python prints values. */
#ifndef TTT_HYDRA_SCALAR_H
#define TTT_HYDRA_SCALAR_H

#include "hydra/tree.h"

/* The value of a plain YAML scalar; NULL with an error for the few that PyYAML refuses. */
HyNode *hy_yaml_plain(HyArena *a, const char *text, Err *err);
/* Whether OmegaConf would quote this text when it writes YAML: else it reads back as no text. */
bool hy_yaml_is_text(const char *text);

/* Lengths of the number at the start of s in the grammar of overrides and references; 0: none. */
size_t hy_int_size(const char *s);
size_t hy_float_size(const char *s);
/* Values of such numbers. */
HyNode *hy_int_parse(HyArena *a, const char *text, size_t size);
HyNode *hy_float_parse(HyArena *a, const char *text, size_t size);

/* Python's int(text) and float(text); NULL: not one. */
HyNode *hy_int_of_text(HyArena *a, const char *text);
HyNode *hy_float_of_text(HyArena *a, const char *text);
/* Python's int(number), for a finite one. */
HyNode *hy_int_of_float(HyArena *a, double number);
/* Within the range of a long long. */
bool hy_int_value(const HyNode *node, long long *out);
double hy_number(const HyNode *node); /* of a BOOL, INT or FLOAT */

/* repr(float): the shortest digits that read back to it. */
const char *hy_float_repr(double number, char out[40]);
/* str(value): bare text, True, None, and containers as Python prints them. */
const char *hy_str(HyArena *a, const HyNode *node);
bool hy_equal(const HyNode *a, const HyNode *b);

#endif
