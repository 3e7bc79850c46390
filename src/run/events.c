/* Event files: TFRecord frames around protobuf messages.
 *
 * A frame:  u64 length, u32 crc(length), the message, u32 crc(message), little end first, where
 *           crc(x) = rotate_right(crc32c(x), 15) + 0xa282ead8.
 * Messages (field numbers of TensorBoard's event.proto, summary.proto, tensor.proto and hparams'
 * plugin_data.proto):
 *   Event     1 double wall_time, 2 step, 3 file_version, 5 Summary, 7 SessionLog
 *   Summary   1 Value;  Value: 1 tag, 2 float simple_value, 4 Image, 8 Tensor, 9 Metadata
 *   Image     1 height, 2 width, 3 colorspace (channels), 4 bytes
 *   Metadata  1 PluginData: 1 name, 2 content
 *   Tensor    1 dtype (1 float, 7 string), 2 shape (2 dim: 1 size), 8 string_val
 *   SessionLog  1 status (1: start)
 * The few messages are written by hand: a generated reader and writer for all of TensorBoard's
 * would need another library and its compiler in every build. */
#include "run/events.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/proto.h"

enum {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_VERSION = 3,
    EVENT_SUMMARY = 5,
    EVENT_SESSION = 7
};
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { TENSOR_TYPE = 1, TENSOR_SHAPE = 2, TENSOR_STRING = 8, TYPE_FLOAT = 1, TYPE_STRING = 7 };
enum { FRAME_HEAD = 12, FRAME_TAIL = 4, HOST_SIZE = 64, RECORD_MAX = 1 << 30 };

static const char name_start[] = "events.out.tfevents.";

struct EventFile {
    int fd;
    char path[PATH_MAX];
    Proto event, summary, value, part, inner; /* from the outside in */
    unsigned char *frame;
};

/* --- frames -----------------------------------------------------------------------------------*/

static uint32_t masked_crc(const void *data, size_t size)
{
    uint32_t crc = crc32c(data, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

/* Writes e->event and empties it. */
static int event_write(EventFile *e, Err *err)
{
    uint64_t size = e->event.size;
    CHECK(size < RECORD_MAX, "an event of %zu bytes", e->event.size);
    unsigned char *frame = realloc(e->frame, FRAME_HEAD + size + FRAME_TAIL);
    mem_need(frame, "an event of %zu bytes", e->event.size);
    e->frame = frame;
    uint32_t head_crc = masked_crc(&size, sizeof size);
    uint32_t crc = masked_crc(e->event.data, size);
    memcpy(frame, &size, sizeof size);
    memcpy(frame + sizeof size, &head_crc, sizeof head_crc);
    memcpy(frame + FRAME_HEAD, e->event.data, size);
    memcpy(frame + FRAME_HEAD + size, &crc, sizeof crc);
    proto_clear(&e->event);
    return file_append(e->fd, e->path, frame, FRAME_HEAD + size + FRAME_TAIL, err);
}

static double wall_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void event_begin(EventFile *e, int64_t step)
{
    proto_double(&e->event, EVENT_WALL_TIME, wall_time());
    if (step > 0) proto_int(&e->event, EVENT_STEP, step);
}

static void value_end(EventFile *e)
{
    proto_message(&e->summary, 1, &e->value);
}

static int summary_end(EventFile *e, Err *err)
{
    proto_message(&e->event, EVENT_SUMMARY, &e->summary);
    return event_write(e, err);
}

/* --- the file ---------------------------------------------------------------------------------*/

/* Readers go through the files of a folder by name: the time in the new one's must be later than in
 * any other, also when a run goes on within the same second or after the clock was set back. */
static long long time_for_name(const char *folder)
{
    long long latest = (long long)time(NULL);
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, name_start, sizeof name_start - 1) != 0) continue;
        long long other = strtoll(entry->d_name + sizeof name_start - 1, NULL, 10);
        if (other >= latest && other < 9999999999LL) latest = other + 1;
    }
    if (dir) closedir(dir);
    return latest;
}

static int file_make(EventFile *e, const char *folder, Err *err)
{
    char name[HOST_SIZE + 96], host[HOST_SIZE] = "host";
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "host");
    host[sizeof host - 1] = '\0';
    for (char *c = host; *c; c++)
        if (*c == '/' || (unsigned char)*c <= ' ') *c = '_';
    snprintf(name, sizeof name, "%s%010lld.%s.%ld.0", name_start, time_for_name(folder), host,
             (long)getpid());
    TRY(path_join(e->path, sizeof e->path, folder, name, err));
    e->fd = open(e->path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return e->fd < 0 ? file_error(err, "create", e->path) : 0;
}

