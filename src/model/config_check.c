/* Rules between keys: what one key's row in the table cannot say. */

#include "base/real.h"
#include "model/config.h"

static int model_check_shape(const ModelConfig *m, Err *err)
{
    long long width = m->hidden_size, heads = m->num_attention_heads;
    if (width % heads != 0) {
        return err_set(err,
                       "model.hidden_size = %lld is not a multiple of "
                       "model.num_attention_heads = %lld; change one of them",
                       width, heads);
    }
    if (width / heads % 2 != 0) {
        return err_set(err,
                       "a head of %lld channels (model.hidden_size / "
                       "model.num_attention_heads) is odd; rotary positions need an even one",
                       width / heads);
    }
    if (m->suffix_len > m->num_hidden_layers) {
        return err_set(err, "model.suffix_len = %lld is more than model.num_hidden_layers = %lld",
                       (long long)m->suffix_len, (long long)m->num_hidden_layers);
    }
    return 0;
}

static int model_check_tokens(const ModelConfig *m, Err *err)
{
    long long vocab = m->vocab_size, out = m->output_size;
    if (m->bos_token_id >= vocab || m->eos_token_id >= vocab) {
        return err_set(err,
                       "model.bos_token_id = %lld and model.eos_token_id = %lld must be below "
                       "model.vocab_size = %lld",
                       (long long)m->bos_token_id, (long long)m->eos_token_id, vocab);
    }
    if (m->tie_word_embeddings && out != vocab) {
        return err_set(err,
                       "model.output_size = %lld must be model.vocab_size = %lld with "
                       "model.tie_word_embeddings; leave it out",
                       out, vocab);
    }
    if (out < vocab) {
        return err_set(err,
                       "model.output_size = %lld is below model.vocab_size = %lld, so some "
                       "tokens could not be predicted; leave it out",
                       out, vocab);
    }
    return 0;
}

static int training_check_schedule(const TrainingConfig *t, Err *err)
{
    const OptimizerConfig *o = &t->optimizer_outer;
    if (t->global_batch_size % t->accum_steps != 0) {
        return err_set(err,
                       "training.global_batch_size = %lld is not a multiple of "
                       "training.accum_steps = %lld",
                       (long long)t->global_batch_size, (long long)t->accum_steps);
    }
    if (o->lr_warmup_steps > o->lr_decay_steps) {
        return err_set(err,
                       "training.optimizer_outer.lr_warmup_steps = %lld is more than "
                       "lr_decay_steps = %lld, which counts the warmup too",
                       (long long)o->lr_warmup_steps, (long long)o->lr_decay_steps);
    }
    if (o->b1 >= 1 || o->b2 >= 1) {
        return err_set(err, "training.optimizer_outer.b1 = %g and b2 = %g must be below 1", o->b1,
                       o->b2);
    }
    return 0;
}

static int training_check_meta(const Config *c, Err *err)
{
    const TrainingConfig *t = &c->training;
    if (t->train_mode != TRAIN_META) return 0;
    if (c->model.suffix_len < 1) {
        return err_set(err, "training.train_mode = meta needs model.suffix_len of 1 or more: only "
                            "suffix blocks are read chunk by chunk");
    }
    if (t->spec_inner.n == 0) {
        return err_set(err, "training.train_mode = meta needs training.spec_inner to select some "
                            "parameters, such as ['language_model.**.feed_forward_prime.**']");
    }
    if (t->optimizer_inner.optimizer_type != OPT_SGD) {
        return err_set(err, "training.optimizer_inner.optimizer_type must be sgd in train mode "
                            "meta");
    }
    return 0;
}

int config_check(const Config *c, Err *err)
{
    TRY(model_check_shape(&c->model, err));
    TRY(model_check_tokens(&c->model, err));
    if (c->model.compute_dtype == COMPUTE_FP64 && sizeof(real) != sizeof(double)) {
        return err_set(err, "model.compute_dtype = fp64 is for the exactness build (ttt-fp64); "
                            "take fp32 or bf16");
    }
    if (c->training.spec_outer.n == 0) {
        return err_set(err, "training.spec_outer selects nothing to train; take ['**'] for all");
    }
    TRY(training_check_schedule(&c->training, err));
    return training_check_meta(c, err);
}
