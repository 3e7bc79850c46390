/* Generated text on its way out. Bytes that may still become part of a stop string or of a UTF-8
 * character are held back until that is settled. */
#ifndef TTT_CLI_TEXT_OUT_H
#define TTT_CLI_TEXT_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cli/options.h"

enum { STOP_MAX = 1024, PIECE_MAX = 1024 }; /* bytes of a stop string, of one push */

typedef struct TextOut {
    FILE *to;
    const TextList *stops; /* none is longer than STOP_MAX */
    size_t held, written;
    char hold[STOP_MAX + PIECE_MAX];
} TextOut;

void text_out_init(TextOut *out, FILE *to, const TextList *stops);
/* Adds at most PIECE_MAX bytes and writes what is settled. Returns whether a stop string is
 * complete: then all before it has been written, and the rest is dropped. */
bool text_out_push(TextOut *out, const char *bytes, size_t n);
/* Writes what is still held. */
void text_out_end(TextOut *out);

#endif
