/* The robot that a firmware is built for. */
#ifndef ROBOT_H
#define ROBOT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t radius_um;             /* that it rolls on, as measured */
    int16_t dead_zone_permille;     /* power at which it begins to turn */
    int16_t full_speed_mmps;        /* of its rim, unloaded, with full power beyond the dead zone */
    bool motor_reversed;            /* connected the wrong way round */
    bool encoder_reversed;
} robot_wheel_t;

typedef struct {
    uint32_t track_um;              /* between the contact points of the wheels */
    robot_wheel_t left;
    robot_wheel_t right;
    uint16_t counts_per_turn;       /* of an encoder, for one turn of the wheel; 0: no encoders, wheels run open loop */

    int16_t max_v_mmps;             /* limits; a Drive beyond them is refused */
    int16_t max_reverse_mmps;       /* as a positive number */
    int16_t max_w_mradps;
    int16_t max_wheel_mmps;         /* a Drive that asks more of a wheel is slowed down on the same arc */
    uint16_t accel_mmps2;           /* ramps; the supervisor of the computer stays below them */
    uint16_t decel_mmps2;
    uint16_t angular_accel_mradps2;
    uint16_t angular_decel_mradps2;

    uint16_t deadman_ms;            /* motors off this long and a tick after the last accepted Drive */
    uint16_t tick_ms;               /* period of the control tick */
    uint16_t late_tick_ms;          /* two ticks this far apart are a fault of the firmware itself */

    int16_t gain_p;                 /* permille for an error of 1 m/s */
    int16_t gain_i;                 /* permille for an error of 1 m/s that lasted 1 s */
    uint16_t stall_mm;              /* of a way so long, and of what it should turn in stall_ms beside, a wheel must */
    uint16_t stall_ms;              /* turn an eighth at least: else a fault */
    int16_t runaway_mmps;           /* turning faster than this against the command for runaway_ms is a fault */
    uint16_t runaway_ms;
} robot_t;

/* Each port is built for one: see firmware_bridge/robot_source.py. */
extern const robot_t ROBOT;

#endif
