"""``edge-wm flash``: an official image onto a card, with all that its first boot needs to end in a driving-ready service."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import click

from edge_wm.board import Board, board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.flash.card import is_unfinished, write_card
from edge_wm.flash.card_image import CardImage, card_image
from edge_wm.flash.devices import Disk, disk_of, disks, files_of_loops
from edge_wm.flash.first_boot import Answers, Wifi, hash_password, pre_shared_key
from edge_wm.flash.payload import Payload
from edge_wm.output_file import check_output_file

FILE = click.Path(path_type=Path)


@click.command("flash")
@click.option("--list", "list_disks", is_flag=True, help="Name the disks that there are, and nothing else.")
@click.option("--board", metavar="NAME", help="Board that is to boot it, or its board file.")
@click.option(
    "--image", metavar="FILE", type=FILE, help="Official image: .img, or packed as xz, gz, zst, zip."
)
@click.option("--device", metavar="DEV", type=FILE, help="Card, such as /dev/sdb; or a file.")
@click.option("--sha256", metavar="HEX", help="Of the image; default: the file IMAGE.sha256, if it is there.")
@click.option("--bundle", metavar="DIR", type=FILE, help="Of `make offline-bundle`; default: this clone.")
@click.option("--robot", metavar="FILE", type=FILE, help="Robot file; default: the simulated robot.")
@click.option("--model", metavar="DIR", type=FILE, help="Bundle to drive by; default: the shipped one.")
@click.option("--updates", metavar="FILE", type=FILE, help="The robot's update.toml.")
@click.option("--hostname", default="edge-wm", show_default=True, help="Name of the board.")
@click.option("--user", metavar="NAME", help="Who may log in.")
@click.option(
    "--ssh-key", "ssh_keys", metavar="FILE", type=FILE, multiple=True, help="A public key of theirs."
)
@click.option("--password-file", metavar="FILE", type=FILE, help="Their password, or its hash.")
@click.option("--wifi", metavar="NAME", help="Wi-Fi network.")
@click.option("--wifi-country", metavar="CC", help="Where it is, such as DE.")
@click.option("--wifi-password-file", metavar="FILE", type=FILE, help="Its passphrase; an empty file: none.")
@click.option("--timezone", metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be written.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    list_disks: bool,
    board: str | None,
    image: Path | None,
    device: Path | None,
    sha256: str | None,
    bundle: Path | None,
    robot: Path | None,
    model: Path | None,
    updates: Path | None,
    hostname: str,
    user: str | None,
    ssh_keys: tuple[Path, ...],
    password_file: Path | None,
    wifi: str | None,
    wifi_country: str | None,
    wifi_password_file: Path | None,
    timezone: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Write an official image to a card, so that its first boot ends in a service that is ready to drive.

    Everything on the card is lost.  Disks that this system uses are refused, whatever you say.  Passwords are asked for
    where no file has them, and never stand on the command line.

    Exit code 0: written, and read back as it should be; 2: bad input, or it could not be written: nothing boots from it.
    """
    if list_disks:
        for found in disks():
            click.echo(f"{found}{_unfinished(found)}")
        return 0
    if board is None or image is None or device is None:
        raise BadInput("name --board, --image and --device; or --list, to see which devices there are")
    described = _board(board)
    disk = _target(device, image, yes)
    answers = Answers(
        hostname,
        user,
        _password_hash(user, ssh_keys, password_file),
        tuple(key for file in ssh_keys for key in _lines(file)),
        _wifi(wifi, wifi_country, wifi_password_file),
        timezone,
    )
    payload = Payload(bundle, robot, model, updates)
    with card_image(image, described, payload, answers, sha256) as made:
        if disk is not None and disk.size < made.size:
            raise BadInput(
                f"{device}: is too small: it has {disk.size / 1e9:.2f} GB, the image {made.size / 1e9:.2f} GB"
            )
        _describe(made, payload, answers, disk, device)
        if dry_run:
            click.echo("nothing was written")
            return 0
        if not yes:
            _confirm(device, disk)
        digest = _write(made, device)
    click.echo(f"{device}: written and read back, SHA-256 {digest}")
    if made.system.label:
        click.echo("put it into the board: its first boot installs edge-wm, and takes some minutes")
    else:
        click.echo(f"put it into the board, answer {made.system.name}'s questions there, and then run here:")
        click.echo("  boards/install/to-board.sh USER@HOST --robot FILE")
    return 0


def _board(name: str) -> Board:
    if name.endswith(".toml"):
        return load_board(name)
    known = board_files()
    if name not in known:
        raise BadInput(
            f"--board: no board {name!r}; name one of {', '.join(known)}, or a file ending in .toml"
        )
    return load_board(known[name])


