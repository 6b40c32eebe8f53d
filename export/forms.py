"""The forms that a graph can take: a format and a precision, and how each is made from a PyTorch module."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from edge_wm.bundle import manifest as mf
from edge_wm.errors import BadInput
from export import (
    linear_layers,
    onnx_export,
    onnx_graph,
    onnx_rewrites,
    tflite_export,
    tflite_one_hot,
    tflite_sampling,
    traceable,
)
from export import quantise as quantisation
from export.onnx_export import to_fp16, to_onnx
from export.quantise import quantise
from export.rollouts import Inputs
from export.tflite_export import halve_tflite, quantise_tflite, to_tflite

RECIPES = (
    onnx_export,
    linear_layers,
    onnx_graph,
    onnx_rewrites,
    quantisation,
    tflite_export,
    tflite_one_hot,
    tflite_sampling,
    traceable,
)
"""How forms are made: a graph that was kept from an older recipe is made anew."""


INT8_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""What becomes int8 in a TFLite graph that is not int8 throughout: as in ONNX, the operators with the work in them."""


class Form(NamedTuple):
    """A format and a precision."""

    format: mf.Format
    precision: mf.Precision


class FormMaker:
    """Makes the forms of one graph.

    Args:
        role: of the graph.
        module: in evaluation mode, without a batch dimension.
        example: inputs by name, in the module's order; their shapes become the graph's.
        outputs: names of the outputs, in order.
        calibration: inputs that int8 takes its scales from.
        float_parts: parts of the names of weights whose layers stay in float in ONNX int8.
        full_integer: whether TFLite int8 is int8 throughout, inputs and outputs included.
        work: folder where finished graphs are kept, so that an interrupted export goes on; None keeps none.
    """

    def __init__(
        self,
        role: mf.Role,
        module: nn.Module,
        example: Inputs,
        outputs: tuple[str, ...],
        calibration: list[Inputs],
        float_parts: tuple[str, ...] = (),
        full_integer: bool = False,
        work: Path | None = None,
    ) -> None:
        self._role, self._module, self._example, self._outputs = role, module, example, outputs
        self._calibration, self._float_parts, self._work = calibration, float_parts, work
        self._full_integer = full_integer
        self._made: dict[Form, bytes] = {}
        self._failed: dict[Form, BadInput] = {}
        self._key = "" if work is None else self._fingerprint()

    def make(self, form: Form) -> bytes:
        """The graph in that form.

        Raises:
            BadInput: it cannot be made; the message names what stands in the way.
        """
        if form not in self._made:
            kept = self._kept(form)
            if kept is not None and kept.exists():
                self._made[form] = kept.read_bytes()
            else:
                self._made[form] = self._export_once(form)
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    partial = kept.with_suffix(".partial")
                    partial.write_bytes(self._made[form])
                    partial.replace(kept)
        return self._made[form]

    def forget(self, forms: Iterable[Form]) -> None:
        """Make these anew the next time: what was kept turned out to be wrong."""
        for form in forms:
            self._made.pop(form, None)
            kept = self._kept(form)
            if kept is not None:
                kept.unlink(missing_ok=True)

    def _export_once(self, form: Form) -> bytes:
        """What fails takes its time and would fail again in every form that is made from it."""
        if form in self._failed:
            raise self._failed[form]
        try:
            return self._export(form)
        except BadInput as error:
            self._failed[form] = error
            raise

    def _export(self, form: Form) -> bytes:
        if form.precision == "fp32":
            example = {name: torch.from_numpy(array) for name, array in self._example.items()}
            convert = to_onnx if form.format == "onnx" else to_tflite
            return convert(self._module, example, self._outputs)
        whole = self.make(Form(form.format, "fp32"))
        if form == ("onnx", "fp16"):
            return to_fp16(whole)
        if form == ("onnx", "int8"):
            return quantise(whole, self._calibration, self._float_parts)
        if form == ("tflite", "fp16"):
            return halve_tflite(whole)
        operators = None if self._full_integer else INT8_OPERATORS
        return quantise_tflite(whole, self._calibration, operators, self._float_parts)

    def _kept(self, form: Form) -> Path | None:
        if self._work is None:
            return None
        return self._work / f"{self._role}.{form.precision}.{self._key}.{form.format}"

    def _fingerprint(self) -> str:
        """Of everything a graph is made from: weights, code, shapes and calibration."""
        digest = hashlib.sha256(torch.__version__.encode())
        for name, stored in self._module.state_dict().items():
            digest.update(name.encode())
            if isinstance(stored, torch.Tensor):
                digest.update(stored.detach().contiguous().numpy().tobytes())
            else:  # what a module says of itself beside its weights, such as the batch size of a tensordict
                digest.update(repr(stored).encode())
        for source in sorted({_source(type(module)) for module in self._module.modules()}):
            digest.update(source.encode())
        for recipe in RECIPES:
            digest.update(inspect.getsource(recipe).encode())
        for case in (self._example, *self._calibration):
            for name, array in case.items():
                digest.update(f"{name}{array.shape}{array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self._outputs, self._float_parts, self._full_integer)).encode())
        return digest.hexdigest()[:16]


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # defined where no file is, such as in a notebook
        return kind.__qualname__
