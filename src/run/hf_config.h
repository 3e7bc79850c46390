/* config.json of a Hugging Face Llama checkpoint: the keys that mean something here, and a refusal
 * of those that would make another function than ours. */
#ifndef TTT_RUN_HF_CONFIG_H
#define TTT_RUN_HF_CONFIG_H

#include <stddef.h>

#include "model/config.h"

/* Sets model.* and plain training from the text (n bytes), which is named for messages. */
int hf_config_parse(Config *c, int64_t *kv_heads, const char *text, size_t n, const char *name,
                    Err *err);
int hf_config_read(Config *c, int64_t *kv_heads, const char *path, Err *err);
/* The other way, for a model whose norms Llama has; the text is to be freed. */
char *hf_config_text(const Config *c);

#endif
