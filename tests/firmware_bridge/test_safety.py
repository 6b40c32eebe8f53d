"""The firmware trusts nobody: when its motors turn, and that they stop."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.framing import encode
from firmware_bridge.wire import (
    PROTOCOL,
    Arm,
    ClearFaults,
    Counters,
    Disarm,
    Drive,
    EmergencyStop,
    Fault,
    Hello,
    Message,
    Poll,
    ReadCounters,
    Reset,
    Result,
    State,
    Status,
)
from tests.firmware_bridge.core import DEADMAN_US, TICK_US, Firmware, on_the_bench

RESTING = (0, 0)


def is_moving(firmware: Firmware) -> bool:
    return firmware.power != RESTING


def test_after_a_reset_it_is_disarmed_and_its_motors_are_off(firmware: Firmware) -> None:
    firmware.tick(3)
    assert (firmware.state, firmware.faults, firmware.power) == (State.DISARMED, 0, RESTING)
    assert firmware.drive(300).result == Result.NOT_ARMED
    firmware.tick(3)
    assert firmware.power == RESTING


def test_greeted_and_armed_it_drives(firmware: Firmware) -> None:
    firmware.armed().run(0.3, 300)
    assert is_moving(firmware)
    assert firmware.state is State.ARMED


@pytest.mark.parametrize(
    ("protocol", "session"), [(PROTOCOL - 1, 0), (PROTOCOL + 1, 0), (PROTOCOL, -1), (PROTOCOL, 1)]
)
def test_another_protocol_or_session_does_not_arm(firmware: Firmware, protocol: int, session: int) -> None:
    firmware.tick(100)
    firmware.greet(protocol)
    assert firmware.ask(Arm(firmware.session + session)).result == Result.NO_SESSION
    assert firmware.state is State.DISARMED


@pytest.mark.parametrize("request_", [Arm(0), ClearFaults(0)])
def test_without_a_hello_it_does_not_arm_nor_forget(firmware: Firmware, request_: Message) -> None:
    firmware.ask(EmergencyStop())
    assert firmware.ask(request_).result == Result.NO_SESSION
    assert firmware.faults == Fault.EMERGENCY_STOP


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_frame_of_another_length_than_its_type_has_is_dropped(
    firmware: Firmware, shim: ctypes.CDLL, size: int
) -> None:
    firmware.armed()
    line = ctypes.create_string_buffer(64)
    count = shim.shim_encode(3, 1000, bytes(size), size, line)  # a Drive
    assert firmware.hear(line.raw[:count]) == []
    assert firmware.ask(ReadCounters()).damaged == 1


def test_it_says_what_it_was_built_for(firmware: Firmware) -> None:
    identity = firmware.greet()
    assert (identity.protocol, identity.port, identity.deadman_ms, identity.tick_ms) == (
        PROTOCOL,
        255,
        200,
        5,
    )
    assert (identity.track_um, identity.counts_per_turn) == (150_000, 1440)
    assert (identity.left_radius_um, identity.right_radius_um) == (33_000, 33_000)
    assert (identity.max_v_mmps, identity.max_reverse_mmps, identity.max_w_mradps) == (500, 150, 2500)
    assert (identity.accel_mmps2, identity.decel_mmps2) == (2000, 4000)
    assert (identity.angular_accel_mradps2, identity.angular_decel_mradps2) == (20_000, 40_000)


def test_it_remembers_the_longest_tick(firmware: Firmware) -> None:
    firmware.tick(2)
    firmware.tick(us=12_000)
    firmware.tick(2)
    assert firmware.ask(ReadCounters()).worst_tick_us == 12_000


def test_a_time_that_its_field_cannot_hold_is_the_longest_that_it_can(firmware: Firmware) -> None:
    firmware.tick()
    firmware.tick(us=70_000)
    assert firmware.ask(ReadCounters()).worst_tick_us == 65_535
    firmware.now_us += 66_000
    assert firmware.ask(Poll()).age_us == 65_535


def test_the_time_before_the_first_tick_is_no_long_tick(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, now_us=3_000_000) as firmware:
        firmware.tick()
        assert firmware.ask(ReadCounters()).worst_tick_us == 0


def test_the_status_says_how_it_is(firmware: Firmware) -> None:
    firmware.armed().run(0.3, 300, 500)
    firmware.now_us += 1_234  # since the tick
    left, right = firmware.power
    assert firmware.ask(Poll()) == Status(
        result=Result.OK,
        state=State.ARMED,
        faults=0,
        time_us=firmware.now_us,
        age_us=1_234,
        v_mmps=300,
        w_mradps=500,
        left_counts=firmware.left.counts,
        right_counts=firmware.right.counts,
        left_permille=left,
        right_permille=right,
        battery_mv=7_400,
    )
    assert right > left > 0
    status = firmware.ask(EmergencyStop())
    assert (status.state, status.faults) == (State.FAULT, Fault.EMERGENCY_STOP)


def test_a_recorded_session_does_not_arm_it_again(firmware: Firmware) -> None:
    recorded = [encode(Hello(PROTOCOL), 10)]
    [(_, identity)] = firmware.hear(recorded[0])
    recorded += [encode(Arm(identity.session), 11), encode(Drive(300, 0), 12)]  # type: ignore[union-attr]
    for frame in recorded[1:]:
        [(_, answer)] = firmware.hear(frame)
        assert answer.result == Result.OK  # type: ignore[union-attr]
    firmware.tick(2)
    assert is_moving(firmware)
    for frame in recorded:
        firmware.hear(frame)
    firmware.tick(2)
    assert (firmware.state, firmware.power) == (State.DISARMED, RESTING)


@given(fed=st.lists(st.integers(0, 39), max_size=30), start_us=st.sampled_from([0, 2**32 - 500_000]))
@settings(max_examples=50)
def test_the_deadman_stops_the_motors_in_time_and_never_more_than_a_tick_before(
    shim: ctypes.CDLL, fed: list[int], start_us: int
) -> None:
    """Whatever the rhythm of the commands was, and wherever the clock wraps."""
    with on_the_bench(shim, now_us=start_us) as firmware:
        firmware.armed()
        for pause in fed:
            firmware.drive(300)
            firmware.tick(pause)
            assert firmware.state is State.ARMED
        firmware.drive(300)
        last_us = firmware.now_us
        firmware.tick(2)
        assert is_moving(firmware)
        while firmware.state is State.ARMED:
            firmware.tick()
        assert firmware.now_us - last_us == DEADMAN_US
        assert (firmware.power, firmware.faults) == (RESTING, Fault.DEADMAN)


@pytest.mark.parametrize("offset_us", range(0, TICK_US, 1_000))
def test_a_command_between_ticks_counts_from_when_it_came(firmware: Firmware, offset_us: int) -> None:
    firmware.armed()
    firmware.now_us += offset_us
    firmware.drive(300)
    fed_us = firmware.now_us
    firmware.now_us -= offset_us
    while firmware.state is State.ARMED:
        firmware.tick()
    assert DEADMAN_US - TICK_US < firmware.now_us - fed_us <= DEADMAN_US


FEEDS_NOTHING: dict[str, Callable[[Firmware, int], bytes]] = {
    # given the next number
    "silence": lambda firmware, number: b"",
    "poll": lambda firmware, number: encode(Poll(), number),
    "counters": lambda firmware, number: encode(ReadCounters(), number),
    "noise": lambda firmware, number: random.Random(number).randbytes(40),
    "a wrong checksum": lambda firmware, number: spoiled(encode(Drive(300, 0), number)),
    "the same frame again": lambda firmware, number: encode(Drive(300, 0), 101),
    "an old frame": lambda firmware, number: encode(Drive(300, 0), 90),
    "half a frame": lambda firmware, number: encode(Drive(300, 0), number)[:7] + b"\0",
    "too fast": lambda firmware, number: encode(Drive(501, 0), number),
    "too fast backwards": lambda firmware, number: encode(Drive(-151, 0), number),
    "turning too fast": lambda firmware, number: encode(Drive(0, -2501), number),
    "the smallest number": lambda firmware, number: encode(Drive(-0x8000, -0x8000), number),
    "arming again": lambda firmware, number: encode(Arm(firmware.session), number),
}


def spoiled(frame: bytes) -> bytes:
    """The frame with a bit of its velocity changed."""
    changed = bytearray(frame)
    changed[5] ^= 0x04
    return bytes(changed)


@pytest.mark.parametrize("what", FEEDS_NOTHING)
def test_only_an_accepted_command_feeds_the_deadman(firmware: Firmware, what: str) -> None:
    firmware.armed()
    firmware.ask(Drive(300, 0), sequence=101)
    fed_us = firmware.now_us
    firmware.tick(2)
    assert is_moving(firmware)
    number = 101
    while is_moving(firmware):
        number += 1
        firmware.hear(FEEDS_NOTHING[what](firmware, number))
        firmware.tick()
        assert firmware.now_us - fed_us <= DEADMAN_US


def test_and_one_that_is_accepted_does(firmware: Firmware) -> None:
    firmware.armed()
    for sequence in range(100, 200):
        firmware.ask(Drive(300, 0), sequence)
        firmware.wait(0.15)
    assert firmware.state is State.ARMED


@pytest.mark.parametrize(("v", "w"), [(500, 0), (-150, 0), (0, 2500), (0, -2500)])
def test_velocities_at_the_limits_are_allowed_and_beyond_them_not(firmware: Firmware, v: int, w: int) -> None:
    firmware.armed()
    status = firmware.drive(v, w)
    assert (status.result, status.v_mmps, status.w_mradps) == (Result.OK, v, w)
    more = firmware.drive(v + (v > 0) - (v < 0), w + (w > 0) - (w < 0))
    assert (more.result, more.v_mmps, more.w_mradps) == (Result.OUT_OF_RANGE, v, w)


STOPPERS: dict[str, Message] = {
    "disarm": Disarm(),
    "emergency stop": EmergencyStop(),
    "another computer": Hello(PROTOCOL),
    "another protocol": Hello(PROTOCOL + 1),
}


@pytest.mark.parametrize("what", STOPPERS)
@pytest.mark.parametrize("age", [1, 0, -1, -20_000])
def test_what_stops_it_stops_it_at_once_whatever_its_number(firmware: Firmware, what: str, age: int) -> None:
    firmware.armed().run(0.3, 300)
    assert is_moving(firmware)
    status = firmware.ask(STOPPERS[what], firmware._sequence + age)
    assert firmware.power == RESTING
    assert firmware.state is (State.FAULT if what == "emergency stop" else State.DISARMED)
    if what in ("disarm", "emergency stop"):
        assert (status.v_mmps, status.w_mradps, status.left_permille) == (0, 0, 0)
    firmware.wait(0.3)
    assert firmware.power == RESTING


def test_after_a_stop_it_starts_from_rest(firmware: Firmware) -> None:
    firmware.armed().run(0.5, 500)
    firmware.ask(Disarm())
    assert firmware.ask(Arm(firmware.session)).result == Result.OK
    firmware.tick()
    assert firmware.power == RESTING


def test_the_button_stops_it_and_holds_it(firmware: Firmware) -> None:
    firmware.armed().run(0.3, 300)
    firmware.button = True
    firmware.tick()
    assert (firmware.power, firmware.faults) == (RESTING, Fault.EMERGENCY_STOP)
    assert firmware.ask(ClearFaults(firmware.session)).result == Result.BUTTON_PRESSED
    assert firmware.ask(Arm(firmware.session)).result == Result.BUTTON_PRESSED
    firmware.button = False
    firmware.tick()
    assert firmware.ask(Arm(firmware.session)).result == Result.FAULT_LATCHED
    assert firmware.ask(ClearFaults(firmware.session)).result == Result.OK
    assert firmware.state is State.DISARMED
    assert firmware.ask(Arm(firmware.session)).result == Result.OK


def test_the_button_holds_a_robot_that_is_disarmed_too(firmware: Firmware) -> None:
    firmware.greet()
    firmware.button = True
    firmware.tick()
    firmware.button = False
    firmware.tick()
    assert firmware.ask(Arm(firmware.session)).result == Result.FAULT_LATCHED


@pytest.mark.parametrize("request_", [Drive(100, 0), Disarm(), Poll(), Hello(PROTOCOL)])
def test_nothing_but_clearing_forgets_an_emergency_stop(firmware: Firmware, request_: Message) -> None:
    firmware.armed()
    firmware.ask(EmergencyStop())
    firmware.ask(request_)
    firmware.wait(0.5)
    assert (firmware.state, firmware.faults) == (State.FAULT, Fault.EMERGENCY_STOP)
    assert firmware.ask(Arm(firmware.session)).result in (Result.FAULT_LATCHED, Result.NO_SESSION)
    if not isinstance(request_, Hello):
        assert firmware.drive(100).result == Result.FAULT_LATCHED


def test_a_new_session_forgets_the_deadman_and_nothing_else(firmware: Firmware) -> None:
    firmware.armed().drive(100)
    firmware.wait(0.3)
    assert firmware.faults == Fault.DEADMAN
    firmware.greet()
    assert (firmware.state, firmware.faults) == (State.DISARMED, 0)
    firmware.armed().drive(100)
    firmware.wait(0.3)
    firmware.ask(EmergencyStop())
    firmware.greet()
    assert (firmware.state, firmware.faults) == (State.FAULT, Fault.EMERGENCY_STOP)


@pytest.mark.parametrize("other", [-1, 1])
def test_clearing_needs_the_session(firmware: Firmware, other: int) -> None:
    firmware.tick(100)
    firmware.armed().drive(100)
    firmware.wait(0.3)
    assert firmware.ask(ClearFaults(firmware.session + other)).result == Result.NO_SESSION
    assert firmware.state is State.FAULT
    assert firmware.ask(ClearFaults(firmware.session)).result == Result.OK


@pytest.mark.parametrize("request_", [Arm, ClearFaults])
def test_a_repeated_request_for_the_session_does_nothing(firmware: Firmware, request_: type[Message]) -> None:
    firmware.greet()
    firmware.ask(request_(firmware.session), 300)
    firmware.ask(EmergencyStop() if request_ is ClearFaults else Disarm(), 301)
    before = firmware.state
    assert firmware.ask(request_(firmware.session), 300).result == Result.OLD_SEQUENCE
    assert firmware.state is before


@pytest.mark.parametrize("sequence", [0, 40_000])
def test_without_a_session_no_number_is_looked_at(firmware: Firmware, sequence: int) -> None:
    assert firmware.ask(Poll(), sequence).result == Result.OK
    firmware.greet(PROTOCOL + 1)
    assert firmware.ask(Poll(), sequence).result == Result.OK


def test_what_was_sent_before_a_stop_comes_too_late(firmware: Firmware) -> None:
    firmware.armed()
    firmware.ask(Disarm(), 200)
    assert firmware.ask(Arm(firmware.session), 199).result == Result.OLD_SEQUENCE
    assert firmware.state is State.DISARMED


def test_a_request_that_comes_too_late_does_not_set_the_number_back(firmware: Firmware) -> None:
    firmware.armed()
    firmware.ask(Drive(300, 0), 500)
    assert firmware.ask(Drive(300, 0), 400).result == Result.OLD_SEQUENCE
    assert firmware.ask(Drive(300, 0), 450).result == Result.OLD_SEQUENCE
    assert firmware.ask(Drive(300, 0), 501).result == Result.OK


@pytest.mark.parametrize("request_", [Disarm(), EmergencyStop(), ReadCounters(), Poll()])
def test_every_request_takes_its_number(firmware: Firmware, request_: Message) -> None:
    firmware.greet()
    firmware.ask(request_, 500)
    assert firmware.ask(Poll(), 500).result == Result.OLD_SEQUENCE
    assert firmware.ask(Poll(), 501).result == Result.OK


def test_clearing_disarms_what_drives(firmware: Firmware) -> None:
    firmware.armed().run(0.2, 300)
    firmware.ask(ClearFaults(firmware.session))
    assert (firmware.state, firmware.power) == (State.DISARMED, RESTING)


@pytest.mark.parametrize(
    ("ahead", "is_new"), [(1, True), (32_767, True), (0, False), (32_768, False), (-1, False)]
)
def test_numbers_are_newer_by_less_than_half_of_all(firmware: Firmware, ahead: int, is_new: bool) -> None:
    firmware.ask(Hello(PROTOCOL), 40_000)
    result = firmware.ask(Poll(), (40_000 + ahead) % 65_536).result
    assert result == (Result.OK if is_new else Result.OLD_SEQUENCE)


def test_a_late_tick_is_a_fault_of_its_own(firmware: Firmware) -> None:
    firmware.armed().run(0.2, 300)
    firmware.tick(us=49_000)
    assert firmware.state is State.ARMED
    firmware.tick(us=50_000)
    assert (firmware.faults, firmware.power) == (Fault.TICK_OVERRUN, RESTING)


def test_a_tick_that_is_later_still_is_one_too(firmware: Firmware) -> None:
    firmware.armed().run(0.2, 300)
    firmware.tick(us=63_000)
    assert (firmware.faults, firmware.power) == (Fault.TICK_OVERRUN, RESTING)


def test_a_pause_before_arming_is_none(firmware: Firmware) -> None:
    firmware.tick(us=3_000_000)
    firmware.armed()
    assert firmware.state is State.ARMED


def test_nor_is_the_time_before_the_first_tick(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, now_us=3_000_000) as firmware:
        firmware.greet()
        assert firmware.ask(Arm(firmware.session)).result == Result.OK
        firmware.tick()
        assert firmware.state is State.ARMED


@pytest.mark.parametrize("v", [300, 501])
def test_why_a_robot_does_not_drive_is_its_state_whatever_the_velocity(firmware: Firmware, v: int) -> None:
    firmware.greet()
    assert firmware.drive(v).result == Result.NOT_ARMED
    firmware.ask(EmergencyStop())
    assert firmware.drive(v).result == Result.FAULT_LATCHED


SOUND = {"track_um": 150_000, "radius_um": 33_000, "max_w_mradps": 2_500, "tick_ms": 5, "full_speed": 700}


@pytest.mark.parametrize(
    "change",
    [
        {"track_um": 0},
        {"track_um": 1_720_000},  # its rim's speed at max_w is beyond 32 bits
        {"max_w_mradps": -1},
        {"radius_um": 0},
        {"radius_um": 342_000},
        {"tick_ms": 0},
        {"tick_ms": 201},
        {"full_speed": 0},
    ],
)
def test_built_for_a_robot_that_it_cannot_calculate_with_it_never_arms(
    firmware: Firmware, change: dict[str, int]
) -> None:
    firmware.rebuild(**SOUND | change)
    firmware.greet()
    assert (firmware.state, firmware.faults) == (State.FAULT, Fault.MISBUILT)
    assert firmware.ask(ClearFaults(firmware.session)).result == Result.OK
    assert firmware.ask(Arm(firmware.session)).result == Result.FAULT_LATCHED
    firmware.rebuild(**SOUND)
    firmware.armed()


def test_a_reset_forgets_all(firmware: Firmware) -> None:
    firmware.tick(us=70_000)
    firmware.armed().run(0.3, 300)
    firmware.drive(501)
    firmware.hear(b"\x05half")  # a frame that has begun
    firmware.rebuild(**SOUND)
    assert (firmware.state, firmware.faults, firmware.power) == (State.DISARMED, 0, RESTING)
    assert firmware.ask(Arm(firmware.session)).result == Result.NO_SESSION
    counters = firmware.ask(ReadCounters())
    assert counters == Counters(
        2, damaged=0, refused=1, clamped=0, deadman_trips=0, lost_bytes=0, worst_tick_us=0
    )


def test_every_session_has_another_name(firmware: Firmware) -> None:
    names = []
    for _ in range(50):
        names.append(firmware.greet().session)
        firmware.tick()
    assert len(set(names)) == 50


def test_sessions_that_began_at_other_times_after_a_reset_have_other_names(shim: ctypes.CDLL) -> None:
    """Within half a second, that is, to 16 us: so that what was recorded before the reset does not arm it after it."""
    times_us = [*range(0, 520_000, 1_024), *range(16, 1_024, 16)]
    names = set()
    for now_us in times_us:
        with on_the_bench(shim, now_us=now_us) as firmware:
            names.add(firmware.greet().session)
    assert len(names) == len(times_us)


@pytest.mark.parametrize("now_us", [0, 16, 524_272])
def test_two_sessions_of_the_same_moment_have_other_names(shim: ctypes.CDLL, now_us: int) -> None:
    with on_the_bench(shim, now_us=now_us) as firmware:
        assert firmware.greet().session != firmware.greet().session


def test_it_says_why_it_started(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, reset=int(Reset.BROWN_OUT)) as firmware:
        assert firmware.greet().reset == Reset.BROWN_OUT


def test_it_counts_what_happens(firmware: Firmware) -> None:
    firmware.armed()
    firmware.hear(b"\x05noise\0\x01\0")
    firmware.drive(501)
    firmware.drive(500, 2500)
    firmware.wait(0.25)
    counters = firmware.ask(ReadCounters())
    assert counters == Counters(
        frames=5, damaged=2, refused=1, clamped=1, deadman_trips=1, lost_bytes=0, worst_tick_us=TICK_US
    )


def test_only_what_is_slowed_down_counts_as_clamped(firmware: Firmware) -> None:
    firmware.armed()
    for v, w in [(300, 0), (300, 0), (501, 0), (500, 2_500), (0, 0)]:
        firmware.drive(v, w)
    assert firmware.ask(ReadCounters()).clamped == 1


REQUESTS = st.one_of(
    st.builds(Drive, st.integers(-600, 600), st.integers(-3000, 3000)),
    st.sampled_from([Disarm(), EmergencyStop(), Poll(), ReadCounters(), Hello(PROTOCOL), Hello(1)]),
    st.sampled_from(["arm", "clear", "button", "release"]),
    st.binary(max_size=20),
    st.integers(1, 30),
)


@given(story=st.lists(REQUESTS, max_size=60))
@settings(max_examples=200)
def test_in_any_story_the_motors_turn_only_when_they_may(shim: ctypes.CDLL, story: list[object]) -> None:
    """Armed, fed within the deadman, and no button: nothing else turns a motor."""
    with on_the_bench(shim) as firmware:
        firmware.greet()
        fed_us = -1_000_000
        for step in story:
            if isinstance(step, int):
                for _ in range(step):
                    firmware.tick()
                    if is_moving(firmware):
                        assert firmware.state is State.ARMED
                        assert firmware.faults == 0
                        assert not firmware.button
                        assert firmware.now_us - fed_us < DEADMAN_US
            elif isinstance(step, bytes):
                firmware.hear(step + b"\0")
            elif step == "arm":
                firmware.ask(Arm(firmware.session))
            elif step == "clear":
                firmware.ask(ClearFaults(firmware.session))
            elif step in ("button", "release"):
                firmware.button = step == "button"
            elif isinstance(step, Hello):
                firmware.greet(step.protocol)
            else:
                answer = firmware.ask(step)  # type: ignore[arg-type]
                if isinstance(step, Drive) and answer.result == Result.OK:
                    fed_us = firmware.now_us
