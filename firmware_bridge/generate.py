"""Makes both ends of the wire protocol, and the tables of its documentation, out of ``protocol.toml``.

``python -m firmware_bridge.generate`` writes them; with ``--check`` it only says whether they are up to date.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
DEFINITION = HERE / "protocol.toml"
PYTHON = HERE / "wire.py"
HEADER = HERE / "firmware" / "core" / "wire.h"
PAGE = HERE.parent / "docs" / "wire-protocol.md"
TABLES = ("<!-- made from protocol.toml -->\n", "<!-- until here -->\n")

FORMATS = {"u8": "B", "u16": "H", "u32": "I", "i16": "h", "i32": "i"}
"""Letters of Python's ``struct``."""
SIZES = {"u8": 1, "u16": 2, "u32": 4, "i16": 2, "i32": 4}
"""Bytes."""


def protocol_hash(definition: dict[str, Any]) -> int:
    """The first 32 bits of a SHA-256 over everything that both ends must agree on, which prose is not."""
    agreed = {
        "enums": [
            [enum["name"], [[name, number] for name, number, _ in enum["values"]]]
            for enum in definition["enum"]
        ],
        "messages": [
            [
                message["name"],
                message["id"],
                message.get("answer"),
                [[name, kind] for name, kind, _ in message["fields"]],
            ]
            for message in definition["message"]
        ],
    }
    text = json.dumps(agreed, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def python_module(definition: dict[str, Any]) -> str:
    """``wire.py``."""
    return "\n".join(_python_lines(definition)) + "\n"


def _python_lines(definition: dict[str, Any]) -> Iterator[str]:
    yield '"""Messages of the wire protocol.  Made from ``protocol.toml`` by ``python -m firmware_bridge.generate``: do not edit."""'
    yield "\nfrom __future__ import annotations\n"
    yield "import struct\nfrom enum import IntEnum, IntFlag\nfrom typing import NamedTuple\n"
    yield f"PROTOCOL = 0x{protocol_hash(definition):08X}"
    yield '"""Hash of the definition: both ends must have the same."""\n'
    for enum in definition["enum"]:
        kind = "IntFlag" if _is_bits(enum) else "IntEnum"
        yield f'\nclass {enum["name"]}({kind}):\n    """{enum["about"]}"""\n'
        for name, number, about in enum["values"]:
            yield f'    {name} = {number}\n    """{_sentence(about)}"""'
        yield ""
    for message in definition["message"]:
        yield f"\nclass {message['name']}(NamedTuple):"
        yield f'    """{message["about"]}"""'
        for number, (name, _, about) in enumerate(message["fields"]):
            yield ("" if number else "\n") + f'    {name}: int\n    """{_sentence(about)}"""'
        yield ""
    names = "\n    | ".join(message["name"] for message in definition["message"])
    yield f"\nMessage = (\n    {names}\n)\n"
    yield "LAYOUTS: dict[int, tuple[type[Message], struct.Struct]] = {"
    for message in definition["message"]:
        letters = "".join(FORMATS[kind] for _, kind, _ in message["fields"])
        yield f'    {message["id"]}: ({message["name"]}, struct.Struct("<{letters}")),'
    yield '}\n"""What a message of each type is, and how its fields lie in a frame."""'
    yield "TYPES = {kind: number for number, (kind, _) in LAYOUTS.items()}"
    yield '"""The type of each message."""'


def c_header(definition: dict[str, Any]) -> str:
    """``wire.h``."""
    return "\n".join(_c_lines(definition)) + "\n"


def _c_lines(definition: dict[str, Any]) -> Iterator[str]:
    yield "/* Messages of the wire protocol.  Made from protocol.toml by `python -m firmware_bridge.generate`: do not edit. */"
    yield "#ifndef WIRE_H\n#define WIRE_H\n\n#include <stdint.h>\n"
    yield "/* Hash of the definition: both ends must have the same. */"
    yield f"#define WIRE_PROTOCOL 0x{protocol_hash(definition):08X}UL\n"
    for enum in definition["enum"]:
        yield f"/* {enum['about']} */"
        for name, number, about in enum["values"]:
            yield f"#define {enum['name'].upper()}_{name} {number}U /* {about} */"
        yield ""
    yield _C_ACCESS
    for message in definition["message"]:
        name, fields = _snake(message["name"]), message["fields"]
        yield f"#define WIRE_{name.upper()} {message['id']}U"
        if not fields:
            yield ""
            continue
        yield f"#define WIRE_{name.upper()}_SIZE {sum(SIZES[kind] for _, kind, _ in fields)}U\n"
        yield "typedef struct {"
        for field, kind, about in fields:
            yield f"    {_c_type(kind)} {field}; /* {about} */"
        yield f"}} wire_{name}_t;\n"
        yield from _c_codec(name, fields, writes="answer" not in message)
    yield "#endif"


def _c_codec(name: str, fields: list[list[str]], writes: bool) -> Iterator[str]:
    """The firmware writes what it says and reads what it is told."""
    if writes:
        yield f"static inline void wire_write_{name}(const wire_{name}_t *from, uint8_t *to)\n{{"
    else:
        yield f"static inline void wire_read_{name}(const uint8_t *from, wire_{name}_t *to)\n{{"
    offset = 0
    for field, kind, _ in fields:
        unsigned = kind.replace("i", "u")
        if writes:
            yield f"    wire_put_{unsigned}(&to[{offset}], ({_c_type(unsigned)})from->{field});"
        else:
            yield f"    to->{field} = ({_c_type(kind)})wire_get_{unsigned}(&from[{offset}]);"
        offset += SIZES[kind]
    yield "}\n"


_C_ACCESS = """\
static inline uint8_t wire_get_u8(const uint8_t *from)
{
    return from[0];
}

static inline uint16_t wire_get_u16(const uint8_t *from)
{
    return (uint16_t)((uint16_t)from[0] | (uint16_t)((uint16_t)from[1] << 8));
}

static inline uint32_t wire_get_u32(const uint8_t *from)
{
    return (uint32_t)wire_get_u16(&from[0]) | ((uint32_t)wire_get_u16(&from[2]) << 16);
}

static inline void wire_put_u8(uint8_t *to, uint8_t number)
{
    to[0] = number;
}

static inline void wire_put_u16(uint8_t *to, uint16_t number)
{
    to[0] = (uint8_t)(number & 0xFFU);
    to[1] = (uint8_t)(number >> 8);
}

static inline void wire_put_u32(uint8_t *to, uint32_t number)
{
    wire_put_u16(&to[0], (uint16_t)(number & 0xFFFFU));
    wire_put_u16(&to[2], (uint16_t)(number >> 16));
}
"""


def tables(definition: dict[str, Any]) -> str:
    """The tables of ``docs/wire-protocol.md``."""
    return "\n".join(_table_lines(definition)) + "\n"


def _table_lines(definition: dict[str, Any]) -> Iterator[str]:
    yield f"Protocol hash: `0x{protocol_hash(definition):08X}`.\n"
    for message in definition["message"]:
        name, number = message["name"], message["id"]
        answer = f", answered by `{message['answer']}`" if "answer" in message else ""
        yield f"### {name}: type {number}{answer}\n\n{message['about']}\n"
        if message["fields"]:
            yield "| bytes | field | type | |\n|---|---|---|---|"
        offset = 0
        for field, kind, about in message["fields"]:
            yield f"| {offset} to {offset + SIZES[kind] - 1} | `{field}` | {kind} | {about} |"
            offset += SIZES[kind]
        if message["fields"]:
            yield ""
    for enum in definition["enum"]:
        yield f"### {enum['name']}\n\n{enum['about']}\n\n| number | name | |\n|---|---|---|"
        for name, number, about in enum["values"]:
            yield f"| {number} | {name} | {about} |"
        yield ""


def _is_bits(enum: dict[str, Any]) -> bool:
    return all(number and number & (number - 1) == 0 for _, number, _ in enum["values"])


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _c_type(kind: str) -> str:
    return f"{'u' if kind[0] == 'u' else ''}int{kind[1:]}_t"


def outputs() -> dict[Path, str]:
    """What each made file should hold."""
    definition = tomllib.loads(DEFINITION.read_text())
    before, _, after = _parts(PAGE.read_text())
    return {
        PYTHON: python_module(definition),
        HEADER: c_header(definition),
        PAGE: before + tables(definition) + after,
    }


def _parts(page: str) -> tuple[str, str, str]:
    """A page before, between and after the marks of the tables."""
    start, end = page.index(TABLES[0]) + len(TABLES[0]), page.index(TABLES[1])
    return page[:start], page[start:end], page[end:]


def main() -> None:
    """Write what is made, or check it."""
    check = sys.argv[1:] == ["--check"]
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if check and stale:
        names = ", ".join(str(path.relative_to(HERE.parent)) for path in stale)
        sys.exit(
            f"error: not made from protocol.toml as it is: {names}: run  python -m firmware_bridge.generate"
        )
    for path in stale:
        path.write_text(outputs()[path])


if __name__ == "__main__":
    main()
