"""A profile as it might have been measured."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_wm.engines.execution import Execution
from edge_wm.profile.accuracy import Accuracy, OutputError
from edge_wm.profile.at_rate import AtRate
from edge_wm.profile.machine_state import MachineState
from edge_wm.profile.own_process import Measurement
from edge_wm.profile.profile_file import FORMAT_VERSION, Profile, Row
from edge_wm.profile.stages import Durations

INT8, FP32 = Execution("onnx", "int8", 1), Execution("onnx", "fp32", 2)


def durations(p50: float, p99: float) -> Durations:
    return Durations(
        n=200, first=3 * p50, warm_up=2 * p50, p50=p50, p95=(p50 + p99) / 2, p99=p99, max=p99 + 1
    )


def at_rate(tick_p99: float, missed: int = 0, **facts: Any) -> AtRate:
    stages = {
        "sensor": durations(0.1, 0.2),
        "observe": durations(2.0, 3.0),
        "iteration 1": durations(4.0, 6.0),
        "iteration 2": durations(4.0, 6.0),
        "supervise": durations(0.2, 0.3),
        "bridge": durations(0.1, 0.2),
        "other": durations(0.3, 0.5),
        "tick": durations(tick_p99 / 2, tick_p99),
    }
    run = AtRate(stages, durations(6.0, 9.0), durations(11.0, tick_p99), 200, missed, 0, 0.0, 20.0)
    return msgspec.structs.replace(run, **facts)


def row(execution: Execution, tick_p99: float) -> Row:
    alone = Measurement(
        load_ms=300.0,
        start_ms=100.0,
        idle=at_rate(tick_p99),
        loaded=at_rate(3 * tick_p99, missed=4),
        peak_bytes=90 << 20,
        steady_bytes=88 << 20,
        before_model_bytes=40 << 20,
        idle_w=2.5,
    )
    return Row(execution, tick_p50_ms=9.0, tick_p99_ms=12.0, observe_p50_ms=2.0, alone=alone)


def profile(chosen_p99: float = 15.0, **facts: Any) -> Profile:
    made = Profile(
        format_version=FORMAT_VERSION,
        measured_at="2026-11-26T18:00:00+00:00",
        quick=False,
        board="rpi5",
        machine="Cortex-A76, 4 cores, onnxruntime 1.32.0",
        kernel="Linux 6.12",
        python="3.11.7",
        edge_wm="0.1.0",
        model="rooms-student",
        model_version="1.0.0",
        model_sha256="a" * 64,
        iterations=2,
        robot="rover",
        body="stand-ins",
        tick_ms=100.0,
        budget_ms=30.0,
        ticks=200,
        burners=4,
        chosen=INT8,
        candidates=64,
        rows=(row(INT8, chosen_p99), row(FP32, 20.0), Row(Execution("tflite", "int8"), failure="no engine")),
        accuracy=(
            Accuracy(
                "onnx", "int8", None, (OutputError("imagine", "value", 0.01, 0.001, 0.1),), 0.99, 1.0, 0.0
            ),
        ),
        before=MachineState(51.5, (2400,), "performance", "throttled=0x0", 0.1, 3.1),
        after=MachineState(55.0, (2400,), "performance", "throttled=0x0", 2.0, 3.3),
    )
    return msgspec.structs.replace(made, **facts)
