"""A bundle's golden vectors: recorded inputs of each graph, and what the trained model makes of them."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from edge_wm.bundle.load import MAX_FILE_BYTES, Array, Bundle, array_from_npy
from edge_wm.bundle.manifest import Role, part
from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput, one_line

MAX_ARRAYS = 512


class Case(NamedTuple):
    """Inputs of one call, and the trained model's outputs for them, by name."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


class Golden:
    """The golden vectors of one bundle.

    Args:
        bundle: loaded with ``golden=True``.

    Raises:
        BadInput: the file cannot be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._where = str(bundle.directory / bundle.manifest.golden.file)
        self._arrays = read_npz(bundle.read(bundle.manifest.golden.file), self._where)

    def cases(self, role: Role, candidates: int | None = None) -> list[Case]:
        """The cases of one role; there is at least one.

        Args:
            role: of the graph.
            candidates: of the graph; fewer than the bundle's own are the first of them.

        Raises:
            BadInput: the arrays are not what the manifest says.
        """
        inputs = self._stacked(f"{role}/in", self._manifest.graph_inputs(role))
        if candidates is not None:
            inputs["actions"] = np.ascontiguousarray(inputs["actions"][:, :candidates])
        sized = self._manifest.sized(candidates)
        outputs = self._stacked(f"{part(role, candidates)}/out", sized.graph_outputs(role))
        counts = {len(array) for array in (*inputs.values(), *outputs.values())}
        if len(counts) != 1:
            raise BadInput(f"{self._where}: {role}: arrays have different numbers of cases")
        if counts == {0}:
            raise BadInput(f"{self._where}: {role}: no case, so nothing is proven: record some")
        return [
            Case(
                {name: array[case] for name, array in inputs.items()},
                {name: array[case] for name, array in outputs.items()},
            )
            for case in range(*counts)
        ]

    def _stacked(self, group: str, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
        """The arrays of one group, each ``[cases, *shape]`` as the manifest says."""
        found: dict[str, Array] = {}
        for spec in specs:
            array = self._arrays.get(f"{group}/{spec.name}")
            if array is None:
                raise BadInput(f"{self._where}: lacks {group}/{spec.name}")
            if (
                array.shape[1:] != spec.shape
                or array.dtype.name != spec.dtype
                or len(array.shape) == len(spec.shape)
            ):
                raise BadInput(
                    f"{self._where}: {group}/{spec.name} is {array.dtype.name}{list(array.shape)},"
                    f" should be cases of {spec}"
                )
            found[spec.name] = array
        return found


def read_npz(data: bytes, where: str) -> dict[str, Array]:
    """Read an ``.npz`` file from untrusted bytes: no pickle, and no more memory than a bundle file may have.

    Raises BadInput.
    """
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_FILE_BYTES:
                raise BadInput(
                    f"{where}: more than {MAX_ARRAYS} arrays or {MAX_FILE_BYTES >> 20} MiB unpacked"
                )
            if any(
                member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members
            ):
                raise BadInput(f"{where}: packed with something else than deflate")
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as packed:  # no more than it says it holds, however much is in it
                    unpacked = packed.read(member.file_size)
                arrays[name] = array_from_npy(unpacked, f"{where}: {name!r}")
    except MemoryError:
        raise BadInput(f"{where}: there is no memory to unpack it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadInput(f"{where}: not a readable .npz file: {one_line(str(error))}") from None
    return arrays
