/* An Arduino on a bench, without the hardware: the ATmega328P's own program in simavr, its line, two motors with encoders, a button and a
 * battery.  Wired as firmware/ports/atmega328p/main.c says.  Time is that of the simulated processor: it runs when it is
 * told to, for as long as it is told to, and the same story gives the same end to the cycle. */
#include <simavr/avr_adc.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_HZ 16000000UL
#define SLICE_US 20U                /* between two looks at the motors */
#define BYTE_US 87U                 /* on the line, at 115200 baud; simavr takes a parity bit too many, and 93 us */
#define PWM_TOP 800.0
#define LAG_S 0.06                  /* of a motor's speed behind its power */
#define FULL_SPEED_MMPS 700.0       /* as in boards/robots/sim-avr.toml, and so is the dead zone */
#define DEAD_ZONE_PERMILLE 60
#define MM_PER_COUNT (6.283185307 * 33.0 / 1440.0)
#define QUEUE 65536U
#define RAM_FROM 0x100U
#define RAM_TO 0x8FFU
#define UNTOUCHED 0xA5U             /* what RAM holds that the program has not written to yet */

/* Data addresses, ATmega328P data sheet, "Register Summary". */
#define PORTB_AT 0x25U
#define PORTD_AT 0x2BU
#define MCUSR_AT 0x54U
#define OCR1A_AT 0x88U
#define OCR1B_AT 0x8AU

typedef struct {
    double speed_mmps;
    double turned_mm;
    int64_t counts;
    int a;
    int encoder;                    /* 1 connected, 0 not, -1 the wrong way round, 2 phase B is broken */
    int blocked;
    int permille;
    int follows;                    /* the wheel is turned by somebody else, to so many counts */
    int64_t turned_to;
} motor_t;

typedef struct {
    avr_t *avr;
    uint8_t sent[QUEUE];            /* by the firmware */
    uint32_t sent_count;
    uint8_t waiting[QUEUE];         /* for the firmware */
    uint32_t waiting_from;
    uint32_t waiting_to;
    uint64_t next_byte_us;
    uint64_t heard_us;              /* when the last byte was given to the firmware */
    uint64_t neutral_us;            /* since when both motors have had no power; UINT64_MAX while one has */
    uint64_t powered_us;            /* when a motor last got power after neither had any */
    motor_t left;
    motor_t right;
    avr_ioport_external_t drives_c; /* levels that come from outside */
    avr_ioport_external_t drives_d;
} bench_t;

bench_t *bench_new(const char *elf);
void bench_free(bench_t *bench);
uint64_t bench_run(bench_t *bench, uint64_t us);
int bench_say(bench_t *bench, const uint8_t *bytes, uint32_t count);
uint32_t bench_hear(bench_t *bench, uint8_t *bytes);
void bench_state(const bench_t *bench, int64_t *to);
void bench_wheel(bench_t *bench, int right, int encoder, int blocked);
void bench_follow(bench_t *bench, int64_t left, int64_t right);
void bench_button(bench_t *bench, int pressed);
void bench_reset(bench_t *bench, uint8_t flags);
int bench_hang(bench_t *bench);
void bench_boot_loader(bench_t *bench, const uint8_t *code, uint32_t size, uint32_t at);

static uint64_t now_us(const bench_t *bench)
{
    return bench->avr->cycle / (CLOCK_HZ / 1000000UL);
}

/* simavr asks for a pin's level again whenever the program writes to the port, and takes a pull-up for it if it knows no better. */
static void set_pin(bench_t *bench, char port, int pin, int level)
{
    avr_ioport_external_t *drives = (port == 'C') ? &bench->drives_c : &bench->drives_d;
    drives->name = port;
    drives->mask |= 1U << pin;
    drives->value = (drives->value & ~(1U << pin)) | ((unsigned)level << pin);
    (void)avr_ioctl(bench->avr, AVR_IOCTL_IOPORT_SET_EXTERNAL(port), drives);
    avr_raise_irq(avr_io_getirq(bench->avr, AVR_IOCTL_IOPORT_GETIRQ(port), pin), (uint32_t)level);
}

static void keep_sent(struct avr_irq_t *irq, uint32_t value, void *param)
{
    bench_t *bench = param;
    (void)irq;
    if (bench->sent_count < QUEUE) {
        bench->sent[bench->sent_count] = (uint8_t)value;
        bench->sent_count++;
    }
}

static void quiet(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr;
    (void)level;
    (void)format;
    (void)arguments;
}

