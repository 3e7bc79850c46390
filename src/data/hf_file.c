/* Hugging Face's tokenizer.json: the vocabulary, merges and added tokens. What stands around them,
 * normalization and splitting, is read in hf_steps.c. Parts that would change ids and are not known
 * here are refused by name; those that only concern offsets or batches are passed over. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/utf8.h"
#include "data/hf_parts.h"
#include "data/unicode.h"

enum { MAX_ADDED = 1 << 16 };

typedef struct Vocabulary {
    const char *file;
    BpeToken *tokens; /* (n) */
    size_t n;
    unsigned char *bytes; /* (used of room) */
    size_t used, room;
    int16_t of_char[0x180]; /* the byte that a character spells, -1: none */
} Vocabulary;

int hf_refuse(const char *file, const char *part, const char *what, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err,
                   "%s: %s is %s, which is not supported: only byte-level BPE is "
                   "(docs/tokenizers.md)",
                   file, part, name_show(shown, what));
}

/* --- vocabulary ---------------------------------------------------------------------------------
 */

/* The bytes that a token spells; a token with other characters stands for itself. Returns whether
 * it is spelled in bytes. */
static bool spelling_read(const Vocabulary *v, const char *key, size_t n, unsigned char *out,
                          size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < n;) {
        uint32_t code = 0;
        int step = utf8_read((const unsigned char *)key + i, n - i, &code);
        if (step <= 0 || code >= 0x180 || v->of_char[code] < 0) {
            memcpy(out, key, n);
            *length = n;
            return false;
        }
        out[(*length)++] = (unsigned char)v->of_char[code];
        i += (size_t)step;
    }
    return true;
}

static int token_put(Vocabulary *v, json_int_t id, const char *key, size_t n, uint8_t kind,
                     Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (id < 0 || id >= BPE_MAX_IDS)
        return err_set(err, "%s: the token '%s' has the id %lld, outside 0 to %d", v->file,
                       name_show(shown, key), (long long)id, BPE_MAX_IDS - 1);
    if (v->room - v->used < n) {
        size_t room = 2 * v->room + n;
        unsigned char *more = realloc(v->bytes, room);
        if (more == NULL) return err_set(err, "no memory for the tokens of %s", v->file);
        v->bytes = more;
        v->room = room;
    }
    size_t length = n;
    if (kind & BPE_TEXT) {
        if (!spelling_read(v, key, n, v->bytes + v->used, &length)) kind = 0;
    } else {
        memcpy(v->bytes + v->used, key, n);
    }
    v->tokens[v->n++] = (BpeToken){(int32_t)id, kind, (uint32_t)v->used, (uint32_t)length};
    v->used += length;
    return 0;
}

static int vocab_read(Vocabulary *v, json_t *vocab, Err *err)
{
    const char *key;
    json_t *id;
    json_object_foreach(vocab, key, id)
    {
        char shown[NAME_SHOWN_MAX];
        if (!json_is_integer(id))
            return err_set(err, "%s: model.vocab: the id of '%s' is not an integer", v->file,
                           name_show(shown, key));
        size_t n = strlen(key);
        if (n == 0) continue; /* an empty token is never made */
        TRY(token_put(v, json_integer_value(id), key, n, BPE_TEXT, err));
    }
    return 0;
}

/* --- added tokens -------------------------------------------------------------------------------
 */

