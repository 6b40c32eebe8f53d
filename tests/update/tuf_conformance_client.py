"""This project's client of The Update Framework in the command-line form that public conformance suites drive.

    python -m tests.update.tuf_conformance_client --metadata-dir DIR init ROOT_FILE
    python -m tests.update.tuf_conformance_client --metadata-dir DIR --metadata-url URL refresh
    python -m tests.update.tuf_conformance_client --metadata-dir DIR --metadata-url URL \\
        --target-name PATH --target-base-url URL --target-dir DIR download

It exits with 0, or with 1 and one line.  The form is that of github.com/theupdateframework/tuf-conformance, whose option
``--entrypoint`` takes a command; ``docs/updates.md`` says how to point it at this one.

What a robot's update is made of is at work here: ``tuf_client.py``, ``fetcher.py`` and ``download.py``.  Three things are not, since
suites ask for what a robot does not do:

- what is trusted lies in the metadata folder, as files named ``ROLE.json``, and not in the store;
- the floors of ``trust.py``: suites expect that a role's version may fall after another role's keys were replaced;
- the floor of the time: suites set the clock to the years of the repositories that they hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote, unquote

from tuf.ngclient import Updater

from edge_wm.errors import BadInput
from edge_wm.output_file import write_atomically
from edge_wm.update.download import download
from edge_wm.update.fetcher import Limits, RobotFetcher
from edge_wm.update.tuf_client import explained, tuf_client

ROOT = "root"
LIMITS = Limits(connect_s=10.0, gap_s=10.0, total_s=60.0)


def init(options: argparse.Namespace) -> None:
    """Trust the root in a file.  Whether it can be trusted is looked at when it is used."""
    options.metadata_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(options.metadata_dir / f"{ROOT}.json", options.trusted_root.read_bytes())


def refresh(options: argparse.Namespace) -> None:
    """Bring the top-level roles up to date."""
    with _client(options, RobotFetcher(LIMITS)) as client:
        client.refresh()


def fetch_target(options: argparse.Namespace) -> None:
    """Bring the roles up to date that lead to a target, and fetch it if it is not there already."""
    fetcher = RobotFetcher(LIMITS)
    with _client(options, fetcher) as client:
        target = client.get_targetinfo(options.target_name)
        consistent = client._trusted_set.root.consistent_snapshot
    if target is None:
        raise BadInput(f"{options.target_name}: nobody has signed it")
    # One file name for one target: its newest content takes the place of the one before.
    file = options.target_dir / quote(target.path, "")
    if client.find_cached_target(target, str(file)) is not None:
        return
    sha256 = target.hashes.get("sha256")
    if sha256 is None:
        raise BadInput(f"{target.path}: is signed without a SHA-256")
    folder, slash, name = target.path.rpartition("/")
    path = f"{folder}{slash}{sha256}.{name}" if consistent else target.path
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "part"
        url = f"{options.target_base_url.rstrip('/')}/{path}"
        download(fetcher, url, part, size=target.length, sha256=sha256)
        target.verify_length_and_hashes(part.read_bytes())  # all hashes that it is signed with
        options.target_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(file, part.read_bytes())


@contextmanager
def _client(options: argparse.Namespace, fetcher: RobotFetcher) -> Iterator[Updater]:
    """A client that begins with what the metadata folder holds, which then holds what it came to trust, whatever failed."""
    known = _read(options.metadata_dir)
    now = datetime.now(timezone.utc)
    with tempfile.TemporaryDirectory() as scratch, explained(options.metadata_url, now):
        folder = Path(scratch)
        root = known.pop(ROOT, b"")
        try:
            yield tuf_client(folder, options.metadata_url, root, known, fetcher, now)
        finally:
            for role, content in _read(folder).items():
                file = options.metadata_dir / f"{quote(role, '')}.json"
                if not file.is_file() or file.read_bytes() != content:
                    write_atomically(file, content)


def _read(folder: Path) -> Mapping[str, bytes]:
    """Metadata by role."""
    return {unquote(file.stem): file.read_bytes() for file in folder.glob("*.json")}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tuf_conformance_client")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


COMMANDS = {
    "init": (init, ()),
    "refresh": (refresh, ("metadata_url",)),
    "download": (fetch_target, ("metadata_url", "target_name", "target_base_url", "target_dir")),
}
"""What each command does, and the options that it needs."""


def main(words: list[str]) -> int:
    """Run one command.  Returns the exit code."""
    options = _arguments().parse_args(words)
    command, needs = COMMANDS[options.command]
    try:
        for option in needs:
            if getattr(options, option) is None:
                raise BadInput(f"{options.command} needs --{option.replace('_', '-')}")
        command(options)
    except BadInput as why:
        print(why, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror or os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
