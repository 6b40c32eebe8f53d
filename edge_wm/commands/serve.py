"""``edge-wm serve``, ``edge-wm go``, ``edge-wm stop``: the driving service, and what is asked of it."""

from __future__ import annotations

import math
from pathlib import Path

import click

from edge_wm.cli import EXIT_INTERRUPTED
from edge_wm.commands.drive import numbers
from edge_wm.drive.requests import Accepted, Connection, Ended, Go, Stop
from edge_wm.drive.service_file import DEFAULT_FILE, DEFAULT_SOCKET
from edge_wm.errors import BadInput

socket_option = click.option(
    "--socket",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOCKET,
    show_default=True,
    envvar="EDGE_WM_SOCKET",
    help="Of the service.",
)


@click.command("serve")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="The robot's drive.toml.",
)
@click.option("--fast", is_flag=True, help="Simulated time, for the simulated robot: as fast as it can.")
def serve(file: Path, fast: bool) -> int:
    """Drive for months: a mission, and whatever is asked for at the socket; see docs/install.md.

    Exit code 0: asked to end, motors at rest; 2: the file is wrong, the robot does not answer, or no model can be used.
    """
    from edge_wm.drive.service import serve as run

    return run(file, fast=fast, say=click.echo)


@click.command("go", context_settings={"ignore_unknown_options": True})
@click.argument("goal", metavar="[X,Y]", required=False, callback=numbers("X", "Y"))
@click.option(
    "--from-here", is_flag=True, help="X,Y from where the robot is now, not from where it was started."
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of the drive.")
@socket_option
def go(goal: tuple[float, float] | None, from_here: bool, no_wait: bool, socket: Path) -> int:
    """Let the service drive to X,Y, metres; without X,Y its mission goes on.

    Ctrl-C stops the robot, too.

    Exit code 0: reached, or accepted; 1: not reached; 2: refused, or not heard in time: it does not set off; 130: stopped with
    Ctrl-C, motors at rest.
    """
    if goal is None and from_here:
        raise BadInput("--from-here is about X,Y: name a point")
    if goal is not None and max(map(abs, goal)) > 1000.0:
        raise BadInput(f"a goal is within 1000 m, not {math.hypot(*goal):.0f} m away")
    with Connection(socket) as service:
        try:
            accepted = service.ask(Go(goal, "here" if from_here else "start"))
            assert isinstance(accepted, Accepted)
            click.echo(accepted.what)
            if goal is None or no_wait:
                return 0
            ended = service.wait()
        except KeyboardInterrupt:
            with Connection(socket) as other:
                other.ask(Stop())
            while goal is not None and isinstance(service.wait(), Accepted):  # not read before
                pass
            return EXIT_INTERRUPTED
    assert isinstance(ended, Ended)
    click.echo(ended.outcome + (f": {ended.message}" if ended.message else ""))
    return 0 if ended.reached else 1


@click.command("stop")
@socket_option
def stop(socket: Path) -> int:
    """Let the robot brake, and its mission wait until `edge-wm go`.

    Exit code 0: it does; 2: no service answers.
    """
    with Connection(socket) as service:
        accepted = service.ask(Stop())
    assert isinstance(accepted, Accepted)
    click.echo(accepted.what)
    return 0
