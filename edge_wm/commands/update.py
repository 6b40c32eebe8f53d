"""``edge-wm update``: new models over the air, on the robot and on the workstation that publishes them."""

from __future__ import annotations

import click

from edge_wm.cli import LazyGroup, Subcommand

_ROBOT = "edge_wm.commands.update_robot"
_PUBLISHER = "edge_wm.commands.update_publish"

SUBCOMMANDS = {
    "check": Subcommand(f"{_ROBOT}:check", "Robot: is there a newer model for it?"),
    "fetch": Subcommand(f"{_ROBOT}:fetch", "Robot: fetch that model and prove it."),
    "apply": Subcommand(f"{_ROBOT}:apply", "Robot: put the fetched model on trial."),
    "rollback": Subcommand(f"{_ROBOT}:rollback", "Robot: give up a model for the one before."),
    "status": Subcommand(f"{_ROBOT}:status", "Robot: what drives, and how far an update is."),
    "history": Subcommand(f"{_ROBOT}:history", "Robot: what happened."),
    "pin": Subcommand(f"{_ROBOT}:pin", "Robot: stay with one model of the channel."),
    "from-usb": Subcommand(f"{_ROBOT}:from_usb", "Robot: fetch from a stick that holds the repository."),
    "repair": Subcommand(f"{_ROBOT}:repair_store", "Robot: start a damaged store anew."),
    "serve": Subcommand(f"{_ROBOT}:serve", "Robot: do all of it on a schedule."),
    "init-repo": Subcommand(f"{_PUBLISHER}:init_repo", "Publisher: make keys and an empty repository."),
    "publish": Subcommand(f"{_PUBLISHER}:publish", "Publisher: put a bundle on a channel."),
    "promote": Subcommand(f"{_PUBLISHER}:promote", "Publisher: more robots, or another channel."),
    "revoke": Subcommand(f"{_PUBLISHER}:revoke", "Publisher: no robot may run this model."),
    "refresh": Subcommand(f"{_PUBLISHER}:refresh", "Publisher: sign anew before signatures expire."),
    "sign": Subcommand(f"{_PUBLISHER}:sign", "Publisher: add this machine's signatures."),
    "rotate-keys": Subcommand(f"{_PUBLISHER}:rotate_keys", "Publisher: replace keys."),
    "prune": Subcommand(f"{_PUBLISHER}:prune", "Publisher: delete files that nobody needs."),
    "repo-status": Subcommand(f"{_PUBLISHER}:status", "Publisher: channels, keys, what expires."),
}


@click.group("update", cls=LazyGroup, subcommands=SUBCOMMANDS)
def command() -> None:
    """New models over the air, proven before they drive (docs/updates.md)."""
