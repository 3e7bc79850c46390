/* One text as YAML: plain, in single or in double quotes, folded where it is long, as PyYAML does.
 */
#ifndef TTT_HYDRA_EMIT_TEXT_H
#define TTT_HYDRA_EMIT_TEXT_H

#include <stdbool.h>
#include <stdio.h>

/* A stream that knows its column, counted in characters. */
typedef struct Paper {
    FILE *out;
    int column;
} Paper;

void paper_put(Paper *p, const char *text, size_t size);
/* indent: of the lines after the first; is_key: all on one line. */
void paper_put_text(Paper *p, const char *text, int indent, bool is_key);
/* Whether a text is short and plain enough for "key: value"; else it is "? key" and ": value". */
bool paper_is_simple_key(const char *text);
/* In double quotes, as JSON has them. */
void paper_put_json(Paper *p, const char *text);

#endif
