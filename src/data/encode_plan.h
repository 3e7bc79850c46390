/* What a run of `ttt data encode` is about to do: enough to tell that another run would do the
 * same, and the digests of the documents, so that it need not read them all again. */
#ifndef TTT_DATA_ENCODE_PLAN_H
#define TTT_DATA_ENCODE_PLAN_H

#include "base/sha256.h"
#include "data/encode.h"
#include "data/split.h"
#include "data/tokenizer.h"
#include "data/walk.h"

/* The digest of the options and of every file's name, size and time. */
int encode_plan_digest(char hex[SHA256_HEX_SIZE], const EncodeOptions *options,
                       const Tokenizer *tok, const FileList *files, Err *err);

/* items: (n). Reads what was kept in the folder; returns whether there was any. */
bool encode_plan_load(SplitItem *items, int64_t n, const char *folder, const char *hex);
int encode_plan_save(const SplitItem *items, int64_t n, const char *folder, const char *hex,
                     Err *err);
int encode_plan_remove(const char *folder, Err *err);

#endif
