"""All attacks, by what they are about."""

from __future__ import annotations

from tests.attacks import (
    hostile_models,
    network,
    robots_disk,
    rollout_server,
    signed_content,
    specification,
    stolen_keys,
)
from tests.attacks.attack import Attack

TABLE: dict[str, tuple[Attack, ...]] = {
    "the specification's": specification.ATTACKS,
    "stolen keys, lost metadata": stolen_keys.ATTACKS,
    "servers, proxies, sticks": network.ATTACKS,
    "signed content": signed_content.ATTACKS,
    "the robot's disk and clock": robots_disk.ATTACKS,
    "rollout servers": rollout_server.ATTACKS,
    "models": hostile_models.ATTACKS,
}
"""Every change of every file is not here: which files there are is known when a repository has been made, see ``tampered.py``."""

ATTACKS = tuple(attack for attacks in TABLE.values() for attack in attacks)


def named(name: str) -> Attack:
    """The attack of this name."""
    return next(attack for attack in ATTACKS if attack.name == name)
