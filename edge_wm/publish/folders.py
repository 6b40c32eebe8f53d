"""Where a publisher keeps things: the repository that everybody may read, and the private folder beside it.

    REPO/metadata/      signed: N.root.json, timestamp.json, N.snapshot.json, N.targets.json, N.KIND.json
    REPO/targets/KIND/  HASH.NAME: channels, and files of models in their forms
    REPO.keys/          repository.toml, key files, root.json and seen.json, pending/

Only ``REPO/metadata`` and ``REPO/targets`` are for a web server.  The private folder tells where keys are, and what this
keeper has published: what lies in ``REPO`` is believed no further than that, see ``published.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edge_wm.bundle.manifest import Sha256
from edge_wm.durable import replace_file
from edge_wm.errors import BadInput
from edge_wm.toml_file import checked, read_table

KINDS = "kinds"
"""In ``expires_days``: the roles of all robot kinds."""

Days = Annotated[float, Meta(gt=0.0, le=36525.0)]
KeyUri = Annotated[str, Meta(pattern=r"^[a-z0-9+]+:.", max_length=1000)]

DEFAULT_EXPIRES_DAYS = {"root": 365.0, "targets": 365.0, KINDS: 180.0, "snapshot": 30.0, "timestamp": 7.0}
"""Offline roles are signed by people and rarely; the timestamp's days are how long an attacker can hold an update back."""

_HEAD = """\
# Where the keys of this repository are, and for how many days what they sign is valid.
# Which key may sign what, and how many must, stands in the signed metadata: edge-wm update repo-status shows it.
# A file2: key without a folder is looked for in this folder, and in those of --key-dir.
"""


@dataclass(frozen=True)
class Folders:
    """The folders of one repository.

    Attributes:
        public: ``REPO``.
        private: ``REPO.keys``; never inside ``REPO``.
    """

    public: Path
    private: Path

    @classmethod
    def of(cls, repository: Path, private: Path | None = None) -> Folders:
        """The folders of a repository.  Raises BadInput if the private one would be readable by everybody."""
        public = repository.resolve()
        hidden = (private if private is not None else public.with_name(public.name + ".keys")).resolve()
        if hidden == public or public in hidden.parents:
            raise BadInput(f"{hidden}: is inside {public}: keys must not be published")
        return cls(public, hidden)

    @property
    def metadata(self) -> Path:
        """Of the public part: everything that is signed."""
        return self.public / "metadata"

    @property
    def targets(self) -> Path:
        """Of the public part: what robots fetch."""
        return self.public / "targets"

    @property
    def lock(self) -> Path:
        """One publisher at a time.  It is in the public part because that may be shared by several keepers."""
        return self.public / "publisher.lock"

    @property
    def pending(self) -> Path:
        """Metadata that waits for signatures, or for a command that was interrupted to be run again."""
        return self.private / "pending"

    @property
    def settings(self) -> Path:
        """See ``Settings``."""
        return self.private / "repository.toml"

    @property
    def trusted_root(self) -> Path:
        """The newest root that this keeper has published or signed."""
        return self.private / "root.json"

    @property
    def seen(self) -> Path:
        """The versions that this keeper has published, by role."""
        return self.private / "seen.json"

    def make(self) -> None:
        """Make those that are not there; only their owner may look into the private one."""
        for folder in (self.public, self.metadata, self.targets):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.private, self.pending):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``repository.toml``.

    Attributes:
        expires_days: by role; ``kinds`` for the roles of robot kinds.
        keys: securesystemslib's URI of the private half, by key id.
    """

    expires_days: dict[str, Days]
    keys: dict[Sha256, KeyUri]

    def days(self, role: str) -> float:
        """For how many days a role's metadata is valid."""
        return self.expires_days.get(role, self.expires_days[KINDS])


def read_settings(folders: Folders) -> Settings:
    """Read and check ``repository.toml``.

    Raises:
        BadInput: there is no repository here, or the key of the file that is wrong and why.
    """
    if not folders.settings.is_file():
        raise BadInput(
            f"{folders.public}: no repository of yours: there is no {folders.settings}:"
            f" edge-wm update init-repo {folders.public}, or name its folder with --private"
        )
    settings = checked(read_table(folders.settings, "settings"), Settings, folders.settings)
    missing = sorted(set(DEFAULT_EXPIRES_DAYS) - set(settings.expires_days))
    if missing or len(settings.expires_days) > len(DEFAULT_EXPIRES_DAYS):
        raise BadInput(f"{folders.settings}: expires_days: it must have {', '.join(DEFAULT_EXPIRES_DAYS)}")
    return settings


def write_settings(folders: Folders, settings: Settings) -> None:
    """Write ``repository.toml``; comments that people wrote into it stay."""
    import tomlkit

    if folders.settings.is_file():
        document = tomlkit.parse(folders.settings.read_text(encoding="utf-8"))
    else:
        document = tomlkit.parse(_HEAD)
    for name, values in (("expires_days", settings.expires_days), ("keys", settings.keys)):
        table = document.setdefault(name, tomlkit.table())
        for key in set(table) - set(values):
            del table[key]
        for key, value in values.items():
            if table.get(key) != value:
                table[key] = value
    replace_file(folders.settings, tomlkit.dumps(document).encode())


def read_seen(folders: Folders) -> dict[str, int]:
    """The versions that this keeper has published, by role.  Raises BadInput if the file is damaged."""
    try:
        return msgspec.json.decode(folders.seen.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise BadInput(f"{folders.seen}: {error}: restore it from a backup") from None


def write_seen(folders: Folders, versions: Mapping[str, int]) -> None:
    """Remember what has been published."""
    replace_file(folders.seen, msgspec.json.encode(versions))
