/* A Raspberry Pi Pico on a bench, without the hardware: the RP2040's own program in rp2040js (https://github.com/wokwi/rp2040js), its line,
 * two motors with encoders, a button and a battery.  Wired as firmware/ports/rp2040/main.c says.  Time is that of the simulated
 * processor: it runs when it is told to, and the same story gives the same end.  rp2040_bench.py talks to it:
 *
 *   node rp2040_bench.mjs <program.uf2> <folder of rp2040js>
 *
 * takes a line of JSON for each call, [name, argument, ...], and answers with a line.
 *
 * rp2040js has no boot ROM.  boot() does what the ROM does with a program in the flash: RP2040 datasheet, 2.8.1. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [, , PROGRAM, LIBRARY] = process.argv;
const { RP2040 } = createRequire(import.meta.url)(LIBRARY);

const SLICE_US = 20; // between two looks at the motors
const BYTE_US = 87; // on the line, at 115200 baud
const FIFO_BYTES = 32; // of the UART, for each direction
const LAG_S = 0.06; // of a motor's speed behind its power
const FULL_SPEED_MMPS = 700; // as in robot.c, and so is the dead zone
const DEAD_ZONE_PERMILLE = 60;
const MM_PER_COUNT = (6.283185307 * 33) / 1440;
const BATTERY_ADC = 1611; // 7.4 V behind the divider
const UNTOUCHED = 0xa5a5a5a5; // what a word of RAM holds that the program has not written to yet

const PIN = { leftA: 2, leftB: 3, rightA: 4, rightB: 5, leftPower: 6, rightPower: 7, button: 13 };
const DIRECTIONS = { left: [8, 9], right: [10, 11] }; // forward, backward
const STANDBY = 12;
const FUNCTION_PWM = 4;
const SLICE = 3; // of the PWM, behind GP6 and GP7

const UART_OVERRUN = 0x800; // in its data register
const UART_TX_FULL = 0x20; // in its flag register, for which rp2040js sends too fast
const FLASH = 0x10000000;
const RAM = 0x20000000;
const BOOT2_RUNS_AT = 0x20041f00;
const BOOT2_BYTES = 252;
const ROSC_HZ = 6.5e6; // what the processor runs on until the program starts the crystal
const HAD_POR = 0x100;
const HAD_RUN = 0x10000;
const ALL_IN_RESET = 0x1ffffff;
const IN_RESET_BY = { 0x40014: 5, 0x4001c: 8, 0x40028: 12, 0x40034: 22, 0x4004c: 0, 0x40050: 14, 0x40054: 21 }; // bits of RESETS
const RESETS = 0x4000c;
const TIMER = 0x40054;
const WATCHDOG = 0x40058;
const WATCHDOG_TIMER = 1; // its reason
const CHIP_RESET = 0x40064;

const image = new Uint8Array(16 << 20).fill(0xff);
for (let file = readFileSync(PROGRAM), at = 0; at < file.length; at += 512) {
  const block = file.subarray(at, at + 512);
  image.set(block.subarray(32, 32 + block.readUInt32LE(16)), block.readUInt32LE(12) - FLASH);
}

const newMotor = () => ({ speed: 0, turned: 0, counts: 0, a: false, encoder: 1, blocked: false, power: 0, to: null });
const motors = { left: newMotor(), right: newMotor() };
const complaints = new Set(); // about what no program should do
let mcu;
let beforeUs = 0; // time before the last reset
let resetDue = false;
let buttonPressed = false;
let sent = []; // by the program: [byte, when it has come]
let lineFreeUs = 0; // when the last of them has
let waiting = []; // for the program
let nextByteUs = 0;
let heardUs = 0;
let neutralUs = 0; // since when both motors have had no power; null while one has
let poweredUs = 0; // when a motor last got power after neither had any
let baud = 0;

const nowUs = () => beforeUs + mcu.clock.nanos / 1000;

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  }
  return crc >>> 0;
}

/* A reset: 'power on', which a brown-out is too, 'run' (the pin), 'watchdog', or 'boot loader', which uses the watchdog for it.  The
 * last two leave what RAM and the watchdog hold. */
