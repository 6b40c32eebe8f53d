"""goosebit, a real DDI server from PyPI, in an environment of its own; and what a fleet keeper does in its web page.

    python -m tests.fleet.goosebit      makes that environment, in build/goosebit

It takes images of SWUpdate only, so a release is an image here that holds nothing but its version and the kind of robot.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

import urllib3

from tests.fleet.mosquitto import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / "build" / "goosebit"
REQUIREMENTS = REPOSITORY / "requirements" / "goosebit.txt"
PYTHON = ENVIRONMENT / "bin" / "python"
INSTALL_S = 100.0
START_S = 60.0
MAKE = "python -m tests.fleet.goosebit"
USER, PASSWORD = "keeper@localhost", "only here"


class CannotBeMade(Exception):
    """Why there is no goosebit on this machine."""


def make() -> None:
    """Make the environment, unless it is there and from the same requirements.

    Raises:
        CannotBeMade: goosebit needs a newer Python, or the packages cannot be had.
    """
    if sys.version_info < (3, 11):
        raise CannotBeMade("goosebit needs Python 3.11")
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    stamp = ENVIRONMENT / "stamp"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True, capture_output=True)
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True, capture_output=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise CannotBeMade(f"goosebit was not installed in {INSTALL_S:g} s: run  {MAKE}") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise CannotBeMade(f"goosebit cannot be installed ({last[0]}): run  {MAKE}") from None
    stamp.write_text(wanted)


class Goosebit:
    """A server that runs from ``with`` on, with nothing in it; robots log in with a token each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._http = urllib3.PoolManager()
        self._login: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._running = threading.Event()

    def __enter__(self) -> Goosebit:
        settings = {
            "GOOSEBIT_DB_URI": f"sqlite://{self._folder}/goosebit.sqlite3",
            "GOOSEBIT_ARTIFACTS_DIR": str(self._folder / "artifacts"),
            "GOOSEBIT_DEVICE_AUTH__ENABLE": "true",
            "GOOSEBIT_DEVICE_AUTH__MODE": "strict",
        }
        # -P: beside that program is this module, which goosebit's Python would take for goosebit.
        self._process = subprocess.Popen(
            [str(PYTHON), "-P", str(Path(__file__).with_name("goosebit_server.py")), str(self._port)],
            cwd=self._folder,
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()
        if not self._running.wait(START_S) or self._process.poll() is not None:
            self._process.kill()
            raise RuntimeError(f"goosebit does not start: {''.join(self._said)}")
        login = self._http.request(
            "POST", f"{self.url}/setup", fields={"username": USER, "password": PASSWORD}
        )
        self._login = {"Authorization": f"Bearer {login.json()['access_token']}"}
        return self

    def _listen(self, lines: IO[str]) -> None:
        """To all that it says: a full pipe would stop it."""
        for line in lines:
            self._said.append(line)
            if "Uvicorn running" in line:
                self._running.set()
        self._running.set()

    def __exit__(self, *exception: object) -> None:
        assert self._process is not None and self._process.stderr is not None
        self._process.terminate()
        self._process.wait()
        self._listener.join()
        self._process.stderr.close()
        self._http.clear()

    # --- what a fleet keeper does --------------------------------------------------------------------------------------

    def _api(self, method: str, path: str, **content: Any) -> Any:
        answer = self._http.request(
            method,
            f"{self.url}/api/v1{path}",
            headers={**self._login, **content.pop("headers", {})},
            **content,
        )
        if answer.status != 200:
            raise RuntimeError(f"goosebit: {method} {path}: HTTP {answer.status}: {answer.data.decode()}")
        return answer.json()

    def _json(self, method: str, path: str, facts: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._api(method, path, body=json.dumps(facts), headers=headers)

    def register(self, robot_id: str, token: str) -> None:
        """Let a robot in."""
        self._json("PUT", "/devices", {"devices": [robot_id], "auth_token": token})

    def upload(self, version: str, robot_kind: str) -> int:
        """A release of this version for robots of a kind.  Returns its number."""
        fields = {"file": (f"{robot_kind}-{version}.swu", image(version, robot_kind))}
        return int(self._api("PUT", "/software", fields=fields)["id"])

    def assign(self, robot_id: str, software: int) -> None:
        """Want this on that robot."""
        self._json("PATCH", "/devices", {"devices": [robot_id], "software": str(software)})

    def force(self, robot_id: str) -> None:
        """Want it again, though it failed."""
        self._json("PATCH", "/devices", {"devices": [robot_id], "force_update": True})

    def roll_out(self, robot_id: str, software: int) -> int:
        """Want this on all robots of a feed, of which there is one.  Returns the number of the rollout."""
        feed = f"feed of {robot_id}"
        self._json("PATCH", "/devices", {"devices": [robot_id], "feed": feed})
        facts = {"name": "a rollout", "feed": feed, "software_id": software}
        return int(self._json("PUT", "/rollouts", facts)["id"])

    def pause(self, rollout: int, paused: bool) -> None:
        """Hold a rollout, or let it go on."""
        self._json("PATCH", "/rollouts", {"ids": [rollout], "paused": paused})

    def rollout(self, number: int) -> dict[str, Any]:
        """How it goes."""
        return next(one for one in self._api("GET", "/rollouts")["rollouts"] if one["id"] == number)

    def device(self, robot_id: str) -> dict[str, Any]:
        """What it knows of a robot."""
        # Of all devices: asked for one that has software assigned, goosebit 0.2.12 answers with HTTP 500.
        return next(one for one in self._api("GET", "/devices")["devices"] if one["id"] == robot_id)

    def log(self, robot_id: str) -> list[str]:
        """What a robot told of its newest update."""
        return (self._api("GET", f"/devices/{robot_id}/log")["log"] or "").splitlines()


def image(version: str, robot_kind: str) -> bytes:
    """An SWUpdate image (a cpio archive) of nothing but its description."""
    description = (
        f'software =\n{{\n  version = "{version}";\n'
        f'  {robot_kind} = {{ hardware-compatibility: [ "default" ]; }};\n}}\n'
    ).encode()
    return _entry("sw-description", description) + _entry("TRAILER!!!", b"")


def _entry(name: str, content: bytes) -> bytes:
    """A file in a cpio archive of the "newc" form: 13 numbers of 8 digits, the name, the content, each padded to 4 bytes."""
    numbers = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


if __name__ == "__main__":
    try:
        make()
    except CannotBeMade as why:
        print(f"error: {why}", file=sys.stderr)
        sys.exit(2)
