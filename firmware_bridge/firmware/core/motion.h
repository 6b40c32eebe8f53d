/* From a body velocity to the power of two motors: ramps, mixing, and a speed loop for each wheel. */
#ifndef MOTION_H
#define MOTION_H

#include <stdbool.h>
#include <stdint.h>

#include "robot.h"

#define MOTION_FULL_PERMILLE 1000

/* Speeds are in um/s and urad/s inside, so that a ramp of some mm/s^2 moves by whole numbers in a tick of some ms. */
typedef struct {
    const robot_wheel_t *built;
    int32_t counts;             /* of the encoder at the last tick */
    int32_t speed_umps;         /* measured in the last tick */
    int32_t wanted_umps;        /* on the ramp */
    int32_t integral_um;        /* of the error of the speed: distance that the wheel lags behind */
    int16_t permille;           /* power */
    int32_t judged_um;          /* way that it should have turned since it was judged last */
    int32_t judged_counts;      /* where its encoder was then */
    uint16_t runaway_ms;
} wheel_t;

typedef struct {
    const robot_t *robot;
    int16_t wanted_v_mmps;      /* accepted, and within what the wheels can */
    int16_t wanted_w_mradps;
    int32_t v_umps;             /* on the ramp */
    int32_t w_uradps;
    wheel_t left;
    wheel_t right;
} motion_t;

void motion_init(motion_t *motion, const robot_t *robot);

/* Whether no product or quotient below can overflow for this robot. */
bool motion_fits(const robot_t *robot);

/* Ask for a velocity.  Returns whether it had to be slowed down on its arc, as a wheel cannot turn so fast. */
bool motion_want(motion_t *motion, int16_t v_mmps, int16_t w_mradps);

/* Motors off, at once: power, ramps and loops are as at a reset. */
void motion_rest(motion_t *motion);

/* Once a control tick.  Reads the encoders; sets the power only if the motors may turn.  Returns FAULT_... bits. */
uint16_t motion_measure(motion_t *motion, int32_t left_counts, int32_t right_counts);
void motion_drive(motion_t *motion);

#endif
