/* The firmware's core as a library for tests: a clock, encoders and a button that the test holds in its hand. */
#include <stdlib.h>

#include "controller.h"

typedef struct {
    controller_t controller;
    robot_t robot;
} shim_t;

shim_t *shim_new(uint16_t counts_per_turn, uint8_t reset);
void shim_free(shim_t *shim);
int shim_receive(shim_t *shim, const uint8_t *bytes, int size, uint32_t now_us, uint8_t *line);
void shim_tick(shim_t *shim, uint32_t now_us, int32_t left, int32_t right, uint8_t button);
void shim_state(const shim_t *shim, int32_t *to);
void shim_rebuild(shim_t *shim, uint32_t track_um, uint32_t wheel_radius_um, int16_t max_w_mradps, uint16_t tick_ms,
    int16_t full_speed_mmps);
void shim_wheel(shim_t *shim, uint8_t right, uint32_t radius_um, uint8_t motor_reversed, uint8_t encoder_reversed);
int shim_decode(const uint8_t *bytes, int size, uint8_t *frames, int capacity);
int shim_encode(uint8_t type, uint16_t sequence, const uint8_t *fields, int size, uint8_t *line);

shim_t *shim_new(uint16_t counts_per_turn, uint8_t reset)
{
    shim_t *shim = calloc(1, sizeof *shim);
    shim->robot = ROBOT;
    shim->robot.counts_per_turn = counts_per_turn;
    controller_init(&shim->controller, &shim->robot, 255U, reset);
    return shim;
}

void shim_free(shim_t *shim)
{
    free(shim);
}

/* Returns the bytes of all answers. */
int shim_receive(shim_t *shim, const uint8_t *bytes, int size, uint32_t now_us, uint8_t *line)
{
    int sent = 0;
    for (int i = 0; i < size; i++) {
        const uint8_t count = controller_receive(&shim->controller, bytes[i], now_us);
        for (int j = 0; j < count; j++) {
            line[sent] = shim->controller.line[j];
            sent++;
        }
    }
    return sent;
}

void shim_tick(shim_t *shim, uint32_t now_us, int32_t left, int32_t right, uint8_t button)
{
    const inputs_t inputs = {
        .now_us = now_us, .left_counts = left, .right_counts = right, .battery_mv = 7400U, .button = button != 0U
    };
    controller_tick(&shim->controller, &inputs);
}

/* The same firmware, built for another robot and reset. */
void shim_rebuild(shim_t *shim, uint32_t track_um, uint32_t wheel_radius_um, int16_t max_w_mradps, uint16_t tick_ms,
    int16_t full_speed_mmps)
{
    shim->robot.track_um = track_um;
    shim->robot.left.radius_um = wheel_radius_um;
    shim->robot.right.radius_um = wheel_radius_um;
    shim->robot.max_w_mradps = max_w_mradps;
    shim->robot.tick_ms = tick_ms;
    shim->robot.left.full_speed_mmps = full_speed_mmps;
    shim->robot.right.full_speed_mmps = full_speed_mmps;
    controller_init(&shim->controller, &shim->robot, 255U, RESET_POWER_ON);
}

/* The same firmware, built for another wheel. */
void shim_wheel(shim_t *shim, uint8_t right, uint32_t radius_um, uint8_t motor_reversed, uint8_t encoder_reversed)
{
    robot_wheel_t *wheel = (right != 0U) ? &shim->robot.right : &shim->robot.left;
    wheel->radius_um = radius_um;
    wheel->motor_reversed = (motor_reversed != 0U);
    wheel->encoder_reversed = (encoder_reversed != 0U);
}

/* State, faults, power left and right. */
void shim_state(const shim_t *shim, int32_t *to)
{
    to[0] = shim->controller.safety.state;
    to[1] = shim->controller.safety.faults;
    to[2] = shim->controller.power.left_permille;
    to[3] = shim->controller.power.right_permille;
}

/* Frames found, each as one byte of size and then type, sequence and fields; damaged ones as a size of 255. */
int shim_decode(const uint8_t *bytes, int size, uint8_t *frames, int capacity)
{
    frame_reader_t reader = { 0 };
    frame_t frame;
    int used = 0;
    for (int i = 0; i < size; i++) {
        const frame_event_t event = frame_read(&reader, bytes[i], &frame);
        if ((event != FRAME_NONE) && (used + 64 <= capacity)) {
            if (event == FRAME_DAMAGED) {
                frames[used++] = 255U;
            } else {
                frames[used++] = frame.size;
                frames[used++] = frame.type;
                frames[used++] = (uint8_t)(frame.sequence & 0xFFU);
                frames[used++] = (uint8_t)(frame.sequence >> 8);
                for (uint8_t j = 0U; j < frame.size; j++) {
                    frames[used++] = frame.fields[j];
                }
            }
        }
    }
    return used;
}

int shim_encode(uint8_t type, uint16_t sequence, const uint8_t *fields, int size, uint8_t *line)
{
    frame_t frame = { .type = type, .sequence = sequence, .size = (uint8_t)size };
    for (int i = 0; i < size; i++) {
        frame.fields[i] = fields[i];
    }
    return frame_write(&frame, line);
}
