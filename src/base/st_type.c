/* The element types of safetensors: sizes, names, and conversion to float and double. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/safetensors.h"

typedef struct TypeRow {
    size_t size;
    const char *name;
} TypeRow;

static const TypeRow types[] = {
    [ST_F64] = {8, "F64"},   [ST_F32] = {4, "F32"}, [ST_F16] = {2, "F16"}, [ST_BF16] = {2, "BF16"},
    [ST_I64] = {8, "I64"},   [ST_I32] = {4, "I32"}, [ST_I16] = {2, "I16"}, [ST_I8] = {1, "I8"},
    [ST_U64] = {8, "U64"},   [ST_U32] = {4, "U32"}, [ST_U16] = {2, "U16"}, [ST_U8] = {1, "U8"},
    [ST_BOOL] = {1, "BOOL"},
};

size_t st_type_size(StType type)
{
    CHECK((int)type >= 0 && type <= ST_BOOL, "safetensors type %d", (int)type);
    return types[type].size;
}

const char *st_type_name(StType type)
{
    CHECK((int)type >= 0 && type <= ST_BOOL, "safetensors type %d", (int)type);
    return types[type].name;
}

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31) return fraction ? (double)NAN : sign * HUGE_VAL;
    if (exponent == 0) return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

static double bfloat_value(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

/* Elements are copied out because a tensor in a file may lie at any address. */
static double element(const StTensor *t, size_t i)
{
    const char *data = t->data;
    double f64;
    float f32;
    uint16_t bits;
    switch (t->type) {
    case ST_F64:
        memcpy(&f64, data + 8 * i, sizeof f64);
        return f64;
    case ST_F32:
        memcpy(&f32, data + 4 * i, sizeof f32);
        return (double)f32;
    default:
        memcpy(&bits, data + 2 * i, sizeof bits);
        break;
    }
    return t->type == ST_F16 ? half_value(bits) : bfloat_value(bits);
}

static void check_float(const StTensor *t)
{
    CHECK(t->type <= ST_BF16, "tensor '%s' of type %s is not of a float type", t->name,
          st_type_name(t->type));
}

void st_to_f32(const StTensor *t, float *out)
{
    check_float(t);
    if (t->n_elements == 0) return;
    if (t->type == ST_F32) {
        memcpy(out, t->data, (size_t)t->n_elements * sizeof *out);
        return;
    }
    for (size_t i = 0; i < (size_t)t->n_elements; i++) out[i] = (float)element(t, i);
}

void st_to_f64(const StTensor *t, double *out)
{
    check_float(t);
    if (t->n_elements == 0) return;
    if (t->type == ST_F64) {
        memcpy(out, t->data, (size_t)t->n_elements * sizeof *out);
        return;
    }
    for (size_t i = 0; i < (size_t)t->n_elements; i++) out[i] = element(t, i);
}

static uint16_t bfloat_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40); /* rounding could make it infinite */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void st_from_f32(void *out, StType type, const float *values, size_t n)
{
    CHECK(type == ST_F32 || type == ST_BF16, "cannot write floats as %s", st_type_name(type));
    if (type == ST_F32) {
        memcpy(out, values, n * sizeof *values);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t bits = bfloat_bits(values[i]);
        memcpy((char *)out + 2 * i, &bits, sizeof bits);
    }
}

void st_shape_text(char *out, size_t size, int n_dims, const int64_t *shape)
{
    int used = snprintf(out, size, "(");
    for (int i = 0; i < n_dims && (size_t)used < size; i++)
        used +=
            snprintf(out + used, size - (size_t)used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if ((size_t)used < size) snprintf(out + used, size - (size_t)used, ")");
}
