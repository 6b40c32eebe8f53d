"""Writes the table of `docs/profiles.md` from `boards/profiles/` and the board files: ``python -m docs.profiles``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_wm.board import board_files, load_board
from edge_wm.paths import shipped
from edge_wm.profile.at_rate import AtRate
from edge_wm.profile.profile_file import Profile, read_profile
from edge_wm.profile.stages import TICK

PAGE = Path(__file__).with_name("profiles.md")
BEGIN, END = "<!-- made by python -m docs.profiles -->", "<!-- to here -->"

COLUMNS = (
    "board",
    "model",
    "chosen way",
    "p50 ms",
    "p99 ms",
    "p99 ms at the rate",
    "camera to motor p99 ms",
    "missed",
    "p99 ms loaded",
    "missed loaded",
    "MiB",
    "mJ a tick",
    "measured",
    "note",
)


def table(boards: dict[str, Path], profiles: Path) -> str:
    """The table: for each board its profiles, newest first; an empty row where nobody measured.

    Args:
        boards: board files by name.
        profiles: folder of the profiles.

    Raises:
        BadInput: a file of either is malformed.
    """
    found = sorted(
        (read_profile(file) for file in profiles.glob("*.json")),
        key=lambda profile: profile.measured_at,
        reverse=True,
    )
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for name, file in boards.items():
        if load_board(file).recognised is None:  # no computer, only a name: the simulated robot's
            continue
        of_board = [profile for profile in found if profile.board == name]
        lines += [_line(_cells(profile)) for profile in of_board]
        if not of_board:
            lines.append(_line([name, *[""] * (len(COLUMNS) - 1)]))
    return "\n".join(lines)


def page(text: str, made: str) -> str:
    """The ``text`` of the page with the ``made`` table in the place of the one that is there."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _cells(profile: Profile) -> Iterator[str]:
    row = profile.row(profile.chosen)
    assert row is not None, "check_contribution refuses a profile without a choice"
    alone = row.alone
    idle, loaded = (alone.idle, alone.loaded) if alone is not None else (None, None)
    peak = None if alone is None else alone.peak_bytes
    watts = None if alone is None else alone.idle_w
    yield profile.board
    yield f"{profile.model} {profile.model_version}, {profile.candidates} candidates"
    yield f"{row.execution.format} {row.execution.precision}, {row.execution.threads} thread(s), {row.execution.accelerated_by}"
    yield _number(row.tick_p50_ms)
    yield _number(row.tick_p99_ms)
    yield _number(_tick_p99(idle))
    yield _number(None if idle is None else idle.camera_to_motor.p99)
    yield _missed(idle)
    yield _number(_tick_p99(loaded))
    yield _missed(loaded)
    yield "" if peak is None else f"{peak / 2**20:.0f}"
    yield "" if watts is None else f"{watts * profile.tick_ms:.0f}"
    yield f"{profile.measured_at[:10]}, edge-wm {profile.edge_wm}, {profile.machine}, {profile.kernel}{', quick' * profile.quick}"
    yield (profile.note or "").replace("|", "/")


def _tick_p99(run: AtRate | None) -> float | None:
    return None if run is None else run.stages[TICK].p99


def _missed(run: AtRate | None) -> str:
    return "" if run is None else f"{run.missed} of {run.ticks}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the page."""
    made = table(board_files(), shipped("boards", "profiles"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
