"""The shipped bundle is the same model on processors that multiply int8 in another way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emulated_x86 import AVX2, SSE, needs_qemu, run_on

BUNDLE = Path(__file__).parents[2] / "models" / "rooms-student"


@needs_qemu
@pytest.mark.parametrize("processor", [SSE, AVX2])
def test_the_shipped_bundle_verifies(processor: str) -> None:
    done = run_on(processor, "from edge_wm.cli import main; main()", "model", "verify", str(BUNDLE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "imagine onnx   int8  plans" in done.stdout
