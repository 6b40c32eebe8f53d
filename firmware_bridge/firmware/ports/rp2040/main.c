/* RP2040 at 48 MHz: Raspberry Pi Pico, with a TB6612 (or two half bridges that are wired alike) and two encoders.  Without the
 * vendor's SDK.  It has run in a simulated processor only, never on a real one.
 *
 *   GP0, GP1    serial line to the computer, 115200 baud, 3.3 V: GP0 sends, GP1 receives
 *   GP2, GP3    left encoder, phases A and B       GP4, GP5    right encoder
 *   GP6         power of the left motor, PWM       GP7         of the right motor
 *   GP8, GP9    left motor forward, backward       GP10, GP11  right motor
 *   GP12        STBY of the TB6612: low while disarmed.  Give it a pull-down of 10 kOhm, for the time before this program runs.
 *   GP13        emergency-stop button, normally closed to ground: pressed, or with a broken wire, it reads high
 *   GP26        battery, through a divider of 47 and 10 kOhm
 *
 * No pin stands more than 3.3 V: encoders run at 3.3 V, or through dividers.  Other pins can be named below, but the phases A must be
 * among GP0 to GP7, the power on outputs A and B of one slice of the PWM, and the battery on GP26. */
#include <stdbool.h>
#include <stdint.h>

#include "controller.h"
#include "registers.h"

#define PORT_RP2040 2U
#define TX 0U
#define RX 1U
#define LEFT_A 2U
#define LEFT_B 3U
#define RIGHT_A 4U
#define RIGHT_B 5U
#define LEFT_POWER 6U               /* output A of PWM slice 3 */
#define RIGHT_POWER 7U              /* output B */
#define LEFT_FORWARD 8U
#define LEFT_BACKWARD 9U
#define RIGHT_FORWARD 10U
#define RIGHT_BACKWARD 11U
#define STANDBY 12U
#define BUTTON 13U
#define BATTERY 26U                 /* channel 0 of the ADC */

#define BIT(number) ((uint32_t)1U << (number))

/* 12 MHz x 100 / 5 / 5 = 48 MHz, for the processor, the UART, the PWM and the ADC: 2.18.2, "Calculating PLL parameters". */
#define XOSC_MHZ 12U
#define XOSC_STARTUP_1_MS 47U       /* in 256 cycles: 2.16.3 */
#define PLL_FEEDBACK 100U
#define PLL_POST_DIVIDERS 0x55000U
#define UART_BAUD_WHOLE 26U         /* 48 MHz / 16 / 115200 = 26 + 3/64: 0.02 % slow */
#define UART_BAUD_64THS 3U
#define PWM_COUNTS 2400U            /* 10 kHz, phase correct */
#define FULL_SCALE_MV 18810U        /* 3.3 V behind the divider */
#define ADC_BITS 12U
#define WATCHDOG_US 60000U
#define MOST_LOOPS_IN_A_US 1000U    /* one takes longer than that */
#define WATCHDOG_IS_OURS 0x65646765U    /* boot loaders restart the processor by the watchdog too: their reason is not ours */

#define RING_SIZE 128U              /* bytes; a power of two */
#define RING_MASK (RING_SIZE - 1U)
#define BYTES_AT_ONCE 8U            /* less than two requests */

typedef struct {
    volatile uint8_t bytes[RING_SIZE];
    volatile uint8_t in;
    volatile uint8_t out;
} ring_t;

static ring_t heard;
static ring_t to_say;
static volatile uint16_t lost_bytes;
static volatile int32_t left_counts;
static volatile int32_t right_counts;
static controller_t controller;

/* start.S calls these. */
int main(void);
void on_received(void);
void on_pin_edge(void);
void on_fault(void);

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static uint32_t get(uint32_t address)
{
    return *at(address);
}

static void put(uint32_t address, uint32_t value)
{
    *at(address) = value;
}

static void wait_for(uint32_t address, uint32_t bits)
{
    while ((get(address) & bits) != bits) {
        /* at most a few milliseconds, before anything can move */
    }
}

