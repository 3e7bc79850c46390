/* The documents file of a split: read whole, and written line by line. */
#include "data/doc_index.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/escape.h"

/* No line is shorter than {"name":"","start":0,"tokens":1}, which bounds the count by the size
 * before anything is allocated by it. */
enum { MIN_LINE = 33 };
static const size_t max_file = (size_t)1 << 34;

/* Where reading stands. */
typedef struct Cursor {
    const char *path;
    const char *at, *end;
    char *names; /* the next name goes here; the names together are shorter than the file */
    int64_t line, next_start;
} Cursor;

static int line_parse(Cursor *c, const json_t *object, Document *out, Err *err)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *start = json_object_get(object, "start");
    const json_t *tokens = json_object_get(object, "tokens");
    if (name == NULL || !json_is_integer(start) || !json_is_integer(tokens))
        return err_set(err,
                       "%s:%lld: not a document with name, start and tokens; encode the "
                       "dataset again",
                       c->path, (long long)c->line);
    *out = (Document){c->names, json_integer_value(start), json_integer_value(tokens)};
    if (out->start != c->next_start || out->length < 1 || out->length > INT64_MAX / 2 - out->start)
        return err_set(err,
                       "%s:%lld: start %lld and tokens %lld do not follow on token %lld; "
                       "encode the dataset again",
                       c->path, (long long)c->line, (long long)out->start, (long long)out->length,
                       (long long)c->next_start);
    memcpy(c->names, name, strlen(name) + 1);
    c->names += strlen(name) + 1;
    c->next_start += out->length;
    return 0;
}

static int line_read(Cursor *c, Document *out, Err *err)
{
    const char *stop = memchr(c->at, '\n', (size_t)(c->end - c->at));
    c->line++;
    if (stop == NULL)
        return err_set(err, "%s:%lld: cut off; encode the dataset again", c->path,
                       (long long)c->line);
    json_error_t where;
    json_t *object = json_loadb(c->at, (size_t)(stop - c->at), JSON_REJECT_DUPLICATES, &where);
    int status = line_parse(c, object, out, err);
    json_decref(object);
    c->at = stop + 1;
    return status;
}

static int lines_read(DocIndex *index, Cursor *c, int64_t n_tokens, Err *err)
{
    for (int64_t i = 0; i < index->n_docs; i++) TRY(line_read(c, &index->docs[i], err));
    if (c->at != c->end)
        return err_set(err,
                       "%s:%lld: one document more than dataset.json counts; encode the "
                       "dataset again",
                       c->path, (long long)c->line + 1);
    if (c->next_start != n_tokens)
        return err_set(err,
                       "%s: its documents hold %lld tokens, but dataset.json says %lld; encode "
                       "the dataset again",
                       c->path, (long long)c->next_start, (long long)n_tokens);
    return 0;
}

int doc_index_read(DocIndex *out, const char *path, int64_t n_docs, int64_t n_tokens, Err *err)
{
    char *text;
    size_t size;
    *out = (DocIndex){.n_docs = n_docs};
    TRY(file_read(path, &text, &size, max_file, err));
    int status = -1;
    if (n_docs > (int64_t)(size / MIN_LINE)) {
        err_set(err,
                "%s: too short for the %lld documents that dataset.json counts; encode the "
                "dataset again",
                path, (long long)n_docs);
        goto done;
    }
    out->docs = calloc((size_t)n_docs + 1, sizeof *out->docs);
    out->names = malloc(size + 1);
    if (out->docs == NULL || out->names == NULL) {
        err_set(err, "%s: no memory for %lld documents", path, (long long)n_docs);
        goto done;
    }
    Cursor cursor = {.path = path, .at = text, .end = text + size, .names = out->names};
    status = lines_read(out, &cursor, n_tokens, err);
done:
    free(text);
    if (status < 0) doc_index_free(out);
    return status;
}

void doc_index_free(DocIndex *index)
{
    free(index->docs);
    free(index->names);
    *index = (DocIndex){0};
}

char *doc_index_line(const char *name, int64_t start, int64_t tokens)
{
    char *utf8 = escape_text(name, false);
    if (utf8 == NULL) return NULL;
    json_t *object = json_pack("{s:s, s:I, s:I}", "name", utf8, "start", (json_int_t)start,
                               "tokens", (json_int_t)tokens);
    char *line = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    free(utf8);
    if (line == NULL) return NULL;
    size_t length = strlen(line);
    char *longer = realloc(line, length + 2);
    if (longer == NULL) {
        free(line);
        return NULL;
    }
    memcpy(longer + length, "\n", 2);
    return longer;
}
