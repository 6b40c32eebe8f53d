"""The planner as ONNX nodes around a graph of role ``imagine``, for ``plan_in_graph.py`` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_wm.planner.icem import ICEM

PLACED = 4
"""Sequences in the place of the first samples: the mean and three elites, from the second iteration on."""

FORMS = ("iteration", "unrolled", "loop")
CARRIED = ("mean", "std", "placed", "best_cost", "best")
RESULTS = (*CARRIED, "elites", "costs")


class Nodes:
    """Nodes and constants of a graph; call it to append a node and get the name of its output."""

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{self._prefix}n{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"{self._prefix}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def first(self, tensor: str, count: int, axis: int = 0) -> str:
        bounds = (self.constant([value], np.int64) for value in (0, count, axis))
        return str(self("Slice", tensor, *bounds))

    def mean(self, tensor: str, size: int) -> str:
        """Mean of each row of [N, size]."""
        return str(self("MatMul", tensor, self.constant(np.full(size, 1.0 / size))))


class PlanGraph:
    """Builds one of ``FORMS`` out of a graph of role ``imagine``.

    Args:
        imagine: that graph.
        planner: with the settings, the costs and the sizes.
        iterations: of a plan.
    """

    def __init__(self, imagine: bytes, planner: ICEM, iterations: int) -> None:
        self._model = onnx.load_from_string(imagine)
        self._planner, self._config, self._iterations = planner, planner._config, iterations
        n, h, a = planner._actions.shape
        self._size = n, h, a
        self._given = [value for value in self._model.graph.input if value.name != "actions"]
        self._shapes = {
            "noise": (n, h, a),
            "mean": (h, a),
            "std": (h, a),
            "placed": (PLACED, h, a),
            "best_cost": (1,),
            "best": (1, h, a),
            "elites": (self._config.elites, h, a),
            "costs": (n,),
        }

    def of(self, form: str) -> bytes:
        """The graph, serialised.  It takes what is in ``CARRIED``, noise and what ``imagine`` takes; it returns ``RESULTS``."""
        n = Nodes()
        noises = () if form == "iteration" else (self._iterations,)
        weights = list(self._model.graph.initializer)
        found = {name: name for name in CARRIED}
        if form == "loop":
            body = Nodes("body_")
            step = self._iteration(
                body, body("Gather", "noise", "number"), {c: f"{c}_in" for c in CARRIED}, ""
            )
            loop = [*CARRIED, "elites", "costs"]
            body_graph = helper.make_graph(
                [*body.nodes, helper.make_node("Identity", ["go"], ["on"])],
                "body",
                [
                    helper.make_tensor_value_info("number", TensorProto.INT64, []),
                    helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                    *(self._value(name, f"{name}_in") for name in loop),
                ],
                [
                    helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                    *(self._value(name, step[name]) for name in loop),
                ],
                [*weights, *body.constants],
            )
            zeros = [n.constant(np.zeros(self._shapes[name])) for name in loop[len(CARRIED) :]]
            count, go = n.constant(self._iterations, np.int64), n.constant(True, np.bool_)
            outputs = n("Loop", count, go, *CARRIED, *zeros, outputs=len(loop), body=body_graph)
            found, weights = dict(zip(loop, outputs, strict=True)), []
        else:
            for number in range(1 if form == "iteration" else self._iterations):
                noise = n("Gather", "noise", n.constant(number, np.int64)) if noises else "noise"
                found = self._iteration(n, noise, found, f"i{number}_")
        for name in RESULTS:
            n.nodes.append(helper.make_node("Identity", [found[name]], [f"{name}_out"]))
        graph = helper.make_graph(
            n.nodes,
            form,
            [*self._given, self._value("noise", "noise", noises), *(self._value(c, c) for c in CARRIED)],
            [self._value(name, f"{name}_out") for name in RESULTS],
            [*weights, *n.constants],
        )
        model = helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

    def _iteration(self, n: Nodes, noise: str, before: Mapping[str, str], prefix: str) -> dict[str, str]:
        planner, config = self._planner, self._config
        candidates, horizon, width = self._size
        ends = (n.constant([value], np.int64) for value in (PLACED, candidates, 0))
        samples = n("Add", n("Mul", n("Slice", noise, *ends), before["std"]), before["mean"])
        actions = n("Concat", before["placed"], samples, axis=0)
        actions = n("Max", actions, n.constant(planner._low[0]))
        actions = n("Min", actions, n.constant(planner._high[0]))
        costs = self._costs(n, actions, self._imagine(n, actions, prefix))
        elite_costs, order = n(
            "TopK", costs, n.constant([config.elites], np.int64), outputs=2, largest=0, axis=0
        )
        elites = n("Gather", actions, order, axis=0)
        # With the temperature 0 all count alike.
        share = n("Softmax", n("Mul", elite_costs, n.constant(-config.temperature)), axis=0)
        flat = n("Reshape", elites, n.constant([config.elites, horizon * width], np.int64))
        mean = n("MatMul", share, flat)
        deviation = n("Sub", flat, mean)
        std = n("Sqrt", n("MatMul", share, n("Mul", deviation, deviation)))
        keep, move = n.constant(config.momentum), n.constant(1.0 - config.momentum)
        shape = n.constant([horizon, width], np.int64)
        mean, std = (
            n("Add", n("Mul", before[name], keep), n("Mul", n("Reshape", now, shape), move))
            for name, now in (("mean", mean), ("std", std))
        )
        alone = n("Unsqueeze", mean, n.constant([0], np.int64))
        cost, cheapest = n.first(elite_costs, 1), n.first(elites, 1)
        better = n("Less", cost, before["best_cost"])
        return {
            "mean": mean,
            "std": n("Max", std, n.constant(planner._std_floor)),
            "placed": n("Concat", alone, n.first(elites, PLACED - 1), axis=0),
            "best_cost": n("Where", better, cost, before["best_cost"]),
            "best": n("Where", better, cheapest, before["best"]),
            "elites": elites,
            "costs": costs,
        }

    def _imagine(self, n: Nodes, actions: str, prefix: str) -> Callable[[str], str]:
        """Copy the nodes of ``imagine``; what does not depend on the actions is copied once, for all iterations."""
        graph = self._model.graph
        changing = {"actions"}
        for node in graph.node:
            if not changing.isdisjoint(node.input):
                changing.update(node.output)

        def renamed(name: str) -> str:
            return actions if name == "actions" else f"{prefix}imagine_{name}" if name in changing else name

        there = {name for node in n.nodes for name in node.output}
        for node in graph.node:
            if there.isdisjoint(node.output):
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                if not changing.isdisjoint(node.output):
                    copy.name = f"{prefix}{node.name}"
                for names in (copy.input, copy.output):
                    names[:] = [renamed(name) for name in names]
                n.nodes.append(copy)
        return renamed

    def _costs(self, n: Nodes, actions: str, outcome: Callable[[str], str]) -> str:
        """The costs of ``edge_wm.planner.costs`` that the two models are planned with."""
        weights, scale = self._config.weights, self._planner._costs._scale
        candidates, horizon, width = self._size
        if "reward" in weights:
            gain = n("MatMul", outcome("reward"), n.constant(scale.reward_cost[:-1]))
            last = n("Mul", outcome("terminal_value"), n.constant(-scale.reward_cost[-1]))
            return str(n("Sub", gain, last))
        zero, one, far = n.constant(0.0), n.constant(1.0), n.constant(50.0)
        touching = n("Clip", outcome("collision"), zero, one)
        survival = n("Log", n("Sub", one, touching))
        survival = n("Exp", n("CumSum", survival, n.constant(1, np.int64), exclusive=1))
        touch = n("MatMul", n("Mul", touching, survival), n.constant(scale.touch_discount))
        now = n("Min", n("ReduceMean", n.first(outcome("cost_to_go"), 1, axis=1), keepdims=0), far)
        value = n("Clip", outcome("value"), zero, far)
        value = n("Add", value, n("Mul", n("Relu", n("Sub", now, value)), touch))
        closeness = n("Sub", n.constant(scale.comfort_m), outcome("clearance"))
        closeness = n("Mul", closeness, n.constant(1.0 / (scale.comfort_m - scale.touch_m)))
        closeness = n("Clip", closeness, zero, one)
        before = n(
            "Concat", n.constant(np.zeros((candidates, 1, width))), n.first(actions, horizon - 1, 1), axis=1
        )
        change = n("Div", n("Sub", actions, before), n.constant(scale.half_range))
        change = n("Mul", change, change)
        backwards = n("Gather", actions, n.constant(0, np.int64), axis=2)
        backwards = n("Clip", n("Mul", backwards, n.constant(-1.0 / scale.reverse)), zero, one)
        terms = {
            "value": value,
            "collision": touch,
            "clearance": n.mean(n("Mul", closeness, closeness), horizon),
            "progress": n.mean(n("Clip", outcome("cost_to_go"), zero, far), horizon),
            "smoothness": n.mean(n("Flatten", change), horizon * width),
            "reverse": n.mean(backwards, horizon),
        }
        return str(n("Sum", *(n("Mul", term, n.constant(weights[name])) for name, term in terms.items())))

    def _value(self, shape_of: str, name: str, ahead: tuple[int, ...] = ()) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [*ahead, *self._shapes[shape_of]])