bench_t *bench_new(const char *elf)
{
    bench_t *bench = calloc(1, sizeof *bench);
    elf_firmware_t program;
    (void)memset(&program, 0, sizeof program);
    avr_global_logger_set(quiet);
    if ((bench == NULL) || (elf_read_firmware(elf, &program) != 0)) {
        free(bench);
        return NULL;
    }
    bench->avr = avr_make_mcu_by_name("atmega328p");
    (void)avr_init(bench->avr);
    avr_load_firmware(bench->avr, &program);
    bench->avr->frequency = CLOCK_HZ;
    (void)memset(&bench->avr->data[RAM_FROM], UNTOUCHED, RAM_TO - RAM_FROM + 1U);
    bench->avr->vcc = bench->avr->avcc = bench->avr->aref = 5000U;
    bench->left.encoder = bench->right.encoder = 1;

    uint32_t flags = 0U;
    (void)avr_ioctl(bench->avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_register_notify(
        avr_io_getirq(bench->avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), keep_sent, bench);
    bench_button(bench, 0);
    avr_raise_irq(avr_io_getirq(bench->avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC3), 1850U);
    return bench;
}

void bench_free(bench_t *bench)
{
    avr_terminate(bench->avr);
    free(bench);
}

static int permille(const bench_t *bench, unsigned compare_at, int forward, int backward)
{
    const uint8_t *data = bench->avr->data;
    const double duty = (double)(data[compare_at] | (data[compare_at + 1U] << 8)) / PWM_TOP;
    const int enabled = (data[PORTD_AT] >> 5) & 1;
    const int direction = (forward != 0) - (backward != 0);
    return enabled * direction * (int)((1000.0 * duty) + 0.5);
}

/* One count is one edge of phase A, and B is the other than A after it when the wheel turns forward. */
static void step_encoder(bench_t *bench, motor_t *motor, int is_right, int forward)
{
    motor->a = !motor->a;
    const int b = (forward == (motor->encoder > 0)) ? !motor->a : motor->a;
    set_pin(bench, 'C', is_right, (motor->encoder == 2) || b);
    set_pin(bench, 'D', 2 + is_right, motor->a);
}

static void turn(bench_t *bench, motor_t *motor, int is_right)
{
    const double seconds = SLICE_US * 1e-6;
    const int beyond = abs(motor->permille) - DEAD_ZONE_PERMILLE;
    const int turns = (motor->blocked == 0) && (beyond > 0);
    const double free_mmps
        = FULL_SPEED_MMPS * ((motor->permille > 0) ? beyond : -beyond) / (1000.0 - DEAD_ZONE_PERMILLE);
    const double wanted = turns ? free_mmps : 0.0;
    motor->speed_mmps += (wanted - motor->speed_mmps) * seconds / LAG_S;
    motor->turned_mm += motor->speed_mmps * seconds;
    const int64_t counts
        = (motor->follows != 0) ? motor->turned_to : (int64_t)(motor->turned_mm / MM_PER_COUNT);
    if (counts != motor->counts) {
        if (motor->encoder != 0) {
            step_encoder(bench, motor, is_right, counts > motor->counts);
        }
        motor->counts += (counts > motor->counts) ? 1 : -1;
    }
}

static void look_at_power(bench_t *bench)
{
    const uint8_t *data = bench->avr->data;
    const int left = permille(bench, OCR1A_AT, data[PORTD_AT] & 0x10, data[PORTD_AT] & 0x80);
    const int right = permille(bench, OCR1B_AT, data[PORTB_AT] & 0x01, data[PORTB_AT] & 0x10);
    bench->left.permille = left;
    bench->right.permille = right;
    if ((left != 0) || (right != 0)) {
        if (bench->neutral_us != UINT64_MAX) {
            bench->powered_us = now_us(bench);
        }
        bench->neutral_us = UINT64_MAX;
    } else if (bench->neutral_us == UINT64_MAX) {
        bench->neutral_us = now_us(bench);
    }
}

/* Run the processor for so long; returns its time. */
uint64_t bench_run(bench_t *bench, uint64_t us)
{
    const uint64_t until = now_us(bench) + us;
    while (now_us(bench) < until) {
        const avr_cycle_count_t slice_end = bench->avr->cycle + ((avr_cycle_count_t)SLICE_US * 16U);
        while (bench->avr->cycle < slice_end) {
            const int state = avr_run(bench->avr);
            if ((state == cpu_Done) || (state == cpu_Crashed)) {
                bench->avr->cycle = slice_end;      /* nothing runs any more, but time does */
            }
        }
        if ((bench->waiting_from != bench->waiting_to) && (now_us(bench) >= bench->next_byte_us)) {
            avr_raise_irq(avr_io_getirq(bench->avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT),
                bench->waiting[bench->waiting_from % QUEUE]);
            bench->waiting_from++;
            bench->heard_us = now_us(bench);
            bench->next_byte_us = bench->heard_us + BYTE_US;
        }
        look_at_power(bench);
        turn(bench, &bench->left, 0);
        turn(bench, &bench->right, 1);
    }
    return now_us(bench);
}

/* Bytes for the firmware, at the speed of the line.  Returns how many are waiting. */
int bench_say(bench_t *bench, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0U; i < count; i++) {
        bench->waiting[bench->waiting_to % QUEUE] = bytes[i];
        bench->waiting_to++;
    }
    return (int)(bench->waiting_to - bench->waiting_from);
}

