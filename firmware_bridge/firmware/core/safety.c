#include "safety.h"

#include "wire.h"

#define HALF_OF_ALL_SEQUENCES 0x8000U
#define US_PER_MS ((uint32_t)1000U)

static void latch(safety_t *safety, uint16_t fault)
{
    safety->faults |= fault;
    safety->state = STATE_FAULT;
}

void safety_init(safety_t *safety, const robot_t *robot, bool fits)
{
    const safety_t at_reset = { .robot = robot, .state = STATE_DISARMED };
    *safety = at_reset;
    if (!fits) {
        latch(safety, FAULT_MISBUILT);
    }
}

/* Never leaves a fault: only a cleared one is gone. */
static void disarm(safety_t *safety)
{
    safety->state = (safety->faults == 0U) ? STATE_DISARMED : STATE_FAULT;
}

void safety_hello(safety_t *safety, uint32_t protocol, uint16_t sequence, uint16_t session)
{
    /* The computer that went silent is gone, and this one has yet to arm: the deadman has done its work. */
    if ((safety->faults & FAULT_DEADMAN) != 0U) {
        safety->faults ^= FAULT_DEADMAN;
    }
    disarm(safety);
    safety->in_session = (protocol == WIRE_PROTOCOL);
    safety->session = session;
    safety->sequence = sequence;
}

bool safety_is_new(safety_t *safety, uint16_t sequence)
{
    const uint16_t ahead = (uint16_t)(sequence - safety->sequence);
    const bool is_new = (ahead != 0U) && (ahead < HALF_OF_ALL_SEQUENCES);
    if (is_new) {
        safety->sequence = sequence;
    }
    return is_new;
}

uint8_t safety_arm(safety_t *safety, uint16_t session, uint32_t now_us)
{
    uint8_t result = RESULT_OK;
    if ((!safety->in_session) || (session != safety->session)) {
        result = RESULT_NO_SESSION;
    } else if (safety->button) {
        result = RESULT_BUTTON_PRESSED;
    } else if (safety->faults != 0U) {
        result = RESULT_FAULT_LATCHED;
    } else if (safety->state != STATE_ARMED) {
        safety->state = STATE_ARMED;
        safety->fed_us = now_us;
    } else {
        /* Armed already.  Arming again does not feed the deadman. */
    }
    return result;
}

static bool is_allowed(const robot_t *robot, int16_t v_mmps, int16_t w_mradps)
{
    return (v_mmps <= robot->max_v_mmps) && (v_mmps >= -robot->max_reverse_mmps)
        && (w_mradps <= robot->max_w_mradps) && (w_mradps >= -robot->max_w_mradps);
}

uint8_t safety_drive(safety_t *safety, int16_t v_mmps, int16_t w_mradps, uint32_t now_us)
{
    uint8_t result = RESULT_OK;
    if (safety->state == STATE_FAULT) {
        result = RESULT_FAULT_LATCHED;
    } else if (safety->state != STATE_ARMED) {
        result = RESULT_NOT_ARMED;
    } else if (!is_allowed(safety->robot, v_mmps, w_mradps)) {
        result = RESULT_OUT_OF_RANGE;
    } else {
        safety->fed_us = now_us;
    }
    return result;
}

uint8_t safety_clear(safety_t *safety, uint16_t session)
{
    uint8_t result = RESULT_OK;
    if ((!safety->in_session) || (session != safety->session)) {
        result = RESULT_NO_SESSION;
    } else if (safety->button) {
        result = RESULT_BUTTON_PRESSED;
    } else {
        safety->faults &= FAULT_MISBUILT;
        disarm(safety);
    }
    return result;
}

uint8_t safety_disarm(safety_t *safety)
{
    disarm(safety);
    return RESULT_OK;
}

uint8_t safety_emergency_stop(safety_t *safety)
{
    latch(safety, FAULT_EMERGENCY_STOP);
    return RESULT_OK;
}

bool safety_tick(safety_t *safety, uint32_t now_us, bool button, uint16_t faults)
{
    const robot_t *robot = safety->robot;
    safety->button = button;
    if (button) {
        latch(safety, FAULT_EMERGENCY_STOP);
    }
    if (safety->state == STATE_ARMED) {
        /* Not at the first tick that is too late, but at the last one that is not. */
        const uint32_t at_next_us = (now_us - safety->fed_us) + ((uint32_t)robot->tick_ms * US_PER_MS);
        if (at_next_us > ((uint32_t)robot->deadman_ms * US_PER_MS)) {
            latch(safety, FAULT_DEADMAN);
            safety->deadman_trips++;
        }
        if (safety->ticks && ((now_us - safety->ticked_us) >= ((uint32_t)robot->late_tick_ms * US_PER_MS))) {
            latch(safety, FAULT_TICK_OVERRUN);
        }
        if (faults != 0U) {
            latch(safety, faults);
        }
    }
    safety->ticked_us = now_us;
    safety->ticks = true;
    return safety->state == STATE_ARMED;
}
