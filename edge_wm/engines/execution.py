"""How a model is run: read from a board file, measured by `edge-wm profile`, or said on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

Accelerator = Literal["cpu", "xnnpack", "cuda", "tensorrt", "delegate"]

ACCELERATORS: dict[str, tuple[Accelerator, ...]] = {
    "onnx": ("cpu", "xnnpack", "cuda", "tensorrt"),
    "tflite": ("cpu", "delegate"),
}
"""What can run the graphs of each format; ``docs/engines.md`` says which of them were tried on the real thing."""


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which form of its graphs is run, on what, and on how many CPU ``threads`` one operator may run.

    Attributes:
        format: of the graphs.
        precision: of the graphs.
        threads: of the CPU, for one operator.
        accelerator: what runs every node that it can; the CPU runs the others.
        delegate: with ``accelerator = "delegate"``: its shared library, by path or as the loader finds it.
        engine_cache: with ``accelerator = "tensorrt"``: folder in which built engines are kept.
        spin: whether threads that wait for the next operator burn CPU to be there sooner, until the graph is done; for
            ONNX graphs on several threads of the CPU.
        candidates: of one plan, one of the sizes that the bundle has; None: as many as the bundle says.

    Raises:
        ValueError: values that are each possible contradict each other.
    """

    format: Literal["onnx", "tflite"] = "onnx"
    precision: Literal["fp32", "fp16", "int8"] = "int8"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    accelerator: Accelerator = "cpu"
    delegate: str | None = None
    engine_cache: str | None = None
    spin: bool = False
    candidates: Annotated[int, msgspec.Meta(ge=1, le=65536)] | None = None

    def __post_init__(self) -> None:
        possible = ACCELERATORS[self.format]
        if self.accelerator not in possible:
            raise ValueError(
                f"accelerator {self.accelerator!r} does not run {self.format} graphs: {', '.join(possible)} do"
            )
        if self.accelerator == "delegate" and not self.delegate:
            raise ValueError("accelerator 'delegate' needs delegate = the path of its shared library")
        for key, value, owner in (
            ("delegate", self.delegate, "delegate"),
            ("engine_cache", self.engine_cache, "tensorrt"),
        ):
            if value is not None and self.accelerator != owner:
                raise ValueError(f"{key} is only for accelerator {owner!r}, this one is {self.accelerator!r}")
        if self.spin and (self.format, self.accelerator) != ("onnx", "cpu"):
            raise ValueError("spin is only for onnx graphs on the accelerator 'cpu'")
        if self.spin and self.threads == 1:
            raise ValueError("spin needs threads = 2 or more: one thread waits for nobody")

    def __str__(self) -> str:
        threads = f"{self.threads}{' spinning' if self.spin else ''} thread{'s' if self.threads > 1 else ''}"
        size = "" if self.candidates is None else f", {self.candidates} candidates"
        form = f"{self.format} {self.precision}, {threads}{size}"
        return form if self.accelerator == "cpu" else f"{form}, {self.accelerated_by}"

    @property
    def accelerated_by(self) -> str:
        """Name of the accelerator for people: a delegate's is its library's."""
        return Path(self.delegate).name if self.delegate else self.accelerator

    def on_cpu(self) -> Execution:
        """The same form on the CPU alone."""
        return Execution(self.format, self.precision, self.threads, candidates=self.candidates)
