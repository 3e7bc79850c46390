/* The one room that a model's readers share: activations and scratch of a pass. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/reader_state.h"

static size_t step_bytes(int streams)
{
    return (size_t)streams * (sizeof(ptrdiff_t) + sizeof(int64_t) + sizeof(int) + sizeof(int32_t));
}

/* The widest first, so that each is aligned. */
static StepArrays step_arrays(void *block, int streams)
{
    StepArrays a = {.shift = block};
    if (!block) return a;
    a.position = (int64_t *)(void *)(a.shift + streams);
    a.first = (int *)(void *)(a.position + streams);
    a.ids = (int32_t *)(void *)(a.first + streams);
    return a;
}

static size_t chunk_bytes(int rows)
{
    return sizeof(double) + 2 * (size_t)rows * sizeof(int32_t);
}

static ChunkArrays chunk_arrays(void *block, int rows)
{
    ChunkArrays a = {.lr = block};
    if (!block) return a;
    a.ids = (int32_t *)(void *)(a.lr + 1);
    a.targets = a.ids + rows;
    return a;
}

static void room_layout(ReaderRoom *room, const Model *m)
{
    const ModelConfig *c = &m->cfg.model;
    Arena a = {.base = room->memory};
    size_t C = (size_t)c->hidden_size, rows = (size_t)room->rows, S = (size_t)room->streams;
    lead_layout_shared(&room->lead, &a, m, 1, room->rows);
    tail_layout(&room->tail, &a, m, 1, room->rows, false);
    block_scratch_layout(&room->scratch, &a, m, 1, room->rows, false);
    room->rope = arena_take(&a, rows * C / (size_t)c->num_attention_heads);
    room->next = arena_take(&a, m->inner.size);
    room->g = arena_take(&a, m->inner.size);
    room->report = room->tail.nll = arena_take(&a, rows + 1);
    if (a.base) room->norm = room->report + m->cfg.model.mini_batch_size;
    room->hidden = arena_take(&a, S * C);
    room->logits = arena_take(&a, S * (size_t)c->output_size);
    room->chunk = chunk_arrays(arena_take(&a, reals_for(chunk_bytes(room->rows))), room->rows);
    room->scalar = arena_take_doubles(&a, 1);
    room->step = step_arrays(arena_take(&a, reals_for(step_bytes(room->streams))), room->streams);
    room->elements = a.used;
}

void reader_room_forget(Model *m, const real *memory)
{
    ReaderRoom *room = m->room;
    if (!room) return;
    room->held = NULL;
    bool together = !memory;
    for (int b = 0; b < room->n_together; b++) together = together || room->together[b] == memory;
    reader_records_forget(m, memory);
    if (!together) return;
    repeat_forget(m->be, &room->repeat);
    room->n_together = 0;
}

void room_step_upload(const Model *m)
{
    ReaderRoom *room = m->room;
    backend_upload_bytes(m->be, room->step.shift, room->staged.shift, step_bytes(room->streams));
}

void room_chunk_upload(const Model *m)
{
    ReaderRoom *room = m->room;
    backend_upload_bytes(m->be, room->chunk.lr, room->staged_chunk.lr, chunk_bytes(room->rows));
}

static void room_free(Model *m, ReaderRoom *room)
{
    backend_free(m->be, room->memory, room->elements);
    free(room->lead.acts);
    free(room->tail.acts);
    free(room->host);
    free(room->staged.shift);
    free(room->staged_chunk.lr);
    free(room->fast);
    free(room->together);
    free(room);
}

void reader_room_free(Model *m)
{
    if (!m->room) return;
    reader_room_forget(m, NULL);
    room_free(m, m->room);
    m->room = NULL;
}

ReaderRoom *reader_room(Model *m, int streams)
{
    if (m->room && m->room->streams >= streams) return m->room;
    ReaderRoom *room = calloc(1, sizeof *room);
    mem_need(room, "a reader");
    size_t layers = (size_t)m->cfg.model.num_hidden_layers;
    int chunk = (int)m->cfg.model.mini_batch_size;
    room->streams = streams;
    room->rows = chunk > streams ? chunk : streams;
    room->lead.acts = calloc(layers + 1, sizeof *room->lead.acts);
    room->tail.acts = calloc(layers + 1, sizeof *room->tail.acts);
    size_t V = (size_t)m->cfg.model.output_size, most = (size_t)room->rows + 1;
    room->host = malloc((most > V ? most : V) * sizeof *room->host);
    room->staged = step_arrays(calloc(1, step_bytes(streams)), streams);
    room->staged_chunk = chunk_arrays(calloc(1, chunk_bytes(room->rows)), room->rows);
    room->fast = calloc((size_t)streams, sizeof *room->fast);
    room->together = calloc((size_t)streams, sizeof *room->together);
    mem_need(room->lead.acts && room->tail.acts && room->host && room->staged.shift &&
                 room->staged_chunk.lr && room->fast && room->together,
             "a reader");
    room_layout(room, m);
    room->memory = backend_alloc(m->be, room->elements);
    if (!room->memory) {
        room_free(m, room);
        return NULL;
    }
    room_layout(room, m);
    reader_room_free(m);
    return m->room = room;
}
