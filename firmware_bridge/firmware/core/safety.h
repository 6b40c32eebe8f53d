/* When the motors may turn.  Every decision is in safety.c, and nothing else sets the state. */
#ifndef SAFETY_H
#define SAFETY_H

#include <stdbool.h>
#include <stdint.h>

#include "robot.h"

typedef struct {
    const robot_t *robot;
    uint8_t state;              /* STATE_... */
    uint16_t faults;            /* FAULT_... bits, latched */
    uint32_t fed_us;            /* when the last Drive was accepted, or the robot armed */
    uint32_t ticked_us;         /* when the last control tick was */
    bool ticks;                 /* there was one */
    bool button;                /* the emergency-stop button, as of the last tick */
    bool in_session;            /* a Hello with the right protocol came */
    uint16_t session;
    uint16_t sequence;          /* of the last request that was new */
    uint16_t deadman_trips;
} safety_t;

/* `fits` is whether the firmware can calculate with the numbers of this robot: else it never arms. */
void safety_init(safety_t *safety, const robot_t *robot, bool fits);

/* A computer says Hello: disarm, and begin a session if it speaks the same protocol. */
void safety_hello(safety_t *safety, uint32_t protocol, uint16_t sequence, uint16_t session);

/* Whether a request is newer than the last one of the session.  Takes its number if it is. */
bool safety_is_new(safety_t *safety, uint16_t sequence);

/* Each returns a RESULT_... */
uint8_t safety_arm(safety_t *safety, uint16_t session, uint32_t now_us);
uint8_t safety_drive(safety_t *safety, int16_t v_mmps, int16_t w_mradps, uint32_t now_us);
uint8_t safety_clear(safety_t *safety, uint16_t session);
uint8_t safety_disarm(safety_t *safety);
uint8_t safety_emergency_stop(safety_t *safety);

/* Once a control tick, before the outputs are set.  `faults` are those that the motion found.  Returns whether the motors
 * may turn until the next tick. */
bool safety_tick(safety_t *safety, uint32_t now_us, bool button, uint16_t faults);

#endif
