"""What an image is told for its first boot: cloud-init's files (NoCloud), and a Raspberry Pi's cmdline.txt and config.txt.

cloud-init makes the user and the network.  It also starts `first-boot.sh`, at every boot until that has ended well: what
cloud-init itself runs only once is lost if the power goes in the middle of it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_wm.errors import BadInput
from edge_wm.flash.system import System

SCRIPT = Path(__file__).with_name("first-boot.sh")
CARD = "/run/edge-wm-card"
UNIT = "edge-wm-first-boot.service"

GROUPS = ("adm", "sudo", "dialout", "video", "plugdev", "netdev", "gpio", "i2c", "spi", "render", "users")
"""Of Raspberry Pi OS' first user, as far as robots need them; cloud-init makes those that are missing."""

I2C = "dtparam=i2c_arm=on"
SERIAL_CONSOLES = ("console=serial", "console=ttyAMA", "console=ttyS")

UNIT_FILE = """\
[Unit]
Description=edge-wm, installs itself
After=cloud-final.service network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStartPre=/bin/sh -c 'mkdir -p {card}; mountpoint -q {card} || mount LABEL={label} {card}'
ExecStart=/bin/sh {card}/edge-wm/first-boot.sh {card}
ExecStopPost=-/bin/umount {card}
Restart=on-failure
RestartSec=60
StandardOutput=journal+console
"""

START = """\
[ ! -e /var/lib/edge-wm-first-boot/finished ] || exit 0
mkdir -p /run/systemd/system
cat >/run/systemd/system/{unit} <<'END'
{text}END
systemctl daemon-reload
systemctl start --no-block {unit}
"""


@dataclass(frozen=True, slots=True)
class Wifi:
    """One Wi-Fi network.

    Attributes:
        name: its SSID.
        key: 64 hexadecimal digits, see :func:`pre_shared_key`; None for an open network.
        country: two letters: which channels may be used.

    Raises:
        BadInput: no network has such a name, or it is no country.
    """

    name: str
    key: str | None
    country: str

    def __post_init__(self) -> None:
        # Bytes that are no UTF-8 came as surrogates, which are not printable.
        if not self.name.isprintable() or not 1 <= len(self.name.encode()) <= 32:
            raise BadInput("--wifi: a network's name has 1 to 32 bytes, all printable")
        if not re.fullmatch(r"[A-Z]{2}", self.country):
            raise BadInput("--wifi-country: two letters are needed, such as DE or US")


@dataclass(frozen=True, slots=True)
class Answers:
    """What first boot is told of the person and the place.

    Attributes:
        hostname: of the board.
        user: who may log in and use sudo; None: whom the image has.
        password_hash: of the user, see :func:`hash_password`; None: no login by password.
        ssh_keys: public keys of the user, a line each.
        wifi: the network; None: a cable.
        timezone: such as ``Europe/Berlin``; None: that of the image.

    Raises:
        BadInput: a name that Linux does not take, or a user who could not log in.
    """

    hostname: str = "edge-wm"
    user: str | None = None
    password_hash: str | None = None
    ssh_keys: tuple[str, ...] = ()
    wifi: Wifi | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", self.hostname):
            raise BadInput(f"--hostname: {self.hostname!r} is none: use a-z, 0-9 and - between them")
        if self.user is not None:
            if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", self.user) or self.user in ("root", "edge-wm"):
                raise BadInput(f"--user: {self.user!r} cannot be the name of one: use a-z, 0-9, _ and -")
            if self.password_hash is None and not self.ssh_keys:
                raise BadInput("--user: could not log in: add --ssh-key FILE or --password-file FILE")
        elif self.password_hash is not None or self.ssh_keys:
            raise BadInput("--ssh-key, --password-file: whose? add --user NAME")
        for key in self.ssh_keys:
            if not re.fullmatch(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f]*)?", key):
                raise BadInput("--ssh-key: has a line that is no public key: name the file that ends in .pub")
        if self.timezone is not None and not re.fullmatch(
            r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", self.timezone
        ):
            raise BadInput(f"--timezone: {self.timezone!r} is none: write it like Europe/Berlin")


def new_instance() -> str:
    """cloud-init's name for this card: another one, and it does everything as for the first time."""
    return f"edge-wm-{secrets.token_hex(8)}"


def user_data(answers: Answers, system: System) -> bytes:
    """cloud-init's ``user-data``.  What it holds is YAML, since JSON is."""
    unit = UNIT_FILE.format(card=CARD, label=system.label)
    config: dict[str, Any] = {
        "hostname": answers.hostname,
        "bootcmd": [["sh", "-c", START.format(unit=UNIT, text=unit)]],
    }
    if answers.timezone is not None:
        config["timezone"] = answers.timezone
    if answers.user is not None:
        user: dict[str, Any] = {
            "name": answers.user,
            "groups": list(GROUPS),
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": answers.password_hash is None,
        }
        if answers.password_hash is not None:
            user["passwd"] = answers.password_hash
        if answers.ssh_keys:
            user["ssh_authorized_keys"] = list(answers.ssh_keys)
        config["users"] = [user]
        config["ssh_pwauth"] = answers.password_hash is not None and not answers.ssh_keys
    return _cloud_config(config)


