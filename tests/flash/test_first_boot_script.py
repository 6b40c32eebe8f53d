"""cloud-init itself and `first-boot.sh`, in a copy of this system that is gone afterwards: what they make of a card.

Stand-ins at its edge: systemctl and the radio's programs, since nothing is booted here, and a project whose install.sh writes
down how it was called.  The whole way is gone by the emulated board.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_wm.flash.first_boot import Answers, Wifi
from edge_wm.flash.payload import Payload
from edge_wm.paths import shipped
from tests.flash import official
from tests.flash.card_file import make_card_file
from tests.flash.conftest import CLOUD_INIT as PACKAGES
from tests.flash.fat_reader import files_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyMaterialHere somebody@laptop"
ROBOT = shipped("boards", "robots", "sim-avr.toml")

INSTALL = """\
#!/bin/bash
set -e
echo "install $*" >> /calls
[[ ! -e /install-fails ]] || { rm /install-fails; exit 1; }
mkdir -p /etc/edge-wm
cp -r model /etc/edge-wm/
getent group edge-wm > /dev/null || groupadd edge-wm
"""

PREPARE = """\
set -e
mount --make-rprivate /
mount -t tmpfs scratch "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay system -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mkdir -p "$1/root/card" "$1/root/stand-ins"
mount --bind "$2" "$1/root/card"
mount -t devtmpfs dev "$1/root/dev"
for program in systemctl journalctl rfkill nmcli modprobe; do
  printf '#!/bin/sh\\necho "%s $*" >> /calls\\n' "$program" > "$1/root/stand-ins/$program"
  chmod +x "$1/root/stand-ins/$program"
