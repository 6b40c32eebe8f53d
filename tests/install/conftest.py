"""install.sh, and the programs that it may find."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.install.dry_run import SCRIPT, Install, put_tools, run_script


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with all that the script may find in its PATH."""
    for program, why in (
        ("apt-get", "for Debian and what comes from it"),
        ("systemctl", "for systems with systemd"),
    ):
        if not shutil.which(program):
            pytest.skip(why)
    return put_tools(tmp_path / "bin")


@pytest.fixture
def install(tools: Path) -> Install:
    """Runs the script with words."""
    return partial(run_script, SCRIPT, tools)
