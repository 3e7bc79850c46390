/* A gzipped JSON file of tests/fixtures: recorded cases that would take a megabyte as text. */
#ifndef TTT_TESTS_GZ_JSON_H
#define TTT_TESTS_GZ_JSON_H

#include <jansson.h>
#include <zlib.h>

static size_t gz_json_part(void *buffer, size_t size, void *file)
{
    int got = gzread(file, buffer, (unsigned)size);
    return got < 0 ? (size_t)-1 : (size_t)got;
}

/* A file that is not compressed is read as it is. */
static json_t *gz_json_load(const char *path, size_t flags, json_error_t *error)
{
    gzFile file = gzopen(path, "rb");
    if (!file) return json_load_file(path, flags, error); /* says why */
    json_t *root = json_load_callback(gz_json_part, file, flags, error);
    gzclose(file);
    return root;
}

#endif
