"""The client of The Update Framework, as ``trust.py`` uses it: in a scratch folder, at a given time, with one line for each error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from tuf.api import exceptions
from tuf.ngclient import Updater

from edge_wm.errors import BadInput, one_line
from edge_wm.update.fetcher import RobotFetcher, what_to_do

KEEPS = "the robot keeps its model"


def tuf_client(
    folder: Path,
    url: str,
    root: bytes,
    metadata: Mapping[str, bytes],
    fetcher: RobotFetcher,
    now: datetime,
) -> Updater:
    """The client of ``tuf`` in an empty folder, beginning with what is trusted.

    Args:
        folder: where it keeps what it accepts, see ``read_metadata``; nothing of that is synced.
        url: of the repository's metadata.
        root: the newest trusted root metadata.
        metadata: that of other roles, as it was accepted before.
        fetcher: asks the server.
        now: the time, which counts for what has expired.
    """
    for role, content in metadata.items():
        _file(folder, role).write_bytes(content)
    updater = Updater(str(folder), url, fetcher=fetcher, bootstrap=root)
    _set_time(updater, now)
    return updater


def read_metadata(folder: Path, roles: Iterable[str]) -> dict[str, bytes]:
    """What ``tuf`` has accepted of these roles, or was given before, whatever else failed."""
    files = {role: _file(folder, role) for role in roles}
    return {role: file.read_bytes() for role, file in files.items() if file.is_file()}


def _file(folder: Path, role: str) -> Path:
    return folder / f"{quote(role, '')}.json"


def _set_time(updater: Updater, now: datetime) -> None:
    """Let ``now`` count for what has expired.  ``tuf`` asks the wall clock; whether that can be right was decided before."""
    trusted = updater._trusted_set
    if not isinstance(getattr(trusted, "reference_time", None), datetime):
        raise BadInput(f"this version of tuf cannot be told the time: pip install 'tuf>=7.0.1,<8'; {KEEPS}")
    trusted.reference_time = now


@contextmanager
def explained(where: str, now: datetime) -> Iterator[None]:
    """Say in one line what an error of ``tuf`` means for the robot.

    Args:
        where: the repository.
        now: the time by which metadata has expired.

    Raises:
        BadInput: that line.
    """
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        raise BadInput(
            f"{where}: {said(error)} by this robot's clock, {now:%Y-%m-%d %H:%M} UTC: the publisher must run"
            f"  edge-wm update refresh,  or somebody holds the news back; {KEEPS}"
        ) from None
    except exceptions.UnsignedMetadataError as error:
        raise BadInput(
            f"{where}: {said(error)}: not signed by whom this robot trusts: is it the right address, and the right"
            f" root? {KEEPS}"
        ) from None
    except exceptions.BadVersionNumberError as error:
        raise BadInput(
            f"{where}: {said(error)}: somebody shows it an old repository, or a mixed one; {KEEPS}"
        ) from None
    except exceptions.DownloadError as error:
        raise BadInput(f"{said(error)}: {what_to_do(error)} {KEEPS}") from None
    except exceptions.RepositoryError as error:
        raise BadInput(f"{where}: {said(error)}: the repository is broken or forged; {KEEPS}") from None


def said(error: Exception) -> str:
    """What an error of ``tuf`` says, and its cause, as one line of bounded length."""
    cause = error.__cause__
    return one_line(f"{error}: {cause}" if cause is not None else str(error))[:400]
