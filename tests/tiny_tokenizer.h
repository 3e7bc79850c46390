/* Small tokenizers of each kind, made in memory: all bytes and some merges of English and white
 * space. */
#ifndef TTT_TESTS_TINY_TOKENIZER_H
#define TTT_TESTS_TINY_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "data/split_pattern.h"
#include "data/token_model.h"
#include "data/tokenizer.h"

enum { TINY_BYTES, TINY_RANKS, TINY_JSON, TINY_REGEX, TINY_DIGITS, TINY_TOKENIZERS };

/* Every token but the bytes is made of two before it. */
static const char *const tiny_merges[][2] = {
    {" ", " "},          {"t", "h"}, {"th", "e"},  {" ", "the"},     {"i", "n"},
    {"e", "r"},          {"a", "n"}, {"an", "d"},  {" ", "and"},     {"  ", "  "},
    {"\n", "\n"},        {"l", "l"}, {"'", "s"},   {"1", "2"},       {"12", "3"},
    {"\n", " "},         {"a", "a"}, {"aa", "aa"}, {"\xc3", "\xa9"}, {"\xe4", "\xb8"},
    {"\xe4\xb8", "\xad"}};

static inline void tiny_base64(FILE *out, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned word = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                        (i + 2 < n ? p[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            fputc(i + (size_t)k <= n ? digits[word >> (18 - 6 * k) & 63] : '=', out);
    }
}

/* A ranks file; the caller frees it. */
static inline char *tiny_ranks(size_t *size)
{
    char *text;
    FILE *out = open_memstream(&text, size);
    CHECK(out, "no memory");
    for (int c = 0; c < 256; c++) {
        unsigned char byte = (unsigned char)c;
        tiny_base64(out, &byte, 1);
        fprintf(out, " %d\n", c);
    }
    for (int i = 0; i < ARRAY_LEN(tiny_merges); i++) {
        char token[32];
        snprintf(token, sizeof token, "%s%s", tiny_merges[i][0], tiny_merges[i][1]);
        tiny_base64(out, (unsigned char *)token, strlen(token));
        fprintf(out, " %d\n", 256 + i);
    }
    fclose(out);
    return text;
}

static inline void tiny_spell(FILE *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c[UTF8_MAX];
        int length = utf8_write(c, byte_to_char((unsigned char)bytes[i]));
        if (c[0] == '"' || c[0] == '\\') fputc('\\', out);
        fwrite(c, 1, (size_t)length, out);
    }
}

/* A tokenizer.json with this pre_tokenizer; the caller frees it. */
static inline char *tiny_json(const char *pre_tokenizer, size_t *size)
{
    char *text;
    FILE *out = open_memstream(&text, size);
    CHECK(out, "no memory");
    fprintf(out,
            "{\"added_tokens\": [{\"id\": 300, \"content\": \"<|begin_of_text|>\", \"special\": "
            "true}, {\"id\": 301, \"content\": \"<a>\", \"special\": false}],\n\"pre_tokenizer\": "
            "%s,\n\"model\": {\"type\": \"BPE\", \"vocab\": {",
            pre_tokenizer);
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        fprintf(out, "%s\"", c ? ", " : "");
        tiny_spell(out, &byte, 1);
        fprintf(out, "\": %d", c);
    }
    for (int i = 0; i < ARRAY_LEN(tiny_merges); i++) {
        fputs(",\n\"", out);
        for (int k = 0; k < 2; k++) tiny_spell(out, tiny_merges[i][k], strlen(tiny_merges[i][k]));
        fprintf(out, "\": %d", 256 + i);
    }
    fputs("},\n\"merges\": [", out);
    for (int i = 0; i < ARRAY_LEN(tiny_merges); i++) {
        fprintf(out, "%s\"", i ? ", " : "");
        tiny_spell(out, tiny_merges[i][0], strlen(tiny_merges[i][0]));
        fputc(' ', out);
        tiny_spell(out, tiny_merges[i][1], strlen(tiny_merges[i][1]));
        fputc('"', out);
    }
    fputs("]}}\n", out);
    fclose(out);
    return text;
}

static const char tiny_byte_level[] =
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}";

/* Not inline: gcc 12 takes the memory of open_memstream for a local that is gone. */
__attribute__((noinline, unused)) static char *tiny_text(int kind, size_t *size)
{
    static const char regex[] =
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
        "{\"Regex\": "
        "\"\\\\w+|[^\\\\w\\\\s]|\\\\s\"}, \"behavior\": \"Isolated\", \"invert\": false}, "
        "{\"type\": "
        "\"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}";
    static const char digits[] = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                                 "\"Digits\", \"individual_digits\": "
                                 "true}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}";
    if (kind == TINY_RANKS) return tiny_ranks(size);
    return tiny_json(kind == TINY_REGEX    ? regex
                     : kind == TINY_DIGITS ? digits
                                           : tiny_byte_level,
                     size);
}

static inline Tokenizer *tiny_tokenizer(int kind)
{
    Err err;
    Tokenizer *tok = NULL;
    size_t size = 0;
    char *text = kind == TINY_BYTES ? NULL : tiny_text(kind, &size);
    int status =
        text ? tokenizer_read(&tok, text, size, "tiny", &err) : tokenizer_open(&tok, "bytes", &err);
    CHECK(status == 0, "%s", err.text);
    free(text);
    return tok;
}

#endif
