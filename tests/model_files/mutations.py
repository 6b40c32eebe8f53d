"""Turns a sound bundle into one that may be anything.  The same number always makes the same files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import msgspec

from edge_wm.bundle.manifest import MANIFEST_NAME
from tests.model_files import mutated_files, mutated_flat, mutated_onnx, mutated_tflite, mutated_wire
from tests.model_files.seeds import GOLDEN, MEMORY, Family, Seed, Seeds, Template, facts

SEED = "model files 1"
"""Of the campaign: another one makes other files."""
INTERESTING_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
TARGETS: dict[Family | str, int] = {
    "onnx": 39,
    "tflite": 40,
    "blind": 12,
    "shipped": 1,
    "manifest": 4,
    "golden": 3,
    "initial values": 1,
}
"""What is mutated, with its share in percent: a graph of a family, or another file of a bundle."""


class Mutant(NamedTuple):
    """A bundle with one file changed.

    Attributes:
        number: of it.
        seed: what it was made of.
        way: how.
        template: the bundle around it.
        file: its path there.
        data: the file.
    """

    number: int
    seed: str
    way: str
    template: str
    file: str
    data: bytes

    @property
    def format(self) -> str:
        """Of the graphs of the bundle."""
        return self.template.split()[1]


def mutant(number: int, seeds: Seeds) -> Mutant:
    """The mutated bundle of a number."""
    chance = Random(f"{SEED} {number}")
    target = chance.choices(list(TARGETS), list(TARGETS.values()))[0]
    if target in FILES:
        name = chance.choice([name for name in seeds.templates if name.startswith("blind")])
        file, change = FILES[target]
        data = seeds.templates[name].files[file]
        changed = next(made for _ in range(100) if (made := change(chance, data)) != data)
        return Mutant(number, f"{name} {file}", target, name, file, changed)
    family = seeds.of(target)  # type: ignore[arg-type]
    for _ in range(100):  # some changes change nothing
        seed = chance.choice(family)
        way = chance.choices(list(WAYS), [share for share, _ in WAYS.values()])[0]
        data = WAYS[way][1](chance, seed, _other(chance, seed, family))
        if data != seed.data:
            break
    return Mutant(number, seed.name, way, seed.template, seed.file, data)


def _other(chance: Random, seed: Seed, family: list[Seed]) -> Seed:
    """One of the same format."""
    return chance.choice([other for other in family if other.format == seed.format])


FILES: dict[str, tuple[str, Callable[[Random, bytes], bytes]]] = {
    "manifest": (MANIFEST_NAME, mutated_files.manifest),
    "golden": (GOLDEN, mutated_files.npz),
    "initial values": (MEMORY, mutated_files.npy),
}


def _fields(chance: Random, seed: Seed, other: Seed) -> bytes:
    """What the fields mean is known, and most of it stays sound."""
    module = mutated_onnx if seed.format == "onnx" else mutated_tflite
    return module.mutated(chance, seed.data, other.data)


def _encoding(chance: Random, seed: Seed, other: Seed) -> bytes:
    """How the fields are written."""
    module = mutated_wire if seed.format == "onnx" else mutated_flat
    return module.mutated(chance, seed.data, other.data)


def _flipped(chance: Random, seed: Seed, other: Seed) -> bytes:
    data = bytearray(seed.data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        place = chance.randrange(len(data))
        data[place] = chance.choice((*INTERESTING_BYTES, data[place] ^ 1 << chance.randrange(8)))
    return bytes(data)


def _extreme(chance: Random, seed: Seed, other: Seed) -> bytes:
    """Overwrite two, four or eight aligned bytes with a number that is an extreme."""
    size = chance.choice((2, 4, 8))
    place = chance.randrange(max(1, len(seed.data) // size)) * size
    most = (1 << size * 8) - 1
    number = chance.choice((0, 1, most, most - 1, most >> 1, len(seed.data), 1 << 16)) & most
    return seed.data[:place] + number.to_bytes(size, "little") + seed.data[place + size :]


def _truncated(chance: Random, seed: Seed, other: Seed) -> bytes:
    return seed.data[: chance.randrange(len(seed.data))]


def _spliced(chance: Random, seed: Seed, other: Seed) -> bytes:
    """Replace a piece by another from anywhere."""
    place, source = chance.randrange(len(seed.data)), chance.randrange(len(other.data))
    removed, added = chance.randrange(64), chance.randrange(64)
    return seed.data[:place] + other.data[source : source + added] + seed.data[place + removed :]


def _doubled(chance: Random, seed: Seed, other: Seed) -> bytes:
    """Say a piece twice."""
    start = chance.randrange(len(seed.data))
    end = min(len(seed.data), start + chance.randrange(1, 256))
    return seed.data[:end] + seed.data[start:]


WAYS: dict[str, tuple[int, Callable[[Random, Seed, Seed], bytes]]] = {
    "fields": (66, _fields),
    "encoding": (12, _encoding),
    "flipped": (8, _flipped),
    "extreme": (5, _extreme),
    "spliced": (4, _spliced),
    "doubled": (2, _doubled),
    "truncated": (3, _truncated),
}
"""The ways to mutate a graph, with their shares in percent."""


def files(template: Template, file: str, data: bytes) -> dict[str, bytes]:
    """A changed file and, unless it is the manifest, the manifest that vouches for it."""
    if file == MANIFEST_NAME:
        return {file: data}
    told = facts(template)
    entry = {"path": file, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    told["files"] = [entry if known["path"] == file else known for known in told["files"]]
    return {file: data, MANIFEST_NAME: msgspec.json.encode(told)}
