/* Tokenizers against what tiktoken and `tokenizers` gave (tests/fixtures/tokenizer), however the
 * text is cut; files that are bad; long runs; the trainer against a naive one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/bpe_train.h"
#include "data/token_stream.h"
#include "gz_json.h"
#include "paths.h"
#include "tiny_tokenizer.h"

/* --- against the oracles ------------------------------------------------------------------------
 */

static const char *fixture_path(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "tests/fixtures/tokenizer/%s", name);
    return source_file(path);
}

static char *fixture(const char *name, size_t *size)
{
    char *text;
    Err err;
    if (file_read(fixture_path(name), &text, size, 1 << 26, &err) < 0) fail_msg("%s", err.text);
    return text;
}

static json_t *fixture_json(const char *name)
{
    json_error_t error;
    json_t *root = gz_json_load(fixture_path(name), 0, &error);
    if (!root) fail_msg("%s: %s", name, error.text);
    return root;
}

static Tokenizer *read_or_fail(const char *text, size_t size)
{
    Tokenizer *tok;
    Err err;
    if (tokenizer_read(&tok, text, size, "fixture", &err) < 0) fail_msg("%s", err.text);
    return tok;
}

/* The ids of a text that comes in parts of at most `step` bytes. Each part is memory of its own, so
 * that a look beyond it is noticed. */
static Ids encode(TokenStream *s, const unsigned char *text, size_t n, size_t step)
{
    Err err;
    Ids out = {0};
    const int32_t *ids;
    int64_t k;
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < step ? n - at : step;
        unsigned char *copy = malloc(part);
        memcpy(copy, text + at, part);
        k = token_stream_push(s, copy, part, &ids, &err);
        free(copy);
        assert_true(k >= 0);
        if (k > 0) memcpy(ids_more(&out, (size_t)k), ids, (size_t)k * sizeof *ids);
        out.n += (size_t)k;
    }
    k = token_stream_end(s, &ids, &err);
    assert_true(k >= 0);
    if (k > 0) memcpy(ids_more(&out, (size_t)k), ids, (size_t)k * sizeof *ids);
    out.n += (size_t)k;
    return out;
}

static unsigned char *unhex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    unsigned char *bytes = malloc(*n + 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (unsigned char)byte;
    }
    return bytes;
}

static void compare(const char *what, TokenStream *s, const json_t *one, const json_t *want)
{
    static const size_t steps[] = {SIZE_MAX / 2, 1, 5};
    const char *hex = json_string_value(json_object_get(one, "hex"));
    size_t n;
    unsigned char *text = unhex(hex, &n);
    for (int k = 0; k < ARRAY_LEN(steps); k++) {
        Ids got = encode(s, text, n, steps[k]);
        bool same = got.n == json_array_size(want);
        for (size_t i = 0; same && i < got.n; i++)
            same = got.v[i] == json_integer_value(json_array_get(want, i));
        if (!same) fail_msg("%s: other ids, cut after %zu bytes: %s", what, steps[k], hex);
        ids_free(&got);
    }
    free(text);
}

static void ranks_as_tiktoken(void **state)
{
    (void)state;
    size_t size, i;
    char *text = fixture("small.model", &size);
    Tokenizer *tok = read_or_fail(text, size);
    TokenStream *plain = token_stream_new(tok, false), *special = token_stream_new(tok, true);
    json_t *root = fixture_json("cases.json.gz"), *one;
    json_array_foreach(json_object_get(root, "cases"), i, one)
    {
        compare("ranks", plain, one, json_object_get(one, "ranks"));
        json_t *names = json_object_get(one, "special");
        if (names) compare("special", special, one, names);
    }
    assert_true(i > 200);
    assert_int_equal(tokenizer_bos(tok), tokenizer_vocab_size(tok) - 256);
    token_stream_free(plain);
    token_stream_free(special);
    tokenizer_close(tok);
    json_decref(root);
    free(text);
}

static void variant_compare(const char *name, const json_t *small, json_t *patch,
                            const json_t *cases)
{
    json_t *file = json_copy((json_t *)(uintptr_t)small), *one;
    size_t i;
    json_object_update(file, patch);
    char *text = json_dumps(file, 0);
    Tokenizer *tok = read_or_fail(text, strlen(text));
    for (int special = 0; special < 2; special++) {
        TokenStream *s = token_stream_new(tok, special);
        json_array_foreach(cases, i, one)
        {
            json_t *want = json_object_get(json_object_get(one, "json"), name);
            if (want) compare(name, s, one, json_array_get(want, (size_t)special));
        }
        token_stream_free(s);
    }
    tokenizer_close(tok);
    free(text);
    json_decref(file);
}

