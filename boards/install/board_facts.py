"""What board files say of an installation, a line each for install.sh: name, packages, extras, groups, system's Python, cores.

Its arguments: the board's name, empty for the one that is recognised; and "sim" if the robot is simulated, which needs more.
"""

import sys

from edge_wm.board import Install, board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.recognise import recognise

NOTHING = Install(python="any")


def facts(name: str, simulated: bool) -> tuple[str, ...]:
    """The lines; those of a board that nobody knows are empty."""
    try:
        board = load_board(board_files()[name]) if name else recognise().board
    except BadInput as why:
        print(f"note: {why}", file=sys.stderr)
        known, cores, needs = "unknown", (), [NOTHING]
    else:
        known, cores = board.name, board.cores.control if board.cores is not None else ()
        needs = [board.install or NOTHING]
    if simulated:
        needs.append(load_board(board_files()["sim"]).install or NOTHING)
    return (
        known,
        " ".join(package for need in needs for package in need.packages),
        ",".join(extra for need in needs for extra in need.extras),
        " ".join(group for need in needs for group in need.groups),
        "yes" if any(need.system_site_packages for need in needs) else "",
        ", ".join(map(str, cores)),
    )


print(*facts(sys.argv[1], sys.argv[2] == "sim"), sep="\n")