function boot(why, old) {
  if (old) beforeUs += old.clock.nanos / 1000;
  mcu = new RP2040();
  const log = (level) => (part, text) => complaints.add(`${level} ${part}: ${text}`);
  mcu.logger = { debug() {}, info() {}, warn: log('warning'), error: log('error') };
  mcu.flash.set(image);
  new Uint32Array(mcu.sram.buffer).fill(UNTOUCHED);
  mcu.clkSys = ROSC_HZ;

  const resets = mcu.peripherals[RESETS];
  resets.reset = ALL_IN_RESET;
  Object.defineProperty(resets, 'reset_done', { get: () => ALL_IN_RESET & ~resets.reset });
  const find = mcu.findPeripheral.bind(mcu);
  mcu.findPeripheral = (address) => {
    const block = (address >>> 14) << 2;
    if (block in IN_RESET_BY && (resets.reset >> IN_RESET_BY[block]) & 1) complaints.add(`0x${address.toString(16)} is in reset`);
    return find(address);
  };
  const read = (offset) => (offset === 8 ? (why === 'run' ? HAD_RUN : HAD_POR) : 0);
  mcu.peripherals[CHIP_RESET] = { readUint32: read, writeUint32Atomic() {} };
  const watchdog = mcu.peripherals[WATCHDOG];
  watchdog.tickEnable = false; // the program starts its clock
  watchdog.onWatchdogTrigger = () => {
    watchdog.timer.enable = false; // rp2040js would trigger it again, without end
    resetDue = true;
  };
  if (why === 'watchdog' || why === 'boot loader') {
    mcu.sram.set(old.sram);
    watchdog.reason = old.peripherals[WATCHDOG].reason || WATCHDOG_TIMER;
    watchdog.scratchData.set(old.peripherals[WATCHDOG].scratchData);
    if (why === 'boot loader') watchdog.scratchData.fill(0);
  }

  const uart = mcu.uart[0];
  const flags = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(uart), 'flags').get;
  const isFull = () => lineFreeUs - nowUs() > FIFO_BYTES * BYTE_US;
  Object.defineProperty(uart, 'flags', { get: () => flags.call(uart) | (isFull() ? UART_TX_FULL : 0) });
  uart.onBaudRateChange = (rate) => { baud = rate; };
  uart.onByte = (byte) => {
    lineFreeUs = Math.max(nowUs(), lineFreeUs) + BYTE_US;
    sent.push([byte, lineFreeUs]);
  };
  mcu.adc.channelValues[0] = BATTERY_ADC;
  mcu.gpio[PIN.button].setInputValue(buttonPressed);
  for (const [motor, a] of [[motors.left, PIN.leftA], [motors.right, PIN.rightA]]) mcu.gpio[a].setInputValue(motor.a);

  if (crc32(image.subarray(0, BOOT2_BYTES)) !== new DataView(image.buffer).getUint32(BOOT2_BYTES, true)) {
    complaints.add('the boot ROM does not accept the second stage of the boot loader');
  }
  mcu.sram.set(image.subarray(0, BOOT2_BYTES + 4), BOOT2_RUNS_AT - RAM);
  mcu.core.SP = BOOT2_RUNS_AT;
  mcu.core.LR = 0;
  mcu.core.PC = BOOT2_RUNS_AT;
  resetDue = false;
}

const isHigh = (pin) => mcu.gpio[pin].value === 1;

function powerOf(side) {
  const { cc, top, csr } = mcu.pwm.channels[SLICE];
  const isLeft = side === 'left';
  const pin = mcu.gpio[isLeft ? PIN.leftPower : PIN.rightPower];
  const runs = csr & 1 && pin.functionSelect === FUNCTION_PWM;
  const duty = runs ? Math.min(1, (isLeft ? cc & 0xffff : cc >>> 16) / (top + 1)) : 0;
  const [forward, backward] = DIRECTIONS[side].map(isHigh);
  return isHigh(STANDBY) ? (Number(forward) - Number(backward)) * Math.round(1000 * duty) : 0;
}

/* One count is one edge of phase A, and B is the other than A after it when the wheel turns forward. */
function stepEncoder(motor, a, b, forward) {
  motor.a = !motor.a;
  const level = forward === motor.encoder > 0 ? !motor.a : motor.a;
  mcu.gpio[b].setInputValue(motor.encoder === 2 || level);
  mcu.gpio[a].setInputValue(motor.a);
}

