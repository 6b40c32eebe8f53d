"""install.sh as it is run here: it finds no programs but those of a folder, and says what it would do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.install.debian import REPOSITORY

SCRIPT = REPOSITORY / "boards" / "install" / "install.sh"
SHELL = shutil.which("bash") or ""
TOOLS = "apt-get awk bash basename cat cmp cut df dirname dpkg-query env find getconf getent grep head id install mktemp mv"
TOOLS += " printf python3 readlink rm sed sh sha256sum sort systemctl tail touch tr true uname xargs"
Install = Callable[..., subprocess.CompletedProcess[str]]


def put_tools(folder: Path) -> Path:
    """All that the script may find in its PATH."""
    folder.mkdir()
    for name in TOOLS.split():
        where = sys.executable if name == "python3" else shutil.which(name)
        if where is not None:
            (folder / name).write_text(
                f'#!{SHELL}\nexec {where} "$@"\n'
            )  # some look at what they are called by
            (folder / name).chmod(0o755)
    return folder


def instead(tools: Path, name: str, prints: str, code: int = 0) -> None:
    """Another program in the place of one."""
    (tools / name).unlink(missing_ok=True)
    (tools / name).write_text(f"#!{SHELL}\nprintf '%s\\n' '{prints}'\nexit {code}\n")
    (tools / name).chmod(0o755)


def run_script(script: Path, tools: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it without anybody at the keyboard."""
    return subprocess.run(
        [SHELL, str(script), *map(str, words)],
        env={"PATH": str(tools), "HOME": "/root"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""
    return done.stderr