void on_received(void)
{
    while ((get(UART0_FR) & UART_FR_RX_EMPTY) == 0U) {
        const uint32_t received = get(UART0_DR);
        const uint8_t next = (uint8_t)((heard.in + 1U) & RING_MASK);
        if (((received & UART_DR_OVERRUN) != 0U) || (next == heard.out)) {
            lost_bytes++;
        }
        if (next != heard.out) {
            heard.bytes[heard.in] = (uint8_t)(received & 0xFFU);
            heard.in = next;
        }
    }
}

/* The interrupts of a pin of the first eight, in their registers. */
static uint32_t edges_of(uint32_t pin)
{
    return (uint32_t)IO_BOTH_EDGES << (pin * IO_BITS_PER_PIN);
}

static int32_t step(uint32_t pins, uint32_t a, uint32_t b)
{
    const bool a_is_high = (pins & BIT(a)) != 0U;
    const bool b_is_high = (pins & BIT(b)) != 0U;
    return (a_is_high != b_is_high) ? 1 : -1;
}

/* Both edges of phase A count; B tells the direction. */
void on_pin_edge(void)
{
    const uint32_t edges = get(IO_PROC0_INTS0);
    put(IO_INTR0, edges);
    const uint32_t pins = get(SIO_GPIO_IN);
    if ((edges & edges_of(LEFT_A)) != 0U) {
        left_counts += step(pins, LEFT_A, LEFT_B);
    }
    if ((edges & edges_of(RIGHT_A)) != 0U) {
        right_counts += step(pins, RIGHT_A, RIGHT_B);
    }
}

/* Motors off, and a reset. */
static void give_up(void)
{
    put(SIO_GPIO_OUT, 0U);
    for (;;) {
        put(WATCHDOG_CTRL + ALIAS_SET, WATCHDOG_TRIGGER);
    }
}

/* An exception of the processor, or an interrupt that nothing has enabled. */
void on_fault(void)
{
    give_up();
}

static uint32_t now_us(void)
{
    return get(TIMER_RAW_LOW);
}

static void read_inputs(inputs_t *inputs)
{
    inputs->now_us = now_us();
    inputs->left_counts = left_counts;
    inputs->right_counts = right_counts;
    controller.counters.lost_bytes = lost_bytes;
    inputs->button = (get(SIO_GPIO_IN) & BIT(BUTTON)) != 0U;
    /* The conversion that the last tick began: 2 us, long over. */
    inputs->battery_mv = (uint16_t)((get(ADC_RESULT) * FULL_SCALE_MV) >> ADC_BITS);
    put(ADC_CS, ADC_ENABLE | ADC_START_ONE);
}

static uint32_t duty(int16_t permille)
{
    const uint32_t magnitude = (permille < 0) ? (uint32_t)-(int32_t)permille : (uint32_t)permille;
    return (magnitude * PWM_COUNTS) / (uint32_t)MOTION_FULL_PERMILLE;
}

static uint32_t direction(int16_t permille, uint32_t forward, uint32_t backward)
{
    uint32_t pins = 0U;
    if (permille > 0) {
        pins = BIT(forward);
    } else if (permille < 0) {
        pins = BIT(backward);
    } else {
        /* neither */
    }
    return pins;
}

static void set_motors(void)
{
    const power_t power = controller.power;
    uint32_t pins = direction(power.left_permille, LEFT_FORWARD, LEFT_BACKWARD)
        | direction(power.right_permille, RIGHT_FORWARD, RIGHT_BACKWARD);
    if (controller.safety.state == STATE_ARMED) {
        pins |= BIT(STANDBY);
    }
    put(PWM3_CC, duty(power.left_permille) | (duty(power.right_permille) << 16));
    put(SIO_GPIO_OUT, pins);
}

/* A whole answer or none: a computer that asks faster than the line carries answers has to ask again. */
static void say(uint8_t size)
{
    const uint8_t used = (uint8_t)((uint8_t)(to_say.in - to_say.out) & RING_MASK);
    if (size < (RING_SIZE - used)) {
        for (uint8_t i = 0U; i < size; i++) {
            to_say.bytes[to_say.in] = controller.line[i];
            to_say.in = (uint8_t)((to_say.in + 1U) & RING_MASK);
        }
    }
}

