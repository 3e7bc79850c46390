/* Texts being written side by side, one token each in turn, by readers of one model. One text alone
 * is a batch of one. */
#ifndef TTT_CLI_STREAMS_H
#define TTT_CLI_STREAMS_H

#include "base/sha256.h"
#include "cli/session.h"
#include "cli/text_out.h"
#include "run/sampler.h"

typedef struct Stream {
    ttt_reader *reader; /* owned */
    Sampler sampler;
    TextOut out;
    char *text; /* (size) what was written, where it does not go to standard output at once */
    size_t size;
    FILE *to;
    int64_t seed, prompt, tokens; /* of the prompt, written */
    Sha256 sha;                   /* of what was written */
    const char *end; /* why it ended: "length", "stop", "eos", "interrupted"; NULL: it has not */
} Stream;

typedef struct Streams {
    const Session *s;
    int n;
    Stream *stream;
    ttt_reader **active; /* (n) readers of those that have not ended; */
    int *index;          /* (n) and which streams they are */
    int32_t *token;      /* (n) */
    float *logp;         /* (n, vocab_size) */
    double *pause;       /* (n_pauses) seconds of each wait for learning */
    int64_t n_pauses, room;
    int32_t *silent; /* (n_silent) ids that stand for no text, EOS apart */
    int n_silent;
    double seconds; /* of writing */
} Streams;

void streams_open(Streams *all, const Session *s, int n);
void streams_close(Streams *all);

/* Stream i takes over the reader and writes to standard output (live) or into its text. */
void stream_begin(Streams *all, int i, ttt_reader *reader, const SamplerOptions *sampler,
                  int64_t seed, const TextList *stops, bool live);
/* At most max_tokens each, until all have ended or a signal came. */
int streams_write(Streams *all, int64_t max_tokens, Err *err);
int64_t streams_tokens(const Streams *all);

#endif
