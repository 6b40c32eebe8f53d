"""Which nodes of a graph an accelerator really runs.

That an engine lists an accelerator proves nothing: it may take no node, and ONNX Runtime may have dropped it without
a word.  So one inference is run in an engine made for this alone, which then says where its nodes were executed.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_wm.engines.engine import Array, EngineError, told
from edge_wm.engines.execution import Execution

_COPIES = ("MemcpyFromHost", "MemcpyToHost")
"""Nodes that ONNX Runtime adds around what runs on a GPU; they compute nothing."""


class Placement(NamedTuple):
    """How many ``nodes`` the CPU alone would execute, and how many are ``left`` to it.

    An accelerator often runs many nodes as one, so what it runs is counted by what is left.
    """

    nodes: int
    left: int

    @property
    def share(self) -> float:
        """Of the nodes that the CPU is spared; 0 where an accelerator adds as many as it takes."""
        return max(0.0, 1 - self.left / self.nodes)


def placement(model: bytes, execution: Execution, inputs: Mapping[str, Array]) -> Placement:
    """Run one inference and tell where it was executed.

    Args:
        model: the graph's bytes.
        execution: with an accelerator.
        inputs: as for ``Engine.run``.

    Raises:
        EngineError: the engine failed, or the accelerator ran nothing.
        BadInput: the engine does not have the accelerator.
    """
    place = _tflite if execution.format == "tflite" else _onnx
    nodes, taken, left = place(model, execution, inputs)
    if not taken:
        raise EngineError(f"{execution.accelerated_by} started but ran no node; the CPU ran all {left}")
    return Placement(nodes, left)


def _onnx(model: bytes, execution: Execution, inputs: Mapping[str, Array]) -> tuple[int, int, int]:
    from edge_wm.engines.providers import PROVIDERS

    alone = _executed(model, execution.on_cpu(), inputs)
    found = _executed(model, execution, inputs)
    taken = found[PROVIDERS[execution.accelerator].name]
    return alone.total(), taken, found.total() - taken


def _executed(model: bytes, execution: Execution, inputs: Mapping[str, Array]) -> Counter[str]:
    """Number of nodes that each execution provider ran in one inference, from ONNX Runtime's own profile of it."""
    from edge_wm.engines.onnxruntime import new_session

    with tempfile.TemporaryDirectory() as folder:
        session = new_session(model, execution, profile=f"{folder}/run")
        try:
            session.run(None, dict(inputs))
        except Exception as error:  # its exceptions share no base class but this
            raise EngineError(f"ONNX Runtime failed: {told(error)}") from None
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return ran(events)


def ran(events: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Number of nodes by execution provider in the events of an ONNX Runtime profile; copies do not count."""
    return Counter(
        event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and event["args"]["op_name"] not in _COPIES
    )


def _tflite(model: bytes, execution: Execution, inputs: Mapping[str, Array]) -> tuple[int, int, int]:
    from edge_wm.engines.litert import LiteRtEngine

    engine = LiteRtEngine(model, execution, xnnpack=False)
    engine.run(inputs)
    nodes, taken = delegated(engine.operators())
    return nodes, taken, nodes - taken


def delegated(operators: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Number of a TFLite graph's own operators, and of those that delegates took: all between their inputs and outputs."""
    every = list(operators)
    own = [operator for operator in every if operator["op_name"] != "DELEGATE"]
    groups = [operator for operator in every if operator["op_name"] == "DELEGATE"]
    maker = {tensor: operator for operator in own for tensor in operator["outputs"]}
    taken: set[int] = set()
    for group in groups:
        border, tensors = set(group["inputs"]), list(group["outputs"])
        while tensors:
            tensor = tensors.pop()
            made_by = maker.get(tensor)
            if made_by is None or tensor in border or made_by["index"] in taken:
                continue
            taken.add(made_by["index"])
            tensors.extend(made_by["inputs"])
    return len(own), len(taken)
