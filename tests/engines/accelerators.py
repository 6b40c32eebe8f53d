"""Stand-ins for accelerators that no test machine has, at the edge where the engine's library begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from edge_wm.engines import litert, providers

CPU = "CPUExecutionProvider"


def cuda_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU provider play CUDA: it starts, and runs every node."""
    played = providers.PROVIDERS["cuda"]._replace(name=CPU, options=lambda execution, model: {})
    monkeypatch.setitem(providers.PROVIDERS, "cuda", played)


def cuda_is_in_the_list_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lists CUDA and a session that says it has it, while ONNX Runtime itself dropped it."""

    class Session(onnxruntime.InferenceSession):
        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", CPU]

    cuda_is_built_in(monkeypatch)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)


def cuda_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lists CUDA, on a machine where it cannot start."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])


def inputs_are_copied_when_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device with memory of its own."""

    class Binding(onnxruntime.IOBinding):
        def bind_ortvalue_input(self, name: str, value: onnxruntime.OrtValue) -> None:
            self.bind_cpu_input(name, value.numpy().copy())

    class Session(onnxruntime.InferenceSession):
        def io_binding(self) -> onnxruntime.IOBinding:
            return Binding(self)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)


def delegate_is(monkeypatch: pytest.MonkeyPatch, *, xnnpack: bool) -> None:
    """Let XNNPACK play the delegate that is asked for, or a delegate that takes nothing."""
    real = litert._library()
    kinds = real.OpResolverType
    resolver = kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    def interpreter(**options: Any) -> Any:
        assert len(options["experimental_delegates"]) == 1
        return real.Interpreter(
            **{**options, "experimental_delegates": [], "experimental_op_resolver_type": resolver}
        )

    fake = SimpleNamespace(Interpreter=interpreter, OpResolverType=kinds, load_delegate=lambda path: object())
    monkeypatch.setattr(litert, "_library", lambda: fake)
