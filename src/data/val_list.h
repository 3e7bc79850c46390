/* A hand-made list of held-out documents: a text file with one name or path a line. */
#ifndef TTT_DATA_VAL_LIST_H
#define TTT_DATA_VAL_LIST_H

#include "base/err.h"
#include "data/split.h"
#include "data/walk.h"

/* Sets items[i].val for files->files[i] that the list at path names: by the document's name, by its
 * path, or by a folder of either. Empty lines do not count. A line that names nothing is an error.
 */
int split_by_list(SplitItem *items, const FileList *files, const char *path, Err *err);

#endif
