"""The bridge, over real sockets and terminals, to a peer that was written from the public definitions."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="pip install 'edge-wm[mavlink]'")

from pymavlink.dialects.v20 import common as mavlink

from firmware_bridge import NEUTRAL, BridgeError, Command, mavlink_vehicle
from firmware_bridge.autopilots import PX4 as PX4_TABLE
from firmware_bridge.chassis import Chassis
from firmware_bridge.mavlink_bridge import HEARTBEAT_LOST_S, LINK_LOST_S, MavlinkBridge
from firmware_bridge.mavlink_link import STUCK_S, TcpPort
from firmware_bridge.simulator.avr_bench import CHASSIS
from tests.firmware_bridge.rover_peer import (
    FORCE,
    GUIDED,
    HOLD,
    MANUAL,
    OFFBOARD,
    PX4,
    PX4_HOLD,
    QUADROTOR,
    Nowhere,
    Pty,
    RoverPeer,
    Stream,
    Tcp,
    Udp,
)

TICK_S = CHASSIS.tick_s
AHEAD = Command(0.3, 0.5)
FIXED_S = 3.0
"""After which ArduPilot stops without setpoints, if it has no GUID_TIMEOUT."""


class World:
    """Time that passes when somebody looks at the clock, and what happens in it.

    The vehicles live in the same thread as the bridge: while it waits, it looks at the clock, and they take a step.
    """

    def __init__(self, *peers: RoverPeer, look_s: float = 0.005) -> None:
        self.peers, self.look_s = list(peers), look_s
        self.now = 1000.0
        self.events: list[tuple[float, Callable[[], object]]] = []

    def clock(self) -> float:
        self.now += self.look_s
        self._step()
        return self.now

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        self.events.append((self.now + seconds, event))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.01
            self._step()

    def _step(self) -> None:
        for peer in self.peers:
            peer.step(self.now)
        due = [event for at, event in self.events if at <= self.now]
        self.events = [(at, event) for at, event in self.events if at > self.now]
        for event in due:
            event()


class RealWorld(World):
    """For wires that take their time: it passes there too, five times as fast."""

    def clock(self) -> float:
        self.now = fast_clock()
        self._step()
        return self.now

    def pass_time(self, seconds: float) -> None:
        end = self.clock() + seconds
        while self.clock() < end:
            time.sleep(0.001)


SPEED_UP = 5.0


def fast_clock() -> float:
    return SPEED_UP * time.monotonic()


@pytest.fixture(autouse=True)
def no_real_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.0)  # a datagram to this machine is there at once


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    """What is to be closed in the end."""
    found: list[Any] = []
    yield found
    for item in found:
        item.close()


Made = Callable[..., tuple[World, RoverPeer, MavlinkBridge]]


@pytest.fixture
def made(opened: list[Any]) -> Made:
    """A rover and the bridge to it, not connected yet."""

    def make(
        chassis: Chassis = CHASSIS, *, system: int = 255, vehicle: int | None = None, **rover: Any
    ) -> tuple[World, RoverPeer, MavlinkBridge]:
        peer = RoverPeer(Udp(), **rover)
        world = World(peer)
        bridge = MavlinkBridge(peer.wire.device, chassis, system=system, vehicle=vehicle, clock=world.clock)
        opened.extend([bridge, peer])
        return world, peer, bridge

    return make


@pytest.fixture
def driving(made: Made) -> tuple[World, RoverPeer, MavlinkBridge]:
    return under_way(*made())


def under_way(world: World, peer: RoverPeer, bridge: MavlinkBridge) -> tuple[World, RoverPeer, MavlinkBridge]:
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 1.0)
    assert peer.speed == pytest.approx(AHEAD.v)
    return world, peer, bridge


def drive(world: World, bridge: MavlinkBridge, seconds: float, command: Command = AHEAD) -> None:
    began = world.now
    for tick in range(1, round(seconds / TICK_S) + 1):
        bridge.apply(command)
        world.pass_time(began + tick * TICK_S - world.now)


def until_it_ends(world: World, bridge: MavlinkBridge, seconds: float = 20.0) -> tuple[str, float]:
    """Drive on; what the error says, and after how long."""
    began = world.now
    with pytest.raises(BridgeError) as caught:
        drive(world, bridge, seconds)
    assert "\n" not in str(caught.value)
    return str(caught.value), world.now - began


# ------------------------------------------------------------------------------------------------------------ driving


def test_a_rover_of_ardupilot_drives_and_tells_of_itself(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    assert (peer.mode, peer.armed, peer.forced) == (GUIDED, True, False)
    assert (peer.speed, peer.turning) == pytest.approx((0.3, 0.5))
    before = bridge.telemetry()
    drive(world, bridge, 1.0)
    after = bridge.telemetry()
    assert (after.armed, after.applied, after.faults, after.battery_v) == (True, AHEAD, (), 7.4)
    assert world.now - 0.5 < after.time <= world.now
    assert before.wheels_m is not None
    assert after.wheels_m is not None
    left, right = (now - then for now, then in zip(after.wheels_m, before.wheels_m, strict=True))
    assert (left, right) == pytest.approx((0.3 - 0.5 * 0.075, 0.3 + 0.5 * 0.075), rel=0.3)
    assert left < right
    bridge.apply(Command(-0.1, -0.2))
    world.pass_time(0.02)
    assert (peer.speed, peer.turning) == pytest.approx((-0.1, -0.2))


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ((4, 5, 7, 255), "4.5.7 official"),
        ((4, 7, 0, 0), "4.7.0 dev"),
        ((1, 16, 1, 192), "1.16.1 rc"),
        ((4, 6, 0, 7), "4.6.0 7"),
        (None, "that does not say its version"),
    ],
)
def test_it_says_which_firmware_it_has(
    made: Made, version: tuple[int, int, int, int] | None, said: str
) -> None:
    _, peer, bridge = made()
    peer.version = version
    with pytest.raises(BridgeError, match="not connected"):
        bridge.firmware()
    bridge.connect()
    assert bridge.firmware() == f"ArduPilot {said}"


@pytest.mark.parametrize("w", [0.0, 0.5, -0.6])
@pytest.mark.parametrize("v", [0.0, 0.3])
def test_a_rover_of_px4_drives_and_turns_as_fast_as_asked(made: Made, v: float, w: float) -> None:
    world, peer, bridge = made(autopilot=PX4)
    bridge.connect()
    bridge.arm()
    assert (peer.mode, peer.armed) == (OFFBOARD, True)
    command = Command(v, w)
    assert bridge.apply(command) == pytest.approx(command)
    drive(world, bridge, 1.0, command)
    heading, began = peer.heading, world.now
    drive(world, bridge, 2.0, command)
    assert peer.speed == pytest.approx(v, abs=1e-6)
    assert (heading - peer.heading) / (world.now - began) == pytest.approx(w, abs=0.03)


def test_what_px4_cannot_be_asked_for_is_not_said_to_be_applied(made: Made) -> None:
    world, peer, bridge = made(autopilot=PX4)
    bridge.connect()
    bridge.arm()
    assert bridge.apply(Command(-0.15, 0.0)) == NEUTRAL  # backwards
    drive(world, bridge, 0.5, Command(-0.15, 0.0))
    assert peer.speed == pytest.approx(0.0, abs=1e-6)
    sharp = bridge.apply(Command(0.5, 2.5))  # beyond RD_TRANS_TRN_DRV it would stand and turn
    assert sharp.v == 0.5
    assert 0.5 < sharp.w < 1.2
    drive(world, bridge, 1.0, Command(0.5, 2.5))
    assert peer.speed == pytest.approx(0.5)


def test_rest_does_not_turn_a_rover_of_px4_to_the_north(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    world, peer, bridge = made(autopilot=PX4)
    bridge.connect()
    bridge.arm()
    before = peer.heading
    drive(world, bridge, 2.0, NEUTRAL)
    assert peer.heading == pytest.approx(before, abs=1e-3)
    monkeypatch.setattr("firmware_bridge.autopilots.DIRECTION_ONLY", 0.0)  # a velocity of nought
    drive(world, bridge, 2.0, NEUTRAL)
    assert abs(peer.heading) < 0.1 < abs(before)


def test_velocities_are_kept_within_the_robots_limits(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    assert bridge.apply(Command(9.0, 9.0)) == Command(0.5, 2.5)
    assert bridge.apply(Command(-9.0, -1e306)) == Command(-0.15, -2.5)
    world.pass_time(0.02)
    assert (peer.speed, peer.turning) == pytest.approx((-0.15, -2.5))


@pytest.mark.parametrize("command", [Command(math.nan, 0.0), Command(0.0, math.inf)])
def test_a_velocity_that_is_not_finite_is_not_sent(
    driving: tuple[World, RoverPeer, MavlinkBridge], command: Command
) -> None:
    world, peer, bridge = driving
    world.pass_time(0.05)
    sent, beats = len(peer.setpoints), len(peer.beats)
    with pytest.raises(BridgeError, match="not finite"):
        bridge.apply(command)
    world.pass_time(0.05)
    assert (len(peer.setpoints), len(peer.beats)) == (sent, beats)
    bridge.apply(AHEAD)
    world.pass_time(0.05)
    assert len(peer.setpoints) == sent + 1  # the same count sees what is sent


def test_it_drives_over_a_terminal(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    drive_over(RealWorld(RoverPeer(Pty())), opened)


def test_it_drives_over_tcp(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    drive_over(RealWorld(RoverPeer(Tcp())), opened)


def test_it_listens_for_a_rover_that_speaks_first(opened: list[Any]) -> None:
    port = free_port()
    peer = RoverPeer(Udp(("127.0.0.1", port)))
    peer.wire.device = f"udpin:127.0.0.1:{port}"
    drive_over(World(peer), opened)


def drive_over(world: World, opened: list[Any]) -> None:
    peer = world.peers[0]
    bridge = MavlinkBridge(peer.wire.device, CHASSIS, clock=world.clock)
    opened.extend([bridge, peer])
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 1.0)
    wait_until(lambda: world.pass_time(0.0) or peer.speed == pytest.approx(0.3))
    bridge.close()
    wait_until(lambda: world.pass_time(0.02) or not peer.armed)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_rover_that_speaks_mavlink_1_is_driven(made: Made) -> None:
    world, peer, bridge = made()
    peer.old = True
    under_way(world, peer, bridge)
    assert bridge.telemetry().wheels_m is None
    assert bridge.telemetry().battery_v == 7.4


# ----------------------------------------------------------------------------------------------- what is not a rover


def test_a_copter_is_never_driven(made: Made) -> None:
    world, peer, bridge = made(kind=QUADROTOR)
    with pytest.raises(
        BridgeError, match="system 1 is a MAV_TYPE_QUADROTOR with MAV_AUTOPILOT_ARDUPILOTMEGA: only ground"
    ):
        bridge.connect()
    for call in (bridge.arm, lambda: bridge.apply(AHEAD)):
        with pytest.raises(BridgeError, match="not connected"):
            call()
    bridge.stop()
    world.pass_time(0.1)
    assert not peer.orders
    assert not peer.setpoints


def test_another_autopilot_is_refused(made: Made) -> None:
    _, _, bridge = made(autopilot=mavlink.MAV_AUTOPILOT_GENERIC)
    with pytest.raises(BridgeError, match="is a MAV_TYPE_GROUND_ROVER with MAV_AUTOPILOT_GENERIC: only"):
        bridge.connect()


def test_of_several_vehicles_one_must_be_named(opened: list[Any]) -> None:
    rover = RoverPeer(Udp())
    copter = RoverPeer(Nowhere(rover.wire), kind=QUADROTOR, system=2)
    world = World(rover, copter)
    bridge = MavlinkBridge(rover.wire.device, CHASSIS, clock=world.clock)
    with pytest.raises(BridgeError, match=r"several vehicles are on it: say which of \[1, 2\] by vehicle="):
        bridge.connect()
    bridge = MavlinkBridge(rover.wire.device, CHASSIS, vehicle=2, clock=world.clock)
    with pytest.raises(BridgeError, match="QUADROTOR"):
        bridge.connect()
    bridge = MavlinkBridge(rover.wire.device, CHASSIS, vehicle=7, clock=world.clock)
    with pytest.raises(BridgeError, match=r"no heartbeat of system 7 came, but of \[1, 2\]"):
        bridge.connect()
    bridge = MavlinkBridge(rover.wire.device, CHASSIS, vehicle=1, clock=world.clock)
    opened.extend([bridge, rover])
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 2.0)
    assert rover.speed == pytest.approx(0.3)


def test_what_another_vehicle_says_is_not_taken_for_the_rovers(opened: list[Any]) -> None:
    rover = RoverPeer(Udp())
    other = RoverPeer(Nowhere(rover.wire), system=2)
    other.armed, other.mode = True, GUIDED
    world = World(rover, other)
    bridge = MavlinkBridge(rover.wire.device, CHASSIS, vehicle=1, clock=world.clock)
    opened.extend([bridge, rover])
    bridge.connect()
    assert not bridge.telemetry().armed
    bridge.arm()
    drive(world, bridge, 1.0)
    rover.mute = False
    world.peers.remove(rover)  # it is gone, while the other talks on
    said, _ = until_it_ends(world, bridge)
    assert "nothing has come from the autopilot" in said


def test_commands_go_to_where_the_rover_speaks_from(opened: list[Any]) -> None:
    port = free_port()
    rover, other = RoverPeer(Udp(("127.0.0.1", port))), RoverPeer(Udp(("127.0.0.1", port)), system=2)
    world = World(rover, other)
    bridge = MavlinkBridge(f"udpin:127.0.0.1:{port}", CHASSIS, vehicle=1, clock=world.clock)
    opened.extend([bridge, rover, other])
    under_way(world, rover, bridge)
    assert not other.orders
    assert not other.setpoints


def test_an_id_that_is_taken_twice_ends_the_drive(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    world.peers.append(RoverPeer(Nowhere(peer.wire), kind=QUADROTOR))
    said, _ = until_it_ends(world, bridge)
    assert "another vehicle sends as the same MAVLink id" in said


# ------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"FS_GCS_ENABLE": 0}, "its FS_GCS_ENABLE is 0: set FS_GCS_ENABLE to 1, or it does not notice"),
        ({"FS_ACTION": 0}, "its FS_ACTION is 0: set FS_ACTION to 2, so that it holds"),
        ({"FS_ACTION": 1}, "set FS_ACTION to 2"),  # it would drive home
        ({"FS_TIMEOUT": 20.0}, r"its FS_TIMEOUT is 20: set FS_TIMEOUT to 1\.5"),
        ({"FS_GCS_TIMEOUT": 60.0}, "set FS_GCS_TIMEOUT to 2"),
        ({"GUID_TIMEOUT": 5.0}, r"its GUID_TIMEOUT is 5: set GUID_TIMEOUT to 0\.5"),
        ({"GUID_TIMEOUT": 0.12}, r"its GUID_TIMEOUT of 0\.12 s does not outlast 1\.5 ticks of 0\.1 s"),
        ({"GUID_TIMEOUT": math.nan}, "its GUID_TIMEOUT is nan"),
        (
            {"SYSID_MYGCS": 254},
            "its SYSID_MYGCS is 254: set SYSID_MYGCS to 255, or its failsafe watches another",
        ),
        ({"MAV_GCS_SYSID": 7}, "set MAV_GCS_SYSID to 255"),
        ({"MAV_GCS_SYSID_HI": 255}, "set MAV_GCS_SYSID_HI to 0"),
        (
            {"WP_SPEED": 0.4},
            r"max_v 0\.5 is beyond the autopilot's own 0\.4 \(WP_SPEED\): lower it, or raise WP_SPEED",
        ),
        ({"WP_SPEED": 0.0, "CRUISE_SPEED": 0.1}, r"max_v 0\.5 is beyond .* \(CRUISE_SPEED\)"),
        ({"ATC_STR_RAT_MAX": 90.0}, r"max_w 2\.5 is beyond the autopilot's own 1\.5708 \(ATC_STR_RAT_MAX\)"),
    ],
)
def test_ardupilot_that_would_not_stop_or_cannot_follow_is_refused(
    made: Made, change: dict[str, float | int], said: str
) -> None:
    world, peer, bridge = made(parameters=change)
    refused(world, peer, bridge, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"COM_OBL_RC_ACT": 0}, "its COM_OBL_RC_ACT is 0: set COM_OBL_RC_ACT to 5"),
        ({"COM_OBL_RC_ACT": 3}, "set COM_OBL_RC_ACT to 5"),  # it would drive home
        ({"COM_OF_LOSS_T": 10.0}, r"its COM_OF_LOSS_T is 10: set COM_OF_LOSS_T to 0\.5"),
        ({"COM_OF_LOSS_T": 0.0}, "does not outlast"),
        ({"RO_YAW_P": 0.0}, "set RO_YAW_P to 4"),
        ({"RO_SPEED_LIM": -1.0}, "set RO_SPEED_LIM to 1"),
        ({"RO_SPEED_LIM": 0.3}, r"max_v 0\.5 is beyond the autopilot's own 0\.3 \(RO_SPEED_LIM\)"),
        ({"RO_YAW_RATE_LIM": 90.0}, "max_w"),
        ({"MAV_FWDEXTSP": 0}, "set MAV_FWDEXTSP to 1"),
    ],
)
def test_px4_that_would_not_stop_or_cannot_follow_is_refused(
    made: Made, change: dict[str, float | int], said: str
) -> None:
    world, peer, bridge = made(autopilot=PX4, parameters=change)
    refused(world, peer, bridge, said)


def refused(world: World, peer: RoverPeer, bridge: MavlinkBridge, said: str) -> None:
    before = dict(peer.parameters)
    with pytest.raises(BridgeError, match=said) as caught:
        bridge.connect()
    assert "\n" not in str(caught.value)
    with pytest.raises(BridgeError, match="not connected"):
        bridge.arm()
    world.pass_time(0.1)
    assert not peer.armed
    assert not peer.orders  # it sets nothing
    assert peer.parameters == pytest.approx(before, nan_ok=True)


@pytest.mark.parametrize("name", ["FS_GCS_ENABLE", "FS_ACTION", "FS_TIMEOUT", "SYSID_MYGCS"])
def test_a_failsafe_that_is_not_told_of_counts_as_off(made: Made, name: str) -> None:
    world, peer, bridge = made()
    del peer.parameters[name]
    refused(world, peer, bridge, f"it does not tell .*{name}: another firmware")


def test_what_only_some_firmware_has_may_be_missing_and_must_be_right(made: Made) -> None:
    world, peer, bridge = made(parameters={"GUID_TIMEOUT": 0.5, "FS_GCS_TIMEOUT": 1.0, "MAV_GCS_SYSID": 255})
    under_way(world, peer, bridge)


def test_whole_numbers_of_px4_come_as_bytes(made: Made) -> None:
    _, _, bridge = made(autopilot=PX4, parameters={"COM_OBL_RC_ACT": 7})
    bridge.connect()
    assert bridge._parameters["COM_OBL_RC_ACT"] == 7.0
    bridge.close()
    _, _, bridge = made(autopilot=PX4, parameters={"COM_OBL_RC_ACT": 6.0})  # and a float as a float
    bridge.connect()
    assert bridge._parameters["COM_OBL_RC_ACT"] == 6.0


def test_a_computer_with_an_id_of_its_own_is_watched_as_such(made: Made) -> None:
    world, peer, bridge = made(system=245, parameters={"SYSID_MYGCS": 245})
    under_way(world, peer, bridge)
    assert peer.beats


def test_a_rover_that_does_not_report_is_refused(made: Made) -> None:
    _world, peer, bridge = made()
    peer.grants = False
    with pytest.raises(BridgeError, match=r"SYS_STATUS does not come every 0\.2 s"):
        bridge.connect()


# ------------------------------------------------------------------------------------------------------------ arming


def test_a_refusal_to_arm_comes_with_the_autopilots_reason(made: Made) -> None:
    _world, peer, bridge = made()
    peer.prearm = "Arm: EKF3 waiting for GPS config data, and a compass that was calibrated"
    bridge.connect()
    with pytest.raises(
        BridgeError, match="it refuses to arm: Arm: EKF3 waiting for GPS config data, and"
    ) as caught:
        bridge.arm()
    assert str(caught.value).endswith(peer.prearm)  # it came in two parts
    assert not peer.armed
    with pytest.raises(BridgeError, match="not armed"):
        bridge.apply(AHEAD)


def test_it_is_never_armed_by_force(made: Made) -> None:
    _world, peer, bridge = made()
    peer.prearm = "Arm: hardware safety switch"
    bridge.connect()
    for _ in range(3):
        with pytest.raises(BridgeError, match="safety switch"):
            bridge.arm()
    assert not peer.forced
    assert FORCE not in {second for _, _, second in peer.orders}
    peer._obey(mavlink.MAVLink_command_long_message(1, 1, 400, 0, 1, FORCE, 0, 0, 0, 0, 0))
    assert peer.forced  # the peer would have noticed


def test_a_failsafe_that_acted_before_the_drive_began_does_not_prevent_it(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    world.pass_time(60.0)  # a model is loaded
    assert (peer.mode, peer.critical) == (HOLD, True)
    bridge.arm()
    drive(world, bridge, 1.0)
    assert peer.speed == pytest.approx(0.3)


def test_it_is_armed_only_when_that_failsafe_has_ended(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    peer.failsafes, peer.critical = False, True
    obey = peer._obey

    def unwilling(order: Any) -> int:
        return mavlink.MAV_RESULT_FAILED if order.command == 400 and peer.critical else obey(order)  # type: ignore[no-any-return]

    peer._obey = unwilling  # type: ignore[method-assign]
    world.after(1.0, lambda: setattr(peer, "critical", False))
    bridge.arm()
    assert peer.armed


def test_a_mode_that_it_does_not_show_is_not_driven_in_and_it_is_disarmed(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    peer.heartless = True
    with pytest.raises(BridgeError, match="it agreed to GUIDED mode and did not take it"):
        bridge.arm()
    world.pass_time(0.1)
    assert (400, 0.0, 0.0) in peer.orders


def test_answers_to_others_are_not_taken_for_ours(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    peer.deaf = True
    yes = mavlink.MAVLink_command_ack_message(176, mavlink.MAV_RESULT_ACCEPTED, 0, 0, 200, 190)
    world.after(0.5, lambda: peer.send(yes))
    with pytest.raises(BridgeError, match="no answer to the request to take GUIDED mode"):
        bridge.arm()


def test_an_autopilot_that_does_not_answer_is_not_armed(made: Made) -> None:
    _world, peer, bridge = made()
    bridge.connect()
    peer.deaf = True
    with pytest.raises(BridgeError, match="no answer to the request to take GUIDED mode"):
        bridge.arm()


def test_px4_is_armed_while_setpoints_of_rest_come(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    world, peer, bridge = made(autopilot=PX4)
    bridge.connect()
    bridge.arm()
    assert peer.setpoints
    assert peer.speed == pytest.approx(0.0, abs=1e-6)
    bridge.stop()
    monkeypatch.setattr("firmware_bridge.mavlink_bridge.RESTS_S", 2.0)  # seldom
    world.pass_time(5.0)
    with pytest.raises(BridgeError, match="it refuses to take OFFBOARD mode"):
        bridge.arm()


def test_an_autopilot_that_is_busy_is_asked_again(made: Made) -> None:
    _, peer, bridge = made()
    bridge.connect()
    obey, answers = peer._obey, [mavlink.MAV_RESULT_TEMPORARILY_REJECTED, mavlink.MAV_RESULT_IN_PROGRESS]
    peer._obey = lambda order: answers.pop() if answers else obey(order)  # type: ignore[method-assign]
    bridge.arm()
    assert peer.armed


def test_another_station_with_our_id_would_hide_our_loss(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    station = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
    beat = mavlink.MAVLink_heartbeat_message(6, 8, 0, 0, 4, 3).pack(station)
    peer.wire.write(beat)  # autopilots pass them on from link to link
    with pytest.raises(BridgeError, match="a ground station sends as system 255 too"):
        bridge.arm()
    assert not peer.armed
    world.pass_time(6.0)
    bridge.arm()


def test_px4_watches_setpoints_and_no_station(made: Made) -> None:
    world, peer, bridge = made(autopilot=PX4)
    bridge.connect()
    station = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
    peer.wire.write(mavlink.MAVLink_heartbeat_message(6, 8, 0, 0, 4, 3).pack(station))
    bridge.arm()
    drive(world, bridge, 1.0)
    assert peer.speed == pytest.approx(0.3)


def test_an_operator_who_takes_it_in_the_moment_it_is_armed_keeps_it(made: Made) -> None:
    world, peer, bridge = made()
    bridge.connect()
    obey = peer._obey

    def taken(order: Any) -> int:
        result = obey(order)
        if order.command == 400 and order.param1 == 1.0:
            peer.mode = MANUAL
        return result

    peer._obey = taken  # type: ignore[method-assign]
    with pytest.raises(BridgeError, match="put into MANUAL"):
        bridge.arm()
    bridge.stop()
    world.pass_time(0.5)
    assert (peer.mode, peer.armed) == (MANUAL, True)


# ----------------------------------------------------------------------------------------------- faults on the way


def test_a_mode_that_the_operator_takes_is_left_to_him(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    peer.mode, peer.stick = MANUAL, 0.7
    said, after = until_it_ends(world, bridge)
    assert "it was put into MANUAL by its operator or a failsafe" in said
    assert after < 0.5
    world.pass_time(0.1)
    sent, beats, orders = len(peer.setpoints), len(peer.beats), len(peer.orders)
    for _ in range(5):
        with pytest.raises(BridgeError, match="put into MANUAL"):
            bridge.apply(AHEAD)
    assert bridge.telemetry().faults == ("mode MANUAL",)
    assert bridge.telemetry().applied == NEUTRAL
    bridge.stop()
    bridge.close()
    world.pass_time(1.0)
    assert (len(peer.setpoints), len(peer.beats), len(peer.orders)) == (sent, beats, orders)
    assert (peer.mode, peer.armed, peer.speed) == (MANUAL, True, 0.7)


def test_a_mode_in_which_it_rests_is_disarmed_all_the_same(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    peer.mode = HOLD
    said, _ = until_it_ends(world, bridge)
    assert "put into HOLD" in said
    bridge.stop()
    world.pass_time(0.1)
    assert not peer.armed


def test_it_is_not_driven_on_when_it_disarms_itself(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    peer.armed = False
    peer.say("Crash: Disarming: hit something")
    said, after = until_it_ends(world, bridge)
    assert said.endswith("it was disarmed: Crash: Disarming: hit something")
    assert after < 0.5


def test_a_failsafe_that_it_reports_ends_the_drive(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    peer.failsafes, peer.critical = False, True  # it is made to report one, and stays in GUIDED
    said, _ = until_it_ends(world, bridge)
    assert "it reports a failsafe" in said
    assert bridge.telemetry().faults == ("failsafe",)


def test_a_dead_link_is_noticed_within_a_second_and_a_tick(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    peer.mute = True
    said, after = until_it_ends(world, bridge)
    assert "nothing has come from the autopilot for 1." in said
    assert after < LINK_LOST_S + 2.0 * TICK_S
    assert bridge.telemetry().faults == ("link lost",)


def test_without_that_check_it_would_drive_on_a_dead_link(
    driving: tuple[World, RoverPeer, MavlinkBridge], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, peer, bridge = driving
    monkeypatch.setattr("firmware_bridge.mavlink_bridge.LINK_LOST_S", math.inf)
    monkeypatch.setattr("firmware_bridge.mavlink_bridge.HEARTBEAT_LOST_S", math.inf)
    peer.mute = True
    drive(world, bridge, 10.0)
    assert peer.speed == pytest.approx(0.3)


def test_heartbeats_that_stay_out_end_the_drive_though_reports_come(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    peer.heartless = True
    said, after = until_it_ends(world, bridge)
    assert "heartbeat has stayed out for 2." in said
    assert after < HEARTBEAT_LOST_S + 2.0 * TICK_S


def test_damaged_frames_are_not_believed_and_do_not_end_the_drive(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    peer.spoil = 3
    drive(world, bridge, 10.0)
    assert peer.speed == pytest.approx(0.3)
    peer.spoil = 1
    said, _ = until_it_ends(world, bridge)
    assert "nothing has come" in said


NOISE = b"\xfd\xff\x00"
"""The head of a frame of 267 bytes, of which no more comes."""


@pytest.mark.parametrize("stuck_s", [STUCK_S, math.inf])
def test_noise_on_a_line_does_not_swallow_what_follows(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, stuck_s: float
) -> None:
    monkeypatch.setattr("firmware_bridge.mavlink_link.STUCK_S", stuck_s)
    ours, theirs = socket.socketpair()
    peer = RoverPeer(Stream(theirs))
    peer.old = True  # without WHEEL_DISTANCE: some 300 bytes a second
    world = World(peer)
    bridge = MavlinkBridge("a line", CHASSIS, opened=lambda device, baud: OpenPort(ours), clock=world.clock)
    opened.extend([bridge, peer])
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 0.5)
    began = world.now
    peer.wire.write(NOISE)
    drive(world, bridge, 0.7)
    assert (bridge.telemetry().time > began + 0.1) == (stuck_s == STUCK_S)


class OpenPort(TcpPort):
    """Bytes as they come, and at once: what a serial line is here without its delays."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.setblocking(False)


