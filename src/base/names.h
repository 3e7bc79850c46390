/* Names: their beginnings and ends; the nearest known one, and a foreign one on one line, for error
 * texts. */
#ifndef TTT_BASE_NAMES_H
#define TTT_BASE_NAMES_H

#include <stdbool.h>

enum { NAME_SHOWN_MAX = 120 };

bool text_starts(const char *text, const char *start);
bool text_ends(const char *text, const char *end);

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b. Only the first
 * 127 bytes of each are looked at. */
int edit_distance(const char *a, const char *b);

/* The known name (of n) that was probably meant, by edit distance of the whole or of the part after
 * the last dot; NULL when none is near. */
const char *name_nearest(const char *name, const char *const *known, int n);

/* Copies a name out of a foreign file for an error text: control characters become '?', and a long
 * name is cut and ends in "...". Returns out. */
const char *name_show(char out[NAME_SHOWN_MAX], const char *name);

/* Names for an error text: the first ones, separated by commas, then "and N more". */
typedef struct NameList {
    int n;
    char text[1600];
} NameList;

void name_list_add(NameList *list, const char *name);
/* The text, complete. */
const char *name_list_end(NameList *list);

#endif
