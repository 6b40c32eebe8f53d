from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_wm.cli import run
from edge_wm.commands import update_publish
from tests.publish.repositories import KIND, Robot, bundle

COMMANDS = {
    "init-repo": update_publish.init_repo,
    "publish": update_publish.publish,
    "promote": update_publish.promote,
    "revoke": update_publish.revoke,
    "refresh": update_publish.refresh,
    "sign": update_publish.sign,
    "rotate-keys": update_publish.rotate_keys,
    "prune": update_publish.prune,
    "repo-status": update_publish.status,
}


def command(name: str, *arguments: object) -> int:
    return run([str(argument) for argument in arguments], COMMANDS[name], name)


@pytest.fixture
def repo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert command("init-repo", tmp_path / "repo", "--robot-kind", KIND) == 0
    assert command("publish", tmp_path / "repo", bundle(tmp_path / "one"), "--channel", "beta") == 0
    capsys.readouterr()
    return tmp_path / "repo"


def test_a_new_repository_says_what_robots_need_and_which_keys_to_take_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("init-repo", tmp_path / "repo", "--robot-kind", KIND) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "repo" / "metadata" / "1.root.json") in said
    (offline,) = [line for line in said.splitlines() if line.startswith("take offline")]
    assert offline.count("root-") == 3 and "targets-" in offline and f"{KIND}-" in offline
    assert "snapshot-" not in offline and "timestamp-" not in offline
    assert command("init-repo", tmp_path / "repo", "--robot-kind", KIND) == 0
    assert "has all of that already" in capsys.readouterr().out


def test_the_options_of_a_new_repository_are_heard(tmp_path: Path) -> None:
    options = [
        "--threshold",
        "root=1/1",
        "--expires",
        "timestamp=2",
        "--channel",
        "nightly",
        "--robot-kind",
        KIND,
    ]
    assert command("init-repo", tmp_path / "repo", *options) == 0
    command("repo-status", tmp_path / "repo", "--json", tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())
    roles = {role["role"]: role for role in state["roles"]}
    assert (roles["root"]["threshold"], len(roles["root"]["keys"])) == (1, 1)
    assert 1.9 < roles["timestamp"]["days_left"] <= 2.0
    assert list(state["kinds"][0]["channels"]) == ["nightly"]


def test_keys_are_encrypted_with_the_passphrase_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_WM_KEY_PASSPHRASE", "correct horse")
    assert command("init-repo", tmp_path / "repo", "--robot-kind", KIND, "--encrypt") == 0
    assert command("refresh", tmp_path / "repo") == 0
    monkeypatch.delenv("EDGE_WM_KEY_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", (tmp_path / "nobody").open("w+"))
    capsys.readouterr()
    assert command("refresh", tmp_path / "repo") == 2
    assert "nobody is there to type it: set EDGE_WM_KEY_PASSPHRASE" in capsys.readouterr().err


