"""What a board file may say, how a wrong one is refused, and that schema and pages are those of the files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from docs.boards import FOLDER, PROFILES, attributes, board_page, made_files, overview, profiles_of, schema
from edge_wm.board import Board, Buses, board_files, load_board
from edge_wm.cli import run
from edge_wm.errors import BadInput
from edge_wm.install_facts import CAMERA_PACKAGES, facts
from edge_wm.paths import shipped
from edge_wm.robot import DEFAULT_ROBOT
from edge_wm.toml_file import read_table

ROOT = Path(__file__).resolve().parents[1]
BOARDS = {name: load_board(file) for name, file in board_files().items()}


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    """A copy of a board's file, to be spoilt."""
    file = tmp_path / "mine.toml"
    file.write_text(board_files()["rpi5-hailo"].read_text())
    return file


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"the board file no longer has {old!r} once"
    file.write_text(text.replace(old, new))


def test_the_boards_that_were_asked_for_are_there() -> None:
    assert list(BOARDS) == [
        "generic-aarch64",
        "generic-x86-64",
        "jetson-nano",
        "jetson-orin-nano",
        "rpi-coral",
        "rpi-zero-2w",
        "rpi4",
        "rpi5",
        "rpi5-hailo",
        "sim",
    ]


WRONG = [
    # what stands in the file, what is put there, what the refusal says after the file
    ("[budgets]", "[budget]", "object contains unknown field `budget`"),
    ("memory_mb = 256", "latency_ms = 20", "budgets: object contains unknown field `latency_ms`"),
    ("memory_mb = 256", 'memory_mb = "256 MB"', "budgets.memory_mb: expected `int`, got `str`"),
    ("memory_mb = 256", "memory_mb = 0", "budgets.memory_mb: expected `int` >= 1"),
    ('description = "', 'describes = "', "object contains unknown field `describes`"),
    ('name = "rpi5-hailo"', 'name = "../rpi5"', "name: expected `str` matching regex"),
    ('architecture = "aarch64"', 'architecture = "armv7l"', "recognised.architecture: invalid enum value"),
    ('cpu = "0x41/0xd0b"', 'cpu = "0xd0b"', "recognised.cpu: expected `str` matching regex"),
    ('pci = ["1e60:2864"]', 'pci = ["1E60:2864"]', "recognised.pci[0]: expected `str` matching regex"),
    ('pci = ["1e60:2864"]', 'pci = "1e60:2864"', "recognised.pci: expected `array`, got `str`"),
    ("control = [3]", "control = [4]", "cores: control: there is no core 4, they are 0 to 3"),
    ('path = "picamera2"', 'path = "webcam"', "camera.path: invalid enum value 'webcam'"),
    ('path = "picamera2"', 'path = "gstreamer"', "camera: path 'gstreamer' needs source"),
    (
        'path = "picamera2"',
        'path = "picamera2"\nsource = "/dev/video0"',
        "camera: path 'picamera2' has no source",
    ),
    ("sda = 3", "sda = 41", "buses.i2c[0].sda: expected `int` <= 40"),
    ("throttles_at_c = 80.0", "throttles_at_c = nan", "health.throttles_at_c: expected a finite number"),
    ("throttles_at_c = 80.0", "throttles_at_c = 80000", "health.throttles_at_c: expected `float` <= 125.0"),
    (
        'throttled = "vcgencmd get_throttled"',
        'throttled = "Vc"',
        "health.throttled: expected `str` matching regex",
    ),
    (
        'source = "https://github.com/hailo-ai/hailort"',
        'source = "somebody"',
        "traps[0].source: expected `str`",
    ),
    ('precision = "int8"', 'precision = "int4"', "engine.precision: invalid enum value 'int4'"),
]


BEYOND_A_SCHEMA = {
    "cores: control: there is no core 4, they are 0 to 3",
    "camera: path 'gstreamer' needs source",
    "camera: path 'picamera2' has no source",
    "health.throttles_at_c: expected a finite number",
}


