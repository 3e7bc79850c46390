/* Opens the data of a training run. */
#include "run/train_data.h"

#include <stdlib.h>

#include "base/mem.h"

enum { DIGEST_TOKENS = 1 << 16 };

/* Random tokens cost nothing to keep: more than any run reads. An evaluation reads all there are.
 */
static const int64_t dummy_length = (int64_t)1 << 48, dummy_eval_length = (int64_t)1 << 25;

static int source_open(TokenSource **out, const TrainingConfig *t, const ModelConfig *m, Err *err)
{
    if (t->dummy_dataset)
        return token_source_dummy(out, dummy_length, (int32_t)m->vocab_size, (uint64_t)t->data_seed,
                                  err);
    if (!t->dataset_path[0])
        return err_set(err, "no data set is named; add training.dataset_path=FOLDER (`ttt data "
                            "encode` makes one), or training.dummy_dataset=true");
    return token_source_open(out, t->dataset_path, t->data_split, err);
}

static int source_check(const TokenSource *s, const ModelConfig *m, Err *err)
{
    if (s->vocab_size > m->vocab_size)
        return err_set(err,
                       "%s: its vocabulary has %d tokens, model.vocab_size is %lld; add "
                       "model.vocab_size=%d or choose another data set",
                       s->name, s->vocab_size, (long long)m->vocab_size, s->vocab_size);
    if (s->bos != m->bos_token_id)
        return err_set(err,
                       "%s: its BOS is token %d, model.bos_token_id is %lld; add "
                       "model.bos_token_id=%d",
                       s->name, s->bos, (long long)m->bos_token_id, s->bos);
    return 0;
}

static int data_prepare(Loader **loader, TokenSource *s, Config *cfg, Err *err)
{
    const TrainingConfig *t = &cfg->training;
    token_source_declare(s, (int32_t)cfg->model.vocab_size, (int32_t)cfg->model.bos_token_id);
    if (!t->dummy_dataset) TRY(source_check(s, &cfg->model, err));
    LoaderOptions o = {.seq_length = t->seq_length,
                       .batch_size = t->global_batch_size,
                       .seed = (uint64_t)t->data_seed,
                       .ahead = true};
    return loader_open(loader, s, o, err);
}

int train_data_open(TokenSource **source, Loader **loader, Config *cfg, Err *err)
{
    *source = NULL;
    *loader = NULL;
    TRY(source_open(source, &cfg->training, &cfg->model, err));
    if (data_prepare(loader, *source, cfg, err) == 0) return 0;
    token_source_close(*source);
    *source = NULL;
    return -1;
}

int train_data_open_eval(TokenSource **out, const Config *cfg, Err *err)
{
    const TrainingConfig *t = &cfg->training;
    if (t->dummy_dataset)
        return token_source_dummy(out, dummy_eval_length, (int32_t)cfg->model.vocab_size,
                                  (uint64_t)t->data_seed + 1, err);
    if (!t->dataset_path[0])
        return err_set(err, "no data set is named; add training.dataset_path=FOLDER");
    TRY(token_source_open(out, t->dataset_path, t->eval_split, err));
    token_source_declare(*out, (int32_t)cfg->model.vocab_size, (int32_t)cfg->model.bos_token_id);
    if (source_check(*out, &cfg->model, err) == 0) return 0;
    token_source_close(*out);
    *out = NULL;
    return -1;
}

int train_data_digest(const TokenSource *s, char hex[SHA256_HEX_SIZE], Err *err)
{
    Sha256 hash;
    int64_t length = token_source_length(s), n = length < DIGEST_TOKENS ? length : DIGEST_TOKENS;
    int32_t *tokens = malloc((size_t)n * sizeof *tokens);
    mem_need(tokens, "%lld tokens", (long long)n);
    int status = token_source_read(s, 0, n, tokens, err);
    if (status == 0) {
        sha256_init(&hash);
        sha256_update(&hash, &length, sizeof length);
        sha256_update(&hash, tokens, (size_t)n * sizeof *tokens);
        sha256_hex(&hash, hex);
    }
    free(tokens);
    return status;
}
