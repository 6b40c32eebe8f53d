/* The registers of the RP2040 that this port uses: "RP2040 Datasheet", Raspberry Pi Ltd; the section of each block's list of
 * registers is behind its name. */
#ifndef REGISTERS_H
#define REGISTERS_H

/* 2.1.2, "Atomic Register Access": what is written this much above a register sets, or clears, the bits that are 1.  Not for SIO. */
#define ALIAS_SET 0x2000U
#define ALIAS_CLEAR 0x3000U

/* Clocks, 2.15.7 */
#define CLOCKS_REF_CTRL 0x40008030U
#define CLOCKS_REF_SELECTED 0x40008038U
#define CLOCKS_SYS_CTRL 0x4000803CU
#define CLOCKS_SYS_SELECTED 0x40008044U
#define CLOCKS_PERI_CTRL 0x40008048U
#define CLOCKS_ADC_CTRL 0x40008060U
#define CLOCKS_REF_FROM_XOSC 0x2U
#define CLOCKS_SYS_FROM_PLL_SYS 0x1U        /* SRC: auxiliary; AUXSRC 0 */
#define CLOCKS_PERI_FROM_SYS 0x800U         /* ENABLE; AUXSRC 0 */
#define CLOCKS_ADC_FROM_PLL_SYS 0x820U      /* ENABLE; AUXSRC 1 */
#define CLOCKS_SELECTED_XOSC 0x4U
#define CLOCKS_SELECTED_AUX 0x2U

/* Subsystem resets, 2.14.3 */
#define RESETS_RESET 0x4000C000U
#define RESETS_DONE 0x4000C008U
#define RESETS_ADC 0x000001U
#define RESETS_IO_BANK0 0x000020U
#define RESETS_PADS_BANK0 0x000100U
#define RESETS_PLL_SYS 0x001000U
#define RESETS_PWM 0x004000U
#define RESETS_TIMER 0x200000U
#define RESETS_UART0 0x400000U

/* Power-on state machine, 2.13.5 */
#define PSM_WDSEL 0x40010008U
#define PSM_ALL_BUT_OSCILLATORS 0x1FFFCU

/* Pins, 2.19.6.1: for each a status and a control register, and 4 bits of interrupts, 8 pins in a register */
#define IO_CTRL_OF_GPIO0 0x40014004U
#define IO_BYTES_PER_PIN 8U
#define IO_INTR0 0x400140F0U
#define IO_PROC0_INTE0 0x40014100U
#define IO_PROC0_INTS0 0x40014120U
#define IO_BITS_PER_PIN 4U
#define IO_BOTH_EDGES 0xCU
#define IO_FUNCTION_UART 2U
#define IO_FUNCTION_PWM 4U
#define IO_FUNCTION_SIO 5U

/* Pads, 2.19.6.3 */
#define PADS_GPIO0 0x4001C004U
#define PADS_BYTES_PER_PIN 4U
#define PADS_INPUT_PULLED_UP 0x4AU          /* IE, PUE, SCHMITT */
#define PADS_OUTPUT_PULLED_DOWN 0x56U       /* IE, 4 mA, PDE, SCHMITT: as at a reset */
#define PADS_ANALOG 0x80U                   /* OD; neither input nor pulls */

/* Crystal oscillator, 2.16.7 */
#define XOSC_CTRL 0x40024000U
#define XOSC_STATUS 0x40024004U
#define XOSC_STARTUP 0x4002400CU
#define XOSC_ENABLE_1_15_MHZ 0xFABAA0U
#define XOSC_STABLE 0x80000000U

/* PLL, 2.18.4 */
#define PLL_SYS_CS 0x40028000U
#define PLL_SYS_PWR 0x40028004U
#define PLL_SYS_FBDIV 0x40028008U
#define PLL_SYS_PRIM 0x4002800CU
#define PLL_LOCK 0x80000000U
#define PLL_PD_AND_VCOPD 0x21U
#define PLL_POSTDIVPD 0x8U

/* UART, 4.2.8 */
#define UART0_DR 0x40034000U
#define UART0_FR 0x40034018U
#define UART0_IBRD 0x40034024U
#define UART0_FBRD 0x40034028U
#define UART0_LCR_H 0x4003402CU
#define UART0_CR 0x40034030U
#define UART0_IMSC 0x40034038U
#define UART_DR_OVERRUN 0x800U
#define UART_FR_RX_EMPTY 0x10U
#define UART_FR_TX_FULL 0x20U
#define UART_LCR_8N1_FIFO 0x70U
#define UART_CR_ON 0x301U                   /* UARTEN, TXE, RXE */
#define UART_IMSC_RX_AND_TIMEOUT 0x50U      /* 16 bytes are there, or some are and 32 bit times passed without one */

/* ADC, 4.9.6 */
#define ADC_CS 0x4004C000U
#define ADC_RESULT 0x4004C004U
#define ADC_ENABLE 0x1U
#define ADC_START_ONE 0x4U
#define ADC_READY 0x100U

/* PWM, 4.5.3: slice 3, whose outputs can be GP6 and GP7 */
#define PWM3_CSR 0x4005003CU
#define PWM3_CC 0x40050048U
#define PWM3_TOP 0x4005004CU
#define PWM_ENABLE_PHASE_CORRECT 0x3U

/* Timer, 4.6.5 */
#define TIMER_RAW_LOW 0x40054028U

/* Watchdog, 4.7.6.  Erratum RP2040-E1: it counts two down for each microsecond. */
#define WATCHDOG_CTRL 0x40058000U
#define WATCHDOG_LOAD 0x40058004U
#define WATCHDOG_REASON 0x40058008U
#define WATCHDOG_SCRATCH4 0x4005801CU
#define WATCHDOG_TICK 0x4005802CU
#define WATCHDOG_TRIGGER 0x80000000U
#define WATCHDOG_ENABLE 0x40000000U
#define WATCHDOG_TICK_ENABLE 0x200U
#define WATCHDOG_COUNTS_PER_US 2U

/* Voltage regulator and chip-level reset, 2.10.6 */
#define CHIP_RESET 0x40064008U
#define CHIP_RESET_HAD_POR 0x100U           /* power-on, or brown-out: it does not tell which */
#define CHIP_RESET_HAD_RUN 0x10000U

/* Single-cycle IO, 2.3.1.7 */
#define SIO_GPIO_IN 0xD0000004U
#define SIO_GPIO_OUT 0xD0000010U
#define SIO_GPIO_OE 0xD0000020U

/* Cortex-M0+, 2.4.8; interrupt numbers: 2.3.2 */
#define NVIC_ISER 0xE000E100U
#define IRQ_IO_BANK0 0x2000U                /* 13 */
#define IRQ_UART0 0x100000U                 /* 20 */

#endif
