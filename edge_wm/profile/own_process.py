"""One way of running a model in a process of its own: nobody else's graphs are in its memory, no other engine in its threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec

from edge_wm.board import Health
from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import load_bundle
from edge_wm.clock import MonotonicClock
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.profile.at_rate import AtRate, AtRateLoop
from edge_wm.profile.cpu_load import cpu_load
from edge_wm.profile.machine_state import MachineState, machine_state, power_w
from edge_wm.profile.memory import peak_bytes, resident_bytes
from edge_wm.robot import Robot
from edge_wm.sensors.observation import Sensors
from edge_wm.worker_pool import worker_pool
from firmware_bridge.bridge import Bridge

POWER_EVERY_S = 1.0


class Request(msgspec.Struct, frozen=True):
    """What to measure: a bundle's directory run like this, at the rate of a robot, over so many ticks, then so many beside a load.

    Attributes:
        bundle: its directory.
        execution: the way.
        robot: its rate and its limits.
        ticks: steady ones without a load, and as many with it.
        burners: processes of the load.
        robot_file: of a robot whose own sensors are read, and whose motors are kept at rest; None for stand-ins.
    """

    bundle: str
    execution: Execution
    robot: Robot
    ticks: int
    burners: int
    robot_file: str | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process of its own found out about one way.

    Attributes:
        failure: why there is nothing, or not all.
        load_ms: reading and checking the whole bundle.
        start_ms: engines, planner and a first inference of each graph, on zeros.
        idle: at the robot's rate, with nothing else to do.
        loaded: the same beside a load.
        peak_bytes: the most memory that was resident, with Python and the engine.
        steady_bytes: resident after the ticks without a load.
        before_model_bytes: resident before the model was loaded.
        idle_w, loaded_w: mean electrical power meanwhile, of what the board file names.
        before, after: how the machine was.
    """

    failure: str | None = None
    load_ms: float | None = None
    start_ms: float | None = None
    idle: AtRate | None = None
    loaded: AtRate | None = None
    peak_bytes: int | None = None
    steady_bytes: int | None = None
    before_model_bytes: int | None = None
    idle_w: float | None = None
    loaded_w: float | None = None
    before: MachineState = MachineState()
    after: MachineState = MachineState()


def measure_alone(
    request: Request, health: Health, on_progress: Callable[[float], None] = lambda share: None
) -> Measurement:
    """Measure one way in a process that is started for it and ends with it.

    Args:
        request: what.
        health: where the board says how it is.
        on_progress: called with the share that is done, as far as can be told from outside.
    """
    before = machine_state(health)
    expected_s = 2 * request.ticks * request.robot.rates.tick_s + 3.0
    began = time.monotonic()
    samples: list[tuple[float, float]] = []
    others = active_children()
    with worker_pool(1) as pool:
        (process,) = (child for child in active_children() if child not in others)
        answer = pool.apply_async(measure_here, (msgspec.json.encode(request),))
        while not answer.ready():
            answer.wait(POWER_EVERY_S)
            if not process.is_alive() and not answer.ready():  # the pool would wait for ever
                return Measurement(failure=_end_of(process), before=before, after=machine_state(health))
            watts = power_w(health) if health.power else None
            if watts is not None:
                samples.append((time.monotonic(), watts))
            on_progress(min(0.99, (time.monotonic() - began) / expected_s))
        found = msgspec.json.decode(answer.get(), type=Measurement)
    return msgspec.structs.replace(
        found,
        before=before,
        after=machine_state(health),
        idle_w=_mean_during(samples, found.idle),
        loaded_w=_mean_during(samples, found.loaded),
        idle=_since(found.idle, found.idle),
        loaded=_since(found.idle, found.loaded),
    )


def measure_here(request: bytes) -> bytes:
    """The inside: measure what the ``Request`` names in this process; gives a ``Measurement``."""
    wanted = msgspec.json.decode(request, type=Request)
    found = Measurement(before_model_bytes=resident_bytes())
    try:
        began = time.perf_counter()
        bundle = load_bundle(Path(wanted.bundle), roles=("observe", "imagine"))
        how = wanted.execution
        golden = Golden(bundle)
        bundle = bundle.only(how.precision, how.format, how.candidates)
        loaded = time.perf_counter()
        loop = AtRateLoop(bundle, how, golden, wanted.robot, MonotonicClock())
        started = time.perf_counter()
        found = msgspec.structs.replace(found, load_ms=_ms(loaded - began), start_ms=_ms(started - loaded))
        with _body(wanted) as (sensors, bridge):
            idle = loop.run(wanted.ticks, sensors, bridge)
            found = msgspec.structs.replace(found, idle=idle, steady_bytes=resident_bytes())
            with cpu_load(wanted.burners):
                found = msgspec.structs.replace(found, loaded=loop.run(wanted.ticks, sensors, bridge))
    except BadInput as error:
        found = msgspec.structs.replace(found, failure=str(error))
    return msgspec.json.encode(msgspec.structs.replace(found, peak_bytes=peak_bytes()))


@contextmanager
def _body(wanted: Request) -> Iterator[tuple[Sensors | None, Bridge | None]]:
    """The robot's own sensors and bridge; None for stand-ins."""
    if wanted.robot_file is None:
        yield None, None
        return
    from edge_wm.drive import real  # what it imports would be in the memory of ways that need none of it

    with real.hardware(wanted.robot, Path(wanted.robot_file), MonotonicClock()) as parts:
        yield parts.sensors, parts.bridge


def _since(first: AtRate | None, run: AtRate | None) -> AtRate | None:
    """The run in time since the ``first`` began: how long the machine has been up is nobody's business."""
    if first is None or run is None:
        return None
    began, ended = (round(moment - first.began, 3) for moment in (run.began, run.ended))
    return msgspec.structs.replace(run, began=began, ended=ended)


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that ran it ended with {how}: out of memory, or a fault in an engine or a driver"


def _mean_during(samples: list[tuple[float, float]], run: AtRate | None) -> float | None:
    if run is None:
        return None
    watts = [value for moment, value in samples if run.began <= moment <= run.ended]
    return round(sum(watts) / len(watts), 3) if watts else None


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
