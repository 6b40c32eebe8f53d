"""What a guard finds in a graph, whatever its format, and whether that is what the manifest says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """What a graph is made of.

    Attributes:
        nodes: how many operators it runs.
        parameters: how many numbers it stores.
        operators: how often each operator occurs, most frequent first.
    """

    nodes: int
    parameters: int
    operators: Mapping[str, int]


def check_border(
    kind: str, have: Mapping[str, TensorSpec], wanted: Sequence[TensorSpec], bad: Callable[[str], BadInput]
) -> None:
    """Refuse inputs or outputs that are not those of the manifest.  Raises what ``bad`` makes of the fact."""
    for spec in wanted:
        found = have.get(spec.name)
        if found is None:
            raise bad(f"has no {kind} {spec.name!r}, which the manifest asks for")
        if found != spec:
            raise bad(f"{kind} is {found}, the manifest says {spec}")
    surplus = sorted(have.keys() - {spec.name for spec in wanted})
    if surplus:
        raise bad(f"has {kind} {surplus[0]!r}, which the manifest does not know")
