"""What an image carries for its first boot: the project, and what belongs to this one robot, in one archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from edge_wm.board import Board, board_file_of
from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.flash.first_boot import Answers, user_data_afterwards
from edge_wm.flash.image import CHUNK
from edge_wm.paths import shipped
from edge_wm.robot import Robot, load_robot
from edge_wm.robot_sensors import FilesTable, RealSensors
from edge_wm.toml_file import read_table
from edge_wm.update.config import PACKAGED_ROOT, files_named, load_config

PARTS = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "NOTICE",
    "requirements",
    "edge_wm",
    "firmware_bridge",
    "export",
    "boards",
    "models",
)
"""Of a clone, what install.sh reads."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a robot is to have, besides the system and the network.

    Attributes:
        bundle: folder of `make offline-bundle`; None: this clone, and the board fetches the pinned packages.
        robot: the robot file; None for the simulated robot.
        model: bundle to drive by; None for the shipped one.
        updates: the robot's update.toml, with the files that it names beside it; None: no updates.
    """

    bundle: Path | None = None
    robot: Path | None = None
    model: Path | None = None
    updates: Path | None = None


def check_payload(payload: Payload, board: Board) -> None:
    """Raise BadInput if first boot could not use it, as far as can be known here; one line."""
    robot = load_robot(payload.robot) if payload.robot is not None else None
    if payload.robot is not None:
        _board_of_ones_own(payload.robot)
    if payload.bundle is not None:
        _check_offline_bundle(payload.bundle, board, robot)
    else:
        _check_board(_clone(), board)
    if payload.model is not None:
        load_bundle(payload.model, roles=(), precisions=(), golden=False)
        if payload.updates is not None:
            raise BadInput("--model: updates choose the model: name one of the two")
    if payload.updates is not None:
        config = load_config(payload.updates)
        if config.trusted_root is None and not (
            payload.bundle and (payload.bundle / PACKAGED_ROOT).is_file()
        ):
            raise BadInput(
                f"{payload.updates}: trusted_root: is missing, and no offline bundle brings one: put the repository's"
                " metadata/1.root.json beside the file, and name it"
            )
        for key, name in files_named(config).items():
            if name != Path(name).name:
                raise BadInput(f"{payload.updates}: {key}: must lie beside the file")
            if not (payload.updates.parent / name).is_file():
                raise BadInput(f"{payload.updates}: {key}: there is no {name} beside it")
        if config.robot is not None and (config.robot != "robot.toml" or payload.robot is None):
            raise BadInput(
                f'{payload.updates}: robot: is "robot.toml" on the board, and comes by --robot FILE'
            )


def write_archive(payload: Payload, board: Board, answers: Answers, file: Path) -> str:
    """Write the archive that `first-boot.sh` unpacks; the same content gives the same bytes.

    Returns:
        Its SHA-256.
    """
    with (
        file.open("wb") as plain,
        gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=1, filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        if payload.bundle is not None:
            _add(archive, payload.bundle, "project")
        else:
            for part in PARTS:
                _add(archive, _clone() / part, f"project/{part}")
        _add_text(archive, "board", board.name.encode())
        _add_text(archive, "user", (answers.user or "").encode())
        _add_text(archive, "wifi", b"yes" if answers.wifi is not None else b"")
        _add_text(archive, "after-first-boot", user_data_afterwards(answers))
        if payload.robot is not None:
            _add(archive, payload.robot, "robot.toml")
            if (own := _board_of_ones_own(payload.robot)) is not None:
                _add(archive, own, own.name)
        if payload.model is not None:
            _add(archive, payload.model, "model")
        if payload.updates is not None:
            _add(archive, payload.updates, "updates/update.toml")
            for name in sorted(set(files_named(load_config(payload.updates)).values())):
                _add(archive, payload.updates.parent / name, f"updates/{name}")
    digest = hashlib.sha256()
    with file.open("rb") as written:
        while chunk := written.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_offline_bundle(bundle: Path, board: Board, robot: Robot | None) -> None:
    sums = bundle / "SHA256SUMS"
    if not sums.is_file() or not (bundle / "boards/install/install.sh").is_file():
        raise BadInput(
            f"{bundle}: is no offline bundle: make one with  make offline-bundle BOARD={board.name}"
        )
    _check_board(bundle, board)
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        file = bundle / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            raise BadInput(f"{file}: is not as it was when the bundle was made: make it again")
    if robot is None and not any((bundle / "wheels").glob("mujoco-*")):
        raise BadInput(
            f"{bundle}: has nothing for the simulated robot: add --robot FILE, or make it with "
            f" {_with_simulator(board)}"
        )
    from_files = (
        robot is not None
        and isinstance(robot.sensors, RealSensors)
        and isinstance(robot.sensors.camera, FilesTable)
    )
    if from_files and not any((bundle / "wheels").glob("imageio_ffmpeg-*")):
        raise BadInput(
            f"{bundle}: has nothing for pictures in place of a camera: make it with  {_with_simulator(board)}"
        )


def _with_simulator(board: Board) -> str:
    return f"make offline-bundle BOARD={board.name} ARGS=--sim"


def _check_board(project: Path, board: Board) -> None:
    """install.sh has the packages and groups of a board from the project's own files."""
    if not (project / f"boards/{board.name}.toml").is_file():
        raise BadInput(
            f"{project}: knows no board {board.name}: name the nearest one that it knows, and your own board file in"
            " the robot file"
        )


def _board_of_ones_own(robot: Path) -> Path | None:
    """The board file beside a robot file that names it; None for a board of the project's."""
    named = read_table(robot, "robot file").get("board")
    if not isinstance(named, str) or not named.endswith(".toml"):
        return None
    file = board_file_of(robot, named)
    if Path(named) != Path(file.name):
        raise BadInput(f"{robot}: board: {named} must lie beside the file")
    return file


def _clone() -> Path:
    """The clone that this runs from.  Raises BadInput from an installed package, which is not all of it."""
    top = shipped("boards").parent
    if not (top / "pyproject.toml").is_file():
        raise BadInput("this edge-wm is installed and no clone: name an offline bundle with  --bundle DIR")
    return top


def _add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    def described(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name.endswith((".pyc", "/__pycache__", ".unfinished")):
            return None
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    archive.add(source, name, filter=described)  # which goes through folders in alphabetical order


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
