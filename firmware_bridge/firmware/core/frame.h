/* Frames on the serial line: docs/wire-protocol.md, "Frames". */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_HEADER_SIZE 3U    /* type, sequence */
#define FRAME_CHECKSUM_SIZE 4U
#define FRAME_MAX_FIELDS 55U    /* 62 bytes before COBS, 64 on the line */
#define FRAME_MAX_DECODED (FRAME_HEADER_SIZE + FRAME_MAX_FIELDS + FRAME_CHECKSUM_SIZE)
#define FRAME_MAX_ENCODED (FRAME_MAX_DECODED + 2U)

typedef struct {
    uint8_t type;
    uint16_t sequence;
    uint8_t size;               /* bytes of `fields` */
    uint8_t fields[FRAME_MAX_FIELDS];
} frame_t;

typedef enum {
    FRAME_NONE,                 /* not at the end of one */
    FRAME_WHOLE,
    FRAME_DAMAGED
} frame_event_t;

/* Takes the line apart, byte by byte.  All zeros is its start. */
typedef struct {
    uint8_t bytes[FRAME_MAX_DECODED];
    uint8_t size;               /* decoded so far */
    uint8_t left;               /* bytes until the next code byte of COBS */
    bool begun;                 /* something came since the last zero */
    bool broken;                /* too long, or the zero came too early */
} frame_reader_t;

/* Take one byte.  After FRAME_WHOLE, `frame` holds what came. */
frame_event_t frame_read(frame_reader_t *reader, uint8_t byte, frame_t *frame);

/* Write a frame with its final zero to `line`, of FRAME_MAX_ENCODED bytes.  Returns how many. */
uint8_t frame_write(const frame_t *frame, uint8_t *line);

/* CRC-32 as in Ethernet and zlib. */
uint32_t frame_checksum(const uint8_t *bytes, uint8_t size);

#endif
