"""Debian's MQTT broker, on a loopback port, with nothing kept when it ends."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="no MQTT broker: run  sudo apt install mosquitto"
)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker with ``settings`` for its one listener; as a context manager it runs."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        lines = (
            "user root",  # or it would read no file of a test that root runs
            "persistence false",
            "log_dest stderr",
            "log_type information",
            f"listener {self.port} 127.0.0.1",
            *settings,
        )
        self._config.write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Mosquitto:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "running" in line:
                return self
        raise RuntimeError(f"mosquitto does not start: {''.join(said)}")

    def __exit__(self, *exception: object) -> None:
        assert self._process is not None and self._process.stderr is not None
        self._process.terminate()
        self._process.wait()
        self._process.stderr.close()


def password_file(folder: Path, user: str, password: str) -> Path:
    """Whom the broker lets in."""
    file = folder / "passwords"
    file.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True)
    return file
