"""Writes `docs/boards/` and `boards/board.schema.json` from the board files and their structs: ``python -m docs.boards``.

It is here and not in `boards/`, because that folder is installed on robots.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_wm.board import Board, Peak, board_files, load_board
from edge_wm.paths import shipped
from edge_wm.profile.profile_file import read_profile

FOLDER = Path(__file__).with_name("boards")
SCHEMA = shipped("boards", "board.schema.json")
PROFILES = shipped("boards", "profiles")

MADE = "<!-- made by python -m docs.boards -->"


def made_files() -> dict[Path, str]:
    """Every file that is made here, with its text.

    Raises:
        BadInput: a board file or a profile is malformed.
    """
    boards = {name: load_board(file) for name, file in board_files().items()}
    measured = profiles_of(PROFILES)
    made = {
        FOLDER / f"{name}.md": board_page(board, measured.get(name, [])) for name, board in boards.items()
    }
    made[FOLDER / "README.md"] = overview(boards, measured)
    made[SCHEMA] = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return made


def profiles_of(folder: Path) -> dict[str, list[Path]]:
    """The contributed profiles by board."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.json")):
        found.setdefault(read_profile(file).board, []).append(file)
    return found


# --- the schema ------------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """JSON schema of a board file, with what the structs' docstrings say of each key."""
    made = msgspec.json.schema(Board)
    for definition in made["$defs"].values():
        says = attributes(definition["description"])
        definition["description"] = inspect.cleandoc(definition["description"]).partition("\n")[0]
        for key, said in definition.get("properties", {}).items():
            said["description"] = says[key]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Board file of edge-wm",
        **_for_toml(made),
    }


def attributes(docstring: str) -> dict[str, str]:
    """The section "Attributes" of a docstring: a line each."""
    section = inspect.cleandoc(docstring).partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.M)
    return {name: " ".join(said.split()) for name, said in entries}


def _for_toml(node: Any) -> Any:
    """The schema without null, which TOML does not have, and with the end of a pattern as JavaScript writes it."""
    if isinstance(node, list):
        return [_for_toml(item) for item in node]
    if not isinstance(node, dict):
        return node
    if [item for item in node.get("anyOf", []) if item == {"type": "null"}]:
        some = [item for item in node["anyOf"] if item != {"type": "null"}]
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, **some[0]}
    node = {key: value for key, value in node.items() if not (key == "default" and value is None)}
    if "pattern" in node:
        node["pattern"] = node["pattern"].replace(r"\Z", "$")
    if isinstance(node.get("default"), dict):
        del node["default"]  # what its own keys say
    return {key: _for_toml(value) for key, value in node.items()}


# --- the pages -------------------------------------------------------------------------------------------------------


def overview(boards: dict[str, Board], measured: dict[str, list[Path]]) -> str:
    """`docs/boards/README.md`: all boards, how one is recognised, every key, how to add one."""
    rows = (
        [
            f"[{name}]({name}.md)",
            board.description,
            recognised_by(board),
            str(board.engine),
            _links(measured.get(name, [])),
        ]
        for name, board in boards.items()
    )
    return f"""{MADE}

# Boards

A board file, [`boards/*.toml`](../../boards), says what a computer is recognised by, how it runs a model that was never profiled on it, what is
connected where, what it says of its health, what an installation needs, and what is known to go wrong. The robot file names one: `board = "rpi5"`.
[Why boards are files](../decisions/0010-boards-and-the-driving-service.md).

**Nothing in a board file was measured.** Each was written from documentation and source code, which its comments name. What was measured on a real
board is in the last column, [contributed](../profiles.md) by those who have it; an empty one says that nobody has.

{_table(["board", "what it is", "recognised by", "engine until it is profiled", "measured"], rows)}

The engine is where a robot begins; `edge-wm profile` measures what is faster, and `edge-wm drive` follows it ([engines](../engines.md)). Everywhere it is the CPU: an
accelerator is used once it was installed and has [proven](../engines.md#what-counts-as-proof) that it ran.

## Recognition

`edge-wm doctor` says which board it takes the machine for, and why. Everything given in `[recognised]` must hold. Of several boards the one that asks for most wins: a device on
PCI or USB before a name in the device tree, that before the processor, that before its features. The generic boards ask for the architecture alone and come last. `sim` asks for
nothing: it is only ever named. If two ask for as much, that is an error and not a guess.

What is named in the robot file counts, whatever is recognised. In a container the device tree is often hidden, and in a virtual machine there is none: a generic board is recognised then.

A 32-bit system is refused, also under a 64-bit kernel: there are no engines for it.

## Add a board

One file and no code:

1. Copy the nearest of [`boards/*.toml`](../../boards) to `boards/NAME.toml` in a checkout and change it. An editor with Taplo (in VS Code: Even Better TOML) checks it against
   [`board.schema.json`](../../boards/board.schema.json) and explains each key. The facts of the machine:

   ```
   tr '\\0' '\\n' < /proc/device-tree/compatible     # compatible
   head -9 /proc/cpuinfo                           # cpu = "CPU implementer/CPU part", features
   lspci -nn; lsusb                                # pci, usb
   grep . /sys/class/thermal/thermal_zone*/type    # thermal_zones
   ```

2. Write only what a datasheet, a manual or a source file says, with its address in a comment. No measured speed belongs there.
3. `python -m docs.boards` writes its page. Put the machine's facts into `tests/test_recognise.py`, so that no other board is mistaken for it.
4. `edge-wm profile --contribute boards/profiles` on the board, and the last column is no longer empty ([profiles](../profiles.md)).

For your own robot alone the file may also lie beside the robot file: `board = "mine.toml"`. It is not recognised there, and need not be.

## Keys

Only `name` and `description` must be there. Lists of tables are written as `[[traps]]` or in one line.

{_table(["key", "type", "says"], _keys())}
"""


