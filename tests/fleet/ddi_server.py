"""A rollout server that speaks as Eclipse hawkBit 0.x does, for one robot, and says what it is told to.

Its answers have the form of hawkBit's own: links with a ``c=`` that tells versions of an action apart, artifacts with hashes and
links, ids as text.  An action is open until a feedback closes it; one that is canceled shows as a cancelAction until the robot
has answered; feedback on what is closed is answered with 410.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "4f5a6b7c8d9e"


def chunk(version: str, part: str = "os", name: str = "rooms") -> dict[str, Any]:
    """One software module, with an artifact that nobody should fetch."""
    link = {"href": "http://127.0.0.1:1/artifacts/rooms.bin"}
    artifact = {
        "filename": "rooms.bin",
        "hashes": {"sha1": "0" * 40, "md5": "0" * 32, "sha256": "0" * 64},
        "size": 11,
        "_links": {"download": link, "md5sum": link, "download-http": link},
    }
    return {"part": part, "version": version, "name": name, "artifacts": [artifact], "metadata": []}


class DdiServer:
    """Listens on a loopback port from ``with`` on.

    Attributes:
        heard: feedback and attributes that came, as (path, content).
        asked: the paths of all requests.
        deployment: what a deployment says besides its chunks.
    """

    def __init__(self, robot_id: str = "r1", tenant: str = "DEFAULT") -> None:
        self.base = f"/{tenant}/controller/v1/{robot_id}"
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.deployment: dict[str, Any] = {"download": "forced", "update": "forced"}
        self.registered = False
        self._number, self._chunks = 41, [chunk("1.0.0")]
        self._state = "closed"
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._serve(self, "GET")

            def do_POST(self) -> None:
                server._serve(self, "POST")

            def do_PUT(self) -> None:
                server._serve(self, "PUT")

            def log_message(self, *words: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> DdiServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    # --- what a fleet keeper does ------------------------------------------------------------------------------------

    def assign(self, *chunks: dict[str, Any]) -> str:
        """Want something of the robot.  Returns the id of the action."""
        self._number += 1
        self._chunks, self._state = list(chunks), "open"
        return str(self._number)

    def cancel(self) -> None:
        """Want it no longer."""
        self._state = "canceling"

    @property
    def state(self) -> str:
        """Of the newest action: open, canceling, success, failure or canceled."""
        return self._state

    def details(self) -> list[str]:
        """The messages that came, in order."""
        return [
            detail
            for _, content in self.heard
            if "status" in content
            for detail in content["status"]["details"]
        ]

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve(self, request: BaseHTTPRequestHandler, method: str) -> None:
        self.asked.append(f"{method} {request.path}")
        content = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if request.headers["Authorization"] != f"TargetToken {TOKEN}":
            code, answer = 401, None
        else:
            code, answer = self._answer(method, request.path, json.loads(content) if content else {})
        data = json.dumps(answer).encode() if answer is not None else b""
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _answer(self, method: str, path: str, content: dict[str, Any]) -> tuple[int, Any]:
        action, cancel = f"/deploymentBase/{self._number}", f"/cancelAction/{self._number}"
        answers: dict[str, Callable[[dict[str, Any]], tuple[int, Any]]] = {
            "GET ": self._base,
            "PUT /configData": self._config,
            f"GET {action}": self._deployment,
            f"POST {action}/feedback": self._feedback,
            f"GET {cancel}": self._cancel_action,
            f"POST {cancel}/feedback": self._cancel_feedback,
        }
        if not path.startswith(self.base):
            return 404, None
        end = path.removeprefix(self.base)
        if method != "GET":
            self.heard.append((end, content))
        answer = answers.get(f"{method} {end}")
        return answer(content) if answer is not None else (404, None)

    def _base(self, _content: dict[str, Any]) -> tuple[int, Any]:
        links = {}
        if self._state == "open":
            links["deploymentBase"] = f"/deploymentBase/{self._number}?c=-2127183556"
        if self._state == "canceling":
            links["cancelAction"] = f"/cancelAction/{self._number}"
        if self._state == "success":
            links["installedBase"] = f"/installedBase/{self._number}"
        if not self.registered:
            links["configData"] = "/configData"
        return 200, {
            "config": {"polling": {"sleep": "00:05:00"}},
            "_links": {name: {"href": f"{self.url}{self.base}{end}"} for name, end in links.items()},
        }

    def _config(self, _content: dict[str, Any]) -> tuple[int, Any]:
        self.registered = True
        return 200, None

    def _deployment(self, _content: dict[str, Any]) -> tuple[int, Any]:
        if self._state != "open":
            return 404, None
        deployment = {**self.deployment, "chunks": self._chunks}
        return 200, {
            "id": str(self._number),
            "deployment": deployment,
            "actionHistory": {"status": "RUNNING"},
        }

    def _feedback(self, content: dict[str, Any]) -> tuple[int, Any]:
        if self._state not in ("open", "canceling"):
            return 410, None
        if content["status"]["execution"] == "closed":
            self._state = content["status"]["result"]["finished"]
        return 200, None

    def _cancel_action(self, _content: dict[str, Any]) -> tuple[int, Any]:
        number = str(self._number)
        return 200, {"id": number, "cancelAction": {"stopId": number}}

    def _cancel_feedback(self, content: dict[str, Any]) -> tuple[int, Any]:
        execution = content["status"]["execution"]
        self._state = {"closed": "canceled", "rejected": "open"}.get(execution, self._state)
        return 200, None
