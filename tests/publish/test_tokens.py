"""Keys on PKCS#11 tokens: real ones but that they are software.  Each command is a process of its own, as a keeper's is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_wm.cli import run
from tests.publish.repositories import KIND, Robot, bundle
from tests.publish.softhsm import PIN, Tokens, needs_softhsm

pytestmark = needs_softhsm
EDGE_WM = Path(sys.executable).with_name("edge-wm")

# Python's own terminal: it answers what is typed into its stdin.
ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def new_root(keys: Sequence[str], threshold: str) -> list[str]:
    """Options of ``init-repo``."""
    named = [word for key in keys for word in ("--key", f"root={key}")]
    return ["--robot-kind", KIND, "--threshold", f"root={threshold}", *named]


class Keeper:
    """Who publishes in ``repo`` with the tokens of this computer."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.private = folder / "repo", folder / "repo.keys"
        self.tokens = Tokens(folder / "tokens")
        self.environment = {**self.tokens.environment, "EDGE_WM_TOKEN_PIN": PIN}

    def update(self, command: str, *words: object, code: int = 0, **environment: str) -> str:
        """What ``edge-wm update`` says; it must end with this code.  A variable that is empty is not set."""
        variables = {name: value for name, value in {**self.environment, **environment}.items() if value}
        line = [EDGE_WM, "update", command, self.repo, *words]
        done = subprocess.run(
            list(map(str, line)), env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code == 2 else done.stdout

    def init(self, keys: Sequence[str], threshold: str, code: int = 0, **environment: str) -> str:
        return self.update("init-repo", *new_root(keys, threshold), code=code, **environment)

    def type(self, answers: Sequence[tuple[str, str]], command: str, *words: object) -> int:
        """The exit code of a command on a terminal; each answer is typed when what comes before it is asked."""
        variables = {name: value for name, value in self.environment.items() if "PIN" not in name}
        line = [sys.executable, "-c", ON_A_TERMINAL, EDGE_WM, "update", command, self.repo, *words]
        with subprocess.Popen(
            list(map(str, line)), env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            for question, answer in answers:
                said = b""
                while not said.endswith(f"{question} (nothing if that is not here): ".encode()):
                    letter = process.stdout.read(1)
                    assert letter, said
                    said += letter
                process.stdin.write(f"{answer}\n".encode())
                process.stdin.flush()
            process.stdout.read()
        return process.returncode

    def everything(self) -> dict[Path, bytes]:
        """All files of the repository, public and private."""
        return {
            path: path.read_bytes()
            for folder in (self.repo, self.private)
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Two tokens are plugged in: `ann` has a key of the curve P-256, `bob` one of P-384."""
    keeper = Keeper(tmp_path)
    for label in ("ann", "bob"):
        keeper.tokens.plug_in_new(label)
    return keeper


def ids(keeper: Keeper) -> set[str]:
    """Beginnings of the ids of the keys on tokens."""
    text = (keeper.private / "repository.toml").read_text()
    return set(re.findall(r'"?([0-9a-f]{12})[0-9a-f]+"? = "hsm:', text))


def test_a_root_that_two_tokens_sign_and_a_robot_that_follows_it(keeper: Keeper, tmp_path: Path) -> None:
    keys = [keeper.tokens.make_key("ann"), keeper.tokens.make_key("bob", curve="secp384r1")]
    assert "root-" not in keeper.init(keys, "2/2")
    assert not list(keeper.private.glob("root-*")), "no private half of a root key is in a file"
    robot = Robot(keeper.repo, tmp_path / "robot")
    keeper.update("publish", bundle(tmp_path / "one"), "--channel", "beta")
    keeper.update("promote", "0.1.0", "--from", "beta", "--channel", "stable", "--fraction", "1")
    (release,) = robot.channel("stable").releases
    assert robot.install(release) > 0
    keeper.update("rotate-keys", "--role", "timestamp")
    keeper.update("rotate-keys", "--role", "targets")
    assert robot.look()
    third = keeper.tokens.make_key("ann", number=3)
    keeper.update("rotate-keys", "--role", "root", "--key", third, "--replace", sorted(ids(keeper))[0])
    keeper.update("refresh", "--role", "root", "--role", KIND)
    assert robot.look() and robot.channel("stable").releases == (release,)
    assert len(list((keeper.repo / "metadata").glob("*.root.json"))) == 5


def test_a_robot_takes_a_model_whose_publisher_signs_with_a_token(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The robot's own updater, from the folder of the repository; targets and the robot kind are signed by one token."""
    keys = [keeper.tokens.make_key("ann", number) for number in (2, 3, 4)]
    named = [f"{role}={key}" for role, key in zip(("root", "targets", KIND), keys, strict=True)]
    said = keeper.update(
        "init-repo",
        *("--robot-kind", KIND, "--threshold", "root=1/1"),
        *(word for key in named for word in ("--key", key)),
    )
    assert "take offline" not in said, "there is no file to take away"
    keeper.update("publish", bundle(tmp_path / "one", "1.0.0"), "--channel", "stable")
    (tmp_path / "root.json").write_bytes((keeper.repo / "metadata" / "1.root.json").read_bytes())
    config = tmp_path / "update.toml"
    config.write_text(
        f'url = "{keeper.repo.as_uri()}"\ntrusted_root = "root.json"\nrobot_kind = "{KIND}"\n'
        f'robot_id = "rover-17"\nroot = "{tmp_path / "state"}"\nfactory = "factory"\n'
    )
    assert run(["update", "check", "--config", str(config)]) == 0
    assert "tiny 1.0.0" in capsys.readouterr().out


def test_one_token_signs_after_the_other(keeper: Keeper, tmp_path: Path) -> None:
    ann, bob = keeper.tokens.make_key("ann"), keeper.tokens.make_key("bob")
    public = keeper.tokens.public_half("bob")
    keeper.tokens.unplug("bob")
    refusal = keeper.init([ann, bob], "2/2", code=2)
    assert refusal == (
        f"error: {bob}: No PKCS#11 token found for label bob: mend that,"
        f" or say what its public half is: {bob},PUBLIC.pem\n"
    )
    assert not keeper.everything()
    keys = [ann, f"{bob},{public}"]
    said = keeper.init(keys, "2/2", code=1)
    assert "root 1: waits for 1 more signature" in said and "No PKCS#11 token found for label bob" in said
    assert not (keeper.repo / "metadata" / "timestamp.json").exists()
    keeper.tokens.unplug("ann")
    keeper.tokens.plug_in("bob")
    assert "1 signature added" in keeper.update("sign", "--role", "root")
    assert Robot(keeper.repo, tmp_path / "robot").look()


def test_each_pin_is_asked_for_by_the_token_it_is_of_and_may_be_left_out(
    keeper: Keeper, tmp_path: Path
) -> None:
    keeper.tokens.plug_in_new("carl", pin="987654")
    keys = [
        keeper.tokens.make_key("ann"),
        keeper.tokens.make_key("bob"),
        keeper.tokens.make_key("carl", pin="987654"),
    ]
    pins = {"ann": PIN, "bob": PIN, "carl": "987654"}
    answers = [(f"PIN of hsm:2?label={label}", pin) for label, pin in pins.items()]
    assert keeper.type(answers, "init-repo", *new_root(keys, "2/3")) == 0
    answers[1] = (answers[1][0], "")
    assert keeper.type(answers, "refresh", "--role", "root") == 0
    signed = (keeper.repo / "metadata" / "2.root.json").read_text()
    assert len(re.findall(r'"sig":"[0-9a-f]+"', signed)) == 2
    assert Robot(keeper.repo, tmp_path / "robot").look()


def test_ctrl_c_where_a_pin_is_asked_for_ends_the_command(keeper: Keeper) -> None:
    keeper.init([keeper.tokens.make_key("ann"), keeper.tokens.make_key("bob")], "1/2")
    before = keeper.everything()
    assert keeper.type([("PIN of hsm:2?label=ann", "\x03")], "rotate-keys", "--role", "timestamp") == 130
    assert keeper.everything() == before


def test_a_wrong_pin_is_tried_once_and_nothing_is_made(keeper: Keeper) -> None:
    keys = [keeper.tokens.make_key("ann"), keeper.tokens.make_key("ann", number=3)]
    refusal = keeper.init(keys, "1/2", code=2, EDGE_WM_TOKEN_PIN="000000")
    assert (
        refusal.startswith("error: hsm:2?label=ann: the token refuses this PIN") and refusal.count("\n") == 1
    )
    assert not keeper.everything()
    keeper.init(keys, "1/2")
    before = keeper.everything()
    for words in (("refresh", "--role", "root"), ("rotate-keys", "--role", "targets")):
        assert not keeper.tokens.tries_are_counted("ann")
        assert keeper.update(*words, code=2, EDGE_WM_TOKEN_PIN="000000") == refusal
        assert keeper.everything() == before
        assert keeper.tokens.tries_are_counted("ann")
        keeper.update("refresh", "--role", "root")
        before = keeper.everything()


def test_a_passphrase_of_key_files_is_never_tried_as_a_pin(keeper: Keeper) -> None:
    keeper.init([keeper.tokens.make_key("ann")], "1/1")
    said = keeper.update(
        "refresh", "--role", "root", code=2, EDGE_WM_TOKEN_PIN="", EDGE_WM_KEY_PASSPHRASE="correct horse"
    )
    assert "nobody is there to type it: set EDGE_WM_TOKEN_PIN" in said
    assert not keeper.tokens.tries_are_counted("ann")


GONE = {
    "the token": ({}, "No PKCS#11 token found for label ann"),
    "the module": (
        {"PYKCS11LIB": "/nowhere/module.so"},
        "/nowhere/module.so: cannot open shared object file",
    ),
    "its name": ({"PYKCS11LIB": ""}, "PYKCS11LIB environment variable must be set"),
    "SoftHSM's folder": ({"SOFTHSM2_CONF": "/nowhere/softhsm2.conf"}, "(hsm:2?label=ann: GeneralError)"),
    "the key": ({}, "could not find ECDSA private key on the PKCS#11 token"),
    "the right key": ({}, "(hsm:2?label=ann: what it signs does not fit this key)"),
}


@pytest.mark.parametrize("gone", GONE)
def test_what_is_missing_is_one_line_and_changes_nothing(keeper: Keeper, gone: str, tmp_path: Path) -> None:
    environment, problem = GONE[gone]
    keeper.init([keeper.tokens.make_key("ann")], "1/1")
    robot = Robot(keeper.repo, tmp_path / "robot")
    if gone.startswith("the"):
        keeper.tokens.unplug("ann")
    if gone.endswith("key"):
        keeper.tokens.plug_in_new("ann")
    if gone == "the right key":
        keeper.tokens.make_key("ann")
    before = keeper.everything()
    commands = (
        ("refresh", "--role", "root"),
        ("rotate-keys", "--role", "timestamp"),
        ("rotate-keys", "--role", "root"),
    )
    for words in commands:
        refusal = keeper.update(*words, code=2, **environment)
        assert refusal.startswith("error: root: none of its keys is here: key ") and refusal.count("\n") == 1
        assert problem in refusal and "--key-dir" not in refusal
        assert keeper.everything() == before
    assert robot.look()
