/* Made by firmware_bridge/robot_source.py of a robot file. */
#include "robot.h"

const robot_t ROBOT = {
    .track_um = 150000U,
    .left = {
        .radius_um = 33000U,
        .dead_zone_permille = 60,
        .full_speed_mmps = 745,
        .motor_reversed = false,
        .encoder_reversed = false
    },
    .right = {
        .radius_um = 33000U,
        .dead_zone_permille = 60,
        .full_speed_mmps = 745,
        .motor_reversed = false,
        .encoder_reversed = false
    },
    .counts_per_turn = 1440U,

    .max_v_mmps = 500,
    .max_reverse_mmps = 150,
    .max_w_mradps = 2500,
    .max_wheel_mmps = 600,
    .accel_mmps2 = 2000U,
    .decel_mmps2 = 4000U,
    .angular_accel_mradps2 = 20000U,
    .angular_decel_mradps2 = 40000U,

    .deadman_ms = 200U,
    .tick_ms = 5U,
    .late_tick_ms = 50U,

    .gain_p = 400,
    .gain_i = 2000,
    .stall_mm = 30U,
    .stall_ms = 120U,
    .runaway_mmps = 80,
    .runaway_ms = 200U
};