def _target(device: Path, image: Path, yes: bool) -> Disk | None:
    """The disk to write to; None if it is a file.  Raises BadInput if it must not be written to."""
    if not device.exists():
        if device.resolve().is_relative_to("/dev"):
            raise BadInput(f"{device}: there is no such device: edge-wm flash --list")
        check_output_file(device)
        return None
    if image.exists() and device.samefile(image):
        raise BadInput(f"{device}: is the image itself")
    if not device.is_block_device():
        check_output_file(device)
        if str(device.resolve()) in files_of_loops():
            raise BadInput(f"{device}: is in use as a loop device: detach it first")
        return None
    disk = disk_of(device)
    if disk.uses:
        raise BadInput(f"{device}: is in use: {'; '.join(disk.uses)}")
    if disk.read_only:
        raise BadInput(f"{device}: is read-only: look at its lock")
    if disk.sector != 512:
        raise BadInput(f"{device}: has sectors of {disk.sector} bytes, and images are made for 512")
    if yes and not disk.external:
        raise BadInput(f"{device}: is built in, and no card: run this without --yes, and look twice")
    return disk


def _password_hash(user: str | None, ssh_keys: tuple[Path, ...], file: Path | None) -> str | None:
    if file is not None:
        said = "\n".join(_lines(file))
        return said if re.fullmatch(r"\$(5|6|y|gy|2b)\$[^\s:]+", said) else hash_password(said)
    if user is None or ssh_keys or not sys.stdin.isatty():
        return None
    return hash_password(click.prompt(f"Password for {user}", hide_input=True, confirmation_prompt=True))


def _wifi(name: str | None, country: str | None, file: Path | None) -> Wifi | None:
    if name is None:
        if country is not None or file is not None:
            raise BadInput("--wifi-country, --wifi-password-file: of which network? add --wifi NAME")
        return None
    if country is None:
        raise BadInput("--wifi: add --wifi-country, such as DE: it says which channels may be used")
    network = Wifi(name, None, country.upper())  # before anybody is asked
    if file is not None:
        passphrase = "\n".join(_lines(file))
    elif sys.stdin.isatty():
        passphrase = click.prompt(
            f"Passphrase of {name} (none if it is open)", "", hide_input=True, show_default=False
        )
    else:
        raise BadInput("--wifi: add --wifi-password-file FILE; an empty file for an open network")
    return replace(network, key=pre_shared_key(name, passphrase)) if passphrase else network


def _lines(file: Path) -> list[str]:
    """Of a file with a secret or with keys, without line ends and empty lines."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: is no text") from error
    return [line for line in text.splitlines() if line]


def _describe(made: CardImage, payload: Payload, answers: Answers, disk: Disk | None, device: Path) -> None:
    click.echo(f"image     {made.image}: {made.system.name}, {made.size / 1e9:.2f} GB")
    click.echo(f"checksum  {'as published' if made.compared else 'not known: nobody has looked'}")
    click.echo(f"board     {made.board.name}: {made.board.description}")
    if made.system.label:
        click.echo(f"project   {payload.bundle or 'this clone; the board fetches its packages'}")
        click.echo(f"robot     {payload.robot or 'simulated'}")
        click.echo(f"model     {payload.model or ('from updates' if payload.updates else 'the shipped one')}")
        click.echo(f"user      {answers.user or 'none: whom the image has'}")
        click.echo(f"network   {answers.wifi.name if answers.wifi else 'cable'}")
    click.echo(f"writes    {disk or device}{_unfinished(disk)}")


def _unfinished(disk: Disk | None) -> str:
    """What is known of a disk whose writing was interrupted; nothing where it cannot be read."""
    try:
        return "  (unfinished: edge-wm flash was interrupted)" if disk and is_unfinished(disk.path) else ""
    except OSError:
        return ""


def _confirm(device: Path, disk: Disk | None) -> None:
    name = disk.name if disk is not None else device.name
    if disk is not None:
        click.echo(
            f"Everything on {disk.path} ({disk.model or 'no name'}, {disk.size / 1e9:.1f} GB) will be lost."
        )
    elif not device.exists():
        return
    else:
        click.echo(f"Everything in {device} will be lost.")
    if click.prompt(f"Type {name} to go on", default="", show_default=False) != name:
        raise BadInput(f"{device}: nothing was written")


def _write(made: CardImage, device: Path) -> str:
    label = "writing, then reading back"
    with click.progressbar(length=2 * made.size, label=label, file=sys.stderr) as bar:
        return write_card(device, made.chunks(), made.size, bar.update, bar.update)