def board_page(board: Board, profiles: list[Path]) -> str:
    """The page of one board."""
    return "\n\n".join(_sections(board, profiles)) + "\n"


def recognised_by(board: Board) -> str:
    """What the board is recognised by, in a table's cell."""
    wanted = board.recognised
    if wanted is None:
        return "never: it is named"
    facts = [wanted.architecture]
    facts += [f"device tree {_either(wanted.compatible)}"] if wanted.compatible else []
    facts += [f"CPU `{wanted.cpu}`"] if wanted.cpu else []
    facts += [f"`{feature}`" for feature in wanted.features]
    devices = [f"PCI {_either(wanted.pci)}"] if wanted.pci else []
    devices += [f"USB {_either(wanted.usb)}"] if wanted.usb else []
    facts += [" or ".join(devices)] if devices else []
    return ", ".join(facts)


def _sections(board: Board, profiles: list[Path]) -> Iterator[str]:
    yield f"{MADE}\n\n# {board.name}"
    yield f"{board.description}. Board file: [`boards/{board.name}.toml`](../../boards/{board.name}.toml)."
    if board.recognised is None:
        yield "It is no computer of its own: how fast it is depends on the one that the simulator runs on."
    elif profiles:
        yield f"Measured: {_links(profiles)}, see [profiles](../profiles.md). Everything else on this page is from documentation."
    else:
        yield "**Nothing was measured on this board.** What this page says is from documentation and source code."
    facts = [("recognised by", recognised_by(board)), ("engine until it is profiled", str(board.engine))]
    if board.cores is not None:
        loop = ", ".join(map(str, board.cores.control))
        facts.append(("cores", f"{board.cores.count}" + (f"; for the control loop: {loop}" if loop else "")))
    if board.camera is not None:
        facts.append(("camera", "; ".join(filter(None, _camera(board)))))
    if board.budgets is not None:
        memory, disk = board.budgets.memory_mb, board.budgets.disk_mb
        facts.append(
            (
                "budgets",
                f"{memory} MB of RAM for the process that drives, {disk} MB free on the disk to install it: set, not measured",
            )
        )
    if board.peak is not None:
        facts.append(("a core at most", _peak(board.peak)))
    yield _table(["", ""], facts)
    if buses := list(_buses(board)):
        yield "## Buses and pins\n\nPins are numbers of the 40-pin header."
        yield _table(["", "device", "pins"], buses)
        if board.buses.enable is not None:
            yield f"First: {board.buses.enable}."
    if health := list(_health(board)):
        yield "## Health"
        yield _table(["", "from", "says"], health)
    if board.install is not None:
        yield "## Installation\n\n" + "\n".join(f"- {line}" for line in _install(board))
    if board.traps:
        yield "## Traps"
        rows = ([trap.symptom, trap.cause, trap.fix, f"[source]({trap.source})"] for trap in board.traps)
        yield _table(["what is seen", "why", "what to do", ""], rows)


