/* ATmega328P at 16 MHz: Arduino Uno and Nano, with a TB6612 (or two half bridges that are wired alike) and two encoders.
 *
 *   D0, D1     serial line to the computer, 115200 baud
 *   D2, A0     left encoder, phases A and B        D3, A1   right encoder
 *   D9         power of the left motor, PWM        D10      of the right motor
 *   D4, D7     left motor forward, backward        D8, D12  right motor
 *   D5         STBY of the TB6612: low while disarmed.  Give it a pull-down of 10 kOhm, for the time before this program runs.
 *   A2         emergency-stop button, normally closed to ground: pressed, or with a broken wire, it reads high
 *   A3         battery, through a divider of 30 and 10 kOhm
 */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/wdt.h>
#include <stdbool.h>
#include <stdint.h>

#include "controller.h"

#define PORT_ATMEGA328P 1U
#define UBRR_115200 16U             /* with U2X: 2.1 % fast, as every Arduino */
/* Bytes; powers of two.  What waits to be read makes the deadman late: no more than a request and a half does. */
#define HEARD_SIZE 16U
#define HEARD_MASK (HEARD_SIZE - 1U)
#define TO_SAY_SIZE 128U
#define TO_SAY_MASK (TO_SAY_SIZE - 1U)
#define BYTES_AT_ONCE 8U              /* less than two requests */
#define PWM_TOP 800U                /* 10 kHz, phase correct */
#define MS_TOP 249U                 /* of timer 0: 250 counts of 4 us */
#define US_PER_COUNT 4UL
#define BATTERY_CHANNEL 3U
#define FULL_SCALE_MV 20000UL       /* 5 V behind the divider */

#define BIT(number) ((uint8_t)(1U << (number)))

#define LEFT_FORWARD BIT(PD4)
#define LEFT_BACKWARD BIT(PD7)
#define STANDBY BIT(PD5)
#define RIGHT_FORWARD BIT(PB0)
#define RIGHT_BACKWARD BIT(PB4)

static struct {
    volatile uint8_t bytes[HEARD_SIZE];
    volatile uint8_t in;
    volatile uint8_t out;
} heard;
static struct {
    volatile uint8_t bytes[TO_SAY_SIZE];
    volatile uint8_t in;
    volatile uint8_t out;
} to_say;
static volatile uint16_t lost_bytes;
static volatile uint32_t milliseconds;
static volatile int32_t left_counts;
static volatile int32_t right_counts;
static controller_t controller;

ISR(USART_RX_vect)
{
    const uint8_t byte = UDR0;
    const uint8_t next = (uint8_t)((heard.in + 1U) & HEARD_MASK);
    if (next == heard.out) {
        lost_bytes++;
    } else {
        heard.bytes[heard.in] = byte;
        heard.in = next;
    }
}

ISR(USART_UDRE_vect)
{
    if (to_say.in == to_say.out) {
        UCSR0B = (uint8_t)(UCSR0B & (0xFFU ^ BIT(UDRIE0)));
    } else {
        UDR0 = to_say.bytes[to_say.out];
        to_say.out = (uint8_t)((to_say.out + 1U) & TO_SAY_MASK);
    }
}

ISR(TIMER0_COMPA_vect)
{
    milliseconds++;
}

/* Both edges of phase A count; B tells the direction. */
ISR(INT0_vect)
{
    const bool a = (PIND & BIT(PD2)) != 0U;
    const bool b = (PINC & BIT(PC0)) != 0U;
    left_counts += (a != b) ? 1 : -1;
}

ISR(INT1_vect)
{
    const bool a = (PIND & BIT(PD3)) != 0U;
    const bool b = (PINC & BIT(PC1)) != 0U;
    right_counts += (a != b) ? 1 : -1;
}

static uint32_t now_us(void)
{
    const uint8_t interrupts = SREG;
    cli();
    uint32_t whole = milliseconds;
    const uint8_t part = TCNT0;
    /* The timer may have begun anew since interrupts are off. */
    if (((TIFR0 & BIT(OCF0A)) != 0U) && (part < MS_TOP)) {
        whole++;
    }
    SREG = interrupts;
    return (whole * 1000UL) + ((uint32_t)part * US_PER_COUNT);
}

static void read_inputs(inputs_t *inputs)
{
    inputs->now_us = now_us();
    cli();
    inputs->left_counts = left_counts;
    inputs->right_counts = right_counts;
    controller.counters.lost_bytes = lost_bytes;
    sei();
    inputs->button = (PINC & BIT(PC2)) != 0U;
    /* The conversion that the last tick began: 100 us, long over. */
    inputs->battery_mv = (uint16_t)(((uint32_t)ADC * FULL_SCALE_MV) >> 10);
    ADCSRA |= BIT(ADSC);
}

static uint16_t duty(int16_t permille)
{
    const uint32_t magnitude = (permille < 0) ? (uint32_t)-(int32_t)permille : (uint32_t)permille;
    const uint32_t counts = (magnitude * PWM_TOP) / (uint32_t)MOTION_FULL_PERMILLE;
    return (uint16_t)counts;
}

