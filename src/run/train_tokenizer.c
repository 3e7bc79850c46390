/* Finding and copying the tokenizer file of a run. */
#include "run/train_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "data/tokenizer.h"

static int fit_check(const Tokenizer *tok, const TokenSource *s, const ModelConfig *m, Err *err)
{
    if (s->tokenizer[0] && strcmp(s->tokenizer, tok->name) != 0)
        return err_set(err,
                       "%s was made with the tokenizer %s, training.tokenizer_name is %s (%s): "
                       "leave it out, or encode the text anew",
                       s->name, s->tokenizer, tok->file, tok->name);
    if (tok->vocab_size > m->vocab_size)
        return err_set(err, "%s: %d ids, model.vocab_size is %lld; add model.vocab_size=%d",
                       tok->file, tok->vocab_size, (long long)m->vocab_size, tok->vocab_size);
    if (tok->bos >= 0 && tok->bos != m->bos_token_id)
        return err_set(err,
                       "%s: its BOS is %d, model.bos_token_id is %lld; add "
                       "model.bos_token_id=%d",
                       tok->file, tok->bos, (long long)m->bos_token_id, tok->bos);
    return 0;
}

static int given_file(TrainTokenizer *t, const TokenSource *s, Config *cfg, Err *err)
{
    char *name = cfg->training.tokenizer_name;
    Tokenizer *tok;
    TRY(tokenizer_open(&tok, name, err));
    int status = fit_check(tok, s, &cfg->model, err);
    if (status == 0) {
        snprintf(t->file, sizeof t->file, "%s", tok->file);
        snprintf(name, sizeof cfg->training.tokenizer_name, "%s", tok->name);
    }
    tokenizer_close(tok);
    return status;
}

int train_tokenizer_find(TrainTokenizer *t, const TokenSource *s, Config *cfg, Err *err)
{
    const char *name = cfg->training.tokenizer_name;
    t->file[0] = 0;
    if (!tokenizer_name_exact(name) && (file_exists(name) || dir_exists(name)))
        return given_file(t, s, cfg, err);
    if (s->tokenizer[0] == 0) return 0;
    snprintf(cfg->training.tokenizer_name, sizeof cfg->training.tokenizer_name, "%s", s->tokenizer);
    TRY(tokenizer_named_path(t->file, s->tokenizer, cfg->training.dataset_path, err));
    if (t->file[0] == 0 || file_exists(t->file)) return 0;
    log_info("ttt train: %s is not there: the model will have no tokenizer in its folder", t->file);
    t->file[0] = 0;
    return 0;
}

int train_tokenizer_write(const TrainTokenizer *t, const Config *cfg, const char *folder, Err *err)
{
    if (t->file[0] == 0) return 0;
    return tokenizer_copy_file(cfg->training.tokenizer_name, t->file, folder, err);
}
