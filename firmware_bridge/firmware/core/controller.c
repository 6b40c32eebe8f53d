#include "controller.h"

#include <string.h>

#define MOST_US 0xFFFFUL

void controller_init(controller_t *controller, const robot_t *robot, uint8_t port, uint8_t reset)
{
    (void)memset(controller, 0, sizeof *controller);
    controller->robot = robot;
    controller->port = port;
    controller->reset = reset;
    safety_init(&controller->safety, robot, motion_fits(robot));
    motion_init(&controller->motion, robot);
}

static uint16_t narrowed(uint32_t us)
{
    return (uint16_t)((us < MOST_US) ? us : MOST_US);
}

static int16_t directed_power(int16_t permille, bool reversed)
{
    return reversed ? (int16_t)-permille : permille;
}

static int32_t directed_counts(int32_t counts, bool reversed)
{
    const uint32_t backward = 0U - (uint32_t)counts;   /* INT32_MIN has no positive */
    return reversed ? (int32_t)backward : counts;
}

/* The one place where motor power comes from. */
static void set_power(controller_t *controller)
{
    if (controller->safety.state != STATE_ARMED) {
        motion_rest(&controller->motion);
    }
    const robot_t *robot = controller->robot;
    controller->power.left_permille = directed_power(controller->motion.left.permille, robot->left.motor_reversed);
    controller->power.right_permille = directed_power(controller->motion.right.permille, robot->right.motor_reversed);
}

void controller_tick(controller_t *controller, const inputs_t *inputs)
{
    const uint32_t since_us = inputs->now_us - controller->safety.ticked_us;
    if (controller->safety.ticks && (since_us > controller->counters.worst_tick_us)) {
        controller->counters.worst_tick_us = narrowed(since_us);
    }
    const robot_t *robot = controller->robot;
    controller->inputs = *inputs;
    controller->inputs.left_counts = directed_counts(inputs->left_counts, robot->left.encoder_reversed);
    controller->inputs.right_counts = directed_counts(inputs->right_counts, robot->right.encoder_reversed);
    const uint16_t faults = motion_measure(&controller->motion, controller->inputs.left_counts, controller->inputs.right_counts);
    if (safety_tick(&controller->safety, inputs->now_us, inputs->button, faults)) {
        motion_drive(&controller->motion);
    }
    set_power(controller);
}

/* --- answers --------------------------------------------------------------------------------------------------------- */

static void identify(controller_t *controller)
{
    const robot_t *robot = controller->robot;
    const wire_identity_t identity = {
        .protocol = WIRE_PROTOCOL,
        .session = controller->safety.session,
        .reset = controller->reset,
        .port = controller->port,
        .deadman_ms = robot->deadman_ms,
        .tick_ms = robot->tick_ms,
        .track_um = robot->track_um,
        .left_radius_um = robot->left.radius_um,
        .right_radius_um = robot->right.radius_um,
        .counts_per_turn = robot->counts_per_turn,
        .max_v_mmps = robot->max_v_mmps,
        .max_reverse_mmps = robot->max_reverse_mmps,
        .max_w_mradps = robot->max_w_mradps,
        .accel_mmps2 = robot->accel_mmps2,
        .decel_mmps2 = robot->decel_mmps2,
        .angular_accel_mradps2 = robot->angular_accel_mradps2,
        .angular_decel_mradps2 = robot->angular_decel_mradps2
    };
    controller->frame.type = WIRE_IDENTITY;
    controller->frame.size = WIRE_IDENTITY_SIZE;
    wire_write_identity(&identity, controller->frame.fields);
}

static void report(controller_t *controller, uint8_t result, uint32_t now_us)
{
    const motion_t *motion = &controller->motion;
    const wire_status_t status = {
        .result = result,
        .state = controller->safety.state,
        .faults = controller->safety.faults,
        .time_us = now_us,
        .age_us = narrowed(now_us - controller->inputs.now_us),
        .v_mmps = motion->wanted_v_mmps,
        .w_mradps = motion->wanted_w_mradps,
        .left_counts = controller->inputs.left_counts,
        .right_counts = controller->inputs.right_counts,
        .left_permille = motion->left.permille,
        .right_permille = motion->right.permille,
        .battery_mv = controller->inputs.battery_mv
    };
    if (result != RESULT_OK) {
        controller->counters.refused++;
    }
    controller->frame.type = WIRE_STATUS;
    controller->frame.size = WIRE_STATUS_SIZE;
    wire_write_status(&status, controller->frame.fields);
}

