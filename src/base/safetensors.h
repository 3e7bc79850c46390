/* safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes. Read by
 * mapping the file, written whole and atomically. Independent of the build's `real`. */
#ifndef TTT_BASE_SAFETENSORS_H
#define TTT_BASE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { ST_MAX_DIMS = 8 };

typedef enum StType {
    ST_F64,
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_I64,
    ST_I32,
    ST_I16,
    ST_I8,
    ST_U64,
    ST_U32,
    ST_U16,
    ST_U8,
    ST_BOOL
} StType;

typedef struct StTensor {
    const char *name;
    StType type;
    int n_dims;
    int64_t shape[ST_MAX_DIMS];
    int64_t n_elements;
    const void *data; /* reading: inside the mapping, any alignment; writing: the caller's */
} StTensor;

typedef struct StMeta {
    const char *key, *value; /* the header's __metadata__ entries */
} StMeta;

/* As one of a file's entries: the file gets a checksum over all its bytes, which st_open compares.
 * For files that nobody else rewrites: other programs keep entries, whatever they do to tensors. */
extern const StMeta st_checksum;

typedef struct StFile StFile;

size_t st_type_size(StType type);
const char *st_type_name(StType type); /* "F32" */
/* "(4, 32, 48)" into out, cut to its size. */
void st_shape_text(char *out, size_t size, int n_dims, const int64_t *shape);

/* Every length, offset, shape and type is checked against the file before anything is returned, and
 * the checksum where there is one. */
int st_open(StFile **out, const char *path, Err *err);
void st_close(StFile *file); /* NULL is fine */
int st_count(const StFile *file);
const StTensor *st_at(const StFile *file, int i);
const StTensor *st_find(const StFile *file, const char *name); /* NULL when absent */
const char *st_meta(const StFile *file, const char *key);      /* NULL when absent */
/* Converts any float type to float or double. */
void st_to_f32(const StTensor *t, float *out);
void st_to_f64(const StTensor *t, double *out);
/* n floats as elements of the type, F32 or BF16 (to nearest, ties to even). */
void st_from_f32(void *out, StType type, const float *values, size_t n);

/* Writes PATH.tmp-PID, syncs, renames over PATH and syncs the folder. On failure PATH is as it was
 * and the temporary file is gone. */
int st_write(const char *path, const StTensor *tensors, int n_tensors, const StMeta *meta,
             int n_meta, Err *err);
/* The same for tensors that do not fit into memory together: their data is NULL, and each is asked
 * for when its turn comes, all its bytes into out. */
typedef int StFill(void *context, int tensor, void *out, Err *err);
int st_write_filled(const char *path, const StTensor *tensors, int n_tensors, const StMeta *meta,
                    int n_meta, StFill *fill, void *context, Err *err);

#endif