/* As much as the UART takes: 32 bytes, which last for 2.8 ms. */
static void speak(void)
{
    while ((to_say.out != to_say.in) && ((get(UART0_FR) & UART_FR_TX_FULL) == 0U)) {
        put(UART0_DR, to_say.bytes[to_say.out]);
        to_say.out = (uint8_t)((to_say.out + 1U) & RING_MASK);
    }
}

/* So many bytes at most that even requests without a pause leave the control tick its time. */
static void listen(void)
{
    for (uint8_t i = 0U; (i < BYTES_AT_ONCE) && (heard.out != heard.in); i++) {
        const uint8_t byte = heard.bytes[heard.out];
        heard.out = (uint8_t)((heard.out + 1U) & RING_MASK);
        const uint8_t size = controller_receive(&controller, byte, now_us());
        set_motors();
        say(size);
    }
}

static uint8_t reset_cause(void)
{
    const uint32_t chip = get(CHIP_RESET);
    uint8_t cause = RESET_UNKNOWN;
    if (get(WATCHDOG_REASON) != 0U) {
        cause = (get(WATCHDOG_SCRATCH4) == WATCHDOG_IS_OURS) ? RESET_WATCHDOG : RESET_UNKNOWN;
    } else if ((chip & CHIP_RESET_HAD_POR) != 0U) {
        cause = RESET_POWER_ON;
    } else if ((chip & CHIP_RESET_HAD_RUN) != 0U) {
        cause = RESET_EXTERNAL;
    } else {
        /* A debugger. */
    }
    return cause;
}

static void start_clocks(void)
{
    put(XOSC_STARTUP, XOSC_STARTUP_1_MS);
    put(XOSC_CTRL, XOSC_ENABLE_1_15_MHZ);
    wait_for(XOSC_STATUS, XOSC_STABLE);
    put(CLOCKS_REF_CTRL, CLOCKS_REF_FROM_XOSC);
    wait_for(CLOCKS_REF_SELECTED, CLOCKS_SELECTED_XOSC);
    put(WATCHDOG_TICK, WATCHDOG_TICK_ENABLE | XOSC_MHZ);    /* 1 us, for the timer too */

    put(RESETS_RESET + ALIAS_CLEAR, RESETS_PLL_SYS);
    wait_for(RESETS_DONE, RESETS_PLL_SYS);
    put(PLL_SYS_CS, 1U);
    put(PLL_SYS_FBDIV, PLL_FEEDBACK);
    put(PLL_SYS_PWR + ALIAS_CLEAR, PLL_PD_AND_VCOPD);
    wait_for(PLL_SYS_CS, PLL_LOCK);
    put(PLL_SYS_PRIM, PLL_POST_DIVIDERS);
    put(PLL_SYS_PWR + ALIAS_CLEAR, PLL_POSTDIVPD);

    put(CLOCKS_SYS_CTRL, CLOCKS_SYS_FROM_PLL_SYS);
    wait_for(CLOCKS_SYS_SELECTED, CLOCKS_SELECTED_AUX);
    put(CLOCKS_PERI_CTRL, CLOCKS_PERI_FROM_SYS);
    put(CLOCKS_ADC_CTRL, CLOCKS_ADC_FROM_PLL_SYS);
}

/* A processor that a debugger has stopped counts as hung. */
static void start_watchdog(void)
{
    put(WATCHDOG_CTRL, 0U);
    put(WATCHDOG_SCRATCH4, WATCHDOG_IS_OURS);
    put(PSM_WDSEL, PSM_ALL_BUT_OSCILLATORS);
    put(WATCHDOG_LOAD, WATCHDOG_US * WATCHDOG_COUNTS_PER_US);
    put(WATCHDOG_CTRL, WATCHDOG_ENABLE);
}

/* Timer and watchdog count the crystal's clock.  If it stops, the PLL lets the processor go on for a while, at some frequency. */
static void check_that_time_passes(void)
{
    static uint32_t last_us;
    static uint32_t loops;
    const uint32_t us = now_us();
    if (us == last_us) {
        loops++;
    } else {
        loops = 0U;
    }
    last_us = us;
    if (loops > MOST_LOOPS_IN_A_US) {
        give_up();
    }
}