def _peak(peak: Peak) -> str:
    return (
        f"{peak.hz / 1e9:g} GHz, {peak.float_per_cycle} floating-point or {peak.int8_per_cycle} int8 operations a cycle; memory "
        f"{peak.bytes_per_s / 1e9:g} GB/s: by {peak.sources}, not measured"
    )


def _camera(board: Board) -> Iterator[str | None]:
    assert board.camera is not None
    yield board.camera.path
    yield f"`{board.camera.source}`" if board.camera.source else None
    yield board.camera.note


def _buses(board: Board) -> Iterator[list[str]]:
    for bus in board.buses.i2c:
        yield ["I2C", f"`{bus.device}`", f"SDA {bus.sda}, SCL {bus.scl}"]
    for port in board.buses.serial:
        yield ["serial", f"`{port.device}`", "USB" if port.tx is None else f"TX {port.tx}, RX {port.rx}"]
    if board.buses.gpio_chip is not None:
        yield ["GPIO", f"`{board.buses.gpio_chip}`", ""]


def _health(board: Board) -> Iterator[list[str]]:
    health = board.health
    if board.install is None or not health.thermal_zones:
        return
    hot = "" if health.throttles_at_c is None else f"; clocks are lowered from {health.throttles_at_c:g} °C"
    zones = " or ".join(f"`{zone}`" for zone in health.thermal_zones)
    yield ["temperature", f"`/sys/class/thermal`, zone {zones}", f"1/1000 °C{hot}"]
    for what, source, says in (
        ("throttled", health.throttled, health.throttled_gives or ""),
        ("governor", health.governor, ""),
        ("clock", health.clock, "kHz"),
    ):
        if source is not None:
            yield [what, f"`{source}`", says]
    if health.power:
        yield ["power", ", ".join(f"`{source}`" for source in health.power), health.power_gives or ""]


def _install(board: Board) -> Iterator[str]:
    needs = board.install
    assert needs is not None
    yield f"Python: {needs.python}"
    if needs.packages:
        yield f"Debian packages: `{' '.join(needs.packages)}`"
    if needs.extras:
        yield f"`pip install 'edge-wm[{','.join(needs.extras)}]'`"
    if needs.system_site_packages:
        yield "a virtual environment that sees the system's packages: `python3 -m venv --system-site-packages`"
    if needs.groups:
        yield f"groups of the user: `{' '.join(needs.groups)}`"


def _keys(kind: type[msgspec.Struct] = Board, above: str = "") -> Iterator[list[str]]:
    """Rows for the keys of a struct and of those in it."""
    says = attributes(kind.__doc__ or "")
    for field in msgspec.structs.fields(kind):
        key = f"{above}{field.name}"
        inside, shape = _struct_in(field.type), _shape(schema_of(kind, field.encode_name))
        yield [f"`{key}`", shape, says[field.name]]
        if inside is not None:
            yield from _keys(inside, f"{key}.")


def _struct_in(annotation: object) -> type[msgspec.Struct] | None:
    """The struct that a field holds, alone, in a list, or if it is there."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    inside = (_struct_in(part) for part in getattr(annotation, "__args__", ()))
    return next((struct for struct in inside if struct is not None), None)


def schema_of(kind: type[msgspec.Struct], key: str) -> dict[str, Any]:
    """Schema of one key of a struct, without null."""
    return _for_toml(msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][key])


def _shape(said: dict[str, Any]) -> str:
    """Type of a key, for people."""
    if "enum" in said:
        return " or ".join(f"`{value}`" for value in said["enum"])
    if "$ref" in said:
        return "table"
    if said["type"] == "array":
        return f"list, each: {_shape(said['items'])}"
    low, high = said.get("minimum"), said.get("maximum")
    bounds = "" if low is None else f", {low} to {high}"
    return {"boolean": "true or false"}.get(said["type"], said["type"]) + bounds


def _links(files: list[Path]) -> str:
    return ", ".join(f"[{file.stem}](../../boards/profiles/{file.name})" for file in files)


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> None:
    """Write the pages and the schema; a page whose board is gone goes too."""
    made = made_files()
    for page in FOLDER.glob("*.md"):
        if page not in made:
            page.unlink()
    for file, text in made.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