@pytest.mark.parametrize(("old", "new", "says"), WRONG)
def test_a_wrong_value_is_refused_in_one_line_with_file_and_key(
    board_file: Path, old: str, new: str, says: str
) -> None:
    load_board(board_file)  # control: before it is spoilt the file is good
    spoil(board_file, old, new)
    with pytest.raises(BadInput) as refusal:
        load_board(board_file)
    assert str(refusal.value).startswith(f"{board_file}: {says}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("named", "board", "says"),
    [
        ("mine.toml", 'name = "mine"\ndescription = ""\nnumber = 5\n', "mine.toml: object contains unknown"),
        (
            "mine.toml",
            'name = "mine"\ndescription = ""\ncores = 4\n',
            "mine.toml: cores: expected `object | null`, got `int`",
        ),
        ("mine.toml", "a computer", "mine.toml: the board file is not TOML"),
        ("mine.toml", None, "mine.toml: cannot read the board file: No such file"),
        ("rpi6", None, "robot.toml: board: no board 'rpi6'; name one of generic-aarch64, "),
    ],
)
def test_drive_ends_with_one_line_and_exit_code_2_if_the_board_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str, board: str | None, says: str
) -> None:
    robot = tmp_path / "robot.toml"
    robot.write_text(DEFAULT_ROBOT.read_text().replace('board = "sim"', f'board = "{named}"'))
    if board is not None:
        (tmp_path / named).write_text(board)
    assert run(["drive", "--robot", str(robot)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert says in said
    assert said.count("\n") == 1


def test_the_extras_are_those_of_the_package() -> None:
    extras = read_table(ROOT / "pyproject.toml", "project")["project"]["optional-dependencies"]
    named = {
        extra for board in BOARDS.values() if board.install is not None for extra in board.install.extras
    }
    assert named <= set(extras)
    assert named  # the control


def packages_of_cameras() -> dict[str, set[str]]:
    """Debian packages that each kind of camera needs, by the table in docs/sensors.md."""
    table = (ROOT / "docs" / "sensors.md").read_text().partition("## Cameras\n")[2].partition("\n\n**")[0]
    rows = [
        line.split(" | ") for line in table.splitlines() if line.startswith("| `") and " | `pip" not in line
    ]
    told = {row[0].strip("| `"): re.findall(r"sudo apt install ([a-z0-9. -]+)`", row[-1]) for row in rows}
    return {kind: {package for words in said for package in words.split()} for kind, said in told.items()}


def missing_for_its_camera(board: Board) -> set[str]:
    needed = set(CAMERA_PACKAGES.get(board.camera.path, ())) if board.camera is not None else set()
    return needed - set(board.install.packages if board.install is not None else ())


def test_what_a_board_s_camera_needs_is_in_its_file_and_in_the_page_of_cameras() -> None:
    told = packages_of_cameras()
    assert set(told) == {"picamera2", "v4l2", "gstreamer", "files"}
    assert {kind: set(packages) for kind, packages in CAMERA_PACKAGES.items()} == {
        kind: packages for kind, packages in told.items() if packages
    }
    for board in BOARDS.values():
        assert missing_for_its_camera(board) == set(), board.name
    fewer = msgspec.structs.replace(BOARDS["rpi5"], install=None)  # the control
    assert missing_for_its_camera(fewer) == {"python3-picamera2"}


ASKED_FOR = (
    *("recognised", "cores", "camera", "buses", "traps", "budgets", "peak"),
    *("health.thermal_zones", "health.throttles_at_c", "health.throttled", "health.governor"),
    *("install.packages", "install.extras"),
)
ANY = "whatever computer it is has its own"
LEFT_OUT = {
    "generic-aarch64": {
        "cores": ANY,
        "peak": ANY,
        "health.throttles_at_c": ANY,
        "health.throttled": "Linux has a file for it on x86 alone",
    },
    "generic-x86-64": {"cores": ANY, "peak": ANY, "health.throttles_at_c": ANY},
    "jetson-nano": {"health.throttled": "over-current is a line of the kernel's log there, and no file"},
    "rpi-zero-2w": {"peak": "no optimisation guide of the Cortex-A53 was found, nor how wide its memory is"},
    "sim": {
        "recognised": "it is no computer, and only named",
        "cores": ANY,
        "peak": ANY,
        "buses": "its bridge is simulated",
        "health.thermal_zones": "without one the hottest counts, whatever computer it is",
        "health.throttles_at_c": ANY,
        "health.throttled": ANY,
    },
}
"""Of what every board file should have; why it has not."""


def left_out(board: Board) -> set[str]:
    """What a board file does not say of all that it should."""

    def said(key: str) -> object:
        part: object = board
        for name in key.split("."):
            part = getattr(part, name, None)
        return part

    return {key for key in ASKED_FOR if said(key) in (None, (), Buses())}


@pytest.mark.parametrize(
    ("camera", "packages"),
    [
        ("picamera2", "python3-venv python3-picamera2"),
        ("gstreamer", "python3-venv python3-gst-1.0 gstreamer1.0-plugins-base"),
        ("v4l2", "python3-venv"),  # as on Ubuntu, which has no picamera2
        ("", "python3-venv"),
        ("sim", "python3-venv libegl1 libgl1"),
    ],
)
def test_a_robot_gets_the_packages_of_its_own_camera_whatever_the_board_s_is(
    camera: str, packages: str
) -> None:
    assert facts("rpi5", camera)[:3] == ("rpi5", packages, "i2c,serial" + ",sim" * (camera == "sim"))


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_file_says_everything_or_there_is_a_reason(name: str) -> None:
    reasons = LEFT_OUT.get(name, {})
    assert all(reasons.values())
    assert left_out(BOARDS[name]) == set(reasons)  # and no reason for what is there


def test_what_a_board_file_forgets_is_noticed(board_file: Path) -> None:
    spoil(board_file, 'throttled = "vcgencmd get_throttled"', "")
    spoil(board_file, "throttles_at_c = 80.0", "")
    assert left_out(load_board(board_file)) == {"health.throttled", "health.throttles_at_c"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_file_says_nothing_of_speed_and_names_its_schema(name: str) -> None:
    text = board_files()[name].read_text()
    assert text.startswith("#:schema ./board.schema.json\n")
    assert not re.search(r"\b\d+(\.\d+)?\s?(ms|fps|FPS|Hz|ticks? a second)\b", text)


def test_where_a_processor_has_no_dot_product_the_file_begins_with_fp32() -> None:
    for board in BOARDS.values():
        if board.recognised is not None and board.recognised.cpu is not None:
            dot_product = "asimddp" in board.recognised.features
            assert board.engine.precision == ("int8" if dot_product else "fp32"), board.name


def test_boards_whose_accelerator_runs_nothing_drive_on_the_cpu_and_say_so() -> None:
    for name in ("rpi5-hailo", "rpi-coral"):
        board = BOARDS[name]
        assert board.engine.accelerator == "cpu"
        assert "the CPU drives" in board.description
        assert board.traps[0].fix.startswith("none today: it would take ")


# --- what is made of them --------------------------------------------------------------------------------------------


def test_pages_and_schema_are_those_of_the_board_files() -> None:
    made = made_files()
    for file, text in made.items():
        assert file.read_text(encoding="utf-8") == text, "run python -m docs.boards"
    assert {file for file in made if file.parent == FOLDER} == set(FOLDER.glob("*.md"))


def test_a_page_says_that_nothing_was_measured_until_somebody_did() -> None:
    profile = PROFILES / "rpi5-rooms-2026-11-26.json"
    for board in BOARDS.values():
        empty, measured = board_page(board, []), board_page(board, [profile])
        assert ("**Nothing was measured on this board.**" in empty) == (board.recognised is not None)
        assert "Nothing was measured" not in measured
    row = next(line for line in overview(BOARDS, {}).splitlines() if line.startswith("| [rpi5]"))
    assert row.endswith("|  |")
    row = next(
        line for line in overview(BOARDS, {"rpi5": [profile]}).splitlines() if line.startswith("| [rpi5]")
    )
    assert row.endswith("| [rpi5-rooms-2026-11-26](../../boards/profiles/rpi5-rooms-2026-11-26.json) |")


def test_a_file_that_is_no_profile_is_not_counted_as_a_measurement(tmp_path: Path) -> None:
    assert profiles_of(tmp_path) == {}
    (tmp_path / "rpi5.json").write_text("{}")
    with pytest.raises(BadInput, match=r"rpi5\.json"):
        profiles_of(tmp_path)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in FOLDER.glob("*.md"):
        for link in re.findall(r"\]\((\.[^)#]*|[\w-]+\.md)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def by_the_schema(file: Path) -> list[str]:
    """What is wrong with a board file by the schema as it is installed, as an editor finds it."""
    validator = jsonschema.Draft202012Validator(
        json.loads(shipped("boards", "board.schema.json").read_text())
    )
    return [error.json_path for error in validator.iter_errors(read_table(file, "board file"))]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    with pytest.raises(jsonschema.SchemaError):
        jsonschema.Draft202012Validator.check_schema({**schema(), "type": "table"})


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_file_is_right_by_the_schema(name: str) -> None:
    assert by_the_schema(board_files()[name]) == []


@pytest.mark.parametrize(
    ("old", "new", "says"), [wrong for wrong in WRONG if wrong[2] not in BEYOND_A_SCHEMA]
)
def test_a_wrong_value_is_wrong_by_the_schema_too(board_file: Path, old: str, new: str, says: str) -> None:
    spoil(board_file, old, new)
    assert by_the_schema(board_file) != []


@pytest.mark.parametrize(("old", "new", "says"), [wrong for wrong in WRONG if wrong[2] in BEYOND_A_SCHEMA])
def test_what_contradicts_something_else_is_found_by_edge_wm_alone(
    board_file: Path, old: str, new: str, says: str
) -> None:
    spoil(board_file, old, new)
    assert by_the_schema(board_file) == []


def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from structs(field.type)
    for part in getattr(kind, "__args__", ()):
        yield from structs(part)


def test_every_key_is_described() -> None:
    found = list(structs(Board))
    assert len(found) > 10
    for kind in found:
        assert set(attributes(kind.__doc__ or "")) == set(kind.__struct_fields__), kind


def test_an_editor_finds_a_description_of_each_key_and_no_null_in_the_schema() -> None:
    text = json.dumps(schema())
    assert "null" not in text
    assert r"\\Z" not in text
    for definition in schema()["$defs"].values():
        assert definition["additionalProperties"] is False
        assert all(said["description"] for said in definition["properties"].values())


def test_schema_and_boards_are_installed_together() -> None:
    project = read_table(ROOT / "pyproject.toml", "project")["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "boards" in project["only-include"]
    assert "docs" not in project["only-include"]
    assert project["sources"]["boards"] == "edge_wm/_data/boards"
    assert shipped("boards", "board.schema.json").is_file()
