"""How a model is run: read from a board file, measured by `edge-wm profile`, or said on the command line."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which form of its graphs is run, and on how many CPU ``threads`` one operator may run."""

    format: Literal["onnx", "tflite"] = "onnx"
    precision: Literal["fp32", "fp16", "int8"] = "int8"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    def __str__(self) -> str:
        return f"{self.format} {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"
