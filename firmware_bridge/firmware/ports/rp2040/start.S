/* What happens on an RP2040 before main(): the second stage of its boot loader, the vectors, and the start of the program. */

    .syntax unified
    .cpu cortex-m0plus
    .thumb

/* The boot ROM copies the first 256 bytes of the flash to 0x20041F00 and runs them there, if the last four are the CRC-32 of the
 * others: datasheet 2.8.1, "Processor Controlled Boot Sequence".  They let the flash memory appear at 0x10000000.  Command 03h,
 * at half the clock (24 MHz), does it on every flash memory; the cache of 16 kB, larger than this program, hides that it is slow. */
    .equ SSI, 0x18000000                /* 4.10.13 */
    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_SSIENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ SSI_SPI_CTRLR0, 0xF4
    .equ READ_32_BITS, 0x001F0300       /* CTRLR0: frames of 32 bits; send command and address, then receive; one data line */
    .equ COMMAND_03H, 0x03000218        /* SPI_CTRLR0: command 03h of 8 bits, address of 24 bits, both on one line */
    .equ VTOR, 0xE000ED08               /* 2.4.8 */

    .section .boot2, "ax"
    .global boot2
    .thumb_func
boot2:
    ldr r3, =SSI
    movs r1, #0
    str r1, [r3, #SSI_SSIENR]           /* its settings change only while it is off */
    str r1, [r3, #SSI_CTRLR1]           /* one frame at a time */
    movs r1, #2
    str r1, [r3, #SSI_BAUDR]
    ldr r1, =READ_32_BITS
    str r1, [r3, #SSI_CTRLR0]
    ldr r1, =COMMAND_03H
    movs r2, #SSI_SPI_CTRLR0
    str r1, [r3, r2]
    movs r1, #1
    str r1, [r3, #SSI_SSIENR]
    ldr r0, =vectors
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .ltorg
    .balign 4

/* Of the 252 bytes before it.  uf2.py says what it has to be, if it is not. */
    .section .boot2_checksum, "a"
    .word 0x5FFAFCB7

    .section .vectors, "a"
    .global vectors
vectors:
    .word stack_top
    .word start
    .rept 14                            /* exceptions of the processor: none is expected */
    .word on_fault
    .endr
    .rept 13
    .word on_fault
    .endr
    .word on_pin_edge                   /* 13, IO_BANK0 */
    .rept 6
    .word on_fault
    .endr
    .word on_received                   /* 20, UART0 */
    .rept 5
    .word on_fault
    .endr

    .section .text.start, "ax"
    .global start
    .thumb_func
start:
    ldr r0, =data_start
    ldr r1, =data_end
    ldr r2, =data_in_flash
    b 2f
1:  ldmia r2!, {r3}
    stmia r0!, {r3}
2:  cmp r0, r1
    blo 1b
    ldr r1, =bss_end                    /* .bss follows .data */
    movs r3, #0
    b 4f
3:  stmia r0!, {r3}
4:  cmp r0, r1
    blo 3b
    bl main
5:  b 5b
    .ltorg