static void set_motors(void)
{
    const power_t power = controller.power;
    uint8_t d = (uint8_t)(PORTD & (0xFFU ^ (LEFT_FORWARD | LEFT_BACKWARD | STANDBY)));
    uint8_t b = (uint8_t)(PORTB & (0xFFU ^ (RIGHT_FORWARD | RIGHT_BACKWARD)));
    if (controller.safety.state == STATE_ARMED) {
        d |= STANDBY;
    }
    if (power.left_permille > 0) {
        d |= LEFT_FORWARD;
    } else if (power.left_permille < 0) {
        d |= LEFT_BACKWARD;
    } else {
        /* neither */
    }
    if (power.right_permille > 0) {
        b |= RIGHT_FORWARD;
    } else if (power.right_permille < 0) {
        b |= RIGHT_BACKWARD;
    } else {
        /* neither */
    }
    OCR1A = duty(power.left_permille);
    OCR1B = duty(power.right_permille);
    PORTD = d;
    PORTB = b;
}

/* A whole answer or none: a computer that asks faster than the line carries answers has to ask again. */
static void say(uint8_t size)
{
    const uint8_t used = (uint8_t)((uint8_t)(to_say.in - to_say.out) & TO_SAY_MASK);
    if (size < (TO_SAY_SIZE - used)) {
        for (uint8_t i = 0U; i < size; i++) {
            to_say.bytes[to_say.in] = controller.line[i];
            to_say.in = (uint8_t)((to_say.in + 1U) & TO_SAY_MASK);
        }
        UCSR0B |= BIT(UDRIE0);
    }
}

/* So many bytes at most that even requests without a pause leave the control tick its time. */
static void listen(void)
{
    for (uint8_t i = 0U; (i < BYTES_AT_ONCE) && (heard.out != heard.in); i++) {
        const uint8_t byte = heard.bytes[heard.out];
        heard.out = (uint8_t)((heard.out + 1U) & HEARD_MASK);
        const uint8_t size = controller_receive(&controller, byte, now_us());
        set_motors();
        say(size);
    }
}

static uint8_t reset_cause(uint8_t flags)
{
    uint8_t cause = RESET_UNKNOWN;
    if ((flags & BIT(WDRF)) != 0U) {
        cause = RESET_WATCHDOG;
    } else if ((flags & BIT(PORF)) != 0U) {
        cause = RESET_POWER_ON;
    } else if ((flags & BIT(BORF)) != 0U) {
        cause = RESET_BROWN_OUT;
    } else if ((flags & BIT(EXTRF)) != 0U) {
        cause = RESET_EXTERNAL;
    } else {
        /* A boot loader has looked at them, and cleared them. */
    }
    return cause;
}

static void set_up(void)
{
    /* Outputs are low from the first moment on. */
    PORTB = 0U;
    PORTD = BIT(PD2) | BIT(PD3);    /* pull-ups of the encoders' phases A */
    PORTC = BIT(PC0) | BIT(PC1) | BIT(PC2);
    DDRB = BIT(DDB0) | BIT(DDB1) | BIT(DDB2) | BIT(DDB4);
    DDRD = BIT(DDD4) | BIT(DDD5) | BIT(DDD7);

    TCCR1A = BIT(COM1A1) | BIT(COM1B1) | BIT(WGM11);
    TCCR1B = BIT(WGM13) | BIT(CS10);
    ICR1 = PWM_TOP;

    OCR0A = MS_TOP;
    TCCR0A = BIT(WGM01);
    TCCR0B = BIT(CS01) | BIT(CS00);
    TIMSK0 = BIT(OCIE0A);

    EICRA = BIT(ISC00) | BIT(ISC10);
    EIMSK = BIT(INT0) | BIT(INT1);

    UCSR0A = BIT(U2X0);
    UBRR0 = UBRR_115200;
    UCSR0C = BIT(UCSZ01) | BIT(UCSZ00);
    UCSR0B = BIT(RXEN0) | BIT(TXEN0) | BIT(RXCIE0);

    ADMUX = BIT(REFS0) | BATTERY_CHANNEL;
    ADCSRA = BIT(ADEN) | BIT(ADSC) | BIT(ADPS2) | BIT(ADPS1) | BIT(ADPS0);
}

int main(void)
{
    const uint8_t why = MCUSR;
    MCUSR = 0U;
    /* A tick that stays out for longer than this is a reset, and after a reset the motors are off. */
    wdt_enable(WDTO_60MS);
    set_up();
    controller_init(&controller, &ROBOT, PORT_ATMEGA328P, reset_cause(why));
    sei();

    uint32_t ticked_us = now_us();
    for (;;) {
        listen();
        if ((now_us() - ticked_us) >= ((uint32_t)ROBOT.tick_ms * 1000UL)) {
            inputs_t inputs;
            ticked_us += (uint32_t)ROBOT.tick_ms * 1000UL;
            read_inputs(&inputs);
            controller_tick(&controller, &inputs);
            set_motors();
            wdt_reset();
        }
    }
}
