"""Errors of a build name the operation and the node, and a wrong network the part that is wrong."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from farm.compile.artifacts import ArtifactStore
from farm.compile.blame import blame
from farm.compile.build import build
from farm.compile.fuse import plan
from farm.compile.graph import read
from farm.compile.prepare import prepared
from farm.core.errors import BuildError

node = helper.make_node
Shapes = dict[str, tuple[int, ...]]


def bare(nodes: list[NodeProto], inputs: Shapes, output: tuple[int, ...]) -> onnx.ModelProto:
    """A model of `nodes` from `inputs` to `y`, and nothing else."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {**inputs, "y": output}.items()
    ]
    graph = helper.make_graph(nodes, "network", values[:-1], values[-1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def constant(name: str, *values: int) -> NodeProto:
    return node("Constant", [], [name], value_ints=values)


VIEWS = {
    "flatten": bare([node("Flatten", ["x"], ["y"])], {"x": (1, 8, 3, 3)}, (1, 72)),
    "identity": bare([node("Identity", ["x"], ["y"])], {"x": (5,)}, (5,)),
    "reshape": bare(
        [constant("s", 3, 4), node("Reshape", ["x", "s"], ["y"])], {"x": (12,)}, (3, 4)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", VIEWS)
def test_a_network_of_one_view_copies_its_input(
    case: str, host_target: dict[str, Any], store: ArtifactStore
) -> None:
    artifact = build(VIEWS[case], host_target, store)
    assert len(set(artifact.program.expected)) > 4
    planned = plan(read(prepared(VIEWS[case])))
    assert bool(planned.views) == (case != "identity")  # which needs none, and is faster


UNKNOWN = [
    (
        [constant("k", 3), node("TopK", ["x", "k"], ["y", "i"], name="best")],
        {"x": (5, 6)},
        (5, 3),
        "TopK 'best'",
    ),
    (
        [constant("k", 0), node("CumSum", ["x", "k"], ["y"], name="running")],
        {"x": (5, 6)},
        (5, 6),
        "CumSum 'running'",
    ),
    (
        [node("NonZero", ["x"], ["i"], name="where"), node("Cast", ["i"], ["y"], to=1)],
        {"x": (5, 6)},
        (2, 30),
        "'i', which NonZero 'where' makes, is not known",
    ),
    ([constant("y", 3)], {"x": (5,)}, (1,), "'y' is a constant"),
]


@pytest.mark.parametrize(("nodes", "inputs", "output", "named"), UNKNOWN)
def test_what_has_no_kernel_is_named(
    nodes: list[NodeProto],
    inputs: Shapes,
    output: tuple[int, ...],
    named: str,
    host_target: dict[str, Any],
    store: ArtifactStore,
) -> None:
    with pytest.raises(BuildError, match=named):
        build(bare(nodes, inputs, output), host_target, store)


def half_precision(width: int) -> onnx.ModelProto:
    """A sum of `width` positive numbers in float16, which TVM adds up in float16."""
    nodes = [
        node("Sigmoid", ["x"], ["s"]),
        node("Cast", ["s"], ["h"], to=TensorProto.FLOAT16),
        node("ReduceSum", ["h"], ["t"], name="total"),
        node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
        node("Relu", ["f"], ["y"]),
    ]
    return bare(nodes, {"x": (1, width)}, (1, 1))


def test_a_section_that_computes_something_else_is_named(
    host_target: dict[str, Any], store: ArtifactStore
) -> None:
    build(half_precision(64), host_target, store)
    with pytest.raises(
        BuildError, match=r"'s' is still right.*: Cast 'h', ReduceSum 'total', Cast"
    ):
        build(half_precision(4096), host_target, store)


@pytest.mark.parametrize("wrong", ["a", "b", "c", "d", "y"])
def test_bisection_finds_every_place(wrong: str) -> None:
    names = ["x", "a", "b", "c", "d", "y"]
    nodes = [node("Relu", [i], [o]) for i, o in pairwise(names)]
    model = prepared(bare(nodes, {"x": (5,)}, (5,)))
    asked = []

    def works(part: onnx.ModelProto) -> bool:
        asked.append(part.graph.output[0].name)
        return names.index(asked[-1]) < names.index(wrong)

    assert blame(model, works).endswith(f"not what follows: Relu '{wrong}'")
    assert len(asked) <= 3
    assert "y" not in asked
