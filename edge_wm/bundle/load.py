"""Reads a bundle and checks it before any engine sees any of it.

Every file is read once.  The bytes that were hashed are the bytes that the engine gets: nothing on disk that
changes afterwards can matter.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import math
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wm.bundle import onnx_guard, tflite_guard
from edge_wm.bundle.graph_summary import GraphSummary
from edge_wm.bundle.manifest import (
    MANIFEST_NAME,
    MAX_DIMENSION,
    FileEntry,
    Format,
    Graph,
    Manifest,
    Precision,
    Role,
    StateTensor,
)
from edge_wm.bundle.manifest_file import decode_manifest
from edge_wm.errors import BadInput, one_line

Array = npt.NDArray[Any]

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
MAX_BUNDLE_BYTES = 1 << 30
MAX_DEPTH = 4

_GUARDS = {"onnx": onnx_guard.check_graph, "tflite": tflite_guard.check_graph}
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Bundle:
    """A checked bundle in memory.

    Attributes:
        directory: where it was read from.
        manifest: what it says of itself.
        sha256: hash of the manifest's bytes; the manifest holds the hash of every file, so this names the model.
        graphs: what the guard found in each graph that it has looked at, by file.
    """

    directory: Path
    manifest: Manifest
    sha256: str
    graphs: dict[str, GraphSummary]
    _content: Mapping[str, bytes] = field(repr=False)

    def read(self, path: str) -> bytes:
        """The bytes of one kept file; the guard has looked at those of a graph.

        Raises:
            KeyError: loading was not asked to keep it.
            BadInput: the guard refuses it.
        """
        data = self._content[path]
        if path not in self.graphs and (graph := self._graph_in(path)) is not None:
            self.graphs[path] = check_graph(data, str(self.directory / path), graph, self.manifest)
        return data

    def _graph_in(self, path: str) -> Graph | None:
        return next((graph for graph in self.manifest.graphs if graph.file == path), None)

    def keeps(self, path: str) -> bool:
        """Whether the bytes of this file were kept."""
        return path in self._content

    def graph(
        self, role: Role, precision: Precision, format: Format = "onnx", candidates: int | None = None
    ) -> Graph:
        """The graph of that role, precision and format, for so many candidates if it is ``imagine``'s.

        Raises:
            BadInput: there is none; the message names what the bundle has instead.
        """
        of_role = [graph for graph in self.manifest.graphs if graph.role == role]
        of_size = [graph for graph in of_role if self._takes(graph, candidates)]
        if not of_size:
            raise BadInput(
                f"{self.directory}: no graph for {role} of {candidates} candidates"
                f" (this bundle has: {', '.join(map(str, self.manifest.sizes))})"
            )
        for graph in of_size:
            if (graph.precision, graph.format) == (precision, format):
                return graph
        have = ", ".join(sorted(graph.precision for graph in of_size if graph.format == format))
        part = of_size[0].part
        raise BadInput(
            f"{self.directory}: no {precision} {format} graph for {part} (this bundle has: {have or 'none'})"
        )

    def _takes(self, graph: Graph, candidates: int | None) -> bool:
        own = self.manifest.imagine.candidates
        return graph.role != "imagine" or (graph.candidates or own) == (candidates or own)

    def only(self, precision: Precision, format: Format, candidates: int | None = None) -> Bundle:
        """The same bundle without its golden vectors and the bytes of the graphs in other forms and sizes."""
        dropped = {self.manifest.golden.file}
        for graph in self.manifest.graphs:
            if (graph.precision, graph.format) != (precision, format) or not self._takes(graph, candidates):
                dropped.add(graph.file)
        kept = {path: data for path, data in self._content.items() if path not in dropped}
        return replace(self, _content=kept)

    def initial_state(self) -> dict[str, Array]:
        """A new copy of the latent state before the first observation."""
        return {tensor.name: self._initial(tensor) for tensor in self.manifest.state}

    def _initial(self, tensor: StateTensor) -> Array:
        """The initial value of one state tensor.  Raises BadInput if its shape and dtype cannot hold it."""
        if isinstance(tensor.initial, str):
            where = str(self.directory / tensor.initial)
            array: Array = array_from_npy(self.read(tensor.initial), where).copy()
            if array.shape != tensor.shape or array.dtype.name != tensor.dtype:
                raise BadInput(
                    f"{where}: holds {array.dtype.name}{list(array.shape)},"
                    f" state {tensor.name} is {tensor.dtype}{list(tensor.shape)}"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BadInput(f"{where}: holds NaN or infinity")
            return array
        dtype = np.dtype(tensor.dtype)
        with np.errstate(all="ignore"):
            value = np.array(tensor.initial).astype(dtype)
        if not (np.isfinite(value) if dtype.kind == "f" else value == tensor.initial):
            raise BadInput(
                f"{self.directory / MANIFEST_NAME}: state {tensor.name} starts as {tensor.initial:g},"
                f" which {tensor.dtype} cannot hold"
            )
        filled: Array = np.full(tensor.shape, value, dtype)
        return filled


def load_bundle(
    directory: Path,
    *,
    roles: Collection[Role] = ("observe", "imagine", "decode"),
    precisions: Collection[Precision] = ("fp32", "fp16", "int8"),
    golden: bool = True,
    whole: bool = True,
) -> Bundle:
    """Read, hash and check a bundle.

    Everything is checked whatever is kept; what is not asked for is dropped to save memory.

    Args:
        directory: the bundle.
        roles: of which roles to keep the graphs.
        precisions: of which precisions to keep the graphs.
        golden: whether to keep the golden vectors.
        whole: let the guard look at every graph now.  Otherwise at each when it is read: of a bundle with many forms, whoever drives
            by one of them starts in half the time.

    Raises:
        BadInput: one line that names the file and what is wrong with it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such bundle directory")
    raw = _read(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest = decode_manifest(raw, str(directory / MANIFEST_NAME))
    if sum(entry.size for entry in manifest.files) > MAX_BUNDLE_BYTES:
        raise BadInput(f"{directory}: files add up to more than {MAX_BUNDLE_BYTES >> 20} MiB")
    for entry in manifest.files:
        check_path(entry.path, str(directory / MANIFEST_NAME))
    _refuse_unlisted(directory, {MANIFEST_NAME, *(entry.path for entry in manifest.files)})

    graphs = {graph.file: graph for graph in manifest.graphs}
    keep = {tensor.initial for tensor in manifest.state if isinstance(tensor.initial, str)}
    keep |= {g.file for g in manifest.graphs if g.role in roles and g.precision in precisions}
    keep |= {manifest.golden.file} if golden else set()
    content: dict[str, bytes] = {}
    summaries: dict[str, GraphSummary] = {}
    for entry in manifest.files:
        data = _read_checked(directory, entry)
        if whole and entry.path in graphs:
            where = str(directory / entry.path)
            summaries[entry.path] = check_graph(data, where, graphs[entry.path], manifest)
        if entry.path in keep:
            content[entry.path] = data
    bundle = Bundle(directory, manifest, hashlib.sha256(raw).hexdigest(), summaries, content)
    bundle.initial_state()  # refuses a bad initial-value file now, not at the first tick
    return bundle


def check_graph(data: bytes, where: str, graph: Graph, manifest: Manifest) -> GraphSummary:
    """Check one graph before any engine sees it, and that it takes and gives what the manifest says.

    Args:
        data: the file.
        where: what to call it in messages.
        graph: which one of the manifest's it is.
        manifest: of the bundle it is for.

    Raises:
        BadInput: one line with the file and what is wrong.
    """
    sized = manifest.sized(graph.candidates)
    return _GUARDS[graph.format](data, where, sized.graph_inputs(graph.role), sized.graph_outputs(graph.role))


def check_path(path: str, where: str) -> None:
    """Refuse anything but a plain relative path inside the bundle.  Raises BadInput that begins with ``where``."""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise BadInput(f"{where}: {path!r} is not a plain relative path inside the bundle")


def array_from_npy(data: bytes, where: str) -> Array:
    """Decode one ``.npy`` file (never a pickle) to a read-only array over ``data``.

    numpy's own reader allocates whatever size the header claims; here the header must match the data.
    Raises BadInput.
    """
    try:
        if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2):
            raise ValueError("not an .npy file of version 1 or 2")
        start = 10 if data[6] == 1 else 12
        length = int.from_bytes(data[8:start], "little")
        if length > 4096 or start + length > len(data):
            raise ValueError("the header is too long or cut off")
        header = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
        shape, dtype = tuple(header["shape"]), np.dtype(str(header["descr"]))
        if dtype.kind not in "fiub" or not dtype.isnative or header["fortran_order"] is not False:
            raise ValueError("not plain numbers in C order")
        if not all(type(size) is int and 0 <= size <= MAX_DIMENSION for size in shape) or len(shape) > 16:
            raise ValueError("an impossible shape")
        body = memoryview(data)[start + length :]
        if math.prod(shape) * dtype.itemsize != len(body):
            raise ValueError("the header does not match the data")
        return np.frombuffer(body, dtype=dtype).reshape(shape)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, MemoryError, RecursionError) as error:
        raise BadInput(f"{where}: not a readable array: {one_line(str(error))}") from None


