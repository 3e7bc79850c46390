/* Event files: every frame's lengths and sums by a second CRC, the messages field by field, what a
 * full disk and a second start leave. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/proto.h"
#include "own_folder.h"
#include "run/events.h"

enum { FILES_MAX = 8 };

/* CRC-32C bit by bit, as its definition has it. */
static uint32_t crc32c_slow(const unsigned char *data, size_t size)
{
    uint32_t crc = ~0U;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    }
    return ~crc;
}

static uint32_t masked(const unsigned char *data, size_t size)
{
    uint32_t crc = crc32c_slow(data, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

typedef struct Bytes {
    const unsigned char *at;
    size_t size;
} Bytes;

/* The next frame's message; checks all of the frame. */
static Bytes frame_next(Bytes *rest)
{
    uint64_t size;
    uint32_t crc;
    assert_true(rest->size >= 16);
    memcpy(&size, rest->at, 8);
    memcpy(&crc, rest->at + 8, 4);
    assert_int_equal(crc, masked(rest->at, 8));
    assert_true(size <= rest->size - 16);
    Bytes message = {rest->at + 12, size};
    memcpy(&crc, rest->at + 12 + size, 4);
    assert_int_equal(crc, masked(message.at, size));
    *rest = (Bytes){rest->at + 16 + size, rest->size - 16 - size};
    return message;
}

static uint64_t varint(Bytes *b)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(b->size > 0 && shift < 70);
        unsigned char byte = *b->at++;
        b->size--;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
}

/* Field `wanted` of a message, the nth of that number: its bytes, or its number in *value. */
static bool field(Bytes message, int wanted, int nth, Bytes *bytes, uint64_t *value)
{
    while (message.size > 0) {
        uint64_t key = varint(&message), kind = key & 7, number = 0;
        Bytes content = message;
        if (kind == 0) {
            number = varint(&message);
        } else {
            content.size = kind == 1 ? 8 : kind == 5 ? 4 : varint(&message);
            content.at = message.at;
            assert_true(kind != 3 && kind != 4 && content.size <= message.size);
            message = (Bytes){message.at + content.size, message.size - content.size};
        }
        if ((int)(key >> 3) != wanted || nth-- > 0) continue;
        if (bytes) *bytes = content;
        if (value) *value = number;
        return true;
    }
    return false;
}

static Bytes inside(Bytes message, int wanted, int nth)
{
    Bytes content;
    assert_true(field(message, wanted, nth, &content, NULL));
    return content;
}

static uint64_t number(Bytes message, int wanted)
{
    uint64_t value;
    assert_true(field(message, wanted, 0, NULL, &value));
    return value;
}

static void assert_text(Bytes b, const char *text)
{
    assert_int_equal(b.size, strlen(text));
    assert_memory_equal(b.at, text, b.size);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Paths of the event files in the order that readers take; the caller frees them. */
static int files_in_order(const char *folder, char *paths[FILES_MAX])
{
    int n = 0;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) != 0) continue;
        assert_true(n < FILES_MAX);
        assert_true(asprintf(&paths[n++], "%s/%s", folder, entry->d_name) > 0);
    }
    closedir(dir);
    qsort(paths, (size_t)n, sizeof *paths, by_name);
    return n;
}

static char *only_file(const char *folder, Bytes *content)
{
    Err err;
    char *paths[FILES_MAX], *data;
    assert_int_equal(files_in_order(folder, paths), 1);
    assert_int_equal(file_read(paths[0], &data, &content->size, 1 << 24, &err), 0);
    content->at = (unsigned char *)data;
    free(paths[0]);
    return data;
}

static void crc_is_the_standard_one(void **state)
{
    (void)state;
    assert_int_equal(crc32c_slow((const unsigned char *)"123456789", 9), 0xe3069283);
}