static void json_as_tokenizers(void **state)
{
    (void)state;
    json_t *root = fixture_json("cases.json.gz"), *small = fixture_json("small.json"), *patch;
    const char *name;
    json_object_foreach(json_object_get(root, "variants"), name, patch)
        variant_compare(name, small, patch, json_object_get(root, "cases"));
    assert_true(json_object_size(json_object_get(root, "variants")) > 10);
    json_decref(root);
    json_decref(small);
}

/* --- any bytes ----------------------------------------------------------------------------------
 */

static void bytes_come_back(void **state)
{
    (void)state;
    unsigned char text[3000], back[3000 + TOKENIZER_MAX_PIECE];
    uint32_t random = 1;
    for (int kind = 0; kind < TINY_TOKENIZERS; kind++) {
        Tokenizer *tok = tiny_tokenizer(kind);
        TokenStream *s = token_stream_new(tok, false);
        for (int round = 0; round < 20; round++) {
            for (size_t i = 0; i < sizeof text; i++) {
                random = random * 1664525 + 1013904223;
                unsigned char noise = (unsigned char)(random >> 24);
                text[i] = round % 2 ? noise : (unsigned char)"the and \n'S12\xc3\xa9"[noise % 16];
            }
            Ids ids = encode(s, text, sizeof text, 1 + (size_t)round * 37);
            size_t used = 0;
            for (size_t i = 0; i < ids.n && used < sizeof text; i++)
                used += (size_t)tokenizer_decode(tok, ids.v[i], (char *)back + used);
            assert_int_equal(used, sizeof text);
            assert_memory_equal(back, text, used);
            ids_free(&ids);
        }
        token_stream_free(s);
        tokenizer_close(tok);
    }
}

/* Megabytes that are one piece: a quadratic merge would take minutes. */
static void long_runs(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    unsigned char *text = malloc(N);
    for (int kind = TINY_RANKS; kind < TINY_TOKENIZERS; kind++) {
        Tokenizer *tok = tiny_tokenizer(kind);
        TokenStream *s = token_stream_new(tok, false);
        for (const char *c = "a \n\xff"; *c; c++) {
            memset(text, *c, N);
            Ids ids = encode(s, text, N, 1000);
            if (*c == 'a' && kind != TINY_REGEX) assert_int_equal(ids.n, N / 4);
            ids_free(&ids);
        }
        token_stream_free(s);
        tokenizer_close(tok);
    }
    free(text);
}

/* --- bad files ----------------------------------------------------------------------------------
 */

static void refuse(const char *text, size_t n, const char *words)
{
    Tokenizer *tok;
    Err err = {""};
    if (tokenizer_read(&tok, text, n, "bad-file", &err) == 0) fail_msg("accepted: not '%s'", words);
    assert_null(tok);
    if (!strstr(err.text, words) || !strstr(err.text, "bad-file"))
        fail_msg("'%s' does not say '%s' of bad-file", err.text, words);
    assert_null(strchr(err.text, '\n'));
}

/* A good file with one text in the place of another. */
static void refuse_changed(int kind, const char *was, const char *is, const char *words)
{
    size_t n;
    char *good = tiny_text(kind, &n);
    assert_non_null(strstr(good, was));
    size_t before = (size_t)(strstr(good, was) - good), room = n + strlen(is) + 1;
    char *text = malloc(room);
    int used = snprintf(text, room, "%.*s%s%s", (int)before, good, is, good + before + strlen(was));
    refuse(text, (size_t)used, words);
    free(text);
    free(good);
}

static void bad_ranks(void **state)
{
    (void)state;
    refuse("", 0, "no tokens");
    refuse("\n\n", 2, "no tokens");
    refuse("hello", 5, "no space in this line");
    refuse("IQ== 0\nIg= 1\n", 13, ":2: the token is not base64");
    refuse("I=== 0\n", 7, "not base64");
    refuse("IQ== 99999999\n", 14, "not a number below");
    refuse("IQ== -1\n", 8, "not a number below");
    refuse("IQ== \n", 6, "not a number below");
    refuse("IQ== 0\n", 7, "no token for the byte 0x00");
    refuse("\x00\x01\x02 \xff", 5, "not a number below");
    refuse_changed(TINY_RANKS, "Ag== 2\n", "", "a line is missing");
    refuse_changed(TINY_RANKS, "Ag== 2\n", "Ag== 1\n", "two tokens have the id 1");
    refuse_changed(TINY_RANKS, "Ag== 2\n", "Ag== 2\nAg== 277\n", "have the same bytes");
    refuse_changed(TINY_RANKS, "Ag== 2\n", "Ag 2\n", "not base64");
    enum { LONG = 10 << 20 };
    char *line = malloc(LONG);
    memset(line, 'A', LONG);
    refuse(line, LONG, "no space in this line");
    memcpy(line + LONG - 4, " 12\n", 4);
    refuse(line, LONG, "the token is too long");
    free(line);
}

