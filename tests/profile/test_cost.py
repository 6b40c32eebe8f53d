"""What a graph asks for is counted as by hand; a prediction says that it is one, and how far off it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from edge_wm.board import Peak
from edge_wm.engines.execution import Execution
from edge_wm.output_file import write_json
from edge_wm.profile.own_process import Measurement
from edge_wm.profile.profile_file import Row
from export.cost import LABEL, ZEN_4, Cost, command, graph_cost, peaks, predicted_ms
from tests.profile.samples import at_rate, profile
from tests.tiny_model import constant, model, value, write_tiny


def weights(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


def test_a_matrix_product_is_two_operations_for_each_multiplication() -> None:
    made = model(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        [value("x", [64, 10])],
        [value("y", [64, 20])],
        [constant("w", weights(10, 20))],
    )
    assert graph_cost(made.SerializeToString()) == Cost(
        2 * 64 * 10 * 20, 0, 4 * (64 * 10 + 10 * 20 + 64 * 20), 1
    )


def test_a_convolution_counts_its_kernel_and_a_pool_its_window() -> None:
    made = model(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3]),
            helper.make_node("MaxPool", ["y"], ["z"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        [value("x", [1, 3, 10, 10])],
        [value("z", [1, 4, 4, 4])],
        [constant("w", weights(4, 3, 3, 3))],
    )
    found = graph_cost(made.SerializeToString())
    assert found.float_operations == 2 * (4 * 8 * 8) * (3 * 3 * 3) + (4 * 4 * 4) * (2 * 2)


def test_quantised_layers_are_counted_apart_and_views_are_free() -> None:
    made = model(
        [
            helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Reshape", ["y", "shape"], ["z"]),
        ],
        [value("x", [8, 4])],
        [value("z", [40])],
        [
            constant("q", np.ones((4, 5), dtype=np.int8)),
            constant("scale", np.array(1.0, dtype=np.float32)),
            constant("shape", np.array([40], dtype=np.int64)),
        ],
    )
    found = graph_cost(made.SerializeToString())
    moved_by_dequantise, moved_by_product = 20 + 4 + 80, 4 * (32 + 20 + 40)
    assert found == Cost(0, 2 * 40 * 4, moved_by_dequantise + moved_by_product, 3)


def test_what_is_slower_decides() -> None:
    peak = Peak("one", 1e9, 10, 40, 1e9, "")
    assert predicted_ms(Cost(10_000_000, 0, 1, 1), peak) == pytest.approx(1.0)
    assert predicted_ms(Cost(10_000_000, 40_000_000, 1, 1), peak) == pytest.approx(2.0)
    assert predicted_ms(Cost(10_000_000, 0, 3_000_000, 1), peak) == pytest.approx(3.0)
    assert predicted_ms(Cost(10_000_000, 0, 1, 1), peak, threads=2) == pytest.approx(0.5)


def test_what_a_processor_can_do_is_in_its_board_file() -> None:
    found = peaks()
    assert list(found) == [
        "jetson-nano",
        "jetson-orin-nano",
        "rpi-coral",
        "rpi4",
        "rpi5",
        "rpi5-hailo",
        "zen4",
    ]
    assert found["zen4"] is ZEN_4
    of_pi = found["rpi5"]
    assert msgspec.structs.replace(found["rpi5-hailo"], of=of_pi.of) == of_pi  # the same processor
    assert msgspec.structs.replace(found["rpi-coral"], of=found["rpi4"].of) == found["rpi4"]
    assert (of_pi.hz, of_pi.float_per_cycle, of_pi.int8_per_cycle, of_pi.bytes_per_s) == (
        2.4e9,
        16,
        64,
        17.1e9,
    )


def test_predictions_are_labelled_and_compared_with_what_was_measured_there_only(tmp_path: Path) -> None:
    bundle, file = write_tiny(tmp_path / "tiny"), tmp_path / "profile.json"
    row = Row(Execution("onnx", "fp32"), tick_p50_ms=1.0, alone=Measurement(idle=at_rate(15.0)))
    write_json(file, profile(board="rpi5", rows=(row,)))
    told = CliRunner().invoke(command, [str(bundle), "--profile", str(file)]).output
    assert told.count(LABEL) == len(peaks())
    of_pi = told[told.index("Raspberry Pi 5, Cortex") : told.index("Raspberry Pi 5 without")]
    assert of_pi.count("measured 2.00 ms") == of_pi.count("measured 6.00 ms") == 1
    assert of_pi.count("no use for a deadline") == 2
    assert "times as long" not in told.replace(of_pi, "")
    assert "times as long" not in CliRunner().invoke(command, [str(bundle)]).output
