"""Networks of several inputs and outputs, and of other types than float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.seeding import tensor_specs
from farm.core.values import Artifact, TensorSpec
from farm.spaces.onnx.files import import_file
from tests.onnx_models import info, model

INT64, FLOAT, HALF, INT8, UINT8, BOOL = (
    TensorProto.INT64,
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.BOOL,
)
TABLE = np.ones((50, 6), np.float32)


def node(op: str, read: str, made: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, read.split(), made.split(), **attributes)


NETWORKS = {
    "two inputs and outputs": (
        [node("Add", "a b", "c"), node("Relu", "c", "y"), node("Sigmoid", "c", "z")],
        [info("a"), info("b")],
        [info("y"), info("z")],
        {},
    ),
    "outputs that share memory": (
        [node("Relu", "a", "y"), node("Reshape", "y s", "z"), node("Neg", "y", "w")],
        [info("a")],
        [info("y"), info("z", shape=(2, 2)), info("w")],
        {"s": np.array([2, 2])},
    ),
    "an input that is an output, and a constant one": (
        [node("Identity", "a", "y"), node("Relu", "b", "z"), node("Identity", "k", "w")],
        [info("a", INT64), info("b")],
        [info("y", INT64), info("z"), info("w")],
        {"k": np.ones((1, 4), np.float32)},
    ),
    "token ids and a mask": (
        [
            node("Unsqueeze", "ids one", "rows"),
            node("Gather", "table rows", "found"),
            node("Squeeze", "found one", "words"),
            node("Cast", "mask", "kept", to=FLOAT),
            node("Unsqueeze", "kept two", "wide"),
            node("Mul", "words wide", "y"),
        ],
        [info("ids", INT64, (1, 9)), info("mask", BOOL, (1, 9))],
        [info("y", shape=(1, 9, 6))],
        {"table": TABLE, "one": np.array([1]), "two": np.array([2])},
    ),
    "bytes of an image": (
        [node("Cast", "x", "f", to=FLOAT), node("ArgMax", "f", "y", axis=1)],
        [info("x", UINT8, (1, 8, 3))],
        [info("y", INT64, (1, 1, 3))],
        {},
    ),
    "half precision": (
        [node("MatMul", "x w", "p"), node("Relu", "p", "y")],
        [info("x", HALF, (2, 6))],
        [info("y", HALF, (2, 4))],
        {"w": np.ones((6, 4), np.float16)},
    ),
    "signed bytes": (
        [node("DequantizeLinear", "x s o", "f"), node("Greater", "f z", "y")],
        [info("x", INT8, (1, 12))],
        [info("y", BOOL, (1, 12))],
        {"s": np.float32(0.02), "o": np.int8(3), "z": np.float32(0.1)},
    ),
}


@pytest.fixture
def built(tmp_path: Path, host_target: Any, store: ArtifactStore) -> Any:
    def make(
        nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], known: Any
    ) -> Artifact:
        onnx.save(
            model(nodes, known, inputs=list(inputs), outputs=list(outputs)), tmp_path / "n.onnx"
        )
        (data,) = import_file(tmp_path / "n.onnx").values()
        return build(onnx.load_from_string(data), host_target, store)

    return make


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_every_output_is_compared_with_onnxruntime(built: Any, network: Any) -> None:
    """The build runs the library in a runner, and compares (`check`)."""
    _, inputs, outputs, known = network
    program = built(*network).program
    assert len(program.inputs) == len(inputs) + sum(name in "w table" for name in known)
    # One that is constant is no work of the network's.
    assert len(program.outputs) == len(outputs) - ("k" in known)
    assert all(any(output.expected) for output in program.outputs)


def test_integers_are_rows_of_the_tables_that_they_choose_from() -> None:
    nodes = [
        node("Concat", "ids more", "all", axis=1),
        node("Gather", "table all", "words"),
        node("Gather", "small ids", "kinds"),
        node("ReduceSum", "words", "a", keepdims=0),
        node("ReduceSum", "kinds", "b", keepdims=0),
        node("Add", "a b", "y"),
    ]
    inputs = [info(name, INT64, (1, 4)) for name in ("ids", "more", "table", "small")]
    inputs[2:] = [info("table", shape=(500, 3)), info("small", shape=(7, 3))]
    found: dict[str, TensorSpec] = {
        spec.name: spec for spec in tensor_specs(model(nodes, inputs=inputs, outputs=[info("y")]))
    }
    assert [(found[n].bound, found[n].positive) for n in ("ids", "more")] == [
        (7, True),
        (500, True),
    ]