static void bad_json(void **state)
{
    (void)state;
    refuse("{", 1, "not JSON");
    refuse("{}", 2, "pre_tokenizer has no ByteLevel");
    refuse("{\"a\": 1, \"a\": 2}", 16, "not JSON (duplicate");
    refuse_changed(TINY_JSON, "\"BPE\"", "\"WordPiece\"", "model.type is WordPiece");
    refuse_changed(TINY_JSON, "\"BPE\"", "\"BPE\", \"dropout\": 0.1", "model.dropout is set");
    refuse_changed(TINY_JSON, "\"BPE\"", "\"BPE\", \"byte_fallback\": true", "model.byte_fallback");
    refuse_changed(TINY_JSON, "ByteLevel", "Metaspace", "pre_tokenizer is Metaspace");
    refuse_changed(TINY_JSON, "\"pre_tokenizer\"",
                   "\"normalizer\": {\"type\": \"Lowercase\"}, "
                   "\"pre_tokenizer\"",
                   "normalizer is Lowercase");
    refuse_changed(TINY_JSON, "\"pre_tokenizer\"",
                   "\"decoder\": {\"type\": \"Fuse\"}, "
                   "\"pre_tokenizer\"",
                   "decoder is Fuse");
    refuse_changed(TINY_JSON, "\"pre_tokenizer\"",
                   "\"post_processor\": {\"type\": \"Odd\"}, "
                   "\"pre_tokenizer\"",
                   "post_processor is Odd");
    refuse_changed(TINY_REGEX, "\\\\w+|", "(", "is not understood");
    refuse_changed(TINY_REGEX, "Isolated", "Odd", "behavior is Odd");
    refuse_changed(TINY_JSON, "\"th\": 257", "\"tx\": 257", "'t' and 'h' are not both");
    refuse_changed(TINY_JSON, "\"t h\"", "\"t\"", "model.merges[1] is not two tokens");
    refuse_changed(TINY_JSON, "\"t h\"", "\"t hhhh\"", "'t' and 'hhhh'");
    refuse_changed(TINY_JSON, "\"th\": 257", "\"th\": -1", "the id -1, outside");
    refuse_changed(TINY_JSON, "\"th\": 257", "\"th\": 123456789012", "outside 0 to");
    refuse_changed(TINY_JSON, "\"th\": 257", "\"th\": 256", "two tokens have the id 256");
    refuse_changed(TINY_JSON, "\"th\": 257", "\"th\": \"x\"", "not an integer");
    refuse_changed(TINY_JSON, "\"a\": 97, ", "", "no token for the byte 0x61");
    refuse_changed(TINY_JSON, "\"id\": 301", "\"id\": 300", "two tokens have the id 300");
    refuse_changed(TINY_JSON, "\"<a>\"", "\"\"", "added_tokens");
    enum { DEPTH = 100000 };
    char *deep = malloc(DEPTH + 6);
    memcpy(deep, "{\"a\":", 6);
    memset(deep + 5, '[', DEPTH);
    refuse(deep, DEPTH + 5, "not JSON (maximum parsing depth");
    free(deep);
}

static void names_and_files(void **state)
{
    (void)state;
    char dir[256], path[PATH_MAX], name[TOKENIZER_NAME];
    size_t n;
    Err err;
    Tokenizer *tok, *again;
    assert_int_equal(temp_folder(dir, sizeof dir), 0);
    char *text = tiny_text(TINY_JSON, &n);
    snprintf(path, sizeof path, "%s/other-name.json", dir);
    assert_int_equal(file_write_atomic(path, text, n, &err), 0);
    assert_int_equal(tokenizer_open(&tok, dir, &err), -1);
    assert_int_equal(tokenizer_open(&tok, path, &err), 0);
    assert_int_equal(tokenizer_folder_name(name, dir, &err), 0);
    assert_int_equal(tokenizer_copy(tok, dir, &err), 0);
    assert_int_equal(tokenizer_folder_name(name, dir, &err), 1);
    assert_string_equal(name, tok->name);
    assert_int_equal(tokenizer_open_named(&again, tok->name, dir, &err), 0);
    assert_string_equal(again->name, tok->name);
    tokenizer_close(again);
    text[n - 1] = ' '; /* the same tokenizer, but who could tell: another digest */
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(file_write_atomic(path, text, n, &err), 0);
    assert_int_equal(tokenizer_open_named(&again, tok->name, dir, &err), -1);
    assert_non_null(strstr(err.text, "is not the tokenizer that belongs here"));
    unlink(path);
    assert_int_equal(tokenizer_open_named(&again, tok->name, dir, &err), -1);
    assert_non_null(strstr(err.text, "is missing"));
    tokenizer_close(tok);
    free(text);
    dir_remove(dir, &err);
}

