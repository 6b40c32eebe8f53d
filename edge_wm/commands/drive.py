"""``edge-wm drive``: one robot, one goal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.cli import EXIT_INTERRUPTED
from edge_wm.commands.run_options import execution, run_options
from edge_wm.errors import BadInput
from edge_wm.robot import DEFAULT_ROBOT, Robot, load_robot
from edge_wm.robot_bridge import RecordedTable, SimavrTable, SimTable
from edge_wm.robot_sensors import RealSensors, ReplaySensors

if TYPE_CHECKING:
    from edge_wm.bundle.manifest import Precision
    from edge_wm.clock import Clock
    from edge_wm.drive.body import Trip
    from edge_wm.drive.model_changes import ModelChanges
    from edge_wm.drive.pilot import Pilot
    from edge_wm.drive.simulated import SimulatedTask
    from edge_wm.engines.execution import Execution

DEFAULT_KIND = "rooms"


def numbers(*names: str) -> Callable[[click.Context, click.Parameter, str | None], tuple[float, ...] | None]:
    """A callback that reads so many finite numbers with commas between, e.g. ``1.5,-2``."""

    def read(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            found = tuple(float(word) for word in value.split(","))
        except ValueError:
            found = ()
        if len(found) != len(names) or not all(math.isfinite(number) for number in found):
            wanted = ",".join(names)
            raise click.BadParameter(f"{value!r} is not {wanted}: {len(names)} numbers with commas between")
        return found

    return read


@click.command("drive")
@click.option(
    "--robot", metavar="FILE", type=click.Path(path_type=Path), default=DEFAULT_ROBOT, help="Robot file."
)
@click.option(
    "--goal",
    metavar="X,Y",
    callback=numbers("X", "Y"),
    help="Metres in the world, default: the world's own task; of a real robot ahead of it and to its left.",
)
@click.option(
    "--world", metavar="FILE", type=click.Path(path_type=Path), help="MJCF; default: a generated room."
)
@click.option(
    "--start",
    metavar="X,Y,YAW",
    callback=numbers("X", "Y", "YAW"),
    help="With --world; default: its own task, else 0,0,0.",
)
@click.option(
    "--updates",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The robot's update.toml: drive by the model that updates chose, and try new ones; --model is not used.",
)
@run_options
def command(
    robot: Path,
    goal: tuple[float, float] | None,
    world: Path | None,
    start: tuple[float, float, float] | None,
    updates: Path | None,
    model: Path,
    precision: Precision | None,
    candidates: int | None,
    seed: int,
    fast: bool,
    no_view: bool,
    no_pictures: bool,
    runs: Path,
    json_file: Path | None,
) -> int:
    """Drive one robot to one goal in real time.

    Exit code 0: reached; 1: not reached; 2: bad input; 130: stopped with Ctrl-C, motors at rest.
    """
    from edge_wm.drive.run import RunOptions, run_tasks

    described = load_robot(robot)
    if isinstance(described.sensors, RealSensors):
        trip: Trip = _real_trip(described, robot, goal, {"--fast": fast, "--world": world, "--start": start})
        way = f"{described.name} to {trip.name}"
    elif isinstance(described.bridge, RecordedTable) and isinstance(described.sensors, ReplaySensors):
        own = {"--goal": goal, "--world": world, "--start": start, "--updates": updates}
        trip = _replayed_trip(described.bridge, robot, own)
        way = f"{described.name} once more: {trip.name}"
    else:
        trip = task = _simulated_trip(described, goal, world, start, seed)
        way = f"{task.name} to ({task.task.goal[0]:.2f}, {task.task.goal[1]:.2f})"

    from edge_wm.drive.pilot import Pilot

    options = RunOptions(runs, not no_view, not no_pictures, fast, json_file)
    clock = options.clock()
    asked = execution(described, precision, candidates)
    with ExitStack() as stack:
        changes = None
        if updates is None:
            pilot = Pilot(described, model, clock, execution=asked, seed=seed)
        else:
            pilot, changes = stack.enter_context(_by_updates(updates, described, clock, asked, seed))
        manifest = pilot.model.manifest
        click.echo(f"{manifest.name} {manifest.version} ({pilot.execution}) drives {way}")
        end = run_tasks("edge-wm drive", pilot, clock, [trip], options, click.echo, changes)
    click.echo(f"recorded in {end.folder}")
    if end.interrupted:
        return EXIT_INTERRUPTED
    return 0 if end.summary["reached"] else 1


def _simulated_trip(
    robot: Robot,
    goal: tuple[float, float] | None,
    world: Path | None,
    start: tuple[float, float, float] | None,
    seed: int,
) -> SimulatedTask:
    """The drive of the simulated robot in a world.  Raises BadInput where there is none."""
    if not isinstance(robot.bridge, SimTable | SimavrTable):
        raise BadInput(f"robot {robot.name}: bridge.kind: only 'sim' and 'simavr' move the simulated robot")
    if world is None and start is not None:
        raise BadInput("--start is in the world of --world: name that too")

    from edge_wm.drive.simulated import task_in_generated_world, task_in_world_file

    if world is None:
        return task_in_generated_world(DEFAULT_KIND, seed, goal)
    return task_in_world_file(world, start, goal, seed)


def _real_trip(
    robot: Robot, file: Path, goal: tuple[float, float] | None, simulated_only: Mapping[str, object]
) -> Trip:
    """The drive of a robot that is there.  Raises BadInput for what only a simulation can do."""
    from edge_wm.drive.real import RealTrip

    for option, value in simulated_only.items():
        if value:
            raise BadInput(
                f"{option} is for the simulated robot, and {robot.name} is a real one: leave it out"
            )
    if goal is None:
        raise BadInput(
            f"robot {robot.name}: name the goal with --goal X,Y: metres ahead of where it stands, and to its left"
        )
    return RealTrip(file, goal)


def _replayed_trip(bridge: RecordedTable, file: Path, not_its_own: Mapping[str, object]) -> Trip:
    """The drive that was recorded.  Raises BadInput for what would make it another one."""
    from edge_wm.drive.replayed import ReplayedTrip

    for option, value in not_its_own.items():
        if value:
            raise BadInput(
                f"{option} is not for a replay, whose goal and world are those of the recording: leave it out"
            )
    return ReplayedTrip(file, bridge)


def _by_updates(
    file: Path, robot: Robot, clock: Clock, execution: Execution | None, seed: int
) -> AbstractContextManager[tuple[Pilot, ModelChanges]]:
    """A pilot that drives by the model that updates chose; see ``pilot_by_updates``."""
    from edge_wm.drive.model_changes import pilot_by_updates
    from edge_wm.update.config import folders_of, load_config

    config = load_config(file)
    return pilot_by_updates(
        folders_of(config, file),
        robot,
        clock,
        config.shadow,
        config.trial,
        click.echo,
        execution=execution,
        seed=seed,
    )
