"""Whether bytes cost money on the way to the network, as NetworkManager knows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Literal

_ASK = ("nmcli", "--terse", "--get-values", "GENERAL.STATE,GENERAL.METERED", "device", "show")
_ASK_S = 10.0


def is_metered(setting: Literal["auto", "yes", "no"]) -> bool:
    """Whether the link is metered: as the setting says, or for ``auto`` as NetworkManager does.

    Without NetworkManager no link is.
    """
    if setting != "auto":
        return setting == "yes"
    if shutil.which(_ASK[0]) is None:
        return False
    try:
        said = subprocess.run(
            _ASK,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},  # it says "yes" in the language of the system
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return _any_metered(said)


def _any_metered(said: str) -> bool:
    """Whether a connected device is metered, surely or as a guess, in what ``nmcli`` said: a state and an answer for each."""
    words = [line for line in said.splitlines() if line.strip()]
    return any(
        state.startswith("100") and answer.startswith("yes")
        for state, answer in zip(words[::2], words[1::2], strict=False)
    )
