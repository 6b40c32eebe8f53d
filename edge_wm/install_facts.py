"""What board files say of an installation, a line each for install.sh: name, packages, extras, groups, system's Python, cores.

    python -m edge_wm.install_facts BOARD CAMERA

BOARD is empty for the one that is recognised; CAMERA is the ``kind`` of the robot's, "sim" for the simulated robot, or empty.
"""

from __future__ import annotations

import sys

from edge_wm.board import Install, board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.recognise import recognise

NOTHING = Install(python="any")
CAMERA_PACKAGES: dict[str, tuple[str, ...]] = {
    "picamera2": ("python3-picamera2",),
    "gstreamer": ("python3-gst-1.0", "gstreamer1.0-plugins-base"),
}
"""Of Debian, by ``kind``.  A board's file has those of its own camera path, which a robot with another camera has no use for, and
which its system may not have: Ubuntu has no python3-picamera2."""


def facts(name: str, camera: str) -> tuple[str, ...]:
    """The lines; those of a board that nobody knows are empty."""
    known, needs, cores = "unknown", [NOTHING], ""
    try:
        board = load_board(board_files()[name]) if name else recognise().board
    except BadInput as why:
        print(f"note: {why}", file=sys.stderr)
    else:
        known, needs = board.name, [board.install or NOTHING]
        cores = ", ".join(map(str, board.cores.control)) if board.cores is not None else ""
    if camera == "sim":
        needs.append(load_board(board_files()["sim"]).install or NOTHING)
    of_cameras = {package for packages in CAMERA_PACKAGES.values() for package in packages}
    packages = [package for need in needs for package in need.packages if package not in of_cameras]
    return (
        known,
        " ".join((*packages, *CAMERA_PACKAGES.get(camera, ()))),
        ",".join(extra for need in needs for extra in need.extras),
        " ".join(group for need in needs for group in need.groups),
        "yes" if any(need.system_site_packages for need in needs) else "",
        cores,
    )


if __name__ == "__main__":
    print(*facts(sys.argv[1], sys.argv[2]), sep="\n")