function turn(motor, a, b) {
  const seconds = SLICE_US * 1e-6;
  const beyond = Math.abs(motor.power) - DEAD_ZONE_PERMILLE;
  const free = (FULL_SPEED_MMPS * Math.sign(motor.power) * beyond) / 1000;
  const wanted = !motor.blocked && beyond > 0 ? free : 0;
  motor.speed += ((wanted - motor.speed) * seconds) / LAG_S;
  motor.turned += motor.speed * seconds;
  const counts = motor.to ?? Math.trunc(motor.turned / MM_PER_COUNT);
  if (counts !== motor.counts) {
    if (motor.encoder !== 0) stepEncoder(motor, a, b, counts > motor.counts);
    motor.counts += Math.sign(counts - motor.counts);
  }
}

function lookAtPower() {
  motors.left.power = powerOf('left');
  motors.right.power = powerOf('right');
  if (motors.left.power || motors.right.power) {
    if (neutralUs !== null) poweredUs = nowUs();
    neutralUs = null;
  } else {
    neutralUs ??= nowUs();
  }
}

function runSlice() {
  const { core, clock } = mcu;
  for (const end = clock.nanos + 1000 * SLICE_US; clock.nanos < end && !resetDue; ) {
    clock.tick((core.executeInstruction() * 1e9) / mcu.clkSys);
  }
  if (resetDue) boot('watchdog', mcu);
  if (waiting.length && nowUs() >= nextByteUs) {
    mcu.uart[0].feedByte(waiting.shift());
    heardUs = nowUs();
    nextByteUs = heardUs + BYTE_US;
  }
  lookAtPower();
  turn(motors.left, PIN.leftA, PIN.leftB);
  turn(motors.right, PIN.rightA, PIN.rightB);
}

/* The longest stretch of RAM that neither variables nor stack have touched. */
function unusedRam() {
  const words = new Uint32Array(mcu.sram.buffer);
  let longest = 0;
  let length = 0;
  for (let at = 0; at < words.length; at++) {
    length = words[at] === UNTOUCHED ? length + 4 : 0;
    if (length > longest) longest = length;
  }
  return longest;
}

const calls = {
  run(us) {
    for (const until = nowUs() + us; nowUs() < until; ) runSlice();
    return Math.floor(nowUs());
  },
  say(hex) {
    waiting.push(...Buffer.from(hex, 'hex'));
  },
  /* The UART has no room for a byte, and marks the next one. */
  overrun() {
    mcu.uart[0].feedByte(UART_OVERRUN);
  },
  hear() {
    const come = sent.filter(([, us]) => us <= nowUs());
    sent = sent.slice(come.length);
    return Buffer.from(come.map(([byte]) => byte)).toString('hex');
  },
  state() {
    const round = (us) => (us === null ? null : Math.floor(us));
    return {
      now_us: Math.floor(nowUs()),
      waiting: waiting.length,
      heard_us: round(heardUs),
      neutral_us: round(neutralUs),
      powered_us: round(poweredUs),
      power: [motors.left.power, motors.right.power],
      speed_mmps: [motors.left.speed, motors.right.speed],
      unused_ram: unusedRam(),
      enabled: isHigh(STANDBY),
    };
  },
  high: () => mcu.gpio.map((_, pin) => pin).filter(isHigh),
  baud: () => baud,
  complaints: () => [...complaints],
  wheel(right, encoder, blocked) {
    Object.assign(right ? motors.right : motors.left, { encoder, blocked });
  },
  follow(left, right) {
    motors.left.to = left;
    motors.right.to = right;
  },
  button(pressed) {
    buttonPressed = pressed;
    mcu.gpio[PIN.button].setInputValue(pressed);
  },
  reset(why) {
    boot(why, mcu);
  },
  stopCrystal() {
    const stands = Math.floor(mcu.clock.nanos / 1000);
    mcu.peripherals[TIMER].readUint32 = () => stands;
    mcu.peripherals[WATCHDOG].timer.enable = false;
  },
  /* In a jump to itself, interrupts off. */
  hang() {
    const at = new Uint16Array(image.buffer, 0, 1 << 15).indexOf(0xe7fe);
    mcu.core.PC = FLASH + 2 * at;
    mcu.core.PM = true;
    return at >= 0;
  },
  /* A HardFault, as from an instruction that does not exist.  Returns whether the program resets the processor within so many us. */
  fault(us) {
    const before = mcu;
    mcu.core.exceptionEntry(3);
    calls.run(us);
    return mcu !== before;
  },
};

boot('power on');
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...given] = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(calls[name](...given) ?? null)}\n`);
}