static void varints_and_negative_numbers(void **state)
{
    (void)state;
    Proto p = {0};
    const unsigned char expected[] = {0x08, 0xac, 0x02, 0x10, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    proto_int(&p, 1, 300);
    proto_int(&p, 2, -1);
    assert_int_equal(p.size, sizeof expected);
    assert_memory_equal(p.data, expected, sizeof expected);
    proto_free(&p);
}

static void scalars_are_there_and_nan_is_not(void **state)
{
    Err err;
    EventFile *e;
    Bytes rest;
    const EventScalar scalars[] = {{"a/loss", 2.5}, {"none", NAN}, {"b", -1e30}};
    float value;
    assert_int_equal(events_open(&e, *state, 8, &err), 0);
    assert_int_equal(events_scalars(e, 1000000, scalars, 3, &err), 0);
    events_close(e);
    char *data = only_file(*state, &rest);
    assert_text(inside(frame_next(&rest), 3, 0), "brain.Event:2");
    Bytes session = frame_next(&rest);
    assert_int_equal(number(session, 2), 8);
    assert_int_equal(number(inside(session, 7, 0), 1), 1); /* SessionLog.START */
    Bytes event = frame_next(&rest), summary = inside(event, 5, 0), first = inside(summary, 1, 0);
    assert_int_equal(number(event, 2), 1000000);
    assert_text(inside(first, 1, 0), "a/loss");
    memcpy(&value, inside(first, 2, 0).at, sizeof value);
    assert_float_equal(value, 2.5, 0);
    assert_text(inside(inside(summary, 1, 1), 1, 0), "b");
    assert_false(field(summary, 1, 2, NULL, NULL));
    assert_int_equal(rest.size, 0);
    free(data);
}

static void texts_and_params_go_to_their_plugins(void **state)
{
    Err err;
    EventFile *e;
    Bytes rest;
    const EventParam params[] = {{.name = "lr", .number = 0.5}, {.name = "mode", .text = "meta"}};
    assert_int_equal(events_open(&e, *state, -1, &err), 0);
    assert_int_equal(events_text(e, 3, "config", "*x*", &err), 0);
    assert_int_equal(events_params(e, params, 2, &err), 0);
    events_close(e);
    char *data = only_file(*state, &rest);
    frame_next(&rest);
    Bytes value = inside(inside(frame_next(&rest), 5, 0), 1, 0), tensor = inside(value, 8, 0);
    assert_text(inside(inside(inside(value, 9, 0), 1, 0), 1, 0), "text");
    assert_int_equal(number(tensor, 1), 7);
    assert_text(inside(tensor, 8, 0), "*x*");
    value = inside(inside(frame_next(&rest), 5, 0), 1, 0);
    Bytes plugin = inside(inside(value, 9, 0), 1, 0);
    assert_text(inside(plugin, 1, 0), "hparams");
    Bytes start = inside(inside(plugin, 2, 0), 3, 0), second = inside(start, 1, 1);
    assert_text(inside(second, 1, 0), "mode");
    assert_text(inside(inside(second, 2, 0), 3, 0), "meta");
    assert_int_equal(rest.size, 0);
    free(data);
}

static void only_pictures_are_pictures(void **state)
{
    Err err;
    EventFile *e;
    Bytes rest;
    const unsigned char png[26] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0,    13, 'I',
                                   'H',  'D', 'R', 0,   0,    3,    0x84, 0,    0, 2, 0x30, 8,  2};
    assert_int_equal(events_open(&e, *state, -1, &err), 0);
    assert_int_equal(events_image(e, 1, "p", "not a picture, but text of some length", 38, &err),
                     -1);
    assert_int_equal(events_image(e, 1, "p", png, 25, &err), -1);
    assert_int_equal(events_image(e, 1, "p", png, sizeof png, &err), 0);
    events_close(e);
    char *data = only_file(*state, &rest);
    frame_next(&rest);
    Bytes image = inside(inside(inside(frame_next(&rest), 5, 0), 1, 0), 4, 0);
    assert_int_equal(number(image, 1), 560);
    assert_int_equal(number(image, 2), 900);
    assert_int_equal(inside(image, 4, 0).size, sizeof png);
    assert_int_equal(rest.size, 0);
    free(data);
}

/* A record that does not fit is taken back, and the next one that fits can be read. */
static void a_full_disk_leaves_whole_records(void **state)
{
    Err err;
    EventFile *e;
    Bytes rest;
    struct rlimit old, small = {.rlim_cur = 600};
    char text[1000];
    const EventScalar one = {"x", 1};
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(events_open(&e, *state, -1, &err), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int failed = events_text(e, 1, "t", text, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(failed, -1);
    assert_non_null(strstr(err.text, "cannot append to"));
    assert_int_equal(events_scalars(e, 2, &one, 1, &err), 0);
    events_close(e);
    char *data = only_file(*state, &rest);
    frame_next(&rest);
    assert_int_equal(number(frame_next(&rest), 2), 2);
    assert_int_equal(rest.size, 0);
    free(data);
}

/* Starts within one second still come in their order. */
static void files_come_in_the_order_of_starts(void **state)
{
    Err err;
    char *paths[FILES_MAX];
    for (int64_t i = 0; i < 4; i++) {
        EventFile *e;
        assert_int_equal(events_open(&e, *state, 100 + i, &err), 0);
        events_close(e);
    }
    int n = files_in_order(*state, paths);
    assert_int_equal(n, 4);
    for (int i = 0; i < n; i++) {
        char *data;
        size_t size;
        assert_int_equal(file_read(paths[i], &data, &size, 1 << 20, &err), 0);
        Bytes rest = {(unsigned char *)data, size};
        frame_next(&rest);
        assert_int_equal(number(frame_next(&rest), 2), 100 + i);
        free(data);
        free(paths[i]);
    }
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    (void)state;
    Err err;
    EventFile *e;
    assert_int_equal(events_open(&e, "/nonexistent/run", 0, &err), -1);
    assert_non_null(strstr(err.text, "/nonexistent/run/events.out.tfevents."));
    assert_null(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_the_standard_one),
        cmocka_unit_test(varints_and_negative_numbers),
        cmocka_unit_test_setup_teardown(scalars_are_there_and_nan_is_not, folder_enter,
                                        folder_leave),
        cmocka_unit_test_setup_teardown(texts_and_params_go_to_their_plugins, folder_enter,
                                        folder_leave),
        cmocka_unit_test_setup_teardown(only_pictures_are_pictures, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_whole_records, folder_enter,
                                        folder_leave),
        cmocka_unit_test_setup_teardown(files_come_in_the_order_of_starts, folder_enter,
                                        folder_leave),
        cmocka_unit_test(a_folder_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
