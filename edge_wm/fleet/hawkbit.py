"""A rollout server that speaks Eclipse hawkBit's Direct Device Integration API (DDI), version 1.

    GET  /TENANT/controller/v1/ROBOT                          is there anything to do?
    GET  …/deploymentBase/ACTION                              which version?
    POST …/deploymentBase/ACTION/feedback                     how far it is
    GET  …/cancelAction/ACTION, POST …/cancelAction/ACTION/feedback
    PUT  …/configData                                         what the robot is

Of its answers only the number of an action, and the version or hash that it asks for, are taken.  Links are read for that
number and never followed, and artifacts are not looked at: models come from the signed repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from edge_wm.errors import BadInput, one_line
from edge_wm.fleet.bounded_http import TOTAL_S, BoundedHttp
from edge_wm.fleet.config import RolloutConfig, address_of, refuse_in_the_clear, secret_in
from edge_wm.fleet.rollouts import ActionId, Cancel, Progress, Wanted
from edge_wm.fleet.status import RobotStatus

SCHEMES = {"https": (443, True), "http": (80, False)}
PART = "model"
"""Type of the software module that is a model, where a deployment has several."""
MAX_DETAIL = 500
"""hawkBit keeps no longer message."""
LEAST_POLL_S, MOST_POLL_S = 30.0, 86400.0

T = TypeVar("T")


class _Link(Struct, frozen=True):
    href: Annotated[str, Meta(max_length=2000)]


class _Links(Struct, frozen=True, rename="camel"):
    deployment_base: _Link | None = None
    cancel_action: _Link | None = None
    config_data: _Link | None = None


class _Polling(Struct, frozen=True):
    sleep: Annotated[str, Meta(max_length=20)] | None = None


class _Config(Struct, frozen=True):
    polling: _Polling = _Polling()


class _Base(Struct, frozen=True):
    config: _Config = _Config()
    links: _Links = msgspec.field(default=_Links(), name="_links")


class _Chunk(Struct, frozen=True):
    part: Annotated[str, Meta(max_length=255)]
    version: Annotated[str, Meta(min_length=1, max_length=255)]


class _Deployment(Struct, frozen=True, rename="camel"):
    download: Literal["skip", "attempt", "forced"]
    update: Literal["skip", "attempt", "forced"]
    chunks: Annotated[list[_Chunk], Meta(max_length=64)]
    maintenance_window: Literal["available", "unavailable"] | None = None


class _DeploymentBase(Struct, frozen=True):
    id: ActionId
    deployment: _Deployment


class _ActionToStop(Struct, frozen=True, rename="camel"):
    stop_id: ActionId


class _CancelAction(Struct, frozen=True, rename="camel"):
    id: ActionId
    cancel_action: _ActionToStop


def attributes_of(status: RobotStatus) -> dict[str, str]:
    """What a rollout server is told of a robot; ``hw_…`` and ``sw_version`` are what SWUpdate calls it, and goosebit reads."""
    return {
        "robot_kind": status.robot_kind,
        "edge_wm": status.edge_wm,
        "channel": status.channel,
        "model": status.active.model,
        "hw_boardname": status.robot_kind,
        "hw_revision": "default",
        "sw_version": status.active.version,
    }


class Hawkbit:
    """The ``Rollouts`` of a DDI server.

    Args:
        config: the server.
        folder: what the paths in it are relative to.
        robot_id: what the server calls this robot (its controller id).
        attributes: what the server is told of the robot when it asks, see ``attributes_of``.
        total_s: for one request.

    Raises:
        BadInput: the configuration cannot be used.
    """

    def __init__(
        self,
        config: RolloutConfig,
        folder: Path,
        robot_id: str,
        attributes: Mapping[str, str],
        *,
        total_s: float = TOTAL_S,
    ) -> None:
        address = address_of(config.url, SCHEMES)
        refuse_in_the_clear(address, config.url)
        kind = {"target": "TargetToken", "gateway": "GatewayToken"}[config.token]
        self._url = config.url
        self._attributes = dict(attributes)
        self._base = f"/{quote(config.tenant, safe='')}/controller/v1/{quote(robot_id, safe='')}"
        self._http = BoundedHttp(
            config.url,
            address,
            {
                "Accept": "application/json",
                "Content-Type": "application/json",
                "Authorization": f"{kind} {secret_in(folder / config.token_file)}",
            },
            folder / config.ca if config.ca else None,
            total_s=total_s,
        )
        self.poll_s: float | None = None
        """Seconds after which the server wants to be asked again; None if it did not say."""

    def wanted(self) -> Wanted | Cancel | None:
        """See ``Rollouts.wanted``."""
        base = self._get("", _Base)
        if base is None:
            raise BadInput(f"{self._url}: knows no such robot, or is no DDI server: register it there")
        self.poll_s = _seconds(base.config.polling.sleep)
        if base.links.config_data is not None:
            self._send("PUT", "/configData", {"mode": "merge", "data": self._attributes})
        if base.links.cancel_action is not None:
            return self._cancel(self._action_of(base.links.cancel_action, "cancelAction"))
        if base.links.deployment_base is not None:
            return self._deployment(self._action_of(base.links.deployment_base, "deploymentBase"))
        return None

    def report(self, action_id: str, state: Progress, details: str) -> None:
        """See ``Rollouts.report``."""
        execution = "proceeding" if state == "proceeding" else "closed"
        finished = "none" if state == "proceeding" else state
        self._feedback(f"/deploymentBase/{action_id}/feedback", action_id, execution, finished, details)

    def answer(self, cancel: Cancel, accepted: bool, details: str) -> None:
        """See ``Rollouts.answer``."""
        execution, finished = ("closed", "success") if accepted else ("rejected", "none")
        path = f"/cancelAction/{cancel.action_id}/feedback"
        self._feedback(path, cancel.action_id, execution, finished, details)

    def _deployment(self, action_id: str) -> Wanted | None:
        base = self._get(f"/deploymentBase/{action_id}", _DeploymentBase)
        if base is None:
            return None  # ended while we asked
        if base.id != action_id:
            raise BadInput(f"{self._url}: action {action_id} calls itself {base.id}")
        deployment = base.deployment
        if (
            "skip" in (deployment.download, deployment.update)
            or deployment.maintenance_window == "unavailable"
        ):
            return None  # not yet
        chunks = deployment.chunks
        if len(chunks) != 1:
            chunks = [chunk for chunk in chunks if chunk.part == PART]
        if len(chunks) != 1:
            why = f"a deployment must be one software module, or have one of type {PART}"
            self.report(action_id, "failure", why)
            raise BadInput(f"{self._url}: action {action_id}: {why}")
        return Wanted(action_id, chunks[0].version)

    def _cancel(self, action_id: str) -> Cancel | None:
        cancel = self._get(f"/cancelAction/{action_id}", _CancelAction)
        return Cancel(action_id, cancel.cancel_action.stop_id) if cancel is not None else None

    def _action_of(self, link: _Link, what: str) -> str:
        """The number in ``…/deploymentBase/17?c=-42``."""
        found = re.search(rf"/{what}/(-?[0-9]{{1,19}})(?:\?|\Z)", link.href)
        if found is None:
            raise BadInput(f"{self._url}: no number of an action in {one_line(link.href)[:100]}")
        return found[1]

    def _feedback(self, path: str, action_id: str, execution: str, finished: str, details: str) -> None:
        # Without a time: the server's own is right, a robot's may be of 1970.
        status = {
            "execution": execution,
            "result": {"finished": finished},
            "details": [one_line(details)[:MAX_DETAIL]],
        }
        self._send("POST", path, {"id": action_id, "status": status})

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _get(self, path: str, kind: type[T]) -> T | None:
        """What the server says there; None if it says nothing (any longer)."""
        code, content = self._http.request("GET", self._base + path)
        if code in (404, 410):
            return None
        self._refuse(code)
        try:
            return msgspec.json.decode(content, type=kind | None)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise BadInput(f"{self._url}: {one_line(str(error))[:200]}: is it a DDI server?") from None

    def _send(self, method: str, path: str, content: dict[str, Any]) -> None:
        code, _ = self._http.request(method, self._base + path, msgspec.json.encode(content))
        if code not in (404, 410):  # an action that the server has closed: nothing is left to tell
            self._refuse(code)

    def _refuse(self, code: int) -> None:
        if code in (401, 403):
            raise BadInput(f"{self._url}: does not accept this robot's token")
        if code == 429:
            raise BadInput(f"{self._url}: is asked too often")
        if not 200 <= code < 300:
            raise BadInput(f"{self._url}: answers with HTTP {code}")


def _seconds(sleep: str | None) -> float | None:
    """Of ``HH:MM:SS``, within bounds: a server may not keep a robot from asking."""
    found = re.fullmatch(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])", sleep or "")
    if found is None:
        return None
    hours, minutes, seconds = map(int, found.groups())
    return min(max(3600.0 * hours + 60.0 * minutes + seconds, LEAST_POLL_S), MOST_POLL_S)
