#include "motion.h"

#include "wire.h"

#define PER_MILLI 1000
#define TWO_PI_MILLI 6283           /* 2 pi, in thousandths */

/* Numbers from outside are clamped first, so that no product below overflows; motion_fits looks at those of the robot. */
#define MOST_ERROR_UMPS 10000000
#define LONGEST_TICK_MS 200U
#define LONGEST_STALL_MS 10000U
#define MOST_INTEGRAL_UM 500000     /* a motor whose integral asks for more is at its end anyway */
#define STALLED_SHARE 8             /* a wheel that turns less than this part of its way is stalled */

void motion_init(motion_t *motion, const robot_t *robot)
{
    const motion_t at_reset = { .robot = robot, .left = { .built = &robot->left }, .right = { .built = &robot->right } };
    *motion = at_reset;
}

/* Way for one count of an encoder, in thousandths of a um. */
static int32_t way_of_count(const robot_t *robot, const robot_wheel_t *wheel)
{
    return (TWO_PI_MILLI * (int32_t)wheel->radius_um) / (int32_t)robot->counts_per_turn;
}

static bool wheel_fits(const robot_t *robot, const robot_wheel_t *wheel)
{
    return (wheel->radius_um > 0U) && (((uint32_t)INT32_MAX / (uint32_t)TWO_PI_MILLI) > wheel->radius_um)
        && (wheel->full_speed_mmps > 0) && ((robot->counts_per_turn == 0U) || (way_of_count(robot, wheel) > 0));
}

bool motion_fits(const robot_t *robot)
{
    const uint32_t half_track_um = robot->track_um / 2U;
    return (half_track_um > 0U) && (((uint32_t)INT32_MAX / half_track_um) > (uint32_t)robot->max_w_mradps)
        && (robot->tick_ms > 0U) && (robot->tick_ms <= LONGEST_TICK_MS)
        && (robot->max_v_mmps >= 0) && (robot->max_reverse_mmps >= 0) && (robot->max_w_mradps >= 0)
        && (robot->max_wheel_mmps > 0) && (robot->stall_ms <= LONGEST_STALL_MS) && (robot->deadman_ms > robot->tick_ms)
        && wheel_fits(robot, &robot->left) && wheel_fits(robot, &robot->right);
}

static int32_t magnitude(int32_t number)
{
    return (number < 0) ? -number : number;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return (a < b) ? a : b;
}

static int32_t clamped(int32_t number, int32_t limit)
{
    int32_t result = number;
    if (number > limit) {
        result = limit;
    } else if (number < -limit) {
        result = -limit;
    } else {
        /* within */
    }
    return result;
}

/* By how much the rims of the wheels, in um/s, are faster and slower than the centre of a robot that turns. */
static int32_t rim_umps(const robot_t *robot, int32_t w_mradps)
{
    return (w_mradps * ((int32_t)robot->track_um / 2)) / PER_MILLI;
}

bool motion_want(motion_t *motion, int16_t v_mmps, int16_t w_mradps)
{
    const robot_t *robot = motion->robot;
    int32_t v = v_mmps;
    int32_t w = w_mradps;
    /* The faster wheel, in mm/s, rounded up. */
    const int32_t fastest = magnitude(v) + ((magnitude(rim_umps(robot, w)) + PER_MILLI - 1) / PER_MILLI);
    const bool too_fast = fastest > robot->max_wheel_mmps;
    if (too_fast) {
        v = (v * robot->max_wheel_mmps) / fastest;
        w = (w * robot->max_wheel_mmps) / fastest;
    }
    motion->wanted_v_mmps = (int16_t)v;
    motion->wanted_w_mradps = (int16_t)w;
    return too_fast;
}

/* Judge a wheel anew from here on. */
static void begin_way(wheel_t *wheel)
{
    wheel->judged_um = 0;
    wheel->judged_counts = wheel->counts;
}

static void rest_wheel(wheel_t *wheel)
{
    wheel->wanted_umps = 0;
    wheel->integral_um = 0;
    wheel->permille = 0;
    wheel->runaway_ms = 0U;
    begin_way(wheel);
}

void motion_rest(motion_t *motion)
{
    motion->wanted_v_mmps = 0;
    motion->wanted_w_mradps = 0;
    motion->v_umps = 0;
    motion->w_uradps = 0;
    rest_wheel(&motion->left);
    rest_wheel(&motion->right);
}

/* One step of a ramp.  Towards zero is slowing down; what changes sign slows down to zero first. */
static int32_t ramped(int32_t now, int32_t wanted, int32_t faster_by, int32_t slower_by)
{
    const bool backward = (now < 0) || ((now == 0) && (wanted < 0));
    const int32_t sign = backward ? (int32_t)-1 : (int32_t)1;
    const int32_t speed = now * sign;
    const int32_t aim = wanted * sign;
    int32_t next;
    if (aim >= speed) {
        next = speed + smaller(aim - speed, faster_by);
    } else {
        const int32_t least = (aim > 0) ? aim : 0;
        next = speed - smaller(speed - least, slower_by);
    }
    return next * sign;
}

/* Counts from one reading of an encoder to the next, which wrap. */
static int32_t counts_since(int32_t now, int32_t then, int32_t limit)
{
    const uint32_t difference = (uint32_t)now - (uint32_t)then;
    return clamped((int32_t)difference, limit);
}

/* Whether a wheel stayed behind on the last stretch of its way, which is the longer, the faster it should turn: it needs time to get
 * going.  Net counts: those of an encoder with a broken phase go back and forth. */
