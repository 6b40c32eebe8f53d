/* Noise and mutated frames for the parser, by libFuzzer.  Every event of it must be the one that the oracle expects, at every zero. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "oracle.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    unsigned long long bytes, whole, broken, wrong_checksum;
} counts;

static void tell(void)
{
    printf("FUZZ bytes=%llu whole=%llu broken=%llu wrong_checksum=%llu\n", counts.bytes, counts.whole, counts.broken,
        counts.wrong_checksum);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    return atexit(tell);
}

/* What was taken must be what stood on the line, byte for byte. */
static void check_taken(const frame_t *frame, const line_t *line)
{
    uint8_t *again = malloc(FRAME_MAX_ENCODED);     /* on the heap, of this size: a byte more is an error of the address sanitizer */
    expect(again != NULL, "there is memory");
    expect_sound(frame->size <= FRAME_MAX_FIELDS, "with more fields than fit");
    const uint8_t size = frame_write(frame, again);
    expect_sound((size == (line->seen + 1U)) && (memcmp(again, line->bytes, line->seen) == 0) && (again[size - 1U] == 0U),
        "written again it is another one");
    free(again);
}

static void take(frame_reader_t *reader, frame_t *frame, line_t *line, uint8_t byte)
{
    const frame_event_t event = frame_read(reader, byte, frame);
    counts.bytes++;
    if (byte != 0U) {
        line_add(line, byte);
        expect(event == FRAME_NONE, "only a zero ends a frame");
        return;
    }
    uint8_t decoded[DECODED_MOST];
    size_t size = 0U;
    const stretch_t truth = judge(line, decoded, &size);
    if (event == FRAME_WHOLE) {
        expect_sound(truth == STRETCH_WHOLE, "its checksum or its form is wrong");
        check_taken(frame, line);
        counts.whole++;
    } else if (event == FRAME_DAMAGED) {
        expect(truth != STRETCH_WHOLE, "a good frame is taken");
        expect(truth != STRETCH_EMPTY, "nothing is not damaged");
        counts.wrong_checksum += (truth == STRETCH_WRONG_CHECKSUM) ? 1U : 0U;
        counts.broken += (truth == STRETCH_BROKEN) ? 1U : 0U;
    } else {
        expect(truth == STRETCH_EMPTY, "what came before a zero is whole or damaged");
    }
    line->seen = 0U;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t FIELDS[4] = { 44U, 1U, 0U, 0U };
    frame_reader_t *reader = calloc(1U, sizeof *reader);
    frame_t *frame = calloc(1U, sizeof *frame);
    expect((reader != NULL) && (frame != NULL), "there is memory");
    line_t line = { .seen = 0U };
    for (size_t i = 0U; i < size; i++) {
        take(reader, frame, &line, data[i]);
    }
    /* Whatever that was: a zero, and the next good frame is understood. */
    take(reader, frame, &line, 0U);
    uint8_t good[LONGEST + 2U];
    const size_t length = make_frame(good, 3U, 0xBEEFU, FIELDS, sizeof FIELDS);
    const unsigned long long before = counts.whole;
    for (size_t i = 0U; i < length; i++) {
        take(reader, frame, &line, good[i]);
    }
    expect(counts.whole == (before + 1U), "the link recovers within one good frame");
    expect((frame->type == 3U) && (frame->sequence == 0xBEEFU) && (frame->size == sizeof FIELDS)
            && (memcmp(frame->fields, FIELDS, sizeof FIELDS) == 0), "what was sent is what was understood");
    free(frame);
    free(reader);
    return 0;
}

/* --- mutated frames ------------------------------------------------------------------------------------------------- */

static unsigned drawn(unsigned *state, unsigned below)
{
    *state = (*state * 1664525U) + 1013904223U;
    return (*state >> 8) % below;
}

/* A good frame, or one that is too long but otherwise good; then perhaps something happens to it on the line. */
static size_t drawn_frame(uint8_t *to, unsigned *state)
{
    uint8_t fields[LONGEST];
    static const unsigned BELOW[3] = { 12U, FRAME_MAX_FIELDS + 1U, 120U };
    const unsigned kind = drawn(state, 4U);
    const size_t count = (kind < 3U) ? drawn(state, BELOW[kind]) : FRAME_MAX_FIELDS;
    for (size_t i = 0U; i < count; i++) {
        fields[i] = (drawn(state, 3U) == 0U) ? 0U : (uint8_t)drawn(state, 256U);
    }
    size_t size = make_frame(to, (uint8_t)drawn(state, 256U), (uint16_t)drawn(state, 65536U), fields, count);
    const size_t at = drawn(state, (unsigned)size);
    switch (drawn(state, 10U)) {
    case 0:                                         /* a wrong bit */
        to[at] ^= (uint8_t)(1U << drawn(state, 8U));
        break;
    case 1:                                         /* a wrong byte */
        to[at] = (uint8_t)drawn(state, 256U);
        break;
    case 2:                                         /* a lost one */
        memmove(&to[at], &to[at + 1U], size - at - 1U);
        size--;
        break;
    case 3:                                         /* cut short */
        size = at;
        break;
    case 4:                                         /* a zero within */
        to[at] = 0U;
        break;
    case 5:                                         /* more behind it, before the zero */
        memcpy(&to[size - 1U], (const uint8_t[4]){ 3U, 1U, 1U, 0U }, 4U);
        size += 3U;
        break;
    case 6:                                         /* noise in its place */
        for (size_t i = 0U; i < size; i++) {
            to[i] = (uint8_t)drawn(state, 256U);
        }
        break;
    default:                                        /* nothing */
        break;
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
    unsigned state = seed;
    uint8_t frame[LONGEST + 2U];
    const size_t length = drawn_frame(frame, &state);
    if ((drawn(&state, 3U) == 0U) || ((size + length) > most)) {
        return LLVMFuzzerMutate(data, size, most);
    }
    const size_t at = drawn(&state, (unsigned)size + 1U);
    memmove(&data[at + length], &data[at], size - at);
    memcpy(&data[at], frame, length);
    return size + length;
}