def test_noise_in_a_datagram_does_not_spoil_the_next(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    write = peer.wire.write

    def write_noisily(data: bytes) -> None:
        write(NOISE)
        write(data)

    peer.wire.write = write_noisily  # type: ignore[method-assign]
    drive(world, bridge, 5.0)
    assert world.now - bridge.telemetry().time < 0.3


def test_a_connection_that_is_closed_is_an_error_and_closing_none(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    peer = RoverPeer(Tcp())
    world = RealWorld(peer)
    bridge = MavlinkBridge(peer.wire.device, CHASSIS, clock=world.clock)
    opened.append(bridge)
    bridge.connect()
    bridge.arm()
    world.peers.clear()
    peer.close()
    with pytest.raises(BridgeError, match="the link is gone"):
        drive(world, bridge, 5.0)
    bridge.stop()
    bridge.close()
    bridge.close()


# ------------------------------------------------------------------------------------------- a computer that is lost


def test_a_planner_that_no_longer_asks_is_stopped_by_the_autopilot(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    world.pass_time(FIXED_S - 0.2)
    assert peer.speed == pytest.approx(0.3)
    world.pass_time(0.4)
    assert (peer.speed, peer.mode) == (0.0, GUIDED)
    world.pass_time(2.0)  # 2 s without heartbeats, and FS_TIMEOUT
    assert peer.mode == HOLD
    with pytest.raises(
        BridgeError, match=r"it was put into HOLD by its operator or a failsafe: .*GCS Failsafe"
    ):
        bridge.apply(AHEAD)


def test_with_px4_too(made: Made) -> None:
    world, peer, bridge = under_way(*made(autopilot=PX4))
    world.pass_time(0.4)
    assert peer.speed == pytest.approx(0.3)
    world.pass_time(0.3)
    assert (peer.speed, peer.mode) == (0.0, PX4_HOLD)
    with pytest.raises(
        BridgeError, match="put into HOLD by its operator or a failsafe: Failsafe activated: Hold"
    ):
        bridge.apply(AHEAD)


def test_heartbeats_from_a_thread_would_hide_that_the_planner_died(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    """Why they leave from within ``apply`` alone."""
    world, peer, bridge = driving
    vehicle = bridge._connected()
    for _ in range(100):
        world.pass_time(0.1)
        vehicle.beat()  # what a thread would do
    assert peer.mode == GUIDED  # never held


@pytest.mark.parametrize("failsafes", [True, False])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_program_that_is_killed_or_stopped_is_noticed_by_the_autopilot(
    opened: list[Any], end: signal.Signals, failsafes: bool
) -> None:
    """With failsafes that do not work, the rover drives on: so it is they that stop it."""
    peer = RoverPeer(Udp(), parameters={"GUID_TIMEOUT": 1.0, "FS_GCS_TIMEOUT": 1.5, "FS_TIMEOUT": 1.0})
    opened.append(peer)
    program = subprocess.Popen(
        [sys.executable, "-c", DRIVER, peer.wire.device], cwd=Path(__file__).parents[2]
    )
    try:
        wait_until(lambda: peer.step(fast_clock()) or peer.speed == pytest.approx(0.3), 30.0)
        peer.failsafes = failsafes
        program.send_signal(end)
        program.wait() if end == signal.SIGKILL else os.waitpid(program.pid, os.WUNTRACED)
        silent_at = fast_clock()
        if failsafes:
            wait_until(lambda: peer.step(fast_clock()) or peer.speed == 0.0)
            assert fast_clock() - silent_at < 1.0 + 0.6  # a machine that is busy may be late by 0.1 s
            wait_until(lambda: peer.step(fast_clock()) or peer.mode == HOLD)
        else:
            wait_until(lambda: peer.step(fast_clock()) or fast_clock() - silent_at > 5.0)
            assert (peer.speed, peer.mode) == (pytest.approx(0.3), GUIDED)
    finally:
        program.kill()
        program.wait()


DRIVER = f"""
import sys, time
from firmware_bridge import Command
from firmware_bridge.mavlink_bridge import MavlinkBridge
from tests.firmware_bridge.test_mavlink_bridge import CHASSIS
bridge = MavlinkBridge(sys.argv[1], CHASSIS, clock=lambda: {SPEED_UP} * time.monotonic())
bridge.connect()
bridge.arm()
while True:
    bridge.apply(Command(0.3, 0.5))
    time.sleep({0.1 / SPEED_UP})
"""


# ---------------------------------------------------------------------------------------------------------- stopping


def test_stopping_brings_it_to_rest_and_disarms_and_may_be_done_twice(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    bridge.stop()
    world.pass_time(0.02)
    assert (peer.speed, peer.armed) == (0.0, False)
    bridge.stop()
    with pytest.raises(BridgeError, match="not armed"):
        bridge.apply(AHEAD)
    world.pass_time(0.5)
    assert not bridge.telemetry().armed
    bridge.arm()
    drive(world, bridge, 1.0)
    assert peer.speed == pytest.approx(0.3)


def test_rest_is_asked_for_before_it_is_disarmed(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    peer.armed, peer._obey = True, lambda order: 4  # type: ignore[method-assign]  # it refuses to disarm
    bridge.stop()
    world.pass_time(0.02)
    assert (peer.speed, peer.armed) == (0.0, True)


def test_what_was_not_armed_here_is_not_disarmed(made: Made) -> None:
    world, peer, bridge = made()
    peer.armed, peer.stick = True, 0.5
    bridge.connect()
    bridge.stop()
    bridge.close()
    world.pass_time(0.5)
    assert (peer.armed, peer.speed) == (True, 0.5)


def test_closing_long_after_a_stop_does_not_disarm_its_operator(
    driving: tuple[World, RoverPeer, MavlinkBridge],
) -> None:
    world, peer, bridge = driving
    bridge.stop()
    world.pass_time(60.0)
    peer.armed, peer.mode, peer.stick = True, MANUAL, 0.5
    bridge.close()
    world.pass_time(0.5)
    assert (peer.armed, peer.speed) == (True, 0.5)


@pytest.mark.parametrize("after", [0.05, 0.2, 0.4])
def test_a_signal_that_stops_it_while_it_is_being_armed_leaves_it_disarmed(made: Made, after: float) -> None:
    world, peer, bridge = made(autopilot=PX4)
    peer.deaf = False
    bridge.connect()
    world.after(PX4_TABLE.lead_s + after, bridge.stop)
    with pytest.raises(BridgeError, match="abandoned: the motors were stopped meanwhile"):
        for _ in range(2):
            bridge.arm()
            world.after(0.0, bridge.stop)
    world.pass_time(1.0)
    assert not peer.armed


def test_a_stop_just_before_the_order_to_arm_goes_out_is_the_last_word(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, peer, bridge = made()
    bridge.connect()
    vehicle = bridge._connected()
    order = vehicle.order

    def interrupted(number: int, *rest: Any) -> None:
        if number == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
            bridge.stop()
        order(number, *rest)

    monkeypatch.setattr(vehicle, "order", interrupted)
    with pytest.raises(BridgeError, match="abandoned"):
        bridge.arm()
    assert (400, 1.0, 0.0) in peer.orders  # it went out
    world.pass_time(0.5)
    assert not peer.armed


def test_a_signal_in_the_middle_of_a_frame_stops_it(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    peer = RoverPeer(Pty())
    world = RealWorld(peer)
    bridge = MavlinkBridge(peer.wire.device, CHASSIS, clock=world.clock)
    opened.extend([bridge, peer])
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 0.5)
    assert bridge._link is not None
    port: Any = bridge._link._port
    write = port.write

    def interrupted(data: bytes) -> int | None:
        port.write = write
        write(data[:20])
        bridge.stop()
        return write(data[20:])  # type: ignore[no-any-return]

    port.write = interrupted
    with suppress(BridgeError):  # "abandoned", if that frame was a heartbeat before the setpoint
        bridge.apply(AHEAD)
    wait_until(lambda: world.pass_time(0.02) or not peer.armed)
    world.pass_time(0.5)
    assert peer.speed == 0.0
    with pytest.raises(BridgeError, match="not armed"):
        bridge.apply(AHEAD)


def test_a_stop_that_comes_between_hearing_and_sending_is_obeyed(
    driving: tuple[World, RoverPeer, MavlinkBridge], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, peer, bridge = driving
    world.pass_time(0.05)
    vehicle = bridge._connected()
    beat = vehicle.beat

    def interrupted() -> None:
        bridge.stop()
        beat()

    monkeypatch.setattr(vehicle, "beat", interrupted)
    with pytest.raises(BridgeError, match="abandoned"):
        bridge.apply(AHEAD)
    world.pass_time(0.05)
    assert not peer.armed


# ---------------------------------------------------------------------------------------------------------- bad input


def test_calls_before_connecting_are_refused(made: Made) -> None:
    _, _, bridge = made()
    for call in (bridge.arm, bridge.telemetry, lambda: bridge.apply(NEUTRAL)):
        with pytest.raises(BridgeError, match="not connected"):
            call()
    bridge.stop()
    bridge.close()
    bridge.connect()
    with pytest.raises(BridgeError, match="connected already"):
        bridge.connect()
    with pytest.raises(BridgeError, match="not armed"):
        bridge.apply(NEUTRAL)


def test_it_is_driven_again_after_it_was_closed(driving: tuple[World, RoverPeer, MavlinkBridge]) -> None:
    world, peer, bridge = driving
    bridge.close()
    world.pass_time(0.1)
    assert not peer.armed
    under_way(world, peer, bridge)


def test_a_link_on_which_nothing_speaks_is_refused(made: Made) -> None:
    _world, peer, bridge = made()
    peer.mute = True
    with pytest.raises(BridgeError, match="nothing came: is the autopilot on and connected"):
        bridge.connect()


def test_a_link_on_which_something_else_speaks_is_refused(made: Made) -> None:
    world, peer, bridge = made()
    peer.mute = True
    for number in range(50):
        world.after(0.1 * number, lambda: peer.wire.write(b"$GPGGA,123519,4807.038,N\r\n"))
    with pytest.raises(
        BridgeError, match="bytes came and no autopilot's heartbeat among them: another baud rate"
    ):
        bridge.connect()


@pytest.mark.parametrize("device", ["udpin:14550", "udp:1:2", "tcp:127.0.0.1:99999", "tcp::5760"])
def test_addresses_that_are_none_are_refused(device: str) -> None:
    with pytest.raises(BridgeError, match="not an address: write /dev/ttyACM0, udpin:HOST:PORT"):
        MavlinkBridge(device, CHASSIS).connect()


def test_ports_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(BridgeError, match="cannot be opened: Address already in use"):
            MavlinkBridge(f"udpin:127.0.0.1:{taken.getsockname()[1]}", CHASSIS).connect()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(BridgeError, match="cannot be opened: Connection refused"):
            MavlinkBridge(f"tcp:127.0.0.1:{nobody.getsockname()[1]}", CHASSIS).connect()
    pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")
    with pytest.raises(BridgeError, match="no such port"):
        MavlinkBridge(str(tmp_path / "ttyACM0"), CHASSIS).connect()


def test_damaged_frames_may_not_be_allowed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mavlink, "MAVLINK_IGNORE_CRC", True)
    with pytest.raises(BridgeError, match="unset MAVLINK_IGNORE_CRC"):
        MavlinkBridge("udpin:127.0.0.1:0", CHASSIS).connect()


def test_a_cable_that_is_pulled_is_an_error_and_closing_none(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    peer = RoverPeer(Pty())
    world = RealWorld(peer)
    bridge = MavlinkBridge(peer.wire.device, CHASSIS, clock=world.clock)
    opened.append(bridge)
    bridge.connect()
    bridge.arm()
    drive(world, bridge, 0.5)
    world.peers.clear()
    peer.close()
    with pytest.raises(BridgeError, match="the link is gone"):
        drive(world, bridge, 0.5)
    bridge.stop()
    bridge.close()
    bridge.close()


@pytest.mark.parametrize("wire", [Udp, Pty])
def test_a_link_that_a_signal_closes_while_it_is_armed_is_an_error(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, wire: type[Udp] | type[Pty]
) -> None:
    pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")
    monkeypatch.setattr(mavlink_vehicle, "_WAIT_S", 0.002)
    peer = RoverPeer(wire())
    world = RealWorld(peer)
    bridge = MavlinkBridge(peer.wire.device, CHASSIS, clock=world.clock)
    opened.extend([bridge, peer])
    bridge.connect()
    peer.deaf = True
    world.after(0.5, bridge.close)
    with pytest.raises(BridgeError, match=r"abandoned|the link is gone|not connected"):
        bridge.arm()


def test_without_pymavlink_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymavlink.dialects.v20", None)
    with pytest.raises(BridgeError, match=r"pip install 'edge-wm\[mavlink\]'"):
        MavlinkBridge("udpin:127.0.0.1:0", CHASSIS).connect()


def test_a_robot_that_is_slower_to_command_than_the_autopilot_waits_is_refused(made: Made) -> None:
    world, peer, bridge = made(replace(CHASSIS, tick_s=2.5))
    refused(world, peer, bridge, r"its GUID_TIMEOUT of 3 s does not outlast 1\.5 ticks of 2\.5 s")