static void count(controller_t *controller)
{
    controller->counters.deadman_trips = controller->safety.deadman_trips;
    controller->frame.type = WIRE_COUNTERS;
    controller->frame.size = WIRE_COUNTERS_SIZE;
    wire_write_counters(&controller->counters, controller->frame.fields);
}

/* --- requests -------------------------------------------------------------------------------------------------------- */

/* Bytes of the fields of a request; more than any frame has for a type that is not one. */
static uint8_t size_of(uint8_t type)
{
    uint8_t size;
    switch (type) {
    case WIRE_HELLO:
        size = WIRE_HELLO_SIZE;
        break;
    case WIRE_ARM:
        size = WIRE_ARM_SIZE;
        break;
    case WIRE_DRIVE:
        size = WIRE_DRIVE_SIZE;
        break;
    case WIRE_CLEAR_FAULTS:
        size = WIRE_CLEAR_FAULTS_SIZE;
        break;
    case WIRE_DISARM:
    case WIRE_EMERGENCY_STOP:
    case WIRE_POLL:
    case WIRE_READ_COUNTERS:
        size = 0U;
        break;
    default:
        size = 0xFFU;
        break;
    }
    return size;
}

static void greet(controller_t *controller, uint32_t now_us)
{
    wire_hello_t hello;
    wire_read_hello(controller->frame.fields, &hello);
    /* Differs from the last one, and from that before a reset as far as the time does. */
    const uint16_t session = (uint16_t)(controller->safety.session + 1U + (uint16_t)((now_us >> 4) & 0x7FFFU));
    safety_hello(&controller->safety, hello.protocol, controller->frame.sequence, session);
    set_power(controller);
    identify(controller);
}

static uint8_t drive(controller_t *controller, uint32_t now_us)
{
    wire_drive_t wanted;
    wire_read_drive(controller->frame.fields, &wanted);
    const uint8_t result = safety_drive(&controller->safety, wanted.v_mmps, wanted.w_mradps, now_us);
    if ((result == RESULT_OK) && motion_want(&controller->motion, wanted.v_mmps, wanted.w_mradps)) {
        controller->counters.clamped++;
    }
    return result;
}

/* The requests that a new sequence number is needed for. */
static uint8_t obey_new(controller_t *controller, bool is_new, uint32_t now_us)
{
    uint8_t result = RESULT_OK;
    if (!is_new) {
        result = RESULT_OLD_SEQUENCE;
    } else if (controller->frame.type == WIRE_ARM) {
        result = safety_arm(&controller->safety, wire_get_u16(controller->frame.fields), now_us);
    } else if (controller->frame.type == WIRE_DRIVE) {
        result = drive(controller, now_us);
    } else if (controller->frame.type == WIRE_CLEAR_FAULTS) {
        result = safety_clear(&controller->safety, wire_get_u16(controller->frame.fields));
    } else {
        /* Poll changes nothing. */
    }
    return result;
}

static void answer(controller_t *controller, uint32_t now_us)
{
    /* Every request takes its number, so that what was sent before it comes too late. */
    const bool is_new
        = (!controller->safety.in_session) || safety_is_new(&controller->safety, controller->frame.sequence);
    switch (controller->frame.type) {
    case WIRE_HELLO:
        greet(controller, now_us);
        break;
    case WIRE_READ_COUNTERS:
        count(controller);
        break;
    case WIRE_DISARM: {
        const uint8_t result = safety_disarm(&controller->safety);
        set_power(controller);
        report(controller, result, now_us);
        break;
    }
    case WIRE_EMERGENCY_STOP: {
        const uint8_t result = safety_emergency_stop(&controller->safety);
        set_power(controller);
        report(controller, result, now_us);
        break;
    }
    default: {
        const uint8_t result = obey_new(controller, is_new, now_us);
        set_power(controller);
        report(controller, result, now_us);
        break;
    }
    }
}

uint8_t controller_receive(controller_t *controller, uint8_t byte, uint32_t now_us)
{
    uint8_t size = 0U;
    const frame_event_t event = frame_read(&controller->reader, byte, &controller->frame);
    if ((event == FRAME_WHOLE) && (controller->frame.size == size_of(controller->frame.type))) {
        controller->counters.frames++;
        answer(controller, now_us);
        size = frame_write(&controller->frame, controller->line);
    } else if (event != FRAME_NONE) {
        controller->counters.damaged++;
    } else {
        /* within a frame */
    }
    return size;
}
