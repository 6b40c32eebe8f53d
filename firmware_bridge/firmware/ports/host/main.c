/* The firmware as a program: its serial line is a pseudo-terminal, its motors are two equations.
 *
 * Says on standard output, one line each:
 *   line <path>                  where to connect, at the start
 *   fed <us>                     a Drive was accepted
 *   power <us> <left> <right>    the motors' power changed, permille
 * and takes on standard input:
 *   button 0|1                   the emergency-stop button
 *   encoders 0|1                 whether the encoders are connected
 *   reset <why>                  a reset, of that RESET_ number
 * It ends with the end of its input.
 *
 * An argument makes its clock run that many times as slowly: a test on a machine with other work waits longer then, and fails less. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "controller.h"

#define PORT_HOST 255U
#define NS_PER_MS 1000000L
#define LAG_MS 60.0                 /* of a motor's speed behind its power */

typedef struct {
    double speed_mmps;
    double turned_mm;
    int32_t counts;
} motor_t;

static controller_t controller;
static motor_t left_motor;
static motor_t right_motor;
static inputs_t inputs;
static bool encoders = true;
static power_t said;
static uint32_t fed_us;

static uint64_t slowness = 1U;

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (((uint64_t)now.tv_sec * 1000000000ULL) + (uint64_t)now.tv_nsec) / slowness;
}

static uint32_t now_us(void)
{
    return (uint32_t)(now_ns() / 1000U);
}

static void say_what_changed(void)
{
    const uint32_t now = now_us();
    if (controller.safety.fed_us != fed_us) {
        fed_us = controller.safety.fed_us;
        (void)printf("fed %u\n", fed_us);
    }
    if (memcmp(&said, &controller.power, sizeof said) != 0) {
        said = controller.power;
        (void)printf("power %u %d %d\n", now, said.left_permille, said.right_permille);
    }
    (void)fflush(stdout);
}

static void turn(motor_t *motor, const robot_wheel_t *wheel, int16_t permille)
{
    const double free_mmps = (double)wheel->full_speed_mmps * permille / 1000.0;
    motor->speed_mmps += (free_mmps - motor->speed_mmps) * ((double)ROBOT.tick_ms / LAG_MS);
    motor->turned_mm += motor->speed_mmps * (double)ROBOT.tick_ms / 1000.0;
    if (encoders) {
        const double mm_per_count = 6.283185 * (double)wheel->radius_um / 1000.0 / ROBOT.counts_per_turn;
        motor->counts = (int32_t)(motor->turned_mm / mm_per_count);
    }
}

static void tick(void)
{
    turn(&left_motor, &ROBOT.left, controller.power.left_permille);
    turn(&right_motor, &ROBOT.right, controller.power.right_permille);
    inputs.left_counts = left_motor.counts;
    inputs.right_counts = right_motor.counts;
    inputs.battery_mv = 7400U;
    inputs.now_us = now_us();
    controller_tick(&controller, &inputs);
    say_what_changed();
}

static void receive(int line)
{
    uint8_t bytes[256];
    const ssize_t count = read(line, bytes, sizeof bytes);
    for (ssize_t i = 0; i < count; i++) {
        const uint8_t size = controller_receive(&controller, bytes[i], now_us());
        if (size > 0U) {
            /* Said before it is answered: who hears the answer can rely on it. */
            say_what_changed();
            if (write(line, controller.line, size) != size) {
                (void)fprintf(stderr, "an answer was lost\n");
            }
        }
    }
}

static bool obey(FILE *input)
{
    char text[64];
    int number = 0;
    if (fgets(text, sizeof text, input) == NULL) {
        return false;
    }
    if (sscanf(text, "button %d", &number) == 1) {
        inputs.button = (number != 0);
    } else if (sscanf(text, "encoders %d", &number) == 1) {
        encoders = (number != 0);
    } else if (sscanf(text, "reset %d", &number) == 1) {
        controller_init(&controller, &ROBOT, PORT_HOST, (uint8_t)number);
        fed_us = 0U;
        say_what_changed();
    } else {
        (void)fprintf(stderr, "not understood: %s", text);
    }
    return true;
}

/* The other end is opened too, and kept: without it a pseudo-terminal is at its end whenever nobody is connected. */
static int open_line(void)
{
    const int line = posix_openpt(O_RDWR | O_NOCTTY);
    if ((line < 0) || (grantpt(line) != 0) || (unlockpt(line) != 0)) {
        perror("pseudo-terminal");
        exit(1);
    }
    const int other = open(ptsname(line), O_RDWR | O_NOCTTY);
    struct termios raw;
    (void)tcgetattr(other, &raw);
    cfmakeraw(&raw);
    (void)tcsetattr(other, TCSANOW, &raw);
    (void)printf("line %s\n", ptsname(line));
    (void)fflush(stdout);
    return line;
}

int main(int count, char **arguments)
{
    if (count > 1) {
        slowness = strtoul(arguments[1], NULL, 10);
    }
    const int line = open_line();
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    controller_init(&controller, &ROBOT, PORT_HOST, RESET_POWER_ON);
    uint64_t due_ns = now_ns();
    for (;;) {
        const uint64_t now = now_ns();
        if (now >= due_ns) {
            tick();
            due_ns += (uint64_t)ROBOT.tick_ms * NS_PER_MS;
            if (now > due_ns) {
                due_ns = now;   /* stalled: ticks that were lost are not made up for */
            }
        }
        struct pollfd heard[2] = { { .fd = line, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
        const uint64_t left_ns = (due_ns > now) ? ((due_ns - now) * slowness) : 0U;
        const struct timespec wait = { .tv_sec = 0, .tv_nsec = (long)left_ns };
        (void)ppoll(heard, 2, &wait, NULL);
        if ((heard[0].revents & POLLIN) != 0) {
            receive(line);
        }
        if (((heard[1].revents & (POLLIN | POLLHUP)) != 0) && !obey(stdin)) {
            return 0;
        }
    }
}