/* What the firmware has sent; at most QUEUE bytes. */
uint32_t bench_hear(bench_t *bench, uint8_t *bytes)
{
    const uint32_t count = bench->sent_count;
    (void)memcpy(bytes, bench->sent, count);
    bench->sent_count = 0U;
    return count;
}

/* Between what the program keeps and the deepest that its stack has been. */
static int64_t untouched_bytes(const bench_t *bench)
{
    int64_t longest = 0;
    int64_t length = 0;
    for (unsigned at = RAM_FROM; at <= RAM_TO; at++) {
        length = (bench->avr->data[at] == UNTOUCHED) ? (length + 1) : 0;
        longest = (length > longest) ? length : longest;
    }
    return longest;
}

/* Time, bytes waiting, when the last one was heard, since when the motors have no power (-1: they have), when they got it, power left and
 * right, speeds in um/s, RAM that was never used, whether the motor driver is enabled. */
void bench_state(const bench_t *bench, int64_t *to)
{
    to[0] = (int64_t)now_us(bench);
    to[1] = (int64_t)(bench->waiting_to - bench->waiting_from);
    to[2] = (int64_t)bench->heard_us;
    to[3] = (int64_t)bench->neutral_us;
    to[4] = (int64_t)bench->powered_us;
    to[5] = bench->left.permille;
    to[6] = bench->right.permille;
    to[7] = (int64_t)(bench->left.speed_mmps * 1000.0);
    to[8] = (int64_t)(bench->right.speed_mmps * 1000.0);
    to[9] = untouched_bytes(bench);
    to[10] = (bench->avr->data[PORTD_AT] >> 5) & 1;
}

void bench_wheel(bench_t *bench, int right, int encoder, int blocked)
{
    motor_t *motor = (right != 0) ? &bench->right : &bench->left;
    motor->encoder = encoder;
    motor->blocked = blocked;
}

/* Another simulation turns the wheels: their encoders go to these counts, one step in 20 us. */
void bench_follow(bench_t *bench, int64_t left, int64_t right)
{
    bench->left.follows = bench->right.follows = 1;
    bench->left.turned_to = left;
    bench->right.turned_to = right;
}

void bench_button(bench_t *bench, int pressed)
{
    set_pin(bench, 'C', 2, pressed);
}

/* A reset for the reason that these flags of MCUSR stand for. */
void bench_reset(bench_t *bench, uint8_t flags)
{
    avr_reset(bench->avr);
    bench->avr->data[MCUSR_AT] = flags;
}

/* The program hangs where C programs end on an AVR: in a jump to itself, interrupts off.  Returns whether there is one. */
int bench_hang(bench_t *bench)
{
    for (uint32_t at = 0U; at < bench->avr->flashend; at += 2U) {
        if ((bench->avr->flash[at] == 0xFFU) && (bench->avr->flash[at + 1U] == 0xCFU)) {
            bench->avr->pc = at;
            bench->avr->sreg[S_I] = 0U;
            return 1;
        }
    }
    return 0;
}

/* A board as it is sold: its flash is empty but for a boot loader, which every reset starts (fuse BOOTRST). */
void bench_boot_loader(bench_t *bench, const uint8_t *code, uint32_t size, uint32_t at)
{
    (void)memset(bench->avr->flash, 0xFF, bench->avr->flashend + 1U);
    (void)memcpy(&bench->avr->flash[at], code, size);
    bench->avr->codeend = bench->avr->flashend;
    bench->avr->reset_pc = at;
    bench_reset(bench, 0x02U);
}
