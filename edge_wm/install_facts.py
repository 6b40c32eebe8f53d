"""What board files say of an installation, a line each for install.sh: name, packages, extras, groups, system's Python, cores.

    python -m edge_wm.install_facts BOARD ROBOT

BOARD is empty for the one that is recognised; ROBOT is "sim" if it is simulated, which needs more.
"""

from __future__ import annotations

import sys

from edge_wm.board import Install, board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.recognise import recognise

NOTHING = Install(python="any")


def facts(name: str, simulated: bool) -> tuple[str, ...]:
    """The lines; those of a board that nobody knows are empty."""
    known, needs, cores = "unknown", [NOTHING], ""
    try:
        board = load_board(board_files()[name]) if name else recognise().board
    except BadInput as why:
        print(f"note: {why}", file=sys.stderr)
    else:
        known, needs = board.name, [board.install or NOTHING]
        cores = ", ".join(map(str, board.cores.control)) if board.cores is not None else ""
    if simulated:
        needs.append(load_board(board_files()["sim"]).install or NOTHING)
    return (
        known,
        " ".join(package for need in needs for package in need.packages),
        ",".join(extra for need in needs for extra in need.extras),
        " ".join(group for need in needs for group in need.groups),
        "yes" if any(need.system_site_packages for need in needs) else "",
        cores,
    )


if __name__ == "__main__":
    print(*facts(sys.argv[1], sys.argv[2] == "sim"), sep="\n")