static bool flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static int added_read_one(Vocabulary *v, json_t *vocab, const json_t *entry, AddedToken *out,
                          Err *err)
{
    const json_t *content = json_object_get(entry, "content"), *id = json_object_get(entry, "id");
    size_t n = json_string_length(content);
    if (n == 0 || n > BPE_MAX_TOKEN || !json_is_integer(id))
        return err_set(err, "%s: added_tokens: each needs an id and a content of 1 to %d bytes",
                       v->file, BPE_MAX_TOKEN);
    const char *text = json_string_value(content);
    const json_t *there = json_object_get(vocab, text);
    char shown[NAME_SHOWN_MAX];
    if (there && json_integer_value(there) != json_integer_value(id))
        return err_set(err, "%s: '%s' has the id %lld in added_tokens, %lld in model.vocab",
                       v->file, name_show(shown, text), (long long)json_integer_value(id),
                       (long long)json_integer_value(there));
    *out = (AddedToken){.special = flag(entry, "special"),
                        .single_word = flag(entry, "single_word"),
                        .lstrip = flag(entry, "lstrip"),
                        .rstrip = flag(entry, "rstrip"),
                        .normalized = flag(entry, "normalized"),
                        .text = malloc(n + 1),
                        .length = n};
    if (out->text == NULL) return err_set(err, "no memory for the tokens of %s", v->file);
    memcpy(out->text, text, n + 1);
    if (there == NULL)
        TRY(token_put(v, json_integer_value(id), text, n, out->special ? BPE_CONTROL : 0, err));
    out->id = (int32_t)json_integer_value(id);
    return 0;
}

static int added_read(Vocabulary *v, json_t *vocab, json_t *list, AddedToken *out, int *n, Err *err)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        int status = added_read_one(v, vocab, entry, &out[*n], err);
        *n += out[*n].text != NULL;
        TRY(status);
    }
    return 0;
}

/* Added tokens that are in the vocabulary too are special there as well. */
static void mark_special(TokenModel *m)
{
    const AddedTokens *lists[] = {&m->raw, &m->normalized};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < lists[k]->n; i++)
            if (lists[k]->token[i].special) m->bpe.kind[lists[k]->token[i].id] |= BPE_CONTROL;
}

/* --- merges -------------------------------------------------------------------------------------
 */

/* The token that is spelled so, -1: none. */
static int32_t part_find(const Vocabulary *v, const Bpe *b, const char *part, size_t n)
{
    unsigned char bytes[BPE_MAX_TOKEN * 2];
    size_t length;
    if (n == 0 || n > sizeof bytes || !spelling_read(v, part, n, bytes, &length)) return -1;
    return bpe_find(b, bytes, length);
}

static int merge_parts(const json_t *merge, const char *part[2], size_t n[2])
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t k = 0; k < 2; k++) {
            part[k] = json_string_value(json_array_get(merge, k));
            n[k] = json_string_length(json_array_get(merge, k));
        }
        return part[0] && part[1] ? 0 : -1;
    }
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (space == NULL || strchr(space + 1, ' ')) return -1;
    part[0] = text;
    n[0] = (size_t)(space - text);
    part[1] = space + 1;
    n[1] = strlen(space + 1);
    return 0;
}

static const char *part_show(char out[NAME_SHOWN_MAX], const char *part, size_t n)
{
    char copy[NAME_SHOWN_MAX + 1];
    snprintf(copy, sizeof copy, "%.*s", (int)(n < NAME_SHOWN_MAX ? n : NAME_SHOWN_MAX), part);
    return name_show(out, copy);
}

static int merge_read(const Vocabulary *v, Bpe *b, const json_t *merge, size_t rank, Err *err)
{
    const char *part[2];
    size_t n[2], left_n, right_n;
    char shown[2][NAME_SHOWN_MAX];
    unsigned char joined[2 * BPE_MAX_TOKEN];
    if (merge_parts(merge, part, n) < 0)
        return err_set(err, "%s: model.merges[%zu] is not two tokens", v->file, rank);
    int32_t left = part_find(v, b, part[0], n[0]), right = part_find(v, b, part[1], n[1]), id = -1;
    if (left >= 0 && right >= 0) {
        const unsigned char *first = bpe_bytes(b, left, &left_n),
                            *second = bpe_bytes(b, right, &right_n);
        memcpy(joined, first, left_n);
        memcpy(joined + left_n, second, right_n);
        id = bpe_find(b, joined, left_n + right_n);
    }
    if (id < 0)
        return err_set(err,
                       "%s: model.merges[%zu]: '%s' and '%s' are not both in model.vocab, with the "
                       "token that they make; use a sound copy",
                       v->file, rank, part_show(shown[0], part[0], n[0]),
                       part_show(shown[1], part[1], n[1]));
    bpe_pairs_add(b, (BpePair){left, right, (uint32_t)rank, id});
    return 0;
}

