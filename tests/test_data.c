/* Tokenizer, token sources and documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/sha256.h"
#include "data/dataset.h"
#include "data/dataset_check.h"
#include "data/doc_index.h"
#include "data/escape.h"
#include "data/token_source.h"
#include "data/token_stream.h"
#include "paths.h"

typedef struct Fixture {
    char dir[256];
    DatasetInfo info;
} Fixture;

enum { N_TRAIN = 10, N_VAL = 3 };

static void write_text(const Fixture *f, const char *name, const void *data, size_t size)
{
    char path[512];
    Err err;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
}

static void write_split(Fixture *f, int split, const uint16_t *ids, int n, const char *docs,
                        int n_docs)
{
    SplitInfo *info = &f->info.splits[split];
    unsigned char bytes[64];
    for (int i = 0; i < n; i++) {
        bytes[2 * i] = (unsigned char)ids[i];
        bytes[2 * i + 1] = (unsigned char)(ids[i] >> 8);
    }
    *info = (SplitInfo){.tokens = n, .documents = n_docs};
    snprintf(info->token_file, DATASET_TEXT, "%s.bin", split_name(split));
    snprintf(info->docs_file, DATASET_TEXT, "%s.docs.jsonl", split_name(split));
    Sha256 sha;
    sha256_init(&sha);
    sha256_update(&sha, bytes, (size_t)n * 2);
    sha256_hex(&sha, info->sha256);
    write_text(f, info->token_file, bytes, (size_t)n * 2);
    write_text(f, info->docs_file, docs, strlen(docs));
}

/* A dataset made by hand: train has two documents, val one. */
static int setup(void **state)
{
    static const uint16_t train[N_TRAIN] = {256, 1, 2, 3, 4, 5, 256, 255, 0, 9};
    static const uint16_t val[N_VAL] = {256, 7, 257};
    Fixture *f = calloc(1, sizeof *f);
    Err err;
    assert_int_equal(temp_folder(f->dir, sizeof f->dir), 0);
    f->info = (DatasetInfo){
        .tokenizer = "bytes", .vocab_size = 258, .bos = 256, .eos = 257, .token_size = 2};
    write_split(f, SPLIT_TRAIN, train, N_TRAIN,
                "{\"name\":\"a\",\"start\":0,\"tokens\":6}\n"
                "{\"name\":\"b\\nc\",\"start\":6,\"tokens\":4}\n",
                2);
    write_split(f, SPLIT_VAL, val, N_VAL, "{\"name\":\"v\",\"start\":0,\"tokens\":3}\n", 1);
    assert_int_equal(dataset_write(&f->info, f->dir, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    Err err;
    assert_int_equal(dir_remove(f->dir, &err), 0);
    free(f);
    return 0;
}

static int check_split(const char *dir, const char *split, Err *err)
{
    CheckReport report;
    return dataset_check(&report, dir, split, &(CheckOptions){.quiet = true}, err);
}

static void assert_mentions(const Err *err, const char *part)
{
    if (strstr(err->text, part) == NULL) fail_msg("'%s' does not mention '%s'", err->text, part);
    assert_null(strchr(err->text, '\n'));
}

static void assert_open_fails(const Fixture *f, const char *split, const char *part)
{
    TokenSource *source;
    Err err;
    assert_int_equal(token_source_open(&source, f->dir, split, &err), -1);
    assert_null(source);
    assert_mentions(&err, part);
}

/* --- tokenizer -------------------------------------------------------------------------------- */

static void tokenizer_round_trip(void **state)
{
    (void)state;
    Tokenizer *tok;
    Err err;
    unsigned char text[256], back[256 + TOKENIZER_MAX_PIECE];
    const int32_t *ids;
    for (int i = 0; i < 256; i++) text[i] = (unsigned char)i;
    assert_int_equal(tokenizer_open(&tok, "bytes", &err), 0);
    TokenStream *stream = token_stream_new(tok, false);
    assert_int_equal(token_stream_push(stream, text, 256, &ids, &err), 256);
    int n = 0;
    for (int i = 0; i < 256; i++) {
        assert_int_equal(ids[i], i);
        n += tokenizer_decode(tok, ids[i], (char *)back + n);
    }
    assert_int_equal(n, 256);
    assert_memory_equal(back, text, 256);
    assert_int_equal(token_stream_end(stream, &ids, &err), 0);
    token_stream_free(stream);
    assert_int_equal(tokenizer_bos(tok), 256);
    assert_int_equal(tokenizer_eos(tok), 257);
    assert_int_equal(tokenizer_vocab_size(tok), 258);
    assert_string_equal(tokenizer_name(tok), "bytes");
    assert_int_equal(tokenizer_decode(tok, 256, (char *)back), 0);
    assert_int_equal(tokenizer_decode(tok, 257, (char *)back), 0);
    tokenizer_close(tok);
    assert_int_equal(tokenizer_open(&tok, "llama3", &err), -1);
    assert_null(tok);
    assert_mentions(&err, "llama3");
}

static void names_are_escaped(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"plain name", "plain name", "plain name"},
        {"a\nb\tc\\d\x01", "a\nb\tc\\d\x01", "a\\nb\\tc\\\\d\\x01"},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80"},
        {"\xff\xc3", "\\xff\\xc3", "\\xff\\xc3"},
        {"\xc0\x80\xed\xa0\x80", "\\xc0\\x80\\xed\\xa0\\x80", "\\xc0\\x80\\xed\\xa0\\x80"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80"}};
    for (int i = 0; i < ARRAY_LEN(cases); i++)
        for (int one_line = 0; one_line < 2; one_line++) {
            char *out = escape_text(cases[i][0], one_line == 1);
            assert_string_equal(out, cases[i][1 + one_line]);
            free(out);
        }
}

/* --- sources ---------------------------------------------------------------------------------- */

static void source_reads_folder(void **state)
{
    const Fixture *f = *state;
    TokenSource *source;
    Err err;
    int32_t ids[N_TRAIN];
    assert_int_equal(token_source_open(&source, f->dir, "train", &err), 0);
    assert_int_equal(token_source_length(source), N_TRAIN);
    assert_int_equal(token_source_read(source, 5, 3, ids, &err), 0);
    assert_int_equal(ids[0], 5);
    assert_int_equal(ids[1], 256);
    assert_int_equal(ids[2], 255);
    assert_int_equal(token_source_read(source, N_TRAIN, 0, ids, &err), 0);
    assert_int_equal(token_source_read(source, N_TRAIN - 1, 2, ids, &err), -1);
    assert_int_equal(token_source_read(source, -1, 1, ids, &err), -1);
    assert_int_equal(token_source_read(source, 1, INT64_MAX, ids, &err), -1);
    assert_mentions(&err, "train.bin");
    assert_int_equal(doc_count(source), 2);
    assert_string_equal(doc_info(source, 1).name, "b\nc");
    Document doc = doc_info(source, 1);
    assert_int_equal(doc.length, 4);
    assert_int_equal(token_source_read(source, doc.start, doc.length, ids, &err), 0);
    assert_int_equal(ids[0], 256);
    assert_int_equal(ids[3], 9);
    token_source_close(source);
    assert_int_equal(check_split(f->dir, "train", &err), 0);
}

static void source_refuses_missing(void **state)
{
    Fixture *f = *state;
    char path[512], keep[256];
    assert_open_fails(f, "test", "test");
    snprintf(path, sizeof path, "%s/val.docs.jsonl", f->dir);
    remove(path);
    assert_open_fails(f, "val", "val.docs.jsonl");
    snprintf(path, sizeof path, "%s/val.bin", f->dir);
    remove(path);
    assert_open_fails(f, "val", "val.bin");
    snprintf(path, sizeof path, "%s/dataset.json", f->dir);
    remove(path);
    assert_open_fails(f, "train", "dataset.json");
    memcpy(keep, f->dir, sizeof keep);
    strcat(f->dir, "-none");
    assert_open_fails(f, "train", "-none");
    memcpy(f->dir, keep, sizeof keep);
}

static void source_refuses_damage(void **state)
{
    Fixture *f = *state;
    TokenSource *source;
    Err err;
    int32_t ids[N_TRAIN];
    unsigned char tokens[2 * N_TRAIN] = {0};
    write_text(f, "train.bin", tokens, sizeof tokens - 1);
    assert_open_fails(f, "train", "train.bin");
    write_text(f, "train.bin", tokens, sizeof tokens);
    assert_int_equal(check_split(f->dir, "train", &err), -1);
    assert_mentions(&err, "SHA-256");
    tokens[2 * 7] = 2; /* token 7 becomes 258 */
    tokens[2 * 7 + 1] = 1;
    write_text(f, "train.bin", tokens, sizeof tokens);
    assert_int_equal(token_source_open(&source, f->dir, "train", &err), 0);
    assert_int_equal(token_source_read(source, 0, 7, ids, &err), 0);
    assert_int_equal(token_source_read(source, 5, 5, ids, &err), -1);
    assert_mentions(&err, "train.bin: token 7 is 258");
    token_source_close(source);
}

/* A file that shrinks while it is open is an error like others, not the end of the process. */
static void source_refuses_shrunk_file(void **state)
{
    const Fixture *f = *state;
    char path[512];
    TokenSource *source;
    Err err;
    int32_t ids[N_TRAIN];
    assert_int_equal(token_source_open(&source, f->dir, "train", &err), 0);
    snprintf(path, sizeof path, "%s/%s", f->dir, f->info.splits[SPLIT_TRAIN].token_file);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(token_source_read(source, 0, N_TRAIN, ids, &err), -1);
    assert_mentions(&err, "cut short");
    token_source_close(source);
}

static void source_refuses_foreign_json(void **state)
{
    Fixture *f = *state;
    Err err;
    char path[512], *text;
    size_t size;
    static const char *const edits[][3] = {
        {"\"ttt-tokens\"", "\"other\"", "format"},
        {"\"version\": 1", "\"version\": 3", "version 3"},
        {"\"bos\": 256", "\"bos\": 258", "bos is 258"},
        {"\"bos\": 256", "\"boss\": 256", "bos is missing"},
        {"\"uint16\"", "\"float\"", "dtype"},
        {"\"vocab_size\": 258", "\"vocab_size\": 70000", "70000"},
        {"\"tokens\": 10", "\"tokens\": 11", "train.bin"},
        {"\"tokens\": 10", "\"tokens\": 9223372036854775807", "splits.train.tokens"},
        {"\"tokens\": 10", "\"tokens\": -1", "splits.train.tokens"},
        {"\"documents\": 2", "\"documents\": 1", "train.docs.jsonl:2"},
        {"\"documents\": 2", "\"documents\": 3", "train.docs.jsonl"},
        {"\"train.bin\"", "\"../train.bin\"", "splits.train.token_file"},
        {"\"train.bin\"", "\"..\"", "splits.train.token_file"},
        {"\"splits\"", "\"parts\"", "splits.train.tokens"},
        {"{", "{{", "dataset.json:1"}};
    snprintf(path, sizeof path, "%s/dataset.json", f->dir);
    assert_int_equal(file_read(path, &text, &size, 1 << 20, &err), 0);
    for (int i = 0; i < ARRAY_LEN(edits); i++) {
        char changed[4096];
        const char *at = strstr(text, edits[i][0]);
        assert_non_null(at);
        int n = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, edits[i][1],
                         at + strlen(edits[i][0]));
        write_text(f, "dataset.json", changed, (size_t)n);
        assert_open_fails(f, "train", edits[i][2]);
    }
    free(text);
}

static void source_refuses_bad_documents(void **state)
{
    Fixture *f = *state;
    static const char *const cases[][2] = {
        {"", "train.docs.jsonl"},
        {"not json at all, and long enough to pass for two documents of a dataset\n", ":1"},
        {"{\"name\":\"a\",\"start\":0,\"tokens\":6}\n{\"name\":\"b\",\"start\":7,\"tokens\":3}\n",
         ":2"},
        {"{\"name\":\"a\",\"start\":0,\"tokens\":6}\n{\"name\":\"b\",\"start\":6,\"tokens\":3}\n",
         "9 tokens"},
        {"{\"name\":\"a\",\"start\":0,\"tokens\":0}\n{\"name\":\"b\",\"start\":0,\"tokens\":10}\n",
         ":1"},
        {"{\"name\":\"a\",\"start\":0,\"tokens\":6}\n{\"name\":\"b\",\"start\":6,\"tokens\":4}",
         ":2: cut off"}};
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        write_text(f, "train.docs.jsonl", cases[i][0], strlen(cases[i][0]));
        assert_open_fails(f, "train", cases[i][1]);
    }
}

