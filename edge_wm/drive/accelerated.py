"""The accelerator that was asked for if it proves itself, otherwise the CPU and the reason."""

from __future__ import annotations

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle
from edge_wm.bundle.verify import verify_execution
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput


def accelerated_or_not(bundle: Bundle, asked: Execution) -> tuple[Execution, str | None]:
    """Try the accelerator that ``asked`` names: real inferences, compared with the golden vectors.

    Args:
        bundle: loaded with its golden vectors.
        asked: how the model should be run.

    Returns:
        How it can be run, and where that is the CPU instead: a line that says what was asked and why not.
    """
    if asked.accelerator == "cpu":
        return asked, None
    try:
        verify_execution(bundle, asked, Golden(bundle))
    except BadInput as why:
        return asked.on_cpu(), f"{asked.accelerated_by} is not used, the CPU runs the model instead: {why}"
    return asked, None
