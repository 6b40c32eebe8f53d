"""``update.toml``: where a robot's models come from, and what it does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from edge_wm.bundle.manifest import ModelName
from edge_wm.errors import BadInput
from edge_wm.fleet.config import BrokerConfig, RolloutConfig
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.toml_file import checked, read_table
from edge_wm.update.criteria import ShadowCriteria, TrialCriteria
from edge_wm.update.release import ChannelName
from edge_wm.update.slots import Folders

DEFAULT_CONFIG = Path("/etc/edge-wm/update.toml")
PACKAGED_ROOT = "root.json"
"""The trusted root in a fleet's offline bundle, and beside ``update.toml`` of a robot that was installed from it."""

Hours = Annotated[float, Meta(gt=0.0, le=8760.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=86400.0)]
Count = Annotated[int, Meta(ge=0, le=1 << 40)]
RobotId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """How long an update may take to be fetched and how slow it may be.

    Attributes:
        connect_s: to be connected.
        gap_s: longest silence of a server.
        total_s: for the metadata of a look, and once more for all files of an update; what is here by then stays.
        min_bytes_per_s: averaged over half a minute; less is somebody who holds an update back.
        metered: whether bytes cost money here; ``auto`` asks NetworkManager.
        metered_bytes: on a metered link no update is fetched that is larger.
    """

    connect_s: Seconds = 15.0
    gap_s: Seconds = 30.0
    total_s: Seconds = 3600.0
    min_bytes_per_s: Count = 1000
    metered: Literal["auto", "yes", "no"] = "auto"
    metered_bytes: Count = 1_000_000


class UpdateConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file.

    Attributes:
        url: of the repository: ``https://…``, or ``file:///…`` for a stick.
        trusted_root: the ``1.root.json`` of ``edge-wm update init-repo``, relative to this file; None: the one that
            the offline bundle brought.
        robot_kind: which models fit this robot.
        robot_id: tells this robot from the others of its fleet.
        robot: the robot file, relative to this file; None for the one that the driving service
            drives, or where there is none the simulated one.
        channel: ``stable``, ``beta`` or what the repository has.
        root: where updates keep their state.
        factory: bundle that the robot came with, relative to this file; None is the shipped one.
        shadow: what a new model must show beside the old one.
        trial: what it must show when it drives.
        mqtt: whom the robot tells what it has; None for nobody.
        rollout: who says when an update is due; None: as soon as the channel has one.
        believe_unset_clock: believe also a clock that neither a time server nor a clock chip has set, as a robot must that
            has no chip and is updated from sticks; otherwise updates wait.
        every_h: hours between two looks at the repository, by ``edge-wm update serve``; install.sh writes it into the timer.
    """

    url: str
    trusted_root: str | None = None
    robot_kind: ModelName
    robot_id: RobotId
    channel: ChannelName = "stable"
    robot: str | None = None
    root: str = "/var/lib/edge-wm"
    factory: str | None = None
    believe_unset_clock: bool = False
    every_h: Hours = 6.0
    network: Network = Network()
    shadow: ShadowCriteria = ShadowCriteria()
    trial: TrialCriteria = TrialCriteria()
    mqtt: BrokerConfig | None = None
    rollout: RolloutConfig | None = None


def load_config(path: Path) -> UpdateConfig:
    """Read and check ``update.toml``.

    Raises:
        BadInput: it cannot be read, or the key that is wrong and why.
    """
    config = checked(read_table(path, "update file"), UpdateConfig, path)
    if not config.url.startswith(("https://", "http://", "file:///")):
        raise BadInput(f"{path}: url: {config.url!r} begins with none of https://, http://, file:///")
    return config


def files_named(config: UpdateConfig) -> dict[str, str]:
    """The files that it names and that come with it, each with its key: the trusted root, certificates and secrets.

    What is named by its whole path is on the robot already.
    """
    named: dict[str, str | None] = {"trusted_root": config.trusted_root}
    if config.mqtt is not None:
        for key in ("ca", "certificate", "key", "password_file"):
            named[f"mqtt.{key}"] = getattr(config.mqtt, key)
    if config.rollout is not None:
        for key in ("ca", "token_file"):
            named[f"rollout.{key}"] = getattr(config.rollout, key)
    return {key: name for key, name in named.items() if name is not None and not name.startswith("/")}


def trusted_root_of(config: UpdateConfig, path: Path) -> Path:
    """The trusted root that this robot begins with; ``path`` is that of the file."""
    return path.parent / (config.trusted_root or PACKAGED_ROOT)


def folders_of(config: UpdateConfig, path: Path) -> Folders:
    """Where this robot keeps its models; ``path`` is that of the file."""
    factory = path.parent / config.factory if config.factory else DEFAULT_MODEL
    return Folders(Path(config.root), factory)
