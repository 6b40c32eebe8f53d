"""What cannot be exported, in one line: which module, which operator, and what to write instead."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import nn

from edge_wm.bundle.onnx_operators import ALLOWED, SHAPE_INPUTS, WHY_REFUSED
from edge_wm.errors import BadInput

DECISION = (
    "a decision depends on the value of a tensor (`if`, `while`, `assert`): write torch.where(condition, a, b) or a fixed"
    " number of steps"
)
RANDOM = "take the mean, or fixed numbers from a buffer"
TENSORDICT = "TensorDictParams"
APART = "make one module of each set of weights, as docs/your-own-model.md shows"
UNSCRIPTED = "set PYTORCH_JIT=0 in the environment, which leaves a plain module of it"
SOLVED = "calculate it when the model is built and keep the result in a buffer"

INSTEAD = {
    # PyTorch's operators that ONNX lacks.
    "searchsorted": "write (edges < x[..., None]).sum(-1)",
    "bucketize": "write (edges < x[..., None]).sum(-1)",
    "cdist": "write (a[:, None] - b).square().sum(-1).sqrt()",
    "_cdist_forward": "write (a[:, None] - b).square().sum(-1).sqrt()",
    "randperm": RANDOM,
    "multinomial": RANDOM,
    # ONNX's operators that a bundle may not hold.
    "NonZero": "write torch.where(mask, a, b) where a tensor is indexed with a mask",
    "Compress": "write torch.where(mask, a, b) where a tensor is indexed with a mask",
    "Unique": "write torch.sort(x), which keeps the size",
    "If": "write torch.where(condition, a, b)",
    "Loop": "write a fixed number of steps",
    "Scan": "write a fixed number of steps",
    "DFT": "multiply by a fixed matrix",
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"), RANDOM
    ),
}
"""What to write instead of an operator."""
ELSE = "write it with operators that ONNX has: https://onnx.ai/onnx/operators"


def untraceable(module: nn.Module, error: BaseException) -> str:
    """Why PyTorch's exporter failed on ``module``.

    Args:
        module: what was exported.
        error: what the exporter raised; its causes hold the frames of the module's own code.
    """
    errors = list(_causes(error))
    frames = [frame for cause in errors for frame in traceback.walk_tb(cause.__traceback__)]
    is_missing = any(type(cause).__name__ == "DispatchError" for cause in errors)
    for frame, _ in frames if is_missing else ():
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node):
            scopes = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
            operator = str(node.target)
            return f"{_named(module, scopes[-1] if scopes else '')}: ONNX has no {operator}: {_instead(operator)}"
    paths = {id(part): path for path, part in module.named_modules()}
    where = _named(module, "")
    for frame, line in frames:
        part = frame.f_locals.get("self")
        if id(part) in paths and "torch/nn/modules" not in frame.f_code.co_filename:
            where = f"{_named(module, paths[id(part)])}, {Path(frame.f_code.co_filename).name}:{line}"
    cause = errors[-1]
    if "DataDependent" in type(cause).__name__:
        return f"{where}: {DECISION}"
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            return f"{_named(module, path)}: a ScriptModule cannot be traced: {UNSCRIPTED}"
    said = (str(cause).splitlines() or [""])[0].strip()
    for path, part in module.named_modules():
        if type(part).__name__ == TENSORDICT and (isinstance(cause, AttributeError) or "functorch" in said):
            return f"{_named(module, path.rpartition('.')[0])}: {TENSORDICT} cannot be traced: {APART}"
    return f"{where}: {type(cause).__name__}: {said}"


def refuse_operators(module: nn.Module, model: onnx.ModelProto) -> None:
    """Find what no bundle may hold while the graph still says which part of ``module`` each operator comes from.

    Raises:
        BadInput: an operator is not allowed, or a shape depends on data.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            stored.update(node.output)
        path, operator = origin(node)
        where = f"{_named(module, path)}: {operator}"
        if node.op_type not in ALLOWED or node.domain not in ("", "ai.onnx"):
            why = WHY_REFUSED.get(node.op_type, "it is not on the list of allowed operators")
            raise BadInput(f"{where} becomes ONNX's {node.op_type}: {why}: {_instead(node.op_type)}")
        for index in SHAPE_INPUTS.get(node.op_type, ()):
            if any(label not in stored for label in node.input[index : index + 1] if label):
                raise BadInput(f"{where} has a shape that depends on data: give it a fixed size")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _named(module: nn.Module, path: str) -> str:
    """Such as ``Imagine: model.encoder.1 (Attention)``."""
    name = type(module).__name__
    try:
        return f"{name}: {path} ({type(module.get_submodule(path)).__name__})" if path else name
    except AttributeError:  # a part that the exporter made itself
        return f"{name}: {path}"


def origin(node: onnx.NodeProto) -> tuple[str, str]:
    """Path of the module that a node comes from, and PyTorch's operator, from the exporter's notes."""
    notes = {note.key.rpartition(".")[2]: note.value for note in node.metadata_props}
    scopes = ast.literal_eval(notes.get("name_scopes", "[]"))
    kinds = ast.literal_eval(notes.get("class_hierarchy", "[]"))
    return (scopes[-2] if len(scopes) > 1 else ""), (kinds[-1] if kinds else node.op_type)


def _instead(operator: str) -> str:
    """Of ``aten.cdist.default`` or ``NonZero``."""
    name = operator.removeprefix("aten.").partition(".")[0]
    return SOLVED if "linalg" in name else INSTEAD.get(name, ELSE)
