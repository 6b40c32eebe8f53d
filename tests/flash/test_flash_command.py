"""`edge-wm flash` as people run it: what is written, what is asked, and what is refused in one line with nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wm.cli import run
from edge_wm.flash.card import MARK, is_unfinished
from edge_wm.flash.devices import disk_of, disks
from edge_wm.paths import shipped
from tests.flash import official
from tests.flash.fat_reader import files_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyMaterialHere somebody@laptop"
ROBOT = shipped("boards", "robots", "sim-avr.toml")
OLD = b"an older card" * 6 * official.MB


class Ran:
    """What a run of the command said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out = done.returncode, done.stdout
        self.errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stderr, done.stderr


def flash(*words: object, typed: str = "") -> Ran:
    code = "import sys; from edge_wm.cli import main; main()"
    command = [sys.executable, "-c", code, "flash", *map(str, words)]
    return Ran(subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=240))


def refused(*words: object) -> str:
    """The one line that says why, of a run without anybody at the keyboard."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run(["flash", *map(str, words)])
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1, (code, out.getvalue(), errors.getvalue())
    return lines[0].removeprefix("error: ")


@pytest.fixture
def usual(images: Path, bundle: Path) -> tuple[object, ...]:
    """The options that most cards need, but for the device."""
    return ("--board", "rpi5", "--image", images / "pi-os.img", "--bundle", bundle, "--robot", ROBOT)


def _boot_files(card: bytes) -> dict[str, bytes]:
    return files_of(card[official.BOOT_START : official.BOOT_START + official.BOOT_SIZE])


def _check_boot_file_system(card: Path, folder: Path) -> None:
    with card.open("rb") as file:
        file.seek(official.BOOT_START)
        (folder / "boot").write_bytes(file.read(official.BOOT_SIZE))
    official.run("fsck.vfat", "-n", str(folder / "boot"))


def test_a_card_is_the_image_with_what_first_boot_needs_and_nothing_else_changed(
    usual: tuple[object, ...], images: Path, tmp_path: Path
) -> None:
    card, key, secret = tmp_path / "card.img", tmp_path / "id.pub", tmp_path / "secret"
    key.write_text(KEY + "\n")
    secret.write_text("a passphrase\n")

    who = ("--user", "rover", "--ssh-key", key, "--password-file", secret, "--hostname", "rover-1")
    where = ("--wifi", "home", "--wifi-country", "de", "--wifi-password-file", secret)
    ran = flash(*usual, *who, *where, "--device", card)

    assert ran.code == 0, ran.errors
    written, image = card.read_bytes(), (images / "pi-os.img").read_bytes()
    assert hashlib.sha256(written).hexdigest() in ran.out
    end = official.BOOT_START + official.BOOT_SIZE
    assert written[: official.BOOT_START] == image[: official.BOOT_START] and written[end:] == image[end:]
    _check_boot_file_system(card, tmp_path)
    before, after = _boot_files(image), _boot_files(written)
    new = {"edge-wm/payload.tar.gz", "edge-wm/payload.sha256", "edge-wm/first-boot.sh"}
    assert set(after) == set(before) | new
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"user-data", "meta-data", "network-config", "cmdline.txt", "config.txt"}
    digest = hashlib.sha256(after["edge-wm/payload.tar.gz"]).hexdigest()
    assert after["edge-wm/payload.sha256"] == f"{digest}  payload.tar.gz\n".encode()
    config = json.loads(after["user-data"].removeprefix(b"#cloud-config\n"))
    assert config["users"][0]["ssh_authorized_keys"] == [KEY] and config["hostname"] == "rover-1"
    instance = json.loads(after["meta-data"])["instance-id"]
    assert after["cmdline.txt"].endswith(f"regdom=DE ds=nocloud;i={instance}\n".encode())
    assert b"a passphrase" not in written and "a passphrase" not in ran.out


def test_a_debian_image_becomes_a_nocloud_seed_by_its_label(
    images: Path, bundle: Path, tmp_path: Path
) -> None:
    card = tmp_path / "card.img"

    ran = flash(
        "--board", "generic-aarch64", "--image", images / "debian.img", "--bundle", bundle, "--device", card
    )

    assert ran.code == 0, ran.errors
    _check_boot_file_system(card, tmp_path)
    after = _boot_files(card.read_bytes())
    assert {"user-data", "meta-data", "EFI/BOOT/BOOTAA64.EFI"} <= set(after)
    assert b"mount LABEL=CIDATA" in after["user-data"]
    boot = ["blkid", "--probe", "--output", "value", "--match-tag", "LABEL", str(tmp_path / "boot")]
    if os.access("/usr/sbin/blkid", os.X_OK):  # as cloud-init looks for it
        assert subprocess.run(boot, stdout=subprocess.PIPE, text=True, check=True).stdout == "CIDATA\n"


def test_a_packed_image_gives_the_same_card_as_the_raw_one(
    images: Path, bundle: Path, tmp_path: Path
) -> None:
    packed, card = tmp_path / "jetpack.img.xz", tmp_path / "card.img"
    packed.write_bytes(lzma.compress((images / "jetpack.img").read_bytes(), preset=0))
    (tmp_path / "jetpack.img.xz.sha256").write_text(hashlib.sha256(packed.read_bytes()).hexdigest())

    ran = flash("--board", "jetson-orin-nano", "--image", packed, "--device", card)

    assert ran.code == 0, ran.errors
    assert card.read_bytes() == (images / "jetpack.img").read_bytes()
    assert "checksum  as published" in ran.out and "boards/install/to-board.sh USER@HOST" in ran.out


def test_a_real_disk_is_written_after_its_name_was_typed(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(OLD)
    device = loop(file)

    other = flash(*usual, "--device", device, typed="yes\n")
    assert other.code == 2 and other.errors == [f"error: {device}: nothing was written"]
    assert file.read_bytes() == OLD
    ran = flash(*usual, "--device", device, typed=f"{device.name}\n")

    assert ran.code == 0, ran.errors
    assert f"Everything on {device}" in ran.out
    assert "edge-wm/payload.tar.gz" in _boot_files(file.read_bytes())


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    usual: tuple[object, ...], images: Path, tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file, image = tmp_path / "disk", (images / "pi-os.img").read_bytes()
    file.write_bytes(OLD)

    ran = flash(*usual, "--device", loop(file), "--dry-run", "--yes")
    new = flash(*usual, "--device", tmp_path / "new.img", "--dry-run")

    assert ran.code == new.code == 0
    assert "Raspberry Pi OS" in ran.out and ran.out.endswith("nothing was written\n")
    assert file.read_bytes() == OLD and (images / "pi-os.img").read_bytes() == image
    assert not (tmp_path / "new.img").exists()


def test_a_disk_in_use_is_refused_whatever_is_said(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file, place = tmp_path / "disk", tmp_path / "mounted"
    file.write_bytes(bytes(len(OLD)))
    place.mkdir()
    device = loop(file)
    subprocess.run(["mkfs.ext4", "-q", str(device)], check=True)
    subprocess.run(["mount", str(device), str(place)], check=True)
    try:
        said = refused(*usual, "--device", device, "--yes")
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert said == f"{device}: is in use: {device.name} is mounted at {place}"
    assert "is in use as a loop device: detach it first" in refused(*usual, "--device", file, "--yes")


def test_a_disk_that_is_built_in_is_never_written_without_asking(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(OLD)
    device = loop(file)
    built_in = disk_of(device)._replace(external=False)
    monkeypatch.setattr("edge_wm.commands.flash.disk_of", lambda path: built_in)

    assert "is built in, and no card: run this without --yes" in refused(*usual, "--device", device, "--yes")
    assert file.read_bytes() == OLD


def test_the_disk_that_this_system_runs_from_is_refused(usual: tuple[object, ...]) -> None:
    own = [disk for disk in disks() if any("this system runs from it" in use for use in disk.uses)]
    if not own:
        pytest.skip("this system runs from no disk that it sees")
    assert "this system runs from it" in refused(*usual, "--device", own[0].path, "--yes")


def test_a_card_that_is_too_small_is_refused_before_anything_is_written(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(OLD[: 32 * official.MB])

    said = refused(*usual, "--device", loop(file), "--yes")

    assert "is too small: it has 0.03 GB, the image 0.07 GB" in said
    assert file.read_bytes() == OLD[: 32 * official.MB]


def test_a_locked_card_is_refused(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(OLD)

    assert "is read-only: look at its lock" in refused(*usual, "--device", loop(file, "--read-only"), "--yes")


def test_an_image_whose_checksum_is_another_touches_nothing(
    usual: tuple[object, ...], tmp_path: Path
) -> None:
    card = tmp_path / "card.img"
    card.write_bytes(b"older")

    said = refused(*usual, "--device", card, "--yes", "--sha256", "0" * 64)

    assert "its SHA-256 is not that of --sha256: download it again" in said
    assert card.read_bytes() == b"older"


def test_a_download_that_was_cut_behind_the_boot_partition_is_never_called_done(
    images: Path, usual: tuple[object, ...], tmp_path: Path
) -> None:
    """Only unpacking all of it shows that: by then the card is being written."""
    packed, card = tmp_path / "image.img.xz", tmp_path / "card.img"
    whole = lzma.compress((images / "pi-os.img").read_bytes(), preset=0)
    packed.write_bytes(whole[:-1_000_000])

    said = refused("--board", "rpi5", "--image", packed, *usual[4:], "--device", card)

    assert said == f"{packed}: damaged, or not all of it: download it again"
    assert is_unfinished(card)
    assert "was never finished" in refused(
        "--board", "rpi5", "--image", card, "--device", tmp_path / "another"
    )


def test_a_payload_that_does_not_fit_touches_nothing(
    usual: tuple[object, ...], bundle: Path, tmp_path: Path
) -> None:
    card, large = tmp_path / "card.img", tmp_path / "bundle"
    large.mkdir()
    subprocess.run(["cp", "-r", f"{bundle}/.", str(large)], check=True)
    (large / "noise").write_bytes(os.urandom(45 * official.MB))

    said = refused(*usual, "--bundle", large, "--device", card)

    assert said == "the image's boot partition has too little room for what first boot needs"
    assert not card.exists()


def test_nothing_of_the_kind_is_one_line(usual: tuple[object, ...], images: Path, tmp_path: Path) -> None:
    broken, card = tmp_path / "my.toml", tmp_path / "card.img"
    broken.write_text('name = "my"\ndescription = "mine"\ncolour = "red"\n')
    image = images / "pi-os.img"

    assert "no board 'rpi9'; name one of" in refused("--board", "rpi9", "--image", image, "--device", card)
    assert "colour" in refused("--board", broken, "--image", image, "--device", card)
    assert "cannot be read" in refused("--board", "rpi5", "--image", tmp_path / "no.img", "--device", card)
    assert "there is no such device" in refused(*usual, "--device", "/dev/sdzz")
    assert "is a folder or a device" in refused(*usual, "--device", "/dev/null")
    assert "is the image itself" in refused(*usual, "--device", image, "--yes")
    assert "there is no folder" in refused(*usual, "--device", tmp_path / "nowhere/card.img")
    assert "name --board, --image and --device" in refused("--board", "rpi5")
    assert "is no SD card image of JetPack" in refused(
        *usual, "--board", "jetson-orin-nano", "--device", card
    )
    assert not card.exists()


def test_what_the_person_forgot_is_one_line(usual: tuple[object, ...], images: Path, tmp_path: Path) -> None:
    card, empty, private = tmp_path / "card.img", tmp_path / "empty", tmp_path / "id"
    secret = tmp_path / "secret"
    secret.write_text("a password")
    empty.touch()
    private.write_bytes(b"\xff\xfe")

    assert "could not log in" in refused(*usual, "--device", card, "--user", "rover")
    assert "whose? add --user" in refused(*usual, "--device", card, "--password-file", secret)
    assert "the password is empty" in refused(
        *usual, "--device", card, "--user", "a", "--password-file", empty
    )
    assert "is no text" in refused(*usual, "--device", card, "--user", "a", "--ssh-key", private)
    assert "add --wifi-country" in refused(*usual, "--device", card, "--wifi", "home")
    assert "add --wifi-password-file" in refused(
        *usual, "--device", card, "--wifi", "home", "--wifi-country", "DE"
    )
    assert "of which network?" in refused(*usual, "--device", card, "--wifi-country", "DE")
    latin_1 = ("--wifi", "caf\udce9", "--wifi-country", "DE")  # before its passphrase is asked for
    assert "--wifi: a network's name has" in refused(*usual, "--device", card, *latin_1)
    wifi = ("--wifi", "home", "--wifi-country", "DE", "--wifi-password-file", empty)
    debian = ("--board", "generic-aarch64", "--image", images / "debian.img")
    assert "the generic UEFI image has none" in refused(*debian, "--device", card, *wifi)
    jetson = ("--board", "jetson-orin-nano", "--image", images / "jetpack.img")
    assert "JetPack has no cloud-init" in refused(*jetson, "--device", card, "--robot", ROBOT)
    assert not card.exists()


def test_without_mtools_one_line_says_what_installs_it(
    usual: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "sudo apt install mtools" in refused(*usual, "--device", tmp_path / "card.img")


def test_the_disks_are_listed(tmp_path: Path) -> None:
    ran = flash("--list")

    assert ran.code == 0 and not ran.errors
    assert all(line.startswith("/dev/") and " GB  " in line for line in ran.out.splitlines())


def test_an_unfinished_disk_is_recognised_when_it_is_looked_at_again(
    usual: tuple[object, ...], tmp_path: Path, loop: Callable[..., Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(MARK.ljust(len(OLD), b"\0"))

    ran = flash(*usual, "--device", loop(file), "--dry-run")

    assert "(unfinished: edge-wm flash was interrupted)" in ran.out
