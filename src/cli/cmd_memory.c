/* `ttt memory`: shows memory files, without the model they belong to. */
#include <stdio.h>
#include <string.h>

#include "base/jsonl.h"
#include "base/mem.h"
#include "base/names.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "ttt.h"

static const char help[] = "usage: ttt memory info FILE [--json]\n"
                           "       ttt memory sources FILE\n"
                           "\n"
                           "info shows what a memory file holds and which model it belongs to; "
                           "sources lists the texts that\n"
                           "were read, one a line: tokens, SHA-256, name, separated by tabs.\n"
                           "\n"
                           "example:\n"
                           "  ttt memory info book.memory\n";

/* A memory's description with its sources (info.n_sources), to be freed with mem_free. */
static int describe(const char *path, ttt_memory_info *info, ttt_source **sources, Err *err)
{
    TRY(ttt_memory_describe(path, info, NULL, 0, err->text));
    int max = info->n_sources;
    *sources = mem_alloc(((size_t)max + 1) * sizeof **sources);
    if (ttt_memory_describe(path, info, *sources, max, err->text) < 0) {
        mem_free(*sources);
        return -1;
    }
    if (info->n_sources > max) info->n_sources = max; /* replaced by a longer one in between */
    return 0;
}

static void info_print(const char *path, const ttt_memory_info *m)
{
    char shown[NAME_SHOWN_MAX], size[32];
    printf("memory   %s, %s\n", name_show(shown, path), bytes_show(size, m->file_bytes));
    printf("model    %s\n", name_show(shown, m->model_name));
    printf("digest   %s\n", m->model_digest);
    if (m->tokenizer[0]) printf("encoded  %s\n", name_show(shown, m->tokenizer));
    printf("written  %s\n", m->created);
    printf("texts    %d\n", m->n_sources);
    printf("tokens   %lld\n", (long long)m->tokens);
    printf("steps    %lld\n", (long long)m->steps);
    printf("pending  %lld tokens of an unfinished chunk\n", (long long)m->pending);
}

static void info_print_json(const char *path, const ttt_memory_info *m, const ttt_source *sources)
{
    json_t *list = json_array();
    for (int i = 0; i < m->n_sources; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "name", sources[i].name, "sha256",
                                              sources[i].sha256, "tokens",
                                              (json_int_t)sources[i].tokens));
    json_t *root = json_object();
    json_object_set_new(root, "path", json_text(path));
    json_object_set_new(root, "bytes", json_integer((json_int_t)m->file_bytes));
    json_object_set_new(root, "model_name", json_string(m->model_name));
    json_object_set_new(root, "model_digest", json_string(m->model_digest));
    json_object_set_new(root, "tokenizer", json_string(m->tokenizer));
    json_object_set_new(root, "created", json_string(m->created));
    json_object_set_new(root, "tokens", json_integer(m->tokens));
    json_object_set_new(root, "steps", json_integer(m->steps));
    json_object_set_new(root, "pending", json_integer(m->pending));
    json_object_set_new(root, "sources", list);
    output_json(root);
}

static void sources_print(const ttt_source *sources, int n)
{
    char shown[NAME_SHOWN_MAX];
    for (int i = 0; i < n; i++)
        printf("%lld\t%s\t%s\n", (long long)sources[i].tokens, sources[i].sha256,
               name_show(shown, sources[i].name));
}

static int run(int argc, char **argv)
{
    bool json = false;
    const Option table[] = {{"json", OPTION_FLAG, &json, 0, 0}};
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    bool list = n > 0 && strcmp(argv[1], "sources") == 0;
    if (n != 2 || (!list && strcmp(argv[1], "info") != 0))
        return options_usage("memory", "say `info FILE` or `sources FILE`");
    Err err;
    ttt_memory_info info;
    ttt_source *sources;
    if (describe(argv[2], &info, &sources, &err) < 0) return command_fail("memory", &err);
    if (list)
        sources_print(sources, info.n_sources);
    else if (json)
        info_print_json(argv[2], &info, sources);
    else
        info_print(argv[2], &info);
    mem_free(sources);
    return output_finish("memory");
}

const Command command_memory = {
    .name = "memory",
    .summary = "show what a memory file holds",
    .help = help,
    .run = run,
};