static int merges_read(const Vocabulary *v, Bpe *b, const json_t *merges, Err *err)
{
    size_t n = json_array_size(merges);
    TRY(bpe_pairs_begin(b, n, err));
    for (size_t i = 0; i < n; i++) TRY(merge_read(v, b, json_array_get(merges, i), i, err));
    return 0;
}

/* --- the model ----------------------------------------------------------------------------------
 */

static bool is_unset(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static int model_check(const json_t *model, const char *file, Err *err)
{
    static const char *const unknown[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", "byte_fallback"};
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model)) return err_set(err, "%s: there is no model in it", file);
    if (type && strcmp(type, "BPE") != 0) return hf_refuse(file, "model.type", type, err);
    for (int i = 0; i < ARRAY_LEN(unknown); i++)
        if (!is_unset(json_object_get(model, unknown[i])))
            return err_set(err,
                           "%s: model.%s is set, which is not supported: only byte-level BPE is "
                           "(docs/tokenizers.md)",
                           file, unknown[i]);
    if (!json_is_object(json_object_get(model, "vocab")) ||
        !json_is_array(json_object_get(model, "merges")))
        return err_set(err, "%s: model.vocab is not an object, or model.merges no array", file);
    return 0;
}

static int model_read(Vocabulary *v, TokenModel *m, json_t *root, Err *err)
{
    json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    TRY(model_check(model, v->file, err));
    json_t *vocab = json_object_get(model, "vocab");
    size_t n_added = json_array_size(added), n = json_object_size(vocab) + n_added;
    if (n_added > MAX_ADDED)
        return err_set(err, "%s: more than %d added tokens", v->file, MAX_ADDED);
    AddedToken *list = calloc(n_added + 1, sizeof *list);
    int n_list = 0, status = -1;
    v->tokens = calloc(n + 1, sizeof *v->tokens);
    if (list && v->tokens)
        status = vocab_read(v, vocab, err);
    else
        err_set(err, "no memory for the tokens of %s", v->file);
    if (status == 0) status = added_read(v, vocab, added, list, &n_list, err);
    token_model_added(m, list, n_list);
    TRY(status);
    TRY(bpe_place(&m->bpe, v->tokens, v->n, v->bytes, v->file, err));
    mark_special(m);
    TRY(merges_read(v, &m->bpe, json_object_get(model, "merges"), err));
    if (!flag(model, "ignore_merges")) bpe_keep_reachable(&m->bpe);
    return 0;
}

static int hf_root_read(TokenModel *m, json_t *root, const char *file, Err *err)
{
    Vocabulary v = {.file = file};
    memset(v.of_char, 0xff, sizeof v.of_char);
    for (int c = 0; c < 256; c++) v.of_char[byte_to_char((unsigned char)c)] = (int16_t)c;
    m->bits = unicode_bits();
    if (m->bits == NULL) return err_set(err, "no memory for a tokenizer");
    int status = hf_steps_read(m, root, file, err);
    if (status == 0) status = model_read(&v, m, root, err);
    if (status == 0) status = hf_ends_read(m, root, file, err);
    free(v.tokens);
    free(v.bytes);
    return status;
}

int hf_file_read(TokenModel *m, const char *text, size_t n, const char *file, Err *err)
{
    json_error_t where;
    char shown[NAME_SHOWN_MAX];
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return err_set(err, "%s:%d: not JSON (%s)", file, where.line, name_show(shown, where.text));
    int status = hf_root_read(m, root, file, err);
    json_decref(root);
    return status;
}
