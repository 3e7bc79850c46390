/* Memory files: a reader's state as one .safetensors file (docs/memory.md is the format). Internal
 * to the library; knows snapshots and files, not models or readers. */
#ifndef TTT_API_MEMORY_FILE_H
#define TTT_API_MEMORY_FILE_H

#include "base/safetensors.h"
#include "model/reader.h"
#include "ttt.h"

/* Everything but the arrays. */
typedef struct MemoryHeader {
    char model_digest[65], model_name[256], created[32];
    char tokenizer[256];   /* its name; "" in files of older versions and where none is known */
    int64_t chunk, window; /* of the model, for people */
    double inner_lr;
    ReaderCounters counters;
    ttt_source *sources; /* (n_sources); after memory_open the file's, freed by memory_close */
    int n_sources;
} MemoryHeader;

typedef struct MemoryFile {
    StFile *tensors;
    MemoryHeader header;
    size_t file_bytes;
} MemoryFile;

/* Writes the snapshot's arrays and the header, dated now, atomically. */
int memory_write(const char *path, const ReaderSnapshot *s, const MemoryHeader *header, Err *err);

/* Opens and checks all but the arrays' names and shapes. On failure nothing is left open. */
int memory_open(MemoryFile *file, const char *path, Err *err);
void memory_close(MemoryFile *file);
/* The arrays as a snapshot, which points into the open file for names and owns its storage: free it
 * with memory_snapshot_free. path is for messages. */
int memory_snapshot(const MemoryFile *file, const char *path, ReaderSnapshot *s, Err *err);
void memory_snapshot_free(ReaderSnapshot *s);

#endif
