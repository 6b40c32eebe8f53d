"""What install.sh refuses, in one line, before anything changes.  A dry run refuses what a real one would."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.debian import REPOSITORY
from tests.install.dry_run import SCRIPT, SHELL, instead, refused, run_script

MODEL = str(REPOSITORY / "models" / "rooms-student")
ROBOT = str(REPOSITORY / "boards" / "robots" / "sim-avr.toml")
EXAMPLE = REPOSITORY / "boards" / "robots" / "rpi-picamera2.toml"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck: run  apt install shellcheck")
def test_shellcheck_finds_nothing() -> None:
    files = [str(SCRIPT), str(SCRIPT.with_name("toml.sh"))]
    done = subprocess.run(["shellcheck", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_dry_run_says_every_step_and_ends_well(install, tmp_path: Path) -> None:
    done = install("--dry-run", "--governor", "performance")
    assert done.returncode == 0, done.stderr
    for step in (
        "would make: /opt/edge-wm/venv-",
        "would link: /opt/edge-wm/venv to venv-",
        "would write: /etc/edge-wm/drive.toml",
        "would write: /etc/systemd/system/edge-wm.service",
        "would write: /etc/udev/rules.d/60-edge-wm.rules",
        "would write: /etc/tmpfiles.d/edge-wm.conf",
        "would run: systemctl --quiet enable edge-wm.service",
        "would run: systemctl restart edge-wm.service",
    ):
        assert step in done.stdout
    assert not Path("/etc/edge-wm").exists() and not Path("/opt/edge-wm").exists()


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["--robot", ROBOT], "it is ready: sudo edge-wm go 1,0 --from-here"),
        (["--robot", "sim"], "systemctl status edge-wm says how its mission goes"),  # "go" would be refused
        (["--robot", ROBOT, "--start", "no"], "sudo systemctl start edge-wm"),
        (["--robot", "sim", "--start", "no"], "sudo systemctl start edge-wm"),
    ],
)
def test_in_the_end_it_names_a_command_that_works_then(install, words: list[str], then: str) -> None:
    assert install("--dry-run", *words).stdout.splitlines()[-1] == f"and then: {then}"


def test_what_runs_is_started_anew_before_its_environment_goes_whoever_started_it(install) -> None:
    for start, verb in (("yes", "restart"), ("no", "try-restart")):
        said = install("--dry-run", "--start", start).stdout.splitlines()
        anew = [line.removeprefix("would run: systemctl ") for line in said if "edge-wm.service" in line]
        assert anew[-1] == f"{verb} edge-wm.service"
        assert "would run: systemctl stop edge-wm-update.service" in said


def test_a_model_of_ones_own_is_verified_copied_and_named(install) -> None:
    done = install("--dry-run", "--robot", ROBOT, "--model", MODEL)
    assert done.returncode == 0, done.stderr
    assert f"would verify {MODEL}, and copy it to /var/lib/edge-wm/installed/" in done.stdout
    assert "would link: /var/lib/edge-wm/installed/model to " in done.stdout
    assert "/var/lib/edge-wm/installed" not in install("--dry-run", "--robot", ROBOT).stdout


def test_it_asks_a_person_three_questions_and_no_more(install, tools: Path, tmp_path: Path) -> None:
    robot = tmp_path / "rover.toml"
    robot.write_text((REPOSITORY / "boards" / "robots" / "sim.toml").read_text())
    ours, theirs = pty.openpty()
    command = [SHELL, str(SCRIPT), "--dry-run"]
    with subprocess.Popen(
        command, env={"PATH": str(tools)}, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        os.write(ours, f"{robot}\n\nno\n".encode())
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    asked = os.read(ours, 4096).decode()
    os.close(ours)
    assert asked.count("?") == 3
    assert "would write: /etc/edge-wm/robot.toml" in said
    assert "enable edge-wm.service" not in said  # that was the "no"


@pytest.mark.parametrize(
    ("tool", "prints", "code", "says"),
    [
        ("getconf", "32", 0, "the system is 32-bit and a 64-bit one is needed: on a Raspberry Pi install"),
        ("python3", "3.9", 0, "Python 3.10 to 3.13 is needed and python3 is 3.9"),
        ("python3", "3.14", 0, "Python 3.10 to 3.13 is needed and python3 is 3.14"),
        ("python3", "", 127, "there is no python3 here"),
        ("uname", "riscv64", 0, "there is no board file for a computer of this kind, riscv64"),
        (
            "df",
            "Filesystem\n/dev/x 1000000 900000 100000 90% /",
            0,
            "97 MB are free in /opt and 1400 MB are needed",
        ),
    ],
)
def test_a_machine_that_will_not_do_is_refused(install, tools: Path, tool, prints, code, says) -> None:
    instead(tools, tool, prints, code)
    assert says in refused(install("--dry-run"))


@pytest.mark.parametrize(
    ("words", "needed"),
    [(["--robot", "sim"], 1400), (["--robot", ROBOT], 400), (["--robot", ROBOT, "--board", "mine"], 77)],
)
def test_the_board_s_file_says_how_much_room_is_needed(
    tools: Path, tmp_path: Path, words: list[str], needed: int
) -> None:
    for part in ("pyproject.toml", "requirements", "edge_wm", "firmware_bridge", "export", "models"):
        (tmp_path / part).symlink_to(REPOSITORY / part)
    shutil.copytree(REPOSITORY / "boards", tmp_path / "boards")
    (tmp_path / "boards" / "mine.toml").write_text("[budgets]\nmemory_mb = 1\ndisk_mb = 77 # few\n")
    script = tmp_path / "boards/install/install.sh"
    for free, code in ((needed - 1, 2), (needed, 0)):
        instead(tools, "df", f"Filesystem\n/dev/x 9 9 {free * 1024} 9% /")
        done = run_script(script, tools, "--dry-run", *words)
        assert done.returncode == code, done.stderr
        assert (f"{free} MB are free in /opt and {needed} MB are needed" in done.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("tool", "says"), [("systemctl", "there is no systemd here"), ("apt-get", "there is no apt-get here")]
)
def test_another_kind_of_system_is_refused(install, tools: Path, tool: str, says: str) -> None:
    (tools / tool).unlink()
    assert says in refused(install("--dry-run"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fly"], "no option --fly"),
        (["--robot"], "--robot needs a value"),
        (["--dry-run", "--robot", "/nothing.toml"], "/nothing.toml: there is no such robot file"),
        (["--dry-run", "--updates", "/nothing.toml"], "/nothing.toml: there is no such update.toml"),
        (["--dry-run", "--start", "perhaps"], "--start: perhaps is neither yes nor no"),
        (["--dry-run", "--board", "abacus"], "--board: there is no abacus"),
        (["--dry-run", "--governor", "turbo"], "--governor: no governor turbo"),
        (["--dry-run", "--model", "/nothing"], "/nothing: there is no bundle"),
        (["--dry-run", "--model", MODEL, "--updates", ROBOT], "--model: updates choose the model"),
        (["--dry-run", "--purge"], "--purge goes with --uninstall"),
        (["--dry-run", "--root", "/nothing", "--board", "sim"], "/nothing: holds no Linux"),
    ],
)
def test_words_that_make_no_sense_are_refused(install, words: list[str], says: str) -> None:
    assert says in refused(install(*words))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kind = "picamera2"', 'kind = "webcam"', "sensors.camera.kind: is none of picamera2, v4l2"),
        ('board = "rpi5"', 'board = "mine.toml"', "board: there is no mine.toml beside it"),
        ('board = "rpi5"', "board = 'boards/mine.toml'", "board: boards/mine.toml must lie beside the file"),
    ],
)
def test_a_robot_file_that_would_fail_later_is_refused_now(
    install, tmp_path: Path, old: str, new: str, says: str
) -> None:
    robot, text = tmp_path / "rover.toml", EXAMPLE.read_text()
    assert text.count(f"\n{old}") == 1
    robot.write_text(text.replace(f"\n{old}", f"\n{new}"))
    assert f"{robot}: {says}" in refused(install("--dry-run", "--robot", robot))


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """The script where another user can read it."""
    folder = Path("/tmp") / f"edge-wm-install-{os.getpid()}"
    shutil.copytree(REPOSITORY / "boards", folder / "boards")
    yield folder / "boards" / "install" / "install.sh"
    shutil.rmtree(folder)


def test_whoever_is_not_root_is_told_to_use_sudo(everybodys: Path) -> None:
    user = 65534 if os.geteuid() == 0 else None
    done = subprocess.run(
        [SHELL, str(everybodys), "--yes"], capture_output=True, text=True, check=False, user=user, cwd="/"
    )
    assert "run it with sudo" in refused(done)
