/* Messages of the wire protocol.  Made from protocol.toml by `python -m firmware_bridge.generate`: do not edit. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

/* Hash of the definition: both ends must have the same. */
#define WIRE_PROTOCOL 0x515BE929UL

/* What the microcontroller may do with the motors. */
#define STATE_DISARMED 0U /* motors off; the state after every reset */
#define STATE_ARMED 1U /* commands reach the motors */
#define STATE_FAULT 2U /* motors off, and a fault is latched */

/* Bits of `faults`, latched until they are cleared. */
#define FAULT_DEADMAN 1U /* no accepted Drive for deadman_ms while armed */
#define FAULT_EMERGENCY_STOP 2U /* the button was pressed, or EmergencyStop came */
#define FAULT_STALLED 4U /* a wheel turned less than an eighth of the way that it should have: blocked, or a wire of its encoder is broken */
#define FAULT_RUNAWAY 8U /* a wheel turned against its command: motor or encoder are connected the wrong way round */
#define FAULT_TICK_OVERRUN 16U /* the control tick came late: the firmware itself is not keeping its deadlines */
#define FAULT_MISBUILT 32U /* it was built for a robot whose numbers it cannot calculate with; nothing clears it */

/* What became of a request. */
#define RESULT_OK 0U /* done */
#define RESULT_OLD_SEQUENCE 1U /* its number is not newer than the last: repeated or delayed, and ignored */
#define RESULT_NO_SESSION 2U /* Arm and ClearFaults: no Hello with the right protocol came since the reset, or it names another session */
#define RESULT_NOT_ARMED 3U /* Drive is for an armed robot */
#define RESULT_FAULT_LATCHED 4U /* a fault must be cleared first */
#define RESULT_BUTTON_PRESSED 5U /* the emergency-stop button is still pressed */
#define RESULT_OUT_OF_RANGE 6U /* the velocity is beyond the limits in `Identity`: ignored */

/* Why the microcontroller started last. */
#define RESET_POWER_ON 0U /* power came */
#define RESET_EXTERNAL 1U /* the reset pin, as when a port of an Arduino is opened */
#define RESET_BROWN_OUT 2U /* the supply fell too low */
#define RESET_WATCHDOG 3U /* the firmware hung */
#define RESET_UNKNOWN 4U /* a boot loader has cleared the reason */

static inline uint8_t wire_get_u8(const uint8_t *from)
{
    return from[0];
}

static inline uint16_t wire_get_u16(const uint8_t *from)
{
    return (uint16_t)((uint16_t)from[0] | (uint16_t)((uint16_t)from[1] << 8));
}

static inline uint32_t wire_get_u32(const uint8_t *from)
{
    return (uint32_t)wire_get_u16(&from[0]) | ((uint32_t)wire_get_u16(&from[2]) << 16);
}

static inline void wire_put_u8(uint8_t *to, uint8_t number)
{
    to[0] = number;
}

static inline void wire_put_u16(uint8_t *to, uint16_t number)
{
    to[0] = (uint8_t)(number & 0xFFU);
    to[1] = (uint8_t)(number >> 8);
}

static inline void wire_put_u32(uint8_t *to, uint32_t number)
{
    wire_put_u16(&to[0], (uint16_t)(number & 0xFFFFU));
    wire_put_u16(&to[2], (uint16_t)(number >> 16));
}

#define WIRE_HELLO 1U
#define WIRE_HELLO_SIZE 4U

typedef struct {
    uint32_t protocol; /* the computer's protocol hash */
} wire_hello_t;

static inline void wire_read_hello(const uint8_t *from, wire_hello_t *to)
{
    to->protocol = (uint32_t)wire_get_u32(&from[0]);
}

#define WIRE_ARM 2U
#define WIRE_ARM_SIZE 2U

typedef struct {
    uint16_t session; /* as in `Identity`, so that recorded frames cannot arm a robot */
} wire_arm_t;

static inline void wire_read_arm(const uint8_t *from, wire_arm_t *to)
{
    to->session = (uint16_t)wire_get_u16(&from[0]);
}

#define WIRE_DRIVE 3U
#define WIRE_DRIVE_SIZE 4U

typedef struct {
    int16_t v_mmps; /* forward speed, mm/s */
    int16_t w_mradps; /* yaw rate, counter-clockwise positive, mrad/s */
} wire_drive_t;

static inline void wire_read_drive(const uint8_t *from, wire_drive_t *to)
{
    to->v_mmps = (int16_t)wire_get_u16(&from[0]);
    to->w_mradps = (int16_t)wire_get_u16(&from[2]);
}

#define WIRE_DISARM 4U

#define WIRE_EMERGENCY_STOP 5U

#define WIRE_CLEAR_FAULTS 6U
#define WIRE_CLEAR_FAULTS_SIZE 2U

typedef struct {
    uint16_t session; /* as in `Identity` */
} wire_clear_faults_t;

static inline void wire_read_clear_faults(const uint8_t *from, wire_clear_faults_t *to)
{
    to->session = (uint16_t)wire_get_u16(&from[0]);
}

#define WIRE_POLL 7U

#define WIRE_READ_COUNTERS 8U

#define WIRE_IDENTITY 129U
#define WIRE_IDENTITY_SIZE 40U

