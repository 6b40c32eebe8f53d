"""All attacks, by what they are about."""

from __future__ import annotations

from tests.attacks import (
    channels,
    hostile_models,
    lost_metadata,
    packed_files,
    redirects_and_tls,
    releases,
    robots_disk,
    rollout_server,
    roots,
    servers,
    specification,
    sticks,
    stolen_keys,
)
from tests.attacks.attack import Attack

TABLE: dict[str, tuple[Attack, ...]] = {
    "the specification's": specification.ATTACKS,
    "stolen keys": stolen_keys.ATTACKS,
    "roots": roots.ATTACKS,
    "lost metadata": lost_metadata.ATTACKS,
    "servers": servers.ATTACKS,
    "redirects, TLS and proxies": redirects_and_tls.ATTACKS,
    "sticks": sticks.ATTACKS,
    "releases": releases.ATTACKS,
    "compressed files and deltas": packed_files.ATTACKS,
    "channels and revoked models": channels.ATTACKS,
    "the robot's disk and clock": robots_disk.ATTACKS,
    "rollout servers": rollout_server.ATTACKS,
    "models": hostile_models.ATTACKS,
}
"""Every change of every file is not here: which files there are is known when a repository has been made, see ``tampered.py``."""

ATTACKS = tuple(attack for attacks in TABLE.values() for attack in attacks)


def named(name: str) -> Attack:
    """The attack of this name."""
    return next(attack for attack in ATTACKS if attack.name == name)
