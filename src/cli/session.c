/* A model, its tokenizer and one reader, reached through ttt.h only. */
#include "cli/session.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "run/machine_open.h"

/* Tokens of a slice, and chunks, at least: its last chunk costs more. A GPU reads SLICE_GPU in a
 * tenth of a second, and waits at its end. */
enum { SLICE = 2048, SLICE_GPU = 32768, SLICE_CHUNKS = 4 };

static int tokenizer_start(Session *s, const char *dir, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (s->info.tokenizer[0] == 0)
        return err_set(
            err,
            "the model in %s has a vocabulary of %lld tokens and names no tokenizer that is there: "
            "put its tokenizer.json or tokenizer.model into the folder",
            dir, (long long)s->info.vocab_size);
    TRY(tokenizer_open_named(&s->tokenizer, s->info.tokenizer, dir, err));
    int32_t n = tokenizer_vocab_size(s->tokenizer);
    if (n > s->info.vocab_size)
        return err_set(err,
                       "the tokenizer '%s' of the model in %s has %d ids, the model's vocabulary "
                       "%lld: put the tokenizer there that it was trained with",
                       name_show(shown, s->info.tokenizer), dir, n, (long long)s->info.vocab_size);
    TRY(tokenizer_check_bos(s->tokenizer, err));
    s->stream = token_stream_new(s->tokenizer, false);
    return 0;
}

static int session_start(Session *s, const SessionOptions *o, Err *err)
{
    const ttt_model_options model = {
        .threads = (int)o->threads, .compute = o->compute, .device = o->device};
    const ttt_reader_options reader = {.no_learning = o->no_learning};
    TRY(ttt_model_open(&s->model, o->model, &model, err->text));
    ttt_model_describe(s->model, &s->info);
    bf16_tell(s->info.bf16_emulated);
    TRY(tokenizer_start(s, o->model, err));
    if (o->memory) return ttt_reader_load(&s->reader, s->model, o->memory, &reader, err->text);
    return ttt_reader_new(&s->reader, s->model, &reader, err->text);
}

int session_open(Session *s, const SessionOptions *o, Err *err)
{
    _Static_assert(sizeof err->text >= TTT_ERROR_MAX, "an Err holds the library's errors");
    memset(s, 0, sizeof *s);
    s->slice = o->device && strcmp(o->device, "cpu") != 0 ? SLICE_GPU : SLICE;
    if (session_start(s, o, err) == 0) return 0;
    session_close(s);
    return -1;
}

void session_close(Session *s)
{
    ttt_reader_free(s->reader);
    token_stream_free(s->stream);
    tokenizer_close(s->tokenizer);
    ttt_model_close(s->model);
    memset(s, 0, sizeof *s);
}

size_t session_slice_max(const Session *s)
{
    size_t chunk = (size_t)s->info.chunk, chunks = s->slice / chunk;
    return chunk * (chunks < SLICE_CHUNKS ? SLICE_CHUNKS : chunks);
}

size_t session_slice(const Session *s)
{
    ttt_reader_info info;
    ttt_reader_describe(s->reader, &info);
    size_t all = session_slice_max(s);
    return all - (size_t)info.pending % all;
}

int session_feed(Session *s, const int32_t *tokens, size_t n, double *nll, Err *err)
{
    if (ttt_feed(s->reader, tokens, n, nll) < 0) return err_set(err, "%s", ttt_error(s->reader));
    return 0;
}

int memory_target_check(const char *path, Err *err)
{
    AtomicFile file;
    TRY(atomic_open(&file, path, err));
    atomic_abort(&file);
    ttt_memory_info info;
    if (!file_exists(path) || ttt_memory_describe(path, &info, NULL, 0, err->text) >= 0) return 0;
    return err_wrap(err, "will only write over a memory file (remove the other one first)");
}
