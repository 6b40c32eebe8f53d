/* What the specification says of frames (docs/wire-protocol.md), written a second time and another way: the fuzzers judge core/ by it. */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MOST 64U               /* bytes of a frame on the line, its zero included */
#define DECODED_MOST 62U
#define LONGEST 250U                /* bytes that this can put into one COBS frame: longer than a frame may be */

typedef enum {
    STRETCH_EMPTY,                  /* two zeros in a row: nothing came */
    STRETCH_WHOLE,
    STRETCH_BROKEN,                 /* too long, too short, or no COBS */
    STRETCH_WRONG_CHECKSUM          /* broken by its checksum alone */
} stretch_t;

/* What came since the last zero.  `seen` counts on when `bytes` is full. */
typedef struct {
    uint8_t bytes[LINE_MOST];
    size_t seen;
} line_t;

void line_add(line_t *line, uint8_t byte);

/* Judges what is between two zeros.  `decoded` is type, sequence, fields and checksum, of `*size` bytes, if it is whole. */
stretch_t judge(const line_t *line, uint8_t decoded[DECODED_MOST], size_t *size);

/* A frame with the right checksum, and its zero; the fields may be too many for one.  Returns bytes written, at most LONGEST + 2. */
size_t make_frame(uint8_t *to, uint8_t type, uint16_t sequence, const uint8_t *fields, size_t size);

/* Ends the process, and so fails the campaign, with one line that says what did not hold. */
void expect(bool holds, const char *what);

/* The same, said in a way that the campaign counts: the parser took what the line did not carry. */
void expect_sound(bool holds, const char *what);

#endif
