#include "frame.h"

#include <string.h>

#include "wire.h"

uint32_t frame_checksum(const uint8_t *bytes, uint8_t size)
{
    /* Four bits at a time: 64 bytes of flash, a quarter of the time that single bits take. */
    static const uint32_t CRC_OF_NIBBLE[16] = {
        0x00000000U, 0x1DB71064U, 0x3B6E20C8U, 0x26D930ACU, 0x76DC4190U, 0x6B6B51F4U, 0x4DB26158U, 0x5005713CU,
        0xEDB88320U, 0xF00F9344U, 0xD6D6A3E8U, 0xCB61B38CU, 0x9B64C2B0U, 0x86D3D2D4U, 0xA00AE278U, 0xBDBDF21CU
    };
    uint32_t crc = 0xFFFFFFFFU;
    for (uint8_t i = 0U; i < size; i++) {
        crc ^= (uint32_t)bytes[i];
        crc = CRC_OF_NIBBLE[crc & 0x0FU] ^ (crc >> 4);
        crc = CRC_OF_NIBBLE[crc & 0x0FU] ^ (crc >> 4);
    }
    return crc ^ 0xFFFFFFFFU;
}

static void begin(frame_reader_t *reader)
{
    reader->size = 0U;
    reader->left = 0U;
    reader->begun = false;
    reader->broken = false;
}

static void append(frame_reader_t *reader, uint8_t byte)
{
    if (reader->size < FRAME_MAX_DECODED) {
        reader->bytes[reader->size] = byte;
        reader->size++;
    } else {
        reader->broken = true;
    }
}

static void take_coded(frame_reader_t *reader, uint8_t byte)
{
    if (reader->left > 0U) {
        append(reader, byte);
        reader->left--;
    } else {
        /* A code byte: so many minus one bytes follow, and then, unless the frame ends, a zero.  After 255 there would be none in COBS, but
         * no frame is so long. */
        if (reader->begun) {
            append(reader, 0U);
        }
        reader->left = (uint8_t)(byte - 1U);
    }
    reader->begun = true;
}

static bool unpack(const frame_reader_t *reader, frame_t *frame)
{
    bool whole = false;
    if ((!reader->broken) && (reader->left == 0U)
        && (reader->size >= (FRAME_HEADER_SIZE + FRAME_CHECKSUM_SIZE))) {
        const uint8_t covered = (uint8_t)(reader->size - FRAME_CHECKSUM_SIZE);
        if (frame_checksum(reader->bytes, covered) == wire_get_u32(&reader->bytes[covered])) {
            frame->type = reader->bytes[0];
            frame->sequence = wire_get_u16(&reader->bytes[1]);
            frame->size = (uint8_t)(covered - FRAME_HEADER_SIZE);
            (void)memcpy(frame->fields, &reader->bytes[FRAME_HEADER_SIZE], frame->size);
            whole = true;
        }
    }
    return whole;
}

frame_event_t frame_read(frame_reader_t *reader, uint8_t byte, frame_t *frame)
{
    frame_event_t event = FRAME_NONE;
    if (byte != 0U) {
        take_coded(reader, byte);
    } else {
        if (reader->begun) {
            event = unpack(reader, frame) ? FRAME_WHOLE : FRAME_DAMAGED;
        }
        begin(reader);
    }
    return event;
}

uint8_t frame_write(const frame_t *frame, uint8_t *line)
{
    uint8_t bytes[FRAME_MAX_DECODED];
    uint8_t size = (uint8_t)(FRAME_HEADER_SIZE + frame->size);
    bytes[0] = frame->type;
    wire_put_u16(&bytes[1], frame->sequence);
    (void)memcpy(&bytes[FRAME_HEADER_SIZE], frame->fields, frame->size);
    wire_put_u32(&bytes[size], frame_checksum(bytes, size));
    size = (uint8_t)(size + FRAME_CHECKSUM_SIZE);

    /* COBS.  A frame is shorter than 254 bytes, so that a code byte of 255 cannot come about. */
    uint8_t code_at = 0U;
    uint8_t end = 1U;
    for (uint8_t i = 0U; i < size; i++) {
        if (bytes[i] == 0U) {
            line[code_at] = (uint8_t)(end - code_at);
            code_at = end;
        } else {
            line[end] = bytes[i];
        }
        end++;
    }
    line[code_at] = (uint8_t)(end - code_at);
    line[end] = 0U;
    return (uint8_t)(end + 1U);
}
