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
#define RING_SIZE 128U              /* bytes; a power of two */
#define RING_MASK (RING_SIZE - 1U)
#define PWM_TOP 800                 /* 10 kHz, phase correct */
#define MS_TOP 249U                 /* of timer 0: 250 counts of 4 us */
#define US_PER_COUNT 4U
#define BATTERY_CHANNEL 3U
#define FULL_SCALE_MV 20000UL       /* 5 V behind the divider */

#define LEFT_FORWARD _BV(PD4)
#define LEFT_BACKWARD _BV(PD7)
#define STANDBY _BV(PD5)
#define RIGHT_FORWARD _BV(PB0)
#define RIGHT_BACKWARD _BV(PB4)

typedef struct {
    volatile uint8_t bytes[RING_SIZE];
    volatile uint8_t in;
    volatile uint8_t out;
} ring_t;

static ring_t heard;
static ring_t to_say;
static volatile uint16_t lost_bytes;
static volatile uint32_t milliseconds;
static volatile int32_t left_counts;
static volatile int32_t right_counts;
static controller_t controller;

ISR(USART_RX_vect)
{
    const uint8_t byte = UDR0;
    const uint8_t next = (uint8_t)((heard.in + 1U) & RING_MASK);
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
        UCSR0B &= (uint8_t)~_BV(UDRIE0);
    } else {
        UDR0 = to_say.bytes[to_say.out];
        to_say.out = (uint8_t)((to_say.out + 1U) & RING_MASK);
    }
}

ISR(TIMER0_COMPA_vect)
{
    milliseconds++;
}

/* Both edges of phase A count; B tells the direction. */
ISR(INT0_vect)
{
    const bool a = (PIND & _BV(PD2)) != 0U;
    const bool b = (PINC & _BV(PC0)) != 0U;
    left_counts += (a != b) ? 1 : -1;
}

ISR(INT1_vect)
{
    const bool a = (PIND & _BV(PD3)) != 0U;
    const bool b = (PINC & _BV(PC1)) != 0U;
    right_counts += (a != b) ? 1 : -1;
}

static uint32_t now_us(void)
{
    const uint8_t interrupts = SREG;
    cli();
    uint32_t whole = milliseconds;
    const uint8_t part = TCNT0;
    /* The timer may have begun anew since interrupts are off. */
    if (((TIFR0 & _BV(OCF0A)) != 0U) && (part < MS_TOP)) {
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
    inputs->button = (PINC & _BV(PC2)) != 0U;
    /* The conversion that the last tick began: 100 us, long over. */
    inputs->battery_mv = (uint16_t)(((uint32_t)ADC * FULL_SCALE_MV) >> 10);
    ADCSRA |= _BV(ADSC);
}

static uint16_t duty(int16_t permille)
{
    const int16_t magnitude = (permille < 0) ? (int16_t)-permille : permille;
    return (uint16_t)(((int32_t)magnitude * PWM_TOP) / MOTION_FULL_PERMILLE);
}

static void set_motors(void)
{
    const power_t power = controller.power;
    uint8_t d = PORTD & (uint8_t)~(LEFT_FORWARD | LEFT_BACKWARD | STANDBY);
    uint8_t b = PORTB & (uint8_t)~(RIGHT_FORWARD | RIGHT_BACKWARD);
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

static void say(uint8_t size)
{
    for (uint8_t i = 0U; i < size; i++) {
        const uint8_t next = (uint8_t)((to_say.in + 1U) & RING_MASK);
        if (next != to_say.out) {   /* else the computer asks faster than the line carries answers: it asks again */
            to_say.bytes[to_say.in] = controller.line[i];
            to_say.in = next;
        }
    }
    UCSR0B |= _BV(UDRIE0);
}

static void listen(void)
{
    while (heard.out != heard.in) {
        const uint8_t byte = heard.bytes[heard.out];
        heard.out = (uint8_t)((heard.out + 1U) & RING_MASK);
        const uint8_t size = controller_receive(&controller, byte, now_us());
        set_motors();
        say(size);
    }
}

static uint8_t reset_cause(uint8_t flags)
{
    uint8_t cause = RESET_EXTERNAL;
    if ((flags & _BV(WDRF)) != 0U) {
        cause = RESET_WATCHDOG;
    } else if ((flags & _BV(PORF)) != 0U) {
        cause = RESET_POWER_ON;
    } else if ((flags & _BV(BORF)) != 0U) {
        cause = RESET_BROWN_OUT;
    } else {
        /* the reset pin */
    }
    return cause;
}

static void set_up(void)
{
    /* Outputs are low from the first moment on. */
    PORTB = 0U;
    PORTD = _BV(PD2) | _BV(PD3);    /* pull-ups of the encoders' phases A */
    PORTC = _BV(PC0) | _BV(PC1) | _BV(PC2);
    DDRB = _BV(DDB0) | _BV(DDB1) | _BV(DDB2) | _BV(DDB4);
    DDRD = _BV(DDD4) | _BV(DDD5) | _BV(DDD7);

    TCCR1A = _BV(COM1A1) | _BV(COM1B1) | _BV(WGM11);
    TCCR1B = _BV(WGM13) | _BV(CS10);
    ICR1 = PWM_TOP;

    OCR0A = MS_TOP;
    TCCR0A = _BV(WGM01);
    TCCR0B = _BV(CS01) | _BV(CS00);
    TIMSK0 = _BV(OCIE0A);

    EICRA = _BV(ISC00) | _BV(ISC10);
    EIMSK = _BV(INT0) | _BV(INT1);

    UBRR0 = UBRR_115200;
    UCSR0A = _BV(U2X0);
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);

    ADMUX = _BV(REFS0) | BATTERY_CHANNEL;
    ADCSRA = _BV(ADEN) | _BV(ADSC) | _BV(ADPS2) | _BV(ADPS1) | _BV(ADPS0);
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
