/* Tensors that may be spread over several safetensors files: one file, or a sharded set with its
 * index (model.safetensors.index.json), or a folder that holds either. */
#ifndef TTT_BASE_ST_SET_H
#define TTT_BASE_ST_SET_H

#include "base/safetensors.h"

typedef struct StSet StSet;

/* The index must name exactly the tensors that its files hold; files lie beside it. */
int st_set_open(StSet **out, const char *path, Err *err);
void st_set_close(StSet *set); /* NULL is fine */

/* The file or the index that was opened, for messages and for what lies beside it. */
const char *st_set_path(const StSet *set);
int st_set_count(const StSet *set);
/* In the order of names. */
const StTensor *st_set_at(const StSet *set, int i);
const char *st_set_file(const StSet *set, int i);    /* the file that tensor i is in */
int st_set_find(const StSet *set, const char *name); /* -1 when absent */
/* Of the first file that has it; NULL when none has. */
const char *st_set_meta(const StSet *set, const char *key);

#endif
