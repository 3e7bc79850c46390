/* Which whole chunks are repeated (backend/repeat.h). Once its window is full, all that tells one
 * chunk of a reader from the next is the row that it begins at, and of these there are few
 * (reader_window_rows). Ids, targets and the learning rate lie in the room, positions in its rope
 * table.
 *
 * Readers of a model take turns, so places are kept by reader. One is given to another only after
 * none of its chunks has come for a long while: where more readers take turns than there is room
 * for, those that have places keep them and the others' operations are started one by one, instead
 * of everybody's being recorded each time. */
#include "model/reader_state.h"

enum { PATIENCE = 8 * CHUNK_RECORDS };

static bool same_key(const ChunkKey *a, const ChunkKey *b)
{
    return a->memory == b->memory && a->first == b->first && a->parts == b->parts &&
           a->learn == b->learn;
}

/* The place of this key; else a free one; else the one that was left the longest. */
static ChunkRecord *place_for(ReaderRoom *room, const ChunkKey *key)
{
    ChunkRecord *best = &room->record[0];
    for (int i = 0; i < CHUNK_RECORDS; i++) {
        ChunkRecord *c = &room->record[i];
        if (c->repeat.runs > 0 && same_key(&c->key, key)) return c;
        int64_t used = c->repeat.runs > 0 ? c->used : -1;
        if (used < (best->repeat.runs > 0 ? best->used : -1)) best = c;
    }
    return best;
}

Repeat *reader_record(Model *m, const ChunkKey *key)
{
    ReaderRoom *room = m->room;
    ChunkRecord *c = place_for(room, key);
    int64_t now = room->chunks_run++;
    if (c->repeat.runs > 0 && !same_key(&c->key, key)) {
        if (now - c->used < PATIENCE) return NULL;
        repeat_forget(m->be, &c->repeat);
    }
    c->key = *key;
    c->used = now;
    return &c->repeat;
}

void reader_records_forget(Model *m, const real *memory)
{
    for (int i = 0; i < CHUNK_RECORDS; i++) {
        ChunkRecord *c = &m->room->record[i];
        if (!memory || c->key.memory == memory) repeat_forget(m->be, &c->repeat);
    }
}
