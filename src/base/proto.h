/* Writing Protocol Buffers messages (the wire format alone): a buffer that grows, and one call a
 * field. A message inside a message is written into a Proto of its own first. */
#ifndef TTT_BASE_PROTO_H
#define TTT_BASE_PROTO_H

#include <stddef.h>
#include <stdint.h>

typedef struct Proto { /* zeroed: empty */
    unsigned char *data;
    size_t size, capacity;
} Proto;

void proto_clear(Proto *p); /* keeps the memory */
void proto_free(Proto *p);

/* int32, int64, bool, enum; a negative number takes ten bytes. */
void proto_int(Proto *p, int field, int64_t value);
void proto_float(Proto *p, int field, float value);
void proto_double(Proto *p, int field, double value);
void proto_bytes(Proto *p, int field, const void *data, size_t size);
void proto_text(Proto *p, int field, const char *text);
/* Takes what `inner` holds, and empties it. */
void proto_message(Proto *p, int field, Proto *inner);

#endif
