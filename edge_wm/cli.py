"""The `edge-wm` command: a table of subcommands, and what happens when one of them fails.

A subcommand is imported when it is run, so `edge-wm --help` and `import edge_wm.cli` stay quick on a board.

Exit codes: 0 done; 1 the thing asked for did not hold; 2 bad input, with one line that says what and where;
130 interrupted with Ctrl-C, by the service manager or because the terminal has gone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import click

from edge_wm import __version__
from edge_wm.errors import BadInput, MissingExtra, one_line
from edge_wm.stop_signals import interrupted_by_stop_signals

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class Subcommand(NamedTuple):
    """Where a subcommand is (``module:attribute``) and its line in the help, readable without importing it."""

    target: str
    summary: str


SUBCOMMANDS = {
    "bridge": Subcommand(
        "edge_wm.commands.bridge:command",
        "Find what moves the robot, flash it, try and calibrate its wheels.",
    ),
    "demo": Subcommand(
        "edge_wm.commands.demo:command", "Drive the simulated robot to five goals, and watch."
    ),
    "doctor": Subcommand("edge_wm.commands.doctor:command", "Look at a robot before it drives."),
    "drive": Subcommand("edge_wm.commands.drive:command", "Drive one robot to one goal."),
    "eval": Subcommand("edge_wm.commands.eval:command", "Measure a policy over many episodes."),
    "flash": Subcommand(
        "edge_wm.commands.flash:command", "Write a card that boots into a driving-ready service."
    ),
    "fleet": Subcommand("edge_wm.commands.fleet:command", "Which robot has which model, and is it well?"),
    "go": Subcommand("edge_wm.commands.serve:go", "Let the driving service drive to a goal."),
    "model": Subcommand("edge_wm.commands.model:command", "Verify or inspect a bundle."),
    "profile": Subcommand(
        "edge_wm.commands.profile:command", "Find the fastest way to run a model on this machine."
    ),
    "serve": Subcommand("edge_wm.commands.serve:serve", "The driving service: missions and requests."),
    "stop": Subcommand("edge_wm.commands.serve:stop", "Let the driving service's robot brake."),
    "update": Subcommand(
        "edge_wm.commands.update:command", "Fetch, prove and try new models; publish them to a fleet."
    ),
    "worlds": Subcommand("edge_wm.commands.worlds:command", "Generate worlds with tasks."),
}

EXTRA_OF = {
    "mujoco": "sim",
    "gymnasium": "sim",
    "scipy": "sim",
    "PIL": "sim",
    "imageio_ffmpeg": "sim",
    "matplotlib": "sim",
    "onnx": "export",
    "onnxscript": "export",
    "torch": "export",
    "serial": "serial",
    "tuf": "update",
    "securesystemslib": "update",
    "cryptography": "update",
    "urllib3": "update",
    "bsdiff4": "update",
    "zstandard": "update",
    "paho": "fleet",
}
"""The extra that installs an optional library, by the library's import name."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are run, not when they are listed."""

    def __init__(self, *args: object, subcommands: Mapping[str, Subcommand], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        if cmd_name not in self.subcommands:
            return None
        module, _, attribute = self.subcommands[cmd_name].target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, subcommand.summary) for name, subcommand in self.subcommands.items()])


@click.group(
    "edge-wm",
    cls=LazyGroup,
    subcommands=SUBCOMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="edge-wm")
@click.pass_context
def cli(context: click.Context) -> None:
    """Drive a small robot with a learned latent world model."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(arguments: Sequence[str] | None = None, command: click.Command = cli, name: str = "edge-wm") -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: the words after the name; those of this process when left out.
        command: what to run.
        name: what people typed to run it.
    """
    with interrupted_by_stop_signals() as signals:
        try:
            result = command.main(arguments, prog_name=name, standalone_mode=False)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if not signals and not isinstance(error, (click.Abort, KeyboardInterrupt)):
                return _answer(error, name)
            _say("interrupted")
            return EXIT_INTERRUPTED
    # A command's integer return value is its exit code, and so is what it gives to `Context.exit`.
    return result if isinstance(result, int) else 0


def main(command: click.Command = cli, name: str = "edge-wm") -> NoReturn:
    """Entry point of the `edge-wm` console script, and of other commands that are to end as it does."""
    _open_closed_streams()
    if command is cli:
        # Products in numpy are too small to share, and threads that wait for more of them burn the engine's CPU.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = run(None, command, name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while Python shuts down, nobody would catch it
    _give_up_broken_stdout()
    sys.exit(code)


def _answer(error: Exception | KeyboardInterrupt | SystemExit, name: str) -> int:
    """Say in one line what the person can mend, and return the exit code.  Raises ``error`` if it is a mistake of ours."""
    if isinstance(error, BadInput):
        return _refuse(str(error))
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group of subcommands named alone
        error.show()
        return EXIT_BAD_INPUT
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else name
        return _refuse(f"{error.format_message()} (see {where} --help)")
    if isinstance(error, click.ClickException):
        return _refuse(error.format_message())
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRA_OF:
        return _refuse(str(MissingExtra(error.name, EXTRA_OF[error.name])))
    if isinstance(error, (BrokenPipeError, SystemExit)):
        return 1  # `edge-wm … | head`: quietly; where click meets the broken pipe itself, it exits
    if isinstance(error, OSError) and error.strerror:
        # A file or folder of the user's that nobody checked before: missing, read-only, disk full.
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    raise error


def _refuse(what: str) -> int:
    _say(f"error: {one_line(what)}")
    return EXIT_BAD_INPUT


def _say(line: str) -> None:
    """Print one line for the person at the keyboard, who may have gone."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _open_closed_streams() -> None:
    """`edge-wm … >&-` closes a stream: the next file opened would take its number, and what others print."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 -- open until the end


def _give_up_broken_stdout() -> None:
    """Let nothing complain when Python flushes stdout at exit: the reader has gone, or its disk is full."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
