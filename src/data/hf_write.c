/* Writing tokenizer.json, so that the `tokenizers` library gives the same ids. */
#include "data/hf_write.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonl.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "data/bpe.h"
#include "data/token_model.h"

static const char bos_name[] = "<|begin_of_text|>", eos_name[] = "<|end_of_text|>";

/* --- the vocabulary -----------------------------------------------------------------------------
 */

static void *grown(void *old, size_t *room, size_t needed, size_t size)
{
    if (*room >= needed) return old;
    *room = 2 * *room > needed ? 2 * *room : needed + 1024;
    void *new = realloc(old, *room * size);
    mem_need(new != NULL, "a vocabulary");
    return new;
}

static void slot_fill(HfVocabulary *v, int32_t id)
{
    size_t n = hf_vocabulary_length(v, id), at = bpe_hash(v->bytes + v->at[id], n) & v->mask;
    while (v->slot[at]) at = (at + 1) & v->mask;
    v->slot[at] = id + 1;
}

static void slots_grow(HfVocabulary *v)
{
    v->mask = v->mask ? 2 * v->mask + 1 : 4095;
    free(v->slot);
    v->slot = calloc(v->mask + 1, sizeof *v->slot);
    mem_need(v->slot != NULL, "a vocabulary");
    for (int32_t id = 0; id < v->n; id++) slot_fill(v, id);
}

/* The bytes [at[n], at[n] + length) are the token's: the one that has them, or a new one. */
static int32_t token_settle(HfVocabulary *v, size_t length)
{
    if (2 * (size_t)v->n > v->mask || v->mask == 0) slots_grow(v);
    const unsigned char *bytes = v->bytes + v->at[v->n];
    for (size_t at = bpe_hash(bytes, length) & v->mask; v->slot[at]; at = (at + 1) & v->mask) {
        int32_t id = v->slot[at] - 1;
        if (hf_vocabulary_length(v, id) == length &&
            memcmp(v->bytes + v->at[id], bytes, length) == 0)
            return id;
    }
    v->at = grown(v->at, &v->room, (size_t)v->n + 2, sizeof *v->at);
    v->at[v->n + 1] = v->at[v->n] + length;
    slot_fill(v, v->n);
    return v->n++;
}

void hf_vocabulary_begin(HfVocabulary *v)
{
    *v = (HfVocabulary){0};
    v->at = grown(v->at, &v->room, 258, sizeof *v->at);
    v->bytes = grown(v->bytes, &v->bytes_room, 1 << 16, 1);
    v->at[0] = 0;
    for (int c = 0; c < 256; c++) {
        v->bytes[v->at[c]] = (unsigned char)c;
        v->at[c + 1] = v->at[c] + 1;
        v->n = c;
        token_settle(v, 1);
    }
}

size_t hf_vocabulary_length(const HfVocabulary *v, int32_t id)
{
    return v->at[id + 1] - v->at[id];
}

int32_t hf_vocabulary_merge(HfVocabulary *v, int32_t left, int32_t right)
{
    size_t l = hf_vocabulary_length(v, left), r = hf_vocabulary_length(v, right);
    v->bytes = grown(v->bytes, &v->bytes_room, v->at[v->n] + l + r, 1);
    memcpy(v->bytes + v->at[v->n], v->bytes + v->at[left], l);
    memcpy(v->bytes + v->at[v->n] + l, v->bytes + v->at[right], r);
    v->merge = grown(v->merge, &v->merges_room, v->n_merges + 1, sizeof *v->merge);
    v->merge[v->n_merges][0] = left;
    v->merge[v->n_merges++][1] = right;
    return token_settle(v, l + r);
}

void hf_vocabulary_free(HfVocabulary *v)
{
    free(v->at);
    free(v->bytes);
    free(v->merge);
    free(v->slot);
    *v = (HfVocabulary){0};
}

/* --- the file -----------------------------------------------------------------------------------
 */

/* The token's spelling, a NUL after it; returns its length. */
static size_t spell(const HfVocabulary *v, int32_t id, char *out)
{
    size_t n = 0;
    for (size_t i = v->at[id]; i < v->at[id + 1]; i++)
        n += (size_t)utf8_write((unsigned char *)out + n, byte_to_char(v->bytes[i]));
    out[n] = 0;
    return n;
}

static json_t *vocab_json(const HfVocabulary *v)
{
    char name[2 * BPE_MAX_TOKEN + 1];
    json_t *vocab = json_object();
    for (int32_t id = 0; id < v->n; id++) {
        spell(v, id, name);
        json_object_set_new(vocab, name, json_integer(id));
    }
    return vocab;
}

static json_t *merges_json(const HfVocabulary *v)
{
    char text[4 * BPE_MAX_TOKEN + 2];
    json_t *merges = json_array();
    for (size_t i = 0; i < v->n_merges; i++) {
        size_t n = spell(v, v->merge[i][0], text);
        text[n++] = ' ';
        n += spell(v, v->merge[i][1], text + n);
        json_array_append_new(merges, json_stringn(text, n));
    }
    return merges;
}

static json_t *special_json(int32_t id, const char *name)
{
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", name,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

/* A BOS before each text. */
static json_t *template_json(int32_t bos)
{
    const char *text = "Sequence", *special = "SpecialToken";
    return json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}],"
                     " s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
                     " s:{s:{s:s, s:[i], s:[s]}}}",
                     "type", "TemplateProcessing", "single", special, "id", bos_name, "type_id", 0,
                     text, "id", "A", "type_id", 0, "pair", special, "id", bos_name, "type_id", 0,
                     text, "id", "A", "type_id", 0, special, "id", bos_name, "type_id", 1, text,
                     "id", "B", "type_id", 1, "special_tokens", bos_name, "id", bos_name, "ids",
                     bos, "tokens", bos_name);
}

static json_t *splits_json(const char *regex)
{
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type",
                     "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex", regex,
                     "behavior", "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space",
                     0, "trim_offsets", 1, "use_regex", 0);
}

int hf_write(const HfVocabulary *v, const char *regex, const char *path, Err *err)
{
    json_t *root = json_pack(
        "{s:s, s:n, s:n, s:[o, o], s:n, s:o, s:o, s:{s:s, s:b, s:b, s:b},"
        " s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
        "version", "1.0", "truncation", "padding", "added_tokens", special_json(v->n, bos_name),
        special_json(v->n + 1, eos_name), "normalizer", "pre_tokenizer", splits_json(regex),
        "post_processor", template_json(v->n), "decoder", "type", "ByteLevel", "add_prefix_space",
        0, "trim_offsets", 1, "use_regex", 0, "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
        "ignore_merges", 0, "vocab", vocab_json(v), "merges", merges_json(v));
    mem_need(root != NULL, "%s", path);
    return json_write_atomic(path, root, JSON_INDENT(1), err);
}