def test_publishing_shows_what_each_robot_fetches(
    tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = bundle(tmp_path / "two", "0.2.0", card="other")
    facts_file = tmp_path / "facts.json"
    assert command("publish", repo, two, "--channel", "beta", "--fraction", 0.1, "--json", facts_file) == 0
    said = capsys.readouterr().out
    assert "a new decision, number 2: for 10% of the robots" in said
    facts = json.loads(facts_file.read_text())
    assert f"{facts['update_bytes']:,}" in said and f"{facts['whole_bytes']:,}" in said
    assert facts["update_bytes"] < 0.1 * facts["whole_bytes"]
    assert facts["published"][KIND] == 3


def test_promotion_says_whether_robots_keep_what_they_have(
    tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("promote", repo, "0.1.0", "--channel", "stable", "--from", "beta", "--fraction", 0.5) == 0
    assert "a new decision, number 1: for 50%" in capsys.readouterr().out
    assert command("promote", repo, "0.1.0", "--channel", "stable", "--fraction", 1.0) == 0
    assert "for 100% of the robots of differential-drive on stable from now on" in capsys.readouterr().out
    assert command("promote", repo, "0.1.0", "--channel", "stable", "--fraction", 0.1) == 0
    assert "robots that have it keep it" in capsys.readouterr().out


def test_a_model_is_taken_back_on_one_channel_or_all(
    tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("revoke", repo, "0.1.0") == 2
    assert "say where: --channel NAME, or --all" in capsys.readouterr().err
    assert command("revoke", repo, "0.1.0", "--all") == 0
    assert Robot(repo, tmp_path / "robot").channel().releases == ()


def test_offline_keys_come_on_a_stick(tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stick").mkdir()
    for key in (tmp_path / "repo.keys").glob("root-*.pem"):
        key.rename(tmp_path / "stick" / key.name)
    assert command("rotate-keys", repo, "--role", "timestamp") == 2
    refusal = capsys.readouterr().err
    assert refusal.count("\n") == 1 and "root: none of its keys is here" in refusal
    assert command("rotate-keys", repo, "--role", "timestamp", "--key-dir", tmp_path / "stick") == 0
    assert "no longer sign for timestamp" in capsys.readouterr().out


def test_what_waits_for_signatures_is_exit_code_1_until_it_is_signed_or_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = tmp_path / "repo"
    assert command("init-repo", repo, "--robot-kind", KIND, "--threshold", f"{KIND}=2/2") == 0
    (tmp_path / "stick").mkdir()
    key = next((tmp_path / "repo.keys").glob(f"{KIND}-*.pem"))
    key.rename(tmp_path / "stick" / key.name)
    assert command("publish", repo, bundle(tmp_path / "one"), "--channel", "beta") == 1
    assert command("sign", repo, "--role", KIND) == 1
    assert command("sign", repo, "--role", KIND, "--drop") == 0
    assert command("publish", repo, tmp_path / "one", "--channel", "beta") == 1
    assert command("sign", repo, "--role", KIND, "--key-dir", tmp_path / "stick") == 0
    assert command("sign", repo, "--role", KIND) == 2
    assert "no metadata of it waits" in capsys.readouterr().err


def test_status_is_exit_code_1_when_something_expires(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("repo-status", repo) == 0
    said = capsys.readouterr().out
    assert "tiny 0.1.0" in said and "2 of 3" in said
    assert command("repo-status", repo, "--within", 10) == 1
    assert "sign soon" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["repo-status", "nothing"], "no repository of yours"),
        (["publish", "REPO", "nothing", "--channel", "beta"], "nothing: no such bundle directory"),
        (
            ["publish", "REPO", "one", "--channel", "beta", "--requires", "new"],
            "--requires new: a version looks like",
        ),
        (["publish", "REPO", "one", "--channel", "gamma"], "gamma: no such channel"),
        (["publish", "REPO", "one", "--channel", "beta", "--fraction", "1.5"], "1.5 is not in the range"),
        (
            ["promote", "REPO", "9.9.9", "--channel", "beta", "--fraction", "1"],
            "9.9.9: no model of channel beta",
        ),
        (
            ["init-repo", "new", "--robot-kind", "a", "--threshold", "root=two"],
            "--threshold root=two: it is ROLE=K/N",
        ),
        (["init-repo", "new", "--robot-kind", "a", "--threshold", "rot=1/1"], "rot: no role"),
        (["init-repo", "new", "--robot-kind", "a", "--key", "root"], "--key root: it is ROLE=…"),
        (["init-repo", "new", "--robot-kind", "a", "--key", "root=ftp:x"], "ftp:x: not the URI of a key"),
        (["init-repo", "new", "--robot-kind", "a", "--key", "root=hsm:2"], "say what its public half is"),
        (["init-repo", "new", "--robot-kind", "a", "--key", "root=file2:none.pem"], "no such file in"),
        (["init-repo", "new", "--robot-kind", "a", "--key", "root=hsm:2,none.pem"], "none.pem: No such file"),
        (["init-repo", "new", "--robot-kind", "a", "--expires", "root=0"], "--expires root=0"),
        (
            ["init-repo", "new", "--robot-kind", "a", "--expires", "walker=5"],
            "--expires walker: it is one of",
        ),
        (["rotate-keys", "REPO", "--role", "walker"], "walker: no role"),
        (["refresh", "REPO", "--role", "walker"], "walker: no role"),
    ],
)
def test_what_will_not_do_is_one_line(
    tmp_path: Path,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*[str(repo) if word == "REPO" else word for word in arguments]) == 2
    refusal = capsys.readouterr().err
    assert refusal.count("\n") == 1 and problem in refusal


def test_a_settings_file_that_does_not_hold_together_is_named(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = repo.with_name("repo.keys") / "repository.toml"
    settings.write_text(settings.read_text().replace("timestamp = 7.0", "timestamp = -1"))
    assert command("refresh", repo) == 2
    assert "repository.toml: expires_days[...]" in capsys.readouterr().err


def test_a_full_or_read_only_disk_is_one_line_and_nothing_is_published(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_wm.publish import targets

    def read_only(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(targets, "replace_file", read_only)
    assert command("publish", repo, bundle(tmp_path / "two", "0.2.0"), "--channel", "beta") == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith("error: ") and refusal.endswith("Read-only file system")
    assert len(Robot(repo, tmp_path / "robot").channel().releases) == 1