/* --- training -----------------------------------------------------------------------------------
 */

/* The most frequent pair by counting all of it again: counts are in the order that the trainer
 * promises, lower ids first among equals. Returns false when there is none. */
static bool naive_best(int32_t *ids, size_t n, const uint8_t *ends, int32_t best[2])
{
    int64_t most = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        int64_t count = 0;
        if (ends[i]) continue;
        for (size_t k = 0; k + 1 < n; k++)
            count += !ends[k] && ids[k] == ids[i] && ids[k + 1] == ids[i + 1];
        bool before = ids[i] < best[0] || (ids[i] == best[0] && ids[i + 1] < best[1]);
        if (count < most || (count == most && !before)) continue;
        most = count;
        best[0] = ids[i];
        best[1] = ids[i + 1];
    }
    return most > 0;
}

static size_t naive_merge(int32_t *ids, size_t n, uint8_t *ends, const int32_t pair[2], int32_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool here = i + 1 < n && !ends[i] && ids[i] == pair[0] && ids[i + 1] == pair[1];
        i += here;
        ids[kept] = here ? id : ids[i];
        ends[kept++] = ends[i];
    }
    return kept;
}

static void trained_as_by_hand(void **state)
{
    (void)state;
    enum { MERGES = 60 };
    /* Words without doubled letters: counts of overlapping pairs are a matter of taste. */
    static const char text[] =
        "the cat sat on the mat and the rat that sang a song to the cat on a "
        "mat the man ran then that hat and this thin thing sat there";
    char dir[256], in[PATH_MAX], out[PATH_MAX];
    Err err;
    TrainerReport report;
    assert_int_equal(temp_folder(dir, sizeof dir), 0);
    snprintf(in, sizeof in, "%s/text", dir);
    snprintf(out, sizeof out, "%s/tokenizer.json", dir);
    assert_int_equal(file_write_atomic(in, text, sizeof text - 1, &err), 0);
    const char *paths[] = {in};
    TrainerOptions o = {.paths = paths,
                        .n_paths = 1,
                        .pattern = "llama3",
                        .out = out,
                        .vocab_size = TRAIN_MIN_VOCAB + MERGES,
                        .quiet = true};
    if (bpe_train(&o, &report, &err) < 0) fail_msg("%s", err.text);

    size_t n = sizeof text - 1;
    int32_t ids[sizeof text];
    uint8_t ends[sizeof text];
    for (size_t i = 0; i < n; i++) {
        ids[i] = (unsigned char)text[i];
        ends[i] = text[i + 1] == ' ' || text[i + 1] == 0;
    }
    Tokenizer *tok;
    assert_int_equal(tokenizer_open(&tok, out, &err), 0);
    for (int32_t k = 0; k < MERGES; k++) {
        int32_t pair[2] = {INT32_MAX, INT32_MAX};
        if (!naive_best(ids, n, ends, pair)) break;
        char a[TOKENIZER_MAX_PIECE], b[TOKENIZER_MAX_PIECE], both[TOKENIZER_MAX_PIECE];
        int la = tokenizer_decode(tok, pair[0], a), lb = tokenizer_decode(tok, pair[1], b);
        int l = tokenizer_decode(tok, 256 + k, both);
        assert_int_equal(l, la + lb);
        assert_memory_equal(both, a, (size_t)la);
        assert_memory_equal(both + la, b, (size_t)lb);
        n = naive_merge(ids, n, ends, pair, 256 + k);
    }
    TokenStream *s = token_stream_new(tok, false);
    Ids got = encode(s, (const unsigned char *)text, sizeof text - 1, 9);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.v, ids, n * sizeof *ids);
    ids_free(&got);
    token_stream_free(s);
    assert_int_equal(tokenizer_bos(tok), tokenizer_vocab_size(tok) - 2);
    assert_int_equal(tokenizer_eos(tok), tokenizer_vocab_size(tok) - 1);
    tokenizer_close(tok);

    o.vocab_size = 257;
    assert_int_equal(bpe_train(&o, &report, &err), -1);
    o.vocab_size = 300;
    o.pattern = "none";
    assert_int_equal(bpe_train(&o, &report, &err), -1);
    assert_non_null(strstr(err.text, "there are llama3, gpt2"));
    dir_remove(dir, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_as_tiktoken), cmocka_unit_test(json_as_tokenizers),
        cmocka_unit_test(bytes_come_back),   cmocka_unit_test(long_runs),
        cmocka_unit_test(bad_ranks),         cmocka_unit_test(bad_json),
        cmocka_unit_test(names_and_files),   cmocka_unit_test(trained_as_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
