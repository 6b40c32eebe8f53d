"""The emulation's own bookkeeping: what it must not take for a pass.  No emulator is needed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

from tests.arm64 import __main__ as arm64
from tests.arm64.root import QEMU, missing_on_host

GRAPHS = [("observe", "onnx", "fp32"), ("observe", "onnx", "int8"), ("imagine", "onnx", "fp32")]
KEYS = ("role", "format", "precision")


class HostRoot:
    """A tree whose Python says ``machine``, and whose `edge-wm model verify` finds ``checks``, or dies if None."""

    suite = "fake"

    def __init__(self, directory: Path, machine: str, checks: list[dict] | None = None) -> None:
        self.directory, self._machine, self._checks = directory, machine, checks

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def command(self, core: str, *words: str | Path) -> list[str]:
        if "verify" not in words:
            facts = {"python": "3.13.5", "machine": self._machine, "libraries": {"onnxruntime": "1.27.0"}}
            return [sys.executable, "-c", f"print({json.dumps(facts)!r})"]
        if self._checks is None:
            return [sys.executable, "-c", "import os; os.abort()"]
        report = json.dumps({"checks": self._checks})
        return [sys.executable, "-c", f"open({str(words[-1])!r}, 'w').write({report!r})"]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(arm64, "CACHE", tmp_path)
    directory = tmp_path / "bundle"
    directory.mkdir()
    graphs = [dict(zip(KEYS, graph, strict=True)) for graph in GRAPHS]
    (directory / "manifest.json").write_text(json.dumps({"graphs": graphs}))
    return directory


def checks(*passed: bool) -> list[dict]:
    """One check of each graph."""
    return [
        {**dict(zip(KEYS, graph, strict=True)), "passed": ok}
        for graph, ok in zip(GRAPHS, passed, strict=False)
    ]


def row_after(root: HostRoot, bundle: Path) -> arm64.Row:
    emulation = arm64.Emulation(root)
    emulation.repeat_golden_vectors(bundle, "cortex-a72")
    return emulation.row


def test_graphs_within_tolerance_pass_and_their_engine_is_named(bundle: Path) -> None:
    row = row_after(HostRoot(bundle.parent, "aarch64", checks(True, True, True)), bundle)
    assert (row.graphs, row.engines, row.failed) == (3, ["onnxruntime-1.27.0"], [])


def test_a_graph_out_of_tolerance_or_not_checked_is_a_failure(bundle: Path) -> None:
    row = row_after(HostRoot(bundle.parent, "aarch64", checks(True, False)), bundle)
    assert row.graphs == 1
    assert row.failed == ["bundle observe onnx int8 on cortex-a72", "bundle imagine onnx fp32 on cortex-a72"]


def test_an_emulator_that_crashes_passes_nothing_though_an_old_report_lies_there(bundle: Path) -> None:
    row_after(HostRoot(bundle.parent, "aarch64", checks(True, True, True)), bundle)
    row = row_after(HostRoot(bundle.parent, "aarch64", None), bundle)
    assert (row.graphs, len(row.failed)) == (0, 3)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="here the host's Python is the right one")
def test_a_python_for_another_processor_is_refused(bundle: Path) -> None:
    with pytest.raises(SystemExit, match="no Python for aarch64"):
        arm64.Emulation(HostRoot(bundle.parent, platform.machine()))


def test_what_the_host_lacks_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == QEMU else f"/usr/bin/{program}")
    line = missing_on_host()
    assert line is not None
    assert "sudo apt install qemu-user-static" in line
    assert "\n" not in line