static bool is_stalled(const robot_t *robot, wheel_t *wheel, int32_t most_counts)
{
    bool stalled = false;
    const int32_t added_um = (wheel->wanted_umps / PER_MILLI) * (int32_t)robot->tick_ms;
    const bool turns_back = ((added_um < 0) && (wheel->judged_um > 0)) || ((added_um > 0) && (wheel->judged_um < 0));
    if ((added_um == 0) || turns_back) {
        begin_way(wheel);
    }
    wheel->judged_um += added_um;
    const int32_t stretch_um = ((int32_t)robot->stall_mm * PER_MILLI)
        + ((magnitude(wheel->wanted_umps) / PER_MILLI) * (int32_t)robot->stall_ms);
    if (magnitude(wheel->judged_um) >= stretch_um) {
        const int32_t counts = counts_since(wheel->counts, wheel->judged_counts, most_counts);
        const int32_t turned_um = (counts * way_of_count(robot, wheel->built)) / PER_MILLI;
        stalled = magnitude(turned_um) < (magnitude(wheel->judged_um) / STALLED_SHARE);
        begin_way(wheel);
    }
    return stalled;
}

static uint16_t measure(const robot_t *robot, wheel_t *wheel, int32_t counts)
{
    uint16_t faults = 0U;
    if (robot->counts_per_turn == 0U) {
        wheel->counts = counts;
    } else {
        const int32_t way = way_of_count(robot, wheel->built);
        const int32_t most_counts = INT32_MAX / way;
        const int32_t turned = counts_since(counts, wheel->counts, most_counts);
        wheel->counts = counts;
        wheel->speed_umps = (turned * way) / (int32_t)robot->tick_ms;   /* thousandths of a um in a ms are um/s */

        if (is_stalled(robot, wheel, most_counts)) {
            faults |= FAULT_STALLED;
        }
        const bool opposite = ((wheel->speed_umps < 0) && (wheel->wanted_umps > 0))
            || ((wheel->speed_umps > 0) && (wheel->wanted_umps < 0));
        const bool runs_away
            = opposite && (magnitude(wheel->speed_umps) > ((int32_t)robot->runaway_mmps * PER_MILLI));
        wheel->runaway_ms = runs_away ? (uint16_t)(wheel->runaway_ms + robot->tick_ms) : 0U;
        if (wheel->runaway_ms >= robot->runaway_ms) {
            faults |= FAULT_RUNAWAY;
        }
    }
    return faults;
}

uint16_t motion_measure(motion_t *motion, int32_t left_counts, int32_t right_counts)
{
    const uint16_t left = measure(motion->robot, &motion->left, left_counts);
    const uint16_t right = measure(motion->robot, &motion->right, right_counts);
    return left | right;
}

/* Feed-forward, dead zone, and proportional and integral parts of the error.  A wheel is never powered against its command. */
static void power(const robot_t *robot, wheel_t *wheel, int32_t wanted_umps)
{
    wheel->wanted_umps = wanted_umps;
    if (wanted_umps == 0) {
        wheel->integral_um = 0;
        wheel->permille = 0;
    } else {
        const int32_t ahead = ((wanted_umps / PER_MILLI) * MOTION_FULL_PERMILLE) / wheel->built->full_speed_mmps;
        int32_t permille = ahead + ((wanted_umps > 0) ? wheel->built->dead_zone_permille : -wheel->built->dead_zone_permille);
        if (robot->counts_per_turn != 0U) {
            const int32_t error_umps = clamped(wanted_umps - clamped(wheel->speed_umps, MOST_ERROR_UMPS), MOST_ERROR_UMPS);
            const int32_t added_um = (error_umps * (int32_t)robot->tick_ms) / PER_MILLI;
            const int32_t integral_um = clamped(wheel->integral_um + added_um, MOST_INTEGRAL_UM);
            permille += ((error_umps / PER_MILLI) * robot->gain_p) / PER_MILLI;
            permille += ((integral_um / PER_MILLI) * robot->gain_i) / PER_MILLI;
            /* What the motor cannot give is not asked for later either. */
            if (clamped(permille, MOTION_FULL_PERMILLE) == permille) {
                wheel->integral_um = integral_um;
            }
        }
        permille = clamped(permille, MOTION_FULL_PERMILLE);
        if (((permille > 0) && (wanted_umps < 0)) || ((permille < 0) && (wanted_umps > 0))) {
            permille = 0;
        }
        wheel->permille = (int16_t)permille;
    }
}

void motion_drive(motion_t *motion)
{
    const robot_t *robot = motion->robot;
    const int32_t tick_ms = (int32_t)robot->tick_ms;
    motion->v_umps = ramped(motion->v_umps, (int32_t)motion->wanted_v_mmps * PER_MILLI,
        (int32_t)robot->accel_mmps2 * tick_ms, (int32_t)robot->decel_mmps2 * tick_ms);
    motion->w_uradps = ramped(motion->w_uradps, (int32_t)motion->wanted_w_mradps * PER_MILLI,
        (int32_t)robot->angular_accel_mradps2 * tick_ms, (int32_t)robot->angular_decel_mradps2 * tick_ms);
    const int32_t rim = rim_umps(robot, motion->w_uradps / PER_MILLI);
    power(robot, &motion->left, motion->v_umps - rim);
    power(robot, &motion->right, motion->v_umps + rim);
}
