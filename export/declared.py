"""Whether a model gives and is given what its adapter declares, before anything is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge_wm.bundle import manifest as mf
from edge_wm.bundle.manifest_file import decode_manifest, encode_manifest
from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput, one_line
from edge_wm.sensors.observation import Array

if TYPE_CHECKING:
    from export.adapter import Adapter


def returned(
    name: str, role: mf.Role, specs: Sequence[TensorSpec], outputs: Sequence[Array]
) -> dict[str, Array]:
    """Outputs of a module by name.

    Args:
        name: of the model.
        role: of the module.
        specs: what is declared, in order.
        outputs: what the module returned.

    Raises:
        BadInput: they are not what is declared, or hold NaN or infinity.
    """
    if len(outputs) != len(specs):
        raise BadInput(
            f"{name}: {role} returns {len(outputs)} tensors, declared are {len(specs)}:"
            f" {', '.join(spec.name for spec in specs)}"
        )
    for spec, array in zip(specs, outputs, strict=True):
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise BadInput(
                f"{name}: {role} returns {array.dtype.name}{list(array.shape)} where {spec} is declared"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadInput(
                f"{name}: {role} gives NaN or infinity as {spec.name}, in PyTorch, on the recordings"
            )
    return {spec.name: array for spec, array in zip(specs, outputs, strict=True)}


def check_initial(adapter: Adapter) -> None:
    """Refuse arrays of ``initial`` that fit no state tensor.  Raises BadInput."""
    shapes = {tensor.name: tensor.shape for tensor in adapter.state}
    for name, array in adapter.initial.items():
        if name not in shapes:
            raise BadInput(f"{adapter.name}: initial has {name!r}, state has {', '.join(shapes)}")
        if np.shape(array) != shapes[name]:
            raise BadInput(
                f"{adapter.name}: initial {name} has shape {list(np.shape(array))}, declared is {list(shapes[name])}"
            )


def check_manifest_to_be(manifest: mf.Manifest) -> None:
    """Refuse now what the loader would refuse when everything is exported.

    Args:
        manifest: of the bundle to be, without tolerances and files.

    Raises:
        BadInput: a field is not what a manifest may hold, or fields contradict each other.
    """
    anything = tuple(
        mf.Tolerance(graph.role, graph.precision, "*", 0.0, 0.0, graph.format, graph.candidates)
        for graph in manifest.graphs
    )
    paths = [manifest.golden.file, manifest.model_card, *(graph.file for graph in manifest.graphs)]
    paths += [tensor.initial for tensor in manifest.state if isinstance(tensor.initial, str)]
    whole = msgspec.structs.replace(
        manifest,
        golden=mf.GoldenVectors(manifest.golden.file, anything),
        files=tuple(mf.FileEntry(path, 0, "0" * 64) for path in paths),
    )
    try:
        encoded = encode_manifest(whole)
    except TypeError as error:
        raise BadInput(f"{manifest.name}: a declaration is not plain data: {one_line(str(error))}") from None
    decode_manifest(encoded, manifest.name)


def check_float_parts(adapter: Adapter) -> None:
    """Refuse a part of a name that no layer has: the layer that was meant would become int8.  Raises BadInput."""
    names = [head.name for head in adapter.heads] + [f"next_{tensor.name}" for tensor in adapter.state]
    for module in adapter.modules.values():
        names += module.state_dict().keys()
        for part in module.modules():
            names += (f"{type(child).__name__}_{path}" for path, child in part.named_children())
    for part in adapter.float_parts:
        if not any(part in name for name in names):
            weight = next(iter(adapter.imagine.state_dict()), "")
            raise BadInput(
                f"{adapter.name}: float_parts: no layer has {part!r} in its name; names are such as {weight}"
            )


def check_splits(name: str, calibration: list[dict[str, Array]], held_out: list[dict[str, Array]]) -> None:
    """Refuse held-out cases that were all calibrated on: they prove nothing of int8.  Raises BadInput."""
    met = {_bytes(case) for case in calibration}
    if all(_bytes(case) in met for case in held_out):
        raise BadInput(
            f"{name}: recordings('held-out') are those of 'calibration': give other episodes for the proof"
        )


def _bytes(case: Mapping[str, Array]) -> bytes:
    return b"".join(np.ascontiguousarray(array).tobytes() for array in case.values())
