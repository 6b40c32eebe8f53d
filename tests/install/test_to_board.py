"""to-board.sh: what arrives on a board, what is run there, and what is refused before anything is sent.

``ssh`` and ``sudo`` are those of a folder: one runs its command in another home, the other makes it a dry run.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.debian import REPOSITORY
from tests.install.dry_run import SHELL, put_tools, refused

SCRIPT = REPOSITORY / "boards" / "install" / "to-board.sh"
ROBOT = REPOSITORY / "boards" / "robots" / "sim-avr.toml"
MODEL = REPOSITORY / "models" / "rooms-student"
SSH = """#!{shell}
printf '%s\\n' "$*" >>"{log}"
while [[ $1 == -* ]]; do [[ $1 == -o ]] && shift; shift; done
[[ $1 == rover@board ]] || exit 255
cd "{home}" && PATH="{tools}" exec {shell} -c "$2"
"""
SUDO = """#!{shell}
exec "$@" --dry-run
"""


class Desk:
    """A workstation, a board, and what went from one to the other."""

    def __init__(self, folder: Path) -> None:
        self.home, self._log, self._folder = folder / "home", folder / "log", folder
        self.tools = put_tools(folder / "bin")
        self.home.mkdir()
        for name in ("cp", "gzip", "ln", "mkdir", "realpath", "tar"):
            (self.tools / name).symlink_to(shutil.which(name) or "")
        for name, text in (("ssh", SSH), ("sudo", SUDO)):
            said = text.format(shell=SHELL, log=self._log, home=self.home, tools=self.tools)
            (self.tools / name).write_text(said)
            (self.tools / name).chmod(0o755)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SHELL, str(SCRIPT), *map(str, words)],
            env={"PATH": str(self.tools), "TMPDIR": str(self._folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def sent(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    @property
    def arrived(self) -> set[str]:
        folder = self.home / "edge-wm-install"
        return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    if not shutil.which("apt-get") or not shutil.which("systemctl"):
        pytest.skip("for Debian and what comes from it, with systemd")
    return Desk(tmp_path)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck: run  apt install shellcheck")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_of_a_robot_arrives_and_is_installed_from_there(desk: Desk, tmp_path: Path) -> None:
    robot, updates = tmp_path / "rover.toml", tmp_path / "update.toml"
    robot.write_text(ROBOT.read_text().replace('board = "sim"', 'board = "mine.toml"'))
    (tmp_path / "mine.toml").write_text('name = "mine"\ndescription = ""\n')
    updates.write_text(
        'url = "https://example.org/"\ntrusted_root = "root.json"\n[rollout]\ntoken_file = "token"\n'
    )
    for name in ("root.json", "token"):
        (tmp_path / name).write_text("{}")

    done = desk.run("rover@board", "--robot", robot, "--updates", updates)

    assert done.returncode == 0, done.stderr
    files = {"robot/robot.toml", "robot/mine.toml", "updates/update.toml"}
    files |= {"updates/root.json", "updates/token"}
    files |= {"project/pyproject.toml", "project/edge_wm/cli.py", "project/requirements/test.txt"}
    assert files <= desk.arrived
    assert not [name for name in desk.arrived if "__pycache__" in name or ".git/" in name]
    assert (desk.home / "edge-wm-install/robot/robot.toml").read_bytes() == robot.read_bytes()
    for name in ("robot.toml", "mine.toml", "update.toml", "root.json", "token"):
        assert f"would write: /etc/edge-wm/{name}" in done.stdout, done.stdout
    assert "would run: systemctl restart edge-wm.service" in done.stdout


def test_a_bundle_goes_in_the_place_of_the_clone_and_of_what_was_there(desk: Desk, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(REPOSITORY / "boards", bundle / "boards")
    (bundle / "wheels").mkdir()
    (bundle / "requirements").mkdir()
    (bundle / "requirements" / "test.txt").touch()
    (bundle / "wheels" / "edge_wm-1-py3-none-any.whl").touch()
    (bundle / "SHA256SUMS").write_text(f"{'0' * 64}  wheels/edge_wm-1-py3-none-any.whl\n")
    (desk.home / "edge-wm-install").mkdir()
    (desk.home / "edge-wm-install" / "older").touch()

    done = desk.run("rover@board", "--robot", ROBOT, "--bundle", bundle)

    assert (
        "the bundle is damaged: copy it again" in done.stderr and done.returncode == 2
    )  # the board's own look
    assert "project/wheels/edge_wm-1-py3-none-any.whl" in desk.arrived
    assert "older" not in desk.arrived and "project/pyproject.toml" not in desk.arrived
    sums = "cd $0 && sha256sum wheels/* >SHA256SUMS"
    subprocess.run(["bash", "-c", sums, str(bundle)], check=True)
    assert desk.run("rover@board", "--robot", ROBOT, "--bundle", bundle).returncode == 0


def test_a_model_of_ones_own_comes_with_it(desk: Desk) -> None:
    done = desk.run("rover@board", "--robot", ROBOT, "--model", MODEL)

    assert done.returncode == 0, done.stderr
    assert "would verify edge-wm-install/model, and copy it" in done.stdout
    assert "model/manifest.json" in desk.arrived


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "which board? name it as for ssh"),
        (["rover@board", "other@board"], "one board at a time"),
        (["rover@board", "--fly"], "no option --fly"),
        (["-oProxyCommand=touch x"], "no option -oProxyCommand"),
        (["rover@board", "--robot", "/nothing.toml"], "/nothing.toml: there is no such file"),
        (["rover@board", "--model", "/nothing"], "/nothing: there is no bundle"),
        (["rover@board", "--bundle", "/nothing"], "/nothing: is no offline bundle: make one with"),
        (["rover@board", "--model", MODEL, "--updates", ROBOT], "--model: updates choose the model"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    desk: Desk, words: list[str | Path], says: str
) -> None:
    assert says in refused(desk.run(*words))
    assert desk.sent == []


def test_a_file_that_another_one_names_must_be_there(desk: Desk, tmp_path: Path) -> None:
    updates = tmp_path / "update.toml"
    updates.write_text('trusted_root = "root.json"\n')
    assert "trusted_root: there is no root.json beside it" in refused(
        desk.run("rover@board", "--updates", updates)
    )


def test_a_board_that_lets_nobody_in_is_one_line_and_nothing_is_left_here(desk: Desk, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert "other@board: no login there: try  ssh other@board" in refused(desk.run("other@board"))
    assert set(tmp_path.iterdir()) - before == {tmp_path / "log"}