def _read_checked(directory: Path, entry: FileEntry) -> bytes:
    if entry.size > MAX_FILE_BYTES:
        raise BadInput(f"{directory / entry.path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    data = _read(directory, entry.path, entry.size)
    if len(data) != entry.size:
        raise BadInput(
            f"{directory / entry.path}: {len(data)} bytes, the manifest says {entry.size}: copy it again"
        )
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BadInput(
            f"{directory / entry.path}: SHA-256 differs from the manifest: damaged or altered, copy it again"
        )
    return data


def _read(directory: Path, path: str, limit: int) -> bytes:
    """Read one regular file of at most ``limit`` bytes."""
    where = directory / path
    try:
        with open(where, "rb", opener=_open_no_link) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput(f"{where}: not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        what = "a symbolic link" if error.errno == errno.ELOOP else error.strerror or "cannot be read"
        raise BadInput(f"{where}: {what}") from None
    if len(data) > limit:
        raise BadInput(f"{where}: larger than the {limit} bytes it should have")
    return data


def _open_no_link(path: str, flags: int) -> int:
    """Follow no link, and do not wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _refuse_unlisted(directory: Path, listed: set[str]) -> None:
    """Refuse links, and files and folders that the manifest does not know."""
    known = listed | {parent.as_posix() for path in listed for parent in PurePosixPath(path).parents}
    for folder, names, files in os.walk(directory):
        for name in (*names, *files):
            path = Path(folder, name)
            if path.is_symlink():
                raise BadInput(f"{path}: a symbolic link; a bundle holds plain files only")
            if path.relative_to(directory).as_posix() not in known:
                raise BadInput(f"{path}: not listed in {MANIFEST_NAME}: remove it")
