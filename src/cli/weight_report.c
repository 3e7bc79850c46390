/* The mapping as text and as JSON. */
#include "cli/weight_report.h"

typedef struct Side {
    WeightPiece first;
    int pieces; /* 0: the layout does not have it */
} Side;

static Side side_of(const WeightMap *map, WeightLayout layout, ParamId id)
{
    Side s = {.pieces = layout_pieces(layout, id, &map->table.entry[id])};
    if (s.pieces)
        layout_piece(&s.first, layout, id, &map->table.entry[id], 0, &map->model, map->kv_heads);
    return s;
}

/* "NAME (4, 32)", with " x 12" for twelve of them. */
static void side_text(char *out, size_t size, const char *prefix, const Side *s)
{
    char shape[96], times[16] = "";
    st_shape_text(shape, sizeof shape, s->first.n_dims, s->first.shape);
    if (s->pieces > 1) snprintf(times, sizeof times, " x %d", s->pieces);
    snprintf(out, size, "%s%s %s%s", prefix, s->first.name, shape, times);
}

static const char *source_type(const WeightMap *map, const Side *from)
{
    char name[2 * WEIGHT_NAME_MAX];
    snprintf(name, sizeof name, "%.63s%s", map->prefix, from->first.name);
    int i = st_set_find(map->set, name);
    return i < 0 ? "?" : st_type_name(st_set_at(map->set, i)->type);
}

void weight_report(FILE *out, const WeightMap *map, WeightLayout to, StType type)
{
    for (int id = 0; id < N_PARAMS; id++) {
        char left[512], right[512];
        if (!map->table.entry[id].present) continue;
        Side target = side_of(map, to, (ParamId)id), from = side_of(map, map->layout, (ParamId)id);
        if (target.pieces == 0) continue;
        side_text(left, sizeof left, "", &target);
        side_text(right, sizeof right, map->prefix, &from);
        if (from.pieces)
            fprintf(out, "%s %s <- %s %s\n", left, st_type_name(type), right,
                    source_type(map, &from));
        else
            fprintf(out, "%s %s <- ones (switched off)\n", left, st_type_name(type));
    }
}

static json_t *side_json(const Side *s, const char *prefix, const char *type)
{
    char name[512];
    json_t *shape = json_array();
    snprintf(name, sizeof name, "%s%s", prefix, s->first.name);
    for (int d = 0; d < s->first.n_dims; d++)
        json_array_append_new(shape, json_integer(s->first.shape[d]));
    return json_pack("{s:s, s:o, s:i, s:s}", "name", name, "shape", shape, "tensors", s->pieces,
                     "dtype", type);
}

json_t *weight_report_json(const WeightMap *map, WeightLayout to, StType type)
{
    json_t *rows = json_array();
    for (int id = 0; id < N_PARAMS; id++) {
        if (!map->table.entry[id].present) continue;
        Side target = side_of(map, to, (ParamId)id), from = side_of(map, map->layout, (ParamId)id);
        if (target.pieces == 0) continue;
        json_t *source =
            from.pieces ? side_json(&from, map->prefix, source_type(map, &from)) : json_null();
        json_array_append_new(rows, json_pack("{s:o, s:o}", "to",
                                              side_json(&target, "", st_type_name(type)), "from",
                                              source));
    }
    return rows;
}
