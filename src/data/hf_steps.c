/* tokenizer.json: normalizer, pre-tokenizer, decoder, post-processor. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"
#include "data/hf_parts.h"

enum { MAX_DEPTH = 8 };

static const char *type_of(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "(no type)";
}

static bool flag_or(const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* The parts of a Sequence, or the part itself as the only one. NULL for none. */
static const json_t *parts_of(const json_t *part, const char *list, size_t i)
{
    if (part == NULL || json_is_null(part)) return NULL;
    if (strcmp(type_of(part), "Sequence") != 0) return i == 0 ? part : NULL;
    return json_array_get(json_object_get(part, list), i);
}

/* --- normalizer ---------------------------------------------------------------------------------
 */

static int normalizer_read(TokenModel *m, const json_t *part, const char *file, int depth, Err *err)
{
    static const char *const forms[] = {"", "NFC", "NFD", "NFKC", "NFKD"};
    const json_t *one;
    for (size_t i = 0; (one = parts_of(part, "normalizers", i)); i++) {
        if (strcmp(type_of(one), "Sequence") == 0 && depth < MAX_DEPTH) {
            TRY(normalizer_read(m, one, file, depth + 1, err));
            continue;
        }
        int form = ARRAY_LEN(forms) - 1;
        while (form > 0 && strcmp(type_of(one), forms[form]) != 0) form--;
        if (form == 0) return hf_refuse(file, "normalizer", type_of(one), err);
        if (m->normalizer) return hf_refuse(file, "normalizer", "more than one form", err);
        m->normalizer = normalizer_new((NormalForm)form);
    }
    return 0;
}

/* --- pre-tokenizer ------------------------------------------------------------------------------
 */

static int step_add(TokenModel *m, SplitStep step, const char *file, Err *err)
{
    if (m->n_steps == MAX_SPLIT_STEPS) {
        split_regex_free(step.regex);
        return err_set(err, "%s: pre_tokenizer has more than %d steps", file, MAX_SPLIT_STEPS);
    }
    m->step[m->n_steps++] = step;
    return 0;
}

static int byte_level_read(TokenModel *m, const json_t *part, const char *file, Err *err)
{
    SplitStep space = {.kind = SPLIT_SPACE},
              words = {.kind = SPLIT_PATTERN, .pattern = split_pattern_named("gpt2")};
    if (flag_or(part, "add_prefix_space", true)) TRY(step_add(m, space, file, err));
    return flag_or(part, "use_regex", true) ? step_add(m, words, file, err) : 0;
}