static void source_int32(void **state)
{
    Fixture *f = *state;
    static const unsigned char bytes[] = {0, 0, 0, 0, 0x01, 0xf5, 0x01, 0, 0xff, 0xff, 0xff, 0xff};
    TokenSource *source;
    Err err;
    int32_t ids[3];
    f->info.token_size = 4;
    f->info.vocab_size = 128258;
    write_text(f, "val.bin", bytes, sizeof bytes);
    assert_int_equal(dataset_write(&f->info, f->dir, &err), 0);
    assert_int_equal(token_source_open(&source, f->dir, "val", &err), 0);
    assert_int_equal(token_source_read(source, 0, 2, ids, &err), 0);
    assert_int_equal(ids[1], 128257);
    assert_int_equal(token_source_read(source, 0, 3, ids, &err), -1);
    assert_mentions(&err, "token 2 is -1");
    token_source_close(source);
}

static void source_of_random_tokens(void **state)
{
    (void)state;
    TokenSource *source;
    Err err;
    int32_t ids[1000], again[10];
    int seen[7] = {0};
    assert_int_equal(token_source_dummy(&source, 1000, 7, 5, &err), 0);
    assert_int_equal(token_source_read(source, 0, 1000, ids, &err), 0);
    assert_int_equal(token_source_read(source, 500, 10, again, &err), 0);
    assert_memory_equal(ids + 500, again, sizeof again);
    for (int i = 0; i < 1000; i++) {
        assert_in_range(ids[i], 0, 6);
        seen[ids[i]]++;
    }
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 95, 200);
    token_source_close(source);
    assert_int_equal(token_source_dummy(&source, 1000, 7, 6, &err), 0);
    assert_int_equal(token_source_read(source, 500, 10, again, &err), 0);
    assert_memory_not_equal(ids + 500, again, sizeof again);
    token_source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_round_trip),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test_setup_teardown(source_reads_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(source_refuses_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(source_refuses_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(source_refuses_shrunk_file, setup, teardown),
        cmocka_unit_test_setup_teardown(source_refuses_foreign_json, setup, teardown),
        cmocka_unit_test_setup_teardown(source_refuses_bad_documents, setup, teardown),
        cmocka_unit_test_setup_teardown(source_int32, setup, teardown),
        cmocka_unit_test(source_of_random_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