def user_data_afterwards(answers: Answers) -> bytes:
    """What takes its place after first boot: without anything secret."""
    return _cloud_config({"hostname": answers.hostname})


def meta_data(answers: Answers, instance: str) -> bytes:
    """cloud-init's ``meta-data``.  The key has a hyphen: that of Raspberry Pi OS' own file is never read."""
    return _json({"dsmode": "local", "instance-id": instance, "local-hostname": answers.hostname})


def network_config(wifi: Wifi) -> bytes:
    """cloud-init's ``network-config`` version 2, which is netplan's.  The password is the key: never the passphrase."""
    point = {} if wifi.key is None else {"password": wifi.key}
    return _json(
        {
            "network": {
                "version": 2,
                "ethernets": {"eth0": {"dhcp4": True, "optional": True}},
                "wifis": {
                    "wlan0": {
                        "dhcp4": True,
                        "optional": True,
                        "regulatory-domain": wifi.country,
                        "access-points": {wifi.name: point},
                    }
                },
            }
        }
    )


def cmdline(before: bytes, instance: str, country: str | None, *, serial_console: bool = True) -> bytes:
    """The kernel's command line, as Raspberry Pi Imager 2 completes it.  Only its first line counts.

    Args:
        before: that of the image.
        instance: cloud-init's name for this card.
        country: of the Wi-Fi network; None: there is none.
        serial_console: whether the kernel may talk, and people log in, on a serial port.
    """
    line = before.decode("utf-8", "replace").strip().split("\n")[0]
    words = [word for word in line.split() if not word.startswith(("ds=nocloud", "systemd.run"))]
    if not serial_console:
        words = [word for word in words if not word.startswith(SERIAL_CONSOLES)]
    if country is not None:
        words = [word for word in words if not word.startswith("cfg80211.ieee80211_regdom=")]
        words.append(f"cfg80211.ieee80211_regdom={country}")
    return (" ".join([*words, f"ds=nocloud;i={instance}"]) + "\n").encode()


def config_txt(before: bytes, *more: str) -> bytes:
    """The firmware's settings, with the header's I2C bus on, and ``more`` lines.

    Lines behind the last ``[…]`` would be of that filter.
    """
    there, for_all = set(), True
    for line in map(bytes.strip, before.splitlines()):
        for_all = line == b"[all]" if line.startswith(b"[") else for_all
        if for_all:
            there.add(line)
    wanted = [line.encode() for line in (I2C, *more) if line.encode() not in there]
    return b"\n".join([before.rstrip(b"\n"), b"", b"[all]", *wanted, b""]) if wanted else before


def pre_shared_key(name: str, passphrase: str) -> str:
    """The key that WPA2 makes of a passphrase (IEEE 802.11-2020, J.4.1); 64 hexadecimal digits are one already.

    Raises:
        BadInput: it is no passphrase.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", passphrase):
        return passphrase.lower()
    if not 8 <= len(passphrase) <= 63 or not passphrase.isascii() or not passphrase.isprintable():
        raise BadInput("the Wi-Fi passphrase has 8 to 63 characters, all of them ASCII")
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode(), name.encode(), 4096, 32).hex()


def hash_password(password: str) -> str:
    """SHA-512 crypt, as in /etc/shadow, by the system's own libcrypt.

    Raises:
        BadInput: it is empty, or this system has no libcrypt.
    """
    if not password or "\0" in password or "\n" in password:
        raise BadInput("the password is empty, or has more than one line")
    found = ctypes.util.find_library("crypt") or "libcrypt.so.1"
    try:
        crypt = ctypes.CDLL(found).crypt
    except OSError as error:
        raise BadInput("there is no libcrypt here: use --ssh-key instead of a password") from error
    crypt.argtypes, crypt.restype = (ctypes.c_char_p, ctypes.c_char_p), ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), f"$6${secrets.token_hex(8)}".encode())
    if not hashed or not hashed.startswith(b"$6$"):
        raise BadInput("libcrypt knows no SHA-512 here: use --ssh-key instead of a password")
    return hashed.decode()


def _cloud_config(config: dict[str, Any]) -> bytes:
    return b"#cloud-config\n" + _json(config)


def _json(content: dict[str, Any]) -> bytes:
    # msgspec leaves what is not ASCII as it is: the pairs of \u escapes of other encoders mean something else in YAML.
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
