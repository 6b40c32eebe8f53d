/* The whole firmware but for the processor: requests come in and answers go out, ticks come in and motor power goes out.
 *
 * A port calls controller_receive for each byte of the line and controller_tick every tick_ms, never one within the
 * other, and sets the motors to `power` after each call. */
#ifndef CONTROLLER_H
#define CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "motion.h"
#include "robot.h"
#include "safety.h"
#include "wire.h"

typedef struct {
    int16_t left_permille;      /* of full power, positive as the motor is connected; both 0: motors off */
    int16_t right_permille;
} power_t;

typedef struct {
    uint32_t now_us;            /* wraps */
    int32_t left_counts;        /* of the encoders, as they are connected; wraps */
    int32_t right_counts;
    uint16_t battery_mv;        /* 0: not measured */
    bool button;                /* the emergency-stop button is pressed, or its wire is broken */
} inputs_t;

typedef struct {
    const robot_t *robot;
    safety_t safety;
    motion_t motion;
    frame_reader_t reader;
    frame_t frame;              /* the request, and then its answer */
    inputs_t inputs;            /* of the last tick, its counts forward positive */
    wire_counters_t counters;
    power_t power;              /* for the motors, until the next call */
    uint8_t port;
    uint8_t reset;              /* RESET_... */
    uint8_t line[FRAME_MAX_ENCODED];
} controller_t;

/* Disarmed, motors off. */
void controller_init(controller_t *controller, const robot_t *robot, uint8_t port, uint8_t reset);

/* Take one byte of the line.  Returns how many bytes of `line` to send: 0 unless it ended a request. */
uint8_t controller_receive(controller_t *controller, uint8_t byte, uint32_t now_us);

/* One control tick. */
void controller_tick(controller_t *controller, const inputs_t *inputs);

#endif
