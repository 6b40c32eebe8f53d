"""Where the `edge-wm` command begins: stop signals are in order before anything that takes time is imported."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line.

    Until it hears signals itself nothing has begun that would have to end in order: Ctrl-C ends the process at once, as
    SIGTERM does, and not with the traceback of an import.  It stays ignored where it is, as under ``nohup``.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edge_wm.cli import main as command_line

    command_line()
