"""PyTorch to TFLite, and TFLite to int8: one graph a role, static shapes, names in the signature."""

from __future__ import annotations

import re
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_wm.errors import BadInput, MissingExtra
from edge_wm.sensors.observation import Array
from export import tflite_one_hot, tflite_sampling
from export.quantise import check_cases
from export.quiet import quiet
from export.traceable import traceable

SIGNATURE = "serving_default"
OURS = {__file__, tflite_one_hot.__file__, tflite_sampling.__file__}
"""Files that the trace of a failed conversion goes through, none of which is to blame."""


class _Named(nn.Module):
    """A module whose inputs and outputs have names: the converter takes the signature's from here."""

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.outputs = module, outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        with tflite_sampling.GatheredSampling(), tflite_one_hot.ComparedOneHot():
            found = self.module(*inputs.values())
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def to_tflite(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> bytes:
    """Convert ``module(*inputs)`` to the bytes of a TFLite model with one signature.

    Args:
        module: in evaluation mode; its positional arguments are ``inputs`` in order.
        inputs: example tensors by input name; their shapes become the graph's static shapes.
        outputs: names of the outputs, in order.

    Raises:
        BadInput: naming the module and what the converter could not express.
        MissingExtra: the converter is not installed.
    """
    try:
        import litert_torch
    except ImportError:
        raise MissingExtra("litert-torch", "export") from None
    with quiet(), tempfile.TemporaryDirectory() as scratch, torch.no_grad(), traceable():
        file = Path(scratch) / "graph.tflite"
        try:
            litert_torch.convert(_Named(module, outputs).eval(), sample_kwargs=dict(inputs)).export(str(file))
        except Exception as error:  # the converter's layers share no base class but this
            raise BadInput(
                f"{type(module).__name__}: cannot be converted to TFLite: {_reason(error)}"
            ) from error
        return file.read_bytes()


def quantise_tflite(
    model: bytes,
    cases: list[dict[str, Array]],
    operators: Sequence[str] | None = None,
    skip: Iterable[str] = (),
) -> bytes:
    """Quantise to int8, weights per channel, activations calibrated on ``cases``.

    Args:
        model: fp32 TFLite bytes from :func:`to_tflite`.
        cases: calibration inputs by name.
        operators: builtin names, e.g. ``CONV_2D``, of what becomes int8 with float inputs and outputs; None for
            everything that has an int8 form, inputs and outputs included, which is what an Edge TPU needs.
        skip: parts of the names of layers that stay in float, as ``<class>_<attribute>``: ``GRUCell_predict``.  One
            whose result is an output of the graph goes by that output's name.

    Raises:
        BadInput: too few calibration cases, a number in them is not finite, or the quantiser refuses the graph.
        MissingExtra: the quantiser is not installed.
    """
    check_cases(cases)

    def configure(recipe: Any) -> None:
        for name in ("*",) if operators is None else operators:
            recipe.add_static_config(".*", name, activation_num_bits=8, weight_num_bits=8)
        for part in skip:
            recipe.add_quantization_config(f".*{re.escape(part)}.*", "*", algorithm_key="no_quantize")

    return _requantise(model, configure, cases)


def halve_tflite(model: bytes) -> bytes:
    """Store the weights of convolutions and linear layers as float16; arithmetic stays in float32.

    Raises:
        BadInput: the quantiser refuses the graph.
        MissingExtra: the quantiser is not installed.
    """
    return _requantise(model, _add_float16, None)


def _requantise(
    model: bytes, configure: Callable[[Any], object], cases: list[dict[str, Array]] | None
) -> bytes:
    try:
        from ai_edge_quantizer import calibrator, quantizer, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils
    except ImportError:
        raise MissingExtra("ai-edge-quantizer", "export") from None
    with quiet():
        try:
            recipe = recipe_manager.RecipeManager()
            configure(recipe)
            tool = quantizer.Quantizer(bytearray(model), recipe.get_quantization_recipe())
            measured = None
            if cases:
                # Its default is a moving average over the cases, which cuts off whatever is rare.
                reach = calibrator.Calibrator(bytearray(model), 1, qsv_update_func=qsv_utils.min_max_update)
                reach.calibrate({SIGNATURE: cases}, recipe)
                measured = reach.get_model_qsvs()
            return _one_flatbuffer(tool.quantize(measured).quantized_model)
        except (ValueError, RuntimeError, KeyError) as error:
            raise BadInput(f"TFLite: cannot be quantised: {' '.join(str(error).split())[:300]}") from error


def _one_flatbuffer(model: bytes) -> bytes:
    """Move weights that the quantiser appended to the file into the flatbuffer: older readers look only there."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(
        flatbuffer_utils.convert_object_to_bytearray(flatbuffer_utils.read_model_from_bytearray(model))
    )


def _add_float16(recipe: Any) -> None:
    from ai_edge_quantizer import qtyping

    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    for operator in ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"):
        recipe.add_quantization_config(".*", operator, config, "float_casting")


def _reason(error: Exception) -> str:
    """Operator, place and remedy, as far as the converter says."""
    text = str(error)
    operator = re.search(r"target=torch\.ops\.([\w.]+)", text)
    frames = re.findall(r'File "([^"]+)", line (\d+)', text)
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)] + frames
    theirs = [(file, line) for file, line in frames if "site-packages" not in file and file not in OURS]
    named = f"operator {operator[1]}" if operator else text.strip().partition("\n")[0][:200]
    place = f" at {Path(theirs[-1][0]).name}:{theirs[-1][1]}" if theirs else ""
    return f"{named}{place}; {_remedy(error, text)}"


def _remedy(error: Exception, text: str) -> str:
    if "data-dependent" in text or "statically" in text or "Concretization" in type(error).__name__:
        return "what it computes has a shape or a path that depends on data: use torch.where and fixed sizes"
    if "Lowering not found" in text:
        return "TFLite has no form of it: write it with arithmetic, matmul, convolution, gather or where"
    return "try the module part by part"
