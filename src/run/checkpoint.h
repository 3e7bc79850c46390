/* Checkpoints as sealed folders: ROOT/step-00000100 holds any files and COMPLETE, which lists the
 * SHA-256 of each (`sha256sum -c COMPLETE` checks them too). A checkpoint is filled in
 * ROOT/.writing, sealed, synced and only then given its name, so a kill at any moment leaves the
 * earlier ones. What the files are is the caller's business. One process at a time may write under
 * ROOT. */
#ifndef TTT_RUN_CHECKPOINT_H
#define TTT_RUN_CHECKPOINT_H

#include <limits.h>
#include <stdint.h>

#include "base/err.h"

enum { CHECKPOINT_NEWEST = 2, CHECKPOINT_MILESTONE = 10 };

/* Called with each checkpoint that is passed over, and why. */
typedef void CheckpointSkipped(void *context, const char *folder, const char *why);

/* out = ROOT/step-<8 digits or more> */
int checkpoint_path(char out[PATH_MAX], const char *root, int64_t step, Err *err);

/* out = ROOT/.writing, made anew and empty; ROOT is made where it is missing. */
int checkpoint_begin(char out[PATH_MAX], const char *root, Err *err);
/* Seals ROOT/.writing, whose files must be synced, and names it for the step; a checkpoint that has
 * that name already is replaced. */
int checkpoint_commit(const char *root, int64_t step, Err *err);
/* Writes COMPLETE over the files of any folder, which makes a checkpoint of it. */
int checkpoint_seal(const char *folder, Err *err);
/* Removes ROOT/.writing after a failure, so that a full disk has its space back. */
void checkpoint_abort(const char *root);

/* 0 when every file that COMPLETE lists is there with its digest. */
int checkpoint_verify(const char *folder, Err *err);
/* The newest valid checkpoint (wanted = -1), or the one of that step: 1 and *step, or 0 when there
 * is none to use, or -1 when ROOT cannot be read. skipped may be NULL. */
int checkpoint_find(int64_t *step, const char *root, int64_t wanted, CheckpointSkipped *skipped,
                    void *context, Err *err);
/* Steps that have a folder, whatever is in it, ascending; the caller frees *steps. Returns how
 * many; a ROOT that is not there has none. */
int64_t checkpoint_list(int64_t **steps, const char *root, Err *err);

/* Renames the checkpoints after `step`, none of which was valid, to step-N.invalid. */
int checkpoint_set_aside(const char *root, int64_t step, Err *err);
/* Keeps the newest CHECKPOINT_NEWEST and every multiple of CHECKPOINT_MILESTONE * freq. */
int checkpoint_prune(const char *root, int64_t freq, Err *err);

#endif
