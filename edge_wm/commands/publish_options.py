"""What the commands on a repository of models have in common: which repository, where its keys are, and how it ended."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wm.errors import BadInput

if TYPE_CHECKING:
    from edge_wm.publish.publisher import Access, Outcome
    from edge_wm.publish.signers import KeySource, Signers

PASSPHRASE = "EDGE_WM_KEY_PASSPHRASE"
"""Environment variable: of encrypted key files, where nobody is there to type it."""
PIN = "EDGE_WM_TOKEN_PIN"
"""Environment variable: of tokens.  A token must never be tried with a passphrase: it locks itself after a few."""

encrypt_option = click.option(
    "--encrypt", is_flag=True, help=f"Encrypt key files; the passphrase is asked for, or in ${PASSPHRASE}."
)


def of_repository(function: Callable[..., int]) -> Callable[..., int]:
    """REPO and where its keys are; the command gets them as its first argument, an ``Access``."""

    @functools.wraps(function)
    def with_access(
        repository: Path, private: Path | None, key_folders: tuple[Path, ...], **options: Any
    ) -> int:
        from edge_wm.publish.folders import Folders
        from edge_wm.publish.publisher import Access

        folders = Folders.of(repository, private)
        return function(Access(folders, tuple(folder.resolve() for folder in key_folders), _ask), **options)

    decorated: Callable[..., int] = with_access
    for decorate in (
        click.option(
            "--key-dir",
            "key_folders",
            metavar="DIR",
            multiple=True,
            type=click.Path(path_type=Path),
            envvar="EDGE_WM_KEY_DIR",
            help="Look for key files here too: the stick with the offline keys.  Can be given several times.",
        ),
        click.option(
            "--private",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="The repository's private folder; default: REPO.keys beside it.",
        ),
        click.argument("repository", metavar="REPO", type=click.Path(path_type=Path)),
    ):
        decorated = decorate(decorated)
    return decorated


def key_source(access: Access, thresholds: Iterable[str], keys: Iterable[str], encrypt: bool) -> KeySource:
    """Where new keys come from, of ``--threshold ROLE=K/N``, ``--key ROLE=URI`` and ``--encrypt``.  Raises BadInput."""
    from edge_wm.publish.signers import KeySource

    signers = {role: _signers(role, text) for role, text in pairs(thresholds, "--threshold")}
    existing: dict[str, list[str]] = {}
    for role, text in pairs(keys, "--key"):
        existing.setdefault(role, []).append(text)
    return KeySource(
        access, signers, existing, _ask("passphrase for new keys", new=True) if encrypt else None
    )


def pairs(texts: Iterable[str], option: str) -> Iterator[tuple[str, str]]:
    """``ROLE`` and what follows of each ``ROLE=…``.  Raises BadInput."""
    for text in texts:
        role, equals, rest = text.partition("=")
        if not (role and equals and rest):
            raise BadInput(f"{option} {text}: it is ROLE=…")
        yield role, rest


def days(role: str, text: str) -> float:
    """The days of ``--expires ROLE=DAYS``.  Raises BadInput."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 36525.0:
        raise BadInput(f"--expires {role}={text}: it is ROLE=DAYS, more than 0 and at most 36525")
    return number


def check_version(text: str) -> None:
    """Raise BadInput if ``--requires`` is no version."""
    import msgspec

    from edge_wm.bundle.manifest import Version

    try:
        msgspec.convert(text, Version)
    except msgspec.ValidationError:
        raise BadInput(f"--requires {text}: a version looks like 1.2.3") from None


def tell(outcome: Outcome, access: Access) -> int:
    """Say what readers see now and what waits; returns the exit code."""
    if outcome.published:
        roles = ", ".join(f"{role} {version}" for role, version in outcome.published.items())
        click.echo(f"published in {access.folders.public}: {roles}")
    for line in outcome.waiting:
        click.echo(line)
    return 1 if outcome.waiting else 0


def _signers(role: str, text: str) -> Signers:
    from edge_wm.publish.signers import Signers

    try:
        threshold, _, keys = text.partition("/")
        return Signers(int(threshold), int(keys))
    except ValueError:
        raise BadInput(f"--threshold {role}={text}: it is ROLE=K/N: K of N keys must sign") from None


def _ask(name: str, new: bool = False) -> str:
    """A passphrase or PIN, as its name begins: of the environment, or typed."""
    is_pin = name.startswith("PIN ")
    variable = PIN if is_pin else PASSPHRASE
    given = os.environ.get(variable)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise BadInput(f"{name}: nobody is there to type it: set {variable}")
    if not is_pin:
        answer: str = click.prompt(name, hide_input=True, err=True, confirmation_prompt=new)
        return answer
    try:
        question = f"{name} (nothing if that is not here)"
        pin: str = click.prompt(question, default="", show_default=False, hide_input=True, err=True)
    except click.Abort:  # to TUF every Exception is a key that cannot sign, and the command would go on
        raise KeyboardInterrupt from None
    if not pin:
        raise BadInput("no PIN was typed")
    return pin
