"""A few seeds that are there at once, for tests; no engine runs while they are made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper

from tests.blind_model import node
from tests.model_files.onnx_seeds import grafted
from tests.model_files.seeds import FORMATS, Seed, Seeds, blind, small
from tests.model_files.tflite_operators import OPERATORS
from tests.model_files.tflite_seeds import grafted as grafted_tflite
from tests.tiny_model import constant, model, value


def few_seeds(folder: Path) -> Seeds:
    """Both small bundles and both blind ones, some operators, and the blind graphs once more as those that are shipped."""
    templates = {}
    for format in FORMATS:
        templates[f"blind {format}"] = blind(folder / f"blind-{format}", format)
        templates[f"small {format}"] = small(folder / f"small-{format}", format)
    seeds = [
        Seed(f"{name} {file}", family, name, file, data)
        for name, template in templates.items()
        for family in ("blind", "shipped")
        for file, data in template.files.items()
        if file.endswith((".onnx", ".tflite"))
    ]
    for name, operator in _operators().items():
        data = grafted(operator, [np.ones((2, 3), np.float32)]).SerializeToString()
        seeds.append(Seed(name, "onnx", "small onnx", "observe.int8.onnx", data))
    for number, chosen in enumerate(OPERATORS[::8]):
        data = grafted_tflite(chosen)
        seeds.append(Seed(f"{chosen.name} {number}", "tflite", "small tflite", "observe.int8.tflite", data))
    return Seeds(templates, seeds)


def save_few(folder: Path) -> Seeds:
    """Where a campaign looks for its seeds."""
    made = few_seeds(folder)
    (folder / "seeds").write_bytes(msgspec.msgpack.encode(made))
    return made


def _operators() -> dict[str, onnx.ModelProto]:
    x, y = value("x", [2, 3]), value("y", [2, 3])
    return {
        "relu": model([node("Relu", "x", "y")], [x], [y], []),
        "softmax": model([node("Softmax", "x", "y", axis=-1)], [x], [y], []),
        "add": model(
            [helper.make_node("Add", ["x", "b"], ["y"])], [x], [y], [constant("b", np.ones(3, np.float32))]
        ),
    }
