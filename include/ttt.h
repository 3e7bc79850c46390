/* libttt: read text with a TTT-E2E model, keep what it learned, go on from it.
 *
 * A model is opened once and never changes; any number of readers share it, each with its own
 * state: adapted weights, window, unfinished chunk, counters. The state has constant size whatever
 * was read. Functions return 0, or -1 with one line in the error buffer of the handle (ttt_error)
 * or in the caller's buffer; too little memory for a model, a reader or a save is such an error.
 * The library never prints and never exits, but where there is no memory for a few kilobytes.
 *
 * A model may be used from several threads, a reader from one at a time. Handlers of signals are
 * installed with SA_ONSTACK: products may point the stack elsewhere, and the thread that opens a
 * model gets one for handlers. Files are mapped while they are loaded: one that is cut short just
 * then is a SIGBUS.
 *
 *     ttt_model *m;   ttt_reader *r;   char why[TTT_ERROR_MAX];
 *     if (ttt_model_open(&m, "runs/demo/model", NULL, why)) ...
 *     ttt_reader_new(&r, m, NULL, why);
 *     ttt_feed(r, tokens, n, nll);            -- learns at each chunk's end
 *     ttt_logprobs(r, logp);                  -- of the next token
 *     ttt_reader_save(r, "book.memory", NULL, 0);
 */
#ifndef TTT_H
#define TTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TTT_ERROR_MAX = 2048 };

typedef struct ttt_model ttt_model;
typedef struct ttt_reader ttt_reader;

typedef struct ttt_model_options {
    int threads;         /* 0: one per physical core */
    const char *compute; /* NULL: as the model's config; "fp32", "bf16" */
    const char *const
        *overrides;     /* "a.b=c" on top of the model's config, NULL-terminated, or NULL */
    const char *device; /* NULL or "cpu"; "cuda" or "cuda:N", the N-th NVIDIA GPU */
} ttt_model_options;

typedef struct ttt_model_info {
    int64_t vocab_size, bos, eos, layers, hidden_size, parameters, inner_parameters;
    int64_t chunk; /* tokens between two inner steps */
    int64_t window;
    bool learns;         /* a meta-trained model: reading can adapt it */
    bool bf16_emulated;  /* asked for bf16, whose products run in float32 on this CPU */
    size_t state_bytes;  /* of one reader */
    char digest[65];     /* names the weights */
    char tokenizer[256]; /* "bytes", or the file in the model's folder: "tokenizer.json@" and its
                            SHA-256; "" when there is none */
} ttt_model_info;

typedef struct ttt_reader_options {
    bool no_learning; /* score and generate with the weights as they are */
    double inner_lr;  /* 0: as trained */
} ttt_reader_options;

/* One text that a reader has read. */
typedef struct ttt_source {
    char name[256], sha256[65];
    int64_t tokens;
} ttt_source;

typedef struct ttt_reader_info {
    int64_t tokens;           /* fed so far */
    int64_t steps;            /* inner steps taken */
    int64_t pending;          /* tokens of the unfinished chunk */
    double last_chunk_loss;   /* NaN before the first */
    double last_grad_norm;    /* inner gradient of the last step, before clipping */
    double last_step_seconds; /* wall time of the last inner step */
    size_t state_bytes;
    bool learning;
} ttt_reader_info;

int ttt_model_open(ttt_model **out, const char *dir, const ttt_model_options *options, char *why);
void ttt_model_close(ttt_model *m);
void ttt_model_describe(const ttt_model *m, ttt_model_info *info);

int ttt_reader_new(ttt_reader **out, ttt_model *m, const ttt_reader_options *options, char *why);
void ttt_reader_free(ttt_reader *r);
void ttt_reader_describe(const ttt_reader *r, ttt_reader_info *info);
int ttt_reader_learning(ttt_reader *r, bool on); /* -1: the model does not learn */

/* Reads n tokens. nll: NULL, or n values: -log p(token | all before it); the first token of a
 * stream has none and gets 0. Learning happens when a chunk is complete and its last target is
 * known. */
int ttt_feed(ttt_reader *r, const int32_t *tokens, size_t n, double *nll);
/* log p(next token) for each of vocab_size ids, after at least one token. */
int ttt_logprobs(ttt_reader *r, float *out);

/* Several readers of one model side by side, one token each: every weight is read from memory once
 * for all of them, and only windows and adapted weights are each one's own. Scores are those of one
 * reader after the other, up to rounding. A reader may stand there once. Where a chunk is complete
 * its reader learns first; ttt_reader_info.steps and last_step_seconds tell. logprobs: out
 * (n, vocab_size). A failure of any is the failure of all and stands in ttt_error(r[0]); no token
 * has been read then. */
int ttt_feed_each(ttt_reader *const *r, int n, const int32_t *tokens);
int ttt_logprobs_each(ttt_reader *const *r, int n, float *out);

/* The whole state, bit for bit. ttt_reader_load makes a reader of the same model; another model's
 * file is an error. sources: what was read, kept in the file; loading gives them back. */
int ttt_reader_save(ttt_reader *r, const char *path, const ttt_source *sources, int n_sources);
int ttt_reader_load(ttt_reader **out, ttt_model *m, const char *path,
                    const ttt_reader_options *options, char *why);
/* An independent copy (to try a continuation). */
int ttt_reader_clone(ttt_reader **out, const ttt_reader *r, char *why);

/* Shows a memory file without its model. Returns the number of sources, at most max of them in
 * sources. */
typedef struct ttt_memory_info {
    char model_digest[65], model_name[256], created[32]; /* ISO 8601 UTC */
    char tokenizer[256];                                 /* "" when unknown */
    int64_t tokens, steps, pending;
    size_t file_bytes;
    int n_sources;
} ttt_memory_info;
int ttt_memory_describe(const char *path, ttt_memory_info *info, ttt_source *sources, int max,
                        char *why);

const char *ttt_error(const ttt_reader *r); /* the last failure of a reader's function */

#ifdef __cplusplus
}
#endif

#endif
