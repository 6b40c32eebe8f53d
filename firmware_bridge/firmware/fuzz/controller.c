/* Stories for the whole firmware, by libFuzzer: what is on its line, when it ticks, what its wheels and its button do.
 *
 * An input is a first byte, the clock's start in four, and then steps, each a byte and what it needs (`step`).  What must hold in any story
 * is in `check_motors`, `check_answer` and `tick`. */
#include "controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

#define US_PER_MS 1000U

static const int32_t PERMILLE_PER_COUNT[4] = { 60, 60, -60, 0 };

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    unsigned long long bytes, requests, dropped, fed, moving, trips;
} counts;

/* The fuzzer's input, and zeros after its end. */
typedef struct {
    const uint8_t *data;
    size_t left;
} input_t;

typedef struct {
    controller_t *controller;
    robot_t robot;
    line_t line;
    inputs_t inputs;
    uint32_t now_us;
    uint32_t fed_us;
    uint16_t sequence;
    uint16_t session;
    int32_t permille_per_count;     /* of a wheel; below 0: its encoder is the wrong way round; 0: it stands */
} story_t;

static void tell(void)
{
    printf("FUZZ bytes=%llu requests=%llu dropped=%llu fed=%llu moving=%llu trips=%llu\n", counts.bytes, counts.requests,
        counts.dropped, counts.fed, counts.moving, counts.trips);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    return atexit(tell);
}

static uint8_t next(input_t *input)
{
    uint8_t byte = 0U;
    if (input->left > 0U) {
        byte = *input->data;
        input->data++;
        input->left--;
    }
    return byte;
}

static uint16_t next_u16(input_t *input)
{
    const uint8_t low = next(input);
    return (uint16_t)(low | ((unsigned)next(input) << 8));
}

static uint32_t next_u32(input_t *input)
{
    const uint16_t low = next_u16(input);
    return low | ((uint32_t)next_u16(input) << 16);
}

static bool is_moving(const story_t *story)
{
    return (story->controller->power.left_permille != 0) || (story->controller->power.right_permille != 0);
}

/* After each call. */
static void check_motors(const story_t *story)
{
    const power_t power = story->controller->power;
    const safety_t *safety = &story->controller->safety;
    expect((abs(power.left_permille) <= 1000) && (abs(power.right_permille) <= 1000), "power is within full power");
    expect((safety->state == STATE_ARMED) || !is_moving(story), "motors are off in every state but ARMED");
    expect((safety->faults == 0U) == (safety->state != STATE_FAULT), "a latched fault and the state FAULT go together");
    expect((safety->state != STATE_ARMED) || !story->inputs.button, "it is never armed with the button pressed");
}

/* Bytes of the fields of each request, by type from 1; docs/wire-protocol.md. */
static bool is_request(const uint8_t *decoded, size_t size)
{
    static const uint8_t FIELDS[9] = { 0xFFU, 4U, 2U, 4U, 0U, 0U, 2U, 0U, 0U };
    return (decoded[0] < sizeof FIELDS) && ((size - 7U) == FIELDS[decoded[0]]);
}

