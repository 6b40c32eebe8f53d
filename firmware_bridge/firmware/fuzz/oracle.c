#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLYNOMIAL 0xEDB88320UL     /* 0x04C11DB7 reflected */

/* A bit at a time, as the definition has it; core/frame.c takes four from a table. */
static uint32_t checksum(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFFUL;
    for (size_t bit = 0U; bit < (size * 8U); bit++) {
        const uint32_t in = ((uint32_t)bytes[bit / 8U] >> (bit % 8U)) & 1U;
        crc = (((crc ^ in) & 1U) != 0U) ? ((crc >> 1) ^ POLYNOMIAL) : (crc >> 1);
    }
    return crc ^ 0xFFFFFFFFUL;
}

static void put_u32(uint8_t *to, uint32_t number)
{
    for (unsigned i = 0U; i < 4U; i++) {
        to[i] = (uint8_t)(number >> (8U * i));
    }
}

void line_add(line_t *line, uint8_t byte)
{
    if (line->seen < sizeof line->bytes) {
        line->bytes[line->seen] = byte;
    }
    line->seen++;
}

stretch_t judge(const line_t *line, uint8_t decoded[DECODED_MOST], size_t *size)
{
    if (line->seen == 0U) {
        return STRETCH_EMPTY;
    }
    if ((line->seen + 1U) > LINE_MOST) {
        return STRETCH_BROKEN;
    }
    /* The whole stretch is there, so each code byte can simply be followed to the next. */
    size_t count = 0U;
    for (size_t at = 0U; at < line->seen; at += line->bytes[at]) {
        const size_t next = at + line->bytes[at];
        if (next > line->seen) {
            return STRETCH_BROKEN;
        }
        if (at > 0U) {
            decoded[count++] = 0U;
        }
        memcpy(&decoded[count], &line->bytes[at + 1U], next - at - 1U);
        count += next - at - 1U;
    }
    if (count < 7U) {
        return STRETCH_BROKEN;
    }
    *size = count;
    uint8_t right[4];
    put_u32(right, checksum(decoded, count - 4U));
    return (memcmp(right, &decoded[count - 4U], 4U) == 0) ? STRETCH_WHOLE : STRETCH_WRONG_CHECKSUM;
}

size_t make_frame(uint8_t *to, uint8_t type, uint16_t sequence, const uint8_t *fields, size_t size)
{
    uint8_t plain[LONGEST + 1U];
    expect(size + 7U <= LONGEST, "the fuzzer asks for no frame longer than it can make");
    plain[0] = type;
    plain[1] = (uint8_t)sequence;
    plain[2] = (uint8_t)(sequence >> 8);
    memcpy(&plain[3], fields, size);
    put_u32(&plain[3U + size], checksum(plain, 3U + size));
    plain[7U + size] = 0U;
    /* Backwards: each zero, and the end, become the distance to the zero after them. */
    size_t next = size + 8U;
    to[next] = 0U;
    for (size_t at = size + 8U; at-- > 0U;) {
        if ((at == 0U) || (plain[at - 1U] == 0U)) {
            to[at] = (uint8_t)(next - at);
            next = at;
        } else {
            to[at] = plain[at - 1U];
        }
    }
    return size + 9U;
}

void expect(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "FUZZ failed: %s\n", what);
        abort();
    }
}

void expect_sound(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "FUZZ accepted a bad frame: %s\n", what);
        abort();
    }
}
