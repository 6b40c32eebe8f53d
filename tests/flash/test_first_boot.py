"""What first boot is told: cloud-init's own schema takes it, and nothing secret is in it in the clear."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.flash.first_boot import (
    CARD,
    UNIT,
    UNIT_FILE,
    Answers,
    Wifi,
    cmdline,
    config_txt,
    hash_password,
    meta_data,
    network_config,
    pre_shared_key,
    user_data,
    user_data_afterwards,
)
from edge_wm.flash.system import GENERIC_UEFI, RASPBERRY_PI_OS
from tests.flash.official import CMDLINE

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyMaterialHere somebody@laptop"
EVERYONE = (
    Answers(),
    Answers("rover-1", "rover", ssh_keys=(KEY,), timezone="Europe/Berlin"),
    Answers(
        user="rover", password_hash=hash_password("correct horse"), wifi=Wifi("Häuschen 🏠", "0" * 64, "DE")
    ),
)


SCHEMA = """
import sys
from cloudinit.config.schema import SchemaValidationError, get_schema, validate_cloudconfig_file
schema = get_schema()
for file in sys.argv[1:]:
    try:
        validate_cloudconfig_file(file, schema)
        print("valid")
    except SchemaValidationError as error:
        print(*str(error).split())
"""
"""What ``cloud-init schema`` does, with one start for all files."""


def test_cloud_init_itself_finds_nothing_wrong_and_would(cloud_init: Path, tmp_path: Path) -> None:
    good = [
        content
        for answers in EVERYONE
        for content in (user_data(answers, RASPBERRY_PI_OS), user_data_afterwards(answers))
    ]
    bad = good[2].replace(b'"lock_passwd": true', b'"lock_passwd": "perhaps"')
    files = [tmp_path / f"user-data-{number}" for number in range(len(good) + 1)]
    for file, content in zip(files, [*good, bad], strict=True):
        file.write_bytes(content)

    command = ["/usr/bin/python3", "-c", SCHEMA, *map(str, files)]
    path = {"PYTHONPATH": str(cloud_init / "usr/lib/python3/dist-packages")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=path)

    said = done.stdout.splitlines()
    assert said[: len(good)] == ["valid"] * len(good), done.stdout + done.stderr
    assert "users.0" in " ".join(said[len(good) :])


def test_cloud_init_s_yaml_reads_what_was_meant(cloud_init: Path) -> None:
    """JSON is YAML, but for what some encoders do outside of ASCII."""
    for answers in EVERYONE:
        for content in (
            user_data(answers, GENERIC_UEFI),
            *([network_config(answers.wifi)] if answers.wifi else []),
        ):
            program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)"
            path = {"PYTHONPATH": str(cloud_init / "usr/lib/python3/dist-packages")}
            command = ["/usr/bin/python3", "-c", program]
            read = subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True, env=path)
            assert json.loads(read.stdout) == json.loads(content.removeprefix(b"#cloud-config\n"))


def test_the_instance_has_the_key_that_cloud_init_reads() -> None:
    assert json.loads(meta_data(Answers("rover"), "edge-wm-1")) == {
        "dsmode": "local",
        "instance-id": "edge-wm-1",
        "local-hostname": "rover",
    }


def test_first_boot_is_started_at_every_boot_until_it_has_ended_well() -> None:
    config = json.loads(user_data(Answers(), RASPBERRY_PI_OS).removeprefix(b"#cloud-config\n"))
    ((shell, option, script),) = config["bootcmd"]

    assert (shell, option) == ("sh", "-c")
    assert script.startswith("[ ! -e /var/lib/edge-wm-first-boot/finished ] || exit 0\n")
    assert "mount LABEL=bootfs" in script and "Restart=on-failure" in script
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    assert "runcmd" not in config


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs  apt install systemd")
@pytest.mark.parametrize(("restart", "sound"), [("on-failure", True), ("always", False)])
def test_systemd_takes_the_unit_and_would_refuse_a_wrong_one(
    restart: str, sound: bool, tmp_path: Path
) -> None:
    unit = UNIT_FILE.format(card=CARD, label="bootfs").replace("Restart=on-failure", f"Restart={restart}")
    (tmp_path / UNIT).write_text(unit)

    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT)], capture_output=True, check=False
    )

    assert (done.returncode == 0 and not done.stderr) == sound, done.stderr


def test_the_command_line_is_completed_as_raspberry_pi_imager_does() -> None:
    once = cmdline(CMDLINE, "edge-wm-1", "DE")

    assert once == CMDLINE.rstrip() + b" cfg80211.ieee80211_regdom=DE ds=nocloud;i=edge-wm-1\n"
    assert cmdline(once, "edge-wm-2", "FR") == once.replace(b"=DE ", b"=FR ").replace(b"wm-1", b"wm-2")
    assert cmdline(CMDLINE, "edge-wm-1", None) == CMDLINE.rstrip() + b" ds=nocloud;i=edge-wm-1\n"


def test_the_i2c_bus_is_switched_on_once_and_for_every_board() -> None:
    once = config_txt(b"[all]\nfoo=1\n[cm5]\nbar=2\n")

    assert once == b"[all]\nfoo=1\n[cm5]\nbar=2\n\n[all]\ndtparam=i2c_arm=on\n"
    assert config_txt(once) == once
    assert config_txt(b"#dtparam=i2c_arm=on\n").endswith(b"[all]\ndtparam=i2c_arm=on\n")


def test_the_header_s_uart_is_switched_on_and_no_console_is_on_it() -> None:
    once = config_txt(b"[all]\nenable_uart=0\n[cm5]\nenable_uart=1\n", "enable_uart=1")

    assert once.endswith(b"[cm5]\nenable_uart=1\n\n[all]\ndtparam=i2c_arm=on\nenable_uart=1\n")
    assert config_txt(once, "enable_uart=1") == once
    assert b"uart" not in config_txt(b"")  # nobody asked
    quiet = cmdline(CMDLINE, "edge-wm-1", None, serial_console=False)
    assert quiet == CMDLINE.removeprefix(b"console=serial0,115200 ").rstrip() + b" ds=nocloud;i=edge-wm-1\n"
    for name in (b"ttyS0", b"ttyAMA0,115200n8", b"serial1"):
        assert name not in cmdline(b"console=" + name + b" rootwait", "edge-wm-1", None, serial_console=False)


def test_the_key_of_a_wi_fi_network_is_that_of_the_standard() -> None:
    """IEEE 802.11-2020, J.4.2, test vectors 1 and 2."""
    assert pre_shared_key("IEEE", "password") == (
        "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    )
    assert pre_shared_key("ThisIsASSID", "ThisIsAPassword") == (
        "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    )
    assert pre_shared_key("any", "AB" * 32) == "ab" * 32
    for passphrase in ("short", "x" * 64, "späße mit Umlauten", "tab\tinside"):
        with pytest.raises(BadInput, match="8 to 63 characters"):
            pre_shared_key("any", passphrase)


def test_a_password_is_hashed_as_openssl_does() -> None:
    hashed = hash_password("correct horse ä")
    salt = hashed.split("$")[2]

    again = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
        input="correct horse ä".encode(),
        stdout=subprocess.PIPE,
        check=True,
    )

    assert again.stdout.decode().strip() == hashed
    assert hash_password("correct horse ä") != hashed


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"hostname": "my robot"}, "--hostname"),
        ({"hostname": "-rover"}, "--hostname"),
        ({"user": "Rover", "ssh_keys": (KEY,)}, "--user"),
        ({"user": "root", "ssh_keys": (KEY,)}, "--user"),
        ({"user": "edge-wm", "ssh_keys": (KEY,)}, "--user"),
        ({"user": "rover"}, "could not log in"),
        ({"ssh_keys": (KEY,)}, "whose?"),
        ({"user": "rover", "ssh_keys": ("-----BEGIN OPENSSH PRIVATE KEY-----",)}, "is no public key"),
        ({"user": "rover", "ssh_keys": (KEY + "\nnext: line",)}, "is no public key"),
        ({"timezone": "../etc/passwd"}, "--timezone"),
    ],
)
def test_answers_that_cannot_be_are_refused(facts: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        Answers(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "country", "said"),
    [
        ("", "DE", "--wifi: "),
        ("x" * 33, "DE", "--wifi: "),
        ("two\nlines", "DE", "--wifi: "),
        ("caf\udce9", "DE", "--wifi: "),  # Latin-1 on the command line
        ("home", "Germany", "--wifi-country: "),
    ],
)
def test_a_network_that_cannot_be_is_refused(name: str, country: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Wifi(name, None, country)
