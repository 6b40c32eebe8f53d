"""How far each form of a model is from the float model that was trained, on this machine: by its golden vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle
from edge_wm.bundle.manifest import Format, Precision
from edge_wm.bundle.verify import CONTROL_PATH, GoldenCheck, PlanCheck, verify_graph
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput


class OutputError(msgspec.Struct, frozen=True):
    """How far one output is from the trained model's, over all golden cases, in its own unit; None: not finite."""

    role: str
    output: str
    max_abs: float | None
    mean_abs: float | None
    allowed_max_abs: float


class Accuracy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one form and one size of plan.

    Attributes:
        format, precision, candidates: the form; candidates None for the bundle's own size.
        outputs: of the graphs of the control path.
        spearman, elite_overlap, regret: of plans, in the worst golden case: see ``agreement.py``; None where the bundle sets no
            bounds for them.
        failure: why there are no figures.
    """

    format: Format
    precision: Precision
    candidates: int | None = None
    outputs: tuple[OutputError, ...] = ()
    spearman: float | None = None
    elite_overlap: float | None = None
    regret: float | None = None
    failure: str | None = None

    @property
    def worst(self) -> OutputError | None:
        """The output that is nearest to its tolerance, or furthest beyond it."""
        return max(self.outputs, key=_share, default=None)


def accuracy(bundle: Bundle, executions: Iterable[Execution]) -> tuple[Accuracy, ...]:
    """Repeat the golden vectors in each form that the ``executions`` use, on one thread of the CPU.

    Args:
        bundle: loaded with golden vectors and the graphs of the control path.
        executions: the ways of running it.
    """
    golden = Golden(bundle)
    forms = dict.fromkeys((how.format, how.precision, how.candidates) for how in executions)
    return tuple(_of_form(bundle, golden, *form) for form in forms)


def _of_form(
    bundle: Bundle, golden: Golden, format: Format, precision: Precision, candidates: int | None
) -> Accuracy:
    how = Execution(format, precision, candidates=candidates)
    outputs, plans = [], None
    try:
        for role in CONTROL_PATH:
            graph = bundle.graph(role, precision, format, candidates)
            for check in verify_graph(bundle, graph, golden, how):
                if isinstance(check, PlanCheck):
                    plans = check
                else:
                    outputs.append(_error(check))
    except BadInput as error:
        return Accuracy(format, precision, candidates, failure=str(error))
    found = Accuracy(format, precision, candidates, tuple(outputs))
    if plans is None:
        return found
    return msgspec.structs.replace(
        found,
        spearman=_finite(plans.spearman),
        elite_overlap=_finite(plans.elite_overlap),
        regret=_finite(plans.regret),
    )


def _error(check: GoldenCheck) -> OutputError:
    return OutputError(
        check.role,
        check.output,
        _finite(check.max_abs),
        _finite(check.mean_abs),
        check.allowed_max_abs,
    )


def _share(error: OutputError) -> float:
    if error.max_abs == 0.0:  # exact, whatever is allowed
        return 0.0
    if error.max_abs is None or error.allowed_max_abs == 0.0:
        return math.inf
    return error.max_abs / error.allowed_max_abs


def _finite(figure: float) -> float | None:
    return float(f"{figure:.4g}") if math.isfinite(figure) else None
