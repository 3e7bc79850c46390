/* Beginnings, ends, edit distance, suggestions, and safe display of names. */
#include "base/names.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h" // defines: line_keep

enum { MAX_LENGTH = 127 };

bool text_starts(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool text_ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

int edit_distance(const char *a, const char *b)
{
    int rows[3][MAX_LENGTH + 1]; /* row i is rows[i % 3]: a swap looks two rows back */
    int n = (int)strnlen(a, MAX_LENGTH), m = (int)strnlen(b, MAX_LENGTH);
    for (int j = 0; j <= m; j++) rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && above2[j - 2] + 1 < row[j]) row[j] = above2[j - 2] + 1;
        }
    }
    return rows[n % 3][m];
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* The distance if it is small for names of this length, else -1. */
static int near_distance(const char *a, const char *b)
{
    int length = (int)strnlen(a, MAX_LENGTH), distance = edit_distance(a, b);
    return distance <= 1 + length / 4 && distance < length ? distance : -1;
}

const char *name_nearest(const char *name, const char *const *known, int n)
{
    const char *best = NULL;
    int best_score = 0, best_whole = 0;
    for (int i = 0; i < n; i++) {
        int whole = edit_distance(name, known[i]), score = near_distance(name, known[i]);
        int part = near_distance(last_part(name), last_part(known[i]));
        if (part >= 0 && (score < 0 || part + 1 < score)) score = part + 1;
        if (score < 0) continue;
        if (best && (score > best_score || (score == best_score && whole >= best_whole))) continue;
        best = known[i];
        best_score = score;
        best_whole = whole;
    }
    return best;
}

const char *name_show(char out[NAME_SHOWN_MAX], const char *name)
{
    size_t length = strlen(name), kept = length < NAME_SHOWN_MAX ? length : NAME_SHOWN_MAX - 4;
    /* A cut must not fall inside a UTF-8 character: 10xxxxxx continues one. */
    while (kept < length && kept > 0 && ((unsigned char)name[kept] & 0xc0) == 0x80) kept--;
    memcpy(out, name, kept);
    strcpy(out + kept, kept < length ? "..." : "");
    return line_keep(out);
}

enum { LIST_SHOWN = 12 };

void name_list_add(NameList *list, const char *name)
{
    char shown[NAME_SHOWN_MAX];
    size_t used = strlen(list->text);
    if (list->n++ >= LIST_SHOWN) return;
    snprintf(list->text + used, sizeof list->text - used, "%s%s", used ? ", " : "",
             name_show(shown, name));
}

const char *name_list_end(NameList *list)
{
    size_t used = strlen(list->text);
    if (list->n > LIST_SHOWN)
        snprintf(list->text + used, sizeof list->text - used, " and %d more", list->n - LIST_SHOWN);
    return list->text;
}