static int behavior_read(const json_t *part, SplitStep *step, const char *file, Err *err)
{
    static const char *const names[] = {[SPLIT_ISOLATED] = "Isolated",
                                        [SPLIT_REMOVED] = "Removed",
                                        [SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [SPLIT_WITH_NEXT] = "MergedWithNext",
                                        [SPLIT_CONTIGUOUS] = "Contiguous"};
    const char *name = json_string_value(json_object_get(part, "behavior"));
    for (int i = 0; name && i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            step->behavior = (SplitBehavior)i;
            step->invert = flag_or(part, "invert", false);
            return 0;
        }
    return hf_refuse(file, "pre_tokenizer.behavior", name ? name : "missing", err);
}

/* A text that is to be found as it is, as a regular expression. */
static char *quote(const char *text, size_t n, size_t *size)
{
    char *out = malloc(2 * n + 1);
    mem_need(out != NULL, "a pattern");
    *size = 0;
    for (size_t i = 0; i < n; i++) {
        bool plain = (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'z';
        if (!plain && text[i] > 0x20 && !(text[i] >= '0' && text[i] <= '9')) out[(*size)++] = '\\';
        out[(*size)++] = text[i];
    }
    out[*size] = 0;
    return out;
}

static int split_read(TokenModel *m, const json_t *part, const char *file, Err *err)
{
    const json_t *pattern = json_object_get(part, "pattern"),
                 *regex = json_object_get(pattern, "Regex"),
                 *text = json_object_get(pattern, "String");
    SplitStep step = {.kind = SPLIT_REGEX};
    TRY(behavior_read(part, &step, file, err));
    const char *given = json_string_value(regex ? regex : text);
    size_t n = json_string_length(regex ? regex : text);
    if (given == NULL || n == 0)
        return hf_refuse(file, "pre_tokenizer.pattern", "neither Regex nor String", err);
    /* The published patterns match everything: isolated or what does not match removed is one. */
    const SplitPattern *known = regex ? split_pattern_find(given) : NULL;
    bool pieces =
        step.behavior == SPLIT_ISOLATED || (step.behavior == SPLIT_REMOVED && step.invert);
    if (known && pieces)
        return step_add(m, (SplitStep){.kind = SPLIT_PATTERN, .pattern = known}, file, err);
    char *quoted = regex ? NULL : quote(given, n, &n);
    int status = split_regex_new(&step.regex, quoted ? quoted : given, n, file, err);
    free(quoted);
    TRY(status);
    return step_add(m, step, file, err);
}

static int pre_tokenizer_read(TokenModel *m, const json_t *part, const char *file, int depth,
                              bool *bytes, Err *err)
{
    const json_t *one;
    for (size_t i = 0; (one = parts_of(part, "pretokenizers", i)); i++) {
        const char *type = type_of(one);
        if (*bytes)
            return hf_refuse(file, "pre_tokenizer", "a sequence that goes on after ByteLevel", err);
        if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
            TRY(pre_tokenizer_read(m, one, file, depth + 1, bytes, err));
        } else if (strcmp(type, "ByteLevel") == 0) {
            *bytes = true;
            TRY(byte_level_read(m, one, file, err));
        } else if (strcmp(type, "Split") == 0) {
            TRY(split_read(m, one, file, err));
        } else if (strcmp(type, "Digits") == 0) {
            SplitStep digits = {.kind = SPLIT_DIGITS,
                                .individual = flag_or(one, "individual_digits", false)};
            TRY(step_add(m, digits, file, err));
        } else {
            return hf_refuse(file, "pre_tokenizer", type, err);
        }
    }
    return 0;
}

static int decoder_check(const json_t *part, const char *file, Err *err)
{
    const json_t *one;
    for (size_t i = 0; (one = parts_of(part, "decoders", i)); i++)
        if (strcmp(type_of(one), "ByteLevel") != 0)
            return hf_refuse(file, "decoder", type_of(one), err);
    return 0;
}

int hf_steps_read(TokenModel *m, json_t *root, const char *file, Err *err)
{
    bool bytes = false;
    if (!json_is_object(root))
        return err_set(err, "%s: not a tokenizer.json: there is no object in it", file);
    TRY(normalizer_read(m, json_object_get(root, "normalizer"), file, 0, err));
    TRY(pre_tokenizer_read(m, json_object_get(root, "pre_tokenizer"), file, 0, &bytes, err));
    if (!bytes)
        return err_set(err,
                       "%s: pre_tokenizer has no ByteLevel: only byte-level BPE is supported "
                       "(docs/tokenizers.md)",
                       file);
    return decoder_check(json_object_get(root, "decoder"), file, err);
}

/* --- BOS and EOS --------------------------------------------------------------------------------
 */

static int32_t special_named(const TokenModel *m, const char *name)
{
    const AddedTokens *lists[] = {&m->raw, &m->normalized};
    for (int k = 0; name && k < 2; k++)
        for (int i = 0; i < lists[k]->n; i++)
            if (strcmp((const char *)lists[k]->token[i].text, name) == 0)
                return lists[k]->token[i].id;
    return -1;
}

static int32_t special_first(const TokenModel *m, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        int32_t id = special_named(m, names[i]);
        if (id >= 0) return id;
    }
    return -1;
}

/* The special token of one entry of a template, -1: it is the text. */
static int32_t template_id(const TokenModel *m, const json_t *entry)
{
    const json_t *special = json_object_get(entry, "SpecialToken");
    return special_named(m, json_string_value(json_object_get(special, "id")));
}

static void template_read(TokenModel *m, const json_t *part)
{
    const json_t *single = json_object_get(part, "single");
    size_t n = json_array_size(single);
    if (n == 0) return;
    int32_t first = template_id(m, json_array_get(single, 0)),
            last = template_id(m, json_array_get(single, n - 1));
    if (first >= 0) m->bos = first;
    if (last >= 0) m->eos = last;
}

/* "cls": ["<s>", 0], "sep": ["</s>", 2] */
static void pair_read(TokenModel *m, const json_t *part)
{
    const json_t *cls = json_object_get(part, "cls"), *sep = json_object_get(part, "sep");
    int32_t first = special_named(m, json_string_value(json_array_get(cls, 0))),
            last = special_named(m, json_string_value(json_array_get(sep, 0)));
    if (first >= 0) m->bos = first;
    if (last >= 0) m->eos = last;
}

int hf_ends_read(TokenModel *m, json_t *root, const char *file, Err *err)
{
    static const char *const begins[] = {
        "<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<s>",  "<bos>",
        "<|startoftext|>",   "<|endoftext|>",           "<EOT>"};
    static const char *const ends[] = {"<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>",
                                       "<eos>",           "<|endoftext|>",         "<EOT>"};
    const json_t *post = json_object_get(root, "post_processor"), *one;
    m->bos = special_first(m, begins, ARRAY_LEN(begins));
    m->eos = special_first(m, ends, ARRAY_LEN(ends));
    for (size_t i = 0; (one = parts_of(post, "processors", i)); i++) {
        if (strcmp(type_of(one), "TemplateProcessing") == 0)
            template_read(m, one);
        else if (strcmp(type_of(one), "RobertaProcessing") == 0)
            pair_read(m, one);
        else if (strcmp(type_of(one), "ByteLevel") != 0)
            return hf_refuse(file, "post_processor", type_of(one), err);
    }
    if (m->eos < 0) m->eos = m->bos;
    return 0;
}