/* The answer to a request: one whole frame, with its number, that says what is so. */
static void check_answer(story_t *story, const uint8_t *request, const uint8_t *answer, size_t size, uint8_t state_before)
{
    const safety_t *safety = &story->controller->safety;
    line_t line = { .seen = 0U };
    expect((size <= FRAME_MAX_ENCODED) && (answer[size - 1U] == 0U), "an answer is one frame that fits");
    for (size_t i = 0U; (i + 1U) < size; i++) {
        expect(answer[i] != 0U, "an answer is one frame");
        line_add(&line, answer[i]);
    }
    uint8_t decoded[DECODED_MOST];
    size_t count = 0U;
    expect(judge(&line, decoded, &count) == STRETCH_WHOLE, "an answer is whole");
    expect(memcmp(&decoded[1], &request[1], 2U) == 0, "an answer has the number of its request");
    const uint8_t *fields = &decoded[3];
    if (request[0] == WIRE_HELLO) {
        expect((decoded[0] == WIRE_IDENTITY) && (count == (7U + WIRE_IDENTITY_SIZE)), "Hello is answered by Identity");
        expect(!is_moving(story), "Hello stops it");
        story->session = (uint16_t)(fields[4] | ((unsigned)fields[5] << 8));
    } else if (request[0] == WIRE_READ_COUNTERS) {
        expect((decoded[0] == WIRE_COUNTERS) && (count == (7U + WIRE_COUNTERS_SIZE)), "ReadCounters is answered by Counters");
    } else {
        expect((decoded[0] == WIRE_STATUS) && (count == (7U + WIRE_STATUS_SIZE)), "a request is answered by Status");
        expect(fields[1] == safety->state, "Status has the state");
        const bool done = fields[0] == RESULT_OK;
        const bool arms = (request[0] == WIRE_ARM) && (state_before != STATE_ARMED);
        expect(!done || (request[0] != WIRE_DRIVE) || (state_before == STATE_ARMED), "only an armed robot takes a Drive");
        if (done && (arms || (request[0] == WIRE_DRIVE))) {
            story->fed_us = story->now_us;
            counts.fed++;
        }
        if ((request[0] == WIRE_DISARM) || (request[0] == WIRE_EMERGENCY_STOP)) {
            expect(!is_moving(story), "Disarm and EmergencyStop stop it");
        }
        expect((request[0] == WIRE_ARM) || (state_before == STATE_ARMED) || (safety->state != STATE_ARMED), "only Arm arms");
    }
}

static void receive(story_t *story, uint8_t byte)
{
    uint8_t decoded[DECODED_MOST] = { 0U };
    size_t size = 0U;
    const uint8_t state_before = story->controller->safety.state;
    const uint8_t sent = controller_receive(story->controller, byte, story->now_us);
    counts.bytes++;
    check_motors(story);
    if (byte != 0U) {
        line_add(&story->line, byte);
        expect(sent == 0U, "it speaks only when it was asked");
        return;
    }
    const bool is_good = (judge(&story->line, decoded, &size) == STRETCH_WHOLE) && is_request(decoded, size);
    story->line.seen = 0U;
    expect_sound(is_good || (sent == 0U), "it was answered");
    expect(!is_good || (sent != 0U), "every good request is answered");
    if (is_good) {
        counts.requests++;
        check_answer(story, decoded, story->controller->line, sent, state_before);
    } else {
        expect(story->controller->safety.state == state_before, "what is no request changes no state");
        counts.dropped++;
    }
}

static void ask(story_t *story, uint8_t type, uint16_t sequence, const uint8_t *fields, size_t size, unsigned wrong_bit)
{
    uint8_t frame[LONGEST + 2U];
    const size_t length = make_frame(frame, type, sequence, fields, size);
    if (wrong_bit > 0U) {
        frame[(wrong_bit / 8U) % length] ^= (uint8_t)(1U << (wrong_bit % 8U));
    }
    for (size_t i = 0U; i < length; i++) {
        receive(story, frame[i]);
    }
}

