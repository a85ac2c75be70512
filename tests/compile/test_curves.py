"""Activations are steps of the kernel before them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from farm.compile import fuse, graph
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.groups import Group
from farm.compile.prepare import prepared
from tests.onnx_models import info, model

CURVES = ("HardSwish", "HardSigmoid", "Tanh", "Sigmoid", "Silu")


def test_every_curve_is_a_step_and_right(
    normal: Any, host_target: dict[str, Any], store: ArtifactStore
) -> None:
    weight = {"w": np.ones((8, 8, 1, 1), np.float32)}
    nodes, value = [], "x"
    for curve in CURVES:
        made = f"conv{curve}"
        nodes.append(helper.make_node("Conv", [value, "w"], [made]))
        value = curve
        if curve == "Silu":
            nodes.append(helper.make_node("Sigmoid", [made], ["gate"]))
            nodes.append(helper.make_node("Mul", ["gate", made], [curve]))
        else:
            nodes.append(helper.make_node(curve, [made], [curve]))
    network = normal(model(nodes, weight, (1, 8, 5, 7), outputs=[info(value, shape=(1, 8, 5, 7))]))
    calls = fuse.plan(graph.read(prepared(network))).calls
    groups = [call.kernel for call in calls if isinstance(call.kernel, Group)]
    assert [[step.op for step in group.steps] for group in groups] == [[c] for c in CURVES]
    program = build(network, host_target, store).program
    (output,) = program.outputs
    assert max(map(abs, output.expected)) > 100 * output.tolerance


def test_a_value_that_others_read_is_no_silu(normal: Any) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["gate"]),
        helper.make_node("Mul", ["gate", "r"], ["m"]),
        helper.make_node("Add", ["m", "r"], ["y"]),
    ]
    calls = fuse.plan(graph.read(prepared(normal(model(nodes, {}, (2, 6)))))).calls
    steps = [step.op for call in calls for step in call.kernel.steps]
    assert sorted(steps) == ["Add", "Mul", "Relu", "Sigmoid"]