done
chroot "$1/root" useradd rover
rm -rf "$1/root/etc/edge-wm" "$1/root/var/lib/edge-wm-first-boot"
"""
RUN = 'PATH=/stand-ins:$PATH chroot "$1/root" /bin/sh /card/edge-wm/first-boot.sh /card'
KEEP = 'for kept in calls etc/edge-wm var/lib/edge-wm-first-boot etc/group; do cp -r "$1/root/$kept" "$3/" || true; done'


@pytest.fixture(scope="module")
def made(images: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The boot partition of a card, as files."""
    folder = tmp_path_factory.mktemp("made")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a copy of the system is mounted by root")
    project, out = folder / "bundle", folder / "card.img"
    shutil.copytree(bundle, project)
    (project / "boards/install/install.sh").write_text(INSTALL)
    sums = project / "SHA256SUMS"
    digest = subprocess.run(
        ["sha256sum", "boards/install/install.sh"], cwd=project, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    kept = [line for line in sums.read_text().splitlines() if "install.sh" not in line]
    sums.write_text(digest + "".join(f"{line}\n" for line in kept))
    model = next(path.parent for path in shipped("models").glob("*/manifest.json"))
    answers = Answers("rover-1", "rover", ssh_keys=(KEY,), wifi=Wifi("home", "5" * 64, "DE"))
    make_card_file(images / "pi-os.img", out, official.board("rpi5"), Payload(project, ROBOT, model), answers)
    disk = out.read_bytes()[official.BOOT_START : official.BOOT_START + official.BOOT_SIZE]
    for name, content in files_of(disk).items():
        (folder / "card" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "card" / name).write_bytes(content)
    return folder / "card"


@pytest.fixture
def card(made: Path, tmp_path: Path) -> Path:
    """One to change."""
    shutil.copytree(made, tmp_path / "card")
    return tmp_path / "card"


CLOUD_INIT = """\
cp -r "$4/etc/." "$1/root/etc/"
cp -r "$4/usr/bin/." "$1/root/usr/bin/"
cp -r "$4/usr/lib/python3/dist-packages/." "$1/root/usr/lib/python3/dist-packages/"
mkdir -p "$1/root/var/lib/cloud/seed/nocloud"
cp "$2/user-data" "$2/meta-data" "$2/network-config" "$1/root/var/lib/cloud/seed/nocloud/"
printf 'datasource_list: [NoCloud, None]\\n' > "$1/root/etc/cloud/cloud.cfg.d/99_test.cfg"
for program in hostname hostnamectl; do cp "$1/root/stand-ins/systemctl" "$1/root/stand-ins/$program"; done
mount -t proc proc "$1/root/proc"
mount -t sysfs sys "$1/root/sys"
mount -t tmpfs run "$1/root/run"
chroot "$1/root" userdel --force rover
"""
STAGES = "\n".join(
    f'PATH=/stand-ins:$PATH chroot "$1/root" /usr/bin/python3 /usr/bin/cloud-init {stage} >/dev/null'
    for stage in ("init --local", "init")
)
"""The stages of a boot in which cloud-init makes users and runs ``bootcmd``."""


def _boot(card: Path, *steps: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    scratch, kept = card.parent / "scratch", card.parent / "kept"
    scratch.mkdir()
    kept.mkdir()
    script = "\n".join([PREPARE, *steps, KEEP])
    names = ["--mount", "--uts", "--net"]  # whatever it does, this machine keeps its name and its network
    command = ["unshare", *names, "sh", "-c", script, "sh", *map(str, (scratch, card, kept, PACKAGES))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if "overlay" in done.stderr:
        pytest.skip(f"no copy of the system: {done.stderr}")
    return done, kept


def test_first_boot_installs_with_what_is_on_the_card_and_leaves_no_secret_there(card: Path) -> None:
    assert b"5" * 64 in (card / "network-config").read_bytes()

    done, kept = _boot(card, RUN)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "edge-wm is installed\n"
    calls = (kept / "calls").read_text().splitlines()
    payload = "/var/lib/edge-wm-first-boot/payload"
    assert (
        f"install --yes --start no --board rpi5 --robot {payload}/robot.toml --model {payload}/model" in calls
    )
    assert calls[:3] == ["rfkill unblock wifi", "nmcli radio wifi on", "systemctl enable --now ssh"]
    assert calls.index("systemctl --quiet enable edge-wm.service") < calls.index(
        "systemctl start edge-wm.service"
    )
    assert (kept / "edge-wm/model/manifest.json").is_file()
    assert any(
        line.startswith("edge-wm:") and line.endswith("rover")
        for line in (kept / "group").read_text().splitlines()
    )
    left = {path.relative_to(card).as_posix() for path in card.rglob("*") if path.is_file()}
    assert not left & {"network-config", "edge-wm/payload.tar.gz", "user-data.next"}
    assert json.loads((card / "user-data").read_bytes().removeprefix(b"#cloud-config\n")) == {
        "hostname": "rover-1"
    }
    assert not any(b"5" * 64 in (card / name).read_bytes() for name in left)
    assert [path.name for path in (kept / "edge-wm-first-boot").iterdir()] == ["finished"]


def test_an_installation_that_fails_is_tried_again_and_nothing_is_taken_away_before(card: Path) -> None:
    steps = ('touch "$1/root/install-fails"', f"if {RUN}; then exit 9; fi", 'test -e "$2/network-config"')

    done, kept = _boot(card, *steps, RUN)

    assert done.returncode == 0, done.stderr
    calls = (kept / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls].count("install") == 2
    assert calls.count("systemctl start edge-wm.service") == 1


def test_what_has_ended_well_is_not_done_again(card: Path) -> None:
    done, kept = _boot(card, RUN, RUN)

    assert done.returncode == 0, done.stderr
    assert (kept / "calls").read_text().count("install --yes") == 1


CUT = """\
cat > "$1/root/stand-ins/rm" <<'END'
#!/bin/sh
/bin/rm "$@"
case "$*" in *payload.tar.gz*) kill -KILL $PPID ;; esac
END
chmod +x "$1/root/stand-ins/rm"
"""
"""The power goes as soon as the payload is gone."""


def test_a_power_cut_while_the_payload_is_taken_away_leaves_an_installation_that_is_whole(card: Path) -> None:
    cut = f'if {RUN}; then exit 9; fi; test ! -e "$2/edge-wm/payload.tar.gz"'

    done, kept = _boot(card, CUT, cut, RUN)

    assert done.returncode == 0, done.stderr
    assert (kept / "calls").read_text().count("install --yes") == 1


def test_a_payload_that_the_card_has_damaged_is_not_installed(card: Path) -> None:
    archive = card / "edge-wm/payload.tar.gz"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)

    done, kept = _boot(card, f"if {RUN}; then exit 9; fi")

    assert "the payload on the card is damaged: flash it again" in done.stderr
    assert "install --yes" not in (kept / "calls").read_text()


def test_cloud_init_itself_makes_the_user_and_starts_the_installation_at_every_boot(
    card: Path, cloud_init: Path
) -> None:
    unit = 'cp "$1/root/run/systemd/system/edge-wm-first-boot.service" "$1/root/home/rover/.ssh/authorized_keys" "$3/"'
    mark = 'echo boot >> "$1/root/calls"'

    result, kept = _boot(card, CLOUD_INIT, mark, STAGES, unit, mark, STAGES)

    assert result.returncode == 0, result.stderr
    boots = (kept / "calls").read_text().split("boot\n")[1:]
    started = [boot.count("systemctl start --no-block edge-wm-first-boot.service") for boot in boots]
    assert started == [1, 1]
    assert (kept / "authorized_keys").read_text() == f"{KEY}\n"
    assert "mount LABEL=bootfs" in (kept / "edge-wm-first-boot.service").read_text()
