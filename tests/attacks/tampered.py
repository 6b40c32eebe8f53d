"""Every file of the repository, changed on the web server in every way there is: nothing else than the two models ever drives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.attacks.attack import Attack, Deed
from tests.attacks.world import NEW, OLD, Fleet, World

HOLDER = "the web server"

Change = Callable[[Path, Path], bytes | None]
"""From a file and the repository that it is in to what it becomes; None: there is no such change."""


def _bit(at: float) -> Change:
    def change(file: Path, repository: Path) -> bytes | None:
        data = bytearray(file.read_bytes())
        data[int(at * (len(data) - 1))] ^= 4
        return bytes(data)

    return change


def _cut(file: Path, repository: Path) -> bytes | None:
    data = file.read_bytes()
    return data[: len(data) // 2]


def _longer(file: Path, repository: Path) -> bytes | None:
    return file.read_bytes() + b"\n"


def _empty(file: Path, repository: Path) -> bytes | None:
    return b""


def _swapped(file: Path, repository: Path) -> bytes | None:
    """The next file of its folder in its place."""
    files = sorted(file.parent.iterdir())
    return files[(files.index(file) + 1) % len(files)].read_bytes()


def _older(file: Path, repository: Path) -> bytes | None:
    """The version before."""
    version, _, rest = file.name.partition(".")
    if version.isdigit() and int(version) > 1:
        return file.with_name(f"{int(version) - 1}.{rest}").read_bytes()
    older = sorted(file.parent.glob(f"*.{rest}"), key=lambda path: path.stat().st_size)
    if file.name.endswith(".json") and len(older) > 1 and older[0] != file:
        return older[0].read_bytes()
    return None


CHANGES: dict[str, Change] = {
    "a bit at the beginning": _bit(0.02),
    "a bit in the middle": _bit(0.5),
    "a bit at the end": _bit(0.98),
    "cut in half": _cut,
    "one byte longer": _longer,
    "empty": _empty,
    "another file": _swapped,
    "the version before": _older,
}


def files_of(repository: Path) -> list[Path]:
    """All that robots may ask for, relative to the repository."""
    folders = (repository / "metadata", repository / "targets")
    return sorted(
        path.relative_to(repository) for folder in folders for path in folder.rglob("*") if path.is_file()
    )


def tampered(fleet: Fleet) -> list[Attack]:
    """Every change of every file, each an attack."""
    attacks = []
    for file in files_of(fleet.new):
        for name, change in CHANGES.items():
            content = change(fleet.new / file, fleet.new)
            if content is None or content == (fleet.new / file).read_bytes():
                continue
            attacks.append(
                Attack(
                    f"{_short(file)}: {name}",
                    HOLDER,
                    "refused, or not looked at",
                    _put(file, content),
                    ".",
                    drives=f"{OLD}|{NEW}",
                    control=None,
                )
            )
    return attacks


def _put(file: Path, content: bytes) -> Deed:
    def deed(world: World) -> None:
        (world.own_mirror() / file).write_bytes(content)

    return deed


def _short(file: Path) -> str:
    hash_, _, name = file.name.rpartition(".") if len(file.name) > 140 else file.name.partition(".")
    if len(hash_) < 64:
        return file.name
    return f"{hash_[:8]}….{name[:8]}"