typedef struct {
    uint32_t protocol; /* the firmware's protocol hash */
    uint16_t session; /* names the session that this `Hello` began */
    uint8_t reset; /* `Reset` */
    uint8_t port; /* 1 ATmega328P, 2 RP2040, 255 host */
    uint16_t deadman_ms; /* motors are off this long and one tick after the last accepted Drive, and not sooner than one tick before */
    uint16_t tick_ms; /* period of the control tick */
    uint32_t track_um; /* between the contact points of the wheels */
    uint32_t left_radius_um; /* that the left wheel rolls on */
    uint32_t right_radius_um; /* and the right one */
    uint16_t counts_per_turn; /* of an encoder, for one turn of the wheel; 0 if there are none */
    int16_t max_v_mmps; /* forward */
    int16_t max_reverse_mmps; /* backward, as a positive number */
    int16_t max_w_mradps; /* either way */
    uint16_t accel_mmps2; /* speeding up */
    uint16_t decel_mmps2; /* slowing down */
    uint16_t angular_accel_mradps2; /* speeding up */
    uint16_t angular_decel_mradps2; /* slowing down */
} wire_identity_t;

static inline void wire_write_identity(const wire_identity_t *from, uint8_t *to)
{
    wire_put_u32(&to[0], (uint32_t)from->protocol);
    wire_put_u16(&to[4], (uint16_t)from->session);
    wire_put_u8(&to[6], (uint8_t)from->reset);
    wire_put_u8(&to[7], (uint8_t)from->port);
    wire_put_u16(&to[8], (uint16_t)from->deadman_ms);
    wire_put_u16(&to[10], (uint16_t)from->tick_ms);
    wire_put_u32(&to[12], (uint32_t)from->track_um);
    wire_put_u32(&to[16], (uint32_t)from->left_radius_um);
    wire_put_u32(&to[20], (uint32_t)from->right_radius_um);
    wire_put_u16(&to[24], (uint16_t)from->counts_per_turn);
    wire_put_u16(&to[26], (uint16_t)from->max_v_mmps);
    wire_put_u16(&to[28], (uint16_t)from->max_reverse_mmps);
    wire_put_u16(&to[30], (uint16_t)from->max_w_mradps);
    wire_put_u16(&to[32], (uint16_t)from->accel_mmps2);
    wire_put_u16(&to[34], (uint16_t)from->decel_mmps2);
    wire_put_u16(&to[36], (uint16_t)from->angular_accel_mradps2);
    wire_put_u16(&to[38], (uint16_t)from->angular_decel_mradps2);
}

#define WIRE_STATUS 130U
#define WIRE_STATUS_SIZE 28U

typedef struct {
    uint8_t result; /* `Result` of the request */
    uint8_t state; /* `State` */
    uint16_t faults; /* bits of `Fault` */
    uint32_t time_us; /* the microcontroller's clock when the request had come; wraps */
    uint16_t age_us; /* how long before that the encoders, and the battery, were read */
    int16_t v_mmps; /* the velocity in force: the last accepted, or what the wheels can of it */
    int16_t w_mradps; /* likewise */
    int32_t left_counts; /* of the left encoder since the reset */
    int32_t right_counts; /* of the right encoder */
    int16_t left_permille; /* output to the left motor, of full power, forward positive */
    int16_t right_permille; /* output to the right motor */
    uint16_t battery_mv; /* 0 if it is not measured */
} wire_status_t;

static inline void wire_write_status(const wire_status_t *from, uint8_t *to)
{
    wire_put_u8(&to[0], (uint8_t)from->result);
    wire_put_u8(&to[1], (uint8_t)from->state);
    wire_put_u16(&to[2], (uint16_t)from->faults);
    wire_put_u32(&to[4], (uint32_t)from->time_us);
    wire_put_u16(&to[8], (uint16_t)from->age_us);
    wire_put_u16(&to[10], (uint16_t)from->v_mmps);
    wire_put_u16(&to[12], (uint16_t)from->w_mradps);
    wire_put_u32(&to[14], (uint32_t)from->left_counts);
    wire_put_u32(&to[18], (uint32_t)from->right_counts);
    wire_put_u16(&to[22], (uint16_t)from->left_permille);
    wire_put_u16(&to[24], (uint16_t)from->right_permille);
    wire_put_u16(&to[26], (uint16_t)from->battery_mv);
}

#define WIRE_COUNTERS 131U
#define WIRE_COUNTERS_SIZE 22U

typedef struct {
    uint32_t frames; /* whole frames with a right checksum */
    uint32_t damaged; /* frames dropped: checksum, length, or a type that is not known */
    uint32_t refused; /* requests with another result than OK */
    uint32_t clamped; /* commands that asked more of a wheel than it can: slowed down on the same arc */
    uint16_t deadman_trips; /* times that the deadman stopped the robot */
    uint16_t lost_bytes; /* received faster than they were read */
    uint16_t worst_tick_us; /* longest time between two control ticks */
} wire_counters_t;

static inline void wire_write_counters(const wire_counters_t *from, uint8_t *to)
{
    wire_put_u32(&to[0], (uint32_t)from->frames);
    wire_put_u32(&to[4], (uint32_t)from->damaged);
    wire_put_u32(&to[8], (uint32_t)from->refused);
    wire_put_u32(&to[12], (uint32_t)from->clamped);
    wire_put_u16(&to[16], (uint16_t)from->deadman_trips);
    wire_put_u16(&to[18], (uint16_t)from->lost_bytes);
    wire_put_u16(&to[20], (uint16_t)from->worst_tick_us);
}

#endif
