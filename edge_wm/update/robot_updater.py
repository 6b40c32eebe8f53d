"""The updater of this robot, as its ``update.toml`` says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wm.drive.robot_files import robot_files
from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.update.config import Network, UpdateConfig, folders_of, trusted_root_of
from edge_wm.update.fetcher import Limits, RobotFetcher
from edge_wm.update.proof import prove
from edge_wm.update.updater import Updater, open_updater

NICE = 10
"""An updater stands back for what drives."""


@contextmanager
def robot_updater(config_file: Path, config: UpdateConfig) -> Iterator[Updater]:
    """Alone at work on this robot's updates.

    Args:
        config_file: ``update.toml``; files in it are relative to it.
        config: what it says.

    Raises:
        BadInput: something it names cannot be used, or another updater is at work.
    """
    root = trusted_root_of(config, config_file)
    try:
        trusted_root = root.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{root}: {error.strerror}: put the repository's metadata/1.root.json there, or set trusted_root in {config_file}"
        ) from error
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    folders = folders_of(config, config_file)
    named = config_file.parent / config.robot if config.robot else None
    robot = load_robot(robot_files(named, folders.factory).robot)
    with open_updater(
        config,
        folders,
        trusted_root,
        lambda bundle: prove(bundle, robot),
        RobotFetcher(_limits(config.network)),
    ) as updater:
        yield updater


def _limits(network: Network) -> Limits:
    return Limits(network.connect_s, network.gap_s, network.total_s, float(network.min_bytes_per_s))
