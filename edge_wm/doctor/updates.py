"""The models over the air: what drives, whether the store is sound, and what failed."""

from __future__ import annotations

from collections.abc import Iterator

from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.errors import BadInput
from edge_wm.update.slots import Folders
from edge_wm.update.status import status_of


def updates(folders: Folders) -> Iterator[Finding]:
    """Yield what is found of the updates of this robot.  Nothing is fetched."""
    try:
        status = status_of(folders)
    except BadInput as why:
        yield error("updates", f"not even the factory's model can be read: {why}", "install edge-wm again")
        return
    if status.problem is not None:
        yield error("updates", status.problem, "edge-wm update repair")
        return
    drives = f"{status.active} drives, slot {status.slot}; the newest update: {status.state.value}"
    if status.look_failed is not None:
        yield warning("updates", f"the last look failed {status.look_failed}", "edge-wm update check")
    if status.well:
        yield ok("updates", drives)
    else:
        reasons = [f"{failure.model[:12]}: {failure.reason}" for failure in status.quarantined]
        said = "; ".join(reasons) or (status.newest.detail if status.newest is not None else "")
        yield warning("updates", f"{drives}; {said}", "edge-wm update history; edge-wm update fetch --again")
