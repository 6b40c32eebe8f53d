"""What the `edge-wm` command prints and how it exits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import edge_wm
from edge_wm.cli import SUBCOMMANDS, LazyGroup, Subcommand, run

EDGE_WM = [sys.executable, "-c", "from edge_wm.cli import main; main()"]
Planted = Callable[[str], click.Group]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Return a maker of groups with one subcommand `it`, whose body is the given source."""

    def plant(body: str) -> click.Group:
        name = f"planted_{tmp_path.name}"
        source = f"import click\n@click.command()\n@click.option('--size', type=int)\ndef command(size):\n    {body}\n"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return LazyGroup("edge-wm", subcommands={"it": Subcommand(f"{name}:command", "Do it.")})

    return plant


def test_version_names_the_distribution_and_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edge-wm, version {edge_wm.__version__}\n"


def test_help_lists_every_subcommand_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in SUBCOMMANDS)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_listing_the_subcommands_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    group = LazyGroup("edge-wm", subcommands={"it": Subcommand("no_such_module:command", "Do it.")})
    assert run(["--help"], group) == 0
    assert "Do it." in capsys.readouterr().out
    with pytest.raises(ModuleNotFoundError):  # control: running it does import it
        run(["it"], group)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_of_the_table_exists_and_has_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: edge-wm {name}")


@pytest.mark.parametrize(
    ("body", "code"),
    [("pass", 0), ("return 1", 1), ("click.get_current_context().exit(1)", 1), ("return {'a': 1}", 0)],
)
def test_the_exit_code_is_the_one_the_command_gives(planted: Planted, body: str, code: int) -> None:
    assert run(["it"], planted(body)) == code


@pytest.mark.parametrize(
    "body",
    [
        "from edge_wm.errors import BadInput; raise BadInput('robot.toml: radius_m:\\nmust be positive')",
        "raise click.ClickException('robot.toml: radius_m: must be positive')",
        "open('/nowhere/at/all')",
        "import errno, os; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    planted: Planted, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["it"], planted(body)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_a_missing_library_is_answered_with_the_command_that_installs_it(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "raise ModuleNotFoundError(\"No module named 'mujoco'\", name='mujoco')"
    assert run(["it"], planted(body)) == 2
    assert "pip install 'edge-wm[sim]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body",
    [
        "1 / 0",
        "raise ImportError('numpy failed')",
        "import no_such_module",
        "import click.no_such_part",
        "raise OSError('no file is named')",
    ],
)
def test_a_mistake_of_ours_keeps_its_traceback(planted: Planted, body: str) -> None:
    with pytest.raises((ZeroDivisionError, ImportError, OSError)):
        run(["it"], planted(body))


@pytest.mark.parametrize("words", [["nothing"], ["--nothing"], ["it", "--size", "big"], ["it", "surplus"]])
def test_a_usage_error_is_one_line_and_exit_code_2(
    planted: Planted, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, planted("pass")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "--help)" in said
    assert said.count("\n") == 1


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Ctrl-C reaches Python, also in a test run that a shell has put into the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_is_one_word_and_exit_code_130(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["it"], planted(f"import os; os.kill(os.getpid(), {signal.SIGINT:d})")) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.usefixtures("heard_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_every_stop_signal_ends_a_command_as_ctrl_c_does(
    planted: Planted, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    assert run(["it"], planted(f"import os; os.kill(os.getpid(), {number:d})")) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored(planted: Planted) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run(["it"], planted(f"import os; os.kill(os.getpid(), {signal.SIGHUP:d})")) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard_ctrl_c")
@pytest.mark.usefixtures("heard_ctrl_c")
@pytest.mark.parametrize(("entry", "is_quiet"), [("edge_wm.entry", True), ("edge_wm.cli", False)])
def test_an_interrupt_while_the_command_line_is_imported_is_quiet(
    tmp_path: Path, entry: str, is_quiet: bool
) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {entry} import main; main()",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGINT
    assert (done.stderr == "") == is_quiet


def test_an_interrupt_that_an_import_turns_into_an_error_of_its_own_is_an_interrupt(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"""import os
    try:
        os.kill(os.getpid(), {signal.SIGINT:d})
    except KeyboardInterrupt:
        raise ImportError('numpy failed to import')
"""
    assert run(["it"], planted(body)) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_what_a_stranger_wrote_cannot_move_the_cursor(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "raise click.ClickException('robot \\x1b[2J\\x1b]0;title\\x07 \\u202ename')"
    assert run(["it"], planted(body)) == 2
    said = capsys.readouterr().err
    assert said == "error: robot [2J ]0;title name\n"


def test_numpy_shares_no_product_among_threads_unless_somebody_asks_it_to() -> None:
    told = "import atexit, os; atexit.register(lambda: print(os.environ['OPENBLAS_NUM_THREADS']))"
    code = f"{told}; import sys; sys.argv = ['edge-wm', '--version']; from edge_wm.cli import main; main()"
    for asked, threads in (({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")):
        environment = {name: text for name, text in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | asked, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == threads


def test_a_reader_that_leaves_is_not_an_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*EDGE_WM, "--help"], stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(write_end)
    assert done.stderr == ""


def redirected(redirection: str, words: str = "--help") -> subprocess.CompletedProcess[str]:
    """Run `edge-wm` under a shell that redirects it."""
    script = f'exec "$0" -c "from edge_wm.cli import main; main()" {words} {redirection}'
    return subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_an_error(redirection: str) -> None:
    done = redirected(redirection)
    assert (done.returncode, done.stderr) == (0, "")
    assert redirected(redirection, "no-such-command").returncode == 2  # the control


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    done = redirected("> /dev/full")
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


def test_a_real_process_says_error_on_stderr_and_exits_2() -> None:
    done = subprocess.run([*EDGE_WM, "no-such-command"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
