"""The `edge-wm` command: a table of subcommands, and what happens when one of them fails.

A subcommand is imported when it is run, so `edge-wm --help` and `import edge_wm.cli` stay quick on a board.

Exit codes: 0 done; 1 the thing asked for did not hold; 2 bad input, with one line that says what and where;
130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import click

from edge_wm import __version__
from edge_wm.errors import BadInput, MissingExtra

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class Subcommand(NamedTuple):
    """Where a subcommand is (``module:attribute``) and its line in the help, readable without importing it."""

    target: str
    summary: str


SUBCOMMANDS = {
    "demo": Subcommand(
        "edge_wm.commands.demo:command", "Drive the simulated robot to five goals, and watch."
    ),
    "drive": Subcommand("edge_wm.commands.drive:command", "Drive one robot to one goal."),
    "eval": Subcommand("edge_wm.commands.eval:command", "Measure a policy over many episodes."),
    "model": Subcommand("edge_wm.commands.model:command", "Verify or inspect a bundle."),
    "profile": Subcommand(
        "edge_wm.commands.profile:command", "Find the fastest way to run a model on this machine."
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


def run(arguments: Sequence[str] | None = None, group: click.Group = cli) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: the words after `edge-wm`; those of this process when left out.
        group: the commands to choose from.
    """
    try:
        result = group.main(arguments, prog_name="edge-wm", standalone_mode=False)
        sys.stdout.flush()
    except BadInput as error:
        return _refuse(str(error))
    except click.exceptions.NoArgsIsHelpError as error:  # a group of subcommands named alone
        error.show()
        return EXIT_BAD_INPUT
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "edge-wm"
        return _refuse(f"{error.format_message()} (see {where} --help)")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (click.Abort, KeyboardInterrupt):  # click makes an Abort of most interrupts
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_OF:
            raise
        return _refuse(str(MissingExtra(error.name, EXTRA_OF[error.name])))
    except BrokenPipeError:
        return _reader_has_gone()
    except OSError as error:
        if error.filename is None:
            raise
        # A file or folder of the user's that nobody checked before: missing, read-only, disk full.
        return _refuse(f"{error.filename}: {error.strerror}")
    # A command's integer return value is its exit code, and so is what it gives to `Context.exit`.
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of the `edge-wm` console script."""
    sys.exit(run())


def _refuse(what: str) -> int:
    """Print one line for the person at the keyboard."""
    print(f"error: {' '.join(what.split())}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _reader_has_gone() -> int:
    """`edge-wm … | head`: end quietly, and let nothing complain when Python flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1  # as click ends when it meets the broken pipe itself
