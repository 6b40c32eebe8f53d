"""PyTorch to ONNX: one graph a role, static shapes, named tensors, all weights inside the file."""

from __future__ import annotations

import io

import onnx
import torch
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from edge_wm.errors import BadInput
from export.linear_layers import write_as_gemm
from export.onnx_graph import drop_unused
from export.onnx_rewrites import IN_FLOAT, rewrite
from export.quiet import quiet
from export.refusals import refuse_operators, untraceable
from export.traceable import traceable

OPSET = 20


def to_onnx(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> bytes:
    """Export ``module(*inputs)`` to the bytes of an ONNX model.

    Args:
        module: in evaluation mode; its positional arguments are ``inputs`` in order.
        inputs: example tensors by input name; their shapes become the graph's static shapes.
        outputs: names of the outputs, in order.

    Raises:
        BadInput: something in it cannot be exported; one line names the module, the operator and what to write.
    """
    buffer = io.BytesIO()
    try:
        with quiet(), torch.no_grad(), traceable():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            program.save(buffer)
    except torch.onnx.errors.OnnxExporterError as error:
        raise BadInput(untraceable(module, error)) from error
    model = onnx.load_from_string(buffer.getvalue())
    refuse_operators(module, model)
    write_as_gemm(model)
    _strip(model)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    rewrite(model)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def to_fp16(model: bytes) -> bytes:
    """The graph with weights and arithmetic in half precision; inputs and outputs stay as they are.

    Args:
        model: fp32 ONNX bytes.
    """
    whole = onnx.load_from_string(model)
    _copy_constant_outputs(whole.graph)
    wide = [node.name for node in whole.graph.node if node.name.endswith(IN_FLOAT)]
    half = convert_float_to_float16(whole, keep_io_types=True, node_block_list=wide)
    _join(half.graph)
    half = onnx.shape_inference.infer_shapes(half)
    data: bytes = half.SerializeToString()
    return data


def _join(graph: onnx.GraphProto) -> None:
    """Hand a number from one node that stays in float to the next as it is: the converter rounds it in between."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    whole = {}
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if before is not None and (_type(before), _type(node)) == (TensorProto.FLOAT16, TensorProto.FLOAT):
            whole[name] = before.input[0]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = whole.get(name, name)
    drop_unused(graph)


def _type(cast: onnx.NodeProto) -> int:
    """What a Cast makes of its input."""
    to: int = onnx.helper.get_node_attr_value(cast, "to")
    return to


def _copy_constant_outputs(graph: onnx.GraphProto) -> None:
    """Let a node write every output that is a stored constant: the converter casts what nodes write."""
    outputs = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if tensor.name in outputs:
            stored = f"{tensor.name}_stored"
            graph.node.append(onnx.helper.make_node("Identity", [stored], [tensor.name]))
            tensor.name = stored


def _strip(model: onnx.ModelProto) -> None:
    """Drop source locations and other notes: they are larger than the weights and differ from run to run."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