/* A frame that is good unless `how` says otherwise: another number, a wrong bit, other fields. */
static void request(story_t *story, input_t *input)
{
    const uint8_t how = next(input);
    const uint8_t type = (uint8_t)((how % 16U) + 1U);
    uint8_t fields[4] = { 0U };
    size_t size = 0U;
    if (type == WIRE_DRIVE) {
        /* Mostly what the robot may: anything at all is mostly refused. */
        const bool anything = (how & 0x80U) != 0U;
        const uint16_t v_mmps = anything ? next_u16(input) : (uint16_t)((int8_t)next(input) * 4);
        const uint16_t w_mradps = anything ? next_u16(input) : (uint16_t)((int8_t)next(input) * 20);
        fields[0] = (uint8_t)v_mmps;
        fields[1] = (uint8_t)(v_mmps >> 8);
        fields[2] = (uint8_t)w_mradps;
        fields[3] = (uint8_t)(w_mradps >> 8);
        size = 4U;
    } else if ((type == WIRE_ARM) || (type == WIRE_CLEAR_FAULTS)) {
        const uint16_t session = ((how & 0x80U) != 0U) ? next_u16(input) : story->session;
        fields[0] = (uint8_t)session;
        fields[1] = (uint8_t)(session >> 8);
        size = 2U;
    } else if (type == WIRE_HELLO) {
        const uint32_t protocol = ((how & 0x80U) != 0U) ? next_u32(input) : WIRE_PROTOCOL;
        for (size = 0U; size < 4U; size++) {
            fields[size] = (uint8_t)(protocol >> (8U * size));
        }
    } else {
        size = ((how & 0x80U) != 0U) ? (next(input) % 5U) : 0U;
    }
    story->sequence = ((how & 0x20U) != 0U) ? next_u16(input) : (uint16_t)(story->sequence + 1U);
    ask(story, type, story->sequence, fields, size, ((how & 0x40U) != 0U) ? next(input) : 0U);
}

/* It wraps. */
static int32_t moved(int32_t encoder, int32_t by)
{
    return (int32_t)((uint32_t)encoder + (uint32_t)by);
}

static void tick(story_t *story, uint32_t after_us)
{
    story->now_us += after_us;
    story->inputs.now_us = story->now_us;
    if (story->permille_per_count != 0) {
        const power_t power = story->controller->power;
        story->inputs.left_counts = moved(story->inputs.left_counts, power.left_permille / story->permille_per_count);
        story->inputs.right_counts = moved(story->inputs.right_counts, power.right_permille / story->permille_per_count);
    }
    const uint16_t trips = story->controller->safety.deadman_trips;
    controller_tick(story->controller, &story->inputs);
    check_motors(story);
    if (is_moving(story)) {
        counts.moving++;
        expect((story->now_us - story->fed_us) < (story->robot.deadman_ms * US_PER_MS), "the deadman stops it in time");
    }
    counts.trips += (story->controller->safety.deadman_trips != trips) ? 1U : 0U;
}

/* Some bytes, a request, some ticks, or a change of its surroundings. */
static void step(story_t *story, input_t *input)
{
    const uint8_t what = next(input);
    const unsigned times = what / 8U;
    switch (what % 8U) {
    case 0:
        for (unsigned i = 0U; i < (times * 3U); i++) {
            receive(story, next(input));
        }
        break;
    case 1:
        receive(story, 0U);
        break;
    case 2:
        story->inputs.button = !story->inputs.button;
        tick(story, story->robot.tick_ms * US_PER_MS);
        break;
    case 3:
        story->inputs.left_counts = (int32_t)next_u32(input);
        story->inputs.right_counts = (int32_t)next_u32(input);
        break;
    case 4:
        tick(story, (uint32_t)next_u16(input) * 4U);
        break;
    case 5:
        for (unsigned i = 0U; i <= times; i++) {
            tick(story, story->robot.tick_ms * US_PER_MS);
        }
        break;
    default:
        request(story, input);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t input = { .data = data, .left = size };
    const uint8_t first = next(&input);
    controller_t *controller = malloc(sizeof *controller);
    expect(controller != NULL, "there is memory");
    story_t story = { .controller = controller, .robot = ROBOT, .now_us = next_u32(&input) };
    if ((first & 1U) != 0U) {
        story.robot.counts_per_turn = 0U;
    }
    story.permille_per_count = PERMILLE_PER_COUNT[(first / 2U) % 4U];
    controller_init(controller, &story.robot, 255U, first / 64U);
    check_motors(&story);
    while (input.left > 0U) {
        step(&story, &input);
    }
    /* Whatever that was: a zero, and the next good frame is answered.  `receive` says so if it is not. */
    receive(&story, 0U);
    ask(&story, WIRE_POLL, (uint16_t)(story.sequence + 1U), (const uint8_t *)"", 0U, 0U);
    free(controller);
    return 0;
}
