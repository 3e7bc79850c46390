/* The list of computed arrays, and its file. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/parity.h"

double *parity_values_add(ParityValues *v, const char *name, int n_dims, const int64_t *shape)
{
    CHECK(n_dims <= PARITY_DIMS && strlen(name) < PARITY_KEY_MAX, "'%s' does not fit", name);
    if (v->n == v->capacity) {
        v->capacity = v->capacity ? 2 * v->capacity : 64;
        v->tensor = realloc(v->tensor, (size_t)v->capacity * sizeof *v->tensor);
        mem_need(v->tensor, "values to compare");
    }
    ParityTensor *t = &v->tensor[v->n++];
    memset(t, 0, sizeof *t);
    strcpy(t->name, name);
    t->n_dims = n_dims;
    t->n = 1;
    for (int i = 0; i < n_dims; i++) {
        t->shape[i] = shape[i];
        t->n *= shape[i];
    }
    t->data = calloc((size_t)t->n, sizeof *t->data);
    mem_need(t->data, "values to compare");
    return t->data;
}

void parity_values_scalar(ParityValues *v, double value, const char *name_format, ...)
{
    char name[PARITY_KEY_MAX];
    va_list args;
    va_start(args, name_format);
    vsnprintf(name, sizeof name, name_format, args);
    va_end(args);
    *parity_values_add(v, name, 0, NULL) = value;
}

ParityTensor *parity_values_find(const ParityValues *v, const char *name)
{
    for (int i = 0; i < v->n; i++)
        if (strcmp(v->tensor[i].name, name) == 0) return &v->tensor[i];
    return NULL;
}

void parity_values_free(ParityValues *v)
{
    for (int i = 0; i < v->n; i++) free(v->tensor[i].data);
    free(v->tensor);
    memset(v, 0, sizeof *v);
}

/* Packs doubles to floats in place: element i is read before bytes at or above 4 i are written. */
static void narrow(double *data, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float f = (float)data[i];
        memcpy((char *)data + (size_t)i * sizeof f, &f, sizeof f);
    }
}

int parity_values_write(ParityValues *v, const char *path, bool wide, Err *err)
{
    StTensor *list = calloc((size_t)v->n + 1, sizeof *list);
    mem_need(list, "values to compare");
    for (int i = 0; i < v->n; i++) {
        ParityTensor *t = &v->tensor[i];
        if (!wide) narrow(t->data, t->n);
        list[i] = (StTensor){.name = t->name,
                             .type = wide ? ST_F64 : ST_F32,
                             .n_dims = t->n_dims,
                             .n_elements = t->n,
                             .data = t->data};
        memcpy(list[i].shape, t->shape, sizeof t->shape);
    }
    int status = st_write(path, list, v->n, NULL, 0, err);
    free(list);
    return status;
}
