/* The wire format: each field is a varint (number << 3 | kind), then a varint, 4 or 8 bytes little
 * end first, or a length and bytes. https://protobuf.dev/programming-guides/encoding */
#include "base/proto.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

enum { KIND_VARINT = 0, KIND_64 = 1, KIND_BYTES = 2, KIND_32 = 5 };

void proto_clear(Proto *p)
{
    p->size = 0;
}

void proto_free(Proto *p)
{
    free(p->data);
    *p = (Proto){0};
}

static void put(Proto *p, const void *data, size_t size)
{
    if (size > p->capacity - p->size) {
        size_t capacity = 2 * p->capacity + size + 64;
        unsigned char *larger = realloc(p->data, capacity);
        mem_need(larger, "a message of %zu bytes", capacity);
        p->data = larger;
        p->capacity = capacity;
    }
    if (size > 0) memcpy(p->data + p->size, data, size);
    p->size += size;
}

static void put_varint(Proto *p, uint64_t value)
{
    unsigned char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    put(p, bytes, n);
}

static void put_key(Proto *p, int field, int kind)
{
    put_varint(p, (uint64_t)field << 3 | (uint64_t)kind);
}

void proto_int(Proto *p, int field, int64_t value)
{
    put_key(p, field, KIND_VARINT);
    put_varint(p, (uint64_t)value);
}

void proto_float(Proto *p, int field, float value)
{
    put_key(p, field, KIND_32);
    put(p, &value, sizeof value);
}

void proto_double(Proto *p, int field, double value)
{
    put_key(p, field, KIND_64);
    put(p, &value, sizeof value);
}

void proto_bytes(Proto *p, int field, const void *data, size_t size)
{
    put_key(p, field, KIND_BYTES);
    put_varint(p, size);
    put(p, data, size);
}

void proto_text(Proto *p, int field, const char *text)
{
    proto_bytes(p, field, text, strlen(text));
}

void proto_message(Proto *p, int field, Proto *inner)
{
    proto_bytes(p, field, inner->data, inner->size);
    proto_clear(inner);
}