static int head_write(EventFile *e, int64_t from_step, Err *err)
{
    event_begin(e, 0);
    proto_text(&e->event, EVENT_VERSION, "brain.Event:2");
    TRY(event_write(e, err));
    if (from_step < 0) return 0;
    event_begin(e, from_step);
    proto_int(&e->part, 1, 1);
    proto_message(&e->event, EVENT_SESSION, &e->part);
    return event_write(e, err);
}

int events_open(EventFile **out, const char *folder, int64_t from_step, Err *err)
{
    EventFile *e = calloc(1, sizeof *e);
    mem_need(e, "the events of %s", folder);
    *out = NULL;
    e->fd = -1;
    if (file_make(e, folder, err) < 0 || head_write(e, from_step, err) < 0) {
        if (e->fd >= 0) unlink(e->path);
        events_close(e);
        return -1;
    }
    *out = e;
    return 0;
}

void events_close(EventFile *e)
{
    if (!e) return;
    if (e->fd >= 0) close(e->fd);
    proto_free(&e->event);
    proto_free(&e->summary);
    proto_free(&e->value);
    proto_free(&e->part);
    proto_free(&e->inner);
    free(e->frame);
    free(e);
}

/* --- what is logged ---------------------------------------------------------------------------*/

int events_scalars(EventFile *e, int64_t step, const EventScalar *scalars, int n, Err *err)
{
    event_begin(e, step);
    for (int i = 0; i < n; i++) {
        if (isnan(scalars[i].value)) continue;
        proto_text(&e->value, VALUE_TAG, scalars[i].tag);
        proto_float(&e->value, VALUE_SIMPLE, (float)scalars[i].value);
        value_end(e);
    }
    return summary_end(e, err);
}

/* Metadata that hands the value to a plugin; what e->part holds goes with it. */
static void put_plugin(EventFile *e, const char *plugin)
{
    Proto data = {0};
    proto_text(&data, 1, plugin);
    if (e->part.size > 0) proto_message(&data, 2, &e->part);
    proto_message(&e->part, 1, &data);
    proto_message(&e->value, VALUE_METADATA, &e->part);
    proto_free(&data);
}

/* A tensor of one dimension: one text, or no elements. */
static void put_tensor(EventFile *e, const char *text)
{
    Proto dim = {0};
    proto_int(&e->part, TENSOR_TYPE, text ? TYPE_STRING : TYPE_FLOAT);
    proto_int(&dim, 1, text ? 1 : 0);
    proto_message(&e->inner, 2, &dim);
    proto_message(&e->part, TENSOR_SHAPE, &e->inner);
    if (text) proto_text(&e->part, TENSOR_STRING, text);
    proto_message(&e->value, VALUE_TENSOR, &e->part);
    proto_free(&dim);
}

int events_text(EventFile *e, int64_t step, const char *tag, const char *markdown, Err *err)
{
    event_begin(e, step);
    proto_text(&e->value, VALUE_TAG, tag);
    put_plugin(e, "text");
    put_tensor(e, markdown);
    value_end(e);
    return summary_end(e, err);
}

static int64_t big_endian(const unsigned char *at)
{
    return (int64_t)at[0] << 24 | (int64_t)at[1] << 16 | (int64_t)at[2] << 8 | (int64_t)at[3];
}

int events_image(EventFile *e, int64_t step, const char *tag, const void *png, size_t size,
                 Err *err)
{
    const unsigned char *at = png;
    if (size < 26 || memcmp(at, "\x89PNG\r\n\x1a\n", 8) != 0)
        return err_set(err, "%s: the picture is not a PNG file", tag);
    event_begin(e, step);
    proto_text(&e->value, VALUE_TAG, tag);
    proto_int(&e->part, 1, big_endian(at + 20));
    proto_int(&e->part, 2, big_endian(at + 16));
    proto_int(&e->part, 3, at[25] == 6 ? 4 : 3); /* colour type 6 has alpha */
    proto_bytes(&e->part, 4, png, size);
    proto_message(&e->value, VALUE_IMAGE, &e->part);
    value_end(e);
    return summary_end(e, err);
}

/* HParamsPluginData: 3 SessionStartInfo (1 map: 1 name, 2 Value (2 number, 3 text); 5 start). */
int events_params(EventFile *e, const EventParam *params, int n, Err *err)
{
    Proto session = {0}, entry = {0};
    event_begin(e, 0);
    proto_text(&e->value, VALUE_TAG, "_hparams_/session_start_info");
    for (int i = 0; i < n; i++) {
        proto_text(&entry, 1, params[i].name);
        if (params[i].text)
            proto_text(&e->inner, 3, params[i].text);
        else
            proto_double(&e->inner, 2, params[i].number);
        proto_message(&entry, 2, &e->inner);
        proto_message(&session, 1, &entry);
    }
    proto_double(&session, 5, wall_time());
    proto_message(&e->part, 3, &session);
    put_plugin(e, "hparams");
    put_tensor(e, NULL);
    value_end(e);
    proto_free(&session);
    proto_free(&entry);
    return summary_end(e, err);
}