static void set_pin(uint32_t pin, uint32_t pad, uint32_t function)
{
    put(PADS_GPIO0 + (pin * PADS_BYTES_PER_PIN), pad);
    put(IO_CTRL_OF_GPIO0 + (pin * IO_BYTES_PER_PIN), function);
}

static void set_up(void)
{
    static const uint8_t inputs[] = { LEFT_A, LEFT_B, RIGHT_A, RIGHT_B, BUTTON };
    static const uint8_t outputs[] = { LEFT_FORWARD, LEFT_BACKWARD, RIGHT_FORWARD, RIGHT_BACKWARD, STANDBY };
    const uint32_t used = RESETS_ADC | RESETS_IO_BANK0 | RESETS_PADS_BANK0 | RESETS_PWM | RESETS_TIMER | RESETS_UART0;
    put(RESETS_RESET + ALIAS_CLEAR, used);
    wait_for(RESETS_DONE, used);

    /* Outputs are low from the first moment on. */
    put(SIO_GPIO_OUT, 0U);
    put(SIO_GPIO_OE, BIT(LEFT_FORWARD) | BIT(LEFT_BACKWARD) | BIT(RIGHT_FORWARD) | BIT(RIGHT_BACKWARD) | BIT(STANDBY));
    for (uint32_t i = 0U; i < (sizeof outputs); i++) {
        set_pin(outputs[i], PADS_OUTPUT_PULLED_DOWN, IO_FUNCTION_SIO);
    }
    put(PWM3_CC, 0U);
    put(PWM3_TOP, PWM_COUNTS - 1U);
    put(PWM3_CSR, PWM_ENABLE_PHASE_CORRECT);
    set_pin(LEFT_POWER, PADS_OUTPUT_PULLED_DOWN, IO_FUNCTION_PWM);
    set_pin(RIGHT_POWER, PADS_OUTPUT_PULLED_DOWN, IO_FUNCTION_PWM);

    for (uint32_t i = 0U; i < (sizeof inputs); i++) {
        set_pin(inputs[i], PADS_INPUT_PULLED_UP, IO_FUNCTION_SIO);
    }
    put(IO_INTR0, edges_of(LEFT_A) | edges_of(RIGHT_A));
    put(IO_PROC0_INTE0, edges_of(LEFT_A) | edges_of(RIGHT_A));

    set_pin(TX, PADS_OUTPUT_PULLED_DOWN, IO_FUNCTION_UART);
    set_pin(RX, PADS_INPUT_PULLED_UP, IO_FUNCTION_UART);
    put(UART0_IBRD, UART_BAUD_WHOLE);
    put(UART0_FBRD, UART_BAUD_64THS);
    put(UART0_LCR_H, UART_LCR_8N1_FIFO);
    put(UART0_IMSC, UART_IMSC_RX_AND_TIMEOUT);
    put(UART0_CR, UART_CR_ON);

    set_pin(BATTERY, PADS_ANALOG, IO_FUNCTION_SIO);
    put(ADC_CS, ADC_ENABLE);
    wait_for(ADC_CS, ADC_READY);
    put(ADC_CS, ADC_ENABLE | ADC_START_ONE);
}

int main(void)
{
    const uint8_t why = reset_cause();
    start_clocks();
    /* A tick that stays out for longer than this is a reset, and after a reset the motors are off. */
    start_watchdog();
    set_up();
    controller_init(&controller, &ROBOT, PORT_RP2040, why);
    put(NVIC_ISER, IRQ_IO_BANK0 | IRQ_UART0);

    uint32_t ticked_us = now_us();
    for (;;) {
        check_that_time_passes();
        listen();
        speak();
        if ((now_us() - ticked_us) >= ((uint32_t)ROBOT.tick_ms * 1000U)) {
            inputs_t inputs;
            ticked_us += (uint32_t)ROBOT.tick_ms * 1000U;
            read_inputs(&inputs);
            controller_tick(&controller, &inputs);
            set_motors();
            put(WATCHDOG_LOAD, WATCHDOG_US * WATCHDOG_COUNTS_PER_US);
        }
    }
}
