"""Turns a sound model file into one that may be anything.  The same seed and number always make the same file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from tests.update.model_files import mutated_onnx, mutated_tflite
from tests.update.model_files.seeds import Seed

INTERESTING_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
FAMILIES = {"onnx": 40, "tflite": 30, "tiny": 18, "shipped": 12}
"""How often each family of seeds is taken, in percent."""


def mutant(number: int, seed: int, families: Mapping[str, Sequence[Seed]]) -> tuple[Seed, str]:
    """One mutated file, with the border of the seed that it comes from, and the name of the way it was mutated.

    Args:
        number: of the file.
        seed: of the campaign.
        families: of seeds.
    """
    chance = Random(f"{seed} {number}")
    family = families[chance.choices(list(FAMILIES), list(FAMILIES.values()))[0]]
    chosen = chance.choice(family)
    way = chance.choices(list(WAYS), [share for share, _ in WAYS.values()])[0]
    data = WAYS[way][1](chance, chosen, family)
    return Seed(chosen.name, chosen.format, data, chosen.inputs, chosen.outputs), way


def _fields(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    """Change fields of the protobuf or the flatbuffer."""
    module = mutated_onnx if seed.format == "onnx" else mutated_tflite
    others = [other for other in family if other.format == seed.format]
    return module.mutated(chance, seed.data, chance.choice(others).data)


def _flipped(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    data = bytearray(seed.data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        place = chance.randrange(len(data))
        data[place] = chance.choice((*INTERESTING_BYTES, data[place] ^ 1 << chance.randrange(8)))
    return bytes(data)


def _extreme(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    """Overwrite two, four or eight aligned bytes with a number that is an extreme."""
    size = chance.choice((2, 4, 8))
    place = chance.randrange(max(1, len(seed.data) // size)) * size
    number = chance.choice(
        (0, 1, -1, 1 << size * 8 - 1, (1 << size * 8 - 1) - 1, len(seed.data), 1 << 16)
    ) % (1 << size * 8)
    return seed.data[:place] + number.to_bytes(size, "little") + seed.data[place + size :]


def _truncated(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    return seed.data[: chance.randrange(len(seed.data))]


def _spliced(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    """Replace a piece by another from anywhere."""
    other = chance.choice(family).data
    place, source = chance.randrange(len(seed.data)), chance.randrange(len(other))
    removed, added = chance.randrange(64), chance.randrange(64)
    return seed.data[:place] + other[source : source + added] + seed.data[place + removed :]


def _doubled(chance: Random, seed: Seed, family: Sequence[Seed]) -> bytes:
    """Say a piece twice."""
    start = chance.randrange(len(seed.data))
    end = min(len(seed.data), start + chance.randrange(1, 256))
    return seed.data[:end] + seed.data[start:]


WAYS: dict[str, tuple[int, Callable[[Random, Seed, Sequence[Seed]], bytes]]] = {
    "fields": (72, _fields),
    "flipped": (10, _flipped),
    "extreme": (6, _extreme),
    "spliced": (6, _spliced),
    "doubled": (3, _doubled),
    "truncated": (3, _truncated),
}
"""The ways to mutate, with their shares in percent."""
